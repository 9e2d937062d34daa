//! Streams: connected byte sockets.
//!
//! Each operation is a `Perform` function that the descriptor calls when its direction may be ready: the
//! system call is here, the waiting is in `sched::descriptor`.
#![allow(unsafe_code, reason = "moves bytes between the kernel and the user's buffers")]

use super::kind;
use crate::sched::completion::{Callback, IoFn, OP_CONNECT, OP_READ, OP_WAIT, OP_WRITE, StatusFn};
use crate::sched::descriptor::{Descriptor, Dir, Locked, Reserved};
use crate::sched::frame::Caller;
use crate::sched::scheduler::Scheduler;
use crate::sched::slot::{Kind, Outcome, Perform, Transfer};
use crate::sched::table::Token;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::socket::{self, Connect};
use crate::sys::{fd, transfer};
use libc::{c_int, c_void, iovec};
use std::os::fd::RawFd;
use std::ptr;

/// The status of a stream's end.
pub const EOF: i32 = -10001;

/// Bytes that one operation moves before others have their turn (H34).
pub(super) const BYTES_PER_TURN: usize = 1 << 20;
/// System calls that it makes before that.
pub(super) const CALLS_PER_TURN: u32 = 64;
/// Buffers handed to one vectored system call.
pub(super) const VECTORS: usize = 64;

/// Makes a stream without an fd.
pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
    Reserved::new()?.publish(sched, kind::STREAM, -1, false)
}

/// True when a transfer shorter than its buffer proves that a direction is drained: TCP alone; an
/// AF_UNIX read also ends at messages that carry descriptors.
pub fn trusts_short(family: i32, protocol: i32) -> bool {
    (family == libc::AF_INET || family == libc::AF_INET6) && protocol == libc::IPPROTO_TCP
}

/// Opens a socket for the stream.
pub fn open(stream: Token, family: c_int) -> Result<(), Errno> {
    open_locked(&mut Descriptor::lock(stream)?, family)
}

/// Opens a socket for a handle that has none.
pub fn open_locked(handle: &mut Locked, family: c_int) -> Result<(), Errno> {
    handle.sched.check_open()?;
    if handle.fd().is_ok() || handle.holds() {
        return Err(Errno::BUSY);
    }
    if !matches!(family, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX) {
        return Err(Errno::AFNOSUPPORT);
    }
    let fd = socket::stream_socket(family)?;
    handle.attach(fd, family != libc::AF_UNIX);
    Ok(())
}

/// Takes over a stream socket.
pub fn adopt(stream: Token, fd: RawFd) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.sched.check_open()?;
    if stream.fd().is_ok() || stream.holds() {
        return Err(Errno::BUSY);
    }
    if socket::kind(fd)? != libc::SOCK_STREAM || socket::is_listening(fd)? {
        return Err(Errno::PROTOTYPE);
    }
    let trusts = trusts_short(socket::domain(fd)?, socket::protocol(fd)?);
    fd::set_nonblocking_cloexec(fd)?;
    stream.attach(fd, trusts);
    Ok(())
}

/// Begins to connect.
pub fn connect(
    caller: &Caller,
    stream: Token,
    address: &Address,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.sched.check_open()?;
    if stream.is_busy(Dir::Write) {
        return Err(Errno::BUSY);
    }
    let opened = stream.fd().is_err();
    if opened {
        open_locked(&mut stream, address.family())?;
    }
    let fd = stream.fd()?;
    // What the operation needs is had before the kernel is asked for anything.
    if let Err(error) = stream.prepare_write(caller) {
        if opened {
            stream.drop_fd();
        }
        return Err(error);
    }
    let callback = callback.map_or(Callback::Record(OP_CONNECT), Callback::Status);
    if !opened && socket::peer_address(fd).is_ok() {
        // The kernel says so only at the second time.
        return stream.begin_done(caller, Dir::Write, -libc::EISCONN, callback, user);
    }
    // H20: an edge from before the connect says nothing of it.
    stream.forget_ready(Dir::Write);
    let connected = match socket::connect(fd, address) {
        // The failure of an earlier connect, told once more; the socket is as new after that.
        Err(Errno(libc::ECONNABORTED)) if !opened => socket::connect(fd, address),
        first => first,
    };
    let begun = match connected {
        Ok(Connect::InProgress) => {
            // A socket opened here goes when the connect fails, so that the next one starts anew.
            let kind = Kind::Connect { perform: perform_connect, opened };
            let transfer = Transfer::none();
            stream.begin(caller, Dir::Write, kind, transfer, callback, user)
        }
        Ok(Connect::Done) => {
            stream.assume_ready(Dir::Write);
            stream.begin_done(caller, Dir::Write, 0, callback, user)
        }
        Err(error) => {
            stream.assume_ready(Dir::Write);
            if opened {
                stream.drop_fd();
            }
            // From AF_UNIX, where the listener's queue is full. It is no promise that a later try succeeds.
            let error = if error == Errno::AGAIN { Errno(libc::ECONNREFUSED) } else { error };
            return stream.begin_done(caller, Dir::Write, error.code(), callback, user);
        }
    };
    if begun.is_err() && opened {
        stream.drop_fd();
    }
    begun
}

/// SO_ERROR tells of failure; that there is a peer proves success.
pub(super) fn perform_connect(fd: RawFd, _: &mut Transfer, _: bool) -> Outcome {
    let status = match socket::take_error(fd) {
        Ok(0) => match socket::peer_address(fd) {
            Ok(_) => 0,
            Err(Errno::NOTCONN) => match socket::poll(fd, libc::POLLOUT) {
                // Somebody took the error out of the socket before.
                Ok(found) if found & (libc::POLLERR | libc::POLLHUP) != 0 => -libc::ECONNREFUSED,
                _ => return Outcome::WouldBlock,
            },
            Err(error) => error.code(),
        },
        Ok(error) => -error,
        Err(error) => error.code(),
    };
    Outcome::Done { status, drained: false }
}

/// A transfer as the user asked for it.
#[derive(Clone, Copy)]
pub struct Request {
    /// The buffer, or the array of `iovec`s.
    pub data: *mut c_void,
    /// Its length in bytes, or the number of `iovec`s.
    pub length: usize,
    /// `data` is an array of `iovec`s.
    pub vectored: bool,
    /// All of it, not only some.
    pub exact: bool,
}

impl Request {
    #[inline(always)]
    pub(super) fn transfer(&self) -> Result<Transfer, Errno> {
        if self.data.is_null() && self.length > 0 {
            return Err(Errno::INVAL);
        }
        if isize::try_from(self.length).is_err() {
            return Err(Errno::INVAL);
        }
        Ok(Transfer::new(self.data, self.length))
    }

    /// Bytes in all.
    #[inline(always)]
    pub(super) fn total(&self) -> Result<usize, Errno> {
        if self.vectored { self.sum() } else { Ok(self.length) }
    }

    fn sum(&self) -> Result<usize, Errno> {
        let mut total = 0_usize;
        for at in 0..self.length {
            // SAFETY: the user promised an array of this length.
            let vector = unsafe { *self.data.cast::<iovec>().add(at) };
            if vector.iov_base.is_null() && vector.iov_len > 0 {
                return Err(Errno::INVAL);
            }
            total = total.checked_add(vector.iov_len).ok_or(Errno::INVAL)?;
        }
        if isize::try_from(total).is_err() {
            return Err(Errno::INVAL);
        }
        Ok(total)
    }

    #[inline(always)]
    pub(super) fn perform(&self, dir: Dir) -> Perform {
        match (dir, self.vectored, self.exact) {
            (Dir::Read, false, false) => perform_read_some,
            (Dir::Read, false, true) => perform_read,
            (Dir::Read, true, false) => perform_readv_some,
            (Dir::Read, true, true) => perform_readv,
            (Dir::Write, false, false) => perform_write_some,
            (Dir::Write, false, true) => perform_write,
            (Dir::Write, true, false) => perform_writev_some,
            (Dir::Write, true, true) => perform_writev,
        }
    }
}

/// Begins a read or a write.
#[inline(always)]
pub fn begin(
    caller: &Caller,
    stream: Token,
    dir: Dir,
    request: Request,
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.fd()?;
    let transfer = request.transfer()?;
    let kind = if dir == Dir::Read { OP_READ } else { OP_WRITE };
    let callback = callback.map_or(Callback::Record(kind), Callback::Io);
    if request.total()? == 0 {
        return stream.begin_done(caller, dir, 0, callback, user);
    }
    stream.begin_once(caller, dir, request.perform(dir), transfer, callback, user)
}

/// Moves what can be moved now; the number of bytes.
pub fn try_now(stream: Token, dir: Dir, request: Request) -> Result<(i32, usize), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    let mut transfer = request.transfer()?;
    if request.total()? == 0 {
        stream.fd()?;
        return if stream.is_busy(dir) { Err(Errno::BUSY) } else { Ok((0, 0)) };
    }
    let status = stream.try_now(dir, request.perform(dir), &mut transfer)?;
    Ok((status, transfer.done()))
}

/// Begins to wait for readiness. The kernel is asked first, whatever edges said (H27).
pub fn wait(
    caller: &Caller,
    handle: Token,
    dir: Dir,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut handle = Descriptor::lock(handle)?;
    handle.fd()?;
    if handle.is_busy(dir) {
        return Err(Errno::BUSY);
    }
    handle.assume_ready(dir);
    let perform = match dir {
        Dir::Read => perform_wait_read,
        Dir::Write => perform_wait_write,
    };
    let transfer = Transfer::none();
    let callback = callback.map_or(Callback::Record(OP_WAIT), Callback::Status);
    handle.begin(caller, dir, Kind::Once(perform), transfer, callback, user)
}

/// Ends one or both directions of the connection.
pub fn shutdown(caller: &Caller, stream: Token, how: c_int) -> Result<(), Errno> {
    if !matches!(how, libc::SHUT_RD | libc::SHUT_WR | libc::SHUT_RDWR) {
        return Err(Errno::INVAL);
    }
    let mut stream = Descriptor::lock(stream)?;
    socket::shutdown(stream.fd()?, how)?;
    // Of an AF_UNIX socket epoll does not tell a pending write that it can only fail now.
    stream.nudge(caller);
    Ok(())
}

fn perform_wait_read(fd: RawFd, _: &mut Transfer, _: bool) -> Outcome {
    wait_for(fd, libc::POLLIN)
}

fn perform_wait_write(fd: RawFd, _: &mut Transfer, _: bool) -> Outcome {
    wait_for(fd, libc::POLLOUT)
}

fn wait_for(fd: RawFd, events: i16) -> Outcome {
    match socket::poll(fd, events) {
        Ok(0) => Outcome::WouldBlock,
        Ok(found) if found & libc::POLLNVAL != 0 => {
            Outcome::Done { status: Errno::BADF.code(), drained: false }
        }
        Ok(_) => Outcome::Done { status: 0, drained: false },
        Err(error) => Outcome::Done { status: error.code(), drained: false },
    }
}

/// What one system call came to: `asked` bytes were asked for.
#[inline(always)]
fn step(
    transfer: &mut Transfer,
    moved: Result<usize, Errno>,
    asked: usize,
    dir: Dir,
) -> Result<bool, Outcome> {
    match moved {
        Ok(0) if dir == Dir::Read => Err(Outcome::Done { status: EOF, drained: false }),
        Ok(count) => {
            transfer.add_done(count);
            Ok(count < asked)
        }
        Err(Errno::AGAIN) => Err(Outcome::WouldBlock),
        Err(error) => Err(Outcome::Done { status: error.code(), drained: false }),
    }
}

/// One system call is the whole operation.
#[inline(always)]
fn some(
    transfer: &mut Transfer,
    dir: Dir,
    call: impl FnOnce(&mut Transfer) -> (Result<usize, Errno>, usize),
) -> Outcome {
    match call(transfer) {
        (Ok(count), asked) if count > 0 || dir == Dir::Write => {
            transfer.set_done(count);
            Outcome::Done { status: 0, drained: count < asked }
        }
        (Ok(_), _) => Outcome::Done { status: EOF, drained: false },
        (Err(Errno::AGAIN), _) => Outcome::WouldBlock,
        (Err(error), _) => Outcome::Done { status: error.code(), drained: false },
    }
}

/// As many system calls as it takes, within the share of one turn.
#[inline(always)]
pub(super) fn all(
    transfer: &mut Transfer,
    dir: Dir,
    trust: bool,
    call: impl Fn(&mut Transfer) -> (Result<usize, Errno>, usize),
    is_whole: impl Fn(&mut Transfer) -> bool,
) -> Outcome {
    let start = transfer.done();
    let mut calls = 0;
    loop {
        calls += 1;
        let (moved, asked) = call(transfer);
        match step(transfer, moved, asked, dir) {
            Ok(short) if is_whole(transfer) => {
                return Outcome::Done { status: 0, drained: short };
            }
            Ok(true) if trust => return Outcome::WouldBlock,
            Ok(_) if transfer.done() - start >= BYTES_PER_TURN || calls >= CALLS_PER_TURN => {
                return Outcome::Yield;
            }
            Ok(_) => {}
            Err(outcome) => return outcome,
        }
    }
}

#[inline(always)]
fn receive(fd: RawFd, transfer: &mut Transfer, limit: usize) -> (Result<usize, Errno>, usize) {
    let done = transfer.done();
    let asked = (transfer.length() - done).min(limit);
    // SAFETY: the user's buffer, `length` bytes long, until the operation ends.
    (unsafe { transfer::recv(fd, transfer.data.cast::<u8>().add(done), asked) }, asked)
}

#[inline(always)]
pub(super) fn send(
    fd: RawFd,
    transfer: &mut Transfer,
    limit: usize,
) -> (Result<usize, Errno>, usize) {
    let done = transfer.done();
    let asked = (transfer.length() - done).min(limit);
    // SAFETY: as in `receive`.
    (unsafe { transfer::send(fd, transfer.data.cast::<u8>().add(done), asked) }, asked)
}

/// One buffer is whole.
pub(super) fn has_all_bytes(transfer: &mut Transfer) -> bool {
    transfer.done() == transfer.length()
}

/// Leaves the `iovec`s behind that were moved; true when none is left.
fn has_all_vectors(transfer: &mut Transfer) -> bool {
    while transfer.length() > 0 {
        // SAFETY: the user promised an array of this length until the operation ends.
        let first = unsafe { (*transfer.data.cast::<iovec>()).iov_len };
        if transfer.skip < first {
            return false;
        }
        transfer.skip -= first;
        transfer.shift::<iovec>();
    }
    true
}

/// Calls `call` with the part of the user's `iovec`s that is still to be moved, as far as it fits. Those
/// that were moved are left behind for good.
fn vectored(
    transfer: &mut Transfer,
    call: impl FnOnce(&[iovec]) -> Result<usize, Errno>,
) -> (Result<usize, Errno>, usize) {
    has_all_vectors(transfer);
    let mut part = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; VECTORS];
    let mut used = 0;
    let mut asked = 0;
    while used < transfer.length() {
        // SAFETY: as in `has_all_vectors`.
        let vector = unsafe { *transfer.data.cast::<iovec>().add(used) };
        let skip = if used == 0 { transfer.skip } else { 0 };
        let Some(slot) = part.get_mut(used) else { break };
        // SAFETY: within the buffer.
        slot.iov_base = unsafe { vector.iov_base.byte_add(skip) };
        slot.iov_len = vector.iov_len - skip;
        asked += slot.iov_len;
        used += 1;
        if asked >= BYTES_PER_TURN {
            break;
        }
    }
    let moved = call(part.get(..used).unwrap_or_default());
    if let Ok(count) = moved {
        transfer.skip += count;
    }
    (moved, asked)
}

fn receive_vectored(fd: RawFd, transfer: &mut Transfer) -> (Result<usize, Errno>, usize) {
    // SAFETY: the parts are the user's buffers.
    vectored(transfer, |part| unsafe { transfer::recv_vectored(fd, part) })
}

fn send_vectored(fd: RawFd, transfer: &mut Transfer) -> (Result<usize, Errno>, usize) {
    // SAFETY: as above.
    vectored(transfer, |part| unsafe { transfer::send_vectored(fd, part) })
}

/// All of it with one system call, as most that is exact; what takes more goes on with `long`.
#[inline(always)]
fn at_once(
    fd: RawFd,
    transfer: &mut Transfer,
    trust: bool,
    dir: Dir,
    call: impl FnOnce(*mut u8, usize) -> Result<usize, Errno>,
    long: Perform,
) -> Outcome {
    let length = transfer.length();
    if transfer.done() > 0 || length > BYTES_PER_TURN {
        return long(fd, transfer, trust);
    }
    match some(transfer, dir, |t| (call(t.data.cast(), length), length)) {
        Outcome::Done { status: 0, drained: true } if trust => Outcome::WouldBlock,
        Outcome::Done { status: 0, drained: true } => long(fd, transfer, trust),
        outcome => outcome,
    }
}

fn perform_read_some(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    // SAFETY: the user's buffer, `length` bytes long, until the operation ends.
    some(transfer, Dir::Read, |t| unsafe {
        (transfer::recv(fd, t.data.cast(), t.length()), t.length())
    })
}

fn perform_read(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    // SAFETY: as in `receive`.
    let call = |data, length| unsafe { transfer::recv(fd, data, length) };
    at_once(fd, transfer, trust, Dir::Read, call, perform_long_read)
}

#[inline(never)]
fn perform_long_read(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    all(transfer, Dir::Read, trust, |t| receive(fd, t, BYTES_PER_TURN), has_all_bytes)
}

fn perform_readv_some(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    some(transfer, Dir::Read, |t| receive_vectored(fd, t))
}

fn perform_readv(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    all(transfer, Dir::Read, trust, |t| receive_vectored(fd, t), has_all_vectors)
}

fn perform_write_some(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    // SAFETY: as above.
    some(transfer, Dir::Write, |t| unsafe {
        (transfer::send(fd, t.data.cast(), t.length()), t.length())
    })
}

fn perform_write(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    // SAFETY: as in `receive`.
    let call = |data: *mut u8, length| unsafe { transfer::send(fd, data, length) };
    at_once(fd, transfer, trust, Dir::Write, call, perform_long_write)
}

#[inline(never)]
fn perform_long_write(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    all(transfer, Dir::Write, trust, |t| send(fd, t, BYTES_PER_TURN), has_all_bytes)
}

fn perform_writev_some(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    some(transfer, Dir::Write, |t| send_vectored(fd, t))
}

fn perform_writev(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    all(transfer, Dir::Write, trust, |t| send_vectored(fd, t), has_all_vectors)
}
