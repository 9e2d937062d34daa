//! Fds that a service watches for itself: each readiness calls a function of the service in the turn.
//!
//! Unlike a descriptor a source has no operations; what it calls queues them. It is told which object to
//! look for by a number, never by an address, since the object may be gone by then (H09).
#![allow(unsafe_code, reason = "the table entry")]

use super::op::OpQueue;
use super::reactor::{Reactor, source_data};
use super::scheduler::Scheduler;
use super::sync::Mutex;
use super::table::{Entry, Head, Table};
use crate::sys::errno::Errno;
use std::os::fd::RawFd;

/// Called by the thread that has the reactor's role, with no lock held. What completes goes to `ready`.
pub type SourceFn = fn(&'static Scheduler, user: u64, events: u32, ready: &OpQueue);

/// Every source of the process.
#[cfg(not(loom))]
pub static SOURCES: Table<Source> = Table::new();
/// Every source of the process.
#[cfg(loom)]
pub static SOURCES: once_cell::sync::Lazy<Table<Source>> = once_cell::sync::Lazy::new(Table::new);

/// An fd in a context's epoll set.
pub struct Source {
    head: Head,
    state: Mutex<State>,
}

struct State {
    /// Of the registration: a late event of an earlier one finds nothing.
    epoch: u32,
    call: Option<(SourceFn, u64)>,
    /// The context, as an address, the fd and the events of the registration.
    registered: (usize, RawFd, u32),
}

// SAFETY: sources stay where the table put them.
unsafe impl Entry for Source {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Source {
            head: Head::new(),
            state: Mutex::new(State { epoch: 0, call: None, registered: (0, -1, 0) }),
        }
    }
}

/// A source that is registered. It is not an object with a lock: whoever has it guards it.
#[derive(Clone, Copy)]
pub struct Registered {
    source: &'static Source,
    index: u32,
    epoch: u32,
}

impl Source {
    /// Adds `fd`, which is the library's own, to the context's set; `events` are epoll's, with EPOLLET where
    /// wanted.
    pub fn register(
        sched: &Scheduler,
        fd: RawFd,
        events: u32,
        call: SourceFn,
        user: u64,
    ) -> Result<Registered, Errno> {
        let mut registered = Err(Errno::EXIST);
        sched.watches.take_number(sched, fd, |replace| {
            registered = Self::register_foreign(sched, fd, events, replace, call, user);
            registered.map(drop)
        })?;
        registered
    }

    /// The same for an fd of the user's. `replace` takes a registration over that nobody has any more.
    pub fn register_foreign(
        sched: &Scheduler,
        fd: RawFd,
        events: u32,
        replace: bool,
        call: SourceFn,
        user: u64,
    ) -> Result<Registered, Errno> {
        let source = SOURCES.reserve().map_err(|_| Errno::NOMEM)?;
        let token = SOURCES.publish(source, 0);
        let epoch = {
            let mut state = source.state.lock();
            state.epoch = state.epoch.wrapping_add(1);
            state.call = Some((call, user));
            state.registered = (address(sched), fd, events);
            state.epoch
        };
        let registered = Registered { source, index: token.index(), epoch };
        let data = source_data(token.index(), epoch);
        let added = match sched.reactor().add(fd, events, data) {
            Err(Errno::EXIST) if replace => sched.reactor().modify(fd, events, data),
            added => added,
        };
        match added {
            Ok(()) => Ok(registered),
            Err(error) => {
                registered.forget();
                Err(error)
            }
        }
    }

    /// An event from the kernel.
    pub(super) fn ready(
        &'static self,
        epoch: u32,
        sched: &'static Scheduler,
        events: u32,
        ready: &OpQueue,
    ) {
        let call = {
            let state = self.state.lock();
            if state.epoch == epoch { state.call } else { None }
        };
        if let Some((call, user)) = call {
            call(sched, user, events, ready);
        }
    }
}

impl Registered {
    /// Changes what the kernel is asked for. Where something of it is ready, that comes as an event.
    pub fn modify(&self, sched: &Scheduler, fd: RawFd, events: u32) -> Result<(), Errno> {
        sched.reactor().modify(fd, events, source_data(self.index, self.epoch))?;
        self.source.state.lock().registered = (address(sched), fd, events);
        Ok(())
    }

    /// Takes the fd out of the set. The error is the kernel's, for instance that the user closed the fd
    /// before; the source is gone all the same.
    pub fn remove(self, sched: &Scheduler, fd: RawFd) -> Result<(), Errno> {
        let deleted = sched.reactor().delete(fd);
        self.forget();
        deleted
    }

    /// Gives the source up without a system call: the fd is out of the set already, as after a close.
    pub fn forget(self) {
        {
            let mut state = self.source.state.lock();
            state.epoch = state.epoch.wrapping_add(1);
            state.call = None;
            state.registered = (0, -1, 0);
        }
        SOURCES.kill(self.source);
        SOURCES.recycle(self.source);
    }
}

fn address(sched: &Scheduler) -> usize {
    std::ptr::from_ref(sched).addr()
}

/// Registers every source of a context with `reactor`, which is new. An fd that is not open any more gives no events, one
/// that has become another file, by a user who closed a watched one, does. ENOSPC and ENOMEM, where the fd is as good as
/// ever and would not be heard of.
pub fn renew(sched: &Scheduler, reactor: &Reactor) -> Result<(), Errno> {
    for index in 0.. {
        let Some(source) = SOURCES.by_index(index) else { break };
        let state = source.state.lock();
        let (of, fd, events) = state.registered;
        if of != address(sched) {
            continue;
        }
        let added = reactor.add(fd, events, source_data(index, state.epoch));
        if let Err(error @ (Errno::NOSPC | Errno::NOMEM)) = added {
            return Err(error);
        }
    }
    Ok(())
}

/// The source at an index in an event.
pub(super) fn by_index(index: u32) -> Option<&'static Source> {
    SOURCES.by_index(index)
}
