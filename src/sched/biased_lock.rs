//! A lock that costs next to nothing to the one thread that takes it all the time.
//!
//! A context that one thread runs should not pay for threads that are not there. While a single thread
//! is inside run the lock is *biased* to it: it enters and leaves by plain stores to a flag of its own.
//! Any other thread that wants the lock takes the real mutex, revokes the bias, makes every thread pass
//! a fence (membarrier) and waits until the flag is down. The owner, for its part, looks at the bias
//! once more after raising the flag; between them the fences leave no order in which both go on.
//! Where the kernel has no membarrier the bias is never given and the mutex does all the work.
#![allow(unsafe_code, reason = "a lock")]

use super::sync::{
    AtomicBool, AtomicPtr, Condvar, Mutex, MutexGuard, Ordering, has_asymmetric_fences,
    heavy_fence, light_fence, spin_hint, yield_now,
};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::time::Instant;

/// A thread's flag. It stays where it is and lives until the bias was given up.
pub struct Bias {
    busy: AtomicBool,
}

impl Bias {
    /// A flag that is down.
    pub fn new() -> Self {
        Bias { busy: AtomicBool::new(false) }
    }
}

/// The lock and what it guards.
pub struct BiasedLock<T> {
    mutex: Mutex<()>,
    owner: AtomicPtr<Bias>,
    data: UnsafeCell<T>,
}

// SAFETY: the data is reached through a guard only, and guards exclude each other.
unsafe impl<T: Send> Sync for BiasedLock<T> {}

/// Access to the data until dropped.
pub struct Guard<'a, T> {
    lock: &'a BiasedLock<T>,
    /// Who holds it by bias, else by the mutex.
    bias: Option<&'a Bias>,
    mutex: Option<MutexGuard<'a, ()>>,
    /// Gives the bias up on the way out.
    end_bias: bool,
}

impl<T> BiasedLock<T> {
    /// An open lock, biased to nobody.
    pub fn new(data: T) -> Self {
        BiasedLock {
            mutex: Mutex::new(()),
            owner: AtomicPtr::new(ptr::null_mut()),
            data: UnsafeCell::new(data),
        }
    }

    /// Takes the lock; a bias ends.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let mutex = self.mutex.lock();
        // Acquire: an owner that gave the bias up by itself has published its writes by this.
        let owner = self.owner.load(Ordering::Acquire);
        if !owner.is_null() {
            self.revoke(owner);
        }
        Guard { lock: self, bias: None, mutex: Some(mutex), end_bias: false }
    }

    /// Takes the bias away, and waits until its owner is not inside. Under the mutex.
    #[cold]
    #[inline(never)]
    fn revoke(&self, owner: *mut Bias) {
        self.owner.store(ptr::null_mut(), Ordering::Relaxed);
        heavy_fence();
        // SAFETY: an owner takes the mutex, which is held here, on its way out of run, and that ends
        // its bias; its flag lives in the frame, which goes after that.
        let busy = unsafe { &(*owner).busy };
        let mut spins = 0_u32;
        // Acquire: what the owner wrote under its bias is seen from here on.
        while busy.load(Ordering::Acquire) {
            // Short: the owner does not run user code meanwhile. Unless it lost its core.
            if spins < 100 {
                spins += 1;
                spin_hint();
            } else {
                yield_now();
            }
        }
    }

    /// In the child of a fork: the owner may be a thread that is not here, and its flag in a stack that another has now.
    pub fn forget_owner(&self) {
        self.owner.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Takes the lock for the thread that it may be biased to.
    #[inline]
    pub fn lock_as<'a>(&'a self, bias: &'a Bias) -> Guard<'a, T> {
        if ptr::eq(self.owner.load(Ordering::Relaxed), bias) {
            bias.busy.store(true, Ordering::Relaxed);
            light_fence();
            if ptr::eq(self.owner.load(Ordering::Relaxed), bias) {
                return Guard { lock: self, bias: Some(bias), mutex: None, end_bias: false };
            }
            bias.busy.store(false, Ordering::Release);
        }
        self.lock()
    }
}

impl<T> BiasedLock<T> {
    /// Does something quick with the data if the lock is biased to this thread.
    #[inline(always)]
    pub fn with_bias<R>(&self, bias: &Bias, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        // As in `lock_as`. Whoever has taken the bias away waits a little longer for the flag at the most.
        bias.busy.store(true, Ordering::Relaxed);
        light_fence();
        let owns = ptr::eq(self.owner.load(Ordering::Relaxed), bias);
        // SAFETY: while the flag is up and the bias stands, nobody else goes on.
        let result = owns.then(|| work(unsafe { &mut *self.data.get() }));
        bias.busy.store(false, Ordering::Release);
        result
    }
}

impl<'a, T> Guard<'a, T> {
    /// Biases the lock to a thread, which must end the bias before the flag goes.
    #[inline]
    pub fn set_bias(&mut self, bias: &Bias) {
        if self.mutex.is_some() && has_asymmetric_fences() {
            self.lock.owner.store(ptr::from_ref(bias).cast_mut(), Ordering::Relaxed);
        }
    }

    /// True when the lock is held by bias.
    #[inline]
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// The bias, if this thread has it, ends when the guard is dropped.
    #[inline]
    pub fn end_bias(&mut self) {
        self.end_bias = true;
    }

    /// Waits on a condition variable; by the mutex, so a bias ends first. False at the deadline.
    pub fn wait(&mut self, condvar: &Condvar, deadline: Option<Instant>) -> bool {
        if self.mutex.is_none() {
            self.end_bias = true;
            *self = Self::relock(self);
        }
        let Some(mutex) = &mut self.mutex else { return true };
        match deadline {
            Some(at) => !condvar.wait_until(mutex, at).timed_out(),
            None => {
                condvar.wait(mutex);
                true
            }
        }
    }

    fn relock(guard: &mut Self) -> Self {
        let lock = guard.lock;
        guard.release();
        lock.lock()
    }

    #[inline]
    fn release(&mut self) {
        if let Some(bias) = self.bias.take() {
            if self.end_bias {
                // Release: the next to lock by the mutex alone sees what was written here. Before the
                // flag: a revoker that waits for it may hand the bias on as soon as it is down.
                self.lock.owner.store(ptr::null_mut(), Ordering::Release);
            }
            bias.busy.store(false, Ordering::Release);
        } else if self.end_bias && self.mutex.is_some() {
            self.lock.owner.store(ptr::null_mut(), Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard excludes all others.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.lock.data.get() }
    }
}
