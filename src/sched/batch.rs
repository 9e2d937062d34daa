//! Posted functions, many to one op: an array of what to call, filled at its end and taken from its front.
//!
//! A batch is queued like any op, and is filled on as long as it is the last of its queue, by whoever owns that. In
//! the run queue its calls are taken one at a time, so that each may run on a thread of its own. What
//! must be an op by itself (a record, a call of a strand) is a [`super::call`].
//!
//! The blocks are shared by all contexts and never returned to the system. Each thread keeps a few and trades
//! them with the others, under a lock that is taken once in some hundred posts: steady state allocates nothing.
#![allow(unsafe_code, reason = "a pool of intrusive nodes")]

use super::call::{free_call, give_back_at_end, new_call, run_post};
use super::completion::{StatusFn, deliver_status};
use super::frame::{Caller, Frame};
use super::op::{Op, OpQueue};
use super::process_lock::{ProcessLock, Renew};
use super::scheduler::Scheduler;
use super::sync::{AtomicU32, Ordering};
use crate::sys::errno::Errno;
use libc::c_void;
use std::alloc::{Layout, alloc};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// What is called, with which pointer.
#[derive(Clone, Copy)]
pub struct Call {
    /// The function.
    pub callback: StatusFn,
    /// Its argument.
    pub user: *mut c_void,
}

/// Calls in a batch: a block has 1 KiB.
const CALLS: usize = if cfg!(loom) { 2 } else { 62 };
/// Calls in a row that are ops by themselves before a block is begun: where few are queued between other ops
/// they would leave it all but empty.
pub const SINGLE: u32 = if cfg!(loom) { 0 } else { 8 };
/// Blocks that go from thread to thread at once; a thread holds less than two times as many.
const TRADED: usize = 8;

/// Blocks that are allocated at once: as many as there are already, between these limits. What was never used of them
/// was never touched.
const CHUNK: (usize, usize) = (64, 1024);

/// A block of calls, on cache lines of its own.
#[repr(C, align(128))]
pub struct Batch {
    /// First, so that the op's address is the batch's.
    op: Op,
    /// The first that is not taken yet.
    first: Cell<u32>,
    end: Cell<u32>,
    /// In a lane the first that nobody has claimed; `end` or more when there is none.
    unclaimed: AtomicU32,
    /// The same as other threads have last seen it.
    seen: Cell<u32>,
    calls: [UnsafeCell<MaybeUninit<Call>>; CALLS],
}

/// A call that was taken, and the batch if it was the last one.
pub struct Taken {
    /// What to call.
    pub call: Call,
    /// To be given back by [`Cache::put`].
    pub emptied: Option<NonNull<Op>>,
}

#[inline]
fn of_op<'a>(op: NonNull<Op>) -> &'a Batch {
    // SAFETY: callers have an op that says it is a batch's, which is the first field, and whose queue they own.
    unsafe { op.cast::<Batch>().as_ref() }
}

/// Adds a call to the batch at the end of a queue; false where there is none, or it is full.
#[inline]
pub fn append(queue: &OpQueue, call: Call) -> bool {
    let Some(op) = queue.back() else { return false };
    // SAFETY: in the caller's queue.
    unsafe { op.as_ref() }.is_batch() && of_op(op).add(call)
}

/// Adds a call to a queue.
#[inline(always)]
pub fn push(queue: &OpQueue, streak: &Streak, caller: &Caller, call: Call) -> Result<(), Errno> {
    if !append(queue, call) {
        let op = new_op(streak.goes_on(queue), caller, call)?;
        queue.push(op);
        streak.pushed(op);
    }
    Ok(())
}

/// What is free of the batch at the end of a queue whose ops others take only all at once. While it is used the batch
/// itself does not know how much it holds.
pub struct Room {
    at: *mut MaybeUninit<Call>,
    end: *mut MaybeUninit<Call>,
}

// SAFETY: used by the owner of the queue only.
unsafe impl Send for Room {}

impl Room {
    /// Nothing.
    pub const fn none() -> Self {
        Room { at: ptr::null_mut(), end: ptr::null_mut() }
    }

    /// Adds a call; false where there is no room.
    #[inline(always)]
    pub fn add(&mut self, call: Call) -> bool {
        if self.at == self.end {
            return false;
        }
        fetch_to_write::<192, _>(self.at);
        // SAFETY: it is free, and in a batch of the caller's queue.
        unsafe {
            self.at.write(MaybeUninit::new(call));
            self.at = self.at.add(1);
        }
        true
    }

    /// Goes on with what was put at the end of the queue just now.
    pub fn begin(&mut self, op: NonNull<Op>) {
        // SAFETY: in the caller's queue.
        if unsafe { op.as_ref() }.is_batch() {
            let batch = of_op(op);
            self.at = batch.slot(batch.end.get() as usize);
            self.end = batch.slot(CALLS);
        }
    }

    /// Ends it, before anything else is done with the end of the queue.
    pub fn finish(&mut self, queue: &OpQueue) {
        if !self.at.is_null()
            && let Some(op) = queue.back()
        {
            let batch = of_op(op);
            batch.end.set(((self.at.addr() - batch.slot(0).addr()) / size_of::<Call>()) as u32);
            *self = Room::none();
        }
    }
}

/// An op with this call, for the end of a queue: a batch where others went before it.
pub fn new_op(in_a_row: bool, caller: &Caller, call: Call) -> Result<NonNull<Op>, Errno> {
    if !in_a_row {
        return new_call(caller, run_post, Some(call.callback), call.user);
    }
    let batch = caller.batches().take().ok_or(Errno::NOMEM)?;
    of_op(batch).add(call);
    Ok(batch)
}

/// Takes back what [`new_op`] made and nobody has queued.
#[cold]
pub fn free(caller: &Caller, op: NonNull<Op>) {
    // SAFETY: the caller's.
    if unsafe { op.as_ref() }.is_batch() {
        caller.batches().put(op);
    } else {
        // SAFETY: as above, a call.
        unsafe { free_call(caller, op) };
    }
}

/// How many calls in a row are at the end of a queue as ops by themselves.
pub struct Streak {
    last: Cell<*mut Op>,
    length: Cell<u32>,
}

// SAFETY: the pointer is compared only.
unsafe impl Send for Streak {}

impl Streak {
    /// None.
    pub const fn new() -> Self {
        Streak { last: Cell::new(ptr::null_mut()), length: Cell::new(0) }
    }

    /// True when a call at the end of the queue is to begin a batch.
    #[inline]
    pub fn goes_on(&self, queue: &OpQueue) -> bool {
        match queue.back() {
            // A full batch, or a call.
            Some(op) if op.as_ptr() == self.last.get() => self.length.get() >= SINGLE,
            _ => {
                self.length.set(0);
                SINGLE == 0
            }
        }
    }

    /// A new op was put at the end.
    #[inline]
    pub fn pushed(&self, op: NonNull<Op>) {
        self.last.set(op.as_ptr());
        self.length.set(self.length.get() + 1);
    }
}

/// Takes the oldest call of the batch at the front of a queue.
#[inline]
pub fn take(queue: &OpQueue, front: NonNull<Op>) -> Taken {
    let batch = of_op(front);
    let first = batch.first.get();
    debug_assert!(first < batch.end.get(), "an empty batch is queued");
    // SAFETY: between `first` and `end` all are filled.
    let call = unsafe { batch.slot(first as usize).read().assume_init() };
    batch.first.set(first + 1);
    let emptied = if first + 1 == batch.end.get() { queue.pop() } else { None };
    Taken { call, emptied }
}

/// A lane begins with this batch, popped: what is left of it may be claimed. How many calls that are.
#[inline]
pub fn begin_claims(op: NonNull<Op>) -> u32 {
    let batch = of_op(op);
    batch.seen.set(u32::MAX);
    // Relaxed, as all that is done to it: the lock has ordered what is in the batch.
    batch.unclaimed.store(batch.first.get(), Ordering::Relaxed);
    batch.end.get() - batch.first.get()
}

/// The next call that nobody has claimed. By the thread of the lane, or under the lock.
#[inline(always)]
pub fn claim(op: NonNull<Op>) -> Option<Call> {
    let batch = of_op(op);
    let index = batch.unclaimed.fetch_add(1, Ordering::Relaxed);
    if index >= batch.end.get() {
        return None;
    }
    // SAFETY: between `first` and `end` all are filled.
    Some(unsafe { batch.slot(index as usize).read().assume_init() })
}

/// True while there is one. Under the lock.
#[inline]
pub fn has_unclaimed(op: NonNull<Op>) -> bool {
    let batch = of_op(op);
    batch.unclaimed.load(Ordering::Relaxed) < batch.end.get()
}

/// The same as [`claim`] for other threads, under the lock.
pub fn steal(op: NonNull<Op>) -> Option<Call> {
    if has_unclaimed(op) { claim(op) } else { None }
}

/// True when nothing was claimed since this was asked last. Under the lock.
#[inline]
pub fn is_stuck(op: NonNull<Op>) -> bool {
    let batch = of_op(op);
    let next = batch.unclaimed.load(Ordering::Relaxed);
    batch.seen.replace(next) == next
}

/// The lane ends, whose thread claims no more; true when something is left. Under the lock.
pub fn end_claims(op: NonNull<Op>) -> bool {
    let batch = of_op(op);
    batch.first.set(batch.unclaimed.load(Ordering::Relaxed).min(batch.end.get()));
    batch.first.get() < batch.end.get()
}

/// The calls that are left of a batch at the front of a queue, but for the last one, while nobody else takes any.
pub struct Ahead {
    batch: &'static Batch,
    at: *const MaybeUninit<Call>,
    begin: u32,
    first: u32,
    last: u32,
}

impl Ahead {
    /// Of this batch.
    pub fn of(front: NonNull<Op>) -> Self {
        let batch = of_op(front);
        let first = batch.first.get();
        let next = batch.op.next();
        fetch_to_read::<0, _>(next);
        fetch_to_read::<64, _>(next);
        fetch_to_read::<128, _>(next);
        fetch_to_read::<192, _>(next);
        Ahead {
            batch,
            at: batch.slot(first as usize),
            begin: first,
            first,
            last: batch.end.get() - 1,
        }
    }

    /// True when there is one.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.first < self.last
    }

    /// How many were taken.
    pub fn taken(&self) -> usize {
        (self.first - self.begin) as usize
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.last.saturating_sub(self.first)
    }

    /// Takes one, of which there is [`Ahead::any`].
    #[inline(always)]
    pub fn take(&mut self) -> Call {
        debug_assert_eq!(self.first, self.batch.first.get());
        // SAFETY: between `first` and `end` all are filled.
        let call = unsafe { self.at.read().assume_init() };
        self.at = self.at.wrapping_add(1);
        self.first += 1;
        // What is left stays to be seen by others.
        self.batch.first.set(self.first);
        call
    }
}

/// Delivers every call of a batch: at the destruction of a context.
///
/// # Safety
/// `op` is a batch's, popped by this thread.
#[cold]
#[inline(never)]
pub unsafe fn run(op: NonNull<Op>, frame: &Frame) {
    let queue = OpQueue::new();
    queue.push(op);
    while let Some(front) = queue.front() {
        deliver(frame, &take(&queue, front));
        Scheduler::work_finished(frame);
    }
}

/// Calls what was taken; cancelled when the context is being destroyed. The caller counts that its work ends.
#[inline]
pub fn deliver(frame: &Frame, taken: &Taken) {
    if let Some(batch) = taken.emptied {
        Caller::of(frame).batches().put(batch);
    }
    let status = if frame.draining { Errno::CANCELED.code() } else { 0 };
    deliver_status(frame, taken.call.callback, status, taken.call.user);
}

/// Has the processor get the cache line that is `LATER` bytes further, to write to it: whoever ran what was there
/// before has it still, and the lock would wait for it. It may be any address.
#[inline(always)]
fn fetch_to_write<const LATER: usize, T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which neither faults nor changes anything.
    unsafe {
        std::arch::asm!("prefetchw [{} + {}]", in(reg) at, const LATER,
            options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}

/// The same to read.
#[inline(always)]
fn fetch_to_read<const LATER: usize, T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prefetcht0 [{} + {}]", in(reg) at, const LATER,
            options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}

impl Batch {
    /// Adds a call; false when full.
    #[inline(always)]
    fn add(&self, call: Call) -> bool {
        let end = self.end.get();
        if end as usize == CALLS {
            return false;
        }
        // SAFETY: below CALLS, and the caller owns what is not filled yet.
        unsafe { self.slot(end as usize).write(MaybeUninit::new(call)) };
        self.end.set(end + 1);
        true
    }

    /// A place, up to the end of the last.
    #[inline(always)]
    fn slot(&self, index: usize) -> *mut MaybeUninit<Call> {
        debug_assert!(index <= CALLS);
        self.calls.as_ptr().wrapping_add(index).cast_mut().cast()
    }

    /// An empty one in new memory.
    fn init(batch: NonNull<Batch>) -> NonNull<Op> {
        // SAFETY: the caller's memory; the calls may stay uninitialised.
        unsafe {
            (&raw mut (*batch.as_ptr()).op).write(Op::of_batch());
            (&raw mut (*batch.as_ptr()).first).write(Cell::new(0));
            (&raw mut (*batch.as_ptr()).end).write(Cell::new(0));
            (&raw mut (*batch.as_ptr()).unclaimed).write(AtomicU32::new(0));
            (&raw mut (*batch.as_ptr()).seen).write(Cell::new(0));
        }
        batch.cast()
    }
}

/// Empty batches that a thread holds; given back when it ends.
pub struct Cache {
    head: Cell<*mut Op>,
    count: Cell<usize>,
}

/// Those that no thread holds.
struct Free {
    head: *mut Op,
    /// Never used yet, at the end of the last chunk.
    fresh: *mut Batch,
    fresh_count: usize,
    /// The chunks, each of which begins with a block that links them: tools that look for leaks find each by its start.
    chunks: *mut Op,
    /// Blocks in all of them.
    total: usize,
}

// SAFETY: what is here is nobody else's, and guarded by the lock.
unsafe impl Send for Free {}

impl Renew for Free {
    fn renew(&mut self) {
        self.head = ptr::null_mut();
        self.fresh_count = 0;
    }
}

impl Free {
    const fn new() -> Self {
        Free {
            head: ptr::null_mut(),
            fresh: ptr::null_mut(),
            fresh_count: 0,
            chunks: ptr::null_mut(),
            total: 0,
        }
    }

    fn push(&mut self, op: NonNull<Op>) {
        // SAFETY: nobody else's.
        unsafe { op.as_ref() }.set_next(self.head);
        self.head = op.as_ptr();
    }

    fn pop(&mut self) -> Option<NonNull<Op>> {
        let op = NonNull::new(self.head)?;
        // SAFETY: free blocks are guarded by the lock.
        self.head = unsafe { op.as_ref() }.next();
        Some(op)
    }

    /// A block that was never used.
    fn carve(&mut self) -> Option<NonNull<Op>> {
        if self.fresh_count == 0 {
            self.grow()?;
        }
        let batch = NonNull::new(self.fresh)?;
        self.fresh_count -= 1;
        self.fresh = self.fresh.wrapping_add(1);
        Some(Batch::init(batch))
    }

    fn grow(&mut self) -> Option<()> {
        let count = self.total.clamp(CHUNK.0, CHUNK.1);
        let layout = Layout::array::<Batch>(count).ok()?;
        // SAFETY: the layout is not empty.
        self.fresh = NonNull::new(unsafe { alloc(layout) }.cast::<Batch>())?.as_ptr();
        self.fresh_count = count;
        self.total += count;
        let link = self.carve()?;
        // SAFETY: it was made just now.
        unsafe { link.as_ref() }.set_next(self.chunks);
        self.chunks = link.as_ptr();
        Some(())
    }
}

/// Has the first blocks allocated, so that a program which seldom needs one does not allocate late. Where there is no
/// memory the post that needs one says so.
pub fn set_aside() {
    let mut free = FREE.lock();
    if !cfg!(loom) && free.total == 0 {
        free.grow();
    }
}

#[cfg(not(loom))]
static FREE: ProcessLock<Free> = ProcessLock::new(Free::new());
#[cfg(loom)]
static FREE: once_cell::sync::Lazy<ProcessLock<Free>> =
    once_cell::sync::Lazy::new(|| ProcessLock::new(Free::new()));

impl Cache {
    /// No batches.
    pub const fn new() -> Self {
        Cache { head: Cell::new(ptr::null_mut()), count: Cell::new(0) }
    }

    /// An empty batch.
    #[inline]
    pub fn take(&self) -> Option<NonNull<Op>> {
        if self.head.get().is_null() {
            return self.refill();
        }
        self.pop()
    }

    #[inline]
    fn pop(&self) -> Option<NonNull<Op>> {
        let op = NonNull::new(self.head.get())?;
        // SAFETY: cached blocks are this thread's.
        let next = unsafe { op.as_ref() }.next();
        fetch_to_write::<0, _>(next);
        fetch_to_write::<64, _>(next);
        fetch_to_write::<128, _>(next);
        fetch_to_write::<192, _>(next);
        self.head.set(next);
        self.count.set(self.count.get() - 1);
        Some(op)
    }

    fn push(&self, op: NonNull<Op>) {
        // SAFETY: the block is the caller's.
        unsafe { op.as_ref() }.set_next(self.head.replace(op.as_ptr()));
        self.count.set(self.count.get() + 1);
    }

    #[cold]
    fn refill(&self) -> Option<NonNull<Op>> {
        if cfg!(loom) {
            // What threads share outlives a model, which loom's locks do not.
            let batch =
                NonNull::new(Box::into_raw(Box::<MaybeUninit<Batch>>::new_uninit()))?.cast();
            return Some(Batch::init(batch));
        }
        give_back_at_end();
        let mut free = FREE.lock();
        for _ in 0..TRADED {
            let Some(op) = free.pop().or_else(|| free.carve()) else { break };
            self.push(op);
        }
        drop(free);
        self.pop()
    }

    /// Takes back a batch that was emptied.
    #[inline]
    pub fn put(&self, op: NonNull<Op>) {
        if cfg!(loom) {
            // See `refill`: atomics do not outlive a model.
            return;
        }
        let batch = of_op(op);
        batch.first.set(0);
        batch.end.set(0);
        self.push(op);
        if self.count.get() >= 2 * TRADED {
            self.give_back(TRADED);
        }
    }

    #[cold]
    fn give_back(&self, count: usize) {
        let mut free = FREE.lock();
        for _ in 0..count {
            let Some(op) = self.pop() else { break };
            free.push(op);
        }
    }

    /// Gives the others all that the thread holds.
    pub fn give_all_back(&self) {
        if !self.head.get().is_null() {
            self.give_back(usize::MAX);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    unsafe extern "C-unwind" fn nothing(_: i32, _: *mut c_void) {}

    fn call(number: usize) -> Call {
        Call { callback: nothing, user: ptr::without_provenance_mut(number) }
    }

    #[test]
    fn calls_come_in_order_and_blocks_are_used_again() {
        let caller = Caller::current();
        let (queue, streak) = (OpQueue::new(), Streak::new());
        let singles = SINGLE as usize;
        let total = singles + 2 * CALLS + 1;
        for number in 0..total {
            push(&queue, &streak, &caller, call(number)).unwrap();
        }
        let mut next = 0;
        let mut emptied = 0;
        while let Some(front) = queue.front() {
            // SAFETY: in this queue.
            if unsafe { !front.as_ref().is_batch() } {
                queue.pop();
                // SAFETY: a call of the pool, popped.
                let (_, user) = unsafe { free_call(&caller, front) };
                assert_eq!(user.addr(), next);
                assert!(next < singles);
            } else {
                let taken = take(&queue, front);
                assert_eq!(taken.call.user.addr(), next);
                if let Some(batch) = taken.emptied {
                    emptied += 1;
                    caller.batches().put(batch);
                }
            }
            next += 1;
        }
        assert_eq!((next, emptied), (total, 3));
        assert!(!append(&queue, call(0)));
    }

    #[test]
    fn a_few_calls_between_other_ops_take_no_block() {
        let caller = Caller::current();
        let (queue, streak) = (OpQueue::new(), Streak::new());
        let others: Vec<Op> = (0..5).map(|_| Op::new(|_, _| {})).collect();
        for other in &others {
            for number in 0..SINGLE as usize {
                push(&queue, &streak, &caller, call(number)).unwrap();
            }
            queue.push(other.as_ptr());
        }
        while let Some(op) = queue.pop() {
            // SAFETY: in this queue.
            assert!(unsafe { !op.as_ref().is_batch() });
            if !others.iter().any(|other| other.as_ptr() == op) {
                // SAFETY: a call of the pool, popped.
                unsafe { free_call(&caller, op) };
            }
        }
    }
}
