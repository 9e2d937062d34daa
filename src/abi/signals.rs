//! POSIX signals.
//!
//! No signal is touched before it is added to a set, SIGCHLD included: weir_process needs none.

use super::handle::{
    code, context_of, count, deliver, open_context, pointer, signals, weir_context, weir_signals,
    weir_value_callback,
};
use crate::sched::frame::Caller;
use crate::services::{signal_board, signals as service};
use libc::{c_int, c_void};

/// System calls of the program that the signal interrupts end with EINTR. Without this flag they are restarted
/// (SA_RESTART), so that code which knows nothing of signals goes on working. Functions of this library never give
/// EINTR.
pub const WEIR_SIGNALS_INTERRUPT: u32 = 1;
/// SIGCHLD only: it does not come for children that stop or continue (SA_NOCLDSTOP).
pub const WEIR_SIGNALS_NO_CHILD_STOP: u32 = 2;
/// SIGCHLD only: children that exit leave nothing to wait for (SA_NOCLDWAIT).
pub const WEIR_SIGNALS_NO_CHILD_WAIT: u32 = 4;
/// The handler that the program had set before is called too, from within the signal handler, with the signals
/// blocked that it had asked for. (Where there was the default action, or none, nothing is called.)
pub const WEIR_SIGNALS_CHAIN: u32 = 8;
/// Whatever flags other sets give for this signal; none as long as no set gives any. Not with other flags.
pub const WEIR_SIGNALS_ANY_FLAGS: u32 = 16;

const _: () = assert!(
    WEIR_SIGNALS_INTERRUPT == signal_board::INTERRUPT
        && WEIR_SIGNALS_NO_CHILD_STOP == signal_board::NO_CHILD_STOP
        && WEIR_SIGNALS_NO_CHILD_WAIT == signal_board::NO_CHILD_WAIT
        && WEIR_SIGNALS_CHAIN == signal_board::CHAIN
        && WEIR_SIGNALS_ANY_FLAGS == signal_board::ANY
);

/// Makes a set of signals, which is empty. Any number of sets, of one context or of several, may have the same
/// signal: each sees every delivery. End it with weir_signals_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_signals_create(
    context: *mut weir_context,
    out: *mut *mut weir_signals,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends a set: its waits complete with WEIR_ECANCELED, later, in run; its signals are given back as
/// weir_signals_clear() does. What has arrived and was not delivered is dropped.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_signals_close(signals: *mut weir_signals) -> c_int {
    let caller = Caller::current();
    code(self::signals(signals).and_then(|set| service::close(&caller, set)))
}

/// The context that the set belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_signals_context(
    signals: *mut weir_signals,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(service::lock(self::signals(signals)?)?.sched)) }
}

/// Adds a signal. From now on each delivery to the process is counted for the set, whether a wait is pending or
/// not. While any set of the process has the signal, the library's handler is in place of the program's
/// action for it; when the last one gives it back, the action that was there before is restored, unless the
/// program has set another meanwhile, which then stays. A signal that every thread has blocked does not arrive.
/// Deliveries of a standard signal that the kernel merged, since one was pending already, count once.
///
/// `flags` are WEIR_SIGNALS_..., 0 or WEIR_SIGNALS_ANY_FLAGS. They are the process's: from the first set that gives
/// some until the last set gives the signal back. To add a signal that the set has already
/// does no more than to give flags.
///
/// The first one in the process opens an fd, which stays open.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (no signal of that number; SIGKILL and SIGSTOP, which can't be caught; SIGSEGV,
/// SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS, after which a program can't go on; an unknown flag, or one for
/// SIGCHLD with another signal), -EEXIST (a set of this process has the signal with other flags), WEIR_EBUSY (the
/// program has set a handler of its own while a set had the signal, and that one would have to be replaced
/// or chained to), WEIR_ENOMEM, WEIR_ESHUTDOWN, -EMFILE, -ENFILE, or what the kernel said of epoll.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_signals_add(signals: *mut weir_signals, signo: c_int, flags: u32) -> c_int {
    code(self::signals(signals).and_then(|set| service::add(set, signo, flags)))
}

/// Takes a signal out of the set. What has arrived of it and was not delivered is dropped, also if it is added
/// again; waits stay pending.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (a signal that no set can have), -ENOENT (the set does not have it).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_signals_remove(signals: *mut weir_signals, signo: c_int) -> c_int {
    code(self::signals(signals).and_then(|set| service::remove(set, signo)))
}

/// Takes every signal out of the set, as weir_signals_remove() does.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_signals_clear(signals: *mut weir_signals) -> c_int {
    code(self::signals(signals).and_then(service::clear))
}

/// Waits for one delivery of one of the set's signals: completes with 0 and its number, or with WEIR_ECANCELED and 0.
/// What arrived since it was added and was not delivered completes a wait at once (but not inside this call). Any
/// number of waits may be pending; each takes one delivery, the oldest wait first. Different signals come in no
/// particular order, but each in its turn. A set without signals may be waited for.
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_signals_wait(
    signals: *mut weir_signals,
    callback: weir_value_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::signals(signals).and_then(|set| service::wait(&caller, set, callback, user)))
}

/// Ends the pending waits with WEIR_ECANCELED, and nothing later. `count`, which may be NULL, receives how many were
/// ended. What has arrived stays for later waits.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_signals_cancel(
    signals: *mut weir_signals,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let ended = self::signals(signals).and_then(|set| service::cancel(&caller, set));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// The number of deliveries that have arrived and that no wait has taken.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`count` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_signals_arrived(
    signals: *mut weir_signals,
    count: *mut usize,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(count, || service::arrived(self::signals(signals)?)) }
}
