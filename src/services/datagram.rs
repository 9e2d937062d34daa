//! Datagrams: sockets that keep messages apart.
//!
//! As in `stream`, each operation is a `Perform` function; here one system call is always the whole of it,
//! but for batches. A short datagram says nothing of what is behind it, so nothing is ever known to be
//! drained but by EAGAIN.
#![allow(unsafe_code, reason = "moves bytes between the kernel and the user's buffers")]

use super::kind;
use crate::sched::completion::{Callback, IoFn, OP_RECEIVE, OP_SEND};
use crate::sched::descriptor::{Descriptor, Dir, Locked, Reserved};
use crate::sched::frame::Caller;
use crate::sched::scheduler::Scheduler;
use crate::sched::slot::{Kind, Outcome, Perform, Transfer};
use crate::sched::table::Token;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::message::{self, CHUNK, Message};
use crate::sys::{datagram as kernel, fd, socket};
use libc::{c_int, c_void, sockaddr, sockaddr_storage, socklen_t};
use std::os::fd::RawFd;
use std::{ptr, slice};

/// Messages that a batch moves before others have their turn (H34).
const MESSAGES_PER_TURN: usize = 1024;

/// Makes a datagram handle without an fd.
pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
    Reserved::new()?.publish(sched, kind::DATAGRAM, -1, false)
}

/// Opens a socket for the handle.
pub fn open(datagram: Token, family: c_int) -> Result<(), Errno> {
    open_locked(&mut Descriptor::lock(datagram)?, family)
}

fn open_locked(handle: &mut Locked, family: c_int) -> Result<(), Errno> {
    handle.sched.check_open()?;
    if handle.fd().is_ok() {
        return Err(Errno::BUSY);
    }
    if !matches!(family, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX) {
        return Err(Errno::AFNOSUPPORT);
    }
    handle.attach(kernel::socket(family)?, false);
    Ok(())
}

/// Takes over a datagram socket.
pub fn adopt(datagram: Token, fd: RawFd) -> Result<(), Errno> {
    let mut datagram = Descriptor::lock(datagram)?;
    datagram.sched.check_open()?;
    if datagram.fd().is_ok() {
        return Err(Errno::BUSY);
    }
    if socket::kind(fd)? != libc::SOCK_DGRAM {
        return Err(Errno::PROTOTYPE);
    }
    fd::set_nonblocking_cloexec(fd)?;
    datagram.attach(fd, false);
    Ok(())
}

/// Calls `work` with the socket, opened first if there is none and closed again if `work` fails then.
fn with_socket(
    datagram: Token,
    family: c_int,
    work: impl FnOnce(RawFd) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut datagram = Descriptor::lock(datagram)?;
    let opened = datagram.fd().is_err();
    if opened {
        open_locked(&mut datagram, family)?;
    }
    let done = work(datagram.fd()?);
    if done.is_err() && opened {
        datagram.drop_fd();
    }
    done
}

/// Binds.
pub fn bind(datagram: Token, address: &Address) -> Result<(), Errno> {
    with_socket(datagram, address.family(), |fd| socket::bind(fd, address))
}

/// Gives the socket a peer: that never waits.
pub fn connect(datagram: Token, address: &Address) -> Result<(), Errno> {
    with_socket(datagram, address.family(), |fd| socket::connect(fd, address).map(drop))
}

/// Takes the peer away.
pub fn disconnect(datagram: Token) -> Result<(), Errno> {
    kernel::disconnect(Descriptor::lock(datagram)?.fd()?)
}

/// Joins or leaves a multicast group.
pub fn set_member(
    datagram: Token,
    group: &Address,
    interface: u32,
    join: bool,
) -> Result<(), Errno> {
    kernel::set_member(Descriptor::lock(datagram)?.fd()?, group, interface, join)
}

/// One message as the user asked for it.
#[derive(Clone, Copy)]
pub struct Request {
    /// The buffer.
    pub data: *mut c_void,
    /// Its length.
    pub length: usize,
    /// Where it goes, or room for where it came from.
    pub address: Where,
}

/// The address of a request.
#[derive(Clone, Copy)]
pub enum Where {
    /// The peer; the sender is of no interest.
    None,
    /// To be told.
    From(*mut sockaddr_storage, *mut socklen_t),
    /// Given.
    To(*const sockaddr, socklen_t),
}

impl Request {
    fn transfer(&self) -> Result<Transfer, Errno> {
        if self.data.is_null() && self.length > 0 || isize::try_from(self.length).is_err() {
            return Err(Errno::INVAL);
        }
        let more = match self.address {
            Where::None => (ptr::null_mut(), ptr::null_mut()),
            Where::From(address, length) if address.is_null() || length.is_null() => {
                return Err(Errno::INVAL);
            }
            Where::From(address, length) => (address.cast(), length.cast()),
            Where::To(address, length) => {
                // SAFETY: promised by the caller of the operation.
                let checked = unsafe { Address::from_raw(address, length) }?;
                // Not `length`: what is beyond the address confuses the kernel for a path.
                let used = ptr::without_provenance_mut(checked.len() as usize);
                (address.cast_mut().cast(), used)
            }
        };
        Ok(Transfer::message(self.data, self.length, more))
    }
}

fn callback_of(dir: Dir, callback: Option<IoFn>) -> Callback {
    let kind = if dir == Dir::Read { OP_RECEIVE } else { OP_SEND };
    callback.map_or(Callback::Record(kind), Callback::Io)
}

fn perform_of(dir: Dir) -> Perform {
    if dir == Dir::Read { perform_receive } else { perform_send }
}

/// Begins to receive or send one message.
pub fn begin(
    caller: &Caller,
    datagram: Token,
    dir: Dir,
    request: Request,
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut datagram = Descriptor::lock(datagram)?;
    datagram.fd()?;
    let transfer = request.transfer()?;
    let kind = Kind::Once(perform_of(dir));
    datagram.begin(caller, dir, kind, transfer, callback_of(dir, callback), user)
}

/// Receives or sends one message if that is possible now: its status and bytes.
pub fn try_now(datagram: Token, dir: Dir, request: Request) -> Result<Option<(i32, usize)>, Errno> {
    let mut datagram = Descriptor::lock(datagram)?;
    let mut transfer = request.transfer()?;
    let status = datagram.try_now(dir, perform_of(dir), &mut transfer)?;
    match transfer.is_message() {
        true if status == 0 => Ok(None),
        // It has failed, and nothing was moved.
        true => Err(Errno(-status)),
        false => Ok(Some((status, transfer.done()))),
    }
}

fn perform_receive(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    let (address, length) = transfer.more();
    // SAFETY: the user's buffers until the operation ends; the addresses are both NULL or neither.
    let received = unsafe {
        message::recv(fd, transfer.data, transfer.length(), address.cast(), length.cast())
    };
    match received {
        Ok(received) => {
            transfer.set_done(received.bytes);
            done(if received.cut { Errno::MSGSIZE.code() } else { 0 })
        }
        Err(Errno::AGAIN) => Outcome::WouldBlock,
        Err(error) => done(error.code()),
    }
}

fn perform_send(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    let (address, used) = transfer.more();
    let address: *const sockaddr = address.cast();
    let used = used.addr() as socklen_t;
    // SAFETY: the user's buffers until the operation ends.
    let sent = unsafe { message::send(fd, transfer.data, transfer.length(), address, used) };
    match sent {
        Ok(bytes) => {
            transfer.set_done(bytes);
            done(0)
        }
        // SAFETY: as above.
        Err(Errno::AGAIN) => unsafe { full(fd, address) },
        Err(error) => done(error.code()),
    }
}

fn done(status: i32) -> Outcome {
    Outcome::Done { status, drained: false }
}

/// The message does not fit now. Of the queue of an AF_UNIX receiver that it is not connected to, a socket
/// is told nothing: epoll has it writable.
///
/// # Safety
/// `address` is NULL or may be read.
unsafe fn full(fd: RawFd, address: *const sockaddr) -> Outcome {
    // SAFETY: promised by the caller.
    let is_local = !address.is_null()
        && c_int::from(unsafe { (&raw const (*address).sa_family).read_unaligned() })
            == libc::AF_UNIX;
    if is_local && socket::poll(fd, libc::POLLOUT).is_ok_and(|found| found != 0) {
        return Outcome::Backoff(Errno::NOBUFS);
    }
    Outcome::WouldBlock
}

/// Begins to receive or send a batch.
///
/// # Safety
/// `messages` is NULL or points to `count` messages.
pub unsafe fn begin_batch(
    caller: &Caller,
    datagram: Token,
    dir: Dir,
    (messages, count): (*mut Message, usize),
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut datagram = Descriptor::lock(datagram)?;
    let fd = datagram.fd()?;
    let callback = callback_of(dir, callback);
    if messages.is_null() && count > 0 || isize::try_from(count).is_err() {
        return Err(Errno::INVAL);
    }
    if count == 0 {
        return datagram.begin_done(caller, dir, 0, callback, user);
    }
    // SAFETY: promised by the caller.
    let all = unsafe { slice::from_raw_parts(messages, count) };
    let mut segments = false;
    for message in all {
        segments |= message.segment_size != 0;
        // SAFETY: promised by the caller.
        unsafe { check(message, dir) }?;
    }
    if segments && dir == Dir::Write && !kernel::can_segment(fd) {
        return Err(Errno::OPNOTSUPP);
    }
    let transfer = Transfer::new(messages.cast(), count);
    let perform = if dir == Dir::Read { perform_receive_batch } else { perform_send_batch };
    datagram.begin(caller, dir, Kind::Once(perform), transfer, callback, user)
}

/// # Safety
/// The message describes memory as the user promised.
unsafe fn check(message: &Message, dir: Dir) -> Result<(), Errno> {
    let is_bad = message.data.is_null() && message.length > 0
        || isize::try_from(message.length).is_err()
        || message.reserved != 0
        || dir == Dir::Write && message.segment_size > u32::from(u16::MAX);
    if is_bad {
        return Err(Errno::INVAL);
    }
    if dir == Dir::Write && !message.address.is_null() {
        // SAFETY: promised by the caller.
        unsafe { Address::from_raw(message.address.cast(), message.address_length) }?;
    }
    Ok(())
}

/// The part of a batch that comes next.
///
/// # Safety
/// The transfer is one of a batch.
unsafe fn next<'a>(transfer: &Transfer) -> &'a mut [Message] {
    let count = (transfer.length() - transfer.done()).min(CHUNK);
    // SAFETY: the user's array, `length` long, until the operation ends.
    unsafe {
        slice::from_raw_parts_mut(transfer.data.cast::<Message>().add(transfer.done()), count)
    }
}

/// What there is, as soon as there is something.
fn perform_receive_batch(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    let limit = transfer.length().min(MESSAGES_PER_TURN);
    while transfer.done() < limit {
        // SAFETY: a batch; its messages describe the user's buffers.
        let (asked, received) = unsafe {
            let part = next(transfer);
            (part.len(), message::recv_many(fd, part))
        };
        match received {
            Ok(count) => {
                transfer.add_done(count);
                if count < asked {
                    break;
                }
            }
            Err(Errno::AGAIN) if transfer.done() == 0 => return Outcome::WouldBlock,
            Err(Errno::AGAIN) => break,
            Err(error) => return done(error.code()),
        }
    }
    done(0)
}

/// All of it, or up to the first that fails.
fn perform_send_batch(fd: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    let start = transfer.done();
    while transfer.done() < transfer.length() {
        if transfer.done() - start >= MESSAGES_PER_TURN {
            return Outcome::Yield;
        }
        // SAFETY: a batch; its messages describe the user's buffers.
        let part = unsafe { next(transfer) };
        // SAFETY: as above.
        match unsafe { message::send_many(fd, part) } {
            Ok(count) => transfer.add_done(count),
            Err(Errno::AGAIN) => {
                let address = part.first().map_or(ptr::null_mut(), |first| first.address);
                // SAFETY: the address of a message, as above.
                return unsafe { full(fd, address.cast()) };
            }
            Err(error) => {
                if let Some(first) = part.first_mut() {
                    (first.bytes, first.status) = (0, error.code());
                }
                return done(error.code());
            }
        }
    }
    done(0)
}
