//! What a thread does with a descriptor that it popped: performs what is ready, delivers the first
//! completion at once, takes connections and pooled reads.
#![allow(unsafe_code, reason = "from an embedded op to its descriptor")]

use super::completion::{Callback, Delivery, LOG_WARNING, deliver, deliver_io, hold_back};
use super::descriptor::{CLOSED, Descriptor, Dir, Locked};
use super::drive::{Driven, Tried};
use super::frame::{Caller, Frame};
use super::op::Op;
use super::operation::{Phase, Slot};
use super::readiness::Seen;
use super::scheduler::Scheduler;
use super::side::Side;
use super::slot::{Kind, Outcome, Taken};
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::c_void;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// Connections taken, or buffers filled, in one go before others have their turn (H34).
const TAKES_PER_RUN: usize = 16;

/// Runs a queued descriptor: drives each direction that is wanted and ready, delivers the first
/// completion at once and queues a second, or the descriptor again for a read that takes.
pub(super) unsafe fn run_ready(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `op` is a field of a descriptor, and the table never frees those.
    let descriptor: &'static Descriptor =
        unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, op)).cast() };
    let Some(mut locked) = descriptor.lock_popped() else { return };
    let (due, seen) = descriptor.word.popped(locked.trusts_short());
    if descriptor.flags.has(CLOSED) {
        descriptor.recycle_if_done();
        return;
    }
    let mut first = None;
    let mut read = Tried::Due(seen);
    // A connect before the reads that wait for it.
    if due.has(Dir::Write) {
        first = run_one(&mut locked, Dir::Write, Tried::Due(seen), first, frame);
    } else if due.has(Dir::Read) {
        (locked, read) = match read_now(locked, seen, frame) {
            Some(rest) => rest,
            None => return,
        };
    }
    if due.has(Dir::Read) {
        first = run_one(&mut locked, Dir::Read, read, first, frame);
    }
    let Some(dir) = first else { return };
    let takes = dir == Dir::Read && descriptor.read_slot().is_parked_take();
    if descriptor.member.strand().is_some() {
        if takes {
            // Goes on in `run_done`, in the strand.
            descriptor.read_slot().set_phase(Phase::Delivering);
        }
        locked.submit_done(&Caller::of(frame), dir);
    } else if takes {
        take_ready(locked, frame);
    } else {
        deliver_done(locked, dir, frame);
    }
}

/// What is most common: a read is due, is complete with one system call, and has a function to be told. Anything
/// else is left to the general way, with the call's answer if there was one.
#[inline(always)]
fn read_now(locked: Locked, seen: Seen, frame: &Frame) -> Option<(Locked, Tried)> {
    let descriptor = locked.descriptor;
    let slot = descriptor.read_slot();
    let (Some(io), Some(perform)) = (slot.io(), slot.once()) else {
        return Some((locked, Tried::Due(seen)));
    };
    let is_common = slot.phase() == Phase::Parked
        && !frame.measures
        && !locked.is_connecting()
        && descriptor.member.strand().is_none();
    if !is_common {
        return Some((locked, Tried::Due(seen)));
    }
    let trust = locked.trusts(seen);
    // SAFETY: it is parked, and has a transfer.
    let outcome = perform(descriptor.fd.get(), unsafe { slot.transfer() }, trust);
    let Outcome::Done { status, drained } = outcome else {
        return Some((locked, Tried::Answered(seen, outcome)));
    };
    descriptor.word.settle(Dir::Read, seen, drained && trust);
    let (bytes, user) = (slot.done(), slot.user());
    slot.set_phase(Phase::Idle);
    drop(locked);
    Scheduler::work_finished(frame);
    deliver_io(frame, io, status, bytes, user);
    None
}

/// Drives one direction; which is to be delivered first, where `first` is what was so far.
fn run_one(
    locked: &mut Locked,
    dir: Dir,
    tried: Tried,
    first: Option<Dir>,
    frame: &Frame,
) -> Option<Dir> {
    let descriptor = locked.descriptor;
    let slot = match descriptor.slot(dir) {
        Some(slot) if slot.phase() == Phase::Parked => slot,
        _ => {
            descriptor.word.assume(dir);
            return first;
        }
    };
    let driven = locked.drive(dir, slot, tried);
    let caller = Caller::of(frame);
    locked.submit_written(&caller);
    match driven {
        Ok(Driven::Done) => {}
        Ok(Driven::Parked) => {
            locked.watch_progress(dir);
            return first;
        }
        Ok(Driven::Yielded) => {
            if slot.takes() && first.is_none() {
                // Delivers by itself, and needs the lock for each.
                return Some(dir);
            }
            locked.watch_progress(dir);
            locked.queue(&caller, dir);
            return first;
        }
        Err(error) => locked.finish(dir, error.code()),
    }
    if locked.serves_queue(dir) {
        locked.submit_written(&caller);
        return first;
    }
    if first.is_some() {
        locked.submit_done(&caller, dir);
    }
    first.or(Some(dir))
}

/// Delivers the completed operation of a direction. The slot is idle, and the handle recycled if it was
/// closed, before the callback runs.
#[inline(always)]
fn deliver_done(locked: Locked, dir: Dir, frame: &Frame) {
    let Some(slot) = locked.descriptor.slot(dir) else { return };
    match slot.io() {
        Some(io) => {
            let (status, done, user) = end_done(locked, dir, slot, frame);
            deliver_io(frame, io, status, done, user);
        }
        None => deliver_other(locked, dir, slot, frame),
    }
}

/// The same for one that tells something else than a number of bytes.
#[inline(never)]
fn deliver_other(locked: Locked, dir: Dir, slot: Slot<'static>, frame: &Frame) {
    let callback = slot.callback();
    if hold_back(frame, callback, slot.op()) {
        return;
    }
    let (status, done, user) = end_done(locked, dir, slot, frame);
    let what = Delivery { status, value: done as u64, ..Delivery::default() };
    deliver(frame, callback, what, user);
}

/// The direction is free again. What is left of the operation: its status, its count and the user's pointer.
#[inline(always)]
fn end_done(
    locked: Locked,
    dir: Dir,
    slot: Slot<'static>,
    frame: &Frame,
) -> (i32, usize, *mut c_void) {
    let Locked { descriptor, guard, .. } = locked;
    let result = (slot.status(), slot.done(), slot.user());
    slot.set_phase(Phase::Idle);
    if dir == Dir::Write {
        descriptor.give_back(&Caller::of(frame));
    }
    frame.about(&descriptor.head, &descriptor.member);
    descriptor.recycle_if_done();
    drop(guard);
    Scheduler::work_finished(frame);
    result
}

/// Takes and delivers one after another, until there are no more, the operation ends or others have waited
/// long enough. Only one thread at a time is here for a descriptor: the operation is not parked meanwhile.
fn take_ready(mut locked: Locked, frame: &Frame) {
    let descriptor = locked.descriptor;
    let slot = descriptor.read_slot();
    let caller = Caller::of(frame);
    let mut rounds = if frame.single { 1 } else { TAKES_PER_RUN };
    loop {
        let Kind::Take { taking, each } = slot.kind() else { return };
        let (callback, user) = (slot.callback(), slot.user());
        if hold_back(frame, callback, slot.op()) {
            slot.set_phase(Phase::Delivering);
            return;
        }
        if rounds == 0 || frame.sched.halted() {
            locked.queue(&caller, Dir::Read);
            return;
        }
        rounds -= 1;
        let mut seen = descriptor.word.see();
        let trust = locked.trusts(seen);
        let mut taken = Taken {
            value: 0,
            address: Address::empty(),
            buffer: None,
            drained: false,
            returned: false,
        };
        let outcome = match (taking.take)(&locked, trust, &mut taken) {
            Ok(()) => {
                if taken.drained && trust {
                    descriptor.word.drained(Dir::Read, seen, false);
                } else if !seen.is_ready(Dir::Read) {
                    descriptor.word.assume(Dir::Read);
                }
                slot.set_phase(if each { Phase::Delivering } else { Phase::Idle });
                drop(locked);
                locked = match deliver_taken(descriptor, frame, each, callback, user, &taken) {
                    Some(locked) => locked,
                    None => return,
                };
                seen = descriptor.word.see();
                if seen.is_ready(Dir::Read) {
                    continue;
                }
                // Known to be drained: no system call to learn that.
                Outcome::WouldBlock
            }
            Err(outcome) => outcome,
        };
        let status = match outcome {
            Outcome::WouldBlock => match locked.park_take(seen) {
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
                descriptor.word.assume(Dir::Read);
                if (taking.retry_later)(&mut locked) {
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
                descriptor.word.assume(Dir::Read);
                status
            }
        };
        slot.set_status(status);
        // It may be held back; a cancel finds it complete then.
        slot.set_phase(Phase::Done);
        deliver_done(locked, Dir::Read, frame);
        frame.sched.buffers.reading_ended(&caller);
        return;
    }
}

impl Locked {
    /// Parks an operation that found nothing to take; false when an edge came since the word was seen.
    fn park_take(&mut self, seen: Seen) -> Result<bool, Errno> {
        self.register(Dir::Read)?;
        let parked = self.descriptor.word.drained(Dir::Read, seen, true);
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
    let mut locked = descriptor.lock_popped()?;
    let slot = descriptor.read_slot();
    if slot.status() != 0 {
        slot.set_phase(Phase::Done);
        locked.submit_done(&Caller::of(frame), Dir::Read);
        return None;
    }
    slot.set_phase(Phase::Parked);
    Some(locked)
}

#[inline(always)]
fn run_done(descriptor: &'static Descriptor, dir: Dir, frame: &Frame) {
    let Some(locked) = descriptor.lock_popped() else { return };
    let Some(slot) = descriptor.slot(dir) else { return };
    if slot.io().is_some() || !slot.takes() {
        return deliver_done(locked, dir, frame);
    }
    if slot.phase() == Phase::Delivering {
        // It waited for its turn in a strand, or for room for its record.
        if slot.status() == 0 {
            slot.set_phase(Phase::Parked);
            return take_ready(locked, frame);
        }
        slot.set_phase(Phase::Done);
    }
    let sched = locked.sched;
    deliver_done(locked, dir, frame);
    sched.buffers.reading_ended(&Caller::of(frame));
}

pub(super) unsafe fn run_read_done(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: the op of a descriptor's own operation, and the table never frees those.
    let descriptor = unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, read)).cast() };
    run_done(descriptor, Dir::Read, frame);
}

pub(super) unsafe fn run_write_done(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: the op of a side's operation, which is pending until it is delivered.
    if let Some(descriptor) = unsafe { Side::descriptor_of(op) } {
        run_done(descriptor, Dir::Write, frame);
    }
}
