//! How many completions in a row may be served inline, without a visit to the queue.
//!
//! The budget starts at the initial value, doubles up to the maximum while it is used up each time, and
//! falls back when it is not. While other handlers wait and no thread can take them, it is the
//! unassisted value, so that a connection that always completes at once can't hold the others up.

use std::cell::Cell;

/// The three limits, from the context's options.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Where a thread starts.
    pub initial: u32,
    /// How far it may grow.
    pub max: u32,
    /// While no other thread takes work.
    pub unassisted: u32,
}

/// One thread's budget.
pub struct Budget {
    limits: Limits,
    granted: Cell<u32>,
    left: Cell<u32>,
}

impl Budget {
    /// A budget at its initial value, empty until the first [`Budget::renew`].
    pub fn new(limits: Limits) -> Self {
        Budget { limits, granted: Cell::new(limits.initial), left: Cell::new(0) }
    }

    /// Grants the budget for the op that is about to run.
    #[inline]
    pub fn renew(&self, assisted: bool) {
        let granted = if !assisted {
            self.limits.unassisted
        } else if self.left.get() == 0 {
            (self.granted.get().saturating_mul(2)).min(self.limits.max)
        } else {
            self.limits.initial
        };
        self.granted.set(granted);
        self.left.set(granted);
    }

    /// The same where no other thread takes work.
    #[inline(always)]
    pub fn renew_unassisted(&self) {
        self.granted.set(self.limits.unassisted);
        self.left.set(self.limits.unassisted);
    }

    /// Uses one; false when none is left.
    #[inline]
    pub fn take(&self) -> bool {
        match self.left.get() {
            0 => false,
            left => {
                self.left.set(left - 1);
                true
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn grows_while_used_up_and_falls_back() {
        let budget = Budget::new(Limits { initial: 2, max: 16, unassisted: 4 });
        assert!(!budget.take());
        let use_up = |assisted| {
            budget.renew(assisted);
            let mut n = 0;
            while budget.take() {
                n += 1;
            }
            n
        };
        let grown: Vec<i32> = (0..5).map(|_| use_up(true)).collect();
        assert_eq!(grown, [4, 8, 16, 16, 16]);
        budget.renew(true);
        assert!(budget.take());
        assert_eq!(use_up(true), 2);
        assert_eq!(use_up(false), 4);
    }
}
