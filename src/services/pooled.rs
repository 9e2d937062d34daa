//! Multi-shot reads: each delivery is a buffer of the context's pool, filled just before it.

use crate::sched::buffers::Pause;
use crate::sched::completion::{BufferFn, Callback, OP_READ};
use crate::sched::descriptor::{Descriptor, Dir, Locked};
use crate::sched::frame::Caller;
use crate::sched::slot::{Kind, Outcome, Taken, Taking, Transfer};
use crate::sched::table::Token;
use crate::services::stream::EOF;
use crate::sys::errno::Errno;
use crate::sys::transfer;
use libc::c_void;

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
    let kind = Kind::Take { taking: &Bytes, each: true };
    stream.begin(caller, Dir::Read, kind, Transfer::none(), callback, user)
}

/// What a stream has.
struct Bytes;

impl Taking for Bytes {
    #[allow(unsafe_code, reason = "the kernel fills a buffer of the pool")]
    fn take(&self, from: &Locked, trust: bool, taken: &mut Taken) -> Result<(), Outcome> {
        let done = |status| Outcome::Done { status, drained: false };
        let fd = from.fd().map_err(|error| done(error.code()))?;
        let buffers = &from.sched.buffers;
        let buffer = buffers.take().ok_or(Outcome::Backoff(Errno::NOBUFS))?;
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

    fn retry_later(&self, from: &mut Locked) -> bool {
        wait_for_buffer(from)
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
