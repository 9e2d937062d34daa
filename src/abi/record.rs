//! Completion records.

use super::context::limit_after;
use super::handle::{code, context, context_token, count, deliver, open_context, weir_context};
use crate::sched::completion::{self, Record, Sink};
use crate::sched::frame::Caller;
use crate::sched::scheduler::Scheduler;
use crate::sched::wake_pipe::Values;
use crate::sys::errno::Errno;
use crate::sys::signal::keep_errno;
use libc::{c_int, c_void};
use std::mem::{align_of, offset_of, size_of};

/// Record kind: weir_context_post() and its like. `value` is 0.
pub const WEIR_OP_POST: u32 = 1;
/// Record kind: a wait or a tick of a timer. `value` is 0.
pub const WEIR_OP_TIMER: u32 = 2;
/// Record kind: an accepted connection. `value` is the weir_stream, 0 with an error.
pub const WEIR_OP_ACCEPT: u32 = 3;
/// Record kind: a connect. `value` is 0.
pub const WEIR_OP_CONNECT: u32 = 4;
/// Record kind: every way of reading from a stream. `value` is the number of bytes.
pub const WEIR_OP_READ: u32 = 5;
/// Record kind: every way of writing to a stream. `value` is the number of bytes.
pub const WEIR_OP_WRITE: u32 = 6;
/// Record kind: readiness of a stream, an acceptor or a datagram socket. `value` is 0.
pub const WEIR_OP_WAIT: u32 = 7;
/// Record kind: datagrams received. `value` is the number of bytes, or of messages.
pub const WEIR_OP_RECEIVE: u32 = 8;
/// Record kind: datagrams sent. `value` is the number of bytes, or of messages.
pub const WEIR_OP_SEND: u32 = 9;
/// Record kind: a signal. `value` is its number.
pub const WEIR_OP_SIGNAL: u32 = 10;
/// Record kind: a forward lookup. `value` is a pointer to its result, which is the receiver's.
pub const WEIR_OP_RESOLVE: u32 = 11;
/// Record kind: a reverse lookup. `value` is a pointer to its result, which is the receiver's.
pub const WEIR_OP_REVERSE: u32 = 12;
/// Record kind: a watch. `value` is the events.
pub const WEIR_OP_WATCH: u32 = 13;
/// Record kind: the exit of a process. `value` is its wait status.
pub const WEIR_OP_PROCESS: u32 = 14;
/// Record kind: a job. `value` is what its function returned.
pub const WEIR_OP_JOB: u32 = 15;

/// The completion of an operation that was begun with a NULL callback.
#[repr(C)]
pub struct weir_record {
    /// The pointer that was given with the operation.
    pub user: *mut c_void,
    /// What the operation gave, see the kind. (For one that can hold a pointer: cast through uintptr_t.)
    pub value: u64,
    /// For reads into a pool: the offset of the data in the pool's memory.
    pub extra: u64,
    /// WEIR_OP_...
    pub kind: u32,
    /// 0 or a negative code.
    pub status: i32,
}

const _: () = assert!(
    size_of::<weir_record>() == size_of::<Record>()
        && align_of::<weir_record>() == align_of::<Record>()
        && offset_of!(weir_record, user) == offset_of!(Record, user)
        && offset_of!(weir_record, value) == offset_of!(Record, value)
        && offset_of!(weir_record, extra) == offset_of!(Record, extra)
        && offset_of!(weir_record, kind) == offset_of!(Record, kind)
        && offset_of!(weir_record, status) == offset_of!(Record, status)
        && completion::OP_JOB == WEIR_OP_JOB
);

/// Has the weir_context_reap() or weir_context_enter() that sleeps, or else the next one, return without waiting any more,
/// with the records that are ready. Many wakes before that are one. Run functions that do not reap go on.
///
/// For a thread that hands work over by itself, and for signal handlers: it takes no lock, allocates nothing and leaves
/// errno as it was. One thread reaps: of several the wrong one may return.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any, also in a signal handler; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_wake(context: *mut weir_context) -> c_int {
    code(context_token(context).and_then(|token| {
        let pinned = Scheduler::pin(token)?;
        keep_errno(|| pinned.wake());
        Ok(())
    }))
}

/// Gives an fd to write bytes to: each write has the effect of weir_context_wake(). For who can't call a function of
/// this library, such as the signal handlers of a language's runtime (`signal.set_wakeup_fd()` in Python) or another
/// process.
///
/// It is the end of a pipe, non-blocking and close-on-exec, made by the first call; later calls give the same. The context
/// owns it: it is not to be closed, and ends with weir_context_destroy(). The bytes are read while the context runs,
/// see weir_context_wakeup_values(). In the child of a fork weir_context_notify_fork() makes another pipe of it, with the
/// same number.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), -EMFILE, -ENFILE, WEIR_ENOMEM, -ENOSPC, WEIR_ESHUTDOWN,
/// -ESTALE.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_wakeup_fd(
    context: *mut weir_context,
    fd: *mut c_int,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: `fd` is NULL or the caller's to be written.
    unsafe {
        deliver(fd, || {
            let context = open_context(&caller, context)?;
            context.wake_pipe.fd(&context)
        })
    }
}

/// Takes which bytes were written to the fd of weir_context_wakeup_fd() and read since the last time: `values` has room
/// for 256 bits, and byte b is bit b % 64 of `values[b / 64]`. A byte that came several times is one, as with signals.
///
/// A reap or enter that returns for a byte has read it: ask after each.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`values` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_wakeup_values(
    context: *mut weir_context,
    values: *mut u64,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: `values` is NULL or room for four, the caller's to be written.
    unsafe {
        deliver(values.cast::<Values>(), || {
            Ok(self::context(&caller, context)?.wake_pipe.take_values())
        })
    }
}

/// Runs the context and collects the completions of operations that were begun with a NULL callback, up to
/// `capacity` of them. It waits until there is one, for `timeout_ns` at most (0: not at all; WEIR_FOREVER), and
/// returns with what there is when nothing more is ready. Callbacks of other operations are called
/// meanwhile. Also returns, then perhaps with 0 records, when the context is out of work, which the next
/// weir_context_reap() undoes by itself, or stopped by weir_context_stop(), which weir_context_restart() ends.
///
/// A completion that finds no room, or is met by another run function, waits for the next reap: none is
/// lost, and until then the operation counts as pending (a second one gives WEIR_EBUSY) and as work. Run
/// functions that do not reap return when nothing but such completions is left. Records that nobody has
/// reaped are dropped by weir_context_destroy().
///
/// `count` receives the number of records.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`records` or `count` is NULL, `capacity` is 0, a negative time),
/// WEIR_ESHUTDOWN, or what the kernel said of epoll.
///
/// Thread: any; may block for `timeout_ns`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_reap(
    context: *mut weir_context,
    records: *mut weir_record,
    capacity: usize,
    timeout_ns: i64,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let reap = || {
        let pinned = self::context(&caller, context)?;
        if records.is_null() || count.is_null() || capacity == 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        let sink = unsafe { Sink::new(records.cast(), capacity) };
        Scheduler::enter_and_reap(pinned, &caller, limit_after(timeout_ns)?, &sink, |_| ())
    };
    // SAFETY: promised by the caller.
    unsafe { self::count(count, reap()) }
}
