//! A registered fd with what waits for it: an operation in each direction.
//!
//! Two guards. The *word* is atomic and shared with the reactor, see `readiness`. The rest is under the
//! descriptor's lock: the fd and the operations. Whoever pops a queued descriptor performs the I/O under
//! the lock, so that cancel and close wait for a system call at the most and own the user's buffer when
//! they return.
//!
//! A connection that waits to be read needs nothing but what is here, and a million of them are no rarity: hence
//! every byte has its reason. How operations are tried is in `drive`, how they and the handle end in `ending`,
//! what the kernel is told of the fd in `registration`.
#![allow(unsafe_code, reason = "the table entry, and what its lock guards")]

use super::ending::CLASS;
use super::member::Member;
use super::op::Op;
use super::operation::{Operation, Phase, Slot, Tags};
use super::readiness::Readiness;
use super::ready::run_ready;
use super::scheduler::Scheduler;
use super::side::Side;
use super::sync::MutexGuard;
use super::table::{Entry, Head, Table, Token};
use crate::sys::errno::Errno;
use std::cell::Cell;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// Every descriptor of the process; handles of several services are kinds of descriptors.
#[cfg(not(loom))]
pub static DESCRIPTORS: Table<Descriptor> = Table::new();
/// Every descriptor of the process.
#[cfg(loom)]
pub static DESCRIPTORS: once_cell::sync::Lazy<Table<Descriptor>> =
    once_cell::sync::Lazy::new(Table::new);

/// The direction of an operation; there is one in each at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dir {
    /// Read, accept, wait for readability.
    Read,
    /// Write, connect, wait for writability.
    Write,
}

/// What is known of a descriptor, a bit each.
pub(super) struct Flags(Cell<u8>);

/// The fd is registered, to be read.
pub(super) const HEARS_READ: u8 = 1;
/// And to be written.
pub(super) const HEARS_WRITE: u8 = 2;
/// A short transfer drains the direction (TCP: its reads end early for no other reason).
pub(super) const TRUSTS_SHORT: u8 = 4;
/// The handle is dead.
pub(super) const CLOSED: u8 = 8;
/// The fd stays open when the handle lets go of it.
pub(super) const KEEPS: u8 = 16;
/// The context counts transfers.
pub(super) const MEASURES: u8 = 32;
/// A part of a write has gone, and there was no memory for the rest, nor to note it elsewhere.
pub(super) const TORN: u8 = 64;
/// A timer will have what is pending tried again, see `sched::retry`.
pub(super) const RETRIES: u8 = 128;

impl Flags {
    #[inline]
    pub(super) fn has(&self, flags: u8) -> bool {
        self.0.get() & flags == flags
    }

    pub(super) fn set(&self, flags: u8, on: bool) {
        let rest = self.0.get() & !flags;
        self.0.set(if on { rest | flags } else { rest });
    }
}

/// A handle that owns an fd. All but the head, the word and the ops is guarded by the head's lock.
#[repr(C)]
pub struct Descriptor {
    pub(super) head: Head,
    pub(super) member: Member,
    pub(super) word: Readiness,
    /// Queued when what is ready is wanted.
    pub(super) op: Op,
    pub(super) fd: Cell<RawFd>,
    pub(super) tags: Tags,
    pub(super) flags: Flags,
    sched: Cell<Option<&'static Scheduler>>,
    /// The operation that writes, and more; while there is such a thing.
    pub(super) side: Cell<Option<&'static Side>>,
    /// The operation that reads; its tags are above.
    pub(super) read: Operation,
}

/// What an idle connection costs; docs/benchmarks.md has the rest.
#[cfg(all(not(loom), not(weir_sim)))]
const _: () = assert!(size_of::<Descriptor>() <= 144);

// SAFETY: what is no atomic is guarded by the lock, and the ops by the queue that they are in.
unsafe impl Sync for Descriptor {}

// SAFETY: descriptors stay where the table put them.
unsafe impl Entry for Descriptor {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Descriptor {
            head: Head::new(),
            member: Member::new(&CLASS),
            word: Readiness::new(),
            op: Op::new(run_ready),
            fd: Cell::new(-1),
            tags: Tags::new(),
            flags: Flags(Cell::new(CLOSED)),
            sched: Cell::new(None),
            side: Cell::new(None),
            read: Operation::new(),
        }
    }
}

/// A live descriptor under its lock; its context lives as long.
pub struct Locked {
    pub(super) descriptor: &'static Descriptor,
    /// Its context.
    pub sched: &'static Scheduler,
    pub(super) guard: MutexGuard<'static, ()>,
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
        let _guard = descriptor.head.lock.lock();
        descriptor.sched.set(Some(sched));
        descriptor.flags.set(CLOSED | RETRIES, false);
        descriptor.flags.set(MEASURES, sched.measures());
        descriptor.attach(fd, trusts_short);
        if !sched.members.add(&descriptor.member) {
            descriptor.fd.set(-1);
            descriptor.flags.set(CLOSED, true);
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
    #[inline]
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
    pub(super) fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked> {
        let guard = self.head.lock.lock();
        // Closed since it was found? The stamp changes under the lock only.
        if !live(&self.head) {
            return None;
        }
        Some(Locked { descriptor: self, sched: self.sched.get()?, guard })
    }

    /// The descriptor of an op that was popped, locked whether it is live or not; `None`: it was never live.
    #[inline]
    pub(super) fn lock_popped(&'static self) -> Option<Locked> {
        let guard = self.head.lock.lock();
        Some(Locked { descriptor: self, sched: self.sched.get()?, guard })
    }

    /// An edge from the kernel; true when the descriptor must be queued.
    #[inline]
    pub fn ready(&self, epoch: u32, events: u32) -> bool {
        self.word.edge(epoch, events)
    }

    /// Where the operation of a direction is, if there can be one.
    #[inline]
    pub(super) fn slot(&'static self, dir: Dir) -> Option<Slot<'static>> {
        match dir {
            Dir::Read => Some(self.read_slot()),
            Dir::Write => self.side.get().map(Side::slot),
        }
    }

    #[inline]
    pub(super) fn read_slot(&'static self) -> Slot<'static> {
        Slot { tags: &self.tags, operation: &self.read }
    }

    /// How far the operation of a direction is.
    #[inline]
    pub(super) fn phase(&'static self, dir: Dir) -> Phase {
        self.slot(dir).map_or(Phase::Idle, Slot::phase)
    }

    /// Back to the table when closed and in no queue.
    #[inline]
    pub(super) fn recycle_if_done(&'static self) {
        if self.flags.has(CLOSED) {
            self.recycle_closed();
        }
    }

    #[cold]
    fn recycle_closed(&'static self) {
        let busy = |dir| self.phase(dir) != Phase::Idle;
        if !busy(Dir::Read) && !busy(Dir::Write) && !self.word.is_queued() {
            self.member.unbind();
            DESCRIPTORS.recycle(self);
        }
    }
}

impl Locked {
    /// The handle's fd; an error when it has none.
    #[inline]
    pub fn fd(&self) -> Result<RawFd, Errno> {
        let fd = self.descriptor.fd.get();
        if fd < 0 { Err(Errno::NOTCONN) } else { Ok(fd) }
    }

    /// The handle.
    pub fn token(&self) -> Option<Token> {
        self.descriptor.head.token()
    }

    /// The part that the context knows.
    #[inline]
    pub fn member(&self) -> &'static Member {
        &self.descriptor.member
    }

    /// True while an operation of this direction is pending.
    #[inline]
    pub fn is_busy(&self, dir: Dir) -> bool {
        self.descriptor.phase(dir) != Phase::Idle
    }

    /// The number of operations that are pending or not delivered yet.
    pub fn pending(&self) -> usize {
        let busy = |dir| usize::from(self.is_busy(dir));
        busy(Dir::Read) + busy(Dir::Write) * self.operations(Dir::Write)
    }

    /// True when short transfers drain a direction, see [`super::slot::Perform`].
    #[inline]
    pub fn trusts_short(&self) -> bool {
        self.descriptor.flags.has(TRUSTS_SHORT)
    }

    /// True when what is read is delivered as records.
    pub fn read_gives_records(&self) -> bool {
        self.descriptor.read_slot().callback().is_record()
    }
}
