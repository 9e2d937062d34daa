//! What the kernel is told of a descriptor's fd, and what is assumed of it before the kernel has told anything.
//!
//! An fd is registered once, edge-triggered, when an operation first parks, and widened when a write first does.

use super::descriptor::{
    Descriptor, Dir, HEARS_READ, HEARS_WRITE, KEEPS, Locked, TORN, TRUSTS_SHORT,
};
use super::operation::Phase;
use super::reactor::event_data;
use crate::sys::epoll;
use crate::sys::errno::Errno;
use crate::sys::fd;
use std::os::fd::RawFd;

/// What a direction needs.
#[inline]
const fn hearing(dir: Dir) -> u8 {
    match dir {
        Dir::Read => HEARS_READ,
        Dir::Write => HEARS_READ | HEARS_WRITE,
    }
}

impl Descriptor {
    /// Gives it an fd, or none (-1). What may be ready is not known yet.
    pub(super) fn attach(&self, fd: RawFd, trusts_short: bool) {
        self.fd.set(fd);
        self.flags.set(HEARS_READ | HEARS_WRITE, false);
        self.flags.set(TRUSTS_SHORT, trusts_short);
        self.word.renew(true);
    }

    /// What the fd is registered for.
    fn interest(&self) -> u32 {
        let mut interest = epoll::IN | epoll::PRI | epoll::RDHUP | epoll::ET;
        if self.flags.has(HEARS_WRITE) {
            interest |= epoll::OUT;
        }
        interest
    }
}

impl Locked {
    /// Gives the handle an fd, which it owns from now on. It must have none, so that nothing waits for one.
    pub fn attach(&mut self, fd: RawFd, trusts_short: bool) {
        debug_assert!(self.descriptor.phase(Dir::Read) != Phase::Parked, "its want would be lost");
        self.descriptor.attach(fd, trusts_short);
    }

    /// Ends the registration; returns the fd, which nothing refers to any more.
    pub(super) fn detach(&mut self) -> RawFd {
        let descriptor = self.descriptor;
        if descriptor.flags.has(HEARS_READ) {
            // Before close: a copy of the fd in a child would keep the registration alive (H32). The
            // user may have closed it (H33); then there is nothing to delete.
            let _ = self.sched.reactor().delete(descriptor.fd.get());
            descriptor.flags.set(HEARS_READ | HEARS_WRITE, false);
        }
        descriptor.word.renew(false);
        descriptor.flags.set(KEEPS | TORN, false);
        if let Some(writes) = self.writes() {
            writes.forget_lost();
        }
        descriptor.fd.replace(-1)
    }

    /// Closes the fd, if any; pending operations must have been ended.
    pub fn drop_fd(&mut self) {
        if self.fd().is_ok() {
            let keeps = self.descriptor.flags.has(KEEPS);
            let number = self.detach();
            if !keeps {
                fd::close(number);
            }
        }
    }

    /// Has the fd stay open when the handle lets go of it, or not.
    pub fn keep_fd(&mut self, keep: bool) -> Result<(), Errno> {
        self.fd()?;
        self.descriptor.flags.set(KEEPS, keep);
        Ok(())
    }

    /// Makes the next operation ask the kernel, whatever is known of the direction.
    pub fn assume_ready(&mut self, dir: Dir) {
        self.descriptor.word.assume(dir);
    }

    /// Forgets that the direction may be ready, so that only an edge from now on says so.
    pub fn forget_ready(&mut self, dir: Dir) {
        self.descriptor.word.forget(dir);
    }

    /// Registers the fd for a direction, or widens the registration. What is ready already comes as an
    /// edge. EPOLLOUT is left out until a write first parks: most sockets never need it.
    #[inline]
    pub(super) fn register(&mut self, dir: Dir) -> Result<(), Errno> {
        if self.hears(dir) { Ok(()) } else { self.widen(hearing(dir)) }
    }

    /// True when an edge in this direction would be told.
    #[inline]
    pub(super) fn hears(&self, dir: Dir) -> bool {
        self.descriptor.flags.has(hearing(dir))
    }

    #[cold]
    fn widen(&mut self, hears: u8) -> Result<(), Errno> {
        let Locked { descriptor, sched, .. } = self;
        let Some(token) = descriptor.head.token() else { return Err(Errno::BADF) };
        let data = event_data(token.index(), descriptor.word.epoch());
        let (reactor, fd) = (sched.reactor(), descriptor.fd.get());
        let is_new = !descriptor.flags.has(HEARS_READ);
        let mut wanted = descriptor.interest();
        if hears & HEARS_WRITE != 0 {
            wanted |= epoll::OUT;
        }
        if is_new {
            sched.watches.take_number(sched, fd, |replace| match replace {
                false => reactor.add(fd, wanted, data),
                true => reactor.modify(fd, wanted, data),
            })?;
        } else {
            reactor.modify(fd, wanted, data)?;
        }
        descriptor.flags.set(hears, true);
        Ok(())
    }

    /// Registers with an epoll set that is new, in a child process. What is ready comes as an edge.
    pub(super) fn renew(&mut self) -> Result<(), Errno> {
        let descriptor = self.descriptor;
        let Some(token) = descriptor.head.token() else { return Ok(()) };
        if !descriptor.flags.has(HEARS_READ) {
            return Ok(());
        }
        let data = event_data(token.index(), descriptor.word.epoch());
        let added = self.sched.reactor().add(descriptor.fd.get(), descriptor.interest(), data);
        added.inspect_err(|_| descriptor.flags.set(HEARS_READ | HEARS_WRITE, false))
    }
}
