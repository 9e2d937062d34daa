//! Timers.

use super::handle::{
    code, context_of, count, deliver, open_context, pointer, timer, weir_callback, weir_context,
    weir_timer,
};
use crate::sched::frame::Caller;
use crate::sched::timers::Timer;
use crate::services::timer as service;
use libc::{c_int, c_void};

/// Makes a timer of a context. It is due at once until an expiry is set. End it with weir_timer_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_create(
    context: *mut weir_context,
    out: *mut *mut weir_timer,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || Timer::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends a timer: its waits and its periodic operation complete with WEIR_ECANCELED, later, in run. What
/// had expired already completes with 0.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_timer_close(timer: *mut weir_timer) -> c_int {
    let caller = Caller::current();
    code(self::timer(timer).and_then(|timer| service::close(&caller, timer)))
}

/// The context that the timer belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_context(
    timer: *mut weir_timer,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Timer::lock(self::timer(timer)?)?.sched)) }
}

/// Sets the expiry to `after_ns` nanoseconds from now; WEIR_FOREVER, or a sum that is too large, is
/// never. Pending waits move to the new expiry, they are not cancelled: an idle timeout is re-armed by
/// this call alone, in constant time, and with no system call when the new expiry is the later one.
/// A wait that has expired, and whose callback is only yet to be called, is not taken back: it comes, with 0.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (negative).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_timer_expires_after(timer: *mut weir_timer, after_ns: i64) -> c_int {
    code(self::timer(timer).and_then(|timer| service::expires_after(timer, after_ns)))
}

/// Sets the expiry to a moment of the context's clock (see weir_context_now()), as
/// weir_timer_expires_after() does. A moment that has passed is due at once.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (negative).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_timer_expires_at(timer: *mut weir_timer, at_ns: i64) -> c_int {
    code(self::timer(timer).and_then(|timer| service::expires_at(timer, at_ns)))
}

/// The expiry on the context's clock; WEIR_FOREVER for never.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`at_ns` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_expiry(timer: *mut weir_timer, at_ns: *mut i64) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(at_ns, || service::expiry(self::timer(timer)?)) }
}

/// The nanoseconds until the expiry: 0 when it has passed, WEIR_FOREVER for never.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`ns` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_remaining(timer: *mut weir_timer, ns: *mut i64) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(ns, || service::remaining(self::timer(timer)?)) }
}

/// Waits for the expiry: completes with 0, not earlier, and at once (but not inside this call) when it has
/// passed. Any number of waits may be pending on a timer; they complete in the order in which they
/// began. Timers with the same expiry complete in the order in which they were armed: a timer is armed by the first wait,
/// and anew by each setting of its expiry and by each tick. Of expiries in the past the earlier completes first.
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_timer_wait(
    timer: *mut weir_timer,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::timer(timer).and_then(|timer| service::wait(&caller, timer, callback, user)))
}

/// Ends the pending waits and the periodic operation with WEIR_ECANCELED. The expiry stays. `count`, which
/// may be NULL, receives how many were ended; what has expired already is not among them.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_cancel(timer: *mut weir_timer, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::timer(timer).and_then(|timer| service::cancel(&caller, timer));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// Ends the oldest pending wait with WEIR_ECANCELED. `count`, which may be NULL, receives 0 or 1.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_cancel_one(timer: *mut weir_timer, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::timer(timer).and_then(|timer| service::cancel_one(&caller, timer));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// Starts a periodic operation: the callback is called with 0 first after `first_ns` and then each
/// `period_ns`, and once, at last, with WEIR_ECANCELED, after stop, cancel, close or destruction. Ticks
/// keep to the grid of the first; those that were missed fold into one. Calls for one timer never
/// overlap. Sets the expiry; setting it again moves the next tick.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`first_ns` < 0, `period_ns` < 1), WEIR_EBUSY (it
/// ticks already, or its last WEIR_ECANCELED is not delivered yet), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_timer_start(
    timer: *mut weir_timer,
    first_ns: i64,
    period_ns: i64,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    code(
        self::timer(timer)
            .and_then(|timer| service::start(timer, first_ns, period_ns, callback, user)),
    )
}

/// Ends the periodic operation with WEIR_ECANCELED; waits stay. `count`, which may be NULL, receives 0 or 1.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_timer_stop(timer: *mut weir_timer, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::timer(timer).and_then(|timer| service::stop(&caller, timer));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}
