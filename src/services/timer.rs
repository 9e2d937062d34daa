//! Timers: waits for a moment, and periodic ticks.

use crate::sched::call::{free_call, new_call, run_wait};
use crate::sched::completion::StatusFn;
use crate::sched::frame::Caller;
use crate::sched::table::Token;
use crate::sched::timers::{NEVER, Timer};
use crate::sys::errno::Errno;
use libc::c_void;

/// Sets the expiry relative to now; saturates at "never" (H42).
pub fn expires_after(timer: Token, after: i64) -> Result<(), Errno> {
    if after < 0 {
        return Err(Errno::INVAL);
    }
    let mut timer = Timer::lock(timer)?;
    let at = timer.now().saturating_add(after);
    timer.set_expiry(at);
    Ok(())
}

/// Sets the expiry.
pub fn expires_at(timer: Token, at: i64) -> Result<(), Errno> {
    if at < 0 {
        return Err(Errno::INVAL);
    }
    Timer::lock(timer)?.set_expiry(at);
    Ok(())
}

/// The expiry.
pub fn expiry(timer: Token) -> Result<i64, Errno> {
    Ok(Timer::lock(timer)?.expiry())
}

/// The time left: 0 when due, `NEVER` when it never comes.
pub fn remaining(timer: Token) -> Result<i64, Errno> {
    let mut timer = Timer::lock(timer)?;
    match timer.expiry() {
        NEVER => Ok(NEVER),
        at => Ok(at.saturating_sub(timer.now()).max(0)),
    }
}

/// Adds a wait.
#[allow(unsafe_code, reason = "returns a call that was not used")]
pub fn wait(
    caller: &Caller,
    timer: Token,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    // Built before it is linked, under no lock (H40).
    let call = new_call(caller, run_wait, callback, user)?;
    let begun = Timer::lock(timer).and_then(|mut timer| {
        timer.sched.check_open()?;
        let measured = timer.sched.measures();
        let wait = if measured { timer.new_measured_wait(callback, user)? } else { call };
        timer.add_wait(wait);
        Ok(measured)
    });
    if begun != Ok(false) {
        // SAFETY: it was not queued.
        unsafe { free_call(caller, call) };
    }
    begun.map(|_| ())
}

/// Ends all waits and the periodic operation; the number ended.
pub fn cancel(caller: &Caller, timer: Token) -> Result<usize, Errno> {
    let mut timer = Timer::lock(timer)?;
    Ok(timer.cancel_waits(caller) + timer.stop(caller))
}

/// Ends the oldest wait.
pub fn cancel_one(caller: &Caller, timer: Token) -> Result<usize, Errno> {
    Ok(Timer::lock(timer)?.cancel_first(caller))
}

/// Starts ticking.
pub fn start(
    timer: Token,
    first: i64,
    period: i64,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    if first < 0 || period < 1 {
        return Err(Errno::INVAL);
    }
    let mut timer = Timer::lock(timer)?;
    timer.sched.check_open()?;
    let at = timer.now().saturating_add(first);
    timer.start(at, period, callback, user)
}

/// Stops ticking; 1 if it did.
pub fn stop(caller: &Caller, timer: Token) -> Result<usize, Errno> {
    Ok(Timer::lock(timer)?.stop(caller))
}

/// Ends the timer.
pub fn close(caller: &Caller, timer: Token) -> Result<(), Errno> {
    Timer::lock(timer)?.close(caller);
    Ok(())
}
