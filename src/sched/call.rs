//! Pooled ops that call a function with a status: waits of timers, posts through strands, and those that
//! complete with a record. (Other posts travel in a [`super::batch`].)
//!
//! The nodes are shared by all contexts and never returned to the system. Each thread keeps a few and
//! trades them by the batch with the others, under a lock that is taken once in 128 posts: so a thread
//! that only posts gets what those that only run have freed. Steady state allocates nothing.
#![allow(unsafe_code, reason = "a pool of intrusive nodes")]

use super::completion::{
    Callback, Delivery, OP_POST, OP_TIMER, StatusFn, deliver, deliver_status, hold_back,
};
use super::frame::{Caller, Frame};
use super::op::{Op, RunFn};
use super::process_lock::{ProcessLock, Renew};
use super::scheduler::Scheduler;
use crate::sys::errno::Errno;
use libc::c_void;
use std::alloc::{Layout, alloc};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Nodes allocated at once: 32 KiB.
const CHUNK: usize = 1024;
/// Nodes that go from thread to thread at once; a thread holds less than two batches.
const BATCH: usize = 128;

/// A function to call and a pointer to call it with; its status is told by what runs the op. Four words,
/// so that two share a cache line.
#[repr(C)]
pub struct Call {
    /// First, so that the op's address is the call's.
    op: Op,
    /// None: a record.
    callback: Cell<Option<StatusFn>>,
    user: Cell<*mut c_void>,
}

/// Nodes that a thread holds; given back when it ends.
pub struct Cache {
    head: Cell<*mut Op>,
    count: Cell<usize>,
}

/// Gives the thread's nodes back when it ends. Set up with the first node, off the fast way.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        let caller = Caller::current();
        caller.calls().give_all_back();
        caller.batches().give_all_back();
    }
}

/// What threads share: free nodes in batches, and every chunk. A batch is a chain; the batches are linked
/// through the `user` field of their first nodes.
struct Shared {
    batches: *mut Op,
    chunks: *mut Op,
}

// SAFETY: what is here is nobody else's, and guarded by the lock.
unsafe impl Send for Shared {}

#[cfg(not(loom))]
static SHARED: ProcessLock<Shared> =
    ProcessLock::new(Shared { batches: ptr::null_mut(), chunks: ptr::null_mut() });
#[cfg(loom)]
static SHARED: once_cell::sync::Lazy<ProcessLock<Shared>> = once_cell::sync::Lazy::new(|| {
    ProcessLock::new(Shared { batches: ptr::null_mut(), chunks: ptr::null_mut() })
});

impl Renew for Shared {
    fn renew(&mut self) {
        self.batches = ptr::null_mut();
    }
}

impl Shared {
    fn push(&mut self, batch: NonNull<Op>) {
        // SAFETY: free nodes are calls, and these are the caller's.
        let call = unsafe { batch.cast::<Call>().as_ref() };
        call.user.set(self.batches.cast());
        self.batches = batch.as_ptr();
    }

    fn pop(&mut self) -> Option<NonNull<Op>> {
        let batch = NonNull::new(self.batches)?;
        // SAFETY: as above, of the stack now.
        self.batches = unsafe { batch.cast::<Call>().as_ref() }.user.get().cast();
        Some(batch)
    }

    /// A new chunk, as batches.
    fn grow(&mut self) -> Option<()> {
        let layout = Layout::array::<Call>(CHUNK).ok()?;
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc(layout) }.cast::<Call>())?;
        let mut batch: *mut Op = ptr::null_mut();
        for i in 0..CHUNK {
            // SAFETY: within the chunk, which nobody else knows of; the op is the call's first field.
            let node = unsafe {
                let node = base.add(i);
                node.write(Call {
                    op: Op::new(run_post),
                    callback: Cell::new(None),
                    user: Cell::new(ptr::null_mut()),
                });
                node.cast::<Op>()
            };
            // SAFETY: as above.
            let op = unsafe { node.as_ref() };
            if i == 0 {
                // Not used: it links the chunks, so that tools that look for leaks find each by its start.
                op.set_next(self.chunks);
                self.chunks = node.as_ptr();
                continue;
            }
            op.set_next(batch);
            batch = node.as_ptr();
            if i % BATCH == 0 || i == CHUNK - 1 {
                self.push(node);
                batch = ptr::null_mut();
            }
        }
        Some(())
    }
}

thread_local! {
    static AT_END: AtEnd = const { AtEnd };
}

impl Cache {
    /// No nodes.
    pub const fn new() -> Self {
        Cache { head: Cell::new(ptr::null_mut()), count: Cell::new(0) }
    }

    #[inline]
    fn take(&self) -> Option<NonNull<Op>> {
        if self.head.get().is_null() {
            self.refill()?;
        }
        let op = NonNull::new(self.head.get())?;
        // SAFETY: cached nodes are this thread's.
        self.head.set(unsafe { op.as_ref() }.next());
        self.count.set(self.count.get().saturating_sub(1));
        Some(op)
    }

    #[cold]
    fn refill(&self) -> Option<()> {
        give_back_at_end();
        let mut shared = SHARED.lock();
        if shared.batches.is_null() {
            shared.grow()?;
        }
        let batch = shared.pop()?;
        drop(shared);
        let mut count = 0;
        let mut at = batch.as_ptr();
        // SAFETY: the batch is this thread's now.
        while let Some(op) = unsafe { at.as_ref() } {
            count += 1;
            at = op.next();
        }
        self.head.set(batch.as_ptr());
        self.count.set(count);
        Some(())
    }

    #[inline]
    fn put(&self, op: NonNull<Op>) {
        // SAFETY: the caller ran it, so it is free.
        unsafe { op.as_ref() }.set_next(self.head.replace(op.as_ptr()));
        self.count.set(self.count.get() + 1);
        if self.count.get() >= 2 * BATCH {
            self.give_batch_back(op);
        }
    }

    /// Gives the newer half of the nodes to the other threads.
    #[cold]
    fn give_batch_back(&self, newest: NonNull<Op>) {
        let mut last = newest;
        for _ in 1..BATCH {
            // SAFETY: cached nodes are this thread's.
            match NonNull::new(unsafe { last.as_ref() }.next()) {
                Some(next) => last = next,
                None => break,
            }
        }
        // SAFETY: as above.
        let last = unsafe { last.as_ref() };
        self.head.set(last.next());
        last.set_next(ptr::null_mut());
        self.count.set(BATCH);
        SHARED.lock().push(newest);
    }

    fn give_all_back(&self) {
        if let Some(first) = NonNull::new(self.head.replace(ptr::null_mut())) {
            self.count.set(0);
            SHARED.lock().push(first);
        }
    }
}

/// Has the thread give back what it holds when it ends. Called before it takes its first node, and where it
/// enters run, since a thread that only runs holds nodes too. (A thread whose thread-locals are gone
/// already keeps what it takes: a batch at the most.)
pub fn give_back_at_end() {
    let _ = AT_END.try_with(|_| ());
}

/// A call ready to be queued; `run` decides how it is delivered.
#[inline]
pub fn new_call(
    caller: &Caller,
    run: RunFn,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<NonNull<Op>, Errno> {
    let op = caller.calls().take().ok_or(Errno::NOMEM)?;
    // SAFETY: ops of the pool are the first field of a `Call`, and this one is ours.
    let call = unsafe { op.cast::<Call>().as_ref() };
    call.op.set_run(run);
    call.callback.set(callback);
    call.user.set(user);
    Ok(op)
}

/// Makes a pending wait deliver that it was cancelled.
///
/// # Safety
/// `op` came from [`new_call`], is not free, and is owned or guarded by the caller.
pub unsafe fn cancel_call(op: NonNull<Op>) {
    // SAFETY: promised by the caller.
    unsafe { op.as_ref() }.set_run(run_cancelled);
}

/// Returns a call that was never queued, or that was popped to run; what it would call.
///
/// # Safety
/// `op` came from [`new_call`], is in no queue and owned by the caller.
#[inline]
pub unsafe fn free_call(caller: &Caller, op: NonNull<Op>) -> (Option<StatusFn>, *mut c_void) {
    // SAFETY: promised by the caller.
    let call = unsafe { op.cast::<Call>().as_ref() };
    let parts = (call.callback.get(), call.user.get());
    caller.calls().put(op);
    parts
}

/// The pointer that a call was made with.
///
/// # Safety
/// As [`free_call`], but the call stays the caller's.
pub unsafe fn user_of(op: NonNull<Op>) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { op.cast::<Call>().as_ref() }.user.get()
}

/// Delivers a call that was popped.
#[inline]
unsafe fn run_call(op: NonNull<Op>, frame: &Frame, kind: u32, status: i32) {
    // SAFETY: popped by this thread; it came from the pool.
    if unsafe { op.cast::<Call>().as_ref() }.callback.get().is_none() {
        // SAFETY: as above.
        return unsafe { run_record(op, frame, kind, status) };
    }
    // SAFETY: as above.
    let (callback, user) = unsafe { free_call(&Caller::of(frame), op) };
    Scheduler::work_finished(frame);
    if let Some(callback) = callback {
        deliver_status(frame, callback, status, user);
    }
}

#[cold]
unsafe fn run_record(op: NonNull<Op>, frame: &Frame, kind: u32, status: i32) {
    let callback = Callback::Record(kind);
    if hold_back(frame, callback, op) {
        return;
    }
    // SAFETY: as in `run_call`.
    let (_, user) = unsafe { free_call(&Caller::of(frame), op) };
    Scheduler::work_finished(frame);
    deliver(frame, callback, Delivery { status, ..Delivery::default() }, user);
}

/// Delivers a posted function; cancelled when the context is being destroyed.
///
/// # Safety
/// As [`RunFn`]: `op` is a popped call.
pub unsafe fn run_post(op: NonNull<Op>, frame: &Frame) {
    let status = if frame.draining { Errno::CANCELED.code() } else { 0 };
    // SAFETY: promised by the caller.
    unsafe { run_call(op, frame, OP_POST, status) }
}

/// Delivers a wait whose time has come; also when the context is destroyed before that.
///
/// # Safety
/// As [`RunFn`]: `op` is a popped call.
pub unsafe fn run_wait(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: promised by the caller.
    unsafe { run_call(op, frame, OP_TIMER, 0) }
}

/// Delivers a wait that was cancelled.
unsafe fn run_cancelled(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: promised by the caller.
    unsafe { run_call(op, frame, OP_TIMER, Errno::CANCELED.code()) }
}
