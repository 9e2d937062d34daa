//! Child processes.

use super::handle::{
    code, context_of, count, deliver, open_context, pointer, process, weir_context, weir_process,
    weir_value_callback,
};
use crate::sched::frame::Caller;
use crate::services::process as service;
use libc::{c_int, c_void, pid_t, rusage};

/// Makes a handle for a child of this process, however it was started. The program's handling of SIGCHLD is not
/// touched, and other children are not waited for. End it with weir_process_close().
///
/// A pidfd tells of the exit. Where the kernel has none (before 5.4, or a filter), the child is asked for
/// every 20 ms of the context's clock instead; the child's number is used then, so nothing else in the program
/// may wait for it.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`pid` < 1; `out` is NULL), -ECHILD (no child of this process, or it was reaped),
/// -EMFILE, -ENFILE, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_process_create(
    context: *mut weir_context,
    pid: pid_t,
    out: *mut *mut weir_process,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?, pid).map(pointer)) }
}

/// Ends the handle: a pending wait completes with WEIR_ECANCELED. The child is neither killed nor waited for: one that
/// has ended and was not told of stays a zombie until the program waits for it.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_process_close(process: *mut weir_process) -> c_int {
    let caller = Caller::current();
    code(self::process(process).and_then(|token| {
        service::lock(token)?.close(&caller);
        Ok(())
    }))
}

/// Ends the pending wait with WEIR_ECANCELED; the child goes on. `count`, which may be NULL, receives 0 or 1.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_process_cancel(
    process: *mut weir_process,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let ended = self::process(process).and_then(|token| Ok(service::lock(token)?.cancel(&caller)));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// The context that the handle belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_process_context(
    process: *mut weir_process,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(service::lock(self::process(process)?)?.sched)) }
}

/// The child's number.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`pid` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_process_pid(process: *mut weir_process, pid: *mut pid_t) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(pid, || service::pid(self::process(process)?)) }
}

/// Waits for the child to end (not to stop or continue), and reaps it. Completes with 0 and the wait status, for
/// WIFEXITED() and its like of <sys/wait.h>; with -ECHILD where something else has reaped it: another part of the
/// program, or the kernel itself where the program ignores SIGCHLD; or with WEIR_ECANCELED. A wait that begins after the exit was told gives the same again.
///
/// Errors: WEIR_EBADF, WEIR_EBUSY (one is pending), -ENOSPC (epoll watches), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_process_wait(
    process: *mut weir_process,
    callback: weir_value_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::process(process).and_then(|token| service::wait(&caller, token, callback, user)))
}

/// What the child has used, as wait4() tells it. Known once a wait has completed with 0.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`usage` is NULL), -EAGAIN (its exit was not told yet), -ECHILD (something else has
/// reaped it).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_process_usage(
    process: *mut weir_process,
    usage: *mut rusage,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(usage, || service::usage(self::process(process)?)) }
}

/// Sends a signal to the child; never to another process that got its number since (but for what
/// weir_process_create() says of kernels without pidfds). 0 only asks whether that could
/// be done.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`signo`), -ESRCH (it has ended and was reaped), -EPERM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_process_kill(process: *mut weir_process, signo: c_int) -> c_int {
    code(self::process(process).and_then(|token| service::kill(token, signo)))
}
