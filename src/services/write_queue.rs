//! Writing from a queue: the system calls. The queue itself is in `sched::write_queue`.
#![allow(unsafe_code, reason = "the users' buffers")]

use super::stream::{BYTES_PER_TURN, CALLS_PER_TURN, Request, VECTORS};
use crate::sched::completion::{Callback, IoFn, OP_WRITE};
use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::sched::slot::Outcome;
use crate::sched::table::Token;
use crate::sched::write_queue::{Entry, WriteQueue};
use crate::sys::errno::Errno;
use crate::sys::transfer::send_vectored;
use libc::{c_void, iovec};
use std::os::fd::RawFd;
use std::{ptr, slice};

/// Queues a write of all of a buffer.
pub fn send(
    caller: &Caller,
    stream: Token,
    data: *mut c_void,
    length: usize,
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.fd()?;
    if data.is_null() && length > 0 || isize::try_from(length).is_err() {
        return Err(Errno::INVAL);
    }
    let callback = callback.map_or(Callback::Record(OP_WRITE), Callback::Io);
    stream.push_write(caller, Entry { data, length }, serve, callback, user)
}

/// Writes what the kernel takes at once and queues a copy of the rest; the bytes that wait then.
pub fn send_copy(
    caller: &Caller,
    stream: Token,
    data: *const c_void,
    length: usize,
) -> Result<usize, Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.fd()?;
    stream.check_queue()?;
    stream.lost()?;
    let request = Request { data: data.cast_mut(), length, vectored: false, exact: true };
    let mut transfer = request.transfer()?;
    if length > 0 && !stream.is_busy(Dir::Write) {
        let status = stream.try_now(Dir::Write, request.perform(Dir::Write), &mut transfer)?;
        if status < 0 {
            return Err(Errno(-status));
        }
    }
    let left = length - transfer.done().min(length);
    if left > 0 {
        let mut copy = Vec::new();
        let kept = copy.try_reserve_exact(left).map_err(|_| Errno::NOMEM).and_then(|()| {
            // SAFETY: promised by the caller; `done` bytes of it have been written.
            copy.extend_from_slice(unsafe {
                slice::from_raw_parts(data.cast::<u8>().add(length - left), left)
            });
            stream.push_copy(caller, copy, serve)
        });
        if let Err(error) = kept {
            return Err(if transfer.done() > 0 { stream.lose(error) } else { error });
        }
    }
    Ok(stream.queued_bytes())
}

/// Sets or ends the high-water mark.
pub fn set_mark(
    caller: &Caller,
    stream: Token,
    (high, low): (usize, usize),
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    if low > high {
        return Err(Errno::INVAL);
    }
    let callback = callback.map_or(Callback::Record(OP_WRITE), Callback::Io);
    stream.set_mark(caller, (high, low), callback, user)
}

/// Bytes that wait in the queue.
pub fn queued(stream: Token) -> Result<usize, Errno> {
    Ok(Descriptor::lock(stream)?.queued_bytes())
}

/// Several entries go with one system call.
fn serve(fd: RawFd, queue: &mut WriteQueue, trust: bool) -> Outcome {
    let (mut moved, mut calls, mut short) = (0, 0, false);
    queue.advance(0);
    loop {
        if queue.is_empty() {
            return Outcome::Done { status: 0, drained: short };
        }
        if short && trust {
            return Outcome::WouldBlock;
        }
        if moved >= BYTES_PER_TURN || calls >= CALLS_PER_TURN {
            return Outcome::Yield;
        }
        calls += 1;
        let mut parts = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; VECTORS];
        let (used, asked) = queue.gather(&mut parts, BYTES_PER_TURN);
        // SAFETY: buffers of the queue, which are valid until their tickets are finished.
        match unsafe { send_vectored(fd, parts.get(..used).unwrap_or_default()) } {
            Ok(count) => {
                moved += count;
                short = count < asked;
                queue.advance(count);
            }
            Err(Errno::AGAIN) => return Outcome::WouldBlock,
            Err(error) => return Outcome::Done { status: error.code(), drained: false },
        }
    }
}
