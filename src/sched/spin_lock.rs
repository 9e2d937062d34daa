//! A lock for a few instructions at a time: taken by one atomic compare-and-swap, given back by a plain store.
//!
//! Whoever waits does not sleep in the kernel's queue, so that giving the lock back need not ask if anybody
//! does. The holder runs neither user code nor a system call. If it loses its core all the same, those
//! that wait let others run, and at last sleep for a moment, so that a waiter of a higher priority
//! does not keep the holder from its core.
//!
//! A model of [`Flag`] shows that it locks. The other models use loom's mutex in its place: a busy wait has too
//! many executions.
#![allow(unsafe_code, reason = "a lock")]

use super::sync::{AtomicBool, Ordering, pause};

#[cfg(not(loom))]
pub use native::{Guard, SpinLock};

#[cfg(loom)]
pub use modelled::{Guard, SpinLock};

/// The lock without what it guards.
struct Flag(AtomicBool);

#[cfg_attr(loom, allow(dead_code, reason = "one model uses it"))]
impl Flag {
    fn new() -> Self {
        Flag(AtomicBool::new(false))
    }

    /// Takes the lock.
    #[inline]
    fn take(&self) {
        if !self.try_take() {
            self.take_slowly();
        }
    }

    #[inline]
    fn try_take(&self) -> bool {
        // Acquire: what the holder before has written is seen from here on.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn take_slowly(&self) {
        let mut round = 0;
        loop {
            pause(round);
            round = round.saturating_add(1);
            // Looked at first: an exchange would take the cache line from the holder.
            if !self.0.load(Ordering::Relaxed) && self.try_take() {
                return;
            }
        }
    }

    /// Gives it back.
    #[inline]
    fn give(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(not(loom))]
mod native {
    use super::Flag;
    use std::cell::UnsafeCell;
    use std::ops::{Deref, DerefMut};

    /// The lock and what it guards.
    pub struct SpinLock<T> {
        flag: Flag,
        data: UnsafeCell<T>,
    }

    // SAFETY: the data is reached through a guard only, and guards exclude each other.
    unsafe impl<T: Send> Sync for SpinLock<T> {}

    /// Access to the data until dropped.
    pub struct Guard<'a, T>(&'a SpinLock<T>);

    impl<T> SpinLock<T> {
        /// An open lock.
        pub fn new(data: T) -> Self {
            SpinLock { flag: Flag::new(), data: UnsafeCell::new(data) }
        }

        /// Takes the lock.
        #[inline]
        pub fn lock(&self) -> Guard<'_, T> {
            self.flag.take();
            Guard(self)
        }
    }

    impl<T> SpinLock<T> {
        /// The same if it is free.
        #[inline(always)]
        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.flag.try_take().then(|| Guard(self))
        }
    }

    impl<T> Drop for Guard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            self.0.flag.give();
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: the guard excludes all others.
            unsafe { &*self.0.data.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: as above.
            unsafe { &mut *self.0.data.get() }
        }
    }
}

#[cfg(loom)]
mod modelled {
    pub use super::super::sync::{Mutex as SpinLock, MutexGuard as Guard};
}

#[cfg(all(test, loom))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::super::run_queue::models::check;
    use super::Flag;
    use loom::cell::UnsafeCell;
    use loom::thread;

    struct Counter {
        flag: Flag,
        count: UnsafeCell<usize>,
    }

    // SAFETY: guarded by the flag, which loom checks.
    unsafe impl Sync for Counter {}

    impl Counter {
        fn count(&self) -> usize {
            self.flag.take();
            // SAFETY: under the lock; loom checks it.
            let count = self.count.with_mut(|count| unsafe {
                *count += 1;
                *count
            });
            self.flag.give();
            count
        }
    }

    /// Two threads never hold the lock at once, and each sees what the other wrote under it.
    #[test]
    fn loom_inbox_lock_excludes_and_publishes() {
        check(3, || {
            let counter: &Counter =
                Box::leak(Box::new(Counter { flag: Flag::new(), count: UnsafeCell::new(0) }));
            let other = thread::spawn(move || counter.count());
            let first = counter.count();
            assert_eq!(first + other.join().unwrap(), 3);
        });
    }
}
