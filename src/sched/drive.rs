//! How an operation of a descriptor is tried: at once when it begins, and again whenever it may go on.
#![allow(unsafe_code, reason = "the transfer of a parked operation")]

use super::completion::Callback;
use super::descriptor::{Dir, Locked, MEASURES};
use super::frame::Caller;
use super::op::RunFn;
use super::operation::{Phase, Slot, Tag};
use super::readiness::Seen;
use super::ready::{run_read_done, run_write_done};
use super::retry;
use super::slot::{Kind, Outcome, Perform, Transfer};
use super::stats;
use crate::sys::errno::Errno;
use libc::c_void;

/// How long an operation waits before it is tried again where no event will tell.
const BACKOFF: i64 = 5_000_000;

/// Where an operation stands after it was driven.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Driven {
    Done,
    Parked,
    /// To be queued again.
    Yielded,
}

/// What is known when an operation is driven.
pub(super) enum Tried {
    /// Nothing.
    Not,
    /// The descriptor was popped for it, and this is its word.
    Due(Seen),
    /// A system call has answered; the word was seen before it.
    Answered(Seen, Outcome),
}

impl Dir {
    /// What delivers an operation of this direction.
    #[inline]
    pub(super) const fn run(self) -> RunFn {
        match self {
            Dir::Read => run_read_done,
            Dir::Write => run_write_done,
        }
    }
}

impl Locked {
    /// Where an operation of this direction can begin.
    #[inline]
    pub(super) fn idle_slot(&mut self, caller: &Caller, dir: Dir) -> Result<Slot<'static>, Errno> {
        self.sched.check_open()?;
        if self.is_busy(dir) {
            return Err(Errno::BUSY);
        }
        match dir {
            Dir::Read => Ok(self.descriptor.read_slot()),
            Dir::Write => match self.descriptor.lend(caller) {
                Some(side) => Ok(side.slot()),
                None => Err(Errno::NOMEM),
            },
        }
    }

    /// Begins an operation: tries it at once unless the direction is known to be drained, else parks it.
    /// On error nothing has begun.
    pub fn begin(
        &mut self,
        caller: &Caller,
        dir: Dir,
        kind: Kind,
        transfer: Transfer,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        let slot = self.idle_slot(caller, dir)?;
        slot.begin(kind, transfer, callback, user, dir.run());
        self.start(caller, dir, slot, Tried::Not)
    }

    /// The same for an operation of the most common kind. What happens most, that it is complete at once or parks on
    /// an fd that is registered, is decided here.
    #[inline(always)]
    pub fn begin_once(
        &mut self,
        caller: &Caller,
        dir: Dir,
        perform: Perform,
        transfer: Transfer,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        let slot = self.idle_slot(caller, dir)?;
        slot.begin_once(perform, transfer, callback, user);
        if dir == Dir::Read && self.is_connecting() || self.descriptor.flags.has(MEASURES) {
            return self.start(caller, dir, slot, Tried::Not);
        }
        let seen = self.descriptor.word.see();
        let mut tried = Tried::Not;
        if seen.is_ready(dir) {
            let trust = self.trusts(seen);
            // SAFETY: it is parked, and has a transfer.
            let outcome = perform(self.descriptor.fd.get(), unsafe { slot.transfer() }, trust);
            if let Outcome::Done { status, drained } = outcome {
                self.descriptor.word.settle(dir, seen, drained && trust);
                slot.complete(status, dir.run());
                self.sched.complete(caller, &self.descriptor.member, slot.op());
                return Ok(());
            }
            tried = Tried::Answered(seen, outcome);
        }
        let would_block = matches!(tried, Tried::Not | Tried::Answered(_, Outcome::WouldBlock));
        if would_block && self.hears(dir) && self.descriptor.word.drained(dir, seen, true) {
            self.parked(caller, dir, Driven::Parked);
            return Ok(());
        }
        self.start(caller, dir, slot, tried)
    }

    /// Drives a new operation for the first time.
    #[inline(never)]
    fn start(
        &mut self,
        caller: &Caller,
        dir: Dir,
        slot: Slot<'static>,
        tried: Tried,
    ) -> Result<(), Errno> {
        match self.drive(dir, slot, tried) {
            Ok(Driven::Done) => {}
            Ok(driven) => {
                self.parked(caller, dir, driven);
                return Ok(());
            }
            // What has moved is told with the error.
            Err(error) if slot.done() > 0 => self.finish(dir, error.code()),
            Err(error) => {
                slot.set_phase(Phase::Idle);
                self.descriptor.give_back(caller);
                return Err(error);
            }
        }
        self.sched.complete(caller, &self.descriptor.member, slot.op());
        Ok(())
    }

    /// A new operation is not complete yet.
    #[inline]
    fn parked(&mut self, caller: &Caller, dir: Dir, driven: Driven) {
        self.sched.work_started();
        self.watch_time(dir);
        if driven == Driven::Yielded {
            self.queue(caller, dir);
        }
    }

    /// Completes an operation that needs no system call, with a result that is known.
    pub fn begin_done(
        &mut self,
        caller: &Caller,
        dir: Dir,
        status: i32,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        let slot = self.idle_slot(caller, dir)?;
        slot.begin(Kind::Held, Transfer::none(), callback, user, dir.run());
        slot.complete(status, dir.run());
        self.sched.complete(caller, &self.descriptor.member, slot.op());
        Ok(())
    }

    /// Queues the completion of an operation that is counted as work.
    pub(super) fn submit_done(&mut self, caller: &Caller, dir: Dir) {
        if self.serves_queue(dir) {
            return self.submit_written(caller);
        }
        if let Some(slot) = self.descriptor.slot(dir) {
            self.sched.submit(caller, &self.descriptor.member, slot.op());
        }
    }

    #[inline]
    pub(super) fn is_connecting(&self) -> bool {
        self.descriptor.side.get().is_some_and(|side| side.slot().is_connecting())
    }

    /// True when a short transfer proves that the direction is drained, as far as is known of the peer.
    #[inline]
    pub(super) fn trusts(&self, seen: Seen) -> bool {
        self.trusts_short() && !seen.is_hung()
    }

    /// Tries an operation until it is complete, would block with nothing new, or has had its share.
    pub(super) fn drive(
        &mut self,
        dir: Dir,
        slot: Slot<'static>,
        tried: Tried,
    ) -> Result<Driven, Errno> {
        let descriptor = self.descriptor;
        let word = &descriptor.word;
        if dir == Dir::Read && self.is_connecting() {
            // Driven on when the connect completes.
            self.register(dir)?;
            word.await_connect(dir);
            return Ok(Driven::Parked);
        }
        if slot.tags.kind() == Tag::Held {
            return Ok(Driven::Parked);
        }
        let (mut seen, mut is_due, mut answer) = match tried {
            Tried::Not => (word.see(), false, None),
            Tried::Due(seen) => (seen, true, None),
            Tried::Answered(seen, outcome) => (seen, true, Some(outcome)),
        };
        loop {
            if !is_due && !seen.is_ready(dir) {
                self.register(dir)?;
                if word.want(dir, seen) {
                    return Ok(Driven::Parked);
                }
                // An edge came in between. It did not see the want, so it is served here.
                seen = word.see();
                continue;
            }
            if slot.takes() {
                // Taken by the thread that delivers it.
                return Ok(Driven::Yielded);
            }
            let trust = self.trusts(seen);
            let outcome = match answer.take() {
                Some(outcome) => outcome,
                None => self.perform(dir, slot, trust),
            };
            match outcome {
                Outcome::Done { status, drained } => {
                    word.settle(dir, seen, drained && trust);
                    if seen.is_wanted(dir) {
                        word.unwant(dir);
                    }
                    self.finish(dir, status);
                    return Ok(Driven::Done);
                }
                Outcome::WouldBlock => {
                    self.register(dir)?;
                    if word.drained(dir, seen, true) {
                        return Ok(Driven::Parked);
                    }
                    (seen, is_due) = (word.see(), false);
                }
                Outcome::Yield => return Ok(Driven::Yielded),
                Outcome::Backoff(error) => {
                    // Not wanted until then: the attempt itself may bring an edge, so that it would spin.
                    word.unwant(dir);
                    return if retry::after(self, BACKOFF) {
                        Ok(Driven::Parked)
                    } else {
                        Err(error)
                    };
                }
            }
        }
    }

    /// One system call, or what counts as one.
    fn perform(&mut self, dir: Dir, slot: Slot<'static>, trust: bool) -> Outcome {
        if self.descriptor.flags.has(MEASURES) {
            self.count(dir);
        }
        match slot.kind() {
            Kind::Once(perform) | Kind::Connect { perform, .. } => {
                // SAFETY: it is parked, of a kind that has a transfer.
                perform(self.descriptor.fd.get(), unsafe { slot.transfer() }, trust)
            }
            Kind::Queue(serve) => self.serve_queue(serve, trust),
            Kind::Held | Kind::Take { .. } => Outcome::WouldBlock,
        }
    }

    #[cold]
    pub(super) fn count(&self, dir: Dir) {
        let stats = &self.sched.reactor().stats;
        stats::add(if dir == Dir::Read { &stats.reads } else { &stats.writes }, 1);
    }

    /// The operation is complete, and about to be queued.
    #[inline]
    pub(super) fn finish(&mut self, dir: Dir, status: i32) {
        let Some(slot) = self.descriptor.slot(dir) else { return };
        if slot.tags.kind() == Tag::Queue {
            return self.finish_queue(status);
        }
        slot.complete(status, dir.run());
        if dir == Dir::Write && slot.tags.kind() != Tag::Once {
            self.finish_rare(slot.tags.kind(), status);
        }
    }

    #[cold]
    fn finish_rare(&mut self, kind: Tag, status: i32) {
        match kind {
            Tag::Held => self.drop_held(),
            Tag::ConnectOpened if status < 0 => {
                self.end(&Caller::current(), Dir::Read, status);
                self.drop_fd();
            }
            _ => {}
        }
    }

    /// One try outside any operation. The ready bits are kept true.
    pub fn try_now(
        &mut self,
        dir: Dir,
        perform: Perform,
        transfer: &mut Transfer,
    ) -> Result<i32, Errno> {
        let fd = self.fd()?;
        if self.is_busy(dir) {
            return Err(Errno::BUSY);
        }
        if self.is_connecting() {
            return Ok(0);
        }
        let word = &self.descriptor.word;
        let seen = word.see();
        let trust = self.trusts(seen);
        let (status, drained) = match perform(fd, transfer, trust) {
            Outcome::Done { status, drained } => (status, drained && trust),
            Outcome::WouldBlock => (0, true),
            Outcome::Yield | Outcome::Backoff(_) => (0, false),
        };
        match (drained, seen.is_ready(dir)) {
            (true, true) => _ = word.drained(dir, seen, false),
            (false, false) => word.assume(dir),
            _ => {}
        }
        Ok(status)
    }

    /// Queues the descriptor, so that a thread inside run drives the direction on.
    pub(super) fn queue(&mut self, caller: &Caller, dir: Dir) {
        if self.descriptor.word.request(dir) {
            self.sched.post(caller, self.descriptor.op());
        }
    }

    /// Has what is pending tried again, whatever the kernel tells of the fd.
    pub fn nudge(&mut self, caller: &Caller) {
        for dir in [Dir::Write, Dir::Read] {
            if self.descriptor.phase(dir) == Phase::Parked {
                self.queue(caller, dir);
            }
        }
    }

    /// Drives a parked read on, after a resource was short; false when none is parked.
    pub fn retry(&mut self, caller: &Caller) -> bool {
        let parked = self.descriptor.phase(Dir::Read) == Phase::Parked;
        if parked {
            self.queue(caller, Dir::Read);
        }
        parked
    }
}
