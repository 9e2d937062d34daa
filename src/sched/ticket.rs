//! Tickets: pooled operations of services that are not descriptors. A ticket holds what a completion
//! needs, so it outlives the handle that it was begun on.
//!
//! As with calls, the nodes are shared by all contexts and never returned to the system: steady state
//! allocates nothing. One lock guards the free list; what uses tickets makes system calls anyway.
#![allow(unsafe_code, reason = "a pool of intrusive nodes")]

use super::completion::{Callback, Delivery, deliver, hold_back};
use super::frame::{Frame, Subject};
use super::op::Op;
use super::process_lock::{ProcessLock, Renew};
use super::scheduler::Scheduler;
use crate::sys::errno::Errno;
use libc::c_void;
use std::alloc::{Layout, alloc};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Nodes allocated at once: 4 KiB.
const CHUNK: usize = 64;

/// Frees a result that nobody will receive.
pub type DiscardFn = fn(u64);

/// One operation.
#[repr(C)]
struct Ticket {
    /// First, so that the op's address is the ticket's.
    op: Op,
    callback: Cell<Callback>,
    user: Cell<*mut c_void>,
    status: Cell<i32>,
    value: Cell<u64>,
    discard: Cell<DiscardFn>,
    /// Of the object that it was finished by.
    subject: Cell<Subject>,
}

struct Free {
    head: *mut Op,
    /// Every chunk, linked through its first node, so that tools that look for leaks find them.
    chunks: *mut Op,
}

// SAFETY: what is here is nobody else's, and guarded by the lock.
unsafe impl Send for Free {}

impl Renew for Free {
    fn renew(&mut self) {
        self.head = ptr::null_mut();
    }
}

#[cfg(not(loom))]
static FREE: ProcessLock<Free> =
    ProcessLock::new(Free { head: ptr::null_mut(), chunks: ptr::null_mut() });
#[cfg(loom)]
static FREE: once_cell::sync::Lazy<ProcessLock<Free>> = once_cell::sync::Lazy::new(|| {
    ProcessLock::new(Free { head: ptr::null_mut(), chunks: ptr::null_mut() })
});

impl Free {
    fn push(&mut self, op: NonNull<Op>) {
        // SAFETY: the node is the caller's.
        unsafe { op.as_ref() }.set_next(self.head);
        self.head = op.as_ptr();
    }

    fn grow(&mut self) -> Option<()> {
        let layout = Layout::array::<Ticket>(CHUNK).ok()?;
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc(layout) }.cast::<Ticket>())?;
        for i in 0..CHUNK {
            // SAFETY: within the chunk, which nobody else knows of.
            let node = unsafe {
                let node = base.add(i);
                node.write(Ticket {
                    op: Op::new(run_ticket),
                    callback: Cell::new(Callback::Record(0)),
                    user: Cell::new(ptr::null_mut()),
                    status: Cell::new(0),
                    value: Cell::new(0),
                    discard: Cell::new(keep),
                    subject: Cell::new(Subject::NONE),
                });
                node.cast::<Op>()
            };
            if i == 0 {
                // Not used, see `chunks`.
                // SAFETY: as above.
                unsafe { node.as_ref() }.set_next(self.chunks);
                self.chunks = node.as_ptr();
            } else {
                self.push(node);
            }
        }
        Some(())
    }
}

fn keep(_: u64) {}

/// A ticket that is in no queue and not counted as work.
pub fn new(callback: Callback, user: *mut c_void) -> Result<NonNull<Op>, Errno> {
    new_with(callback, user, keep)
}

/// The same for an operation whose value must be freed where nobody receives it.
pub fn new_with(
    callback: Callback,
    user: *mut c_void,
    discard: DiscardFn,
) -> Result<NonNull<Op>, Errno> {
    let mut free = FREE.lock();
    if free.head.is_null() {
        free.grow().ok_or(Errno::NOMEM)?;
    }
    let op = NonNull::new(free.head).ok_or(Errno::NOMEM)?;
    // SAFETY: nodes of the free list are the first field of a `Ticket` and guarded by its lock.
    let ticket = unsafe { op.cast::<Ticket>().as_ref() };
    free.head = ticket.op.next();
    drop(free);
    ticket.callback.set(callback);
    ticket.user.set(user);
    ticket.status.set(0);
    ticket.value.set(0);
    ticket.discard.set(discard);
    ticket.subject.set(Subject::NONE);
    Ok(op)
}

/// The pointer that it was made with.
///
/// # Safety
/// A ticket that is the caller's, or guarded by a lock that the caller holds.
pub unsafe fn user_of(op: NonNull<Op>) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { op.cast::<Ticket>().as_ref() }.user.get()
}

/// What a ticket will deliver.
///
/// # Safety
/// `op` came from [`new`], is in no queue that others use, and is the caller's.
pub unsafe fn set_result(op: NonNull<Op>, status: i32, value: u64) {
    // SAFETY: promised by the caller.
    let ticket = unsafe { op.cast::<Ticket>().as_ref() };
    ticket.status.set(status);
    ticket.value.set(value);
}

/// Says which handle a ticket was for, for the context's measurements.
///
/// # Safety
/// As [`set_result`].
pub unsafe fn set_subject(op: NonNull<Op>, subject: Subject) {
    // SAFETY: promised by the caller.
    unsafe { op.cast::<Ticket>().as_ref() }.subject.set(subject);
}

/// Returns a ticket that was never begun.
///
/// # Safety
/// `op` came from [`new`], is in no queue, and is the caller's.
pub unsafe fn free(op: NonNull<Op>) {
    FREE.lock().push(op);
}

unsafe fn run_ticket(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: popped by this thread; it came from the pool.
    let ticket = unsafe { op.cast::<Ticket>().as_ref() };
    let callback = ticket.callback.get();
    if hold_back(frame, callback, op) {
        return;
    }
    let (user, status, value) = (ticket.user.get(), ticket.status.get(), ticket.value.get());
    let discard = ticket.discard.get();
    frame.subject.set(ticket.subject.get());
    FREE.lock().push(op);
    Scheduler::work_finished(frame);
    if !deliver(frame, callback, Delivery { status, value, ..Delivery::default() }, user) {
        discard(value);
    }
}
