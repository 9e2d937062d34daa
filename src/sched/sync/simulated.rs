//! Locks and atomics whose every operation is a step of [`super::schedule`], with the signatures of those
//! that ship.
#![allow(unsafe_code, reason = "a lock")]

use super::schedule::{self, Kind};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
pub use std::sync::atomic::Ordering;
use std::sync::atomic::{self, AtomicBool as Flag};
use std::time::Instant;

/// The virtual time.
pub fn now() -> Instant {
    schedule::now()
}

/// Another thread must take a step first.
#[track_caller]
pub fn spin_hint() {
    schedule::step(Kind::Spin);
}

/// As [`spin_hint`].
#[track_caller]
pub fn yield_now() {
    schedule::step(Kind::Spin);
}

/// As [`spin_hint`].
#[track_caller]
pub fn nap() {
    schedule::step(Kind::Spin);
}

/// As [`spin_hint`].
#[track_caller]
pub fn pause(_: u32) {
    schedule::step(Kind::Spin);
}

/// A step: of two threads one always runs before the other here.
#[track_caller]
pub fn fence(_: Ordering) {
    schedule::step(Kind::Atomic);
}

/// As [`fence`].
#[track_caller]
pub fn light_fence() {
    schedule::step(Kind::Atomic);
}

/// As [`fence`].
#[track_caller]
pub fn heavy_fence() {
    schedule::step(Kind::Atomic);
}

/// The biased lock is simulated too.
pub fn has_asymmetric_fences() -> bool {
    true
}

/// Threads of the library.
pub mod thread {
    use super::schedule;
    use crate::sys::errno::Errno;
    pub use crate::sys::thread::Main;

    /// Starts a simulated thread in place of a detached one.
    pub fn start(_: usize, main: Main) -> Result<(), Errno> {
        schedule::spawn_daemon("pool", move || {
            main(std::ptr::null_mut());
        });
        Ok(())
    }
}

macro_rules! atomic {
    ($(#[$text:meta])* $name:ident, $inner:ty, $value:ty $(, $method:ident)*) => {
        $(#[$text])*
        #[derive(Debug, Default)]
        pub struct $name($inner);

        #[allow(missing_docs, reason = "std's")]
        #[allow(dead_code, reason = "not every type has every use")]
        impl $name {
            pub const fn new(value: $value) -> Self {
                Self(<$inner>::new(value))
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                schedule::step(Kind::Atomic);
                self.0.load(order)
            }

            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                schedule::step(Kind::Atomic);
                self.0.store(value, order);
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                schedule::step(Kind::Atomic);
                self.0.swap(value, order)
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                good: Ordering,
                bad: Ordering,
            ) -> Result<$value, $value> {
                schedule::step(Kind::Atomic);
                self.0.compare_exchange(from, to, good, bad)
            }

            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                good: Ordering,
                bad: Ordering,
            ) -> Result<$value, $value> {
                schedule::step(Kind::Atomic);
                self.0.compare_exchange(from, to, good, bad)
            }

            #[track_caller]
            pub fn fetch_update(
                &self,
                good: Ordering,
                bad: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(bad);
                while let Some(next) = change(seen) {
                    match self.compare_exchange(seen, next, good, bad) {
                        Ok(before) => return Ok(before),
                        Err(found) => seen = found,
                    }
                }
                Err(seen)
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            $(
                #[track_caller]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    schedule::step(Kind::Atomic);
                    self.0.$method(value, order)
                }
            )*
        }
    };
}

atomic!(/// std's.
    AtomicBool, atomic::AtomicBool, bool, fetch_or, fetch_and);
atomic!(/// std's.
    AtomicI64, atomic::AtomicI64, i64, fetch_add, fetch_sub, fetch_or, fetch_and, fetch_max, fetch_min);
atomic!(/// std's.
    AtomicU32, atomic::AtomicU32, u32, fetch_add, fetch_sub, fetch_or, fetch_and, fetch_max, fetch_min);
atomic!(/// std's.
    AtomicU64, atomic::AtomicU64, u64, fetch_add, fetch_sub, fetch_or, fetch_and, fetch_max, fetch_min);
atomic!(/// std's.
    AtomicUsize, atomic::AtomicUsize, usize, fetch_add, fetch_sub, fetch_or, fetch_and, fetch_max, fetch_min);

/// std's.
#[derive(Debug)]
pub struct AtomicPtr<T>(atomic::AtomicPtr<T>);

#[allow(missing_docs, reason = "std's")]
impl<T> AtomicPtr<T> {
    pub const fn new(value: *mut T) -> Self {
        Self(atomic::AtomicPtr::new(value))
    }

    #[track_caller]
    pub fn load(&self, order: Ordering) -> *mut T {
        schedule::step(Kind::Atomic);
        self.0.load(order)
    }

    #[track_caller]
    pub fn store(&self, value: *mut T, order: Ordering) {
        schedule::step(Kind::Atomic);
        self.0.store(value, order);
    }

    #[track_caller]
    pub fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
        schedule::step(Kind::Atomic);
        self.0.swap(value, order)
    }

    #[track_caller]
    pub fn compare_exchange(
        &self,
        from: *mut T,
        to: *mut T,
        good: Ordering,
        bad: Ordering,
    ) -> Result<*mut T, *mut T> {
        schedule::step(Kind::Atomic);
        self.0.compare_exchange(from, to, good, bad)
    }

    #[track_caller]
    pub fn compare_exchange_weak(
        &self,
        from: *mut T,
        to: *mut T,
        good: Ordering,
        bad: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.compare_exchange(from, to, good, bad)
    }
}

/// parking_lot's signatures.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    locked: Flag,
    data: UnsafeCell<T>,
}

// SAFETY: the data is reached through a guard only, and guards exclude each other.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Mutex<T> {}

/// Unlocks when dropped.
#[derive(Debug)]
pub struct MutexGuard<'a, T>(&'a Mutex<T>, &'static Location<'static>);

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Self {
        Mutex { locked: Flag::new(false), data: UnsafeCell::new(value) }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(&self.locked).addr()
    }

    /// Waits for the lock.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let at = Location::caller();
        schedule::step_at(Kind::Lock, at);
        self.take(at);
        MutexGuard(self, at)
    }

    fn take(&self, at: &'static Location<'static>) {
        while self.locked.swap(true, Ordering::Acquire) {
            if schedule::is_simulated() {
                schedule::block_on_lock(self.address(), at);
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Takes the lock if it is free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let at = Location::caller();
        schedule::step_at(Kind::Lock, at);
        (!self.locked.swap(true, Ordering::Acquire)).then(|| MutexGuard(self, at))
    }

    /// By the only owner.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    fn give(&self) {
        self.locked.store(false, Ordering::Release);
        schedule::unblock_lock(self.address());
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.0.give();
        // Told with the place where it was taken.
        schedule::step_at(Kind::Unlock, self.1);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard excludes all others.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.data.get() }
    }
}

/// How a timed wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True when the deadline came first.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// parking_lot's signatures. Nobody is woken who was not notified, as with parking_lot's.
#[derive(Debug, Default)]
pub struct Condvar(u8);

impl Condvar {
    /// A condition variable that nobody waits on.
    pub const fn new() -> Self {
        Condvar(0)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(&self.0).addr()
    }

    fn block<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Option<Instant>,
        at: &'static Location<'static>,
    ) -> bool {
        guard.0.give();
        let timed_out = schedule::block_on_condvar(self.address(), deadline, at);
        guard.0.take(at);
        timed_out
    }

    /// Unlocks, waits to be notified, locks again.
    #[track_caller]
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.block(guard, None, Location::caller());
    }

    /// As [`Condvar::wait`], until a moment of the virtual time.
    #[track_caller]
    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        WaitTimeoutResult(self.block(guard, Some(deadline), Location::caller()))
    }

    /// Wakes one waiter.
    #[track_caller]
    pub fn notify_one(&self) {
        schedule::step(Kind::Notify);
        schedule::notify(self.address(), false);
    }

    /// Wakes all waiters.
    #[track_caller]
    pub fn notify_all(&self) {
        schedule::step(Kind::Notify);
        schedule::notify(self.address(), true);
    }
}
