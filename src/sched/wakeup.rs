//! Threads asleep in run: one word and a condition variable.
//!
//! The word counts the waiters, so that a signal where nobody waits costs one test and no system call. It
//! is guarded by the run queue's lock. A bit beside it says that a signal is on its way. It is cleared by who
//! comes out of its sleep, never by who goes to sleep, which would take the signal from another that was woken and
//! has no lock yet; and who comes out looks at everything anew.

use super::biased_lock::Guard;
use super::sync::Condvar;
use std::time::Instant;

/// The word; part of what the run queue's lock guards.
#[derive(Default)]
pub struct Wakeup {
    waiters: usize,
    /// A waiter was signalled, and none has had the lock since.
    waking: bool,
    signals: u64,
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

    /// The waiters that were signalled so far.
    pub fn signals(&self) -> u64 {
        self.signals
    }

    /// Wakes one waiter; false when there is none. While one is on its way no second one is woken: whoever has the
    /// lock next looks at everything, and where it takes something and leaves more it wakes the next. So many
    /// short handlers cost a system call for each thread that comes, not for each handler.
    #[inline]
    pub fn signal_one(&mut self, condvar: &Condvar) -> bool {
        if !self.has_waiters() {
            return false;
        }
        if !self.waking {
            self.waking = true;
            self.signals += 1;
            condvar.notify_one();
        }
        true
    }

    /// A waiter has the lock again.
    fn came_back(&mut self) {
        self.waiters -= 1;
        self.waking = false;
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
        guard.wakeup().came_back();
        woken
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn while_one_waiter_is_on_its_way_no_other_is_woken() {
        let condvar = Condvar::new();
        let mut wakeup = Wakeup { waiters: 2, ..Wakeup::default() };
        assert!(wakeup.signal_one(&condvar));
        assert!(wakeup.signal_one(&condvar));
        assert_eq!(wakeup.signals(), 1);
        // It has the lock.
        wakeup.came_back();
        assert!(wakeup.signal_one(&condvar));
        assert_eq!(wakeup.signals(), 2);
        wakeup.came_back();
        assert!(!wakeup.signal_one(&condvar));
    }
}
