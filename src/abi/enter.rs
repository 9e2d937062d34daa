//! Submitting and reaping in one call.

use super::context::limit_after;
use super::handle::{
    acceptor, any, context, context_token, count, datagram, stream, timer, watch, weir_context,
};
use super::record::weir_record;
use crate::sched::completion::Sink;
use crate::sched::descriptor::Dir;
use crate::sched::frame::Caller;
use crate::sched::scheduler::Scheduler;
use crate::services::stream::Request;
use crate::services::{
    acceptor as acceptors, handle, pooled, stream as streams, timer as timers, watch as watches,
    write_queue,
};
use crate::sys::errno::Errno;
use libc::{c_int, c_void};

/// Submission: weir_context_post() to the context that is entered; `handle`, `data` and `length` are not used.
pub const WEIR_SUBMIT_POST: u32 = 1;
/// Submission: weir_stream_read_some() of `length` bytes to `data`.
pub const WEIR_SUBMIT_READ_SOME: u32 = 2;
/// Submission: weir_stream_read().
pub const WEIR_SUBMIT_READ: u32 = 3;
/// Submission: weir_stream_write_some() of `length` bytes from `data`.
pub const WEIR_SUBMIT_WRITE_SOME: u32 = 4;
/// Submission: weir_stream_write().
pub const WEIR_SUBMIT_WRITE: u32 = 5;
/// Submission: weir_stream_read_each().
pub const WEIR_SUBMIT_READ_EACH: u32 = 6;
/// Submission: weir_context_pool_release() of the offset `length`, in the context that is entered.
pub const WEIR_SUBMIT_RELEASE: u32 = 7;
/// Submission: weir_timer_expires_after(), `length` nanoseconds. It gives no record.
pub const WEIR_SUBMIT_TIMER_AFTER: u32 = 8;
/// Submission: weir_timer_wait().
pub const WEIR_SUBMIT_TIMER_WAIT: u32 = 9;
/// Submission: weir_handle_cancel() of any handle. It gives no record of its own.
pub const WEIR_SUBMIT_CANCEL: u32 = 10;
/// Submission: weir_handle_close() of any handle. It gives no record of its own.
pub const WEIR_SUBMIT_CLOSE: u32 = 11;
/// Submission: weir_stream_send().
pub const WEIR_SUBMIT_SEND: u32 = 12;
/// Submission: weir_stream_send_copy(), after which `length` is what waits. It gives no record; `data` is free at once.
pub const WEIR_SUBMIT_SEND_COPY: u32 = 13;
/// Submission: weir_acceptor_accept().
pub const WEIR_SUBMIT_ACCEPT: u32 = 14;
/// Submission: weir_acceptor_accept_each().
pub const WEIR_SUBMIT_ACCEPT_EACH: u32 = 15;
/// Submission: weir_datagram_receive_each().
pub const WEIR_SUBMIT_RECEIVE_EACH: u32 = 16;
/// Submission: weir_watch_change() to the events `length`. It gives no record of its own.
pub const WEIR_SUBMIT_WATCH_CHANGE: u32 = 17;

/// One call to be made by weir_context_enter().
#[repr(C)]
pub struct weir_submission {
    /// WEIR_SUBMIT_...
    pub kind: u32,
    /// Written by the call: 0, or the negative code that the function would have returned.
    pub result: c_int,
    /// What it is for, of the type that the kind says.
    pub handle: *mut c_void,
    /// A buffer, which stays valid until the record has come.
    pub data: *mut c_void,
    /// Its length; for some kinds a time or an offset.
    pub length: u64,
    /// For the record.
    pub user: *mut c_void,
}

fn transfer(
    caller: &Caller,
    submission: &weir_submission,
    dir: Dir,
    exact: bool,
) -> Result<(), Errno> {
    let length = usize::try_from(submission.length).map_err(|_| Errno::INVAL)?;
    let request = Request { data: submission.data, length, vectored: false, exact };
    let token = stream(submission.handle.cast())?;
    streams::begin(caller, token, dir, request, None, submission.user)
}

fn submit(
    caller: &Caller,
    sched: &Scheduler,
    context: *const weir_context,
    submission: &mut weir_submission,
) -> Result<(), Errno> {
    let handle = submission.handle;
    let user = submission.user;
    match submission.kind {
        WEIR_SUBMIT_POST => Scheduler::post_new(caller, context_token(context)?, None, user),
        WEIR_SUBMIT_READ_SOME => transfer(caller, submission, Dir::Read, false),
        WEIR_SUBMIT_READ => transfer(caller, submission, Dir::Read, true),
        WEIR_SUBMIT_WRITE_SOME => transfer(caller, submission, Dir::Write, false),
        WEIR_SUBMIT_WRITE => transfer(caller, submission, Dir::Write, true),
        WEIR_SUBMIT_READ_EACH => pooled::read_each(caller, stream(handle.cast())?, None, user),
        WEIR_SUBMIT_RELEASE => sched.buffers.give_back(caller, submission.length),
        WEIR_SUBMIT_TIMER_AFTER => {
            let after = i64::try_from(submission.length).map_err(|_| Errno::INVAL)?;
            timers::expires_after(timer(handle.cast())?, after)
        }
        WEIR_SUBMIT_TIMER_WAIT => timers::wait(caller, timer(handle.cast())?, None, user),
        WEIR_SUBMIT_CANCEL => handle::cancel(caller, any(handle)).map(|_| ()),
        WEIR_SUBMIT_CLOSE => handle::close(caller, any(handle)),
        WEIR_SUBMIT_SEND => {
            let length = usize::try_from(submission.length).map_err(|_| Errno::INVAL)?;
            write_queue::send(caller, stream(handle.cast())?, submission.data, length, None, user)
        }
        WEIR_SUBMIT_SEND_COPY => {
            let length = usize::try_from(submission.length).map_err(|_| Errno::INVAL)?;
            let stream = stream(handle.cast())?;
            let left = write_queue::send_copy(caller, stream, submission.data, length)?;
            submission.length = left as u64;
            Ok(())
        }
        WEIR_SUBMIT_ACCEPT => {
            acceptors::accept(caller, acceptor(handle.cast())?, false, None, user)
        }
        WEIR_SUBMIT_ACCEPT_EACH => {
            acceptors::accept(caller, acceptor(handle.cast())?, true, None, user)
        }
        WEIR_SUBMIT_RECEIVE_EACH => pooled::receive_each(caller, datagram(handle.cast())?, user),
        WEIR_SUBMIT_WATCH_CHANGE => {
            let events = u32::try_from(submission.length).map_err(|_| Errno::INVAL)?;
            watches::change(caller, watch(handle.cast())?, events)
        }
        _ => Err(Errno::INVAL),
    }
}

/// Makes a batch of calls, in order, and then collects records as weir_context_reap() does: one call from a
/// language in which each costs more than the operation. Every submission's `result` is written; one
/// that fails does not stop those after it, and gives no record. The operations are begun as with a
/// NULL callback. Handles may be of other contexts; their records come where their context is reaped.
///
/// With a `capacity` of 0 it only submits. `count` receives the number of records.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`submissions` is NULL with a number; `records` is NULL with a capacity; `count`
/// is NULL; a negative time), WEIR_ESHUTDOWN; then nothing was submitted. What the kernel says of epoll comes
/// where there is no record to return with.
///
/// Thread: any; may block for `timeout_ns`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_enter(
    context: *mut weir_context,
    submissions: *mut weir_submission,
    submitted: usize,
    records: *mut weir_record,
    capacity: usize,
    timeout_ns: i64,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let enter = || {
        let pinned = self::context(&caller, context)?;
        let missing = |number, null: bool| null && number > 0;
        if missing(submitted, submissions.is_null())
            || missing(capacity, records.is_null())
            || count.is_null()
        {
            return Err(Errno::INVAL);
        }
        let limit = limit_after(timeout_ns)?;
        // SAFETY: promised by the caller.
        let sink = unsafe { Sink::new(records.cast(), capacity) };
        Scheduler::enter_and_reap(pinned, &caller, limit, &sink, |sched| {
            for at in 0..submitted {
                // SAFETY: promised by the caller.
                let submission = unsafe { &mut *submissions.add(at) };
                submission.result = match submit(&caller, sched, context, submission) {
                    Ok(()) => 0,
                    Err(error) => error.code(),
                };
            }
        })
    };
    // SAFETY: promised by the caller.
    unsafe { self::count(count, enter()) }
}
