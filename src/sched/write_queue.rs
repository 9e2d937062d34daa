//! Writes that wait their turn on a descriptor.
//!
//! While the queue is not empty it has the descriptor's write slot, as one operation that tells nobody of
//! itself: each entry is a ticket of its own, completed in order as its bytes move. The deque keeps its
//! room and tickets are pooled, so steady state allocates nothing.
#![allow(unsafe_code, reason = "pooled tickets, and the users' buffers")]

use super::completion::Callback;
use super::descriptor::{Dir, Locked, TORN};
use super::drive::{Driven, Tried};
use super::extra::Extra;
use super::frame::Caller;
use super::op::{Op, OpQueue};
use super::operation::{Phase, Tag};
use super::slot::{Kind, Outcome, Transfer};
use super::ticket;
use crate::sys::errno::Errno;
use libc::{c_void, iovec};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

/// Writes from the front of the queue, within the share of one turn; complete when it is empty.
pub type Serve = fn(RawFd, &mut WriteQueue, trust: bool) -> Outcome;

/// A buffer that is the user's until its ticket is finished.
pub struct Entry {
    /// The buffer.
    pub data: *mut c_void,
    /// Its length.
    pub length: usize,
}

/// Whose the memory of an entry is.
enum Owner {
    /// The user's, who is told by this.
    User(NonNull<Op>),
    /// The queue's: a copy, of whose end nobody is told.
    Queue(#[expect(dead_code, reason = "holds the memory")] Vec<u8>),
}

struct Queued {
    entry: Entry,
    done: usize,
    owner: Owner,
}

/// See the module.
#[derive(Default)]
pub struct WriteQueue {
    queued: VecDeque<Queued>,
    /// Bytes of them that have not moved.
    bytes: usize,
    /// Bytes that ever moved, from which a time limit sees progress.
    moved: usize,
    /// Tickets to be submitted.
    finished: OpQueue,
    /// Copies that have ended and still count as work.
    copies_ended: i64,
    /// What ended a copy, for the next call to tell; 0: nothing.
    lost: i32,
    mark: Option<Mark>,
}

/// Tells a producer when to stop and when to go on.
#[derive(Clone, Copy)]
pub struct Mark {
    /// More bytes than this are too many.
    pub high: usize,
    /// So few are few again.
    pub low: usize,
    /// Who is told.
    pub callback: Callback,
    /// With what.
    pub user: *mut c_void,
    /// For its end.
    last: NonNull<Op>,
    /// For the fall, once it was told of the rise.
    fall: Option<NonNull<Op>>,
}

impl WriteQueue {
    /// True when every byte has moved.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Describes what is at the front, up to `limit` bytes: the number of parts and of bytes.
    pub fn gather(&self, parts: &mut [iovec], limit: usize) -> (usize, usize) {
        let (mut used, mut bytes) = (0, 0);
        for (part, from) in parts.iter_mut().zip(&self.queued) {
            let length = (from.entry.length - from.done).min(limit - bytes);
            if length == 0 && bytes == limit {
                break;
            }
            // SAFETY: within the buffer.
            part.iov_base = unsafe { from.entry.data.byte_add(from.done) };
            part.iov_len = length;
            used += 1;
            bytes += length;
        }
        (used, bytes)
    }

    /// Takes out what has moved, and what is empty at the front.
    pub fn advance(&mut self, mut count: usize) {
        self.bytes -= count.min(self.bytes);
        self.moved = self.moved.wrapping_add(count);
        while let Some(first) = self.queued.front_mut() {
            let part = count.min(first.entry.length - first.done);
            first.done += part;
            count -= part;
            if first.done < first.entry.length {
                return;
            }
            self.finish_first(0);
        }
    }

    /// The fd that it was written to is gone.
    pub(super) fn forget_lost(&mut self) {
        self.lost = 0;
    }

    fn finish_first(&mut self, status: i32) {
        let Some(first) = self.queued.pop_front() else { return };
        match first.owner {
            Owner::User(ticket) => {
                // SAFETY: the queue's own until it is submitted.
                unsafe { ticket::set_result(ticket, status, first.done as u64) };
                self.finished.push(ticket);
            }
            Owner::Queue(_) => {
                self.copies_ended += 1;
                if status != 0 && status != Errno::CANCELED.code() {
                    self.lost = status;
                }
            }
        }
    }

    /// Ends what is left.
    fn end(&mut self, status: i32) {
        while !self.queued.is_empty() {
            self.finish_first(status);
        }
        self.bytes = 0;
    }
}

/// Tickets for a rise and the fall after it.
struct Spare {
    rise: NonNull<Op>,
    fall: NonNull<Op>,
}

impl Spare {
    fn new(mark: &Mark) -> Result<Self, Errno> {
        let rise = ticket::new(mark.callback, mark.user)?;
        match ticket::new(mark.callback, mark.user) {
            Ok(fall) => Ok(Spare { rise, fall }),
            Err(error) => {
                free(rise);
                Err(error)
            }
        }
    }
}

/// Returns a ticket that was never begun.
fn free(ticket: NonNull<Op>) {
    // SAFETY: only called with tickets that were made here and are in no queue.
    unsafe { ticket::free(ticket) };
}

impl Locked {
    pub(super) fn writes(&mut self) -> Option<&mut WriteQueue> {
        self.extra()?.writes.as_mut()
    }

    /// Bytes that wait in the queue of writes.
    pub fn queued_bytes(&mut self) -> usize {
        self.writes().map_or(0, |writes| writes.bytes)
    }

    /// True when the write slot is the queue's.
    pub(super) fn serves_queue(&self, dir: Dir) -> bool {
        dir == Dir::Write
            && self.descriptor.slot(dir).is_some_and(|slot| slot.tags.kind() == Tag::Queue)
    }

    /// The number of operations that a busy slot stands for.
    pub(super) fn operations(&self, dir: Dir) -> usize {
        if !self.serves_queue(dir) {
            return 1;
        }
        let told = |entry: &&Queued| matches!(entry.owner, Owner::User(_));
        let count = |extra: &Extra| {
            extra.writes.as_ref().map_or(0, |writes| writes.queued.iter().filter(told).count())
        };
        self.peek_extra().map_or(0, count)
    }

    /// Appends a write, and tries it at once if it is the first.
    pub fn push_write(
        &mut self,
        caller: &Caller,
        entry: Entry,
        serve: Serve,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        self.push(caller, entry, serve, || ticket::new(callback, user).map(Owner::User))
    }

    /// Appends what is left of a write, in memory of the queue's own.
    pub fn push_copy(
        &mut self,
        caller: &Caller,
        mut copy: Vec<u8>,
        serve: Serve,
    ) -> Result<(), Errno> {
        let entry = Entry { data: copy.as_mut_ptr().cast(), length: copy.len() };
        self.push(caller, entry, serve, || Ok(Owner::Queue(copy)))
    }

    /// What ended a copy before its time: every later one meets it too.
    pub fn lost(&mut self) -> Result<(), Errno> {
        if self.descriptor.flags.has(TORN) {
            return Err(Errno::NOMEM);
        }
        match self.writes() {
            Some(writes) if writes.lost != 0 => Err(Errno(-writes.lost)),
            _ => Ok(()),
        }
    }

    /// Part of a write has gone and the rest can't be kept: what follows would be torn from it.
    pub fn lose(&mut self, error: Errno) -> Errno {
        match self.make_extra() {
            Ok(extra) => extra.writes.get_or_insert_default().lost = error.code(),
            Err(_) => self.descriptor.flags.set(TORN, true),
        }
        error
    }

    /// An error where the queue can't take a write.
    pub fn check_queue(&mut self) -> Result<(), Errno> {
        self.sched.check_open()?;
        if self.is_busy(Dir::Write) && !self.serves_queue(Dir::Write) {
            return Err(Errno::BUSY);
        }
        Ok(())
    }

    fn push(
        &mut self,
        caller: &Caller,
        entry: Entry,
        serve: Serve,
        owner: impl FnOnce() -> Result<Owner, Errno>,
    ) -> Result<(), Errno> {
        self.check_queue()?;
        let idle = !self.is_busy(Dir::Write);
        let writes = self.make_extra()?.writes.get_or_insert_default();
        let bytes = writes.bytes.checked_add(entry.length).ok_or(Errno::NOBUFS)?;
        writes.queued.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        // What a rise above the mark needs is had before anything has begun.
        let spare = match &writes.mark {
            Some(mark) if mark.fall.is_none() && bytes > mark.high => Some(Spare::new(mark)?),
            _ => None,
        };
        let owner = match owner() {
            Ok(owner) => owner,
            Err(error) => {
                give_back(spare);
                return Err(error);
            }
        };
        writes.bytes = bytes;
        writes.queued.push_back(Queued { entry, done: 0, owner });
        self.sched.work_started();
        if idle {
            self.start_queue(caller, serve);
        }
        self.tell_rise(caller, spare);
        self.submit_written(caller);
        Ok(())
    }

    /// Ends the entries that were begun with `user`; what is queued behind one follows what had moved of it.
    pub(super) fn cancel_queued(&mut self, caller: &Caller, user: *mut c_void) -> usize {
        let Some(writes) = self.writes() else { return 0 };
        let (mut at, mut ended) = (0, 0);
        while let Some(entry) = writes.queued.get(at) {
            let ticket = match entry.owner {
                // SAFETY: the queue's own, under the lock.
                Owner::User(ticket) if unsafe { ticket::user_of(ticket) } == user => ticket,
                _ => {
                    at += 1;
                    continue;
                }
            };
            writes.bytes -= (entry.entry.length - entry.done).min(writes.bytes);
            // SAFETY: the queue's own until it is submitted.
            unsafe { ticket::set_result(ticket, Errno::CANCELED.code(), entry.done as u64) };
            writes.finished.push(ticket);
            writes.queued.remove(at);
            ended += 1;
        }
        if ended > 0 && writes.is_empty() {
            self.end(caller, Dir::Write, Errno::CANCELED.code());
        }
        self.submit_written(caller);
        ended
    }

    fn start_queue(&mut self, caller: &Caller, serve: Serve) {
        let done = self.writes().map_or(0, |writes| writes.moved);
        // The queue is in what is extra, and so there is a slot.
        let Some(slot) = self.descriptor.slot(Dir::Write) else { return };
        let mut transfer = Transfer::none();
        transfer.set_done(done);
        let nobody = (Callback::Record(0), ptr::null_mut());
        slot.begin(Kind::Queue(serve), transfer, nobody.0, nobody.1, Dir::Write.run());
        match self.drive(Dir::Write, slot, Tried::Not) {
            Ok(Driven::Done) => {}
            Ok(Driven::Parked) => self.watch_time(Dir::Write),
            Ok(Driven::Yielded) => {
                self.watch_time(Dir::Write);
                self.queue(caller, Dir::Write);
            }
            Err(error) => self.finish(Dir::Write, error.code()),
        }
    }

    /// Tries the queue's system calls.
    pub(super) fn serve_queue(&mut self, serve: Serve, trust: bool) -> Outcome {
        let fd = self.descriptor.fd.get();
        let Some(writes) = self.writes() else {
            return Outcome::Done { status: 0, drained: false };
        };
        let outcome = serve(fd, writes, trust);
        let moved = writes.moved;
        if let Some(slot) = self.descriptor.slot(Dir::Write) {
            // SAFETY: the queue's own slot, which is parked.
            unsafe { slot.transfer() }.set_done(moved);
        }
        outcome
    }

    /// The queue is empty, or ends with what is in it. The slot is free at once.
    pub(super) fn finish_queue(&mut self, status: i32) {
        if let Some(slot) = self.descriptor.slot(Dir::Write) {
            slot.set_phase(Phase::Idle);
        }
        if let Some(writes) = self.writes() {
            writes.end(status);
        }
    }

    /// Submits what the queue has finished.
    #[inline]
    pub(super) fn submit_written(&mut self, caller: &Caller) {
        if self.has_extra() {
            self.submit_finished(caller);
        }
    }

    fn submit_finished(&mut self, caller: &Caller) {
        let (sched, member) = (self.sched, self.member());
        let Some(writes) = self.writes() else { return };
        while let Some(ticket) = writes.finished.pop() {
            sched.submit(caller, member, ticket);
        }
        sched.work_changed(-std::mem::take(&mut writes.copies_ended));
        let bytes = writes.bytes;
        if let Some(mark) = &mut writes.mark
            && bytes <= mark.low
            && let Some(fall) = mark.fall.take()
        {
            self.tell(caller, fall, 0, bytes);
        }
    }

    fn tell_rise(&mut self, caller: &Caller, spare: Option<Spare>) {
        let Some(spare) = spare else { return };
        let Some(writes) = self.writes() else { return give_back(Some(spare)) };
        let bytes = writes.bytes;
        match &mut writes.mark {
            Some(mark) if bytes > mark.high => {
                mark.fall = Some(spare.fall);
                self.tell(caller, spare.rise, 0, bytes);
            }
            _ => give_back(Some(spare)),
        }
    }

    fn tell(&mut self, caller: &Caller, ticket: NonNull<Op>, status: i32, bytes: usize) {
        // SAFETY: the mark's own, and given up here.
        unsafe { ticket::set_result(ticket, status, bytes as u64) };
        self.sched.work_started();
        self.sched.submit(caller, self.member(), ticket);
    }

    /// Sets the mark, or takes it away where `high` is 0. One that was set before ends.
    pub fn set_mark(
        &mut self,
        caller: &Caller,
        (high, low): (usize, usize),
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        self.sched.check_open()?;
        let mark = if high == 0 {
            None
        } else {
            self.make_extra()?.writes.get_or_insert_default();
            let last = ticket::new(callback, user)?;
            Some(Mark { high, low, callback, user, last, fall: None })
        };
        let Some(writes) = self.writes() else { return Ok(()) };
        let before = std::mem::replace(&mut writes.mark, mark);
        self.end_mark(caller, before);
        Ok(())
    }

    /// Ends a mark: at the handle's end, or when there is another.
    fn end_mark(&mut self, caller: &Caller, mark: Option<Mark>) {
        let Some(mark) = mark else { return };
        if let Some(fall) = mark.fall {
            free(fall);
        }
        self.tell(caller, mark.last, Errno::CANCELED.code(), 0);
    }

    /// Ends the queue with its handle; its entries were ended by a cancel.
    pub(super) fn close_writes(&mut self, caller: &Caller) {
        let mark = self.writes().and_then(|writes| writes.mark.take());
        self.end_mark(caller, mark);
    }
}

fn give_back(spare: Option<Spare>) {
    if let Some(Spare { rise, fall }) = spare {
        free(rise);
        free(fall);
    }
}
