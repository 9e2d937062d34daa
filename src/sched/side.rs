//! What a descriptor has only at times: the operation of its write direction, and what few ever need ([`Extra`]).
//!
//! Most connections only wait to read, so the rest is lent to them while they use it. The nodes are shared by
//! all contexts and never returned to the system. Each thread keeps a few and trades them by the batch with the
//! others, under a lock: steady state allocates nothing.
#![allow(unsafe_code, reason = "a pool of intrusive nodes")]

use super::call::give_back_at_end;
use super::descriptor::{Descriptor, Locked};
use super::extra::Extra;
use super::frame::Caller;
use super::op::Op;
use super::operation::{Operation, Slot, Tags};
use super::process_lock::{ProcessLock, Renew};
use crate::sys::errno::Errno;
use std::alloc::{Layout, alloc};
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// Nodes allocated at once: 5 KiB.
const CHUNK: usize = 64;
/// Nodes that go from thread to thread at once; a thread holds less than two batches. So few that a chunk does for all
/// that some threads can hold, and is not found wanting long after the program has settled.
const BATCH: usize = 8;

/// See the module. Lent to one descriptor at a time, and guarded by its lock.
#[repr(C)]
pub(super) struct Side {
    operation: Operation,
    tags: Tags,
    /// Whose it is.
    descriptor: Cell<Option<&'static Descriptor>>,
    extra: UnsafeCell<Option<Box<Extra>>>,
    /// The next free node.
    next: Cell<*mut Side>,
}

impl Side {
    const fn new() -> Self {
        Side {
            operation: Operation::new(),
            tags: Tags::new(),
            descriptor: Cell::new(None),
            extra: UnsafeCell::new(None),
            next: Cell::new(ptr::null_mut()),
        }
    }

    /// The write direction's operation.
    #[inline]
    pub(super) fn slot(&self) -> Slot<'_> {
        Slot { tags: &self.tags, operation: &self.operation }
    }

    /// What few need.
    ///
    /// # Safety
    /// The caller has the descriptor's lock, and no other reference to it.
    #[allow(clippy::mut_from_ref, reason = "guarded by the descriptor's lock")]
    #[inline]
    pub(super) unsafe fn extra(&self) -> &mut Option<Box<Extra>> {
        // SAFETY: promised by the caller.
        unsafe { &mut *self.extra.get() }
    }

    /// The descriptor of an operation's op.
    ///
    /// # Safety
    /// `op` is that of a side's operation which is pending.
    pub(super) unsafe fn descriptor_of(op: NonNull<Op>) -> Option<&'static Descriptor> {
        // SAFETY: the op's address is the operation's.
        let side: &Side = unsafe { &*op.as_ptr().byte_sub(offset_of!(Side, operation)).cast() };
        side.descriptor.get()
    }
}

/// Nodes that a thread holds; given back when it ends.
pub struct Cache {
    head: Cell<*mut Side>,
    count: Cell<usize>,
}

/// What threads share: free nodes, and every chunk.
struct Shared {
    free: *mut Side,
    chunks: *mut Side,
}

// SAFETY: what is here is nobody else's, and guarded by the lock.
unsafe impl Send for Shared {}

#[cfg(not(loom))]
static SHARED: ProcessLock<Shared> =
    ProcessLock::new(Shared { free: ptr::null_mut(), chunks: ptr::null_mut() });
#[cfg(loom)]
static SHARED: once_cell::sync::Lazy<ProcessLock<Shared>> = once_cell::sync::Lazy::new(|| {
    ProcessLock::new(Shared { free: ptr::null_mut(), chunks: ptr::null_mut() })
});

impl Renew for Shared {
    fn renew(&mut self) {
        self.free = ptr::null_mut();
    }
}

impl Shared {
    /// A new chunk, all of it free.
    fn grow(&mut self) -> Option<()> {
        let layout = Layout::array::<Side>(CHUNK).ok()?;
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc(layout) }.cast::<Side>())?;
        for i in 0..CHUNK {
            // SAFETY: within the chunk, which nobody else knows of.
            let side = unsafe {
                let node = base.add(i);
                node.write(Side::new());
                &*node.as_ptr()
            };
            // The first is not used: it links the chunks, so that tools that look for leaks find each by its start.
            let list = if i == 0 { &mut self.chunks } else { &mut self.free };
            side.next.set(*list);
            *list = ptr::from_ref(side).cast_mut();
        }
        Some(())
    }
}

/// The last of a chain of at most `count` nodes from `first` on, and how many they are.
fn last_of(first: NonNull<Side>, count: usize) -> (&'static Side, usize) {
    // SAFETY: free nodes, which are the caller's; they are never freed.
    let mut last: &'static Side = unsafe { &*first.as_ptr() };
    let mut found = 1;
    while found < count
        // SAFETY: as above.
        && let Some(next) = unsafe { last.next.get().as_ref() }
    {
        last = next;
        found += 1;
    }
    (last, found)
}

impl Cache {
    /// No nodes.
    pub const fn new() -> Self {
        Cache { head: Cell::new(ptr::null_mut()), count: Cell::new(0) }
    }

    /// Lends a node to a descriptor.
    #[inline]
    pub(super) fn take(&self, descriptor: &'static Descriptor) -> Option<&'static Side> {
        if self.head.get().is_null() {
            self.refill()?;
        }
        // SAFETY: cached nodes are this thread's; they are never freed.
        let side: &'static Side = unsafe { self.head.get().as_ref() }?;
        self.head.set(side.next.get());
        self.count.set(self.count.get().wrapping_sub(1));
        side.descriptor.set(Some(descriptor));
        Some(side)
    }

    #[cold]
    fn refill(&self) -> Option<()> {
        give_back_at_end();
        let mut shared = SHARED.lock();
        if shared.free.is_null() {
            shared.grow()?;
        }
        let first = NonNull::new(shared.free)?;
        let (last, count) = last_of(first, BATCH);
        shared.free = last.next.replace(ptr::null_mut());
        self.head.set(first.as_ptr());
        self.count.set(count);
        Some(())
    }

    /// Takes a node back that is idle and has nothing extra.
    #[inline]
    pub(super) fn put(&self, side: &'static Side) {
        side.next.set(self.head.replace(ptr::from_ref(side).cast_mut()));
        self.count.set(self.count.get() + 1);
        if self.count.get() >= 2 * BATCH {
            self.give_back(BATCH);
        }
    }

    /// Gives the newest nodes to the other threads.
    #[cold]
    fn give_back(&self, count: usize) {
        let Some(first) = NonNull::new(self.head.get()) else { return };
        let (last, count) = last_of(first, count);
        self.count.set(self.count.get().saturating_sub(count));
        let mut shared = SHARED.lock();
        self.head.set(last.next.replace(shared.free));
        shared.free = first.as_ptr();
    }

    /// At the thread's end.
    pub(super) fn give_all_back(&self) {
        self.give_back(usize::MAX);
    }
}

impl Descriptor {
    /// The node, lent now if there is none yet; `None` where there is no memory.
    #[inline]
    pub(super) fn lend(&'static self, caller: &Caller) -> Option<&'static Side> {
        match self.side.get() {
            Some(side) => Some(side),
            None => {
                let side = caller.sides().take(self)?;
                self.side.set(Some(side));
                Some(side)
            }
        }
    }

    /// Gives the node back if it is of no use now.
    #[inline]
    pub(super) fn give_back(&self, caller: &Caller) {
        if let Some(side) = self.side.get()
            && !side.tags.is_busy()
            // SAFETY: under the lock; the reference ends here.
            && unsafe { side.extra() }.is_none()
        {
            self.side.set(None);
            caller.sides().put(side);
        }
    }
}

impl Locked {
    /// Sees to it that an operation of the write direction, which begins next, does not fail for want of memory.
    pub fn prepare_write(&mut self, caller: &Caller) -> Result<(), Errno> {
        self.descriptor.lend(caller).map(drop).ok_or(Errno::NOMEM)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::table::Entry;
    use super::*;

    #[test]
    fn a_thread_trades_what_it_does_not_need() {
        let descriptor: &'static Descriptor = Box::leak(Box::new(Descriptor::vacant()));
        let cache = Cache::new();
        let all: Vec<_> = (0..3 * BATCH).map(|_| cache.take(descriptor).unwrap()).collect();
        for (at, side) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| !ptr::eq(*side, *other)));
            cache.put(side);
            assert!(cache.count.get() < 2 * BATCH);
        }
        cache.give_all_back();
        assert_eq!(cache.count.get(), 0);
        assert!(cache.head.get().is_null());
    }
}
