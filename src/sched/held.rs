//! Operations that a service completes by means of its own, and that only wait here.
//!
//! Such an operation has the descriptor's write slot, and the handle needs no fd for it. What the service
//! keeps for it is held with it and dropped when it ends, however it ends.

use super::completion::Callback;
use super::descriptor::{Dir, Locked};
use super::frame::Caller;
use super::op::OpQueue;
use super::operation::{Phase, Tag};
use super::scheduler::Scheduler;
use super::slot::{Kind, Transfer};
use crate::sys::errno::Errno;
use libc::c_void;
use std::any::Any;

impl Locked {
    /// An error where the context takes no operations, or this direction has one.
    pub fn check_idle_write(&mut self) -> Result<(), Errno> {
        self.sched.check_open()?;
        if self.is_busy(Dir::Write) { Err(Errno::BUSY) } else { Ok(()) }
    }

    /// Begins an operation; [`Locked::finish_held`] ends it.
    pub fn begin_held(
        &mut self,
        held: Box<dyn Any + Send>,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        self.check_idle_write()?;
        self.make_extra()?.held = Some(held);
        let Some(slot) = self.descriptor.slot(Dir::Write) else { return Err(Errno::NOMEM) };
        slot.begin(Kind::Held, Transfer::none(), callback, user, Dir::Write.run());
        self.sched.work_started();
        self.watch_time(Dir::Write);
        Ok(())
    }

    /// True while such an operation is pending.
    pub fn holds(&self) -> bool {
        let slot = self.descriptor.slot(Dir::Write);
        slot.is_some_and(|slot| slot.phase() == Phase::Parked && slot.tags.kind() == Tag::Held)
    }

    /// What is held for the operation that is pending.
    pub fn held<T: Any>(&mut self) -> Option<&mut T> {
        self.extra()?.held.as_mut()?.downcast_mut()
    }

    /// Gives up what is held.
    pub(super) fn drop_held(&mut self) {
        if let Some(extra) = self.extra() {
            extra.held = None;
        }
    }

    /// Ends the operation; it is to be submitted next.
    pub fn finish_held(&mut self, status: i32) {
        self.finish(Dir::Write, status);
    }

    /// Queues its completion.
    pub fn submit_held(&mut self, caller: &Caller) {
        self.submit_done(caller, Dir::Write);
    }

    /// The same from within a turn of the reactor.
    pub fn submit_held_in_turn(&mut self, ready: &OpQueue) {
        if let Some(slot) = self.descriptor.slot(Dir::Write) {
            Scheduler::submit_in_turn(self.member(), ready, slot.op());
        }
    }
}
