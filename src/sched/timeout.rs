//! Time limits of the operations of a descriptor: how long one may go without progress.
//!
//! One timer of the library's serves both directions, and is moved lazily: an operation that parks, and
//! one that has moved bytes, only stores its deadline. When the timer fires it looks at the deadlines and
//! goes back to sleep until the next one. It is not counted as work: the operations that it watches are.
#![allow(unsafe_code, reason = "pooled calls")]

use super::call::{free_call, new_call, user_of};
use super::descriptor::{Descriptor, Dir, Locked};
use super::drive::{Driven, Tried};
use super::frame::{Caller, Frame};
use super::op::Op;
use super::operation::{Phase, Slot};
use super::table::Token;
use super::timers::{NEVER, Timer};
use crate::sys::errno::Errno;
use crate::sys::socket;
use std::ptr::{self, NonNull};

/// The time limit of one direction.
#[derive(Clone, Copy)]
struct Limit {
    /// How long; `NEVER`: no limit.
    time: i64,
    /// When the parked operation is over.
    deadline: i64,
    /// What it had moved when that was stored.
    seen: usize,
}

const NO_LIMIT: Limit = Limit { time: NEVER, deadline: NEVER, seen: 0 };

/// The time limits of a descriptor. Guarded by its lock.
pub(super) struct Timeouts {
    read: Limit,
    write: Limit,
    timer: Token,
    /// The timer's wait: in hand, or on its way to [`run_timeout`] while armed.
    wait: NonNull<Op>,
    /// What the timer is set to; `NEVER`: the wait is in hand.
    armed: i64,
}

impl Timeouts {
    fn limit(&mut self, dir: Dir) -> &mut Limit {
        match dir {
            Dir::Read => &mut self.read,
            Dir::Write => &mut self.write,
        }
    }

    /// Sees to it that the timer fires by `at`.
    fn arm(&mut self, at: i64) {
        if at >= self.armed {
            return;
        }
        // Gone while the context is being destroyed.
        let Ok(mut timer) = Timer::lock(self.timer) else { return };
        timer.set_expiry(at);
        if self.armed == NEVER {
            timer.add_internal_wait(self.wait);
        }
        self.armed = at;
    }

    /// Ends the timer.
    pub(super) fn close(self, caller: &Caller) {
        if self.armed == NEVER {
            // SAFETY: in hand, so it is in no queue.
            unsafe { free_call(caller, self.wait) };
        }
        if let Ok(timer) = Timer::lock(self.timer) {
            timer.close(caller);
        }
    }
}

impl Locked {
    /// Limits the time that an operation of this direction goes without progress. What is pending is
    /// measured from now on.
    pub fn set_timeout(&mut self, caller: &Caller, dir: Dir, time: i64) -> Result<(), Errno> {
        if self.peek_extra().is_none_or(|extra| extra.timeouts.is_none()) {
            if time == NEVER {
                return Ok(());
            }
            let timeouts = self.new_timeouts(caller)?;
            match self.make_extra() {
                Ok(extra) => extra.timeouts = Some(timeouts),
                Err(error) => {
                    timeouts.close(caller);
                    return Err(error);
                }
            }
        }
        if let Some(timeouts) = self.timeouts() {
            timeouts.limit(dir).time = time;
        }
        if self.descriptor.phase(dir) == Phase::Parked {
            self.start_timeout(dir);
        }
        Ok(())
    }

    fn new_timeouts(&self, caller: &Caller) -> Result<Timeouts, Errno> {
        let token = self.token().ok_or(Errno::BADF)?;
        let user = ptr::without_provenance_mut(usize::try_from(token.raw()).unwrap_or(0));
        let wait = new_call(caller, run_timeout, None, user)?;
        match Timer::create(self.sched) {
            Ok(timer) => {
                if let Ok(mut timer) = Timer::lock(timer) {
                    timer.set_owner(token.raw());
                }
                Ok(Timeouts { read: NO_LIMIT, write: NO_LIMIT, timer, wait, armed: NEVER })
            }
            Err(error) => {
                // SAFETY: it was not queued.
                unsafe { free_call(caller, wait) };
                Err(error)
            }
        }
    }

    fn timeouts(&mut self) -> Option<&mut Timeouts> {
        self.extra()?.timeouts.as_mut()
    }

    /// The operation of this direction has parked: its time begins.
    #[inline]
    pub(super) fn watch_time(&mut self, dir: Dir) {
        if self.has_extra() {
            self.start_timeout(dir);
        }
    }

    /// The operation was driven and goes on: if it has moved anything its time begins anew.
    #[inline]
    pub(super) fn watch_progress(&mut self, dir: Dir) {
        if self.has_extra() && self.has_moved(dir) {
            self.start_timeout(dir);
        }
    }

    fn has_moved(&mut self, dir: Dir) -> bool {
        let done = self.descriptor.slot(dir).map_or(0, Slot::done);
        self.timeouts().is_some_and(|timeouts| timeouts.limit(dir).seen != done)
    }

    #[cold]
    fn start_timeout(&mut self, dir: Dir) {
        let done = self.descriptor.slot(dir).map_or(0, Slot::done);
        let sched = self.sched;
        let Some(timeouts) = self.timeouts() else { return };
        let limit = timeouts.limit(dir);
        limit.seen = done;
        limit.deadline = match limit.time {
            NEVER => NEVER,
            time => sched.now().saturating_add(time),
        };
        let deadline = limit.deadline;
        timeouts.arm(deadline);
    }

    /// The timer has fired.
    fn check_timeouts(&mut self, caller: &Caller) {
        let now = self.sched.now();
        if let Some(timeouts) = self.timeouts() {
            timeouts.armed = NEVER;
        }
        for dir in [Dir::Write, Dir::Read] {
            if self.deadline(dir) <= now {
                self.expire(caller, dir);
            }
        }
        let next = self.deadline(Dir::Read).min(self.deadline(Dir::Write));
        if let Some(timeouts) = self.timeouts() {
            timeouts.arm(next);
        }
    }

    /// When the parked operation of a direction is over.
    fn deadline(&mut self, dir: Dir) -> i64 {
        if self.descriptor.phase(dir) != Phase::Parked {
            return NEVER;
        }
        self.timeouts().map_or(NEVER, |timeouts| timeouts.limit(dir).deadline)
    }

    /// The time of a parked operation is over. What the kernel has for it by now comes first (H24).
    fn expire(&mut self, caller: &Caller, dir: Dir) {
        let Some(slot) = self.descriptor.slot(dir) else { return };
        if slot.is_parked_take() {
            // Taken where it is delivered; here it is only asked whether there is something.
            if socket::poll(self.descriptor.fd.get(), libc::POLLIN).is_ok_and(|found| found == 0) {
                self.end(caller, dir, Errno::TIMEDOUT.code());
            } else {
                self.queue(caller, dir);
                self.start_timeout(dir);
            }
            return;
        }
        self.assume_ready(dir);
        let driven = self.drive(dir, slot, Tried::Not);
        self.submit_written(caller);
        match driven {
            Ok(Driven::Done) => self.submit_done(caller, dir),
            Ok(Driven::Yielded) => {
                self.queue(caller, dir);
                self.start_timeout(dir);
            }
            Ok(Driven::Parked) if self.has_moved(dir) => self.start_timeout(dir),
            Ok(Driven::Parked) => _ = self.end(caller, dir, Errno::TIMEDOUT.code()),
            Err(error) => {
                self.finish(dir, error.code());
                self.submit_done(caller, dir);
            }
        }
    }
}

/// The timer of a descriptor has fired, or was closed with it.
unsafe fn run_timeout(op: NonNull<Op>, frame: &Frame) {
    let caller = Caller::of(frame);
    // SAFETY: popped by this thread; it came from the pool.
    let token = unsafe { user_of(op) }.addr() as u64;
    match Descriptor::lock(Token::from_raw(token)) {
        // The same handle still, so the op is its own and stays in its hand.
        Ok(mut descriptor) => descriptor.check_timeouts(&caller),
        // SAFETY: as above; nobody else knows of it any more.
        Err(_) => _ = unsafe { free_call(&caller, op) },
    }
}
