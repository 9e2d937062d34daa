//! The reactor: asks the kernel what is ready and queues the descriptors that have a use for it.
//!
//! It does no I/O. The eventfd and the timerfd are registered edge-triggered and never read: each write
//! to the one and each expiry of the other is an edge of its own, and an edge that was taken leaves
//! nothing behind that could spin (H46). Both are in the epoll set, so that the epoll fd alone tells an
//! embedding host of posts and timers too (H71).
#![allow(unsafe_code, reason = "the event buffer belongs to whoever has the reactor's role")]

use super::descriptor::DESCRIPTORS;
use super::fork_gate;
use super::op::OpQueue;
use super::scheduler::Scheduler;
use super::source;
use super::stats::{self, Stats};
use super::sync::{AtomicBool, Ordering};
use crate::sys::epoll::{self, Epoll, EventBuffer, Timeout};
use crate::sys::errno::Errno;
use crate::sys::eventfd::EventFd;
use crate::sys::fork;
use crate::sys::timerfd::TimerFd;
use std::cell::UnsafeCell;
use std::os::fd::RawFd;

/// Event data that no descriptor has: their index ends at 28 bits.
const INTERRUPT: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// What a registration is known by in events: the descriptor's slot, and the epoch of the registration
/// in it, so that a late event of an earlier fd finds nothing (H09, H11, H32).
pub fn event_data(index: u32, epoch: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(index)
}

/// Set in the index half of what belongs to a source.
const SOURCE: u32 = 1 << 28;

/// What a source's registration is known by in events.
pub fn source_data(index: u32, epoch: u32) -> u64 {
    event_data(index | SOURCE, epoch)
}

/// What a wait found besides ready descriptors.
pub struct Found {
    /// The timer has expired, or the time to wait is over.
    pub timer: bool,
    /// There may be more events than fitted.
    pub full: bool,
}

/// The kernel objects of one context.
pub struct Reactor {
    epoll: Epoll,
    interrupter: EventFd,
    timer: TimerFd,
    events: UnsafeCell<EventBuffer>,
    /// What was done, in numbers.
    pub stats: Stats,
    /// The kernel counts a wait's time in milliseconds.
    coarse: AtomicBool,
    /// Of the process that opened the fds: those of a parent must not be touched (H70).
    forks: u32,
}

// SAFETY: only the thread with the reactor's role touches `events`; the rest is system calls.
unsafe impl Sync for Reactor {}

impl Reactor {
    /// Opens the three fds.
    pub fn new(max_events: usize) -> Result<Self, Errno> {
        fork_gate::watch()?;
        let epoll = Epoll::new()?;
        let interrupter = EventFd::new()?;
        let timer = TimerFd::new()?;
        epoll.add(interrupter.raw(), epoll::IN | epoll::ET, INTERRUPT)?;
        epoll.add(timer.raw(), epoll::IN | epoll::ET, TIMER)?;
        let events = UnsafeCell::new(EventBuffer::new(max_events)?);
        Ok(Reactor {
            epoll,
            interrupter,
            timer,
            events,
            stats: Stats::new(),
            coarse: AtomicBool::new(false),
            forks: fork::count(),
        })
    }

    /// The fd that is readable whenever the context has something to do.
    pub fn fd(&self) -> RawFd {
        self.epoll.raw()
    }

    /// True in a child of the process that opened the fds: the epoll set is the parent's, and what is done to
    /// it happens to the parent.
    #[inline]
    pub fn is_parents(&self) -> bool {
        self.forks != fork::count()
    }

    /// ESTALE in a child that has not made the context its own.
    pub fn check_own(&self) -> Result<(), Errno> {
        if self.is_parents() { Err(Errno(libc::ESTALE)) } else { Ok(()) }
    }

    /// Registers an fd.
    pub fn add(&self, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
        self.check_own()?;
        stats::add(&self.stats.epoll_ctls, 1);
        self.epoll.add(fd, events, data)
    }

    /// Changes a registration.
    pub fn modify(&self, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
        self.check_own()?;
        stats::add(&self.stats.epoll_ctls, 1);
        self.epoll.modify(fd, events, data)
    }

    /// Ends a registration.
    pub fn delete(&self, fd: RawFd) -> Result<(), Errno> {
        self.check_own()?;
        stats::add(&self.stats.epoll_ctls, 1);
        self.epoll.delete(fd)
    }

    /// Ends a blocking turn, or makes the fd readable for a host.
    pub fn interrupt(&self) {
        if self.is_parents() {
            return;
        }
        stats::add(&self.stats.interrupts, 1);
        self.interrupter.write();
    }

    /// A wait can end at a given nanosecond.
    pub fn sleeps_exactly(&self) -> bool {
        !self.coarse.load(Ordering::Relaxed)
    }

    /// Programs the timer, absolute.
    pub fn arm_timer(&self, at: i64) {
        if self.is_parents() {
            return;
        }
        stats::add(&self.stats.timer_arms, 1);
        self.timer.arm(at);
    }

    #[cfg(not(weir_sim))]
    #[inline(always)]
    fn ask(&self, events: &mut EventBuffer, timeout: Timeout) -> Result<usize, Errno> {
        self.epoll.wait(events, timeout)
    }

    /// In a simulation the kernel is never blocked in: the thread waits there until the set is readable. How
    /// many events are taken, and in which order, is the seed's.
    #[cfg(weir_sim)]
    fn ask(&self, events: &mut EventBuffer, timeout: Timeout) -> Result<usize, Errno> {
        use super::sync::schedule;
        let nanos = match timeout {
            Timeout::Now => None,
            Timeout::Never => Some(i64::MAX),
            Timeout::Nanos(nanos) => Some(nanos),
        };
        match nanos {
            None => schedule::step(schedule::Kind::Kernel),
            Some(i64::MAX) => _ = schedule::block_on_kernel(self.epoll.raw(), None),
            Some(nanos) => _ = schedule::block_on_kernel(self.epoll.raw(), Some(nanos)),
        }
        let full = events.events_mut().len();
        events.set_limit([full, 1, 2, 3, full][schedule::choose(5)].min(full));
        let count = self.epoll.wait(events, Timeout::Now)?;
        let found = events.events_mut();
        for place in (1..count).rev() {
            found.swap(place, schedule::choose(place + 1));
        }
        schedule::step(schedule::Kind::Kernel);
        Ok(count)
    }

    /// Asks the kernel once, and queues to `ready` what has a use for its answer.
    ///
    /// # Safety
    /// The caller has the reactor's role.
    pub unsafe fn wait(
        &self,
        sched: &'static Scheduler,
        timeout: Timeout,
        ready: &OpQueue,
    ) -> Result<Found, Errno> {
        self.check_own()?;
        // SAFETY: one thread at a time has the role.
        let events = unsafe { &mut *self.events.get() };
        if timeout != Timeout::Now {
            sched.timers.suspend_turn_time();
        }
        let count = match self.ask(events, timeout) {
            Err(Errno::INTR) if !sched.options().interruptible => 0,
            answer => answer?,
        };
        let timed = matches!(timeout, Timeout::Nanos(_));
        if timed && !events.is_exact() {
            self.coarse.store(true, Ordering::Relaxed);
        }
        stats::add_alone(&self.stats.turns, 1);
        sched.timers.forget_turn_time(self.stats.turns.load(Ordering::Relaxed));
        stats::add_alone(&self.stats.events, count as u64);
        let mut found = Found { timer: timed && count == 0, full: count >= events.capacity() };
        for (mask, data) in events.iter(count) {
            match data {
                INTERRUPT => {}
                TIMER => found.timer = true,
                _ => {
                    let (index, epoch) = (data as u32, (data >> 32) as u32);
                    if index & SOURCE != 0 {
                        if let Some(source) = source::by_index(index & !SOURCE) {
                            source.ready(epoch, sched, mask, ready);
                        }
                    } else if let Some(descriptor) = DESCRIPTORS.by_index(index)
                        && descriptor.ready(epoch, mask)
                    {
                        ready.push(descriptor.op());
                    }
                }
            }
        }
        Ok(found)
    }
}
