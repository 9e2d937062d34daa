//! How operations of a descriptor are ended before they are complete, and how the handle ends.
#![allow(unsafe_code, reason = "the object of a member")]

use super::descriptor::{CLOSED, DESCRIPTORS, Descriptor, Dir, Locked};
use super::frame::Caller;
use super::member::{Class, Member};
use super::operation::Phase;
use super::scheduler::Scheduler;
use super::table::Token;
use crate::sys::errno::Errno;
use libc::c_void;
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

impl Locked {
    /// Ends what is pending in one direction, with what has moved so far; 1 if there was something.
    /// What is complete already stays as it is (H24).
    pub(super) fn end(&mut self, caller: &Caller, dir: Dir, status: i32) -> usize {
        let Some(slot) = self.descriptor.slot(dir) else { return 0 };
        match slot.phase() {
            Phase::Parked => {
                self.descriptor.word.unwant(dir);
                let ended = self.operations(dir);
                self.finish(dir, status);
                self.submit_done(caller, dir);
                ended
            }
            Phase::Delivering if slot.status() == 0 => {
                slot.set_status(status);
                1
            }
            _ => 0,
        }
    }

    /// Ends what is pending in both directions.
    pub fn cancel(&mut self, caller: &Caller) -> usize {
        let status = Errno::CANCELED.code();
        self.end(caller, Dir::Read, status) + self.end(caller, Dir::Write, status)
    }

    /// Ends what was begun with `user` and is pending.
    pub fn cancel_of(&mut self, caller: &Caller, user: *mut c_void) -> usize {
        let mut ended = self.cancel_queued(caller, user);
        for dir in [Dir::Read, Dir::Write] {
            let is_of = self.descriptor.slot(dir).is_some_and(|slot| slot.user() == user);
            if is_of && !self.serves_queue(dir) {
                ended += self.end(caller, dir, Errno::CANCELED.code());
            }
        }
        ended
    }

    /// Ends what is pending and gives the fd away; the handle is as new.
    pub fn release(&mut self, caller: &Caller) -> Result<RawFd, Errno> {
        self.fd()?;
        // A connect that is cut short by this must not take the fd with it.
        if let Some(slot) = self.descriptor.slot(Dir::Write) {
            slot.keep_fd();
        }
        self.cancel(caller);
        Ok(self.detach())
    }

    /// Ends the handle: it is dead and its fd is closed when this returns.
    pub fn close(mut self, caller: &Caller) {
        self.cancel(caller);
        self.drop_extra(caller);
        self.drop_fd();
        DESCRIPTORS.kill(self.descriptor);
        self.descriptor.flags.set(CLOSED, true);
        // Last, since the context may go once it is out of the list.
        self.sched.members.remove(&self.descriptor.member);
        self.descriptor.recycle_if_done();
    }
}

pub(super) const CLASS: Class =
    Class { id: 0, close: close_member, report: report_member, renew: Some(renew_member) };

fn of_member(member: NonNull<Member>, sched: &Scheduler) -> Option<Locked> {
    // SAFETY: `member` is a field of a descriptor, and the table never frees those.
    let descriptor: &'static Descriptor =
        unsafe { &*member.as_ptr().byte_sub(offset_of!(Descriptor, member)).cast() };
    let locked = descriptor.lock_if(|head| head.token().is_some())?;
    ptr::eq(locked.sched, sched).then_some(locked)
}

/// Closes a handle on behalf of its context's destruction.
unsafe fn close_member(member: NonNull<Member>, sched: &Scheduler, caller: &Caller) {
    if let Some(locked) = of_member(member, sched) {
        locked.close(caller);
    }
}

unsafe fn renew_member(member: NonNull<Member>, sched: &Scheduler) {
    if let Some(mut locked) = of_member(member, sched)
        && locked.renew().is_err()
    {
        // The operation's own system call tells what is wrong with the fd.
        locked.nudge(&Caller::current());
    }
}

unsafe fn report_member(member: NonNull<Member>, sched: &Scheduler) -> Option<(Token, usize)> {
    let locked = of_member(member, sched)?;
    Some((locked.token()?, locked.pending()))
}
