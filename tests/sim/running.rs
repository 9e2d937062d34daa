//! Posts, run functions, strands, stop and restart, nested runs, records.

use super::driver::Scenario;
use super::ops::{
    self, Context, Handle, LONG, breathe, chance, choose, context, join, make, must, on_status,
    run, runners, until,
};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use weir::abi::context::{
    weir_context_defer, weir_context_destroy, weir_context_poll, weir_context_post,
    weir_context_restart, weir_context_run, weir_context_run_for, weir_context_stop,
    weir_context_stopped, weir_context_work_begin, weir_context_work_end,
};
use weir::abi::handle::weir_strand;
use weir::abi::record::{weir_context_reap, weir_record};
use weir::abi::strand::{
    weir_strand_close, weir_strand_create, weir_strand_dispatch, weir_strand_post,
    weir_strand_running_in_this_thread,
};
use weir::sched::sync::schedule::spawn;

const fn plain(name: &'static str, run: fn()) -> Scenario {
    Scenario { name, idle_clock: false, outside: false, run }
}

/// This file's.
pub const SCENARIOS: &[Scenario] = &[
    plain("post", post),
    plain("poll", poll),
    plain("parallel", parallel),
    plain("bias", bias),
    plain("strand", strand),
    plain("stop_restart", stop_restart),
    plain("nested", nested),
    plain("nested_wait", nested_wait),
    plain("records", records),
];

fn post_one(context: Context) {
    must("post", |_| breathe(), |user| weir_context_post(context.get(), Some(on_status), user));
}

fn post_nesting(context: Context) {
    let then = move |_: &'static ops::Op| {
        post_one(context);
        if chance(2) {
            must("defer", |_| (), |user| weir_context_defer(context.get(), Some(on_status), user));
        }
    };
    must("outer post", then, |user| weir_context_post(context.get(), Some(on_status), user));
}

/// Two or three threads run what two others post; all return when the last work ends.
fn post() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = runners(context, 2 + choose(2));
    let posting = ["poster 1", "poster 2"].map(|name| {
        spawn(name, move || {
            for _ in 0..2 {
                if chance(2) { post_one(context) } else { post_nesting(context) }
            }
        })
    });
    join(posting.into());
    if chance(2) {
        post_one(context);
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// As many callbacks as threads: each waits for the others, so each needs a thread of its own.
fn parallel() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let count = 2 + choose(2);
    let inside = Arc::new(AtomicUsize::new(0));
    let running = runners(context, count);
    let from_inside = chance(2);
    let post_all = move || {
        for _ in 0..count {
            let inside = inside.clone();
            let then = move |_: &'static ops::Op| {
                inside.fetch_add(1, SeqCst);
                until(|| inside.load(SeqCst) == count);
            };
            must("meets", then, |user| weir_context_post(context.get(), Some(on_status), user));
        }
    };
    if from_inside {
        must(
            "posts",
            move |_| post_all(),
            |user| weir_context_post(context.get(), Some(on_status), user),
        );
    } else {
        post_all();
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// One thread polls while another runs and a third posts.
fn poll() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let over = Arc::new(AtomicBool::new(false));
    let polls = {
        let over = over.clone();
        spawn("poller", move || {
            until(|| {
                // SAFETY: the count may be NULL.
                unsafe { weir_context_poll(context.get(), ptr::null_mut()) };
                over.load(SeqCst)
            });
        })
    };
    let running = runners(context, 1 + choose(2));
    for _ in 0..4 {
        post_nesting(context);
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    over.store(true, SeqCst);
    polls.join();
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// One thread runs, so that the run queue's lock is biased to it, while two others post, ask and stop.
fn bias() {
    fn go_on(context: Context, left: usize) {
        must(
            "goes on",
            move |_| {
                if left > 0 {
                    go_on(context, left - 1)
                }
            },
            |user| weir_context_post(context.get(), Some(on_status), user),
        );
    }
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    for _ in 0..3 {
        go_on(context, 4);
    }
    let running = spawn("runner", move || {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_context_run(context.get(), ptr::null_mut()) }, 0);
    });
    let others = ["other 1", "other 2"].map(|name| {
        spawn(name, move || {
            for _ in 0..3 {
                post_one(context);
                let stopped = weir_context_stopped(context.get());
                assert_eq!(stopped, 0);
            }
        })
    });
    join(others.into());
    assert_eq!(weir_context_work_end(context.get()), 0);
    running.join();
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// What two threads post to a strand does not overlap and keeps each one's order, on two or three threads.
fn strand() {
    struct Seen {
        inside: AtomicBool,
        closed: AtomicBool,
        last: [AtomicUsize; 2],
    }
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    // SAFETY: a place for a handle.
    let strand: Handle<weir_strand> = make(|out| unsafe { weir_strand_create(context.get(), out) });
    let seen: &'static Seen = Box::leak(Box::new(Seen {
        inside: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        last: [AtomicUsize::new(0), AtomicUsize::new(0)],
    }));
    let guarded = move || {
        assert!(!seen.inside.swap(true, SeqCst), "callbacks of a strand overlap");
        let here = weir_strand_running_in_this_thread(strand.get());
        assert!(here == 1 || seen.closed.load(SeqCst));
        breathe();
        breathe();
        assert!(seen.inside.swap(false, SeqCst));
    };
    let running = runners(context, 2 + choose(2));
    let posting = [0, 1].map(|poster: usize| {
        spawn(["poster 1", "poster 2"][poster], move || {
            for number in 1..=3 {
                let then = move |_: &'static ops::Op| {
                    guarded();
                    let before = seen.last[poster].swap(number, SeqCst);
                    assert_eq!(before, number - 1, "out of order");
                    if number == 2 {
                        // Outside of a callback it would have to be posted; inside it is called at once.
                        let inner = |_: &'static ops::Op| breathe();
                        let (op, result) = ops::dispatched("dispatch", inner, |user| {
                            weir_strand_dispatch(strand.get(), Some(on_status), user)
                        });
                        assert!(op.is_done() || (result < 0 && seen.closed.load(SeqCst)));
                    }
                };
                must("strand post", then, |user| {
                    weir_strand_post(strand.get(), Some(on_status), user)
                });
            }
        })
    });
    join(posting.into());
    if chance(3) {
        seen.closed.store(true, SeqCst);
        assert_eq!(weir_strand_close(strand.get()), 0);
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    assert_eq!(seen.last[0].load(SeqCst), 3);
    assert_eq!(seen.last[1].load(SeqCst), 3);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Stop from one thread, restart from another, posts from a third: every thread comes out of run, and what
/// was queued runs after the restart.
fn stop_restart() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let posting = spawn("poster", move || {
        for _ in 0..3 {
            post_one(context);
        }
    });
    let running = runners(context, 2);
    let stopping = spawn("stopper", move || {
        breathe();
        assert_eq!(weir_context_stop(context.get()), 0);
    });
    join(running);
    stopping.join();
    assert_eq!(weir_context_stopped(context.get()), 1);
    assert_eq!(weir_context_restart(context.get()), 0);
    let running = runners(context, 2);
    posting.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// A callback runs the context again while others run it too; the inner run sees what the outer callback
/// posted and returns.
fn nested() {
    let context = context();
    for depth in 1..=2 {
        let then = move |_: &'static ops::Op| {
            post_nesting(context);
            breathe();
            // SAFETY: the count may be NULL.
            let answer = unsafe {
                if depth == 2 && chance(2) {
                    weir_context_poll(context.get(), ptr::null_mut())
                } else {
                    weir_context_run(context.get(), ptr::null_mut())
                }
            };
            assert_eq!(answer, 0);
            post_one(context);
        };
        must("runs inside", then, |user| weir_context_post(context.get(), Some(on_status), user));
    }
    let posting = spawn("poster", move || post_one(context));
    let running = runners(context, 1 + choose(2));
    posting.join();
    join(running);
    // The post may have come after the end of the others' work.
    assert_eq!(weir_context_restart(context.get()), 0);
    run(context);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// A nested run waits while another thread has the reactor; the last work ends outside. It must return.
fn nested_wait() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let then = move |_: &'static ops::Op| {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_context_run(context.get(), ptr::null_mut()) }, 0);
    };
    must("runs inside", then, |user| weir_context_post(context.get(), Some(on_status), user));
    let running = runners(context, 2);
    for _ in 0..choose(40) {
        breathe();
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Records are reaped by two threads while a third runs; none is lost, none comes twice.
fn records() {
    const POSTS: usize = 6;
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let reaped = Arc::new(AtomicUsize::new(0));
    let reaping = ["reaper 1", "reaper 2"].map(|name| {
        let reaped = reaped.clone();
        spawn(name, move || {
            while weir_context_stopped(context.get()) == 0 {
                // SAFETY: zeroed records are records, and there is room for so many.
                let (mut records, mut count): ([weir_record; 2], usize) =
                    (unsafe { std::mem::zeroed() }, 0);
                // SAFETY: as above.
                let answer = unsafe {
                    weir_context_reap(context.get(), records.as_mut_ptr(), 2, LONG, &raw mut count)
                };
                assert_eq!(answer, 0);
                for record in records.iter().take(count) {
                    ops::of(record.user).complete(record.status, record.value as usize);
                    reaped.fetch_add(1, SeqCst);
                }
            }
        })
    });
    let over = Arc::new(AtomicBool::new(false));
    let running = {
        let over = over.clone();
        spawn("runner", move || {
            until(|| {
                // SAFETY: the count may be NULL.
                unsafe { weir_context_run_for(context.get(), 0, ptr::null_mut()) };
                over.load(SeqCst)
            });
        })
    };
    for _ in 0..POSTS {
        must("record", |_| (), |user| weir_context_post(context.get(), None, user));
    }
    until(|| reaped.load(SeqCst) == POSTS);
    over.store(true, SeqCst);
    running.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    assert_eq!(weir_context_stop(context.get()), 0);
    join(reaping.into());
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}
