//! The one place that locks and atomics come from.
//!
//! The rest of the crate names this module only, so that the loom models run the very code that
//! ships. Under `--cfg loom` the same names stand for loom's types, with parking_lot's signatures:
//! no poisoning, and condition variables that take the guard by reference.
//!
//! Two things differ under loom: `new` is not `const`, and a timed wait times out where the deadline
//! has passed already, else never (loom has no clock).
//!
//! Under `--cfg weir_sim` they stand for types whose every operation is a step of a seeded scheduler
//! ([`schedule`]), and time goes on by command only: `tests/sim` runs the whole library so.

#[cfg(all(not(loom), not(weir_sim)))]
pub use native::*;

#[cfg(loom)]
pub use modelled::*;

#[cfg(weir_sim)]
pub use simulated::*;

#[cfg(weir_sim)]
pub mod schedule;
#[cfg(weir_sim)]
mod simulated;

#[cfg(all(not(loom), not(weir_sim)))]
mod native {
    pub use crate::sched::futex_lock::{Condvar, WaitTimeoutResult};
    pub use crate::sys::thread;
    pub use parking_lot::lock_api::{GuardSend, RawMutex};
    /// parking_lot's mutex on a lock that survives a fork.
    pub type Mutex<T> = parking_lot::lock_api::Mutex<crate::sched::futex_lock::RawLock, T>;
    /// Its guard.
    pub type MutexGuard<'a, T> =
        parking_lot::lock_api::MutexGuard<'a, crate::sched::futex_lock::RawLock, T>;
    pub use std::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// The time of deadlines.
    #[inline]
    pub fn now() -> std::time::Instant {
        std::time::Instant::now()
    }

    /// Tells the processor that this is a short busy wait.
    #[inline]
    pub fn spin_hint() {
        std::hint::spin_loop();
    }

    /// Lets another thread have this core.
    #[inline]
    pub fn yield_now() {
        std::thread::yield_now();
    }

    /// Lets others have this core for a millisecond.
    pub fn nap() {
        sleep(1000);
    }

    fn sleep(micros: u64) {
        let _kept = crate::sys::thread::Uncancelled::begin();
        std::thread::sleep(std::time::Duration::from_micros(micros));
    }

    /// One round of a wait for a thread that is quick unless it has lost its core.
    pub fn pause(round: u32) {
        match round {
            0..64 => spin_hint(),
            64..128 => yield_now(),
            _ => sleep(50),
        }
    }

    /// The cheap half of an asymmetric pair of fences: free at run time. A store before it and a load
    /// after it are ordered against the same two around [`heavy_fence`] in another thread.
    #[inline]
    pub fn light_fence() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }

    /// The dear half: some microseconds.
    pub fn heavy_fence() {
        fence(Ordering::SeqCst);
        // It worked when the pair was first used. If a filter takes it away later: a store leaves its
        // processor within nanoseconds, and here it has a thousand thousand of them.
        if !crate::sys::membarrier::everywhere() {
            sleep(1000);
        }
    }

    /// True when the pair may be used.
    #[inline]
    pub fn has_asymmetric_fences() -> bool {
        crate::sys::membarrier::available()
    }
}

#[cfg(loom)]
mod modelled {
    pub use crate::sys::thread;
    pub use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    use std::ops::{Deref, DerefMut};
    use std::sync::{PoisonError, TryLockError};
    use std::time::Instant;

    /// The time of deadlines.
    pub fn now() -> Instant {
        Instant::now()
    }

    /// Tells the model that this is a busy wait: another thread must run first.
    pub fn spin_hint() {
        loom::hint::spin_loop();
    }

    /// Lets another thread of the model run.
    pub fn yield_now() {
        loom::thread::yield_now();
    }

    /// As [`yield_now`].
    pub fn nap() {
        loom::thread::yield_now();
    }

    /// Another thread must run first.
    pub fn pause(_: u32) {
        yield_now();
    }

    /// A model pays the full price on both sides: the pair promises no more than two SeqCst fences.
    pub fn light_fence() {
        fence(Ordering::SeqCst);
    }

    /// See [`light_fence`].
    pub fn heavy_fence() {
        fence(Ordering::SeqCst);
    }

    /// Models exercise the pair.
    pub fn has_asymmetric_fences() -> bool {
        true
    }

    /// loom's mutex with parking_lot's signatures.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    /// Unlocks when dropped.
    ///
    /// Empty only inside [`Condvar::wait`], which takes loom's guard by value and puts it back.
    #[derive(Debug)]
    pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        /// An unlocked mutex.
        pub fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(MutexGuard(Some(guard))),
                Err(TryLockError::Poisoned(poisoned)) => {
                    Some(MutexGuard(Some(poisoned.into_inner())))
                }
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            match &self.0 {
                Some(guard) => guard,
                None => unreachable!("the guard is empty only inside a wait"),
            }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            match &mut self.0 {
                Some(guard) => guard,
                None => unreachable!("the guard is empty only inside a wait"),
            }
        }
    }

    /// How a timed wait ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        /// True when the deadline had passed before the wait.
        pub fn timed_out(self) -> bool {
            self.0
        }
    }

    /// loom's condition variable with parking_lot's signatures.
    #[derive(Debug, Default)]
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        /// A condition variable that nobody waits on.
        pub fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        /// Unlocks, waits to be notified, locks again.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if let Some(inner) = guard.0.take() {
                let inner = self.0.wait(inner).unwrap_or_else(PoisonError::into_inner);
                guard.0 = Some(inner);
            }
        }

        /// As [`Condvar::wait`]; a deadline that lies ahead is never reached in a model.
        pub fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            deadline: Instant,
        ) -> WaitTimeoutResult {
            let passed = deadline <= Instant::now();
            if !passed {
                self.wait(guard);
            }
            WaitTimeoutResult(passed)
        }

        /// Wakes one waiter.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all waiters.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
