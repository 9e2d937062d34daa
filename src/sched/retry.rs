//! Trying an operation again after a while: the kernel says when a socket is ready, but not when the
//! process has fds or memory again, nor when a receiver that the socket is not connected to has room.
#![allow(unsafe_code, reason = "pooled calls")]

use super::call::{free_call, new_call};
use super::descriptor::{Descriptor, Locked, RETRIES};
use super::frame::{Caller, Frame};
use super::op::Op;
use super::table::Token;
use super::timers::Timer;
use crate::sys::errno::Errno;
use libc::c_void;
use std::ptr::{self, NonNull};

/// Drives the parked operations of `listener` on after `delay`, or sooner where that was arranged before. False when no
/// timer can be had.
///
/// One timer at a time: else each operation that is cancelled meanwhile would leave one that tries for the next, too.
/// It is not counted as work: the operation that it serves is.
pub fn after(listener: &mut Locked, delay: i64) -> bool {
    if !listener.descriptor.flags.has(RETRIES) {
        let is_arranged = arrange(listener, delay).is_ok();
        listener.descriptor.flags.set(RETRIES, is_arranged);
    }
    listener.descriptor.flags.has(RETRIES)
}

fn arrange(listener: &Locked, delay: i64) -> Result<(), Errno> {
    let token = listener.token().ok_or(Errno::BADF)?;
    let caller = Caller::current();
    let timer = Timer::create(listener.sched)?;
    let mut locked = Timer::lock(timer)?;
    match new_call(&caller, run_retry, None, as_pointer(timer)) {
        Ok(call) => {
            locked.set_owner(token.raw());
            let at = locked.now().saturating_add(delay);
            locked.set_expiry(at);
            locked.add_internal_wait(call);
            Ok(())
        }
        Err(error) => {
            locked.close(&caller);
            Err(error)
        }
    }
}

fn as_pointer(token: Token) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(token.raw()).unwrap_or(0))
}

/// The delay is over, or the context ends.
unsafe fn run_retry(op: NonNull<Op>, frame: &Frame) {
    let caller = Caller::of(frame);
    // SAFETY: popped by this thread; it came from the pool.
    let (_, timer) = unsafe { free_call(&caller, op) };
    let Ok(mut timer) = Timer::lock(Token::from_raw(timer.addr() as u64)) else { return };
    let listener = Token::from_raw(timer.owner());
    timer.close(&caller);
    if let Ok(mut listener) = Descriptor::lock(listener) {
        listener.descriptor.flags.set(RETRIES, false);
        listener.nudge(&caller);
    }
}
