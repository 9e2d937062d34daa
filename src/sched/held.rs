//! Operations that a service completes by means of its own, and that only wait here.
//!
//! Such an operation has the descriptor's write slot, and the handle needs no fd for it. What the service
//! keeps for it is held with it and dropped when it ends, however it ends.

use super::completion::Callback;
use super::descriptor::{Dir, Locked};
use super::frame::Caller;
use super::op::OpQueue;
use super::scheduler::Scheduler;
use super::slot::{Kind, Phase, Transfer};
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
        self.extra()?.held = Some(held);
        let slot = &mut self.state.write;
        slot.kind = Kind::Held;
        slot.transfer = Transfer::none();
        slot.callback = callback;
        slot.user = user;
        slot.phase = Phase::Parked;
        slot.ended = 0;
        self.sched.work_started();
        self.watch_time(Dir::Write);
        Ok(())
    }

    /// True while such an operation is pending.
    pub fn holds(&self) -> bool {
        self.state.write.phase == Phase::Parked && matches!(self.state.write.kind, Kind::Held)
    }

    /// What is held for the operation that is pending.
    pub fn held<T: Any>(&mut self) -> Option<&mut T> {
        self.state.extra.as_mut()?.held.as_mut()?.downcast_mut()
    }

    /// Gives up what is held.
    pub(super) fn drop_held(&mut self) {
        if let Some(extra) = &mut self.state.extra {
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
        Scheduler::submit_in_turn(self.member(), ready, self.descriptor.done_op(Dir::Write));
    }
}
