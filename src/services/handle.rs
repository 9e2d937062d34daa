//! What every handle can do, whatever its kind.

use super::job::Job;
use super::resolver::Resolver;
use super::{kind, process, signals};
use crate::sched::descriptor::Descriptor;
use crate::sched::frame::Caller;
use crate::sched::hooks::{Hook, KIND_HOOK};
use crate::sched::member::Member;
use crate::sched::object::{Body, Object};
use crate::sched::scheduler::Scheduler;
use crate::sched::strand::{KIND_STRAND, Strand};
use crate::sched::table::Token;
use crate::sched::timers::{KIND_TIMER, Timer};
use crate::sched::watch::{KIND_WATCH, Watch};
use crate::sys::errno::Errno;
use libc::c_void;
use std::ffi::CString;

/// A handle's object, under its lock.
struct Held {
    sched: &'static Scheduler,
    member: &'static Member,
    pending: usize,
}

/// Calls `work` under the lock of a handle's object.
fn with<T>(token: Token, work: impl FnOnce(Held) -> Result<T, Errno>) -> Result<T, Errno> {
    match token.kind() {
        kind::STREAM | kind::ACCEPTOR | kind::DATAGRAM => {
            let locked = Descriptor::lock(token)?;
            let (member, pending) = (locked.member(), locked.pending());
            work(Held { sched: locked.sched, member, pending })
        }
        KIND_TIMER => {
            let mut locked = Timer::lock(token)?;
            let (member, pending) = (locked.member(), locked.pending());
            work(Held { sched: locked.sched, member, pending })
        }
        kind::SIGNALS => {
            let mut locked = signals::lock(token)?;
            let (member, pending) = (locked.member(), locked.body().pending());
            work(Held { sched: locked.sched, member, pending })
        }
        KIND_STRAND => {
            let locked = Strand::lock(token)?;
            let (member, pending) = (locked.member(), locked.pending());
            work(Held { sched: locked.sched, member, pending })
        }
        kind::PROCESS => {
            let mut locked = process::lock(token)?;
            let (member, pending) = (locked.member(), locked.body().pending());
            work(Held { sched: locked.sched, member, pending })
        }
        KIND_HOOK => {
            let locked = Hook::lock(token)?;
            let (member, pending) = (locked.member(), locked.pending());
            work(Held { sched: locked.sched, member, pending })
        }
        KIND_WATCH => {
            let mut locked = Watch::lock(token)?;
            let (member, pending) = (locked.member(), locked.pending());
            work(Held { sched: locked.sched, member, pending })
        }
        kind::JOB => {
            let mut locked = Object::<Job>::lock(token)?;
            let (member, pending) = (locked.member(), locked.body().pending());
            work(Held { sched: locked.sched, member, pending })
        }
        kind::RESOLVER => {
            let mut locked = Object::<Resolver>::lock(token)?;
            let (member, pending) = (locked.member(), locked.body().pending());
            work(Held { sched: locked.sched, member, pending })
        }
        _ => Err(Errno::BADF),
    }
}

/// Ends a handle of any kind.
pub fn close(caller: &Caller, token: Token) -> Result<(), Errno> {
    match token.kind() {
        kind::STREAM | kind::ACCEPTOR | kind::DATAGRAM => Descriptor::lock(token)?.close(caller),
        KIND_TIMER => Timer::lock(token)?.close(caller),
        kind::SIGNALS => signals::close(caller, token)?,
        kind::JOB => Object::<Job>::lock(token)?.close(caller),
        KIND_WATCH => Watch::lock(token)?.close(caller),
        KIND_STRAND => Strand::lock(token)?.close(),
        kind::PROCESS => process::lock(token)?.close(caller),
        KIND_HOOK => Hook::lock(token)?.close(caller),
        kind::RESOLVER => Object::<Resolver>::lock(token)?.close(caller),
        _ => return Err(Errno::BADF),
    }
    Ok(())
}

/// Ends what is pending on a handle of any kind; the number ended.
pub fn cancel(caller: &Caller, token: Token) -> Result<usize, Errno> {
    Ok(match token.kind() {
        kind::STREAM | kind::ACCEPTOR | kind::DATAGRAM => Descriptor::lock(token)?.cancel(caller),
        kind::JOB => Object::<Job>::lock(token)?.cancel(caller),
        KIND_TIMER => {
            let mut timer = Timer::lock(token)?;
            timer.cancel_waits(caller) + timer.stop(caller)
        }
        KIND_WATCH => Watch::lock(token)?.stop(caller),
        kind::SIGNALS => signals::cancel(caller, token)?,
        // What is posted to a strand can't be taken back.
        KIND_STRAND => Strand::lock(token).map(|_| 0)?,
        kind::PROCESS => process::lock(token)?.cancel(caller),
        KIND_HOOK => Hook::lock(token)?.stop(caller),
        kind::RESOLVER => Object::<Resolver>::lock(token)?.cancel(caller),
        _ => return Err(Errno::BADF),
    })
}

/// Ends what was begun with `user` on a handle of any kind; the number ended.
pub fn cancel_operation(caller: &Caller, token: Token, user: *mut c_void) -> Result<usize, Errno> {
    Ok(match token.kind() {
        kind::STREAM | kind::ACCEPTOR | kind::DATAGRAM => {
            Descriptor::lock(token)?.cancel_of(caller, user)
        }
        kind::JOB => Object::<Job>::lock(token)?.cancel_of(caller, user),
        KIND_TIMER => Timer::lock(token)?.cancel_of(caller, user),
        KIND_WATCH => Watch::lock(token)?.stop_of(caller, user),
        kind::SIGNALS => signals::lock(token)?.cancel_of(caller, user),
        KIND_STRAND => Strand::lock(token).map(|_| 0)?,
        kind::PROCESS => process::lock(token)?.cancel_of(caller, user),
        KIND_HOOK => Hook::lock(token)?.stop_of(caller, user),
        kind::RESOLVER => Object::<Resolver>::lock(token)?.cancel_of(caller, user),
        _ => return Err(Errno::BADF),
    })
}

/// Has the fd of a socket handle stay open when the handle lets go of it.
pub fn keep_fd(token: Token, keep: bool) -> Result<(), Errno> {
    match token.kind() {
        kind::STREAM | kind::ACCEPTOR | kind::DATAGRAM => Descriptor::lock(token)?.keep_fd(keep),
        _ => Err(Errno::BADF),
    }
}

/// The context of a handle.
pub fn context(token: Token) -> Result<Token, Errno> {
    with(token, |held| held.sched.token().ok_or(Errno::BADF))
}

/// The number of operations pending on a handle.
pub fn pending(token: Token) -> Result<usize, Errno> {
    with(token, |held| Ok(held.pending))
}

/// Names a handle for reports, or takes its name away.
pub fn set_name(token: Token, name: Option<CString>) -> Result<(), Errno> {
    with(token, |held| held.sched.members.set_name(held.member, name))
}

/// Has the name of a handle read; `read` runs under locks.
pub fn read_name<T>(token: Token, read: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
    with(token, |held| Ok(held.sched.members.read_name(held.member, read)))
}

/// Tags a handle.
pub fn set_tag(token: Token, tag: u64) -> Result<(), Errno> {
    with(token, |held| held.sched.members.set_tag(held.member, token, tag))
}

/// Ends what is pending on every handle of a context that has this tag; the number ended. A handle that is closed
/// meanwhile is passed over, whatever its slot is used for by then.
pub fn cancel_tag(caller: &Caller, sched: &Scheduler, tag: u64) -> Result<usize, Errno> {
    let tagged = sched.members.tagged(tag)?;
    Ok(tagged.into_iter().filter_map(|token| cancel(caller, token).ok()).sum())
}

/// The tag of a handle.
pub fn tag(token: Token) -> Result<u64, Errno> {
    with(token, |held| Ok(held.sched.members.tag(held.member)))
}

/// Binds an idle handle to a strand of its context, or frees it of its strand.
pub fn bind(token: Token, strand: Option<Token>) -> Result<(), Errno> {
    with(token, |held| {
        if matches!(token.kind(), KIND_STRAND | KIND_HOOK) {
            return Err(Errno::INVAL);
        }
        // What is queued was queued under the old binding.
        if held.pending > 0 && token.kind() != kind::JOB {
            return Err(Errno::BUSY);
        }
        let next = match strand {
            None => None,
            Some(strand) => {
                let mut strand = Strand::lock(strand)?;
                if !std::ptr::eq(strand.sched, held.sched) {
                    return Err(Errno::INVAL);
                }
                Some(strand.bind())
            }
        };
        if let Some(before) = held.member.bind(next) {
            before.unbound();
        }
        Ok(())
    })
}
