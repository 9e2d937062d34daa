//! The periodic operation of a timer: its start, its ticks and its end.
#![allow(unsafe_code, reason = "ticks are ops of type-stable timers")]

use super::super::completion::{Callback, Delivery, OP_TIMER, StatusFn, deliver, hold_back};
use super::super::frame::{Caller, Frame};
use super::super::op::Op;
use super::super::scheduler::Scheduler;
use super::{Locked, Timer};
use crate::sys::errno::Errno;
use libc::c_void;
use std::mem::offset_of;
use std::ptr::NonNull;

/// What goes on ticking.
pub(super) struct Periodic {
    pub(super) period: i64,
    /// None: records.
    pub(super) callback: Option<StatusFn>,
    pub(super) user: *mut c_void,
    pub(super) due: bool,
    pub(super) ended: bool,
}

impl Periodic {
    fn callback(&self) -> Callback {
        self.callback.map_or(Callback::Record(OP_TIMER), Callback::Status)
    }
}

impl Locked {
    /// Starts the periodic operation.
    pub fn start(
        &mut self,
        first: i64,
        period: i64,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        if self.body().periodic.is_some() {
            return Err(Errno::BUSY);
        }
        self.sched.work_started();
        self.body().periodic = Some(Periodic { period, callback, user, due: false, ended: false });
        self.set_expiry(first);
        Ok(())
    }

    /// Ends the periodic operation; 1 if there was one. A tick that has come already is delivered first.
    #[inline]
    pub fn stop(&mut self, caller: &Caller) -> usize {
        if self.body().periodic.is_none() { 0 } else { self.stop_periodic(caller) }
    }

    fn stop_periodic(&mut self, caller: &Caller) -> usize {
        let timer = self.timer;
        let body = self.body();
        let Some(periodic) = body.periodic.as_mut().filter(|p| !p.ended) else { return 0 };
        periodic.ended = true;
        if !body.tick_busy {
            body.tick_busy = true;
            self.sched.submit(caller, &timer.member, timer.tick.as_ptr());
        }
        self.dequeue_if_idle();
        1
    }
}

/// Delivers a tick, or the end, of a periodic operation.
pub(super) unsafe fn run_tick(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `tick` is a field of a timer, and the table never frees those.
    let timer: &'static Timer = unsafe { &*op.as_ptr().byte_sub(offset_of!(Timer, tick)).cast() };
    let mut delivery = None;
    {
        let _guard = frame.sched.timers.clockwork.lock();
        // SAFETY: under the lock of the timer's context; `tick_busy` keeps the slot from reuse.
        let body = unsafe { &mut *timer.body.get() };
        if let Some(periodic) = &mut body.periodic {
            if hold_back(frame, periodic.callback(), op) {
                return;
            }
            if periodic.due {
                periodic.due = false;
                delivery = Some((periodic.callback(), periodic.user, 0));
            } else if periodic.ended {
                delivery = Some((periodic.callback(), periodic.user, Errno::CANCELED.code()));
                body.periodic = None;
                Scheduler::work_finished(frame);
            }
        }
    }
    if let Some((callback, user, status)) = delivery {
        frame.about(&timer.head, &timer.member);
        deliver(frame, callback, Delivery { status, ..Delivery::default() }, user);
    }
    let _guard = frame.sched.timers.clockwork.lock();
    // SAFETY: as above.
    let body = unsafe { &mut *timer.body.get() };
    if body.periodic.as_ref().is_some_and(|p| p.due || p.ended) {
        frame.sched.submit(&Caller::of(frame), &timer.member, op);
    } else {
        body.tick_busy = false;
        timer.recycle_if_done(body);
    }
}
