//! Ops posted by threads outside run: a stack that many push to and the run queue takes whole.
//!
//! One compare-and-swap a post, no lock. There is no pop, only "take all", so that a node can't be
//! taken, reused and put back under a waiting compare (ABA). The push that finds it empty is told so:
//! its thread alone wakes a sleeper, those after it ride along.
#![allow(unsafe_code, reason = "a lock-free stack of intrusive ops")]

use super::op::{Op, OpQueue};
use super::sync::{AtomicPtr, Ordering};
use std::ptr::{self, NonNull};

/// The stack of posted ops.
pub struct Inbox {
    head: AtomicPtr<Op>,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Self {
        Inbox { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds an op; true when the inbox was empty before.
    ///
    /// SeqCst: the poster then reads whether anyone sleeps, the sleeper first says so and then reads
    /// the inbox. With less, both could read the old value, and the op would wait for ever.
    #[inline]
    pub fn push(&self, op: NonNull<Op>) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the poster owns the op until the exchange below publishes it.
            unsafe { op.as_ref() }.set_next(head);
            match self.head.compare_exchange_weak(
                head,
                op.as_ptr(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }

    /// True when nothing is posted. SeqCst, see [`Inbox::push`].
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }

    /// Moves everything posted to `queue`, oldest first.
    #[inline]
    pub fn drain_into(&self, queue: &OpQueue) {
        if self.head.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut at = self.head.swap(ptr::null_mut(), Ordering::SeqCst);
        let mut oldest: *mut Op = ptr::null_mut();
        while let Some(op) = NonNull::new(at) {
            // SAFETY: the swap made the whole chain ours.
            let op = unsafe { op.as_ref() };
            at = op.next();
            op.set_next(oldest);
            oldest = op.as_ptr().as_ptr();
        }
        while let Some(op) = NonNull::new(oldest) {
            // SAFETY: as above; the link is read before `push` overwrites it.
            oldest = unsafe { op.as_ref() }.next();
            queue.push(op);
        }
    }
}
