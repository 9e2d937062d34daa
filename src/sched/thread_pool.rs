//! Threads for what blocks. A pool belongs to the process: it starts a thread when there is more to do
//! than threads that wait, up to a limit, and a thread that has waited for a while goes.
//!
//! An entry is a function and a number. The number names what to do, as a token does; what was cancelled
//! is not looked for in the queue: its entry finds nothing when its turn comes.

#![allow(unsafe_code, reason = "what takes the place of a static in a child process")]

use super::sync::{AtomicPtr, AtomicUsize, Condvar, Mutex, Ordering, now, thread};
use super::try_box::try_box;
use crate::sys::errno::Errno;
use crate::sys::fork;
use libc::c_void;
use std::collections::VecDeque;
use std::ptr;
use std::time::Duration;

/// How long a thread waits for more.
const IDLE: Duration = Duration::from_secs(2);

/// An entry.
#[derive(Clone, Copy)]
pub struct Task {
    /// Called on a thread of the pool with no lock held.
    pub run: fn(u64),
    /// Handed to it.
    pub data: u64,
}

struct State {
    queue: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    more: Condvar,
    /// Of the process whose threads they are.
    forks: u32,
}

/// A pool.
pub struct Pool {
    /// Of the process in which the library was loaded.
    first: Shared,
    /// Of a child.
    renewed: AtomicPtr<Shared>,
    limit: AtomicUsize,
    stack: usize,
    main: thread::Main,
}

impl Shared {
    #[cfg(not(loom))]
    const fn new(forks: u32) -> Self {
        let state = State { queue: VecDeque::new(), threads: 0, idle: 0 };
        Shared { state: Mutex::new(state), more: Condvar::new(), forks }
    }

    #[cfg(loom)]
    fn new(forks: u32) -> Self {
        let state = State { queue: VecDeque::new(), threads: 0, idle: 0 };
        Shared { state: Mutex::new(state), more: Condvar::new(), forks }
    }
}

impl Pool {
    #[cfg(not(loom))]
    const fn new(limit: usize, stack: usize, main: thread::Main) -> Self {
        let renewed = AtomicPtr::new(ptr::null_mut());
        Pool { first: Shared::new(0), renewed, limit: AtomicUsize::new(limit), stack, main }
    }

    #[cfg(loom)]
    fn new(limit: usize, stack: usize, main: thread::Main) -> Self {
        let renewed = AtomicPtr::new(ptr::null_mut());
        Pool { first: Shared::new(0), renewed, limit: AtomicUsize::new(limit), stack, main }
    }

    /// That of this process; made where there is none yet.
    fn shared(&self) -> Result<&Shared, Errno> {
        loop {
            let there = self.renewed.load(Ordering::Acquire);
            // SAFETY: null, or leaked below.
            let shared = unsafe { there.as_ref() }.unwrap_or(&self.first);
            if shared.forks == fork::count() {
                return Ok(shared);
            }
            let new = Box::into_raw(try_box(Shared::new(fork::count()))?);
            let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
            if self.renewed.compare_exchange(there, new, done, failed).is_err() {
                // SAFETY: another thread was first, and nobody saw this one.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Queues an entry. An error where it can't be, or where there is no thread and none can be started.
    pub fn submit(&self, task: Task) -> Result<(), Errno> {
        self.add(task, VecDeque::push_back, VecDeque::pop_back)
    }

    /// The same before all others.
    pub fn submit_first(&self, task: Task) -> Result<(), Errno> {
        self.add(task, VecDeque::push_front, VecDeque::pop_front)
    }

    fn add(
        &self,
        task: Task,
        push: fn(&mut VecDeque<Task>, Task),
        take_back: fn(&mut VecDeque<Task>) -> Option<Task>,
    ) -> Result<(), Errno> {
        let shared = self.shared()?;
        let mut state = shared.state.lock();
        state.queue.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        push(&mut state.queue, task);
        // A thread that was woken counts as idle until it has taken its entry.
        if state.queue.len() > state.idle && state.threads < self.limit() {
            match thread::start(self.stack, self.main) {
                Ok(()) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    take_back(&mut state.queue);
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        if state.idle > 0 {
            shared.more.notify_one();
        }
        Ok(())
    }

    /// How many threads there may be. Fewer than there are: the others go when they have nothing to do.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn serve(&self) {
        let Ok(shared) = self.shared() else { return };
        let mut state = shared.state.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                drop(state);
                (task.run)(task.data);
                state = shared.state.lock();
                continue;
            }
            if state.threads > self.limit() {
                break;
            }
            state.idle += 1;
            let waited = shared.more.wait_until(&mut state, now() + IDLE);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

/// For the user's functions, and for what name services load, which may need some.
const STACK: usize = 1 << 20;
const LIMIT: usize = 16;

/// The pool of jobs.
#[cfg(not(loom))]
pub static JOBS: Pool = Pool::new(LIMIT, STACK, serve_jobs);
/// The pool of jobs.
#[cfg(loom)]
pub static JOBS: once_cell::sync::Lazy<Pool> =
    once_cell::sync::Lazy::new(|| Pool::new(LIMIT, STACK, serve_jobs));

extern "C" fn serve_jobs(_: *mut c_void) -> *mut c_void {
    JOBS.serve();
    ptr::null_mut()
}

/// The pool of lookups: one that hangs is not in the way of jobs, nor the other way round.
#[cfg(not(loom))]
pub static LOOKUPS: Pool = Pool::new(LIMIT, STACK, serve_lookups);
/// The pool of lookups.
#[cfg(loom)]
pub static LOOKUPS: once_cell::sync::Lazy<Pool> =
    once_cell::sync::Lazy::new(|| Pool::new(LIMIT, STACK, serve_lookups));

extern "C" fn serve_lookups(_: *mut c_void) -> *mut c_void {
    LOOKUPS.serve();
    ptr::null_mut()
}
