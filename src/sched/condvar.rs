//! A condition variable on a word of its own, for threads that may sleep while the process is forked.
//!
//! parking_lot keeps those that wait in a table of the process, in nodes on their stacks. In the child of a fork
//! the nodes are still linked, and the stacks are used again by the child's threads (H70). Here a thread that sleeps
//! leaves nothing behind but a count that is too high, which costs a system call.

use super::sync::{AtomicU32, MutexGuard, Ordering};
use crate::sys::futex;
use std::time::Instant;

/// See the module.
pub struct Condvar {
    /// Changes with each notification.
    turn: AtomicU32,
    waiters: AtomicU32,
}

/// How a timed wait ended.
#[derive(Clone, Copy)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True when the deadline has passed and nobody was notified meanwhile.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition variable that nobody waits on.
    pub const fn new() -> Self {
        Condvar { turn: AtomicU32::new(0), waiters: AtomicU32::new(0) }
    }

    /// Unlocks, waits to be notified or for the deadline, locks again. May return for no reason.
    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        // Under the lock that whoever notifies has had since: the turn is from before his.
        let turn = self.turn.load(Ordering::Relaxed);
        self.waiters.fetch_add(1, Ordering::Relaxed);
        MutexGuard::unlocked(guard, || {
            let left = deadline.saturating_duration_since(Instant::now());
            futex::wait(&self.turn, turn, Some(left));
        });
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        let notified = self.turn.load(Ordering::Relaxed) != turn;
        WaitTimeoutResult(!notified && Instant::now() >= deadline)
    }

    /// Wakes one waiter. Under the lock, or after it was held to change what the waiter looks for.
    pub fn notify_one(&self) {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.turn.fetch_add(1, Ordering::Relaxed);
            futex::wake(&self.turn, 1);
        }
    }
}
