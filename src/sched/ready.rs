//! What a thread does with a descriptor that it popped: performs what is ready, delivers the first
//! completion at once, takes connections and pooled reads.
#![allow(unsafe_code, reason = "from an embedded op to its descriptor")]

use super::completion::{Callback, Delivery, LOG_WARNING, deliver, hold_back};
use super::descriptor::{Descriptor, Dir, Driven, Locked, QUEUED, READY_READ, WANT_READ};
use super::frame::{Caller, Frame};
use super::op::Op;
use super::scheduler::Scheduler;
use super::slot::{Kind, Outcome, Phase, Taken};
use super::sync::Ordering;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::c_void;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// Connections taken, or buffers filled, in one go before others have their turn (H34).
const TAKES_PER_RUN: usize = 16;

/// Runs a queued descriptor: drives each direction that is wanted and ready, delivers the first
/// completion at once and queues a second.
pub(super) unsafe fn run_ready(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `op` is a field of a descriptor, and the table never frees those.
    let descriptor: &'static Descriptor =
        unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, op)).cast() };
    let state = descriptor.state.lock();
    let word = descriptor.word.fetch_and(!QUEUED, Ordering::AcqRel);
    let (Some(sched), false) = (state.sched, state.closed) else {
        descriptor.recycle_if_done(&state);
        return;
    };
    let mut locked = Locked { descriptor, sched, state };
    let mut first = None;
    // A connect before the reads that wait for it.
    for dir in [Dir::Write, Dir::Read] {
        if word & dir.want() == 0 || locked.state.slot(dir).phase != Phase::Parked {
            continue;
        }
        let driven = locked.drive(dir);
        let caller = Caller::of(frame);
        locked.submit_written(&caller);
        match driven {
            Ok(Driven::Parked) => {
                locked.watch_progress(dir);
                continue;
            }
            Ok(Driven::Yielded) => {
                if let Kind::Take { .. } = locked.state.slot(dir).kind {
                    // Delivers by itself, and needs the lock for each; so it comes last.
                    first = first.or(Some(Dir::Read));
                } else {
                    locked.watch_progress(dir);
                    locked.queue(&caller, dir);
                }
                continue;
            }
            Ok(Driven::Done) => {}
            Err(error) => locked.finish(dir, error.code()),
        }
        if locked.serves_queue(dir) {
            locked.submit_written(&caller);
            continue;
        }
        if first.is_none() {
            first = Some(dir);
        } else {
            locked.submit_done(&Caller::of(frame), dir);
        }
    }
    let Some(dir) = first else { return };
    let takes = dir == Dir::Read && locked.state.read.is_parked_take();
    if descriptor.member.strand().is_some() {
        if takes {
            // Goes on in `run_done`, in the strand.
            locked.state.read.phase = Phase::Delivering;
        }
        locked.submit_done(&Caller::of(frame), dir);
    } else if takes {
        take_ready(locked, frame);
    } else {
        deliver_done(locked, dir, frame);
    }
}

/// Delivers the completed operation of a direction. The slot is idle, and the handle recycled if it was
/// closed, before the callback runs.
fn deliver_done(mut locked: Locked, dir: Dir, frame: &Frame) {
    let done_op = locked.descriptor.done_op(dir);
    let slot = locked.state.slot(dir);
    let (callback, user) = (slot.callback, slot.user);
    if hold_back(frame, callback, done_op) {
        return;
    }
    slot.phase = Phase::Idle;
    let what =
        Delivery { status: slot.status, value: slot.transfer.done as u64, ..Delivery::default() };
    let Locked { descriptor, state, .. } = locked;
    frame.about(&descriptor.head, &descriptor.member);
    descriptor.recycle_if_done(&state);
    drop(state);
    Scheduler::work_finished(frame);
    deliver(frame, callback, what, user);
}

/// Takes and delivers one after another, until there are no more, the operation ends or others have waited
/// long enough. Only one thread at a time is here for a descriptor: the operation is not parked meanwhile.
fn take_ready(mut locked: Locked, frame: &Frame) {
    let descriptor = locked.descriptor;
    let caller = Caller::of(frame);
    let mut rounds = if frame.single { 1 } else { TAKES_PER_RUN };
    loop {
        let slot = &locked.state.read;
        let Kind::Take { taking, each } = slot.kind else { return };
        let (callback, user) = (slot.callback, slot.user);
        if hold_back(frame, callback, descriptor.done_op(Dir::Read)) {
            locked.state.read.phase = Phase::Delivering;
            return;
        }
        if rounds == 0 || frame.sched.halted() {
            locked.queue(&caller, Dir::Read);
            return;
        }
        rounds -= 1;
        let before = descriptor.word.fetch_and(!(READY_READ | WANT_READ), Ordering::AcqRel);
        let trust = locked.trusts(before);
        let mut taken = Taken {
            value: 0,
            address: Address::empty(),
            buffer: None,
            drained: false,
            returned: false,
        };
        let outcome = match taking.take(&locked, trust, &mut taken) {
            Ok(()) => {
                if !taken.drained || !trust {
                    descriptor.word.fetch_or(READY_READ, Ordering::AcqRel);
                }
                locked.state.read.phase = if each { Phase::Delivering } else { Phase::Idle };
                drop(locked);
                locked = match deliver_taken(descriptor, frame, each, callback, user, &taken) {
                    Some(locked) => locked,
                    None => return,
                };
                if descriptor.word.load(Ordering::Acquire) & READY_READ != 0 {
                    continue;
                }
                // Known to be drained: no system call to learn that.
                Outcome::WouldBlock
            }
            Err(outcome) => outcome,
        };
        let status = match outcome {
            Outcome::WouldBlock => match locked.park_take() {
                Ok(true) => {
                    drop(locked);
                    if taken.returned {
                        frame.sched.buffers.wake_paused(&caller);
                    }
                    return;
                }
                Ok(false) => continue,
                Err(error) => error.code(),
            },
            Outcome::Backoff(error) => {
                // The kernel will not tell when the resource is there again. What comes waits in it.
                descriptor.word.fetch_or(READY_READ, Ordering::AcqRel);
                if taking.retry_later(&mut locked) {
                    drop(locked);
                    if error == Errno::MFILE || error == Errno::NFILE {
                        frame.sched.log(
                            LOG_WARNING,
                            c"accept: out of file descriptors; trying again later",
                        );
                    }
                    return;
                }
                error.code()
            }
            Outcome::Yield => {
                locked.queue(&caller, Dir::Read);
                return;
            }
            Outcome::Done { status, .. } => {
                descriptor.word.fetch_or(READY_READ, Ordering::AcqRel);
                status
            }
        };
        let slot = &mut locked.state.read;
        slot.status = status;
        deliver_done(locked, Dir::Read, frame);
        frame.sched.buffers.reading_ended(&caller);
        return;
    }
}

impl Locked {
    /// True when what is read is delivered as records.
    pub fn read_gives_records(&self) -> bool {
        self.state.read.callback.is_record()
    }

    /// Parks an operation that found nothing to take; false when an edge came in between.
    fn park_take(&mut self) -> Result<bool, Errno> {
        self.register(Dir::Read)?;
        let before = self.descriptor.word.fetch_or(WANT_READ, Ordering::AcqRel);
        let parked = before & READY_READ == 0;
        if parked {
            self.watch_time(Dir::Read);
        }
        Ok(parked)
    }
}

/// Gives the user what was taken; afterwards the descriptor again, if it goes on.
fn deliver_taken(
    descriptor: &'static Descriptor,
    frame: &Frame,
    each: bool,
    callback: Callback,
    user: *mut c_void,
    taken: &Taken,
) -> Option<Locked> {
    if !each {
        Scheduler::work_finished(frame);
    }
    let buffer = taken.buffer.map_or((ptr::null(), 0), |buffer| {
        (buffer.data.as_ptr().cast_const().cast(), buffer.offset)
    });
    let address = (taken.address.as_ptr(), taken.address.len());
    frame.about(&descriptor.head, &descriptor.member);
    deliver(frame, callback, Delivery { status: 0, value: taken.value, address, buffer }, user);
    if let Some(buffer) = taken.buffer
        && !callback.is_record()
    {
        // A callback has the buffer while it runs; with a record it is the receiver's.
        let _ = frame.sched.buffers.give_back(&Caller::of(frame), buffer.offset);
    }
    if !each {
        return None;
    }
    // The slot is not idle, so this is still the same operation of the same handle, or of one that was
    // closed meanwhile and is not recycled yet.
    let mut state = descriptor.state.lock();
    let slot = &mut state.read;
    if slot.ended != 0 {
        slot.status = slot.ended;
        slot.phase = Phase::Done;
        let sched = state.sched?;
        Locked { descriptor, sched, state }.submit_done(&Caller::of(frame), Dir::Read);
        return None;
    }
    slot.phase = Phase::Parked;
    let sched = state.sched?;
    Some(Locked { descriptor, sched, state })
}

fn run_done(descriptor: &'static Descriptor, dir: Dir, frame: &Frame) {
    let mut state = descriptor.state.lock();
    let Some(sched) = state.sched else { return };
    let slot = state.slot(dir);
    if slot.phase == Phase::Delivering {
        // A multi-shot operation that waited for its turn in a strand, or for room for its record.
        if slot.ended == 0 {
            slot.phase = Phase::Parked;
            return take_ready(Locked { descriptor, sched, state }, frame);
        }
        slot.status = slot.ended;
        slot.phase = Phase::Done;
    }
    let took = matches!(slot.kind, Kind::Take { .. });
    deliver_done(Locked { descriptor, sched, state }, dir, frame);
    if took {
        sched.buffers.reading_ended(&Caller::of(frame));
    }
}

pub(super) unsafe fn run_read_done(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `read_op` of a descriptor, and the table never frees those.
    let descriptor = unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, read_op)).cast() };
    run_done(descriptor, Dir::Read, frame);
}

pub(super) unsafe fn run_write_done(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `write_op` of a descriptor, as above.
    let descriptor = unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, write_op)).cast() };
    run_done(descriptor, Dir::Write, frame);
}
