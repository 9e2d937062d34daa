//! The mutex and the condition variable under `sync`: words that the kernel knows sleepers of, and nothing else.
//!
//! parking_lot's own keep the sleepers in a table of the process, which a fork copies with everything else. In the
//! child those threads do not exist, and the stacks that their entries lie in are given to new threads: the
//! table's lists then go in circles. So parking_lot's types are used with this lock below them, which has nothing
//! of the kind: in a child no word is slept on.
#![allow(unsafe_code, reason = "the promise to exclude")]

use super::sync::{AtomicU32, GuardSend, MutexGuard, Ordering, RawMutex, spin_hint, yield_now};
use crate::sys::futex;
use std::time::Instant;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, and somebody may sleep until it is free.
const WANTED: u32 = 2;

/// How often a thread looks before it sleeps: a few times at once, then after it has let others run. Who holds the
/// lock may just have woken this thread, on the same processor.
const LOOKS: u32 = 10;
const LOOKS_AT_ONCE: u32 = 3;

/// The lock without what it guards.
pub struct RawLock(AtomicU32);

impl RawLock {
    /// In the child of a fork, where neither the holder nor those that wait for it exist.
    pub fn forget_holder(&self) {
        self.0.store(FREE, Ordering::Relaxed);
    }

    #[cold]
    fn lock_slowly(&self) {
        let mut state = self.look();
        if state == FREE {
            match self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => state = other,
            }
        }
        loop {
            // Taken as wanted: whoever else sleeps must be woken when this thread gives it back.
            if state != WANTED && self.0.swap(WANTED, Ordering::Acquire) == FREE {
                return;
            }
            futex::wait(&self.0, WANTED, None);
            state = self.look();
        }
    }

    /// Waits a moment for it to become free, or wanted: then there is a queue already.
    fn look(&self) -> u32 {
        for round in 0..LOOKS {
            let state = self.0.load(Ordering::Relaxed);
            if state != TAKEN {
                return state;
            }
            if round < LOOKS_AT_ONCE {
                (0..1 << round).for_each(|_| spin_hint());
            } else {
                yield_now();
            }
        }
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: `lock` returns, and `try_lock` says yes, after a change from FREE to another state, which one thread makes;
// the state becomes FREE again in `unlock` only.
unsafe impl RawMutex for RawLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait has it so")]
    const INIT: RawLock = RawLock(AtomicU32::new(FREE));

    type GuardMarker = GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_slowly();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire: what the holder before has written is seen from here on.
        self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) == WANTED {
            futex::wake(&self.0, 1);
        }
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }
}

/// How a timed wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True when the deadline has passed.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// A condition variable. A wait may end without a notification.
pub struct Condvar {
    /// Counts notifications, round and round.
    notified: AtomicU32,
    /// Threads that wait, or are about to; in a child also those of the parent, which costs a system call.
    /// Changed and read under the mutex, or by who had it after the change that it tells of.
    waiting: AtomicU32,
}

impl Condvar {
    /// One that nobody waits on.
    pub const fn new() -> Self {
        Condvar { notified: AtomicU32::new(0), waiting: AtomicU32::new(0) }
    }

    /// Unlocks, waits to be notified, locks again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, None);
    }

    /// The same until a deadline at most.
    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        WaitTimeoutResult(!self.sleep(guard, Some(deadline)))
    }

    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) -> bool {
        // Under the mutex: a notification for what this thread has not seen comes later, and changes it.
        let seen = self.notified.load(Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let woken = MutexGuard::unlocked(guard, || {
            let limit = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            futex::wait(&self.notified, seen, limit)
        });
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        woken
    }

    /// Wakes one waiter.
    #[inline]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all waiters.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(i32::MAX);
    }

    #[inline]
    fn notify(&self, count: i32) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.notified.fetch_add(1, Ordering::Relaxed);
            futex::wake(&self.notified, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn it_excludes() {
        let sum = Mutex::new(0_u32);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut sum = sum.lock();
                        let before = *sum;
                        if before % 1000 == 0 {
                            thread::yield_now();
                        }
                        *sum = before + 1;
                    }
                });
            }
        });
        assert_eq!(*sum.lock(), 80_000);
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let deadline = Instant::now() + Duration::from_millis(20);
        let mut guard = mutex.lock();
        while !condvar.wait_until(&mut guard, deadline).timed_out() {}
        assert!(Instant::now() >= deadline);
        assert!(condvar.wait_until(&mut guard, deadline).timed_out());
    }

    #[test]
    fn turns_are_handed_round() {
        let (turn, condvar) = (Mutex::new(0_u32), Condvar::new());
        thread::scope(|scope| {
            for me in 0..3 {
                let (turn, condvar) = (&turn, &condvar);
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let mut now = turn.lock();
                        while *now % 3 != me {
                            condvar.wait(&mut now);
                        }
                        *now += 1;
                        condvar.notify_all();
                    }
                });
            }
        });
        assert_eq!(*turn.lock(), 3000);
    }
}
