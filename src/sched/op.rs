//! Operations and the intrusive queue that carries them.
//!
//! An [`Op`] is a link and a function. It is embedded in the object whose work it stands for (a
//! descriptor, a slot of one, a timer, a pooled call), so that queueing allocates nothing. An op is in
//! at most one queue at a time; whoever popped it owns it until it is pushed again.
#![allow(unsafe_code, reason = "intrusive links between type-stable objects")]

use super::batch;
use super::frame::Frame;
use std::cell::Cell;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// What to do with an op that was popped: deliver a completion, run a descriptor's ready slots.
/// Called on a thread inside run, with no lock held.
pub type RunFn = unsafe fn(NonNull<Op>, &Frame);

/// The embedded part of everything that can be queued.
#[repr(C)]
pub struct Op {
    next: Cell<*mut Op>,
    /// None: a batch of posted calls.
    run: Cell<Option<RunFn>>,
}

/// Where an op has its function, which nobody changes while it is queued.
pub(super) const RUN_AT: usize = offset_of!(Op, run);

// SAFETY: an op is touched only by the holder of the queue it is in, or by the thread that popped it.
unsafe impl Send for Op {}
// SAFETY: as above; the queue's lock (or the thread's ownership of its frame) orders the accesses.
unsafe impl Sync for Op {}

impl Op {
    /// An op that does `run` when popped.
    pub const fn new(run: RunFn) -> Self {
        Op { next: Cell::new(ptr::null_mut()), run: Cell::new(Some(run)) }
    }

    /// The op of a [`super::batch::Batch`].
    pub(super) const fn of_batch() -> Self {
        Op { next: Cell::new(ptr::null_mut()), run: Cell::new(None) }
    }

    /// True for the op of a batch, whose calls are taken one at a time.
    #[inline]
    pub(super) fn is_batch(&self) -> bool {
        self.run.get().is_none()
    }

    /// Replaces what happens when the op is popped. The caller owns the op.
    pub fn set_run(&self, run: RunFn) {
        self.run.set(Some(run));
    }

    /// The address used as the op's identity in queues.
    pub fn as_ptr(&self) -> NonNull<Op> {
        NonNull::from(self)
    }

    /// Runs a popped op.
    ///
    /// # Safety
    /// `op` was popped by this thread and its object is alive.
    #[inline]
    pub unsafe fn run(op: NonNull<Op>, frame: &Frame) {
        // SAFETY: popped by the caller, so nobody else touches it; `run` matches the object it is in.
        unsafe {
            match op.as_ref().run.get() {
                Some(run) => run(op, frame),
                None => batch::run(op, frame),
            }
        }
    }

    /// The link, for lock-free stacks of ops that the caller owns.
    pub(super) fn next(&self) -> *mut Op {
        self.next.get()
    }

    /// Sets the link of an op that the caller owns.
    pub(super) fn set_next(&self, next: *mut Op) {
        self.next.set(next);
    }
}

/// A first-in first-out queue of ops. Not thread-safe: it lives under a lock or in a thread's frame.
pub struct OpQueue {
    head: Cell<*mut Op>,
    tail: Cell<*mut Op>,
}

// SAFETY: the queue owns the ops in it; moving it moves that ownership.
unsafe impl Send for OpQueue {}

impl OpQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        OpQueue { head: Cell::new(ptr::null_mut()), tail: Cell::new(ptr::null_mut()) }
    }

    /// True when nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// Appends an op that is in no queue.
    #[inline]
    pub fn push(&self, op: NonNull<Op>) {
        // SAFETY: the pusher owns `op`; the tail, if any, is in this queue.
        unsafe {
            op.as_ref().next.set(ptr::null_mut());
            match NonNull::new(self.tail.get()) {
                Some(tail) => tail.as_ref().next.set(op.as_ptr()),
                None => self.head.set(op.as_ptr()),
            }
        }
        self.tail.set(op.as_ptr());
    }

    /// Puts an op that is in no queue before all others.
    pub fn push_front(&self, op: NonNull<Op>) {
        // SAFETY: the pusher owns `op`.
        unsafe { op.as_ref() }.next.set(self.head.replace(op.as_ptr()));
        if self.tail.get().is_null() {
            self.tail.set(op.as_ptr());
        }
    }

    /// Takes the oldest op.
    #[inline]
    pub fn pop(&self) -> Option<NonNull<Op>> {
        let op = NonNull::new(self.head.get())?;
        // SAFETY: it is in this queue, so it is alive and ours.
        let next = unsafe { op.as_ref().next.get() };
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        }
        Some(op)
    }

    /// Moves everything of `other` to the end of this queue, in O(1).
    #[inline]
    pub fn append(&self, other: &OpQueue) {
        let Some(head) = NonNull::new(other.head.get()) else { return };
        match NonNull::new(self.tail.get()) {
            // SAFETY: the tail is in this queue.
            Some(tail) => unsafe { tail.as_ref().next.set(head.as_ptr()) },
            None => self.head.set(head.as_ptr()),
        }
        self.tail.set(other.tail.get());
        other.head.set(ptr::null_mut());
        other.tail.set(ptr::null_mut());
    }

    /// True when this op, and nothing else, is queued.
    #[inline]
    pub fn is_only(&self, op: NonNull<Op>) -> bool {
        self.head.get() == op.as_ptr() && self.tail.get() == op.as_ptr()
    }

    /// The oldest op, left in the queue.
    pub fn front(&self) -> Option<NonNull<Op>> {
        NonNull::new(self.head.get())
    }

    /// The newest op, left in the queue.
    #[inline]
    pub fn back(&self) -> Option<NonNull<Op>> {
        NonNull::new(self.tail.get())
    }

    /// Takes out an op wherever it is.
    pub fn remove(&self, op: NonNull<Op>) {
        let others = OpQueue::new();
        while let Some(other) = self.pop() {
            if other != op {
                others.push(other);
            }
        }
        self.append(&others);
    }

    /// Asks every queued op, oldest first, until one gives an answer.
    #[inline]
    pub fn find_map<R>(&self, mut ask: impl FnMut(NonNull<Op>) -> Option<R>) -> Option<R> {
        let mut at = self.head.get();
        while let Some(op) = NonNull::new(at) {
            if let Some(answer) = ask(op) {
                return Some(answer);
            }
            // SAFETY: it is in this queue.
            at = unsafe { op.as_ref().next.get() };
        }
        None
    }

    /// Visits every queued op, oldest first.
    pub fn for_each(&self, mut visit: impl FnMut(NonNull<Op>)) {
        let mut at = self.head.get();
        while let Some(op) = NonNull::new(at) {
            // SAFETY: it is in this queue; the link is read before the visitor may use it.
            at = unsafe { op.as_ref().next.get() };
            visit(op);
        }
    }
}

impl Default for OpQueue {
    fn default() -> Self {
        OpQueue::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    unsafe fn nothing(_: NonNull<Op>, _: &Frame) {}

    #[test]
    fn first_in_first_out_and_append() {
        let ops: Vec<Op> = (0..5).map(|_| Op::new(nothing)).collect();
        let (a, b) = (OpQueue::new(), OpQueue::new());
        a.append(&b);
        assert!(a.is_empty());
        a.push(ops[0].as_ptr());
        a.push(ops[1].as_ptr());
        b.push(ops[2].as_ptr());
        b.push(ops[3].as_ptr());
        a.append(&b);
        assert!(b.is_empty());
        a.push(ops[4].as_ptr());
        for op in &ops {
            assert_eq!(a.pop(), Some(op.as_ptr()));
        }
        assert_eq!(a.pop(), None);
        a.push(ops[3].as_ptr());
        assert_eq!(a.front(), Some(ops[3].as_ptr()));
        assert_eq!(a.pop(), Some(ops[3].as_ptr()));
        assert!(a.is_empty());
        a.push_front(ops[1].as_ptr());
        a.push_front(ops[0].as_ptr());
        a.push(ops[2].as_ptr());
        for op in &ops[..3] {
            assert_eq!(a.pop(), Some(op.as_ptr()));
        }
        assert!(a.is_empty() && a.back().is_none());
        for removed in [0, 1, 2] {
            for op in &ops[..3] {
                a.push(op.as_ptr());
            }
            a.remove(ops[removed].as_ptr());
            a.push(ops[3].as_ptr());
            let mut left = Vec::new();
            a.for_each(|op| left.push(op));
            assert_eq!(left.len(), 3);
            assert!(!left.contains(&ops[removed].as_ptr()));
            assert_eq!(a.find_map(|op| (op == left[1]).then_some(1)), Some(1));
            while a.pop().is_some() {}
        }
    }
}
