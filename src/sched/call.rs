//! Pooled ops that call a function with a status: posts and waits of timers.
//!
//! The nodes are shared by all contexts and never returned to the system. Each thread keeps some;
//! a thread that only posts takes what the threads that only run have given back, all at once (there is
//! no pop from the shared stack, so no ABA). Steady state allocates nothing.
#![allow(unsafe_code, reason = "a pool of intrusive nodes")]

use super::completion::{StatusFn, deliver_status};
use super::frame::{Caller, Frame};
use super::op::{Op, RunFn};
use super::scheduler::Scheduler;
use super::sync::{AtomicPtr, Ordering};
use crate::sys::errno::Errno;
use libc::c_void;
use std::alloc::{Layout, alloc};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// Nodes allocated at once: 32 KiB.
const CHUNK: usize = 1024;
/// A thread that holds this many gives half of them back.
const CACHE: usize = 256;

/// A function to call and a pointer to call it with; its status is told by what runs the op. Four words,
/// so that two share a cache line.
#[repr(C)]
pub struct Call {
    /// First, so that the op's address is the call's.
    op: Op,
    callback: Cell<StatusFn>,
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
        Caller::current().calls().give_all_back();
    }
}

#[cfg(not(loom))]
type Stack = AtomicPtr<Op>;
#[cfg(loom)]
type Stack = once_cell::sync::Lazy<AtomicPtr<Op>>;

#[cfg(not(loom))]
const fn stack() -> Stack {
    AtomicPtr::new(ptr::null_mut())
}
#[cfg(loom)]
const fn stack() -> Stack {
    once_cell::sync::Lazy::new(|| AtomicPtr::new(ptr::null_mut()))
}

/// Free nodes that threads gave back.
static SHARED: Stack = stack();
/// Every chunk.
static CHUNKS: Stack = stack();

thread_local! {
    static AT_END: AtEnd = const { AtEnd };
}

/// Gives a chain of free nodes to the other threads.
fn give_back(first: NonNull<Op>, last: NonNull<Op>) {
    push_chain(&SHARED, first, last);
}

fn push_chain(stack: &Stack, first: NonNull<Op>, last: NonNull<Op>) {
    let mut head = stack.load(Ordering::Relaxed);
    loop {
        // SAFETY: the chain is the caller's until the exchange publishes it.
        unsafe { last.as_ref() }.set_next(head);
        match stack.compare_exchange_weak(
            head,
            first.as_ptr(),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
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
        // A thread that posts when this is gone already keeps what it takes: a chunk at the most.
        let _ = AT_END.try_with(|_| ());
        let all = SHARED.swap(ptr::null_mut(), Ordering::Acquire);
        if !all.is_null() {
            // The length is not known: what is beyond the count is given back with the rest at the end.
            self.head.set(all);
            self.count.set(0);
            return Some(());
        }
        let layout = Layout::array::<Call>(CHUNK).ok()?;
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc(layout) }.cast::<Call>())?;
        for i in 0..CHUNK {
            // SAFETY: within the chunk, which nobody else knows of.
            unsafe {
                base.add(i).write(Call {
                    op: Op::new(run_post),
                    callback: Cell::new(no_callback),
                    user: Cell::new(ptr::null_mut()),
                });
            }
        }
        // The first node of a chunk is not used: it links the chunks, so that tools that look for leaks
        // find each by its start.
        push_chain(&CHUNKS, base.cast(), base.cast());
        for i in 1..CHUNK {
            // SAFETY: as above; the op is the call's first field.
            unsafe {
                let node = base.add(i).cast::<Op>();
                node.as_ref().set_next(self.head.replace(node.as_ptr()));
            }
        }
        self.count.set(CHUNK - 1);
        Some(())
    }

    #[inline]
    fn put(&self, op: NonNull<Op>) {
        if self.head.get().is_null() {
            // A thread that only runs keeps nodes too.
            let _ = AT_END.try_with(|_| ());
        }
        // SAFETY: the caller ran it, so it is free.
        unsafe { op.as_ref() }.set_next(self.head.replace(op.as_ptr()));
        self.count.set(self.count.get() + 1);
        if self.count.get() >= CACHE {
            let mut last = op;
            for _ in 1..CACHE / 2 {
                // SAFETY: cached nodes are this thread's.
                match NonNull::new(unsafe { last.as_ref() }.next()) {
                    Some(next) => last = next,
                    None => break,
                }
            }
            // SAFETY: as above.
            self.head.set(unsafe { last.as_ref() }.next());
            self.count.set(CACHE / 2);
            give_back(op, last);
        }
    }
}

impl Cache {
    fn give_all_back(&self) {
        let Some(first) = NonNull::new(self.head.replace(ptr::null_mut())) else { return };
        let mut last = first;
        // SAFETY: cached nodes are this thread's.
        while let Some(next) = NonNull::new(unsafe { last.as_ref() }.next()) {
            last = next;
        }
        give_back(first, last);
    }
}

unsafe extern "C-unwind" fn no_callback(_: i32, _: *mut c_void) {}

/// A call ready to be queued; `run` decides how it is delivered.
#[inline]
pub fn new_call(
    caller: &Caller,
    run: RunFn,
    callback: StatusFn,
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
pub unsafe fn free_call(caller: &Caller, op: NonNull<Op>) -> (StatusFn, *mut c_void) {
    // SAFETY: promised by the caller.
    let call = unsafe { op.cast::<Call>().as_ref() };
    let parts = (call.callback.get(), call.user.get());
    caller.calls().put(op);
    parts
}

/// Delivers a posted function; cancelled when the context is being destroyed.
///
/// # Safety
/// As [`RunFn`]: `op` is a popped call.
pub unsafe fn run_post(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: popped by this thread; it came from the pool.
    let (callback, user) = unsafe { free_call(&Caller::of(frame), op) };
    Scheduler::work_finished(frame);
    let status = if frame.draining { Errno::CANCELED.code() } else { 0 };
    deliver_status(frame, callback, status, user);
}

/// Delivers a wait whose time has come; also when the context is destroyed before that.
///
/// # Safety
/// As [`RunFn`]: `op` is a popped call.
pub unsafe fn run_wait(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: popped by this thread; it came from the pool.
    let (callback, user) = unsafe { free_call(&Caller::of(frame), op) };
    Scheduler::work_finished(frame);
    deliver_status(frame, callback, 0, user);
}

/// Delivers a wait that was cancelled.
unsafe fn run_cancelled(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: popped by this thread; it came from the pool.
    let (callback, user) = unsafe { free_call(&Caller::of(frame), op) };
    Scheduler::work_finished(frame);
    deliver_status(frame, callback, Errno::CANCELED.code(), user);
}
