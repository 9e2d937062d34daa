//! Threads for what blocks. A pool belongs to the process: it starts a thread when there is more to do
//! than threads that wait, up to a limit, and a thread that has waited for a while goes.
//!
//! An entry is a function and a number. The number names what to do, as a token does; what was cancelled
//! is not looked for in the queue: its entry finds nothing when its turn comes.

use super::sync::{Condvar, Mutex, now, thread};
use crate::sys::errno::Errno;
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
    limit: usize,
}

/// A pool.
pub struct Pool {
    state: Mutex<State>,
    more: Condvar,
    stack: usize,
    main: thread::Main,
}

impl Pool {
    #[cfg(not(loom))]
    const fn new(limit: usize, stack: usize, main: thread::Main) -> Self {
        let state = State { queue: VecDeque::new(), threads: 0, idle: 0, limit };
        Pool { state: Mutex::new(state), more: Condvar::new(), stack, main }
    }

    #[cfg(loom)]
    fn new(limit: usize, stack: usize, main: thread::Main) -> Self {
        let state = State { queue: VecDeque::new(), threads: 0, idle: 0, limit };
        Pool { state: Mutex::new(state), more: Condvar::new(), stack, main }
    }

    /// Queues an entry. An error where it can't be, or where there is no thread and none can be started.
    pub fn submit(&self, task: Task) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.queue.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        state.queue.push_back(task);
        // A thread that was woken counts as idle until it has taken its entry.
        if state.queue.len() > state.idle && state.threads < state.limit {
            match thread::start(self.stack, self.main) {
                Ok(()) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    state.queue.pop_back();
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        if state.idle > 0 {
            self.more.notify_one();
        }
        Ok(())
    }

    /// In the child of a fork: none of the threads is here. One is started for what is queued; it starts no
    /// others, but later entries do.
    pub fn after_fork(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.threads = 0;
        state.idle = 0;
        if !state.queue.is_empty() {
            thread::start(self.stack, self.main)?;
            state.threads = 1;
        }
        Ok(())
    }

    /// How many threads there may be. Fewer than there are: the others go when they have nothing to do.
    pub fn set_limit(&self, limit: usize) {
        self.state.lock().limit = limit;
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                drop(state);
                (task.run)(task.data);
                state = self.state.lock();
                continue;
            }
            if state.threads > state.limit {
                break;
            }
            state.idle += 1;
            let waited = self.more.wait_until(&mut state, now() + IDLE);
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
