//! Multi-shot reads: each delivery is a buffer of the context's pool, filled just before it.

use crate::sched::buffers::Pause;
use crate::sched::completion::{BufferFn, Callback, OP_READ, OP_RECEIVE};
use crate::sched::descriptor::{Descriptor, Dir, Locked};
use crate::sched::frame::Caller;
use crate::sched::slot::{Kind, Outcome, Taken, Taking, Transfer};
use crate::sched::table::Token;
use crate::services::stream::EOF;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::{message, transfer};
use libc::{c_void, sockaddr_storage, socklen_t};
use std::mem::MaybeUninit;

/// Begins to read a stream until its end.
pub fn read_each(
    caller: &Caller,
    stream: Token,
    callback: Option<BufferFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.fd()?;
    stream.sched.buffers.prepare(stream.sched.options().pool)?;
    let callback = callback.map_or(Callback::Record(OP_READ), Callback::Buffer);
    let kind = Kind::Take { taking: &BYTES, each: true };
    stream.begin(caller, Dir::Read, kind, Transfer::none(), callback, user)
}

/// What a stream has.
static BYTES: Taking = Taking { take: take_bytes, retry_later: wait_for_buffer };

#[allow(unsafe_code, reason = "the kernel fills a buffer of the pool")]
fn take_bytes(from: &Locked, trust: bool, taken: &mut Taken) -> Result<(), Outcome> {
    let done = |status| Outcome::Done { status, drained: false };
    let fd = from.fd().map_err(|error| done(error.code()))?;
    let buffers = &from.sched.buffers;
    let keeps = from.read_gives_records();
    let buffer = buffers.take(from.token(), keeps).ok_or(Outcome::Backoff(Errno::NOBUFS))?;
    // SAFETY: a slot that was taken is nobody else's.
    let moved = unsafe { transfer::recv(fd, buffer.data.as_ptr(), buffer.length) };
    match moved {
        Ok(count) if count > 0 => {
            taken.value = count as u64;
            taken.buffer = Some(buffer);
            taken.drained = trust && count < buffer.length;
            Ok(())
        }
        other => {
            buffers.put_back(buffer);
            taken.returned = true;
            Err(match other {
                Ok(_) => done(EOF),
                Err(Errno::AGAIN) => Outcome::WouldBlock,
                Err(error) => done(error.code()),
            })
        }
    }
}

/// Begins to receive datagrams until cancelled. Records only.
pub fn receive_each(caller: &Caller, datagram: Token, user: *mut c_void) -> Result<(), Errno> {
    let mut datagram = Descriptor::lock(datagram)?;
    datagram.fd()?;
    datagram.sched.buffers.prepare(datagram.sched.options().pool)?;
    let kind = Kind::Take { taking: &DATAGRAMS, each: true };
    let callback = Callback::Record(OP_RECEIVE);
    datagram.begin(caller, Dir::Read, kind, Transfer::none(), callback, user)
}

/// One datagram after another.
static DATAGRAMS: Taking = Taking { take: take_datagram, retry_later: wait_for_buffer };

#[allow(unsafe_code, reason = "the kernel fills a buffer of the pool")]
fn take_datagram(from: &Locked, _: bool, taken: &mut Taken) -> Result<(), Outcome> {
    let done = |status| Outcome::Done { status, drained: false };
    let fd = from.fd().map_err(|error| done(error.code()))?;
    let buffers = &from.sched.buffers;
    let buffer = buffers.take(from.token(), true).ok_or(Outcome::Backoff(Errno::NOBUFS))?;
    let mut sender = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut length: socklen_t = 0;
    let to = buffer.data.as_ptr().cast();
    // SAFETY: a slot that was taken is nobody else's; the address lives through the call.
    let received =
        unsafe { message::recv(fd, to, buffer.length, sender.as_mut_ptr(), &raw mut length) };
    match received {
        Ok(received) => {
            // SAFETY: the kernel wrote `length` bytes of it. A sender may have no name.
            let sender = unsafe { Address::from_raw(sender.as_ptr().cast(), length) };
            let _ = buffers.set_sender(buffer.offset, sender.unwrap_or_else(|_| Address::empty()));
            taken.value = received.whole as u64;
            taken.buffer = Some(buffer);
            Ok(())
        }
        Err(error) => {
            buffers.put_back(buffer);
            taken.returned = true;
            Err(match error {
                Errno::AGAIN => Outcome::WouldBlock,
                error => done(error.code()),
            })
        }
    }
}

/// Has a paused read go on when a buffer is free.
fn wait_for_buffer(from: &mut Locked) -> bool {
    let Some(token) = from.token() else { return false };
    match from.sched.buffers.pause(token) {
        Ok(Pause::Paused) => true,
        Ok(Pause::Available) => from.retry(&Caller::current()),
        Err(_) => false,
    }
}
