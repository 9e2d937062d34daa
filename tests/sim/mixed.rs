//! Parts that meet: an embedding host, pooled reads with records, queued writes with a mark, tags, and handles
//! whose strand changes while they work.

use super::driver::Scenario;
use super::ops::{
    self, Handle, Op, begin, breathe, chance, choose, context, join, make, many, must, on_io,
    on_status, runners, until,
};
use libc::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use weir::abi::compose::{weir_stream_send, weir_stream_set_high_water, weir_stream_set_timeout};
use weir::abi::context::{
    weir_context_advance, weir_context_cancel_tag, weir_context_destroy, weir_context_fd,
    weir_context_poll, weir_context_post, weir_context_work_begin, weir_context_work_end,
};
use weir::abi::handle::{
    weir_context, weir_handle_set_strand, weir_handle_set_tag, weir_strand, weir_stream, weir_timer,
};
use weir::abi::local::weir_stream_pair;
use weir::abi::pool::{weir_context_pool_release, weir_stream_read_each};
use weir::abi::record::{weir_context_reap, weir_record};
use weir::abi::strand::{weir_strand_close, weir_strand_create};
use weir::abi::stream::{
    WEIR_WAIT_READ, weir_stream_cancel, weir_stream_close, weir_stream_read, weir_stream_shutdown,
    weir_stream_write,
};
use weir::abi::timer::{
    weir_timer_close, weir_timer_create, weir_timer_expires_after, weir_timer_wait,
};
use weir::sched::sync::schedule::{self, spawn};

const fn plain(name: &'static str, run: fn()) -> Scenario {
    Scenario { name, idle_clock: false, outside: false, run }
}

/// This file's.
pub const SCENARIOS: &[Scenario] = &[
    plain("embedded", embedded),
    plain("pooled", pooled),
    plain("send_queue", send_queue),
    plain("tags", tags),
    plain("rebound", rebound),
];

type Stream = Handle<weir_stream>;

const ECANCELED: c_int = -libc::ECANCELED;
const EBADF: c_int = -libc::EBADF;

fn pair(context: Handle<weir_context>) -> (Stream, Stream) {
    let (mut first, mut second) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: two places for handles.
    let answer = unsafe { weir_stream_pair(context.get(), &raw mut first, &raw mut second) };
    assert_eq!(answer, 0);
    (Handle(first), Handle(second))
}

fn memory(size: usize) -> Handle<c_void> {
    Handle(Box::leak(vec![0_u8; size].into_boxed_slice()).as_mut_ptr().cast())
}

fn new_timer(context: Handle<weir_context>) -> Handle<weir_timer> {
    // SAFETY: a place for a handle.
    make(|out| unsafe { weir_timer_create(context.get(), out) })
}

/// H71: a host sleeps on the context's fd alone, and polls when it is readable. Posts, a timer, bytes and another
/// thread that runs for a while: the host is woken for everything.
fn embedded() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let mut fd = -1;
    // SAFETY: a place for a number.
    assert_eq!(unsafe { weir_context_fd(context.get(), &raw mut fd) }, 0);
    let (client, server) = pair(context);
    let left = Arc::new(AtomicUsize::new(4));
    let done = |left: &Arc<AtomicUsize>| {
        let left = left.clone();
        move |_: &'static Op| {
            left.fetch_sub(1, SeqCst);
        }
    };
    let into = memory(8);
    // SAFETY: the memory is never freed.
    must("read", done(&left), |user| unsafe {
        weir_stream_read(server.get(), into.get(), 8, Some(on_io), user)
    });
    let timer = new_timer(context);
    assert_eq!(weir_timer_expires_after(timer.get(), 100), 0);
    must("wait", done(&left), |user| weir_timer_wait(timer.get(), Some(on_status), user));
    let host = {
        let left = left.clone();
        spawn("host", move || {
            while left.load(SeqCst) > 0 {
                schedule::block_on_kernel(fd, None);
                // SAFETY: the count may be NULL.
                assert_eq!(unsafe { weir_context_poll(context.get(), ptr::null_mut()) }, 0);
            }
        })
    };
    let posting = {
        let (first, second) = (done(&left), done(&left));
        spawn("poster", move || {
            must("post", first, |user| weir_context_post(context.get(), Some(on_status), user));
            breathe();
            must("post", second, |user| weir_context_post(context.get(), Some(on_status), user));
        })
    };
    let others = chance(2).then(|| {
        spawn("other", move || {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_context_poll(context.get(), ptr::null_mut()) }, 0);
        })
    });
    if chance(2) {
        assert_eq!(weir_timer_expires_after(timer.get(), 50), 0);
    }
    assert_eq!(weir_context_advance(context.get(), 200), 0);
    // SAFETY: the memory is never freed.
    must(
        "write",
        |_| (),
        |user| unsafe { weir_stream_write(client.get(), memory(8).get(), 8, Some(on_io), user) },
    );
    posting.join();
    let other = others.is_some();
    join(others.into_iter().collect());
    if other {
        // It may have taken the last while the host went to sleep.
        must("last", |_| (), |user| weir_context_post(context.get(), Some(on_status), user));
    }
    host.join();
    // SAFETY: the count may be NULL.
    assert_eq!(unsafe { weir_context_poll(context.get(), ptr::null_mut()) }, 0);
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Reads into the pool tell every byte by records while buffers go back from another thread, and end once.
fn pooled() {
    const SIZE: usize = 9000;
    let context = context();
    let (client, server) = pair(context);
    let (op, result) =
        many("read each", |_| (), |user| weir_stream_read_each(server.get(), None, user));
    assert_eq!(result, 0);
    let data = memory(SIZE);
    let writing = spawn("writer", move || {
        for part in [1, 4000, SIZE - 4001] {
            // SAFETY: the memory is never freed.
            let op = must(
                "write",
                |op| assert_eq!(op.status(), 0),
                |user| unsafe { weir_stream_write(client.get(), data.get(), part, None, user) },
            );
            until(|| op.is_done());
        }
        if chance(2) {
            assert_eq!(weir_stream_shutdown(client.get(), libc::SHUT_WR), 0);
        } else {
            assert_eq!(weir_stream_close(client.get()), 0);
        }
    });
    let told: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let reaping = ["reaper 1", "reaper 2"].map(|name| {
        spawn(name, move || {
            while !op.is_done() {
                // SAFETY: zeroed records are records, and there is room for so many.
                let (mut records, mut count): ([weir_record; 2], usize) =
                    (unsafe { std::mem::zeroed() }, 0);
                // SAFETY: as above.
                let answer = unsafe {
                    weir_context_reap(context.get(), records.as_mut_ptr(), 2, 0, &raw mut count)
                };
                assert_eq!(answer, 0);
                for record in records.iter().take(count) {
                    let of = ops::of(record.user);
                    if ptr::eq(of, op) && record.status == 0 {
                        // The other thread may have the last record already.
                        told.fetch_add(record.value as usize, SeqCst);
                        assert_eq!(weir_context_pool_release(context.get(), record.extra), 0);
                    } else {
                        of.complete(record.status, record.value as usize);
                    }
                }
                schedule::step(schedule::Kind::Spin);
            }
        })
    });
    join(reaping.into());
    writing.join();
    assert_eq!(told.load(SeqCst), SIZE);
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Writes are queued by two threads above a mark, while the peer reads slowly and somebody cancels or closes: each
/// completes once with what moved of it, and the mark ends once.
fn send_queue() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (client, server) = pair(context);
    let running = runners(context, 1 + choose(2));
    let sum: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let (mark, result) = many(
        "mark",
        |_| (),
        |user| weir_stream_set_high_water(client.get(), 3000, 1000, Some(on_io), user),
    );
    assert_eq!(result, 0);
    let sending = ["sender 1", "sender 2"].map(|name| {
        spawn(name, move || {
            for _ in 0..2 {
                let then = |op: &'static Op| {
                    sum.fetch_add(op.bytes.load(SeqCst), SeqCst);
                };
                // SAFETY: the memory is never freed.
                let (_, result) = begin("send", then, |user| unsafe {
                    weir_stream_send(client.get(), memory(2500).get(), 2500, Some(on_io), user)
                });
                assert!(result == 0 || result == EBADF, "{result}");
            }
        })
    });
    let got: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let ending = spawn("ender", move || {
        breathe();
        match choose(3) {
            0 => assert_eq!(weir_stream_close(client.get()), 0),
            1 => {
                // SAFETY: the count may be NULL.
                assert_eq!(unsafe { weir_stream_cancel(client.get(), ptr::null_mut()) }, 0);
            }
            _ => {}
        }
    });
    join(sending.into());
    ending.join();
    // The client ends when its queue is empty, so that the reader meets the end.
    let reading = must(
        "read",
        move |op| {
            got.store(op.bytes.load(SeqCst), SeqCst);
        },
        // SAFETY: the memory is never freed.
        |user| unsafe {
            weir_stream_read(server.get(), memory(20_000).get(), 20_000, Some(on_io), user)
        },
    );
    let mut queued = 1;
    until(|| {
        // SAFETY: a place for a number.
        let result =
            unsafe { weir::abi::compose::weir_stream_queued(client.get(), &raw mut queued) };
        result == EBADF || queued == 0
    });
    let _ = weir_stream_close(client.get());
    until(|| reading.is_done());
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    assert_eq!(got.load(SeqCst), sum.load(SeqCst), "bytes that were told of and bytes that came");
    assert_eq!(mark.status(), ECANCELED);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Everything of one tag is ended while others of the tag begin and close: nothing of another tag is hit.
fn tags() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = runners(context, 1 + choose(2));
    let other = new_timer(context);
    assert_eq!(weir_handle_set_tag(other.get().cast(), 8), 0);
    assert_eq!(weir_timer_expires_after(other.get(), 1000), 0);
    let kept = must("other", |_| (), |user| weir_timer_wait(other.get(), Some(on_status), user));
    let beginning = spawn("beginner", move || {
        for _ in 0..3 {
            let timer = new_timer(context);
            assert_eq!(weir_handle_set_tag(timer.get().cast(), 7), 0);
            assert_eq!(weir_timer_expires_after(timer.get(), 1000), 0);
            must("tagged", |_| (), |user| weir_timer_wait(timer.get(), Some(on_status), user));
            if chance(2) {
                assert_eq!(weir_timer_close(timer.get()), 0);
            }
        }
    });
    for _ in 0..2 {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_context_cancel_tag(context.get(), 7, ptr::null_mut()) }, 0);
    }
    beginning.join();
    // SAFETY: the count may be NULL.
    assert_eq!(unsafe { weir_context_cancel_tag(context.get(), 7, ptr::null_mut()) }, 0);
    assert!(!kept.is_done());
    assert_eq!(weir_timer_close(other.get()), 0);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// A stream with a time limit moves between two strands while it reads, a strand closes, and the stream too: each
/// operation ends once, and run returns.
fn rebound() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (client, server) = pair(context);
    // SAFETY: places for handles.
    let strands: [Handle<weir_strand>; 2] =
        [(); 2].map(|()| make(|out| unsafe { weir_strand_create(context.get(), out) }));
    assert_eq!(weir_stream_set_timeout(server.get(), WEIR_WAIT_READ, 100), 0);
    let running = runners(context, 1 + choose(2));
    let over = Arc::new(AtomicBool::new(false));
    let moving = spawn("mover", move || {
        for strand in [0, 1, 0] {
            let result = weir_handle_set_strand(server.get().cast(), strands[strand].get());
            assert!([0, EBADF, -libc::EBUSY].contains(&result), "{result}");
        }
        assert_eq!(weir_strand_close(strands[1].get()), 0);
        if chance(2) {
            let result = weir_handle_set_strand(server.get().cast(), ptr::null_mut());
            assert!([0, EBADF, -libc::EBUSY].contains(&result), "{result}");
        }
    });
    let clock = {
        let over = over.clone();
        spawn("clock", move || {
            for _ in 0..3 {
                assert_eq!(weir_context_advance(context.get(), 60), 0);
            }
            over.store(true, SeqCst);
        })
    };
    for _ in 0..3 {
        // SAFETY: the memory is never freed.
        let (op, result) = begin(
            "read",
            |_| (),
            |user| unsafe { weir_stream_read(server.get(), memory(4).get(), 4, Some(on_io), user) },
        );
        assert_eq!(result, 0);
        let write = |size: usize| {
            // SAFETY: the memory is never freed.
            let op = must(
                "write",
                |_| (),
                |user| unsafe {
                    weir_stream_write(client.get(), memory(4).get(), size, Some(on_io), user)
                },
            );
            until(|| op.is_done());
        };
        write(3);
        if chance(2) {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_stream_cancel(server.get(), ptr::null_mut()) }, 0);
        } else {
            write(4);
        }
        until(|| op.is_done());
    }
    if chance(2) {
        assert_eq!(weir_stream_close(server.get()), 0);
    }
    join(vec![moving, clock]);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}
