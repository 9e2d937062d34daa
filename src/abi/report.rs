//! Numbers and reports.

use super::handle::{code, context, weir_context};
use crate::sched::frame::Caller;
use crate::sched::stats::Stats;
use crate::sched::sync::Ordering;
use crate::services::report;
use crate::sys::errno::Errno;
use libc::{c_char, c_int, c_void};
use std::mem::size_of;
use std::ptr;

/// What a context has done since it was made. Set struct_size to sizeof(weir_stats); what the library knows beyond
/// that is left out. Numbers of things that happen meanwhile may be a turn old.
#[repr(C)]
pub struct weir_stats {
    /// sizeof(weir_stats).
    pub struct_size: usize,
    /// Questions to the kernel: calls of epoll_wait.
    pub turns: u64,
    /// Events that it told of.
    pub events: u64,
    /// Callbacks called.
    pub callbacks: u64,
    /// Completions served right after the callback that began them, without a visit to the queue.
    pub inline_completions: u64,
    /// Threads woken from their wait beside the reactor.
    pub wakeups: u64,
    /// Writes to the eventfd that wakes the reactor or the host.
    pub interrupts: u64,
    /// Calls of timerfd_settime.
    pub timer_arms: u64,
    /// Calls of epoll_ctl.
    pub epoll_ctls: u64,
    /// System calls that tried to read, receive, accept or look for readability; with WEIR_CONTEXT_MEASURE.
    pub reads: u64,
    /// System calls that tried to write, send, connect or look for writability; with WEIR_CONTEXT_MEASURE.
    pub writes: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// How much later than due their turn came, in nanoseconds: the sum ...
    pub timer_lateness_sum_ns: u64,
    /// ... and the most.
    pub timer_lateness_max_ns: u64,
    /// The longest callback, in nanoseconds; with WEIR_CONTEXT_MEASURE or a stall limit.
    pub longest_callback_ns: u64,
    /// Callbacks that ran longer than the stall limit.
    pub stalls: u64,
    /// What is queued to run now.
    pub queue_length: u64,
    /// Records that wait to be reaped.
    pub records_waiting: u64,
    /// Operations pending and work begun: what keeps run going.
    pub work: u64,
}

fn collect(context: &crate::sched::scheduler::Scheduler) -> weir_stats {
    let Stats {
        turns,
        events,
        callbacks,
        inline,
        interrupts,
        timer_arms,
        epoll_ctls,
        reads,
        writes,
        longest,
        stalls,
    } = &context.reactor().stats;
    let fired = context.timers.fired();
    let counts = context.queue_counts();
    let of = |counter: &crate::sched::sync::AtomicU64| counter.load(Ordering::Relaxed);
    weir_stats {
        struct_size: size_of::<weir_stats>(),
        turns: of(turns),
        events: of(events),
        callbacks: of(callbacks),
        inline_completions: of(inline),
        wakeups: counts.signalled,
        interrupts: of(interrupts),
        timer_arms: of(timer_arms),
        epoll_ctls: of(epoll_ctls),
        reads: of(reads),
        writes: of(writes),
        timers_fired: fired.count,
        timer_lateness_sum_ns: fired.late_sum,
        timer_lateness_max_ns: fired.late_max,
        longest_callback_ns: of(longest),
        stalls: of(stalls),
        queue_length: counts.queued,
        records_waiting: counts.held,
        work: u64::try_from(counts.work).unwrap_or(0),
    }
}

/// Tells what the context has done. `stats->struct_size` says how much of it is wanted.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`stats` is NULL, or its struct_size is smaller than its first two fields).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_stats(
    context: *mut weir_context,
    stats: *mut weir_stats,
) -> c_int {
    let caller = Caller::current();
    let tell = || {
        let context = self::context(&caller, context)?;
        if stats.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        let size = unsafe { (*stats).struct_size };
        if size < size_of::<usize>() + size_of::<u64>() {
            return Err(Errno::INVAL);
        }
        let mut all = collect(*context);
        all.struct_size = size;
        let known = size.min(size_of::<weir_stats>());
        // SAFETY: `struct_size` bytes are writable, promised by the caller.
        unsafe { ptr::from_ref(&all).cast::<u8>().copy_to_nonoverlapping(stats.cast(), known) };
        Ok(())
    };
    code(tell())
}

/// One handle in a report.
#[repr(C)]
pub struct weir_report_line {
    /// The handle.
    pub handle: *mut c_void,
    /// The name of its type: "stream", "timer" and so on. Static.
    pub type_name: *const c_char,
    /// Nanoseconds since it was made, in steps of some milliseconds.
    pub age_ns: i64,
    /// Operations pending on it.
    pub pending: usize,
    /// Its name, cut short where it does not fit; empty where it has none.
    pub name: [c_char; 64],
}

/// Tells of every handle that is open in the context, oldest first: up to `capacity` lines. `count` receives how many
/// are open, which may be more. With a log function in its options a context tells the same by itself
/// when it is destroyed.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`lines` is NULL with a capacity; `count` is NULL), WEIR_ENOMEM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_report(
    context: *mut weir_context,
    lines: *mut weir_report_line,
    capacity: usize,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let tell = || {
        let context = self::context(&caller, context)?;
        if (lines.is_null() && capacity > 0) || count.is_null() {
            return Err(Errno::INVAL);
        }
        let found = context.members.report(*context)?;
        for (at, line) in found.iter().take(capacity).enumerate() {
            let told = weir_report_line {
                handle: super::handle::pointer(line.token),
                type_name: report::type_name(line.token.kind()).unwrap_or(c"").as_ptr(),
                age_ns: line.age,
                pending: line.pending,
                name: line.name.map(|byte| byte.cast_signed() as c_char),
            };
            // SAFETY: promised by the caller; there is room for `capacity` lines.
            unsafe { lines.add(at).write(told) };
        }
        // SAFETY: not NULL; promised by the caller.
        unsafe { count.write(found.len()) };
        Ok(())
    };
    code(tell())
}

/// The name of a handle's type: "stream", "timer" and so on; NULL for what is no handle of any type. Whether the
/// handle is alive does not matter.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_handle_type_name(handle: *mut c_void) -> *const c_char {
    report::type_name(super::handle::any(handle).kind()).map_or(ptr::null(), |name| name.as_ptr())
}
