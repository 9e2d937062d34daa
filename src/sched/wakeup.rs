//! Threads asleep in run: one word and a condition variable.
//!
//! The word counts the waiters, so that a signal where nobody waits costs one test and no system call. It
//! is guarded by the run queue's lock. There is no "signalled" bit beside it: a bit that one waiter
//! clears on its way to sleep takes the signal from another that was woken and has no lock yet. Who
//! wakes looks at everything anew instead.

use super::biased_lock::Guard;
use super::sync::Condvar;
use std::time::Instant;

/// The word; part of what the run queue's lock guards.
#[derive(Default)]
pub struct Wakeup {
    waiters: usize,
}

/// What is guarded by the lock that a waiter gives up must hold the word.
pub trait HasWakeup {
    /// The word.
    fn wakeup(&mut self) -> &mut Wakeup;
}

impl Wakeup {
    /// How many threads wait.
    pub fn waiters(&self) -> usize {
        self.waiters
    }

    /// True when a thread waits. One that was signalled counts until it has the lock again.
    #[inline]
    pub fn has_waiters(&self) -> bool {
        self.waiters > 0
    }

    /// Wakes one waiter; false when there is none. Where all that wait were woken already they are on their
    /// way, and the one that takes something wakes the next.
    #[inline]
    pub fn signal_one(&mut self, condvar: &Condvar) -> bool {
        if !self.has_waiters() {
            return false;
        }
        condvar.notify_one();
        true
    }

    /// Wakes every waiter.
    pub fn signal_all(&mut self, condvar: &Condvar) {
        condvar.notify_all();
    }

    /// Sleeps until signalled or until `deadline`; false at the deadline.
    pub fn wait<T: HasWakeup>(
        guard: &mut Guard<'_, T>,
        condvar: &Condvar,
        deadline: Option<Instant>,
    ) -> bool {
        guard.wakeup().waiters += 1;
        let woken = guard.wait(condvar, deadline);
        guard.wakeup().waiters -= 1;
        woken
    }
}
