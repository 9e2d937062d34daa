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

use super::completion::{AcceptFn, Callback, deliver, deliver_accept};
use super::frame::{Caller, Frame};
use super::member::Member;
use super::op::Op;
use super::reactor::event_data;
use super::scheduler::Scheduler;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::table::{Entry, Head, Table, Token};
use crate::sys::address::Address;
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

const READY_READ: u64 = 1;
const READY_WRITE: u64 = 1 << 1;
const WANT_READ: u64 = 1 << 2;
const WANT_WRITE: u64 = 1 << 3;
/// In a run queue; set by who pushes it, cleared by who pops it.
const QUEUED: u64 = 1 << 4;
/// The peer's end, an error or urgent data was seen: a short transfer proves nothing any more, since
/// the edge that told of it is past.
const HUNG: u64 = 1 << 5;
const EPOCH: u32 = 32;

/// Connections taken, or buffers filled, in one go before others have their turn (H34).
const ACCEPTS_PER_RUN: usize = 16;

/// The direction of an operation; each has one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dir {
    /// Read, accept, wait for readability.
    Read,
    /// Write, connect, wait for writability.
    Write,
}

impl Dir {
    const fn ready(self) -> u64 {
        match self {
            Dir::Read => READY_READ,
            Dir::Write => READY_WRITE,
        }
    }

    const fn want(self) -> u64 {
        match self {
            Dir::Read => WANT_READ,
            Dir::Write => WANT_WRITE,
        }
    }
}

/// What trying the system call came to.
pub enum Outcome {
    /// The operation is complete, with this status. `drained`: the kernel has nothing more in this
    /// direction, so that the next operation need not ask.
    Done {
        /// 0 or a negative code.
        status: i32,
        /// See above.
        drained: bool,
    },
    /// The kernel has nothing now.
    WouldBlock,
    /// More could be done, but others have waited long enough.
    Yield,
    /// A resource of the system is short: try again after a while.
    Backoff(Errno),
}

/// An operation's view of its transfer.
pub struct Transfer {
    /// The user's buffer, or array of `iovec`s.
    pub data: *mut c_void,
    /// Its length in bytes, or the number of `iovec`s.
    pub length: usize,
    /// Bytes moved so far.
    pub done: usize,
    /// Bytes wanted in all.
    pub total: usize,
    /// Bytes moved already of the first `iovec` that is left.
    pub skip: usize,
}

impl Transfer {
    /// Of an operation that moves no bytes.
    pub const fn none() -> Self {
        Transfer { data: ptr::null_mut(), length: 0, done: 0, total: 0, skip: 0 }
    }
}

/// Tries the system call. `trust` says that a transfer shorter than its buffer has drained the
/// direction. Called under the descriptor's lock.
pub type Perform = fn(RawFd, &mut Transfer, trust: bool) -> Outcome;

/// What is special about accepting: the connection is taken just before its callback runs, so that it
/// never lies in a queue where a cancel could lose it (H24).
pub trait Acceptance {
    /// Takes a connection of `listener` into a new handle.
    fn accept(&self, listener: &Locked, address: &mut Address) -> Result<Token, Outcome>;
    /// Calls [`Locked::retry`] on the listener after a while; false when that can't be arranged.
    fn retry_later(&self, listener: &mut Locked) -> bool;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Waits for readiness.
    Parked,
    /// A multi-shot operation's callback is running, or about to; it parks again afterwards.
    Delivering,
    /// Complete, and queued for delivery.
    Done,
}

/// What an operation is, given when it begins.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Tried with a system call; complete once.
    Once(Perform),
    /// Establishes the connection. Until then nothing is read: a read would take the error that belongs
    /// to the connect out of the socket.
    Connect {
        /// How to find out.
        perform: Perform,
        /// The fd goes if it fails: it was opened for this operation.
        opened: bool,
    },
    /// Takes connections: one, or until cancelled.
    Accept {
        /// How.
        acceptance: &'static (dyn Acceptance + Sync),
        /// Until cancelled.
        each: bool,
    },
}

struct Slot {
    phase: Phase,
    /// A multi-shot operation was ended while its callback ran; the status to end with.
    ended: i32,
    status: i32,
    kind: Kind,
    transfer: Transfer,
    callback: Callback,
    user: *mut c_void,
}

unsafe extern "C-unwind" fn no_callback(_: i32, _: *mut c_void) {}

impl Slot {
    fn vacant() -> Self {
        Slot {
            phase: Phase::Idle,
            ended: 0,
            status: 0,
            kind: Kind::Once(|_, _, _| Outcome::Yield),
            transfer: Transfer::none(),
            callback: Callback::Status(no_callback),
            user: ptr::null_mut(),
        }
    }
}

/// What the lock guards.
pub struct State {
    sched: Option<&'static Scheduler>,
    fd: RawFd,
    /// What the fd is registered for; 0: it is not.
    interest: u32,
    /// A short transfer drains the direction (TCP: its reads end early for no other reason).
    trusts_short: bool,
    closed: bool,
    read: Slot,
    write: Slot,
}

// SAFETY: raw pointers in it are the user's buffers, used under the lock.
unsafe impl Send for State {}

/// A handle that owns an fd.
#[repr(C)]
pub struct Descriptor {
    head: Head,
    word: AtomicU64,
    /// Queued when what is ready is wanted.
    op: Op,
    /// Queued when the read slot, or the write slot, is complete.
    read_op: Op,
    write_op: Op,
    member: Member,
    state: Mutex<State>,
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
            member: Member::new(close_member),
            state: Mutex::new(State {
                sched: None,
                fd: -1,
                interest: 0,
                trusts_short: false,
                closed: true,
                read: Slot::vacant(),
                write: Slot::vacant(),
            }),
        }
    }
}

/// A live descriptor under its lock; its context lives as long.
pub struct Locked {
    descriptor: &'static Descriptor,
    /// Its context.
    pub sched: &'static Scheduler,
    state: MutexGuard<'static, State>,
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

    fn done_op(&self, dir: Dir) -> NonNull<Op> {
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
                let _ = sched.reactor().epoll().delete(state.fd);
            }
            state.interest = 0;
        }
        self.new_epoch(0);
        std::mem::replace(&mut state.fd, -1)
    }

    /// Back to the table when closed and in no queue.
    fn recycle_if_done(&'static self, state: &State) {
        let busy = |slot: &Slot| slot.phase != Phase::Idle;
        if state.closed
            && !busy(&state.read)
            && !busy(&state.write)
            && self.word.load(Ordering::Acquire) & QUEUED == 0
        {
            DESCRIPTORS.recycle(self);
        }
    }
}

impl State {
    fn slot(&mut self, dir: Dir) -> &mut Slot {
        match dir {
            Dir::Read => &mut self.read,
            Dir::Write => &mut self.write,
        }
    }
}

/// Where an operation stands after it was driven.
#[derive(PartialEq, Eq)]
enum Driven {
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
                self.sched.complete(caller, self.descriptor.done_op(dir));
            }
            Err(error) => {
                self.state.slot(dir).phase = Phase::Idle;
                return Err(error);
            }
            Ok(Driven::Done) => {
                self.sched.complete(caller, self.descriptor.done_op(dir));
            }
            Ok(Driven::Parked) => self.sched.work_started(),
            Ok(Driven::Yielded) => {
                self.sched.work_started();
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
        self.sched.complete(caller, self.descriptor.done_op(dir));
        Ok(())
    }

    /// Registers the fd for a direction, or widens the registration. What is ready already comes as an
    /// edge. EPOLLOUT is left out until a write first parks: most sockets never need it.
    fn register(&mut self, dir: Dir) -> Result<(), Errno> {
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
        let epoll = sched.reactor().epoll();
        if state.interest == 0 {
            epoll.add(state.fd, wanted, data)?;
        } else {
            epoll.modify(state.fd, wanted, data)?;
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
    fn drive(&mut self, dir: Dir) -> Result<Driven, Errno> {
        if dir == Dir::Read && self.is_connecting() {
            // Driven on when the connect completes.
            self.register(dir)?;
            self.descriptor.word.fetch_or(dir.want(), Ordering::AcqRel);
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
                Kind::Once(perform) | Kind::Connect { perform, .. } => perform,
                // A connection is taken by the thread that delivers it.
                Kind::Accept { .. } => return Ok(Driven::Yielded),
            };
            let before = word.fetch_and(!(dir.ready() | dir.want()), Ordering::AcqRel);
            let trust = self.state.trusts_short && before & HUNG == 0;
            let fd = self.state.fd;
            match perform(fd, &mut self.state.slot(dir).transfer, trust) {
                Outcome::Done { status, drained } => {
                    if !drained || !trust {
                        self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
                    }
                    self.finish(dir, status);
                    return Ok(Driven::Done);
                }
                Outcome::WouldBlock => {}
                Outcome::Yield | Outcome::Backoff(_) => {
                    self.descriptor.word.fetch_or(dir.ready(), Ordering::AcqRel);
                    return Ok(Driven::Yielded);
                }
            }
        }
    }

    /// The operation is complete, and about to be queued.
    fn finish(&mut self, dir: Dir, status: i32) {
        let slot = self.state.slot(dir);
        slot.status = status;
        slot.phase = Phase::Done;
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
        let trust = self.state.trusts_short && before & HUNG == 0;
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
    fn queue(&mut self, caller: &Caller, dir: Dir) {
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

    /// Drives a parked accept on, after a resource of the system was short.
    pub fn retry(&mut self, caller: &Caller) {
        if self.state.read.phase == Phase::Parked {
            self.queue(caller, Dir::Read);
        }
    }

    /// Ends what is pending in one direction, with what has moved so far; 1 if there was something.
    /// What is complete already stays as it is (H24).
    fn end(&mut self, caller: &Caller, dir: Dir, status: i32) -> usize {
        let slot = self.state.slot(dir);
        match slot.phase {
            Phase::Parked => {
                self.descriptor.word.fetch_and(!dir.want(), Ordering::AcqRel);
                self.finish(dir, status);
                self.sched.post(caller, self.descriptor.done_op(dir));
                1
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
            fd::close(descriptor.detach(state));
        }
    }

    /// Ends the handle: it is dead and its fd is closed when this returns.
    pub fn close(mut self, caller: &Caller) {
        self.cancel(caller);
        self.drop_fd();
        DESCRIPTORS.kill(self.descriptor);
        self.state.closed = true;
        // Last, since the context may go once it is out of the list.
        self.sched.members.remove(&self.descriptor.member);
        self.descriptor.recycle_if_done(&self.state);
    }
}

/// Runs a queued descriptor: drives each direction that is wanted and ready, delivers the first
/// completion at once and queues a second.
unsafe fn run_ready(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `op` is a field of a descriptor, and the table never frees those.
    let descriptor: &'static Descriptor =
        unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, op)).cast() };
    let state = descriptor.state.lock();
    let word = descriptor.word.fetch_and(!QUEUED, Ordering::AcqRel);
    let (Some(sched), false) = (state.sched, state.closed) else {
        descriptor.recycle_if_done(&state);
        return;
    };
    let mut locked = Locked { descriptor, sched, state };
    let mut first = None;
    // A connect before the reads that wait for it.
    for dir in [Dir::Write, Dir::Read] {
        if word & dir.want() == 0 || locked.state.slot(dir).phase != Phase::Parked {
            continue;
        }
        match locked.drive(dir) {
            Ok(Driven::Parked) => continue,
            Ok(Driven::Yielded) => {
                if let Kind::Accept { .. } = locked.state.slot(dir).kind {
                    // Delivers by itself, and needs the lock for each; so it comes last.
                    first = first.or(Some(Dir::Read));
                } else {
                    locked.queue(&Caller::of(frame), dir);
                }
                continue;
            }
            Ok(Driven::Done) => {}
            Err(error) => locked.finish(dir, error.code()),
        }
        if first.is_none() {
            first = Some(dir);
        } else {
            frame.private.push(descriptor.done_op(dir));
        }
    }
    match first {
        Some(Dir::Read)
            if matches!(locked.state.read.kind, Kind::Accept { .. })
                && locked.state.read.phase == Phase::Parked =>
        {
            accept_ready(locked, frame);
        }
        Some(dir) => deliver_done(locked, dir, frame),
        None => {}
    }
}

/// Delivers the completed operation of a direction. The slot is idle, and the handle recycled if it was
/// closed, before the callback runs.
fn deliver_done(mut locked: Locked, dir: Dir, frame: &Frame) {
    let slot = locked.state.slot(dir);
    slot.phase = Phase::Idle;
    let (callback, status, bytes, user) =
        (slot.callback, slot.status, slot.transfer.done, slot.user);
    let Locked { descriptor, state, .. } = locked;
    descriptor.recycle_if_done(&state);
    drop(state);
    Scheduler::work_finished(frame);
    deliver(frame, callback, status, bytes, user);
}

/// Takes connections and delivers each, until there are none, the operation ends or others have waited
/// long enough. Only one thread at a time is here for an acceptor: the operation is not parked meanwhile.
fn accept_ready(mut locked: Locked, frame: &Frame) {
    let descriptor = locked.descriptor;
    let caller = Caller::of(frame);
    let mut rounds = if frame.single { 1 } else { ACCEPTS_PER_RUN };
    loop {
        let slot = &locked.state.read;
        let (Kind::Accept { acceptance, each }, Callback::Accept(callback), user) =
            (slot.kind, slot.callback, slot.user)
        else {
            return;
        };
        if rounds == 0 || frame.sched.halted() {
            locked.queue(&caller, Dir::Read);
            return;
        }
        rounds -= 1;
        descriptor.word.fetch_and(!(READY_READ | WANT_READ), Ordering::AcqRel);
        let mut address = Address::empty();
        let status = match acceptance.accept(&locked, &mut address) {
            Ok(peer) => {
                descriptor.word.fetch_or(READY_READ, Ordering::AcqRel);
                let phase = if each { Phase::Delivering } else { Phase::Idle };
                locked.state.read.phase = phase;
                drop(locked);
                locked =
                    match deliver_accepted(descriptor, frame, each, callback, user, peer, &address)
                    {
                        Some(locked) => locked,
                        None => return,
                    };
                continue;
            }
            Err(Outcome::WouldBlock) => match locked.park_accept() {
                Ok(true) => return,
                Ok(false) => continue,
                Err(error) => error.code(),
            },
            Err(Outcome::Backoff(error)) => {
                // The kernel will not tell when fds are free again. The connections wait in its queue.
                if acceptance.retry_later(&mut locked) {
                    descriptor.word.fetch_or(READY_READ, Ordering::AcqRel);
                    return;
                }
                error.code()
            }
            Err(Outcome::Yield) => {
                locked.queue(&caller, Dir::Read);
                return;
            }
            Err(Outcome::Done { status, .. }) => status,
        };
        let slot = &mut locked.state.read;
        slot.status = status;
        deliver_done(locked, Dir::Read, frame);
        return;
    }
}

impl Locked {
    /// Parks an accept that found nothing; false when an edge came in between.
    fn park_accept(&mut self) -> Result<bool, Errno> {
        self.register(Dir::Read)?;
        let before = self.descriptor.word.fetch_or(WANT_READ, Ordering::AcqRel);
        Ok(before & READY_READ == 0)
    }
}

/// Calls the user with a new connection; afterwards the acceptor again, if it goes on accepting.
fn deliver_accepted(
    descriptor: &'static Descriptor,
    frame: &Frame,
    each: bool,
    callback: AcceptFn,
    user: *mut c_void,
    peer: Token,
    address: &Address,
) -> Option<Locked> {
    if !each {
        Scheduler::work_finished(frame);
    }
    let peer = ptr::without_provenance_mut(usize::try_from(peer.raw()).unwrap_or(0));
    deliver_accept(frame, callback, 0, peer, (address.as_ptr(), address.len()), user);
    if !each {
        return None;
    }
    // The slot is not idle, so this is still the same operation of the same handle, or of one that was
    // closed meanwhile and is not recycled yet.
    let mut state = descriptor.state.lock();
    let slot = &mut state.read;
    if slot.ended != 0 {
        slot.status = slot.ended;
        slot.phase = Phase::Done;
        frame.private.push(descriptor.read_op.as_ptr());
        return None;
    }
    slot.phase = Phase::Parked;
    let sched = state.sched?;
    Some(Locked { descriptor, sched, state })
}

fn run_done(descriptor: &'static Descriptor, dir: Dir, frame: &Frame) {
    let state = descriptor.state.lock();
    let Some(sched) = state.sched else { return };
    deliver_done(Locked { descriptor, sched, state }, dir, frame);
}

unsafe fn run_read_done(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `read_op` of a descriptor, and the table never frees those.
    let descriptor = unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, read_op)).cast() };
    run_done(descriptor, Dir::Read, frame);
}

unsafe fn run_write_done(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `write_op` of a descriptor, as above.
    let descriptor = unsafe { &*op.as_ptr().byte_sub(offset_of!(Descriptor, write_op)).cast() };
    run_done(descriptor, Dir::Write, frame);
}

/// Closes a handle on behalf of its context's destruction.
unsafe fn close_member(member: NonNull<Member>, sched: &Scheduler, caller: &Caller) {
    // SAFETY: `member` is a field of a descriptor, and the table never frees those.
    let descriptor: &'static Descriptor =
        unsafe { &*member.as_ptr().byte_sub(offset_of!(Descriptor, member)).cast() };
    if let Some(locked) = descriptor.lock_if(|head| head.token().is_some())
        && ptr::eq(locked.sched, sched)
    {
        locked.close(caller);
    }
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
