//! Streams, acceptors and datagrams on sockets of the Unix family, whose readiness comes at once and in the
//! same way each time.

use super::driver::Scenario;
use super::ops::{
    self, Context, Handle, Op, begin, breathe, chance, choose, context, join, make, many, must,
    on_accept, on_io, on_status, runners, until,
};
use libc::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use weir::abi::acceptor::{
    weir_acceptor_accept, weir_acceptor_accept_each, weir_acceptor_bind, weir_acceptor_cancel,
    weir_acceptor_close, weir_acceptor_create, weir_acceptor_listen, weir_acceptor_open,
};
use weir::abi::compose::weir_stream_set_timeout;
use weir::abi::context::{
    weir_context_advance, weir_context_destroy, weir_context_work_begin, weir_context_work_end,
};
use weir::abi::datagram::{weir_datagram_cancel, weir_datagram_close};
use weir::abi::handle::{
    weir_acceptor, weir_datagram, weir_handle_set_strand, weir_strand, weir_stream,
};
use weir::abi::local::{weir_datagram_pair, weir_stream_pair};
use weir::abi::message::{weir_datagram_receive, weir_datagram_send};
use weir::abi::strand::weir_strand_create;
use weir::abi::stream::{
    weir_stream_cancel, weir_stream_close, weir_stream_connect, weir_stream_create,
    weir_stream_read, weir_stream_read_some, weir_stream_set_option, weir_stream_shutdown,
    weir_stream_wait, weir_stream_write,
};
use weir::sched::sync::schedule::spawn;

const fn plain(name: &'static str, run: fn()) -> Scenario {
    Scenario { name, idle_clock: false, outside: false, run }
}

/// This file's.
pub const SCENARIOS: &[Scenario] = &[
    plain("echo", echo),
    plain("cancel", cancel),
    plain("close", close),
    plain("time_out", time_out),
    plain("strand_stream", strand_stream),
    plain("accept", accept),
    plain("datagrams", datagrams),
];

const ECANCELED: c_int = -libc::ECANCELED;
const EBADF: c_int = -libc::EBADF;
const ETIMEDOUT: c_int = -libc::ETIMEDOUT;

type Stream = Handle<weir_stream>;

fn pair(context: Context) -> (Stream, Stream) {
    let (mut first, mut second) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: two places for handles.
    let answer = unsafe { weir_stream_pair(context.get(), &raw mut first, &raw mut second) };
    assert_eq!(answer, 0);
    (Handle(first), Handle(second))
}

/// Memory that stays, so that a late write to it would do no harm but to the test.
fn buffer(size: usize) -> Handle<u8> {
    Handle(Box::leak(vec![0_u8; size].into_boxed_slice()).as_mut_ptr())
}

fn bytes(buffer: Handle<u8>, count: usize) -> &'static [u8] {
    // SAFETY: leaked, and of that size; nobody writes to it now.
    unsafe { std::slice::from_raw_parts(buffer.get(), count) }
}

fn pattern(size: usize) -> Handle<u8> {
    let data: Vec<u8> = (0..size).map(|place| (place * 7 + place / 256) as u8).collect();
    Handle(Box::leak(data.into_boxed_slice()).as_mut_ptr())
}

fn shrink(stream: Stream) {
    for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        let size: c_int = 4096;
        let (at, length) = ((&raw const size).cast::<c_void>(), size_of::<c_int>() as u32);
        // SAFETY: a number that lives through the call.
        unsafe { weir_stream_set_option(stream.get(), libc::SOL_SOCKET, name, at, length) };
    }
}

fn read(
    stream: Stream,
    into: Handle<u8>,
    size: usize,
    then: impl FnOnce(&'static Op) + Send + 'static,
) -> (&'static Op, c_int) {
    // SAFETY: the buffer is never freed.
    begin("read", then, |user| unsafe {
        weir_stream_read(stream.get(), into.get().cast(), size, Some(on_io), user)
    })
}

fn read_some(
    stream: Stream,
    into: Handle<u8>,
    size: usize,
    then: impl FnOnce(&'static Op) + Send + 'static,
) -> (&'static Op, c_int) {
    // SAFETY: as above.
    begin("read some", then, |user| unsafe {
        weir_stream_read_some(stream.get(), into.get().cast(), size, Some(on_io), user)
    })
}

fn write(
    stream: Stream,
    from: Handle<u8>,
    size: usize,
    then: impl FnOnce(&'static Op) + Send + 'static,
) -> (&'static Op, c_int) {
    // SAFETY: as above.
    begin("write", then, |user| unsafe {
        weir_stream_write(stream.get(), from.get().cast(), size, Some(on_io), user)
    })
}

/// Reads and writes back, until the end.
fn serve(stream: Stream, memory: Handle<u8>, size: usize) {
    let (_, result) = read_some(stream, memory, size, move |op| {
        if op.status() < 0 {
            return;
        }
        let count = op.bytes.load(SeqCst);
        write(stream, memory, count, move |op| {
            if op.status() == 0 {
                serve(stream, memory, size);
            }
        });
    });
    assert!(result == 0 || result == EBADF, "{result}");
}

/// More than the sockets hold goes to an echo and comes back whole, on two or three threads.
fn echo() {
    const SIZE: usize = 20_000;
    let context = context();
    let (client, server) = pair(context);
    shrink(client);
    shrink(server);
    let (sent, got) = (pattern(SIZE), buffer(SIZE));
    serve(server, buffer(3000), 3000);
    let running = runners(context, 2 + choose(2));
    let (_, result) = write(client, sent, SIZE, |op| {
        assert_eq!((op.status(), op.bytes.load(SeqCst)), (0, SIZE));
    });
    assert_eq!(result, 0);
    let (_, result) = read(client, got, SIZE, move |op| {
        assert_eq!((op.status(), op.bytes.load(SeqCst)), (0, SIZE));
        assert!(bytes(sent, SIZE) == bytes(got, SIZE), "other bytes came back");
        assert_eq!(weir_stream_shutdown(client.get(), libc::SHUT_WR), 0);
    });
    assert_eq!(result, 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Cancels from another thread lose no byte: what a read that was cancelled has taken it tells, and the next read
/// goes on after it.
fn cancel() {
    const SIZE: usize = 3000;
    fn go_on(stream: Stream, got: Handle<u8>, count: Arc<AtomicUsize>) {
        let from = count.load(SeqCst);
        if from == SIZE {
            return;
        }
        // SAFETY: within the buffer.
        let into = Handle(unsafe { got.get().add(from) });
        let (_, result) = begin(
            "part",
            {
                let count = count.clone();
                move |op| {
                    let status = op.status();
                    assert!(status == 0 || status == ECANCELED, "{status}");
                    count.fetch_add(op.bytes.load(SeqCst), SeqCst);
                    go_on(stream, got, count);
                }
            },
            |user| {
                // SAFETY: what is left of the buffer is so long.
                unsafe {
                    weir_stream_read(
                        stream.get(),
                        into.get().cast(),
                        SIZE - from,
                        Some(on_io),
                        user,
                    )
                }
            },
        );
        assert_eq!(result, 0);
    }
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (client, server) = pair(context);
    let (sent, got) = (pattern(SIZE), buffer(SIZE));
    let count = Arc::new(AtomicUsize::new(0));
    let running = runners(context, 1 + choose(2));
    go_on(server, got, count.clone());
    let cancelling = spawn("canceller", move || {
        for _ in 0..3 {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_stream_cancel(server.get(), ptr::null_mut()) }, 0);
        }
    });
    for part in 0..3 {
        // SAFETY: within the pattern.
        let from = Handle(unsafe { sent.get().add(part * 1000) });
        let (op, result) = write(client, from, 1000, |op| assert_eq!(op.status(), 0));
        assert_eq!(result, 0);
        until(|| op.is_done());
    }
    cancelling.join();
    until(|| count.load(SeqCst) == SIZE);
    assert!(bytes(sent, SIZE) == bytes(got, SIZE), "other bytes came");
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// A stream is closed by one thread while others read, write and wait on it; each operation that began ends,
/// each call after the close says so, and a new stream in the same place is not hit.
fn close() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (client, server) = pair(context);
    let running = runners(context, 1 + choose(2));
    let memory = buffer(64);
    let reading = spawn("reader", move || {
        for _ in 0..3 {
            let (op, result) = read_some(server, memory, 64, |_| ());
            // Busy: the other thread waits for the same.
            assert!(result == 0 || result == EBADF || result == -libc::EBUSY, "{result}");
            if result < 0 {
                continue;
            }
            until(|| op.is_done());
            assert!(op.status() == 0 || op.status() == ECANCELED);
        }
    });
    let writing = spawn("writer", move || {
        for _ in 0..2 {
            let (op, _) = write(client, pattern(32), 32, |_| ());
            breathe();
            let _ = op;
        }
        let (_, result) = begin(
            "wait",
            |_| (),
            |user| {
                weir_stream_wait(
                    server.get(),
                    weir::abi::stream::WEIR_WAIT_READ,
                    Some(on_status),
                    user,
                )
            },
        );
        assert!(result == 0 || result == EBADF || result == -libc::EBUSY, "{result}");
    });
    for _ in 0..choose(4) {
        breathe();
    }
    assert_eq!(weir_stream_close(server.get()), 0);
    assert_eq!(weir_stream_close(server.get()), EBADF);
    let (again, other) = pair(context);
    let got = buffer(16);
    let (op, result) = read(again, got, 16, |op| assert_eq!(op.status(), 0));
    assert_eq!(result, 0);
    assert_eq!(weir_stream_close(server.get()), EBADF);
    assert_eq!(write(other, pattern(16), 16, |op| assert_eq!(op.status(), 0)).1, 0);
    until(|| op.is_done());
    join(vec![reading, writing]);
    assert_eq!(weir_stream_close(client.get()), 0);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// A read with a timeout, the clock, the bytes and a cancel at once: it ends once, and every byte is told of.
fn time_out() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (client, server) = pair(context);
    let running = runners(context, 1 + choose(2));
    assert_eq!(weir_stream_set_timeout(server.get(), weir::abi::stream::WEIR_WAIT_READ, 100), 0);
    let moving = spawn("clock", move || {
        for _ in 0..3 {
            assert_eq!(weir_context_advance(context.get(), 60), 0);
        }
    });
    let writing = spawn("writer", move || {
        write(client, pattern(10), 10, |op| assert_eq!(op.status(), 0));
    });
    let memory = buffer(10);
    let mut told = 0;
    while told < 10 {
        let (op, result) = read_some(server, memory, 10, |_| ());
        assert_eq!(result, 0);
        if chance(4) {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_stream_cancel(server.get(), ptr::null_mut()) }, 0);
        }
        until(|| op.is_done());
        let status = op.status();
        assert!([0, ECANCELED, ETIMEDOUT].contains(&status), "{status}");
        told += op.bytes.load(SeqCst);
    }
    assert_eq!(told, 10);
    join(vec![moving, writing]);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Both directions of a stream bound to one strand, on three threads: their callbacks do not overlap.
fn strand_stream() {
    const SIZE: usize = 2000;
    let context = context();
    let (client, server) = pair(context);
    // SAFETY: a place for a handle.
    let strand: Handle<weir_strand> = make(|out| unsafe { weir_strand_create(context.get(), out) });
    for stream in [client, server] {
        assert_eq!(weir_handle_set_strand(stream.get().cast(), strand.get()), 0);
    }
    let inside: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let guard = move || {
        assert_eq!(inside.fetch_add(1, SeqCst), 0, "callbacks of a strand overlap");
        breathe();
        breathe();
        inside.fetch_sub(1, SeqCst);
    };
    let (sent, got) = (pattern(SIZE), buffer(SIZE));
    assert_eq!(read(server, got, SIZE, move |_| guard()).1, 0);
    assert_eq!(read(client, buffer(SIZE), SIZE, move |_| guard()).1, 0);
    // A write that has moved its bytes may not have completed when the reads have.
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = runners(context, 3);
    let other = spawn("writer", move || {
        assert_eq!(write(server, sent, SIZE, move |_| guard()).1, 0);
    });
    assert_eq!(write(client, sent, SIZE, move |_| guard()).1, 0);
    other.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    assert!(bytes(sent, SIZE) == bytes(got, SIZE));
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Connects from two threads to an acceptor that others cancel and close: each connect ends, and no connection
/// that was accepted is lost.
fn accept() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    // SAFETY: a place for a handle.
    let acceptor: Handle<weir_acceptor> =
        make(|out| unsafe { weir_acceptor_create(context.get(), out) });
    assert_eq!(weir_acceptor_open(acceptor.get(), libc::AF_UNIX), 0);
    // SAFETY: zeroed, it is an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // Abstract, and of this process.
    let name = format!("weir-sim-{}", std::process::id());
    for (place, byte) in name.bytes().enumerate() {
        address.sun_path[place + 1] = byte as _;
    }
    let length = (2 + 1 + name.len()) as libc::socklen_t;
    // SAFETY: the address lives through the call.
    let answer = unsafe { weir_acceptor_bind(acceptor.get(), (&raw const address).cast(), length) };
    assert_eq!(answer, 0);
    assert_eq!(weir_acceptor_listen(acceptor.get(), 8), 0);
    let running = runners(context, 1 + choose(2));
    let each = chance(2);
    if each {
        many(
            "accept each",
            |_| (),
            |user| weir_acceptor_accept_each(acceptor.get(), Some(on_accept), user),
        );
    } else {
        begin("accept", |_| (), |user| weir_acceptor_accept(acceptor.get(), Some(on_accept), user));
    }
    let connecting = ["connector 1", "connector 2"].map(|name| {
        spawn(name, move || {
            // SAFETY: a place for a handle.
            let stream: Stream = make(|out| unsafe { weir_stream_create(context.get(), out) });
            // SAFETY: the address lives through the call.
            let (op, result) = begin(
                "connect",
                |_| (),
                |user| unsafe {
                    weir_stream_connect(
                        stream.get(),
                        (&raw const address).cast(),
                        length,
                        Some(on_status),
                        user,
                    )
                },
            );
            assert_eq!(result, 0);
            until(|| op.is_done());
            assert!(op.status() == 0 || op.status() == -libc::ECONNREFUSED, "{}", op.status());
            assert_eq!(weir_stream_close(stream.get()), 0);
        })
    });
    if chance(2) {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_acceptor_cancel(acceptor.get(), ptr::null_mut()) }, 0);
    }
    if chance(2) {
        join(connecting.into());
        assert_eq!(weir_acceptor_close(acceptor.get()), 0);
    } else {
        assert_eq!(weir_acceptor_close(acceptor.get()), 0);
        join(connecting.into());
    }
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Datagrams come whole and in order while reads are cancelled.
fn datagrams() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let (mut first, mut second) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: two places for handles.
    assert_eq!(unsafe { weir_datagram_pair(context.get(), &raw mut first, &raw mut second) }, 0);
    let (sender, receiver): (Handle<weir_datagram>, Handle<weir_datagram>) =
        (Handle(first), Handle(second));
    let running = runners(context, 1 + choose(2));
    let sending = spawn("sender", move || {
        for size in [1, 0, 3, 2] {
            // SAFETY: the pattern is never freed.
            let op = must(
                "send",
                |op| assert_eq!(op.status(), 0),
                |user| unsafe {
                    weir_datagram_send(
                        sender.get(),
                        pattern(4).get().cast(),
                        size,
                        Some(on_io),
                        user,
                    )
                },
            );
            until(|| op.is_done());
        }
    });
    let cancelling = spawn("canceller", move || {
        for _ in 0..2 {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_datagram_cancel(receiver.get(), ptr::null_mut()) }, 0);
        }
    });
    let mut sizes = Vec::new();
    while sizes.len() < 4 {
        let op = must("receive", |_| (), |user| receive(receiver, buffer(8), user));
        until(|| op.is_done());
        match op.status() {
            0 => sizes.push(op.bytes.load(SeqCst)),
            status => assert_eq!(status, ECANCELED),
        }
    }
    assert_eq!(sizes, [1, 0, 3, 2]);
    join(vec![sending, cancelling]);
    assert_eq!(weir_datagram_close(receiver.get()), 0);
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

fn receive(from: Handle<weir_datagram>, into: Handle<u8>, user: *mut c_void) -> c_int {
    // SAFETY: the buffer is never freed.
    unsafe { weir_datagram_receive(from.get(), into.get().cast(), 8, Some(on_io), user) }
}
