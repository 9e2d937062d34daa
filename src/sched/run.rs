//! The run functions: a thread enters, takes what is queued until its limit, and leaves.
#![allow(unsafe_code, reason = "running popped ops, with the reactor's role")]

use super::batch;
use super::completion::{Sink, call_status};
use super::frame::{Caller, Frame};
use super::op::{Op, OpQueue};
use super::run_queue::{Item, Limit, Stay, Step};
use super::scheduler::{Count, Pinned, Scheduler};
use super::stats;
use super::sync::{now, yield_now};
use super::timers::{Before, Wake};
use crate::sys::epoll::Timeout;
use crate::sys::errno::Errno;
use crate::sys::thread::Uncancelled;
use std::ptr;

impl Scheduler {
    /// Runs callbacks until the limit; the number run.
    pub fn run(
        pinned: Pinned,
        caller: &Caller,
        limit: Limit,
        count: Count,
    ) -> Result<usize, Errno> {
        let _kept = Uncancelled::begin();
        let sched = Self::enter(pinned)?;
        let nested = Self::flush_outer(caller, sched);
        let single = count == Count::One || matches!(limit, Limit::Until(_));
        let may_bias = count == Count::All && !sched.options().many_threads;
        // One that runs until stopped need not look up between the calls of a batch.
        let takes_batches = count == Count::All && limit == Limit::Forever && !nested;
        let stay =
            Stay::new(limit, may_bias, nested).taking_batches(takes_batches && !sched.measures());
        sched.run_inside(&Frame::new(sched, stay, single, false), nested, count, || ())
    }

    /// Does what `submit` does from inside run, then runs the context until there is a record and nothing
    /// more is ready, there is no room for another, or the limit; the number of records. Callbacks run
    /// meanwhile, but for those of `submit`'s calls not before it has returned.
    pub fn enter_and_reap(
        pinned: Pinned,
        caller: &Caller,
        limit: Limit,
        sink: &Sink,
        submit: impl FnOnce(&Scheduler),
    ) -> Result<usize, Errno> {
        let _kept = Uncancelled::begin();
        let sched = Self::enter(pinned)?;
        let nested = Self::flush_outer(caller, sched);
        let frame = Frame::reaping(sched, Stay::reaping(limit, nested), sink);
        let result = sched.run_inside(&frame, nested, Count::All, || submit(sched));
        // What was taken before an error is told; the error comes again with the next call.
        if sink.taken() > 0 { Ok(sink.taken()) } else { result.map(|_| 0) }
    }

    fn enter(pinned: Pinned) -> Result<&'static Scheduler, Errno> {
        let sched = *pinned;
        sched.run_queue.enter();
        // From here on destruction waits for this thread, so the pin may go.
        if let Err(error) = sched.check_open() {
            sched.run_queue.leave(&OpQueue::new(), false, || sched.reactor().interrupt());
            return Err(error);
        }
        Ok(sched)
    }

    /// True when the calling thread is inside run of `sched` already.
    fn flush_outer(caller: &Caller, sched: &'static Scheduler) -> bool {
        // H07: what the callbacks around a nested run have queued must be seen by it, and by the other
        // threads of whatever context they are of.
        let mut nested = false;
        for outer in caller.frames() {
            outer.private.append(&outer.inline);
            outer.sched.work_merge(outer);
            outer.sched.run_queue.end_lane(caller, &outer.stay);
            outer.sched.run_queue.pay(&outer.stay, || outer.sched.reactor().interrupt());
            outer.sched.run_queue.merge(&outer.private, || outer.sched.reactor().interrupt());
            nested |= ptr::eq(outer.sched, sched);
        }
        if nested {
            sched.run_queue.nest(1, || sched.reactor().interrupt());
        }
        nested
    }

    fn run_inside(
        &'static self,
        frame: &Frame,
        nested: bool,
        count: Count,
        first: impl FnOnce(),
    ) -> Result<usize, Errno> {
        let inside = Inside { frame, nested };
        let _pushed = frame.push();
        if frame.sink().is_some() {
            self.run_queue.reaper_enters();
            first();
            frame.private.append(&frame.inline);
            self.work_merge(frame);
        }
        if !nested && self.run_queue.out_of_work() {
            self.run_queue.check_work(|| self.reactor().interrupt());
        }
        let result = self.run_frame(frame, count);
        drop(inside);
        result
    }

    /// Adds what the frame has queued to the work count.
    #[inline]
    fn work_merge(&self, frame: &Frame) {
        self.work_changed(frame.work.replace(0));
    }

    /// The same when a callback has returned: its operation ends, and so many calls.
    #[inline(always)]
    fn work_settle(&self, frame: &Frame, stay: &Stay, calls: i64) {
        let (begun, ended) = (frame.work.replace(0), frame.finished.replace(0) + calls);
        self.run_queue.settle(stay, begun, ended, || self.reactor().interrupt());
    }

    /// Serves what the callback before has completed at once.
    #[inline(always)]
    fn run_inline(&self, frame: &Frame, stay: &Stay) {
        while let Some(op) = frame.inline.pop() {
            if self.halted() {
                frame.private.push(op);
                continue;
            }
            frame.inlined.set(frame.inlined.get() + 1);
            // SAFETY: the frame's inline queue is this thread's.
            unsafe { Op::run(op, frame) };
            self.work_settle(frame, stay, 0);
        }
    }

    /// Runs posted calls while they are next and this thread is alone inside. Not for a frame that measures.
    #[inline(never)]
    fn run_calls(&self, frame: &Frame, stay: &Stay) {
        while let Some((taken, mut ahead)) = self.run_queue.next_call(&frame.private, stay) {
            frame.budget.renew_unassisted();
            batch::deliver(frame, &taken);
            self.work_settle(frame, stay, 1);
            self.run_inline(frame, stay);
            while ahead.any() {
                let next = self.run_queue.next_ahead(&frame.private, stay, &mut ahead);
                let Some(call) = next else { break };
                call_status(call.callback, 0, call.user);
                // What it has begun by the budget, or has queued to be served at once, is work besides.
                if frame.is_settled() {
                    stay.owe_one();
                } else {
                    self.work_settle(frame, stay, 1);
                    self.run_inline(frame, stay);
                    frame.budget.renew_unassisted();
                }
            }
            frame.delivered.set(frame.delivered.get() + ahead.taken());
        }
    }

    /// Runs a batch of posted calls of which other threads may take some.
    #[inline(never)]
    fn run_lane(&self, frame: &Frame, stay: &Stay, assisted: bool) {
        let mut delivered = 0;
        while let Some(call) = self.run_queue.next_in_lane(stay) {
            call_status(call.callback, 0, call.user);
            delivered += 1;
            // As in `run_calls`.
            if frame.is_settled() {
                stay.owe_one();
            } else {
                self.work_settle(frame, stay, 1);
                self.run_inline(frame, stay);
                frame.budget.renew(assisted);
            }
            // Another thread may take it meanwhile.
            self.run_queue.merge(&frame.private, || self.reactor().interrupt());
        }
        frame.delivered.set(frame.delivered.get() + delivered);
        self.run_queue.end_lane(&Caller::of(frame), stay);
    }

    /// Runs what a callback has queued while nothing else is queued and this thread is alone inside.
    #[inline(never)]
    fn run_own(&self, frame: &Frame, stay: &Stay) {
        while let Some(op) = self.run_queue.next_own(&frame.private, stay) {
            frame.budget.renew_unassisted();
            // SAFETY: popped from the frame's queue by this thread.
            unsafe { Op::run(op, frame) };
            self.work_settle(frame, stay, 0);
            self.run_inline(frame, stay);
        }
    }

    fn run_frame(&'static self, frame: &Frame, count: Count) -> Result<usize, Errno> {
        let stay = &frame.stay;
        loop {
            if let Some(sink) = frame.sink() {
                if sink.is_full() {
                    break;
                }
                // A wake is taken also where there are records: the turn that its interrupt ended was this thread's.
                if self.run_queue.take_wake() || sink.taken() > 0 {
                    stay.make_haste();
                }
            }
            match self.run_queue.next(&frame.private, stay, || self.reactor().interrupt()) {
                Step::Run(item, assisted) => {
                    frame.budget.renew(assisted);
                    match item {
                        Item::Op(op) => {
                            // SAFETY: popped from the queue by this thread.
                            unsafe { Op::run(op, frame) };
                            self.work_settle(frame, stay, 0);
                            self.run_inline(frame, stay);
                            if !frame.private.is_empty() && count == Count::All {
                                self.run_own(frame, stay);
                            }
                        }
                        Item::Call(taken) => {
                            batch::deliver(frame, &taken);
                            self.work_settle(frame, stay, 1);
                            self.run_inline(frame, stay);
                            if !frame.single && !frame.measures && !stay.is_nested() {
                                self.run_calls(frame, stay);
                            }
                        }
                    }
                    if count == Count::One && frame.delivered.get() > 0 {
                        break;
                    }
                }
                Step::Lane(assisted) => self.run_lane(frame, stay, assisted),
                Step::Held(op) => {
                    // SAFETY: popped from the queue of held ops by this thread.
                    unsafe { Op::run(op, frame) };
                    self.work_settle(frame, stay, 0);
                }
                Step::Turn { block } => {
                    self.count(frame);
                    self.turn(block, stay)?;
                    if frame.sink().is_none() && self.run_queue.is_woken() {
                        self.run_queue.wake_reapers();
                    }
                }
                Step::GiveWay => yield_now(),
                Step::Again => {}
                Step::Done => break,
            }
        }
        Ok(frame.delivered.get())
    }

    /// Adds what the frame has done to the statistics.
    fn count(&self, frame: &Frame) {
        let stats = &self.reactor().stats;
        let delivered = frame.delivered.get();
        let new = delivered - frame.counted.replace(delivered);
        if new > 0 {
            stats::add(&stats.callbacks, new as u64);
            stats::add(&stats.inline, frame.inlined.replace(0));
        }
    }

    /// One turn of the reactor. The role goes back into the queue however it ends (H06).
    fn turn(&'static self, block: bool, stay: &Stay) -> Result<(), Errno> {
        let turn = self.run_queue.turn();
        // After the role was taken and before the kernel is asked: a timer made earlier from here on
        // finds a sleeper and programs the timerfd itself (H01).
        let wake = self.timers.flush(self, if block { Before::Sleep } else { Before::Look });
        let due = wake == Wake::Now;
        let timeout = match (wake, stay.deadline()) {
            _ if due || !block => Timeout::Now,
            (Wake::After(nanos), None) => Timeout::Nanos(nanos),
            (_, None) => Timeout::Never,
            (_, Some(at)) => {
                let left = at.saturating_duration_since(now());
                let left = i64::try_from(left.as_nanos()).unwrap_or(i64::MAX);
                Timeout::Nanos(if let Wake::After(nanos) = wake { nanos.min(left) } else { left })
            }
        };
        let found = self.watches.turn(self, &turn.ready, |hurry| {
            let timeout = if hurry { Timeout::Now } else { timeout };
            // SAFETY: the run queue gave this thread the role.
            unsafe { self.reactor().wait(self, timeout, &turn.ready) }
        })?;
        let mut backlog = found.full;
        if found.timer || due {
            backlog |= self.timers.take_due(self, &turn.ready);
        }
        stay.set_backlog(backlog);
        Ok(())
    }
}

/// A thread inside run: what it queued and counted goes to the others on every way out (H08).
struct Inside<'a> {
    frame: &'a Frame,
    nested: bool,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let Frame { sched, private, inline, .. } = self.frame;
        sched.count(self.frame);
        private.append(inline);
        if self.nested {
            sched.run_queue.nest(-1, || {});
        }
        sched.work_merge(self.frame);
        sched.run_queue.pay(&self.frame.stay, || sched.reactor().interrupt());
        if sched.run_queue.embedded() {
            // The host relies on the fd alone from here on (H71).
            sched.arm_for_host();
        }
        let reaped = self.frame.sink().is_some();
        sched.run_queue.leave(private, reaped, || sched.reactor().interrupt());
    }
}
