//! A lock around what the whole process shares, which is good in every child of a fork as well.
//!
//! A child has the memory of its parent as it was at the fork: where another thread held the lock, it stays held, and
//! what it guards may be half changed. So the first to lock it in a child makes both anew. What the parent
//! had in its free lists is not used there; one of those entries may have been in use as well.

#[cfg(all(not(loom), not(weir_sim)))]
pub use native::ProcessLock;

/// What is guarded.
pub trait Renew {
    /// In a child, before the first use: back to where it began, whatever it was left in the middle of.
    fn renew(&mut self);
}

/// A model has one process, and so has a simulation.
#[cfg(any(loom, weir_sim))]
pub type ProcessLock<T> = super::sync::Mutex<T>;

#[cfg(all(not(loom), not(weir_sim)))]
mod native {
    #![allow(unsafe_code, reason = "a lock whose holder does not exist")]

    use super::Renew;
    use crate::sched::sync::{AtomicU32, Mutex, MutexGuard, Ordering, yield_now};
    use crate::sys::fork;

    /// The lock.
    pub struct ProcessLock<T> {
        /// Twice the number of the process (`sys::fork`) that it is good in, and one more while it is made anew there.
        good_in: AtomicU32,
        mutex: Mutex<T>,
    }

    impl<T: Renew> ProcessLock<T> {
        /// For the process that loads the library.
        pub const fn new(value: T) -> Self {
            ProcessLock { good_in: AtomicU32::new(0), mutex: Mutex::new(value) }
        }

        /// Takes the lock.
        #[inline]
        pub fn lock(&self) -> MutexGuard<'_, T> {
            // Acquire: the lock is seen as it was made anew.
            if self.good_in.load(Ordering::Acquire) != 2 * fork::count() {
                self.renew();
            }
            self.mutex.lock()
        }

        #[cold]
        fn renew(&self) {
            let good = 2 * fork::count();
            loop {
                let was = self.good_in.load(Ordering::Acquire);
                if was == good {
                    return;
                }
                // What a parent had begun nobody ends any more: that is begun again.
                let (done, failed) = (Ordering::Acquire, Ordering::Relaxed);
                if was == good + 1
                    || self.good_in.compare_exchange(was, good + 1, done, failed).is_err()
                {
                    yield_now();
                    continue;
                }
                // SAFETY: nobody has had the lock in this process: all wait for `good_in` first.
                unsafe { self.mutex.raw() }.forget_holder();
                self.mutex.lock().renew();
                self.good_in.store(good, Ordering::Release);
                return;
            }
        }
    }
}

#[cfg(all(test, not(loom), not(weir_sim)))]
#[allow(unsafe_code, reason = "forks")]
mod tests {
    use super::*;

    struct Number(u32);

    impl Renew for Number {
        fn renew(&mut self) {
            self.0 = 0;
        }
    }

    #[test]
    fn h70_what_was_locked_at_a_fork_is_free_in_the_child() {
        static LOCK: ProcessLock<Number> = ProcessLock::new(Number(0));
        crate::sched::fork_gate::watch().unwrap();
        LOCK.lock().0 = 7;
        let held = LOCK.lock();
        // SAFETY: the child calls nothing but the lock, and ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: ends the child, also where it hangs.
            unsafe {
                libc::alarm(20);
                libc::_exit(i32::from(LOCK.lock().0 != 0));
            }
        }
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(held.0, 7);
    }
}
