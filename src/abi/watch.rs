//! Watches.

use super::handle::{
    code, context_of, count, deliver, open_context, pointer, watch, weir_context,
    weir_value_callback, weir_watch,
};
use crate::sched::frame::Caller;
use crate::sched::watch::Watch;
use crate::services::watch as service;
use libc::{c_int, c_uint, c_void};

/// Event of a watch: there is something to read, or a connection to accept. (EPOLLIN)
pub const WEIR_WATCH_READ: c_uint = 1;
/// Event of a watch: there is room to write, or a connect has ended. (EPOLLOUT)
pub const WEIR_WATCH_WRITE: c_uint = 2;
/// Event of a watch: something exceptional, such as urgent data. (EPOLLPRI)
pub const WEIR_WATCH_PRIORITY: c_uint = 4;
/// Event of a watch: the peer has ended its direction. (EPOLLRDHUP)
pub const WEIR_WATCH_READ_HANGUP: c_uint = 8;
/// Event of a watch: both directions have ended. Told whether asked for or not. (EPOLLHUP)
pub const WEIR_WATCH_HANGUP: c_uint = 16;
/// Event of a watch: an error. Told whether asked for or not. (EPOLLERR)
pub const WEIR_WATCH_ERROR: c_uint = 32;
/// Event of a watch: the deadline has passed. Never asked for.
pub const WEIR_WATCH_TIMEOUT: c_uint = 64;

/// How a watch is started: it tells changes only, as EPOLLET does. Without this flag it is level-triggered.
pub const WEIR_WATCH_EDGE: c_uint = 1;
/// How a watch is started: it goes on until it is stopped. Without this flag it completes with its first event.
pub const WEIR_WATCH_PERSISTENT: c_uint = 2;

/// Makes a watch of an fd that is the caller's and stays it: the library never reads, writes, changes or
/// closes it. -1 is no fd yet (see weir_watch_set_fd(); weir_watch_feed() and deadlines work without one). Any number
/// of watches may have the same fd; they share one registration in the kernel. End it with weir_watch_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL, `fd` < -1), WEIR_ENOMEM, WEIR_ESHUTDOWN. That the fd is not open
/// is found by weir_watch_start().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_watch_create(
    context: *mut weir_context,
    fd: c_int,
    out: *mut *mut weir_watch,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?, fd).map(pointer)) }
}

/// Ends a watch, as weir_watch_stop() does. The fd stays open. An fd that is to be closed should lose its watches
/// first; where it was closed already nothing bad comes of it.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_watch_close(watch: *mut weir_watch) -> c_int {
    let caller = Caller::current();
    code(self::watch(watch).and_then(|watch| service::close(&caller, watch)))
}

/// The same as weir_watch_stop().
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_watch_cancel(watch: *mut weir_watch, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::watch(watch).and_then(|watch| service::stop(&caller, watch));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// The context that the watch belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_watch_context(
    watch: *mut weir_watch,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Watch::lock(self::watch(watch)?)?.sched)) }
}

/// Watches for `events`, the sum of WEIR_WATCH_READ, _WRITE, _PRIORITY, _READ_HANGUP, _HANGUP and _ERROR; the last two
/// are told in any case. `flags` are WEIR_WATCH_EDGE and WEIR_WATCH_PERSISTENT. The callback is called with status 0
/// and the events that were seen, asked-for ones and those two only. What is ready already is told too.
///
/// Level-triggered: told again, about once a turn of the loop, for as long as it holds, hang-up and error included,
/// and not when it is gone by then. Edge-triggered: told when it comes, perhaps once more when another watch of
/// the fd starts or changes. Regular files, of which the kernel knows no readiness, are always ready to read and
/// write: told once a turn if level-triggered, else once.
///
/// One-shot: completes with the first event, and may be started again from its own callback. Persistent:
/// completes once more, at last, with WEIR_ECANCELED. Calls of one watch never overlap; what comes meanwhile
/// gathers for the next.
///
/// `timeout_ns`, or WEIR_FOREVER, is a deadline: when so long nothing came, the watch fires with status 0 and
/// WEIR_WATCH_TIMEOUT. For a persistent watch it counts anew from each event and each time-out.
///
/// Of an fd that was closed without a word nothing more is heard (of a regular file perhaps once); a watch of its number that is started or
/// moved to it later is of the file that has that number then.
///
/// Errors: WEIR_EBADF (also: the fd is not open), WEIR_EBUSY (it is started, or its last completion is not delivered
/// yet), WEIR_EINVAL (`events` or `flags`, a negative time), -EEXIST (the fd is of a stream or the like of this
/// context; where that has not waited for anything yet, the watch completes so when it does), WEIR_ENOMEM,
/// WEIR_ESHUTDOWN, or what the kernel said of epoll_ctl, such as -ENOSPC.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_watch_start(
    watch: *mut weir_watch,
    events: c_uint,
    flags: c_uint,
    timeout_ns: i64,
    callback: weir_value_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::watch(watch).and_then(|watch| {
        service::start(&caller, watch, events, flags, timeout_ns, callback, user)
    }))
}

/// Changes what a started watch watches for. A system call only where the watches of the fd together want
/// something new; less costs none. What was seen already and is no longer asked for is not told.
///
/// Errors: WEIR_EBADF (also: the fd was closed; the watch stays started and hears nothing), WEIR_EINVAL (`events`, or
/// it is not started), or as weir_watch_start(). After an error the events are those from before.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_watch_change(watch: *mut weir_watch, events: c_uint) -> c_int {
    let caller = Caller::current();
    code(self::watch(watch).and_then(|watch| service::change(&caller, watch, events)))
}

/// Ends watching with WEIR_ECANCELED. No event is told from now on, not even one that was seen or fed already
/// (a callback that runs at this moment on another thread goes on). `count`, which may be NULL, receives 0 or 1.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_watch_stop(watch: *mut weir_watch, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::watch(watch).and_then(|watch| service::stop(&caller, watch));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// Has a started watch fire without the kernel, with these events, asked for or not; WEIR_WATCH_TIMEOUT may be one.
/// They are told once, later, in run, together with what else was seen.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`events`, or it is not started).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_watch_feed(watch: *mut weir_watch, events: c_uint) -> c_int {
    let caller = Caller::current();
    code(self::watch(watch).and_then(|watch| service::feed(&caller, watch, events)))
}

/// Moves the watch to another fd, or to none (-1). A started watch goes on there; what was seen of the old one is not
/// told any more. To be called with the same number when that has become another file.
///
/// Errors: as weir_watch_start() has for the fd, and WEIR_EINVAL (`fd` < -1). After an error it is where it was.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_watch_set_fd(watch: *mut weir_watch, fd: c_int) -> c_int {
    let caller = Caller::current();
    code(self::watch(watch).and_then(|watch| service::set_fd(&caller, watch, fd)))
}

/// The fd, or -1.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_watch_fd(watch: *mut weir_watch, fd: *mut c_int) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Ok(Watch::lock(self::watch(watch)?)?.fd())) }
}

/// Changes the deadline of a started watch; it counts from now. In constant time, and with no system call where
/// it is later than others are.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (negative, or the watch is not started), WEIR_ENOMEM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_watch_set_timeout(watch: *mut weir_watch, timeout_ns: i64) -> c_int {
    let caller = Caller::current();
    code(self::watch(watch).and_then(|watch| service::set_timeout(&caller, watch, timeout_ns)))
}
