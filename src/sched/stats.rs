//! What a context has done so far, in numbers.
//!
//! Counters that a turn or a lock holder alone changes are stored, not added to atomically; what handlers
//! do is counted in their frame and added once a turn. Where each operation would pay, the numbers are kept
//! only in contexts that ask for it.

use super::sync::{AtomicU64, Ordering};

/// The counters of one context.
#[allow(missing_docs, reason = "they are what `weir_context_stats` tells, which documents them")]
pub struct Stats {
    pub turns: AtomicU64,
    pub events: AtomicU64,
    pub callbacks: AtomicU64,
    pub inline: AtomicU64,
    pub interrupts: AtomicU64,
    pub timer_arms: AtomicU64,
    pub epoll_ctls: AtomicU64,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub longest: AtomicU64,
    pub stalls: AtomicU64,
}

impl Stats {
    /// All zero.
    #[allow(clippy::missing_const_for_fn, reason = "loom's atomics have no const constructor")]
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Stats {
            turns: zero(),
            events: zero(),
            callbacks: zero(),
            inline: zero(),
            interrupts: zero(),
            timer_arms: zero(),
            epoll_ctls: zero(),
            reads: zero(),
            writes: zero(),
            longest: zero(),
            stalls: zero(),
        }
    }
}

/// Adds to a counter that several threads change.
#[inline]
pub fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Adds to a counter that only the caller changes now: who has the reactor's role, or holds a lock.
#[inline]
pub fn add_alone(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Keeps the largest.
#[inline]
pub fn keep_max(counter: &AtomicU64, value: u64) {
    if value > counter.load(Ordering::Relaxed) {
        counter.fetch_max(value, Ordering::Relaxed);
    }
}
