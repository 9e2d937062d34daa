//! A batch of posted calls that one of several threads runs through, while the others may help themselves.
//!
//! To take each call under the run queue's lock costs more than most calls do, and to give one thread a whole
//! batch would have the others wait for it: N queued calls are to run on N threads. So its *lane* takes the batch
//! out of the queue, and calls are *claimed* by an addition: by its thread without the lock, by the others under it
//! once nothing else is queued, or before that once its thread is stuck in a call. All but the thread's own claims is
//! done under the run queue's lock.

use super::batch::{self, Call};
use super::op::{Op, OpQueue};
use std::cell::Cell;
use std::ptr::NonNull;

#[cfg(all(test, loom))]
mod models;

/// Of one run function.
pub struct Lane {
    batch: Cell<Option<NonNull<Op>>>,
}

impl Lane {
    /// Without a batch.
    pub const fn new() -> Self {
        Lane { batch: Cell::new(None) }
    }

    /// True from [`Lanes::begin`] to [`Lanes::end`].
    #[inline]
    pub fn is_used(&self) -> bool {
        self.batch.get().is_some()
    }

    /// The next call, for the thread whose lane it is.
    #[inline(always)]
    pub fn claim(&self) -> Option<Call> {
        batch::claim(self.batch.get()?)
    }
}

/// The batches in lanes, the oldest first.
pub struct Lanes {
    batches: OpQueue,
}

impl Lanes {
    /// None.
    pub const fn new() -> Self {
        Lanes { batches: OpQueue::new() }
    }

    /// Takes the batch at the front of the queue into a lane that is not used; the number of its calls.
    #[inline]
    pub fn begin(&self, lane: &Lane, queue: &OpQueue) -> u32 {
        let Some(op) = queue.pop() else { return 0 };
        self.batches.push(op);
        lane.batch.set(Some(op));
        batch::begin_claims(op)
    }

    /// Takes the batch out of a used lane. What is left of it goes to the front of the queue, an emptied one to the
    /// caller.
    pub fn end(&self, lane: &Lane, queue: &OpQueue) -> Option<NonNull<Op>> {
        let op = lane.batch.take()?;
        self.batches.remove(op);
        if batch::end_claims(op) {
            queue.push_front(op);
            return None;
        }
        Some(op)
    }

    /// The same for lanes whose threads are not there any more: in the child of a fork.
    pub fn end_all(&self, queue: &OpQueue) {
        let left = OpQueue::new();
        while let Some(op) = self.batches.pop() {
            // An emptied one is lost.
            if batch::end_claims(op) {
                left.push(op);
            }
        }
        left.append(queue);
        queue.append(&left);
    }

    /// True when a call is left that nobody has claimed.
    #[inline]
    pub fn any(&self) -> bool {
        !self.is_empty() && self.count() > 0
    }

    /// How many lanes have one.
    #[cold]
    #[inline(never)]
    pub fn count(&self) -> usize {
        let mut count = 0;
        self.batches.for_each(|op| count += usize::from(batch::has_unclaimed(op)));
        count
    }

    /// True when no thread has one. (Most often.)
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// A call out of any lane.
    #[cold]
    #[inline(never)]
    pub fn steal(&self) -> Option<Call> {
        self.batches.find_map(batch::steal)
    }

    /// One of a lane that stands where it stood when this was asked last.
    #[cold]
    #[inline(never)]
    pub fn steal_from_stuck(&self) -> Option<Call> {
        self.batches.find_map(|op| if batch::is_stuck(op) { batch::steal(op) } else { None })
    }
}
