//! The handles that a context owns, as an intrusive list, so that its destruction finds them all.
#![allow(unsafe_code, reason = "intrusive links between type-stable objects")]

use super::frame::Caller;
use super::scheduler::Scheduler;
use super::sync::Mutex;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Embedded in every object that belongs to a context.
pub struct Member {
    prev: Cell<*const Member>,
    next: Cell<*const Member>,
    /// Closes the object if it still belongs to this context.
    close: unsafe fn(NonNull<Member>, &Scheduler, &Caller),
}

// SAFETY: the links are touched under the list's lock only.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

impl Member {
    /// A member of no list.
    pub const fn new(close: unsafe fn(NonNull<Member>, &Scheduler, &Caller)) -> Self {
        Member { prev: Cell::new(ptr::null()), next: Cell::new(ptr::null()), close }
    }
}

/// The list of one context. `open` says whether it takes members.
pub struct Members {
    list: Mutex<List>,
}

struct List {
    head: *const Member,
    open: bool,
}

// SAFETY: the pointers are to type-stable objects and used under the lock.
unsafe impl Send for List {}

impl Members {
    /// A list that takes no members yet.
    #[allow(clippy::missing_const_for_fn, reason = "loom's mutex has no const constructor")]
    pub fn new() -> Self {
        Members { list: Mutex::new(List { head: ptr::null(), open: false }) }
    }

    /// Starts or ends taking members.
    pub fn set_open(&self, open: bool) {
        self.list.lock().open = open;
    }

    /// Adds a member; false when the list is not open.
    pub fn add(&self, member: &'static Member) -> bool {
        let mut list = self.list.lock();
        if !list.open {
            return false;
        }
        member.prev.set(ptr::null());
        member.next.set(list.head);
        // SAFETY: members are type-stable, and in the list, so that the lock guards their links.
        if let Some(first) = unsafe { list.head.as_ref() } {
            first.prev.set(member);
        }
        list.head = member;
        true
    }

    /// Takes a member out. The last thing that its close does with the context: while it is in the
    /// list the context is not torn down.
    pub fn remove(&self, member: &'static Member) {
        let mut list = self.list.lock();
        // SAFETY: as in `add`.
        unsafe {
            match member.prev.get().as_ref() {
                Some(prev) => prev.next.set(member.next.get()),
                None => list.head = member.next.get(),
            }
            if let Some(next) = member.next.get().as_ref() {
                next.prev.set(member.prev.get());
            }
        }
    }

    /// Closes every member; one after another, whatever they own of each other (H15).
    pub fn close_all(&self, sched: &Scheduler, caller: &Caller) {
        loop {
            let Some(first) = NonNull::new(self.list.lock().head.cast_mut()) else { return };
            // SAFETY: type-stable; the function checks under the object's lock that it is still in use.
            unsafe { (first.as_ref().close)(first, sched, caller) }
        }
    }
}
