//! Jobs: a user's function that blocks, on a thread of the pool.
//!
//! A thread that runs one holds a pin of its context, so that destruction waits for it, and owns the ticket
//! meanwhile: the handle may be closed while the function runs.
#![allow(unsafe_code, reason = "tickets, and the user's pointer")]

use super::kind;
use crate::sched::completion::{Callback, JobFn, call_job};
use crate::sched::end::JobMark;
use crate::sched::fork_gate;
use crate::sched::frame::Caller;
use crate::sched::object::{Body, Locked, Object};
use crate::sched::op::Op;
use crate::sched::scheduler::Scheduler;
use crate::sched::sync::Mutex;
use crate::sched::table::{Table, Token};
use crate::sched::thread_pool::{JOBS, Task};
use crate::sched::ticket;
use crate::sys::errno::Errno;
use libc::c_void;
use std::ptr::NonNull;

/// Every job of the process.
#[cfg(not(loom))]
static TABLE: Table<Object<Job>> = Table::new();
#[cfg(loom)]
static TABLE: once_cell::sync::Lazy<Table<Object<Job>>> = once_cell::sync::Lazy::new(Table::new);

/// A job.
pub struct Job {
    state: State,
    /// Nobody has the handle: it ends with the function.
    alone: bool,
}

enum State {
    Queued(NonNull<Op>, JobFn, *mut c_void),
    /// The ticket is the thread's.
    Running(NonNull<Op>),
    Done,
}

// SAFETY: the ticket is this object's; the user's pointer is handed on only.
unsafe impl Send for Job {}

impl Body for Job {
    const KIND: u8 = kind::JOB;

    fn vacant() -> Self {
        Job { state: State::Done, alone: false }
    }

    fn table() -> &'static Table<Object<Self>> {
        &TABLE
    }

    fn cancel(object: &mut Locked<Self>, caller: &Caller) -> usize {
        let State::Queued(ticket, ..) = object.body().state else { return 0 };
        object.body().state = State::Done;
        object.finish(caller, ticket, Errno::CANCELED.code(), 0);
        1
    }

    fn cancel_of(object: &mut Locked<Self>, caller: &Caller, user: *mut c_void) -> usize {
        let State::Queued(ticket, ..) = object.body().state else { return 0 };
        if object.is_of(ticket, user) { Self::cancel(object, caller) } else { 0 }
    }

    fn close(object: &mut Locked<Self>, _: &Caller) {
        if let State::Running(ticket) = object.body().state {
            note_closed(object, ticket);
        }
    }

    fn renew(mut object: Locked<Self>, caller: &Caller) {
        let (ticket, status) = match object.body().state {
            State::Done => return,
            State::Running(ticket) => {
                // The thread's.
                object.drop_hold();
                (ticket, Errno::CANCELED)
            }
            State::Queued(ticket, ..) => {
                let Some(token) = object.token() else { return };
                // The context goes through its handles from the newest to the oldest.
                match JOBS.submit_first(Task { run, data: token.raw() }) {
                    Ok(()) => return,
                    Err(error) => (ticket, error),
                }
            }
        };
        object.body().state = State::Done;
        object.finish(caller, ticket, status.code(), 0);
        if object.body().alone {
            object.close(caller);
        }
    }

    fn pending(&self) -> usize {
        usize::from(!matches!(self.state, State::Done))
    }
}

/// Queues a function for the pool. `tell` receives the handle before the function can start.
pub fn start(
    caller: &Caller,
    sched: &'static Scheduler,
    (function, argument): (JobFn, *mut c_void),
    (callback, user): (Callback, *mut c_void),
    alone: bool,
    tell: impl FnOnce(Token),
) -> Result<(), Errno> {
    let ticket = ticket::new(callback, user)?;
    let begun = begin(caller, sched, State::Queued(ticket, function, argument), alone, tell);
    if begun.is_err() {
        // SAFETY: it was not begun.
        unsafe { ticket::free(ticket) };
    }
    begun
}

fn begin(
    caller: &Caller,
    sched: &'static Scheduler,
    state: State,
    alone: bool,
    tell: impl FnOnce(Token),
) -> Result<(), Errno> {
    let token = Object::create(sched, Job { state: State::Done, alone })?;
    let mut job = Object::<Job>::lock(token)?;
    // A thread that takes the entry waits for the lock.
    if let Err(error) = JOBS.submit(Task { run, data: token.raw() }) {
        job.close(caller);
        return Err(error);
    }
    job.begin();
    job.body().state = state;
    tell(token);
    Ok(())
}

/// A job whose handle was closed while its function runs.
struct Closed {
    sched: &'static Scheduler,
    ticket: NonNull<Op>,
    object: &'static Object<Job>,
}

// SAFETY: the ticket is the thread's that runs the function; in the child of a fork, which has no such thread, whose
// renewal finds it here.
unsafe impl Send for Closed {}

/// No context knows of these.
#[cfg(not(loom))]
static CLOSED: Mutex<Vec<Closed>> = Mutex::new(Vec::new());
#[cfg(loom)]
static CLOSED: once_cell::sync::Lazy<Mutex<Vec<Closed>>> =
    once_cell::sync::Lazy::new(|| Mutex::new(Vec::new()));

fn note_closed(job: &mut Locked<Job>, ticket: NonNull<Op>) {
    let (sched, object) = (job.sched, job.object());
    let mut closed = CLOSED.lock();
    // Without memory a child of a fork would miss one completion.
    if closed.try_reserve(1).is_ok() {
        closed.push(Closed { sched, ticket, object });
    }
}

/// In the child of a fork: what was closed while it ran, of a context that is renewed.
pub fn renew_closed(sched: &'static Scheduler, caller: &Caller) {
    CLOSED.lock().retain(|closed| {
        let is_here = std::ptr::eq(closed.sched, sched);
        if is_here {
            // SAFETY: the thread that had it is the parent's.
            unsafe { ticket::set_result(closed.ticket, Errno::CANCELED.code(), 0) };
            sched.submit(caller, closed.object.member(), closed.ticket);
            closed.object.release();
        }
        !is_here
    });
}

/// On a thread of the pool.
fn run(data: u64) {
    let (caller, token) = (Caller::current(), Token::from_raw(data));
    let inside = fork_gate::enter();
    let Ok(mut job) = Object::<Job>::lock(token) else { return };
    // A context that is being destroyed cancels what has not started.
    let Some(context) = job.sched.token() else { return };
    let Ok(pinned) = Scheduler::resolve_open(&caller, context) else { return };
    let State::Queued(ticket, function, argument) = job.body().state else { return };
    job.body().state = State::Running(ticket);
    // Closed meanwhile or not, its completion goes through its strand.
    let object = job.hold();
    drop(job);
    drop(inside);

    let value = {
        let _mark = JobMark::new(*pinned);
        call_job(function, argument)
    };

    let _inside = fork_gate::enter();
    let value = i64::from(value).cast_unsigned();
    match Object::<Job>::lock(token) {
        Ok(mut job) => {
            job.body().state = State::Done;
            job.finish(&caller, ticket, 0, value);
            if job.body().alone {
                job.close(&caller);
            }
        }
        Err(_) => {
            CLOSED.lock().retain(|closed| closed.ticket != ticket);
            // SAFETY: taken out of the body above.
            unsafe { ticket::set_result(ticket, 0, value) };
            pinned.submit(&caller, object.member(), ticket);
        }
    }
    object.release();
}

/// Takes a function back that has not started.
pub fn cancel(caller: &Caller, token: Token) -> Result<usize, Errno> {
    Ok(Object::<Job>::lock(token)?.cancel(caller))
}

/// Ends the handle.
pub fn close(caller: &Caller, token: Token) -> Result<(), Errno> {
    Object::<Job>::lock(token)?.close(caller);
    Ok(())
}
