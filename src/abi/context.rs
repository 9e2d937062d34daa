//! Contexts.

use super::handle::{
    any, code, context, context_token, count, deliver, open_context, pointer, weir_callback,
    weir_context,
};
use crate::sched::budget::Limits;
use crate::sched::buffers::Shape;
use crate::sched::completion::{Stall, StallFn};
use crate::sched::frame::Caller;
use crate::sched::run_queue::Limit;
use crate::sched::scheduler::{Count, Options, Scheduler};
use crate::sched::sync::now;
use crate::services::{fork, handle, report};
use crate::sys::clock;
use crate::sys::errno::Errno;
use libc::{c_char, c_int, c_void};
use std::mem::{offset_of, size_of, transmute};
use std::time::Duration;

/// "Never", or "no limit": for every number of nanoseconds in this header.
pub const WEIR_FOREVER: i64 = i64::MAX;

/// Option flag: the context's time starts at 0 and moves by weir_context_advance() only.
pub const WEIR_CONTEXT_MANUAL_CLOCK: u32 = 1;
/// Option flag: no completion is served inline; all go through the queue.
pub const WEIR_CONTEXT_NO_INLINE: u32 = 2;

/// Option flag: callbacks are timed and transfers counted, for weir_context_stats(). It costs two looks at the
/// clock for each callback.
pub const WEIR_CONTEXT_MEASURE: u32 = 4;

/// Option flag: a run function, weir_context_reap() or weir_context_enter() whose sleep in the kernel is interrupted by a
/// signal handler returns -EINTR, for a language that runs its own handlers then. Nothing is lost: what is queued is run
/// by the next call. Where records have been taken they are returned in its place. A thread that waits for another that
/// sleeps is not interrupted. Without this flag no call returns -EINTR.
pub const WEIR_CONTEXT_INTERRUPTIBLE: u32 = 8;

/// Log level: something that the program should mend.
pub const WEIR_LOG_WARNING: c_int = 1;
/// Log level: a handle that is open when its context is destroyed.
pub const WEIR_LOG_LEAK: c_int = 2;

/// Receives a line of text, without a newline, valid during the call only. Called on threads that are inside a run
/// function or weir_context_destroy() of the context, with no lock held; it may call every function.
pub type weir_log_callback =
    Option<unsafe extern "C-unwind" fn(level: c_int, text: *const c_char, user: *mut c_void)>;

/// A callback that ran longer than the context's stall limit. Valid during the call only.
#[repr(C)]
pub struct weir_stall {
    /// The handle whose callback it was; NULL for a posted function.
    pub handle: *mut c_void,
    /// How long it ran, in nanoseconds.
    pub duration_ns: i64,
    /// The pointer that the callback was called with.
    pub user: *mut c_void,
    /// The name of the handle when the callback began; empty where it has none.
    pub name: *const c_char,
}

/// Called right after the callback that it tells of, on the same thread.
pub type weir_stall_callback =
    Option<unsafe extern "C-unwind" fn(stall: *const weir_stall, user: *mut c_void)>;

/// How a context is made. Set everything to 0 and struct_size to sizeof(weir_context_options); 0 stands
/// for the default everywhere. A program that was compiled with an earlier header passes a smaller struct_size, one with a
/// later header a larger one, which is accepted if the rest is 0.
#[repr(C)]
pub struct weir_context_options {
    /// sizeof(weir_context_options).
    pub struct_size: usize,
    /// WEIR_CONTEXT_... flags; an unknown one is WEIR_EINVAL.
    pub flags: u32,
    /// How many threads will call run functions at once, as far as known. For speed only: every number
    /// works with every hint.
    pub thread_hint: u32,
    /// Events and due timers that one turn of the reactor takes; default 128, at most 4096.
    pub max_events: u32,
    /// Completions in a row that are served inline, without a visit to the queue: where a thread
    /// starts; default 2. This and the next two are at most 65535.
    pub inline_budget_initial: u32,
    /// How far that grows while it is used up; default 16. Not less than the initial one.
    pub inline_budget_max: u32,
    /// What it is while others wait and no other thread takes work; default 4.
    pub inline_budget_unassisted: u32,
    /// How much later than due a timer may fire, so that neighbours share a wake-up, in nanoseconds: 1 to
    /// 1000000000; default 50000, which is what the kernel allows a sleeping thread. The only timer of a
    /// context gets none. A timer is never early.
    pub timer_slack_ns: i64,
    /// Buffers in the pool for multi-shot reads (see weir_stream_read_each()), made when it is first used;
    /// default 256, at most 65536.
    pub pool_slots: u32,
    /// Bytes of each; default 4096, at most 16777216.
    pub pool_slot_size: u32,
    /// A callback that runs longer than this, in nanoseconds, is reported to `stall`; 0: none is. With a limit
    /// callbacks are timed as with WEIR_CONTEXT_MEASURE.
    pub stall_limit_ns: i64,
    /// See there; may be NULL.
    pub stall: weir_stall_callback,
    /// For `stall`.
    pub stall_user: *mut c_void,
    /// Receives what the program should know: leaks at destruction, a lack of file descriptors. May be NULL; the
    /// library prints nothing by itself.
    pub log: weir_log_callback,
    /// For `log`.
    pub log_user: *mut c_void,
}

const MAX_BUDGET: u32 = 65_535;
const MAX_EVENTS: u32 = 4096;
const MAX_POOL_SLOTS: u32 = 65_536;
const MAX_POOL_SLOT_SIZE: u32 = 1 << 24;
const MAX_SLACK: i64 = 1_000_000_000;
const DEFAULT_SLACK: i64 = 50_000;

type StallArgument = unsafe extern "C-unwind" fn(*const weir_stall, *mut c_void);

const _: () = assert!(
    size_of::<weir_stall>() == size_of::<Stall>()
        && offset_of!(weir_stall, handle) == offset_of!(Stall, handle)
        && offset_of!(weir_stall, duration_ns) == offset_of!(Stall, duration)
        && offset_of!(weir_stall, user) == offset_of!(Stall, user)
        && offset_of!(weir_stall, name) == offset_of!(Stall, name)
        && size_of::<*mut c_void>() == size_of::<u64>()
);

/// The size of the struct in its first version.
const FIRST_OPTIONS: usize = offset_of!(weir_context_options, pool_slots);

/// The options as given, or the defaults.
///
/// # Safety
/// `options` is NULL or points to `struct_size` readable bytes.
unsafe fn resolve_options(options: *const weir_context_options) -> Result<Options, Errno> {
    let zero = weir_context_options {
        struct_size: size_of::<weir_context_options>(),
        flags: 0,
        thread_hint: 0,
        max_events: 0,
        inline_budget_initial: 0,
        inline_budget_max: 0,
        inline_budget_unassisted: 0,
        timer_slack_ns: 0,
        pool_slots: 0,
        pool_slot_size: 0,
        stall_limit_ns: 0,
        stall: None,
        stall_user: std::ptr::null_mut(),
        log: None,
        log_user: std::ptr::null_mut(),
    };
    let mut given = zero;
    if !options.is_null() {
        // SAFETY: the first field is there in every version of the struct.
        let size = unsafe { (*options).struct_size };
        let known = size_of::<weir_context_options>();
        // 4096: no version is larger, so a wild size is not read through.
        if !(FIRST_OPTIONS..=4096).contains(&size) {
            return Err(Errno::INVAL);
        }
        // SAFETY: `size` bytes are readable, promised by the caller; what a smaller struct lacks stays 0, which
        // is a value of each field.
        unsafe {
            let bytes = options.cast::<u8>();
            bytes.copy_to_nonoverlapping((&raw mut given).cast(), size.min(known));
            if size <= known {
                return resolve_given(&given);
            }
            let rest = std::slice::from_raw_parts(options.cast::<u8>().add(known), size - known);
            if rest.iter().any(|byte| *byte != 0) {
                return Err(Errno::INVAL);
            }
        }
    }
    resolve_given(&given)
}

/// Sees to it that every value is in its range, and puts the defaults in.
fn resolve_given(given: &weir_context_options) -> Result<Options, Errno> {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let mut budget = Limits {
        initial: or(given.inline_budget_initial, 2),
        max: or(given.inline_budget_max, or(given.inline_budget_initial, 2).max(16)),
        unassisted: or(given.inline_budget_unassisted, 4),
    };
    let max_events = or(given.max_events, 128);
    let flags = WEIR_CONTEXT_MANUAL_CLOCK
        | WEIR_CONTEXT_NO_INLINE
        | WEIR_CONTEXT_MEASURE
        | WEIR_CONTEXT_INTERRUPTIBLE;
    if given.flags & !flags != 0
        || budget.initial > MAX_BUDGET
        || budget.max > MAX_BUDGET
        || budget.unassisted > MAX_BUDGET
        || budget.max < budget.initial
        || max_events > MAX_EVENTS
        || !(0..=MAX_SLACK).contains(&given.timer_slack_ns)
        || given.stall_limit_ns < 0
        || given.pool_slots > MAX_POOL_SLOTS
        || given.pool_slot_size > MAX_POOL_SLOT_SIZE
    {
        return Err(Errno::INVAL);
    }
    if given.flags & WEIR_CONTEXT_NO_INLINE != 0 {
        budget = Limits { initial: 0, max: 0, unassisted: 0 };
    }
    let pool =
        Shape { slots: or(given.pool_slots, 256), slot_size: or(given.pool_slot_size, 4096) };
    // SAFETY: the types differ in the struct's declaration only, which is checked below.
    let stall = given.stall.map(|stall| unsafe { transmute::<StallArgument, StallFn>(stall) });
    Ok(Options {
        pool,
        measures: given.flags & WEIR_CONTEXT_MEASURE != 0 || given.stall_limit_ns > 0,
        stall_limit: given.stall_limit_ns,
        stall: stall.map(|stall| (stall, given.stall_user)),
        log: given.log.map(|log| (log, given.log_user)),
        many_threads: given.thread_hint > 1,
        manual_clock: given.flags & WEIR_CONTEXT_MANUAL_CLOCK != 0,
        interruptible: given.flags & WEIR_CONTEXT_INTERRUPTIBLE != 0,
        budget,
        max_events,
        timer_slack: if given.timer_slack_ns == 0 { DEFAULT_SLACK } else { given.timer_slack_ns },
    })
}

/// Makes a context. `options` may be NULL for the defaults. End it with weir_context_destroy().
///
/// Errors: WEIR_EINVAL (`out` is NULL, or an option is out of range), -EMFILE, -ENFILE, WEIR_ENOMEM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_create(
    options: *const weir_context_options,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || Scheduler::create(resolve_options(options)?).map(pointer)) }
}

/// Ends a context: stops it, waits until every thread has left its run functions, closes every handle
/// that belongs to it, and delivers every completion that is still owed, on the calling thread: with
/// WEIR_ECANCELED, or with its true result where it had one. Those callbacks may call every function;
/// what would begin a new operation of this context gives WEIR_ESHUTDOWN, and the handles are closed: what is called
/// on one gives WEIR_EBADF. Afterwards the context and
/// its handles are dead, their fds closed, and nothing of the caller's memory is touched any more.
///
/// Errors: WEIR_EBADF, WEIR_EBUSY (the calling thread is inside a run function or a callback of this
/// context). Otherwise it always succeeds, whatever is open.
///
/// Thread: any; may block until the callbacks that run in other threads have returned.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_destroy(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    code(
        self::context(&caller, context)
            .and_then(|pinned| Scheduler::destroy(pinned, &caller, report::log_leaks)),
    )
}

fn run(context: *const weir_context, limit: Limit, how_many: Count) -> Result<usize, Errno> {
    let caller = Caller::current();
    Scheduler::run(self::context(&caller, context)?, &caller, limit, how_many)
}

/// A limit that many nanoseconds from now.
pub(super) fn limit_after(timeout_ns: i64) -> Result<Limit, Errno> {
    let nanos = u64::try_from(timeout_ns).map_err(|_| Errno::INVAL)?;
    if timeout_ns == WEIR_FOREVER {
        return Ok(Limit::Forever);
    }
    let deadline = now().checked_add(Duration::from_nanos(nanos));
    Ok(deadline.map_or(Limit::Forever, Limit::Until))
}

/// Runs callbacks until the context is stopped or has no work left: nothing pending, nothing posted, no
/// weir_context_work_begin() open. Without work it stops the context, so that weir_context_restart()
/// comes before the next run. Any number of threads may run one context; their callbacks then run at
/// the same time. May be called from a callback: such a nested run sees what the callback has queued, and
/// returns, without stopping the context, when nothing is left but callbacks that are in a nested run.
///
/// `count` receives the number of callbacks run; it may be NULL.
///
/// Errors: WEIR_EBADF, WEIR_ESHUTDOWN (the context is being destroyed), or what the kernel said of
/// epoll; then the context can still be run.
///
/// Thread: any; may block until there is nothing left to wait for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_run(context: *mut weir_context, count: *mut usize) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { self::count(count, run(context, Limit::Forever, Count::All)) }
}

/// As weir_context_run(), and returns after one callback.
///
/// Thread: any; may block until there is a callback to run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_run_one(
    context: *mut weir_context,
    count: *mut usize,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { self::count(count, run(context, Limit::Forever, Count::One)) }
}

/// As weir_context_run(), for `timeout_ns` at most. No callback begins after that time, but for the
/// first: with 0 one is run if it is ready. The time is real, also where the context's clock is manual.
///
/// Errors: as weir_context_run(), and WEIR_EINVAL for a negative time.
///
/// Thread: any; may block for `timeout_ns`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_run_for(
    context: *mut weir_context,
    timeout_ns: i64,
    count: *mut usize,
) -> c_int {
    let result = limit_after(timeout_ns).and_then(|limit| run(context, limit, Count::All));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, result) }
}

/// As weir_context_run_for(), until a moment of CLOCK_MONOTONIC in nanoseconds.
///
/// Errors: as weir_context_run(), and WEIR_EINVAL for a negative moment.
///
/// Thread: any; may block until `deadline_ns`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_run_until(
    context: *mut weir_context,
    deadline_ns: i64,
    count: *mut usize,
) -> c_int {
    let limit = match deadline_ns {
        WEIR_FOREVER => Ok(Limit::Forever),
        ..0 => Err(Errno::INVAL),
        at => limit_after(at.saturating_sub(clock::monotonic()).max(0)),
    };
    let result = limit.and_then(|limit| run(context, limit, Count::All));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, result) }
}

/// As weir_context_run_one(), and waits for the callback for `timeout_ns` at most.
///
/// Errors: as weir_context_run(), and WEIR_EINVAL for a negative time.
///
/// Thread: any; may block for `timeout_ns`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_wait_one(
    context: *mut weir_context,
    timeout_ns: i64,
    count: *mut usize,
) -> c_int {
    let result = limit_after(timeout_ns).and_then(|limit| run(context, limit, Count::One));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, result) }
}

/// Runs what is ready: it asks the kernel at least once, does not wait, and returns when nothing is
/// ready any more. Where callbacks keep posting it returns after some tens of thousands of them, so
/// that a host's own loop gets its turn. Like run, it stops a context that has no work left.
///
/// Errors: as weir_context_run().
///
/// Thread: any; never blocks but for the callbacks that it runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_poll(context: *mut weir_context, count: *mut usize) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { self::count(count, run(context, Limit::Poll, Count::All)) }
}

/// As weir_context_poll(), and returns after one callback.
///
/// Thread: any; never blocks but for the callbacks that it runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_poll_one(
    context: *mut weir_context,
    count: *mut usize,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { self::count(count, run(context, Limit::Poll, Count::One)) }
}

/// Makes every run function of the context return as soon as the callback that it runs does. Nothing is
/// lost: what is pending stays so, and goes on after weir_context_restart().
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_stop(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    code(self::context(&caller, context).map(|context| context.stop()))
}

/// 1 when the context is stopped: by weir_context_stop(), or because run had no work left; else 0.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_stopped(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    self::context(&caller, context)
        .map_or_else(Errno::code, |context| c_int::from(context.stopped()))
}

/// Lets a stopped context run again. While a thread is still inside run it goes on there.
///
/// Errors: WEIR_EBADF, WEIR_ESHUTDOWN (the context is being destroyed).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_restart(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    code(open_context(&caller, context).map(|context| context.restart()))
}

/// Queues a function, never calls it at once. Functions that one thread posts are called in that order
/// where one thread runs the context; where several do, each takes some of them, and a strand keeps the order. With
/// one thread that runs it the same holds for posts of several threads, where one knew that the other's call had
/// returned. From inside a callback of the context it takes no lock and makes no system call, but for that.
/// Status: 0, or WEIR_ECANCELED from weir_context_destroy().
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_post(
    context: *mut weir_context,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    Scheduler::post_call(&caller, any(context.cast()), callback, user)
}

/// Calls a function at once with status 0 when the calling thread is inside run of this context, else as
/// weir_context_post(). It is the one function that calls back before it returns.
///
/// Errors: as weir_context_post().
///
/// Thread: any; never blocks but for the callbacks that it runs.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_dispatch(
    context: *mut weir_context,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        context_token(context)
            .and_then(|context| Scheduler::dispatch(&caller, context, callback, user)),
    )
}

/// Queues a function for the end of this turn: after all that is queued, before the context next asks
/// the kernel. One that defers itself again runs once a turn. Status as weir_context_post().
///
/// Errors: as weir_context_post().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_defer(
    context: *mut weir_context,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(open_context(&caller, context).and_then(|context| context.defer(&caller, callback, user)))
}

/// Keeps run from returning for want of work, until weir_context_work_end().
///
/// Errors: WEIR_EBADF, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_work_begin(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    code(open_context(&caller, context).map(|context| context.work_begin()))
}

/// Ends one weir_context_work_begin().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (there is none to end).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_work_end(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    code(self::context(&caller, context).and_then(|context| context.work_end()))
}

/// 1 when the calling thread is inside a run function (or weir_context_destroy()) of this context.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_running_in_this_thread(context: *mut weir_context) -> c_int {
    let caller = Caller::current();
    self::context(&caller, context)
        .map_or_else(Errno::code, |context| c_int::from(context.runs_here(&caller)))
}

/// The fd for another event loop: it is readable whenever the context has something to do, due timers
/// and posts from other threads included. Watch it for POLLIN (level-triggered) and call
/// weir_context_poll() then; no timeout is needed. It belongs to the context: do not read or close it.
/// Hold the context open with weir_context_work_begin(), or poll will stop it when it has no work.
///
/// What is posted while a callback of the context runs is for the run function around it, and the fd need not tell: a host
/// that runs its own loop inside such a callback calls weir_context_poll() before it waits.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_fd(context: *mut weir_context, fd: *mut c_int) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Ok(open_context(&caller, context)?.embed())) }
}

/// The context's time in nanoseconds: CLOCK_MONOTONIC, or its manual clock.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`now_ns` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_now(context: *mut weir_context, now_ns: *mut i64) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(now_ns, || Ok(self::context(&caller, context)?.now())) }
}

/// The time of this turn: the context's clock as it was when somebody first asked for it after the context had last been
/// in the kernel; the manual clock's time where that is in use. It costs a few instructions where reading the
/// clock costs more than all the rest of moving a timer. With weir_timer_expires_at() it serves timeouts that are set
/// anew at each operation, and are early by what the turn has lasted: callbacks that run long, and a
/// context that nobody runs, make it old. While the context sleeps in the kernel it is the clock itself.
/// (uv_now and ev_now are this time.)
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`now_ns` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_turn_now(
    context: *mut weir_context,
    now_ns: *mut i64,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(now_ns, || Scheduler::turn_now(context_token(context)?)) }
}

/// Moves the manual clock forward; timers that are due then fire in the next turn. Saturates at
/// INT64_MAX - 1.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (negative, or the context's clock is not manual).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_advance(context: *mut weir_context, by_ns: i64) -> c_int {
    let caller = Caller::current();
    code(self::context(&caller, context).and_then(|context| context.advance(by_ns)))
}

/// Ends what is pending on every handle of the context that has this tag, see weir_handle_set_tag(). `count`,
/// which may be NULL, receives the number ended.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`tag` is 0), WEIR_ENOMEM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_cancel_tag(
    context: *mut weir_context,
    tag: u64,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let ended = self::context(&caller, context).and_then(|context| {
        if tag == 0 {
            return Err(Errno::INVAL);
        }
        handle::cancel_tag(&caller, *context, tag)
    });
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// For weir_context_notify_fork(): the process is about to fork.
pub const WEIR_FORK_PREPARE: c_int = 1;
/// For weir_context_notify_fork(): in the process that forked.
pub const WEIR_FORK_PARENT: c_int = 2;
/// For weir_context_notify_fork(): in its child.
pub const WEIR_FORK_CHILD: c_int = 3;

/// Keeps a context usable across fork(): call it before the fork with WEIR_FORK_PREPARE, and after it with
/// WEIR_FORK_PARENT and WEIR_FORK_CHILD on the respective side. The parent goes on as if nothing had happened. In
/// the child the context gets an epoll set and timer of its own, and everything that was open is registered anew:
/// both sides have every handle and every pending operation, and whoever asks first gets the data, so that one of
/// them usually closes what it does not want. weir_context_fd() gives another fd in the child.
///
/// Jobs that run at the fork, and lookups, go on in the parent; in the child they complete with WEIR_ECANCELED.
///
/// At the fork other threads may be asleep in run functions of the context, but none may be in a callback
/// or in another function of the library; in the child they do not exist. (WEIR_FORK_PREPARE tells.) May be called
/// from a callback.
///
/// A child that does not call this must leave the context alone: run functions and what needs the kernel's
/// epoll give -ESTALE there, and weir_context_destroy() touches nothing of the parent's.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`event`; WEIR_FORK_CHILD where no fork was), WEIR_EBUSY (WEIR_FORK_PREPARE: a callback
/// runs in another thread), and in the child -EMFILE, -ENFILE, -ENOSPC (epoll watches), WEIR_ENOMEM: then it
/// may be tried again.
///
/// Thread: the one that forks; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_notify_fork(context: *mut weir_context, event: c_int) -> c_int {
    let caller = Caller::current();
    code(self::context(&caller, context).and_then(|context| match event {
        WEIR_FORK_PREPARE if context.is_busy_elsewhere(&caller) => Err(Errno::BUSY),
        WEIR_FORK_PREPARE | WEIR_FORK_PARENT => Ok(()),
        WEIR_FORK_CHILD => fork::child(*context, &caller),
        _ => Err(Errno::INVAL),
    }))
}
