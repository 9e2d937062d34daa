//! A registered fd with its two slots: what an operation in each direction waits for.
//!
//! Two guards. The *word* is atomic and shared with the reactor: the epoch of the registration, the
//! ready bits of each direction, which of them somebody wants, and whether the descriptor is queued. The
//! *state* is under the descriptor's lock: the fd and the slots. Whoever pops a queued descriptor
//! performs the I/O under the lock, so that cancel and close wait for a system call at the most and own
//! the user's buffer when they return.
//!
//! A ready bit means "the kernel may have something": it is set at first, by edges, and after a transfer
//! that used its whole buffer, and cleared before each system call. So a clear bit says that the
//! direction is drained since, and an operation that meets it parks without a system call.
#![allow(unsafe_code, reason = "queueing embedded ops, and the table entry")]

use super::completion::Callback;
use super::extra::Extra;
use super::frame::Caller;
use super::member::{Class, Member};
use super::op::Op;
use super::reactor::event_data;
use super::ready::{run_read_done, run_ready, run_write_done};
use super::retry;
use super::scheduler::Scheduler;
use super::slot::{Kind, Outcome, Perform, Phase, Slot, Transfer};
use super::stats;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::table::{Entry, Head, Table, Token};
use crate::sys::epoll;
use crate::sys::errno::Errno;
use crate::sys::fd;
use libc::c_void;
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

/// Every descriptor of the process; handles of several services are kinds of descriptors.
#[cfg(not(loom))]
pub static DESCRIPTORS: Table<Descriptor> = Table::new();
/// Every descriptor of the process.
#[cfg(loom)]
pub static DESCRIPTORS: once_cell::sync::Lazy<Table<Descriptor>> =
    once_cell::sync::Lazy::new(Table::new);

pub(super) const READY_READ: u64 = 1;
const READY_WRITE: u64 = 1 << 1;
pub(super) const WANT_READ: u64 = 1 << 2;
const WANT_WRITE: u64 = 1 << 3;
/// In a run queue; set by who pushes it, cleared by who pops it.
pub(super) const QUEUED: u64 = 1 << 4;
/// The peer's end, an error or urgent data was seen: a short transfer proves nothing any more, since
/// the edge that told of it is past.
const HUNG: u64 = 1 << 5;
const EPOCH: u32 = 32;

/// How long an operation waits before it is tried again where no event will tell.
const BACKOFF: i64 = 5_000_000;

/// The direction of an operation; each has one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dir {
    /// Read, accept, wait for readability.
    Read,
    /// Write, connect, wait for writability.
    Write,
}

impl Dir {
    pub(super) const fn ready(self) -> u64 {
        match self {
            Dir::Read => READY_READ,
            Dir::Write => READY_WRITE,
        }
    }

    pub(super) const fn want(self) -> u64 {
        match self {
            Dir::Read => WANT_READ,
            Dir::Write => WANT_WRITE,
        }
    }
}

/// What the lock guards.
pub struct State {
    pub(super) sched: Option<&'static Scheduler>,
    pub(super) fd: RawFd,
    /// What the fd is registered for; 0: it is not.
    pub(super) interest: u32,
    /// A short transfer drains the direction (TCP: its reads end early for no other reason).
    pub(super) trusts_short: bool,
    pub(super) closed: bool,
    /// The fd stays open when the handle lets go of it.
    pub(super) keeps: bool,
    pub(super) read: Slot,
    pub(super) write: Slot,
    /// See [`Extra`].
    pub(super) extra: Option<Box<Extra>>,
}

// SAFETY: raw pointers in it are the user's buffers, used under the lock.
unsafe impl Send for State {}

/// A handle that owns an fd.
#[repr(C)]
pub struct Descriptor {
    pub(super) head: Head,
    pub(super) word: AtomicU64,
    /// Queued when what is ready is wanted.
    pub(super) op: Op,
    /// Queued when the read slot, or the write slot, is complete.
    pub(super) read_op: Op,
    pub(super) write_op: Op,
    pub(super) member: Member,
    pub(super) state: Mutex<State>,
}

// SAFETY: descriptors stay where the table put them.
unsafe impl Entry for Descriptor {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Descriptor {
            head: Head::new(),
            word: AtomicU64::new(0),
            op: Op::new(run_ready),
            read_op: Op::new(run_read_done),
            write_op: Op::new(run_write_done),
            member: Member::new(&CLASS),
            state: Mutex::new(State {
                sched: None,
                fd: -1,
                interest: 0,
                trusts_short: false,
                closed: true,
                keeps: false,
                read: Slot::vacant(),
                write: Slot::vacant(),
                extra: None,
            }),
        }
    }
}

/// A live descriptor under its lock; its context lives as long.
pub struct Locked {
    pub(super) descriptor: &'static Descriptor,
    /// Its context.
    pub sched: &'static Scheduler,
    pub(super) state: MutexGuard<'static, State>,
}

/// A new descriptor that is not live yet: recycled unless published.
pub struct Reserved {
    descriptor: &'static Descriptor,
}

impl Reserved {
    /// A slot for a handle of `sched`, so that what comes later can't fail for want of memory.
    pub fn new() -> Result<Self, Errno> {
        let descriptor = DESCRIPTORS.reserve().map_err(|_| Errno::NOMEM)?;
        Ok(Reserved { descriptor })
    }

    /// Makes it a live handle that owns `fd`, or none (-1). On error the fd stays the caller's.
    pub fn publish(
        self,
        sched: &'static Scheduler,
        kind: u8,
        fd: RawFd,
        trusts_short: bool,
    ) -> Result<Token, Errno> {
        let descriptor = self.descriptor;
        let mut state = descriptor.state.lock();
        state.sched = Some(sched);
        state.closed = false;
        descriptor.attach(&mut state, fd, trusts_short);
        if !sched.members.add(&descriptor.member) {
            state.fd = -1;
            state.closed = true;
            return Err(Errno::SHUTDOWN);
        }
        std::mem::forget(self);
        Ok(DESCRIPTORS.publish(descriptor, kind))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        DESCRIPTORS.recycle(self.descriptor);
    }
}

impl Descriptor {
    /// The op that stands for the descriptor in queues.
    pub fn op(&self) -> NonNull<Op> {
        self.op.as_ptr()
    }

    /// The descriptor of a handle, locked.
    #[inline]
    pub fn lock(token: Token) -> Result<Locked, Errno> {
        let descriptor = DESCRIPTORS.find(token).ok_or(Errno::BADF)?;
        descriptor.lock_if(|head| head.is_live_as(token)).ok_or(Errno::BADF)
    }

    #[inline]
    fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked> {
        let state = self.state.lock();
        // Closed since it was found? The stamp changes under the lock only.
        if !live(&self.head) {
            return None;
        }
        Some(Locked { descriptor: self, sched: state.sched?, state })
    }

    pub(super) fn done_op(&self, dir: Dir) -> NonNull<Op> {
        match dir {
            Dir::Read => self.read_op.as_ptr(),
            Dir::Write => self.write_op.as_ptr(),
        }
    }

    /// An edge from the kernel. True when the descriptor must be queued: somebody wants what is ready
    /// (H14) and it is not queued yet. An event of an earlier registration changes nothing.
    pub fn ready(&self, epoch: u32, events: u32) -> bool {
        let mut bits = 0;
        if events & (epoll::IN | epoll::PRI | epoll::RDHUP | epoll::HUP | epoll::ERR) != 0 {
            bits |= READY_READ;
        }
        if events & (epoll::OUT | epoll::HUP | epoll::ERR) != 0 {
            bits |= READY_WRITE;
        }
        if events & (epoll::PRI | epoll::RDHUP | epoll::HUP | epoll::ERR) != 0 {
            bits |= HUNG;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word >> EPOCH != u64::from(epoch) {
                return false;
            }
            let mut next = word | bits;
            // WANT bits are the READY bits shifted by two.
            let push = word & QUEUED == 0 && next & (next >> 2) & (READY_READ | READY_WRITE) != 0;
            if push {
                next |= QUEUED;
            }
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return push,
                Err(now) => word = now,
            }
        }
    }

    /// Starts a new epoch: events of the registration before find nothing any more. Whether it is
    /// queued stays as it is, in the same step (H10).
    fn new_epoch(&self, bits: u64) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let epoch = ((word >> EPOCH) + 1) & u64::from(u32::MAX);
            let next = epoch << EPOCH | word & QUEUED | bits;
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    fn attach(&self, state: &mut State, fd: RawFd, trusts_short: bool) {
        state.fd = fd;
        state.interest = 0;
        state.trusts_short = trusts_short;
        self.new_epoch(READY_READ | READY_WRITE);
    }

    /// Ends the registration; returns the fd, which nothing refers to any more.
    fn detach(&self, state: &mut State) -> RawFd {
        if state.interest != 0 {
            // Before close: a copy of the fd in a child would keep the registration alive (H32). The
            // user may have closed it (H33); then there is nothing to delete.
            if let Some(sched) = state.sched {
                let _ = sched.reactor().delete(state.fd);
            }
            state.interest = 0;
        }
        self.new_epoch(0);
        state.keeps = false;
        if let Some(writes) = state.extra.as_mut().and_then(|extra| extra.writes.as_mut()) {
            writes.forget_lost();
        }
        std::mem::replace(&mut state.fd, -1)
    }

    /// Back to the table when closed and in no queue.
    pub(super) fn recycle_if_done(&'static self, state: &State) {
        let busy = |slot: &Slot| slot.phase != Phase::Idle;
        if state.closed
            && !busy(&state.read)
            && !busy(&state.write)
            && self.word.load(Ordering::Acquire) & QUEUED == 0
        {
            self.member.unbind();
            DESCRIPTORS.recycle(self);
        }
    }
}

impl State {
    pub(super) fn slot(&mut self, dir: Dir) -> &mut Slot {
        match dir {
            Dir::Read => &mut self.read,
            Dir::Write => &mut self.write,
        }
    }
}

/// Where an operation stands after it was driven.
#[derive(PartialEq, Eq)]
pub(super) enum Driven {
    Done,
    Parked,
    /// To be queued again.
    Yielded,
}

impl Locked {
    /// The handle's fd; an error when it has none.
    #[inline]
    pub fn fd(&self) -> Result<RawFd, Errno> {
        if self.state.fd < 0 { Err(Errno::NOTCONN) } else { Ok(self.state.fd) }
    }

    /// The handle.
    pub fn token(&self) -> Option<Token> {
        self.descriptor.head.token()
    }

    /// Gives the handle an fd, which it owns from now on. It must have none.
    pub fn attach(&mut self, fd: RawFd, trusts_short: bool) {
        let Locked { descriptor, state, .. } = self;
        descriptor.attach(state, fd, trusts_short);
    }

    /// Makes the next operation ask the kernel, whatever is known of the direction.
    pub fn assume_ready(&mut self, dir: Dir) {
        self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
    }

    /// True when a short transfer proves that the direction is drained, as far as is known of the peer.
    pub(super) fn trusts(&self, word: u64) -> bool {
        self.state.trusts_short && word & HUNG == 0
    }

    /// True when short transfers drain a direction, see [`Perform`].
    pub fn trusts_short(&self) -> bool {
        self.state.trusts_short
    }

    /// True while an operation of this direction is pending.
    pub fn is_busy(&mut self, dir: Dir) -> bool {
        self.state.slot(dir).phase != Phase::Idle
    }

    /// Begins an operation: tries it at once unless the direction is known to be drained, else parks it.
    /// On error nothing has begun.
    #[inline]
    pub fn begin(
        &mut self,
        caller: &Caller,
        dir: Dir,
        kind: Kind,
        transfer: Transfer,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        self.sched.check_open()?;
        if self.is_busy(dir) {
            return Err(Errno::BUSY);
        }
        let slot = self.state.slot(dir);
        slot.kind = kind;
        slot.transfer = transfer;
        slot.callback = callback;
        slot.user = user;
        slot.phase = Phase::Parked;
        slot.ended = 0;
        match self.drive(dir) {
            // What has moved is told with the error.
            Err(error) if self.state.slot(dir).transfer.done > 0 => {
                self.finish(dir, error.code());
                self.complete_done(caller, dir);
            }
            Err(error) => {
                self.state.slot(dir).phase = Phase::Idle;
                return Err(error);
            }
            Ok(Driven::Done) => self.complete_done(caller, dir),
            Ok(Driven::Parked) => {
                self.sched.work_started();
                self.watch_time(dir);
            }
            Ok(Driven::Yielded) => {
                self.sched.work_started();
                self.watch_time(dir);
                self.queue(caller, dir);
            }
        }
        Ok(())
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
        self.sched.check_open()?;
        if self.is_busy(dir) {
            return Err(Errno::BUSY);
        }
        let slot = self.state.slot(dir);
        slot.transfer = Transfer::none();
        slot.callback = callback;
        slot.user = user;
        slot.kind = Kind::Once(|_, _, _| Outcome::Yield);
        slot.phase = Phase::Done;
        slot.status = status;
        self.complete_done(caller, dir);
        Ok(())
    }

    /// Queues the completion of an operation that has just begun.
    #[inline]
    fn complete_done(&mut self, caller: &Caller, dir: Dir) {
        self.sched.complete(caller, &self.descriptor.member, self.descriptor.done_op(dir));
    }

    /// Queues the completion of an operation that is counted as work.
    pub(super) fn submit_done(&mut self, caller: &Caller, dir: Dir) {
        if self.serves_queue(dir) {
            return self.submit_written(caller);
        }
        self.sched.submit(caller, &self.descriptor.member, self.descriptor.done_op(dir));
    }

    /// The part that the context knows.
    pub fn member(&self) -> &'static Member {
        &self.descriptor.member
    }

    /// The number of operations that are pending or not delivered yet.
    pub fn pending(&self) -> usize {
        let busy = |slot: &Slot| usize::from(slot.phase != Phase::Idle);
        busy(&self.state.read) + busy(&self.state.write) * self.operations(Dir::Write)
    }

    /// Registers the fd for a direction, or widens the registration. What is ready already comes as an
    /// edge. EPOLLOUT is left out until a write first parks: most sockets never need it.
    pub(super) fn register(&mut self, dir: Dir) -> Result<(), Errno> {
        let mut wanted = epoll::IN | epoll::PRI | epoll::RDHUP | epoll::ET;
        if dir == Dir::Write {
            wanted |= epoll::OUT;
        }
        let Locked { descriptor, sched, state } = self;
        if state.interest & wanted == wanted {
            return Ok(());
        }
        let wanted = state.interest | wanted;
        let Some(token) = descriptor.head.token() else { return Err(Errno::BADF) };
        let epoch = (descriptor.word.load(Ordering::Relaxed) >> EPOCH) as u32;
        let data = event_data(token.index(), epoch);
        let reactor = sched.reactor();
        if state.interest == 0 {
            let fd = state.fd;
            sched.watches.take_number(sched, fd, |replace| match replace {
                false => reactor.add(fd, wanted, data),
                true => reactor.modify(fd, wanted, data),
            })?;
        } else {
            reactor.modify(state.fd, wanted, data)?;
        }
        state.interest = wanted;
        Ok(())
    }

    /// Forgets that the direction may be ready, so that only an edge from now on says so.
    pub fn forget_ready(&mut self, dir: Dir) {
        self.descriptor.word.fetch_and(!dir.ready(), Ordering::AcqRel);
    }

    fn is_connecting(&self) -> bool {
        let write = &self.state.write;
        write.phase == Phase::Parked && matches!(write.kind, Kind::Connect { .. })
    }

    /// Tries an operation until it is complete, would block with nothing new, or has had its share.
    pub(super) fn drive(&mut self, dir: Dir) -> Result<Driven, Errno> {
        if dir == Dir::Read && self.is_connecting() {
            // Driven on when the connect completes.
            self.register(dir)?;
            self.descriptor.word.fetch_or(dir.want(), Ordering::AcqRel);
            return Ok(Driven::Parked);
        }
        if dir == Dir::Write && self.holds() {
            return Ok(Driven::Parked);
        }
        loop {
            let word = &self.descriptor.word;
            if word.load(Ordering::Acquire) & dir.ready() == 0 {
                self.register(dir)?;
                let before = word.fetch_or(dir.want(), Ordering::AcqRel);
                if before & dir.ready() == 0 {
                    return Ok(Driven::Parked);
                }
                // An edge came in between. It did not see the want, so it is served here.
            }
            let perform = match self.state.slot(dir).kind {
                Kind::Once(perform) | Kind::Connect { perform, .. } => Ok(perform),
                Kind::Queue(serve) => Err(serve),
                Kind::Held => return Ok(Driven::Parked),
                // Taken by the thread that delivers it.
                Kind::Take { .. } => return Ok(Driven::Yielded),
            };
            let before = word.fetch_and(!(dir.ready() | dir.want()), Ordering::AcqRel);
            let trust = self.trusts(before);
            let fd = self.state.fd;
            if self.sched.measures() {
                let stats = &self.sched.reactor().stats;
                stats::add(if dir == Dir::Read { &stats.reads } else { &stats.writes }, 1);
            }
            let outcome = match perform {
                Ok(perform) => perform(fd, &mut self.state.slot(dir).transfer, trust),
                Err(serve) => self.serve_queue(serve, trust),
            };
            match outcome {
                Outcome::Done { status, drained } => {
                    if !drained || !trust {
                        self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
                    }
                    self.finish(dir, status);
                    return Ok(Driven::Done);
                }
                Outcome::WouldBlock => {}
                Outcome::Yield => {
                    self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
                    return Ok(Driven::Yielded);
                }
                Outcome::Backoff(error) => {
                    // Not wanted until then: the attempt itself may bring an edge, so that it would spin.
                    return if retry::after(self, BACKOFF) {
                        Ok(Driven::Parked)
                    } else {
                        Err(error)
                    };
                }
            }
        }
    }

    /// The operation is complete, and about to be queued.
    pub(super) fn finish(&mut self, dir: Dir, status: i32) {
        if self.serves_queue(dir) {
            return self.finish_queue(status);
        }
        let slot = self.state.slot(dir);
        slot.status = status;
        slot.phase = Phase::Done;
        if dir == Dir::Write && matches!(slot.kind, Kind::Held) {
            return self.drop_held();
        }
        let slot = self.state.slot(dir);
        if status < 0 && matches!(slot.kind, Kind::Connect { opened: true, .. }) {
            self.end(&Caller::current(), Dir::Read, status);
            self.drop_fd();
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
        let before = self.descriptor.word.fetch_and(!dir.ready(), Ordering::AcqRel);
        let trust = self.trusts(before);
        match perform(fd, transfer, trust) {
            Outcome::Done { status, drained } => {
                if !drained || !trust {
                    self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
                }
                Ok(status)
            }
            Outcome::WouldBlock => Ok(0),
            Outcome::Yield | Outcome::Backoff(_) => {
                self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
                Ok(0)
            }
        }
    }

    /// Queues the descriptor, so that a thread inside run drives the direction on.
    pub(super) fn queue(&mut self, caller: &Caller, dir: Dir) {
        let descriptor = self.descriptor;
        let before = descriptor.word.fetch_or(dir.ready() | dir.want() | QUEUED, Ordering::AcqRel);
        if before & QUEUED == 0 {
            self.sched.post(caller, descriptor.op());
        }
    }

    /// Has what is pending tried again, whatever the kernel tells of the fd.
    pub fn nudge(&mut self, caller: &Caller) {
        for dir in [Dir::Write, Dir::Read] {
            if self.state.slot(dir).phase == Phase::Parked {
                self.queue(caller, dir);
            }
        }
    }

    /// Drives a parked read on, after a resource was short; false when none is parked.
    pub fn retry(&mut self, caller: &Caller) -> bool {
        let parked = self.state.read.phase == Phase::Parked;
        if parked {
            self.queue(caller, Dir::Read);
        }
        parked
    }

    /// Ends what is pending in one direction, with what has moved so far; 1 if there was something.
    /// What is complete already stays as it is (H24).
    pub(super) fn end(&mut self, caller: &Caller, dir: Dir, status: i32) -> usize {
        let slot = self.state.slot(dir);
        match slot.phase {
            Phase::Parked => {
                self.descriptor.word.fetch_and(!dir.want(), Ordering::AcqRel);
                let ended = self.operations(dir);
                self.finish(dir, status);
                self.submit_done(caller, dir);
                ended
            }
            Phase::Delivering if slot.ended == 0 => {
                slot.ended = status;
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
            if self.state.slot(dir).user == user && !self.serves_queue(dir) {
                ended += self.end(caller, dir, Errno::CANCELED.code());
            }
        }
        ended
    }

    /// Ends what is pending and gives the fd away; the handle is as new.
    pub fn release(&mut self, caller: &Caller) -> Result<RawFd, Errno> {
        self.fd()?;
        // A connect that is cut short by this must not take the fd with it.
        if let Kind::Connect { opened, .. } = &mut self.state.write.kind {
            *opened = false;
        }
        self.cancel(caller);
        let Locked { descriptor, state, .. } = self;
        Ok(descriptor.detach(state))
    }

    /// Closes the fd, if any; pending operations must have been ended.
    pub fn drop_fd(&mut self) {
        let Locked { descriptor, state, .. } = self;
        if state.fd >= 0 {
            let keeps = state.keeps;
            let number = descriptor.detach(state);
            if !keeps {
                fd::close(number);
            }
        }
    }

    /// Has the fd stay open when the handle lets go of it, or not.
    pub fn keep_fd(&mut self, keep: bool) -> Result<(), Errno> {
        self.fd()?;
        self.state.keeps = keep;
        Ok(())
    }

    /// Registers with an epoll set that is new, in a child process. What is ready comes as an edge.
    fn renew(&mut self) {
        let Locked { descriptor, sched, state } = self;
        if state.interest == 0 {
            return;
        }
        let Some(token) = descriptor.head.token() else { return };
        let epoch = (descriptor.word.load(Ordering::Relaxed) >> EPOCH) as u32;
        let data = event_data(token.index(), epoch);
        if sched.reactor().add(state.fd, state.interest, data).is_err() {
            // The operation's own system call tells what is wrong with the fd.
            state.interest = 0;
            self.nudge(&Caller::current());
        }
    }

    /// Ends the handle: it is dead and its fd is closed when this returns.
    pub fn close(mut self, caller: &Caller) {
        self.cancel(caller);
        self.drop_extra(caller);
        self.drop_fd();
        DESCRIPTORS.kill(self.descriptor);
        self.state.closed = true;
        // Last, since the context may go once it is out of the list.
        self.sched.members.remove(&self.descriptor.member);
        self.descriptor.recycle_if_done(&self.state);
    }
}

const CLASS: Class =
    Class { close: close_member, report: report_member, renew: Some(renew_member) };

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
    if let Some(mut locked) = of_member(member, sched) {
        locked.renew();
    }
}

unsafe fn report_member(member: NonNull<Member>, sched: &Scheduler) -> Option<(Token, usize)> {
    let locked = of_member(member, sched)?;
    Some((locked.token()?, locked.pending()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn wanting(bits: u64) -> (Descriptor, u32) {
        let descriptor = Descriptor::vacant();
        descriptor.new_epoch(bits);
        let epoch = u32::try_from(descriptor.word.load(Ordering::Relaxed) >> EPOCH).unwrap();
        (descriptor, epoch)
    }

    #[test]
    fn h22_a_hangup_or_an_error_alone_readies_both_directions() {
        for event in [epoll::HUP, epoll::ERR] {
            for want in [WANT_READ, WANT_WRITE] {
                let (descriptor, epoch) = wanting(want);
                assert!(descriptor.ready(epoch, event));
                let word = descriptor.word.load(Ordering::Relaxed);
                assert_eq!(word & READY_READ, READY_READ);
                assert_eq!(word & READY_WRITE, READY_WRITE);
                assert_eq!(word & HUNG, HUNG);
            }
        }
    }

    #[test]
    fn h11_an_event_of_an_earlier_registration_changes_nothing() {
        let (descriptor, epoch) = wanting(WANT_READ);
        descriptor.new_epoch(WANT_READ);
        let before = descriptor.word.load(Ordering::Relaxed);
        assert!(!descriptor.ready(epoch, epoll::IN | epoll::HUP));
        assert_eq!(descriptor.word.load(Ordering::Relaxed), before);
        assert!(descriptor.ready(epoch + 1, epoll::IN));
    }

    #[test]
    fn h14_what_nobody_waits_for_is_not_queued() {
        let (descriptor, epoch) = wanting(WANT_READ);
        assert!(!descriptor.ready(epoch, epoll::OUT));
        assert!(descriptor.ready(epoch, epoll::IN | epoll::OUT));
        // Queued already: not a second time.
        assert!(!descriptor.ready(epoch, epoll::IN));
    }

    #[test]
    fn h10_a_new_epoch_keeps_that_it_is_queued() {
        let (descriptor, epoch) = wanting(WANT_READ);
        assert!(descriptor.ready(epoch, epoll::IN));
        descriptor.new_epoch(WANT_READ);
        assert_eq!(descriptor.word.load(Ordering::Relaxed) & QUEUED, QUEUED);
        assert!(!descriptor.ready(epoch + 1, epoll::IN));
    }
}
