//! Watches: readiness of an fd that the user owns.

use crate::sched::completion::{Callback, OP_WATCH, ValueFn};
use crate::sched::frame::Caller;
use crate::sched::interest::TIMEOUT;
use crate::sched::scheduler::Scheduler;
use crate::sched::table::Token;
use crate::sched::watch::{How, Watch};
use crate::sys::errno::Errno;
use libc::c_void;
use std::os::fd::RawFd;

/// `WEIR_WATCH_EDGE`.
const EDGE: u32 = 1;
/// `WEIR_WATCH_PERSISTENT`.
const PERSISTENT: u32 = 2;

/// Makes a watch.
pub fn create(sched: &'static Scheduler, fd: RawFd) -> Result<Token, Errno> {
    Watch::create(sched, checked_fd(fd)?)
}

fn checked_fd(fd: RawFd) -> Result<RawFd, Errno> {
    if fd < -1 { Err(Errno::INVAL) } else { Ok(fd) }
}

/// What can be asked for: everything but the time-out.
fn checked_interest(events: u32) -> Result<u32, Errno> {
    if events == 0 || events >= TIMEOUT { Err(Errno::INVAL) } else { Ok(events) }
}

fn checked_timeout(timeout: i64) -> Result<i64, Errno> {
    if timeout < 0 { Err(Errno::INVAL) } else { Ok(timeout) }
}

/// Begins to watch.
pub fn start(
    caller: &Caller,
    watch: Token,
    events: u32,
    flags: u32,
    timeout: i64,
    callback: Option<ValueFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut watch = Watch::lock(watch)?;
    let (interest, timeout) = (checked_interest(events)?, checked_timeout(timeout)?);
    if flags & !(EDGE | PERSISTENT) != 0 {
        return Err(Errno::INVAL);
    }
    let how = How { edge: flags & EDGE != 0, persistent: flags & PERSISTENT != 0 };
    let callback = callback.map_or(Callback::Record(OP_WATCH), Callback::Value);
    watch.start(caller, interest, how, timeout, callback, user)
}

/// Changes what is watched for.
pub fn change(caller: &Caller, watch: Token, events: u32) -> Result<(), Errno> {
    let mut watch = Watch::lock(watch)?;
    watch.change(caller, checked_interest(events)?)
}

/// Changes the deadline.
pub fn set_timeout(caller: &Caller, watch: Token, timeout: i64) -> Result<(), Errno> {
    let mut watch = Watch::lock(watch)?;
    watch.set_timeout(caller, checked_timeout(timeout)?)
}

/// Moves it to another fd.
pub fn set_fd(caller: &Caller, watch: Token, fd: RawFd) -> Result<(), Errno> {
    let mut watch = Watch::lock(watch)?;
    watch.set_fd(caller, checked_fd(fd)?)
}

/// Has it fire.
pub fn feed(caller: &Caller, watch: Token, events: u32) -> Result<(), Errno> {
    let mut watch = Watch::lock(watch)?;
    if events == 0 || events >= 2 * TIMEOUT {
        return Err(Errno::INVAL);
    }
    watch.feed(caller, events)
}

/// Ends the operation; the number ended.
pub fn stop(caller: &Caller, watch: Token) -> Result<usize, Errno> {
    Ok(Watch::lock(watch)?.stop(caller))
}

/// Ends the watch.
pub fn close(caller: &Caller, watch: Token) -> Result<(), Errno> {
    Watch::lock(watch)?.close(caller);
    Ok(())
}
