//! Jobs.

use super::handle::{
    code, context_of, count, deliver, job, open_context, pointer, weir_context, weir_job,
    weir_value_callback,
};
use crate::sched::completion::{Callback, OP_JOB};
use crate::sched::frame::Caller;
use crate::sched::object::Object;
use crate::sched::thread_pool::JOBS;
use crate::services::job::{self as service, Job};
use crate::sys::errno::Errno;
use libc::{c_int, c_void};

/// A function of the user's that may block. What it returns is the job's value.
pub type weir_job_function = Option<unsafe extern "C-unwind" fn(argument: *mut c_void) -> c_int>;

/// Calls `function` on a thread of the library's, in which every signal is blocked, and then the callback in
/// run, with status 0 and what the function returned. The threads belong to the process, start when they
/// are needed, go when they are idle, and do nothing but jobs; their stacks have 1 MiB. A function that begins
/// while as many run as weir_job_set_limit() allows waits for its turn. An exception that leaves it ends the
/// process.
///
/// `out` may be NULL: nobody then needs to close the job. Otherwise it receives a handle that stays until
/// weir_job_close(), and is written before the callback can run.
///
/// weir_context_destroy() cancels the jobs that have not started, waits for the functions that run, and gives
/// WEIR_EBUSY when one of them calls it.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`function` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN, -EAGAIN (there is no
/// thread, and none can be started).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_job_start(
    context: *mut weir_context,
    function: weir_job_function,
    argument: *mut c_void,
    out: *mut *mut weir_job,
    callback: weir_value_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    let started = open_context(&caller, context).and_then(|context| {
        let function = function.ok_or(Errno::INVAL)?;
        let callback = callback.map_or(Callback::Record(OP_JOB), Callback::Value);
        let (function, callback) = ((function, argument), (callback, user));
        service::start(&caller, *context, function, callback, out.is_null(), |token| {
            if !out.is_null() {
                // SAFETY: not NULL; promised by the caller.
                unsafe { out.write(pointer(token)) };
            }
        })
    });
    code(started)
}

/// Ends the handle. A function that has not started is cancelled; one that runs is not interrupted, and the
/// callback comes after it has returned.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_job_close(job: *mut weir_job) -> c_int {
    let caller = Caller::current();
    code(self::job(job).and_then(|job| service::close(&caller, job)))
}

/// Takes the function back if it has not started: the job completes with WEIR_ECANCELED. `count`, which may
/// be NULL, receives 1 then, and 0 where the function runs, which it goes on doing, or has returned.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_job_cancel(job: *mut weir_job, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::job(job).and_then(|job| service::cancel(&caller, job));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// The context that the job belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_job_context(
    job: *mut weir_job,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Object::<Job>::lock(self::job(job)?)?.sched)) }
}

/// How many threads of the process may run jobs at once: 1 to 1024; default 16. Functions that run are not
/// interrupted by a smaller number; a larger one counts from the next job that is started.
///
/// Errors: WEIR_EINVAL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_job_set_limit(threads: u32) -> c_int {
    if !(1..=1024).contains(&threads) {
        return Errno::INVAL.code();
    }
    JOBS.set_limit(threads as usize);
    0
}
