//! Descriptors that go with the bytes of an AF_UNIX socket.
#![allow(unsafe_code, reason = "moves bytes and fds between the kernel and the user's buffers")]

use super::kind;
use super::stream::{BYTES_PER_TURN, EOF, all, has_all_bytes, send};
use crate::sched::completion::{Callback, IoFn, OP_READ, OP_RECEIVE, OP_SEND, OP_WRITE};
use crate::sched::descriptor::{Descriptor, Dir, Locked};
use crate::sched::frame::Caller;
use crate::sched::slot::{Kind, Outcome, Transfer};
use crate::sched::table::Token;
use crate::sys::errno::Errno;
use crate::sys::rights::{self, FDS_MAX};
use crate::sys::socket;
use libc::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;

/// The handle, if its socket passes descriptors: others would drop them without a word.
fn lock_local(handle: Token) -> Result<Locked, Errno> {
    let handle = Descriptor::lock(handle)?;
    if socket::domain(handle.fd()?)? != libc::AF_UNIX {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(handle)
}

/// A stream's message needs a byte to go with; a datagram may be empty.
fn check(handle: Token, data: *mut c_void, length: usize) -> Result<(), Errno> {
    let is_bad = data.is_null() && length > 0
        || isize::try_from(length).is_err()
        || handle.kind() == kind::STREAM && length == 0;
    if is_bad { Err(Errno::INVAL) } else { Ok(()) }
}

/// Begins to write all bytes to a stream, or to send one datagram, with descriptors.
pub fn begin_send(
    caller: &Caller,
    token: Token,
    (data, length): (*mut c_void, usize),
    (fds, count): (*const RawFd, usize),
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut handle = lock_local(token)?;
    check(token, data, length)?;
    if fds.is_null() && count > 0 || count > FDS_MAX {
        return Err(Errno::INVAL);
    }
    let is_stream = token.kind() == kind::STREAM;
    let perform = if is_stream { perform_write } else { perform_send };
    let record = if is_stream { OP_WRITE } else { OP_SEND };
    let callback = callback.map_or(Callback::Record(record), Callback::Io);
    // The fds go with the first byte.
    let more = (fds.cast_mut().cast(), ptr::without_provenance_mut(count));
    let transfer = Transfer::message(data, length, more);
    handle.begin(caller, Dir::Write, Kind::Once(perform), transfer, callback, user)
}

fn first(fd: RawFd, transfer: &Transfer, length: usize) -> Result<usize, Errno> {
    let (fds, count) = transfer.more();
    // SAFETY: the user's buffers, `length` bytes and `count` fds, until the operation ends.
    unsafe { rights::send(fd, transfer.data, length, fds.cast(), count.addr()) }
}

fn perform_write(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    all(
        transfer,
        Dir::Write,
        trust,
        |transfer| {
            if transfer.done() > 0 {
                return send(fd, transfer, BYTES_PER_TURN);
            }
            let asked = transfer.length().min(BYTES_PER_TURN);
            (first(fd, transfer, asked), asked)
        },
        has_all_bytes,
    )
}

fn perform_send(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    match first(fd, transfer, transfer.length()) {
        Ok(bytes) => {
            transfer.set_done(bytes);
            done(0)
        }
        Err(Errno::AGAIN) => Outcome::WouldBlock,
        Err(error) => done(error.code()),
    }
}

/// Begins to read some bytes of a stream, or to receive one datagram, with descriptors.
///
/// # Safety
/// `count` is NULL or may be read.
pub unsafe fn begin_receive(
    caller: &Caller,
    token: Token,
    (data, length): (*mut c_void, usize),
    (fds, count): (*mut RawFd, *mut usize),
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut handle = lock_local(token)?;
    check(token, data, length)?;
    // SAFETY: promised by the caller.
    if count.is_null() || fds.is_null() && unsafe { *count } > 0 {
        return Err(Errno::INVAL);
    }
    let is_stream = token.kind() == kind::STREAM;
    let perform = if is_stream { perform_read } else { perform_receive };
    let record = if is_stream { OP_READ } else { OP_RECEIVE };
    let callback = callback.map_or(Callback::Record(record), Callback::Io);
    let transfer = Transfer::message(data, length, (fds.cast(), count.cast()));
    handle.begin(caller, Dir::Read, Kind::Once(perform), transfer, callback, user)
}

fn perform_read(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    receive(fd, transfer, EOF)
}

fn perform_receive(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    receive(fd, transfer, 0)
}

/// `empty`: what a message without bytes means.
fn receive(fd: RawFd, transfer: &mut Transfer, empty: c_int) -> Outcome {
    let (fds, count) = transfer.more();
    let count: *mut usize = count.cast();
    // SAFETY: the user's buffers until the operation ends.
    let received =
        unsafe { rights::recv(fd, transfer.data, transfer.length(), fds.cast(), count.read()) };
    let (stored, status) = match received {
        Ok(received) => {
            transfer.set_done(received.bytes);
            let cut = if received.cut { Some(Errno::MSGSIZE) } else { None };
            let status = match received.lost.or(cut) {
                Some(error) => error.code(),
                None if received.bytes == 0 => empty,
                None => 0,
            };
            (received.fds, status)
        }
        Err(Errno::AGAIN) => return Outcome::WouldBlock,
        Err(error) => (0, error.code()),
    };
    // SAFETY: as above.
    unsafe { count.write(stored) };
    done(status)
}

fn done(status: c_int) -> Outcome {
    Outcome::Done { status, drained: false }
}
