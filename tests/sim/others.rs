//! Watches, signal sets, jobs and lookups (whose threads are simulated too), hooks.

use super::driver::Scenario;
use super::ops::{
    self, Context, Handle, begin, breathe, chance, choose, context, join, make, many, must,
    on_status, on_value, runners, until,
};
use libc::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use weir::abi::context::{
    WEIR_FOREVER, weir_context_advance, weir_context_destroy, weir_context_post,
    weir_context_work_begin, weir_context_work_end,
};
use weir::abi::handle::{weir_hook, weir_job, weir_resolver, weir_signals, weir_watch};
use weir::abi::hook::{weir_hook_close, weir_hook_create, weir_hook_start};
use weir::abi::job::{weir_job_cancel, weir_job_close, weir_job_start};
use weir::abi::resolver::{
    weir_addresses, weir_addresses_free, weir_resolver_cancel, weir_resolver_close,
    weir_resolver_create, weir_resolver_resolve,
};
use weir::abi::signals::{
    weir_signals_add, weir_signals_cancel, weir_signals_close, weir_signals_create,
    weir_signals_wait,
};
use weir::abi::watch::{
    WEIR_WATCH_EDGE, WEIR_WATCH_PERSISTENT, WEIR_WATCH_READ, weir_watch_close, weir_watch_create,
    weir_watch_feed, weir_watch_set_fd, weir_watch_start, weir_watch_stop,
};
use weir::sched::sync::schedule::spawn;

const fn plain(name: &'static str, run: fn()) -> Scenario {
    Scenario { name, idle_clock: false, outside: false, run }
}

/// This file's.
pub const SCENARIOS: &[Scenario] = &[
    plain("watch", watch),
    plain("watch_moved", watch_moved),
    plain("watch_timeout", watch_timeout),
    plain("signals", signals),
    plain("jobs", jobs),
    plain("lookups", lookups),
    plain("hooks", hooks),
];

const ECANCELED: c_int = -libc::ECANCELED;

fn pipe() -> (c_int, c_int) {
    let mut ends = [0; 2];
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) }, 0);
    (ends[0], ends[1])
}

fn put(fd: c_int) {
    // SAFETY: a byte that lives through the call.
    assert_eq!(unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) }, 1);
}

fn take(fd: c_int) -> bool {
    let mut byte = 0_u8;
    // SAFETY: room for a byte.
    unsafe { libc::read(fd, (&raw mut byte).cast(), 1) == 1 }
}

fn new_watch(context: Context, fd: c_int) -> Handle<weir_watch> {
    // SAFETY: a place for a handle.
    make(|out| unsafe { weir_watch_create(context.get(), fd, out) })
}

struct Reader {
    fd: c_int,
    taken: AtomicUsize,
}

/// Called with the events of a persistent watch: takes every byte.
unsafe extern "C-unwind" fn on_readable(status: c_int, events: c_int, user: *mut c_void) {
    // SAFETY: leaked.
    let reader = unsafe { &*user.cast::<Reader>() };
    breathe();
    if status == 0 && events as u32 & WEIR_WATCH_READ != 0 {
        while take(reader.fd) {
            reader.taken.fetch_add(1, SeqCst);
        }
    }
}

/// Bytes that two threads write are all told by a persistent watch, level or edge, while feeds come in between.
fn watch() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (reads, writes) = pipe();
    let reader: &'static Reader =
        Box::leak(Box::new(Reader { fd: reads, taken: AtomicUsize::new(0) }));
    let watch = new_watch(context, reads);
    let flags = WEIR_WATCH_PERSISTENT | if chance(2) { WEIR_WATCH_EDGE } else { 0 };
    let user = ptr::from_ref(reader).cast_mut().cast();
    let running = runners(context, 1 + choose(3));
    let answer = weir_watch_start(
        watch.get(),
        WEIR_WATCH_READ,
        flags,
        WEIR_FOREVER,
        Some(on_readable),
        user,
    );
    assert_eq!(answer, 0);
    let writing = ["writer 1", "writer 2"].map(|name| {
        spawn(name, move || {
            for _ in 0..2 {
                put(writes);
                breathe();
                if chance(2) {
                    assert_eq!(weir_watch_feed(watch.get(), WEIR_WATCH_READ), 0);
                }
            }
        })
    });
    join(writing.into());
    until(|| reader.taken.load(SeqCst) == 4);
    assert_eq!(weir_watch_close(watch.get()), 0);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Watches of one fd are stopped, moved to another and started again from several threads: each start ends
/// once, and a byte in the pipe that a watch is on at last is told.
fn watch_moved() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let ((first, first_end), (second, second_end)) = (pipe(), pipe());
    let running = runners(context, 1 + choose(2));
    let watches = [new_watch(context, first), new_watch(context, first)];
    let start = |watch: Handle<weir_watch>| {
        begin(
            "watch",
            |_| (),
            |user| {
                weir_watch_start(
                    watch.get(),
                    WEIR_WATCH_READ,
                    0,
                    WEIR_FOREVER,
                    Some(on_value),
                    user,
                )
            },
        )
    };
    let ops = watches.map(start);
    let writing = spawn("writer", move || {
        put(first_end);
        put(second_end);
    });
    let stopping = spawn("stopper", move || {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_watch_stop(watches[0].get(), ptr::null_mut()) }, 0);
    });
    assert_eq!(weir_watch_set_fd(watches[1].get(), second), 0);
    until(|| ops[0].0.is_done() && ops[1].0.is_done());
    assert_eq!(ops[1].0.status(), 0);
    join(vec![writing, stopping]);
    // Both pipes have a byte, and it is there for the next that starts.
    for watch in watches {
        let (op, result) = start(watch);
        if result == -libc::EBUSY {
            continue;
        }
        assert_eq!(result, 0);
        until(|| op.is_done());
        assert_eq!(op.status(), 0);
        assert_eq!(weir_watch_close(watch.get()), 0);
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// The deadline of a watch, its event, and its end by another thread at once: one of them.
fn watch_timeout() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (reads, writes) = pipe();
    let running = runners(context, 1 + choose(2));
    let watch = new_watch(context, reads);
    let (op, result) = begin(
        "watch",
        |_| (),
        |user| weir_watch_start(watch.get(), WEIR_WATCH_READ, 0, 100, Some(on_value), user),
    );
    assert_eq!(result, 0);
    let writing = spawn("writer", move || {
        if chance(2) {
            put(writes);
        }
    });
    let closing = spawn("closer", move || {
        if chance(2) {
            assert_eq!(weir_watch_close(watch.get()), 0);
        }
    });
    assert_eq!(weir_context_advance(context.get(), 200), 0);
    until(|| op.is_done());
    join(vec![writing, closing]);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Signals that come while two sets wait, are cancelled and closed: each arrival is told once to each set that
/// still has it.
fn signals() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    // SAFETY: places for handles.
    let sets: [Handle<weir_signals>; 2] =
        [(); 2].map(|()| make(|out| unsafe { weir_signals_create(context.get(), out) }));
    let running = runners(context, 1 + choose(2));
    for set in sets {
        assert_eq!(weir_signals_add(set.get(), libc::SIGUSR1, 0), 0);
    }
    let raising = spawn("raiser", || {
        for _ in 0..2 {
            // SAFETY: takes a number only; the handler is the library's.
            assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
            breathe();
        }
    });
    let cancelling = spawn("canceller", move || {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_signals_cancel(sets[0].get(), ptr::null_mut()) }, 0);
    });
    for set in sets {
        let mut told = 0;
        while told < 2 {
            let op =
                must("signal", |_| (), |user| weir_signals_wait(set.get(), Some(on_value), user));
            until(|| op.is_done());
            match op.status() {
                0 => told += 1,
                status => assert_eq!(status, ECANCELED),
            }
        }
    }
    join(vec![raising, cancelling]);
    let op = must("last", |_| (), |user| weir_signals_wait(sets[1].get(), Some(on_value), user));
    for set in sets {
        assert_eq!(weir_signals_close(set.get()), 0);
    }
    until(|| op.is_done());
    assert_eq!(op.status(), ECANCELED);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

unsafe extern "C-unwind" fn job_of(argument: *mut c_void) -> c_int {
    // SAFETY: leaked.
    let calls = unsafe { &*argument.cast::<AtomicUsize>() };
    breathe();
    calls.fetch_add(1, SeqCst);
    breathe();
    7
}

/// Jobs that are cancelled and closed by others while they start: a function that ran is told of with its
/// result, one that was taken back never runs. Then the context may go with jobs in it.
fn jobs() {
    let context = context();
    let started: Vec<_> = (0..3)
        .map(|_| {
            let calls: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
            let argument: Handle<c_void> = Handle(ptr::from_ref(calls).cast_mut().cast());
            let mut out = ptr::null_mut();
            let op = must(
                "job",
                |_| (),
                |user| {
                    // SAFETY: a place for a handle.
                    unsafe {
                        weir_job_start(
                            context.get(),
                            Some(job_of),
                            argument.get(),
                            &raw mut out,
                            Some(on_value),
                            user,
                        )
                    }
                },
            );
            (op, calls, Handle::<weir_job>(out))
        })
        .collect();
    let jobs: Vec<Handle<weir_job>> = started.iter().map(|(_, _, job)| *job).collect();
    let cancelling = spawn("canceller", move || {
        for job in jobs {
            // SAFETY: the count may be NULL.
            unsafe { weir_job_cancel(job.get(), ptr::null_mut()) };
            if chance(2) {
                let result = weir_job_close(job.get());
                assert!(result == 0 || result == -libc::EBADF, "{result}");
            }
        }
    });
    if chance(3) {
        assert_eq!(weir_context_destroy(context.get()), 0);
        cancelling.join();
    } else {
        join(runners(context, 1 + choose(2)));
        cancelling.join();
        assert_eq!(weir_context_destroy(context.get()), 0);
    }
    for (op, calls, _) in started {
        match op.status() {
            0 => assert_eq!((calls.load(SeqCst), op.bytes.load(SeqCst)), (1, 7)),
            // At the context's end the result of one that ran may be dropped.
            status => assert!(status == ECANCELED && calls.load(SeqCst) <= 1),
        }
    }
}

unsafe extern "C-unwind" fn on_resolved(
    status: c_int,
    addresses: *mut weir_addresses,
    user: *mut c_void,
) {
    assert_eq!(status == 0, !addresses.is_null());
    // SAFETY: the receiver's own; may be NULL.
    unsafe { weir_addresses_free(addresses) };
    ops::of(user).complete(status, 0);
}

/// Lookups are cancelled while workers look up, and the resolver closed: each ends once.
fn lookups() {
    let context = context();
    // SAFETY: a place for a handle.
    let resolver: Handle<weir_resolver> =
        make(|out| unsafe { weir_resolver_create(context.get(), out) });
    for _ in 0..2 {
        // SAFETY: texts that end, and hints that may be NULL.
        must(
            "lookup",
            |_| (),
            |user| unsafe {
                weir_resolver_resolve(
                    resolver.get(),
                    c"127.0.0.1".as_ptr(),
                    c"80".as_ptr(),
                    ptr::null(),
                    Some(on_resolved),
                    user,
                )
            },
        );
    }
    let cancelling = spawn("canceller", move || {
        breathe();
        if chance(2) {
            // SAFETY: the count may be NULL.
            let result = unsafe { weir_resolver_cancel(resolver.get(), ptr::null_mut()) };
            assert!(result == 0 || result == -libc::EBADF, "{result}");
        } else {
            let result = weir_resolver_close(resolver.get());
            assert!(result == 0 || result == -libc::EBADF, "{result}");
        }
    });
    if chance(4) {
        assert_eq!(weir_context_destroy(context.get()), 0);
        cancelling.join();
        return;
    }
    join(runners(context, 1 + choose(2)));
    cancelling.join();
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Hooks are started and closed while others run and post.
fn hooks() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = runners(context, 1 + choose(2));
    let ended = Arc::new(AtomicUsize::new(0));
    let hooking = spawn("hooker", move || {
        for when in 0..3 {
            let mut out: *mut weir_hook = ptr::null_mut();
            // SAFETY: a place for a handle.
            if unsafe { weir_hook_create(context.get(), when, &raw mut out) } != 0 {
                continue;
            }
            let hook = Handle(out);
            let ended = ended.clone();
            let (_, result) = many(
                "hook",
                move |_| {
                    ended.fetch_add(1, SeqCst);
                },
                |user| weir_hook_start(hook.get(), Some(on_status), user),
            );
            assert_eq!(result, 0);
            breathe();
            assert_eq!(weir_hook_close(hook.get()), 0);
        }
    });
    for _ in 0..2 {
        must("post", |_| (), |user| weir_context_post(context.get(), Some(on_status), user));
    }
    hooking.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}
