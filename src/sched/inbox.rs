//! Ops posted by threads outside run: a stack that many push to and the run queue takes whole.
//!
//! One compare-and-swap a post, no lock. There is no pop, only "take all", so that a node can't be
//! taken, reused and put back under a waiting compare (ABA). The push that finds it empty is told so:
//! its thread alone wakes a sleeper, those after it ride along.
//!
//! The upper 16 bits of the word are the *tag* of the context that has the slot now. A post compares it
//! in the same step, so it needs no hold on the context: once that has ended, the push fails.
#![allow(unsafe_code, reason = "a lock-free stack of intrusive ops")]

use super::op::{Op, OpQueue};
use super::sync::{AtomicU64, Ordering};
use std::ptr::{self, NonNull};

#[cfg(all(test, loom))]
mod models;

const TAG_SHIFT: u32 = 48;
const POINTER: u64 = (1 << TAG_SHIFT) - 1;

/// Which context an inbox belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// Nobody's: every push fails.
    const CLOSED: Tag = Tag(0);

    /// The tag of a generation of the slot. It comes again after 2^15 others; a thread would have to
    /// stand still between two instructions for as many lives of the slot.
    #[inline]
    pub fn of_generation(generation: u32) -> Self {
        Tag(u64::from(generation & 0x7fff | 0x8000) << TAG_SHIFT)
    }
}

/// The stack of posted ops.
pub struct Inbox {
    word: AtomicU64,
}

fn pointer(word: u64) -> *mut Op {
    ptr::with_exposed_provenance_mut(usize::try_from(word & POINTER).unwrap_or(0))
}

impl Inbox {
    /// A closed inbox.
    #[allow(clippy::missing_const_for_fn, reason = "loom's atomics have no const constructor")]
    pub fn new() -> Self {
        Inbox { word: AtomicU64::new(Tag::CLOSED.0) }
    }

    /// Opens it for a context.
    pub fn open(&self, tag: Tag) {
        self.word.store(tag.0, Ordering::SeqCst);
    }

    /// Takes posts no longer; moves those it has to `queue` and returns their number.
    pub fn close(&self, queue: &OpQueue) -> i64 {
        Self::deliver(self.word.swap(Tag::CLOSED.0, Ordering::SeqCst), queue)
    }

    /// Adds an op; `Some(true)` when the inbox was empty before, `None` when it is not the tag's. With no
    /// tag it is whoever's it is now: the caller holds the context.
    ///
    /// SeqCst: the poster then reads whether anyone sleeps, the sleeper first says so and then reads
    /// the inbox. With less, both could read the old value, and the op would wait for ever.
    #[inline]
    pub fn push(&self, op: NonNull<Op>, tag: Option<Tag>) -> Option<bool> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let now = word & !POINTER;
            if tag.is_some_and(|tag| tag.0 != now) || now == Tag::CLOSED.0 {
                return None;
            }
            // SAFETY: the poster owns the op until the exchange below publishes it.
            unsafe { op.as_ref() }.set_next(pointer(word));
            let next = now | op.as_ptr().expose_provenance() as u64;
            let order = if cfg!(weir_mutant_inbox) { Ordering::Relaxed } else { Ordering::SeqCst };
            match self.word.compare_exchange_weak(word, next, order, Ordering::Relaxed) {
                Ok(_) => return Some(word & POINTER == 0),
                Err(changed) => word = changed,
            }
        }
    }

    /// True when nothing is posted. SeqCst, see [`Inbox::push`].
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.word.load(Ordering::SeqCst) & POINTER == 0
    }

    /// Moves everything posted to `queue`, oldest first; the number. Called under the run queue's lock.
    #[inline]
    pub fn drain_into(&self, queue: &OpQueue) -> i64 {
        let word = self.word.load(Ordering::Relaxed);
        if word & POINTER == 0 {
            return 0;
        }
        // The tag changes under the same lock only, so a plain swap keeps it.
        Self::deliver(self.word.swap(word & !POINTER, Ordering::SeqCst), queue)
    }

    /// Turns a taken chain round, and hands it on whole.
    fn deliver(word: u64, queue: &OpQueue) -> i64 {
        let newest = pointer(word);
        let mut at = newest;
        let mut oldest: *mut Op = ptr::null_mut();
        let mut count = 0;
        while let Some(op) = NonNull::new(at) {
            // SAFETY: the swap made the whole chain ours.
            let op = unsafe { op.as_ref() };
            at = op.next();
            op.set_next(oldest);
            oldest = op.as_ptr().as_ptr();
            count += 1;
        }
        if let (Some(oldest), Some(newest)) = (NonNull::new(oldest), NonNull::new(newest)) {
            queue.append_chain(oldest, newest);
        }
        count
    }
}
