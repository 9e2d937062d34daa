//! Connecting to the first of several addresses that answers (RFC 8305).
//!
//! The operation has the stream's write slot; its attempts are sockets of their own, each with a source that
//! tells when it may be connected, and share one internal timer. All of them are in a [`Race`], which the
//! stream holds while the operation is pending: whatever ends the operation drops it, and with it every attempt.
#![allow(unsafe_code, reason = "a pooled call")]

use super::stream::{perform_connect, trusts_short};
use crate::sched::call::{free_call, new_call, user_of};
use crate::sched::completion::{Callback, OP_CONNECT, StatusFn};
use crate::sched::descriptor::{Descriptor, Locked};
use crate::sched::frame::{Caller, Frame};
use crate::sched::op::{Op, OpQueue};
use crate::sched::scheduler::Scheduler;
use crate::sched::slot::{Outcome, Transfer};
use crate::sched::source::{Registered, Source};
use crate::sched::table::Token;
use crate::sched::timers::{NEVER, Timer};
use crate::sched::try_box::try_box;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::socket::{self, Connect};
use crate::sys::{epoll, fd};
use libc::c_void;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

/// Between attempts, as the RFC recommends.
pub const STAGGER: i64 = 250_000_000;

/// How to go about it.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Nanoseconds between the starts of two attempts.
    pub stagger: i64,
    /// Nanoseconds that an attempt may take; `NEVER`: as long as the kernel tries.
    pub limit: i64,
}

struct Attempt {
    fd: RawFd,
    source: Registered,
    deadline: i64,
}

/// What is pending: dropped, at the latest, when the operation ends.
struct Race {
    sched: &'static Scheduler,
    stream: Token,
    pace: Pace,
    /// In the order in which they are tried.
    addresses: Vec<Address>,
    next: usize,
    /// When the next one is tried.
    next_at: i64,
    attempts: Vec<Attempt>,
    /// What to say if none succeeds.
    error: Errno,
    timer: Token,
    /// The timer's wait: in hand, or on its way to [`run_race`] while armed.
    wait: NonNull<Op>,
    armed: bool,
}

// SAFETY: the call is the race's own while it is in hand.
unsafe impl Send for Race {}

/// How it ended: a connected socket, or why there is none.
type End = Result<RawFd, Errno>;

/// Begins to connect to one of `addresses`.
pub fn begin(
    caller: &Caller,
    stream: Token,
    addresses: Vec<Address>,
    pace: Pace,
    callback: Option<StatusFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut locked = Descriptor::lock(stream)?;
    if addresses.is_empty() || pace.stagger < 0 || pace.limit < 0 {
        return Err(Errno::INVAL);
    }
    if locked.fd().is_ok() {
        return Err(Errno::BUSY);
    }
    locked.check_idle_write()?;
    let race = Race::new(caller, locked.sched, stream, interleaved(addresses)?, pace)?;
    let callback = callback.map_or(Callback::Record(OP_CONNECT), Callback::Status);
    locked.begin_held(try_box(race)?, callback, user)?;
    if let Some(end) = step(&mut locked) {
        conclude(&mut locked, end);
        locked.submit_held(caller);
    }
    Ok(())
}

/// Families in turn, beginning with that of the first address; each in the order given.
fn interleaved(addresses: Vec<Address>) -> Result<Vec<Address>, Errno> {
    let mut order = Vec::new();
    order.try_reserve_exact(addresses.len()).map_err(|_| Errno::NOMEM)?;
    let first = addresses.first().map(Address::family);
    let mut same = addresses.iter().filter(|address| Some(address.family()) == first);
    let mut other = addresses.iter().filter(|address| Some(address.family()) != first);
    loop {
        let (one, two) = (same.next(), other.next());
        if one.is_none() && two.is_none() {
            return Ok(order);
        }
        order.extend(one.into_iter().chain(two).cloned());
    }
}

impl Race {
    fn new(
        caller: &Caller,
        sched: &'static Scheduler,
        stream: Token,
        addresses: Vec<Address>,
        pace: Pace,
    ) -> Result<Self, Errno> {
        let mut attempts = Vec::new();
        attempts.try_reserve_exact(addresses.len()).map_err(|_| Errno::NOMEM)?;
        let user = ptr::without_provenance_mut(usize::try_from(stream.raw()).unwrap_or(0));
        let wait = new_call(caller, run_race, None, user)?;
        let timer = match Timer::create(sched) {
            Ok(timer) => timer,
            Err(error) => {
                // SAFETY: it was not queued.
                unsafe { free_call(caller, wait) };
                return Err(error);
            }
        };
        if let Ok(mut timer) = Timer::lock(timer) {
            timer.set_owner(stream.raw());
        }
        Ok(Race {
            sched,
            stream,
            pace,
            addresses,
            next: 0,
            next_at: 0,
            attempts,
            error: Errno::CONNREFUSED,
            timer,
            wait,
            armed: false,
        })
    }

    /// Looks at what is under way and starts what is due; how it ended, if it did.
    fn step(&mut self) -> Option<End> {
        let now = self.sched.now();
        let mut at = 0;
        while let Some(attempt) = self.attempts.get(at) {
            let failed = match perform_connect(attempt.fd, &mut Transfer::none(), false) {
                Outcome::Done { status: 0, .. } => return Some(Ok(self.take(at))),
                Outcome::Done { status, .. } => Errno(-status),
                _ if attempt.deadline <= now => Errno::TIMEDOUT,
                _ => {
                    at += 1;
                    continue;
                }
            };
            fd::close(self.take(at));
            self.note(failed);
            // Its successor need not wait.
            self.next_at = now;
        }
        while (self.attempts.is_empty() || self.next_at <= now)
            && let Some(address) = self.addresses.get(self.next)
        {
            self.next += 1;
            let deadline = now.saturating_add(self.pace.limit);
            match self.start(&address.clone()) {
                Ok((fd, None)) => return Some(Ok(fd)),
                Ok((fd, Some(source))) => {
                    self.attempts.push(Attempt { fd, source, deadline });
                    self.next_at = now.saturating_add(self.pace.stagger);
                }
                Err(error) => self.note(error),
            }
        }
        if self.attempts.is_empty() {
            return Some(Err(self.error));
        }
        self.arm();
        None
    }

    /// One attempt: its socket, with a source unless it is connected already.
    fn start(&self, address: &Address) -> Result<(RawFd, Option<Registered>), Errno> {
        let fd = socket::stream_socket(address.family())?;
        let source = match socket::connect(fd, address) {
            Ok(Connect::Done) => Ok(None),
            // H20: after connect(2), so that no edge from before it comes.
            Ok(Connect::InProgress) => {
                let events = epoll::OUT | epoll::ET;
                Source::register(self.sched, fd, events, on_event, self.stream.raw()).map(Some)
            }
            // From AF_UNIX, where the listener's queue is full.
            Err(Errno::AGAIN) => Err(Errno::CONNREFUSED),
            Err(error) => Err(error),
        };
        source.map(|source| (fd, source)).inspect_err(|_| fd::close(fd))
    }

    /// Takes an attempt's socket out.
    fn take(&mut self, at: usize) -> RawFd {
        let attempt = self.attempts.swap_remove(at);
        // H32: before any close of it.
        let _ = attempt.source.remove(self.sched, attempt.fd);
        attempt.fd
    }

    /// The last error is told, but one of this host's only where no peer has said anything.
    fn note(&mut self, error: Errno) {
        let local = matches!(
            error.0,
            libc::ENETUNREACH | libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EHOSTUNREACH
        );
        if !local || self.next <= 1 {
            self.error = error;
        }
    }

    fn arm(&mut self) {
        let more = self.next < self.addresses.len();
        let start = if more { self.next_at } else { NEVER };
        let at = self.attempts.iter().map(|attempt| attempt.deadline).fold(start, i64::min);
        // Gone while the context is being destroyed.
        let Ok(mut timer) = Timer::lock(self.timer) else { return };
        timer.set_expiry(at);
        if !self.armed {
            timer.add_internal_wait(self.wait);
            self.armed = true;
        }
    }
}

impl Drop for Race {
    fn drop(&mut self) {
        let caller = Caller::current();
        while !self.attempts.is_empty() {
            fd::close(self.take(0));
        }
        if !self.armed {
            // SAFETY: in hand, so it is in no queue.
            unsafe { free_call(&caller, self.wait) };
        }
        if let Ok(timer) = Timer::lock(self.timer) {
            timer.close(&caller);
        }
    }
}

fn step(locked: &mut Locked) -> Option<End> {
    locked.held::<Race>()?.step()
}

fn conclude(locked: &mut Locked, end: End) {
    match end {
        Ok(fd) => {
            let of_tcp = || Ok(trusts_short(socket::domain(fd)?, socket::protocol(fd)?));
            let trusts: Result<bool, Errno> = of_tcp();
            locked.attach(fd, trusts.unwrap_or(false));
            locked.finish_held(0);
        }
        Err(error) => locked.finish_held(error.code()),
    }
}

/// The kernel has news of an attempt.
fn on_event(_: &'static Scheduler, user: u64, _: u32, ready: &OpQueue) {
    let Ok(mut locked) = Descriptor::lock(Token::from_raw(user)) else { return };
    if let Some(end) = step(&mut locked) {
        conclude(&mut locked, end);
        locked.submit_held_in_turn(ready);
    }
}

/// The timer has fired, or the race is over.
unsafe fn run_race(op: NonNull<Op>, frame: &Frame) {
    let caller = Caller::of(frame);
    // SAFETY: popped by this thread; it came from the pool.
    let stream = unsafe { user_of(op) }.addr() as u64;
    let locked = Descriptor::lock(Token::from_raw(stream)).ok();
    if let Some(mut locked) = locked
        && let Some(race) = locked.held::<Race>()
        && race.wait == op
    {
        race.armed = false;
        if let Some(end) = race.step() {
            conclude(&mut locked, end);
            locked.submit_held(&caller);
        }
        return;
    }
    // SAFETY: as above; its race is over, so nobody else knows of it.
    unsafe { free_call(&caller, op) };
}
