//! The end of contexts with everything pending, and handles whose slots are used again.

use super::driver::Scenario;
use super::ops::{
    self, Handle, begin, breathe, chance, choose, context, join, make, on_accept, on_io, on_status,
    on_value,
};
use libc::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use weir::abi::context::{
    WEIR_FOREVER, weir_context_advance, weir_context_defer, weir_context_destroy, weir_context_now,
    weir_context_poll, weir_context_post, weir_context_run, weir_context_stop,
    weir_context_work_begin, weir_context_work_end,
};
use weir::abi::handle::{
    weir_handle_cancel, weir_handle_close, weir_handle_pending, weir_strand, weir_stream,
    weir_timer, weir_watch,
};
use weir::abi::local::weir_stream_pair;
use weir::abi::strand::{weir_strand_close, weir_strand_create, weir_strand_post};
use weir::abi::stream::{weir_stream_read, weir_stream_write};
use weir::abi::timer::{
    weir_timer_cancel, weir_timer_close, weir_timer_create, weir_timer_expires_after,
    weir_timer_wait,
};
use weir::abi::watch::{WEIR_WATCH_READ, weir_watch_create, weir_watch_start};
use weir::sched::sync::schedule::spawn;

const fn plain(name: &'static str, run: fn()) -> Scenario {
    Scenario { name, idle_clock: false, outside: false, run }
}

/// This file's.
pub const SCENARIOS: &[Scenario] = &[
    plain("destroy", destroy),
    plain("destroy_posts", destroy_posts),
    plain("stale", stale),
    plain("two_contexts", two_contexts),
];

const EBADF: c_int = -libc::EBADF;
const ESHUTDOWN: c_int = -libc::ESHUTDOWN;

fn ended(result: c_int) -> bool {
    result == EBADF || result == ESHUTDOWN
}

/// A context is destroyed with everything pending, while others run it and begin more: everything ends, once.
fn destroy() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (mut first, mut second) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: two places for handles.
    let answer = unsafe { weir_stream_pair(context.get(), &raw mut first, &raw mut second) };
    assert_eq!(answer, 0);
    let (left, right): (Handle<weir_stream>, Handle<weir_stream>) = (Handle(first), Handle(second));
    // SAFETY: places for handles, here and below.
    let timer: Handle<weir_timer> = make(|out| unsafe { weir_timer_create(context.get(), out) });
    // SAFETY: as above.
    let strand: Handle<weir_strand> = make(|out| unsafe { weir_strand_create(context.get(), out) });
    let mut ends = [0; 2];
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: as above.
    let watch: Handle<weir_watch> =
        make(|out| unsafe { weir_watch_create(context.get(), ends[0], out) });
    let memory: Handle<c_void> = Handle(Box::leak(Box::new([0_u8; 64])).as_mut_ptr().cast());
    // SAFETY: the memory is never freed.
    begin(
        "read",
        |_| (),
        |user| unsafe { weir_stream_read(left.get(), memory.get(), 64, Some(on_io), user) },
    );
    begin(
        "watch",
        |_| (),
        |user| {
            weir_watch_start(watch.get(), WEIR_WATCH_READ, 0, WEIR_FOREVER, Some(on_value), user)
        },
    );
    assert_eq!(weir_timer_expires_after(timer.get(), 100), 0);
    begin("wait", |_| (), |user| weir_timer_wait(timer.get(), Some(on_status), user));
    let running: Vec<_> = (0..1 + choose(2))
        .map(|_| {
            spawn("runner", move || {
                // SAFETY: the count may be NULL.
                let answer = unsafe { weir_context_run(context.get(), ptr::null_mut()) };
                assert!(answer == 0 || ended(answer), "{answer}");
            })
        })
        .collect();
    let beginning = spawn("beginner", move || {
        let results = [
            begin("post", |_| (), |user| weir_context_post(context.get(), Some(on_status), user)).1,
            begin("defer", |_| (), |user| weir_context_defer(context.get(), Some(on_status), user))
                .1,
            begin(
                "strand post",
                |_| (),
                |user| weir_strand_post(strand.get(), Some(on_status), user),
            )
            .1,
            begin("wait", |_| (), |user| weir_timer_wait(timer.get(), Some(on_status), user)).1,
            begin(
                "write",
                |_| (),
                // SAFETY: the memory is never freed.
                |user| unsafe {
                    weir_stream_write(right.get(), memory.get(), 32, Some(on_io), user)
                },
            )
            .1,
            weir_context_advance(context.get(), 200),
        ];
        for result in results {
            assert!(result == 0 || ended(result), "{result}");
        }
    });
    let touching = spawn("toucher", move || {
        let mut count = 0;
        for handle in [left.get().cast(), timer.get().cast(), watch.get().cast()] {
            // SAFETY: a place for a number.
            let result = unsafe {
                match choose(3) {
                    0 => weir_handle_cancel(handle, &raw mut count),
                    1 => weir_handle_pending(handle, &raw mut count),
                    _ => weir_handle_close(handle),
                }
            };
            assert!(result == 0 || ended(result), "{result}");
        }
    });
    for _ in 0..choose(6) {
        breathe();
    }
    assert_eq!(weir_context_destroy(context.get()), 0);
    assert_eq!(weir_context_destroy(context.get()), EBADF);
    join(running);
    join(vec![beginning, touching]);
    let _ = on_accept;
}

/// Posts race with the end of their context, in whose slot a new one lives: those that were taken run at the end,
/// none runs in the new context.
fn destroy_posts() {
    let old = context();
    let over = Arc::new(AtomicBool::new(false));
    let posting = ["poster 1", "poster 2"].map(|name| {
        let over = over.clone();
        spawn(name, move || {
            for _ in 0..3 {
                let over = over.clone();
                let (_, result) = begin(
                    "late post",
                    move |_| assert!(!over.load(SeqCst), "it runs in another context"),
                    |user| weir_context_post(old.get(), Some(on_status), user),
                );
                assert!(result == 0 || ended(result), "{result}");
            }
        })
    });
    let polling = chance(2).then(|| {
        spawn("poller", move || {
            // SAFETY: the count may be NULL.
            let answer = unsafe { weir_context_poll(old.get(), ptr::null_mut()) };
            assert!(answer == 0 || ended(answer), "{answer}");
        })
    });
    for _ in 0..choose(8) {
        breathe();
    }
    assert_eq!(weir_context_destroy(old.get()), 0);
    over.store(true, SeqCst);
    let new = context();
    begin("post", |_| (), |user| weir_context_post(new.get(), Some(on_status), user));
    // SAFETY: the count may be NULL.
    assert_eq!(unsafe { weir_context_run(new.get(), ptr::null_mut()) }, 0);
    join(posting.into());
    join(polling.into_iter().collect());
    let mut at = 0;
    // SAFETY: a place for a number.
    assert_eq!(unsafe { weir_context_now(old.get(), &raw mut at) }, EBADF);
    assert_eq!(weir_context_destroy(new.get()), 0);
}

/// H10: one thread ends a handle and makes another in its slot while a second still uses the old one: what it
/// says to the old one never meets the new one.
fn stale() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    // SAFETY: a place for a handle, here and below.
    let timer = move || -> Handle<weir_timer> {
        // SAFETY: as above.
        make(|out| unsafe { weir_timer_create(context.get(), out) })
    };
    // SAFETY: as above.
    let strand = move || -> Handle<weir_strand> {
        // SAFETY: as above.
        make(|out| unsafe { weir_strand_create(context.get(), out) })
    };
    let (old_timer, old_strand) = (timer(), strand());
    let using = ["user 1", "user 2"].map(|name| {
        spawn(name, move || {
            for _ in 0..2 {
                let mut count = 0;
                // SAFETY: a place for a number.
                let result = unsafe { weir_timer_cancel(old_timer.get(), &raw mut count) };
                assert!((result == 0 && count == 0) || result == EBADF, "{result}, {count}");
                let result = weir_timer_expires_after(old_timer.get(), 1);
                assert!(result == 0 || result == EBADF, "{result}");
                let result = weir_strand_close(old_strand.get());
                assert!(result == 0 || result == EBADF, "{result}");
            }
        })
    });
    assert_eq!(weir_timer_close(old_timer.get()), 0);
    let _ = weir_strand_close(old_strand.get());
    let (new_timer, new_strand) = (timer(), strand());
    assert_eq!(weir_timer_expires_after(new_timer.get(), 1000), 0);
    let (op, result) =
        begin("wait", |_| (), |user| weir_timer_wait(new_timer.get(), Some(on_status), user));
    assert_eq!(result, 0);
    join(using.into());
    assert_eq!(weir_context_advance(context.get(), 500), 0);
    // SAFETY: the count may be NULL.
    assert_eq!(unsafe { weir_context_poll(context.get(), ptr::null_mut()) }, 0);
    assert!(!op.is_done(), "a stale handle moved or ended the new timer");
    assert_eq!(weir_strand_close(new_strand.get()), 0, "a stale handle closed the new strand");
    assert_eq!(weir_timer_close(new_timer.get()), 0);
    assert_eq!(weir_context_work_end(context.get()), 0);
    // SAFETY: the count may be NULL.
    assert_eq!(unsafe { weir_context_run(context.get(), ptr::null_mut()) }, 0);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Two contexts, each run by a thread, post to each other; one is run inside a callback of the other.
fn two_contexts() {
    let (one, two) = (context(), context());
    for context in [one, two] {
        assert_eq!(weir_context_work_begin(context.get()), 0);
    }
    let run = |name: &'static str, context: ops::Context| {
        spawn(name, move || {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_context_run(context.get(), ptr::null_mut()) }, 0);
        })
    };
    let running = vec![run("runner 1", one), run("runner 2", two)];
    let inner = move |_: &'static ops::Op| {
        begin("there", |_| (), |user| weir_context_post(two.get(), Some(on_status), user));
        begin("here", |_| (), |user| weir_context_post(one.get(), Some(on_status), user));
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_context_poll(two.get(), ptr::null_mut()) }, 0);
    };
    begin("crosses", inner, |user| weir_context_post(one.get(), Some(on_status), user));
    let back = move |_: &'static ops::Op| {
        begin("back", |_| (), |user| weir_context_post(one.get(), Some(on_status), user));
    };
    begin("crosses back", back, |user| weir_context_post(two.get(), Some(on_status), user));
    if chance(2) {
        assert_eq!(weir_context_stop(two.get()), 0);
    }
    for context in [one, two] {
        assert_eq!(weir_context_work_end(context.get()), 0);
    }
    join(running);
    for context in [one, two] {
        assert_eq!(weir_context_destroy(context.get()), 0);
    }
}
