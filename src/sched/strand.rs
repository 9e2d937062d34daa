//! Strands: what is bound to one never runs at the same time, and runs in order.
//!
//! A strand is a queue with an op of its own. What arrives while the strand is idle puts that op into the
//! run queue; the thread that pops it serves the strand's queue, and nobody waits: what arrives meanwhile
//! is left for that thread, or for whoever pops the op next.
#![allow(unsafe_code, reason = "the table entry, and running ops of its queue")]

use super::call::{free_call, new_call, run_post};
use super::completion::{StatusFn, call_now};
use super::frame::{Caller, Frame};
use super::member::{Class, Member};
use super::op::{Op, OpQueue};
use super::scheduler::Scheduler;
use super::sync::{Mutex, MutexGuard};
use super::table::{Entry, Head, Table, Token};
use crate::sys::errno::Errno;
use libc::c_void;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// The handle kind of strands.
pub const KIND_STRAND: u8 = 5;

/// Callbacks of one strand in a row before others have their turn.
const CALLBACKS_PER_RUN: usize = 16;

/// Every strand of the process.
#[cfg(not(loom))]
pub static STRANDS: Table<Strand> = Table::new();
/// Every strand of the process.
#[cfg(loom)]
pub static STRANDS: once_cell::sync::Lazy<Table<Strand>> = once_cell::sync::Lazy::new(Table::new);

/// A strand.
#[repr(C)]
pub struct Strand {
    head: Head,
    member: Member,
    /// In a run queue while there is something to serve and nobody serves it.
    op: Op,
    state: Mutex<State>,
}

struct State {
    sched: Option<&'static Scheduler>,
    queue: OpQueue,
    /// `op` is queued, or a thread serves the strand.
    busy: bool,
    closed: bool,
    /// Handles that are bound to it.
    bound: usize,
}

// SAFETY: the scheduler is type-stable; the queue is used under the lock.
unsafe impl Send for State {}

// SAFETY: strands stay where the table put them.
unsafe impl Entry for Strand {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Strand {
            head: Head::new(),
            member: Member::new(&CLASS),
            op: Op::new(run_strand),
            state: Mutex::new(State {
                sched: None,
                queue: OpQueue::new(),
                busy: false,
                closed: true,
                bound: 0,
            }),
        }
    }
}

const CLASS: Class =
    Class { id: KIND_STRAND, close: close_member, report: report_member, renew: None };

/// A live strand under its lock; its context lives as long.
pub struct Locked {
    strand: &'static Strand,
    /// Its context.
    pub sched: &'static Scheduler,
    state: MutexGuard<'static, State>,
}

impl Strand {
    /// Makes a strand of a context.
    pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
        let strand = STRANDS.reserve().map_err(|_| Errno::NOMEM)?;
        let mut state = strand.state.lock();
        state.sched = Some(sched);
        state.closed = false;
        state.bound = 0;
        if !sched.members.add(&strand.member) {
            state.closed = true;
            drop(state);
            STRANDS.recycle(strand);
            return Err(Errno::SHUTDOWN);
        }
        Ok(STRANDS.publish(strand, KIND_STRAND))
    }

    /// The strand of a handle, locked.
    pub fn lock(token: Token) -> Result<Locked, Errno> {
        let strand = STRANDS.find(token).ok_or(Errno::BADF)?;
        strand.lock_if(|head| head.is_live_as(token)).ok_or(Errno::BADF)
    }

    fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked> {
        let state = self.state.lock();
        if !live(&self.head) {
            return None;
        }
        Some(Locked { strand: self, sched: state.sched?, state })
    }

    /// Adds an op that is counted as work already; true when the caller must queue the strand's own op.
    fn push(&self, op: NonNull<Op>) -> bool {
        let mut state = self.state.lock();
        state.queue.push(op);
        !std::mem::replace(&mut state.busy, true)
    }

    /// Adds an op. To be called for objects of the strand's context only.
    pub fn submit(&self, sched: &Scheduler, caller: &Caller, op: NonNull<Op>) {
        if self.push(op) {
            sched.post(caller, self.op.as_ptr());
        }
    }

    /// The same in a turn of the reactor.
    pub fn submit_in_turn(&self, ready: &OpQueue, op: NonNull<Op>) {
        if self.push(op) {
            ready.push(self.op.as_ptr());
        }
    }

    /// A handle that was bound to the strand no longer is.
    pub fn unbound(&'static self) {
        let mut state = self.state.lock();
        state.bound = state.bound.saturating_sub(1);
        self.recycle_if_done(&state);
    }

    fn recycle_if_done(&'static self, state: &State) {
        if state.closed && !state.busy && state.bound == 0 {
            STRANDS.recycle(self);
        }
    }
}

impl Locked {
    /// The handle.
    pub fn token(&self) -> Option<Token> {
        self.strand.head.token()
    }

    /// The strand itself, for one more handle that is bound to it.
    pub fn bind(&mut self) -> &'static Strand {
        self.state.bound += 1;
        self.strand
    }

    /// The part that the context knows.
    pub fn member(&self) -> &'static Member {
        &self.strand.member
    }

    /// The number of callbacks queued.
    pub fn pending(&self) -> usize {
        let mut queued = 0;
        self.state.queue.for_each(|_| queued += 1);
        queued
    }

    /// Ends the strand's handle. What is bound to it stays so, and what is queued is delivered.
    pub fn close(mut self) {
        STRANDS.kill(self.strand);
        self.state.closed = true;
        // Last, since the context may go once it is out of the list.
        self.sched.members.remove(&self.strand.member);
        self.strand.recycle_if_done(&self.state);
    }
}

/// Queues a function.
pub fn post(
    caller: &Caller,
    token: Token,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let call = new_call(caller, run_post, callback, user)?;
    let begun = Strand::lock(token).and_then(|Locked { strand, sched, mut state }| {
        sched.check_open()?;
        // Under the strand's lock the context can't end.
        sched.work_started();
        state.queue.push(call);
        if !std::mem::replace(&mut state.busy, true) {
            sched.post(caller, strand.op.as_ptr());
        }
        Ok(())
    });
    if begun.is_err() {
        // SAFETY: it was not queued.
        unsafe { free_call(caller, call) };
    }
    begun
}

/// Calls a function at once where the calling thread is inside the strand, else posts it.
pub fn dispatch(
    caller: &Caller,
    token: Token,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    if let Some(callback) = callback
        && is_inside(caller, token)?
    {
        Strand::lock(token)?.sched.check_open()?;
        call_now(callback, user);
        return Ok(());
    }
    post(caller, token, callback, user)
}

/// True when the calling thread runs a callback of the strand.
pub fn is_inside(caller: &Caller, token: Token) -> Result<bool, Errno> {
    let strand = STRANDS.find(token).ok_or(Errno::BADF)?;
    Ok(caller.frames().any(|frame| ptr::eq(frame.strand.get(), strand)))
}

/// Serves a strand.
unsafe fn run_strand(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `op` is a field of a strand, and the table never frees those.
    let strand: &'static Strand = unsafe { &*op.as_ptr().byte_sub(offset_of!(Strand, op)).cast() };
    let outer = frame.strand.replace(strand);
    let mut left = if frame.single { 1 } else { CALLBACKS_PER_RUN };
    loop {
        let mut state = strand.state.lock();
        let Some(op) = state.queue.pop() else {
            state.busy = false;
            strand.recycle_if_done(&state);
            break;
        };
        drop(state);
        // SAFETY: popped by this thread.
        unsafe { Op::run(op, frame) };
        left -= 1;
        if left == 0 || (frame.sched.halted() && !frame.draining) {
            let mut state = strand.state.lock();
            if state.queue.is_empty() {
                state.busy = false;
                strand.recycle_if_done(&state);
            } else {
                drop(state);
                frame.private.push(strand.op.as_ptr());
            }
            break;
        }
    }
    frame.strand.set(outer);
}

unsafe fn close_member(member: NonNull<Member>, sched: &Scheduler, _: &Caller) {
    if let Some(locked) = of_member(member, sched) {
        locked.close();
    }
}

unsafe fn report_member(member: NonNull<Member>, sched: &Scheduler) -> Option<(Token, usize)> {
    let locked = of_member(member, sched)?;
    Some((locked.token()?, locked.pending()))
}

fn of_member(member: NonNull<Member>, sched: &Scheduler) -> Option<Locked> {
    // SAFETY: `member` is a field of a strand, and the table never frees those.
    let strand: &'static Strand =
        unsafe { &*member.as_ptr().byte_sub(offset_of!(Strand, member)).cast() };
    let locked = strand.lock_if(|head| head.token().is_some())?;
    ptr::eq(locked.sched, sched).then_some(locked)
}
