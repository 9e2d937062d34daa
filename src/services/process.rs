//! Processes: the exit of a child, told once to each wait.
//!
//! A pidfd in the context's epoll set tells of the exit, and waitid(2) on it reaps. The child's own signal is not
//! touched (H51). Where the kernel has no pidfds the child is asked for at intervals.
#![allow(unsafe_code, reason = "pooled calls, and a struct that libc fills")]

use super::kind;
use crate::sched::call::{free_call, new_call};
use crate::sched::completion::{Callback, OP_PROCESS, ValueFn};
use crate::sched::frame::{Caller, Frame};
use crate::sched::object::{Body, Locked, Object};
use crate::sched::op::{Op, OpQueue};
use crate::sched::scheduler::Scheduler;
use crate::sched::source::{Registered, Source};
use crate::sched::table::{Table, Token};
use crate::sched::ticket;
use crate::sched::timers::Timer;
use crate::sys::errno::Errno;
use crate::sys::pidfd::{self, Child, Exit};
use crate::sys::{epoll, fd};
use libc::{c_int, c_void, pid_t, rusage};
use std::ptr::{self, NonNull};

/// Every process handle of this process.
#[cfg(not(loom))]
static PROCESSES: Table<Object<Process>> = Table::new();
#[cfg(loom)]
static PROCESSES: once_cell::sync::Lazy<Table<Object<Process>>> =
    once_cell::sync::Lazy::new(Table::new);

/// How often a child is asked for where there are no pidfds, in nanoseconds of the context's clock.
const INTERVAL: i64 = 20_000_000;

/// A child.
pub struct Process {
    child: Child,
    pid: pid_t,
    exit: Option<Result<Exit, Errno>>,
    wait: Option<NonNull<Op>>,
    source: Option<Registered>,
    /// The timer that asks where there is no pidfd.
    poller: Option<Token>,
}

// SAFETY: a ticket is an object of a pool, and the body's while it waits.
unsafe impl Send for Process {}

impl Body for Process {
    const KIND: u8 = kind::PROCESS;

    fn vacant() -> Self {
        Process { child: Child::Pid(0), pid: 0, exit: None, wait: None, source: None, poller: None }
    }

    fn table() -> &'static Table<Object<Self>> {
        &PROCESSES
    }

    fn cancel(object: &mut Locked<Self>, caller: &Caller) -> usize {
        stop_asking(object, caller);
        let Some(wait) = object.body().wait.take() else { return 0 };
        object.finish(caller, wait, Errno::CANCELED.code(), 0);
        1
    }

    fn cancel_of(object: &mut Locked<Self>, caller: &Caller, user: *mut c_void) -> usize {
        let wait = object.body().wait;
        let is_it = wait.is_some_and(|wait| object.is_of(wait, user));
        if is_it { Self::cancel(object, caller) } else { 0 }
    }

    fn close(object: &mut Locked<Self>, caller: &Caller) {
        stop_asking(object, caller);
        if let Child::Fd(fd) = object.body().child {
            if let Some(source) = object.body().source.take() {
                let _ = source.remove(object.sched, fd);
            }
            fd::close(fd);
        }
    }

    fn pending(&self) -> usize {
        usize::from(self.wait.is_some())
    }
}

/// Makes a handle for a child of this process.
pub fn create(sched: &'static Scheduler, pid: pid_t) -> Result<Token, Errno> {
    if pid <= 0 {
        return Err(Errno::INVAL);
    }
    pidfd::check(Child::Pid(pid))?;
    let child = match pidfd::open(pid) {
        // Asked again by the pidfd: something else may have reaped the child meanwhile, and its number have become
        // a stranger's. A kernel that can't wait by pidfd is one that has none.
        Ok(fd) => match pidfd::check(Child::Fd(fd)) {
            Ok(()) => Child::Fd(fd),
            Err(error) => {
                fd::close(fd);
                if !pidfd::is_missing(error) {
                    return Err(error);
                }
                Child::Pid(pid)
            }
        },
        Err(error) if pidfd::is_missing(error) => Child::Pid(pid),
        Err(error) => return Err(error),
    };
    let body = Process { child, pid, ..Process::vacant() };
    Object::create(sched, body).inspect_err(|_| {
        if let Child::Fd(fd) = child {
            fd::close(fd);
        }
    })
}

/// The object of a handle, locked.
pub fn lock(process: Token) -> Result<Locked<Process>, Errno> {
    Object::lock(process)
}

/// The child's number.
pub fn pid(process: Token) -> Result<pid_t, Errno> {
    Ok(lock(process)?.body().pid)
}

/// Begins to wait for the exit.
pub fn wait(
    caller: &Caller,
    process: Token,
    callback: Option<ValueFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let callback = callback.map_or(Callback::Record(OP_PROCESS), Callback::Value);
    let ticket = ticket::new(callback, user)?;
    let begun = begin(caller, process, ticket);
    if begun.is_err() {
        // SAFETY: it was not begun.
        unsafe { ticket::free(ticket) };
    }
    begun
}

fn begin(caller: &Caller, process: Token, ticket: NonNull<Op>) -> Result<(), Errno> {
    let mut process = lock(process)?;
    process.check_open()?;
    if process.body().wait.is_some() {
        return Err(Errno::BUSY);
    }
    if let Some((status, value)) = look(&mut process) {
        process.complete(caller, ticket, status, value);
        return Ok(());
    }
    let token = process.token().ok_or(Errno::BADF)?;
    let child = process.body().child;
    match child {
        Child::Fd(fd) if process.body().source.is_none() => {
            // Where it has ended since, that is an edge at once.
            let events = epoll::IN | epoll::ET;
            let source = Source::register(process.sched, fd, events, on_exit, token.raw())?;
            process.body().source = Some(source);
        }
        Child::Fd(_) => {}
        Child::Pid(_) => {
            let poller = Timer::create(process.sched)?;
            process.body().poller = Some(poller);
            if let Err(error) = ask_later(caller, poller, token) {
                stop_asking(&mut process, caller);
                return Err(error);
            }
        }
    }
    process.begin();
    process.body().wait = Some(ticket);
    Ok(())
}

/// The exit, once it has happened: as status and value of a completion. Reaps at the first time.
fn look(process: &mut Locked<Process>) -> Option<(i32, u64)> {
    let body = process.body();
    if body.exit.is_none() {
        body.exit = match pidfd::reap(body.child) {
            Ok(None) => None,
            Ok(Some(exit)) => Some(Ok(exit)),
            Err(error) => Some(Err(error)),
        };
    }
    Some(match body.exit.as_ref()? {
        Ok(exit) => (0, u64::from(exit.status.cast_unsigned())),
        Err(error) => (error.code(), 0),
    })
}

/// The pidfd has become readable.
fn on_exit(_: &'static Scheduler, user: u64, _: u32, ready: &OpQueue) {
    let Ok(mut process) = lock(Token::from_raw(user)) else { return };
    if process.body().wait.is_none() {
        // The next wait looks for itself: the child stays until somebody asks.
        return;
    }
    let Some((status, value)) = look(&mut process) else { return };
    if let Some(wait) = process.body().wait.take() {
        process.finish_in_turn(ready, wait, status, value);
    }
}

/// Has the child asked for after a while.
fn ask_later(caller: &Caller, poller: Token, process: Token) -> Result<(), Errno> {
    let user = ptr::without_provenance_mut(usize::try_from(poller.raw()).unwrap_or(0));
    let call = new_call(caller, run_ask, None, user)?;
    match Timer::lock(poller) {
        Ok(mut timer) => {
            timer.set_owner(process.raw());
            let at = timer.now().saturating_add(INTERVAL);
            timer.set_expiry(at);
            timer.add_internal_wait(call);
            Ok(())
        }
        Err(error) => {
            // SAFETY: it was not queued.
            unsafe { free_call(caller, call) };
            Err(error)
        }
    }
}

fn stop_asking(process: &mut Locked<Process>, caller: &Caller) {
    if let Some(poller) = process.body().poller.take()
        && let Ok(timer) = Timer::lock(poller)
    {
        timer.close(caller);
    }
}

/// The poller's time has come, or it was closed.
unsafe fn run_ask(op: NonNull<Op>, frame: &Frame) {
    let caller = Caller::of(frame);
    // SAFETY: popped by this thread; it came from the pool.
    let (_, poller) = unsafe { free_call(&caller, op) };
    let poller = Token::from_raw(poller.addr() as u64);
    let Ok(owner) = Timer::lock(poller).map(|mut timer| timer.owner()) else { return };
    let token = Token::from_raw(owner);
    let Ok(mut process) = lock(token) else { return };
    if process.body().poller != Some(poller) {
        return;
    }
    let found = look(&mut process).or_else(|| match ask_later(&caller, poller, token) {
        Ok(()) => None,
        Err(error) => Some((error.code(), 0)),
    });
    if let Some((status, value)) = found {
        stop_asking(&mut process, &caller);
        if let Some(wait) = process.body().wait.take() {
            process.finish(&caller, wait, status, value);
        }
    }
}

/// What the child has used, once its exit was told.
pub fn usage(process: Token) -> Result<rusage, Errno> {
    match lock(process)?.body().exit.as_ref() {
        Some(Ok(exit)) => Ok(exit.usage),
        Some(Err(error)) => Err(*error),
        None => Err(Errno::AGAIN),
    }
}

/// Sends a signal to the child. One that was reaped has no number any more.
pub fn kill(process: Token, signo: c_int) -> Result<(), Errno> {
    let mut process = lock(process)?;
    if process.body().exit.is_some() {
        return Err(Errno(libc::ESRCH));
    }
    let (child, pid) = (process.body().child, Child::Pid(process.body().pid));
    if child != pid {
        let sent = pidfd::kill(child, signo);
        if sent != Err(Errno(libc::ENOSYS)) {
            return sent;
        }
    }
    // By its number, which is the child's as long as it can be waited for.
    pidfd::check(pid).map_err(|_| Errno(libc::ESRCH))?;
    pidfd::kill(pid, signo)
}
