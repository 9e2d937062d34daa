//! Threads asleep in run: one word and a condition variable.
//!
//! Bit 0 of the word says signalled, the bits above it count the waiters, so that a signal where
//! nobody waits costs one test and no system call. The word is guarded by the run queue's lock.

use super::biased_lock::Guard;
use super::sync::Condvar;
use std::time::Instant;

const SIGNALLED: usize = 1;
const WAITER: usize = 2;

/// The word; part of what the run queue's lock guards.
#[derive(Default)]
pub struct Wakeup {
    word: usize,
}

/// What is guarded by the lock that a waiter gives up must hold the word.
pub trait HasWakeup {
    /// The word.
    fn wakeup(&mut self) -> &mut Wakeup;
}

impl Wakeup {
    /// True when a thread waits that no signal has reached yet, or may be waiting still.
    #[inline]
    pub fn has_waiters(&self) -> bool {
        self.word >= WAITER
    }

    /// Wakes one waiter; false when there is none.
    #[inline]
    pub fn signal_one(&mut self, condvar: &Condvar) -> bool {
        if !self.has_waiters() {
            return false;
        }
        self.word |= SIGNALLED;
        condvar.notify_one();
        true
    }

    /// Wakes every waiter.
    pub fn signal_all(&mut self, condvar: &Condvar) {
        self.word |= SIGNALLED;
        condvar.notify_all();
    }

    /// Sleeps until signalled or until `deadline`; false at the deadline.
    pub fn wait<T: HasWakeup>(
        guard: &mut Guard<'_, T>,
        condvar: &Condvar,
        deadline: Option<Instant>,
    ) -> bool {
        guard.wakeup().word &= !SIGNALLED;
        while guard.wakeup().word & SIGNALLED == 0 {
            guard.wakeup().word += WAITER;
            let timed_out = !guard.wait(condvar, deadline);
            let word = &mut guard.wakeup().word;
            *word -= WAITER;
            if timed_out {
                return *word & SIGNALLED != 0;
            }
        }
        true
    }
}
