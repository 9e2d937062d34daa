//! Turn hooks.

use super::handle::{
    code, context_of, count, deliver, hook, open_context, pointer, weir_callback, weir_context,
    weir_hook,
};
use crate::sched::frame::Caller;
use crate::sched::hooks::{Hook, When};
use crate::sys::errno::Errno;
use libc::{c_int, c_void};

/// Before the context asks the kernel. What the hook posts or arms is seen before the context blocks.
pub const WEIR_HOOK_PREPARE: c_int = 1;
/// After what the kernel told has been served.
pub const WEIR_HOOK_CHECK: c_int = 2;
/// In each turn that finds nothing else to do. While one is started the context does not block.
pub const WEIR_HOOK_IDLE: c_int = 3;

/// Makes a hook of a context: a function that is called once in each turn (a turn is one question to the
/// kernel). `when` is one of WEIR_HOOK_...; see weir_context_defer() for the end of one turn only. End it
/// with weir_hook_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`when`; `out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_hook_create(
    context: *mut weir_context,
    when: c_int,
    out: *mut *mut weir_hook,
) -> c_int {
    let caller = Caller::current();
    let create = || {
        let context = open_context(&caller, context)?;
        let when = match when {
            WEIR_HOOK_PREPARE => When::Prepare,
            WEIR_HOOK_CHECK => When::Check,
            WEIR_HOOK_IDLE => When::Idle,
            _ => return Err(Errno::INVAL),
        };
        Hook::create(*context, when).map(pointer)
    };
    // SAFETY: promised by the caller.
    unsafe { deliver(out, create) }
}

/// Ends a hook, as weir_hook_stop() does, and its handle.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_hook_close(hook: *mut weir_hook) -> c_int {
    let caller = Caller::current();
    code(self::hook(hook).and_then(|token| {
        Hook::lock(token)?.close(&caller);
        Ok(())
    }))
}

/// The context that the hook belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_hook_context(
    hook: *mut weir_hook,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Hook::lock(self::hook(hook)?)?.sched)) }
}

/// Has the function called with 0 in each turn from now on, and once, at last, with WEIR_ECANCELED after stop,
/// close or destruction. Its calls never overlap. Hooks of one kind are called in the order in which they
/// were started. A hook keeps no run function going, and goes through no strand.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`callback` is NULL: a hook gives no records), WEIR_EBUSY (it is started, or its
/// last WEIR_ECANCELED is not delivered yet), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_hook_start(
    hook: *mut weir_hook,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    code(self::hook(hook).and_then(|token| {
        let mut hook = Hook::lock(token)?;
        hook.start(callback.ok_or(Errno::INVAL)?, user)
    }))
}

/// Ends the calls with WEIR_ECANCELED. `count`, which may be NULL, receives 0 or 1.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_hook_stop(hook: *mut weir_hook, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::hook(hook).and_then(|token| Ok(Hook::lock(token)?.stop(&caller)));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}
