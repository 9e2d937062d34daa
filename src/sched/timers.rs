//! A context's timers: the queue with its clock and its timerfd. The timers themselves are in `timers/timer.rs`.
//!
//! One lock guards the queue and every timer of the context. The timerfd is programmed lazily: a change
//! of the earliest expiry only marks it stale, and the reactor looks at it just before it blocks. It blocks
//! until the earliest expiry, which costs no system call more, as long as its sleeps last that long; when
//! other events keep waking it before, it programs the timerfd, and has nothing to compute from then on.
//! Where somebody sleeps already the thread that made a timer earlier programs the timerfd itself, which also
//! wakes the reactor in time: one system call instead of an interrupt and a second turn.
#![allow(unsafe_code, reason = "intrusive timers between type-stable objects")]

use super::op::OpQueue;
use super::scheduler::Scheduler;
use super::sync::{AtomicI64, Mutex, Ordering};
use super::timer_queue::TimerQueue;

mod periodic;
mod timer;

pub use timer::{KIND_TIMER, Locked, TIMERS, Timer};

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

/// The expiry that never comes.
pub const NEVER: i64 = i64::MAX;

/// In place of the time of the turn while the reactor may sleep: the clock is read each time, and not kept.
const ASLEEP: i64 = -1;

/// Nodes that the wheel may move in one turn (H44).
const MOVES_PER_TURN: usize = 4096;

/// Sleeps until the next expiry that something else may end, before the timerfd is programmed instead.
const VAIN_SLEEPS: u32 = 2;

/// What the clock asks of its context. A model stands in for it.
pub trait Host {
    /// The time is the manual clock's.
    fn is_manual(&self) -> bool;
    /// How much later than due a shared wake-up may be.
    fn slack(&self) -> i64;
    /// The time where it is not manual.
    fn monotonic(&self) -> i64;
    /// Somebody may be asleep who must hear of an earlier timer.
    fn has_sleepers(&self) -> bool;
    /// The reactor's wait can end at a given nanosecond.
    fn sleeps_exactly(&self) -> bool;
    /// Programs the timerfd.
    fn arm(&self, at: i64);
    /// Ends a blocking turn.
    fn interrupt(&self);
}

/// Who asks when the next timer is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// The reactor, for a look at the kernel.
    Look,
    /// The reactor, which blocks until there is something to do.
    Sleep,
    /// A host, which knows the fd only.
    Host,
}

/// When a turn must end for the timers' sake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Timers are due.
    Now,
    /// After so many nanoseconds.
    After(i64),
    /// The timerfd sees to it.
    ByEvent,
}

/// The part of a context that keeps time.
pub struct Timers {
    clockwork: Mutex<Clockwork>,
    /// The time that was first asked for in this turn; below 0 while nobody has, then another number in each turn.
    turn_time: AtomicI64,
}

/// What the lock guards, besides the timers' own bodies.
pub struct Clockwork {
    queue: TimerQueue,
    /// What the timerfd is set to, or `NEVER`.
    programmed: i64,
    /// The earliest expiry may differ from what is programmed.
    stale: bool,
    /// When the reactor's last sleep was to end by itself.
    sleeps_until: i64,
    /// Sleeps of that kind since timers were last due.
    sleeps: u32,
    /// Due timers are left over from a bounded batch.
    backlog: bool,
    manual_now: i64,
    /// Timers that fired, and how late their turn came.
    pub fired: Fired,
}

/// What is known of timers that fired.
#[derive(Clone, Copy, Default)]
pub struct Fired {
    /// How many.
    pub count: u64,
    /// The sum of their delays, in nanoseconds.
    pub late_sum: u64,
    /// The largest of them.
    pub late_max: u64,
}

// SAFETY: the queue's nodes are type-stable objects, and touched under the lock.
unsafe impl Send for Clockwork {}

impl Timers {
    /// An empty queue.
    #[allow(clippy::new_without_default, reason = "made in one place")]
    pub fn new() -> Self {
        Timers {
            clockwork: Mutex::new(Clockwork {
                queue: TimerQueue::new(),
                programmed: NEVER,
                stale: false,
                sleeps_until: NEVER,
                sleeps: 0,
                backlog: false,
                manual_now: 0,
                fired: Fired::default(),
            }),
            turn_time: AtomicI64::new(i64::MIN),
        }
    }

    /// The time of this turn, if it is known.
    #[inline]
    pub fn turn_time(&self) -> Option<i64> {
        // Acquire: of the context that the value is of, the caller sees its beginning too.
        let time = self.turn_time.load(Ordering::Acquire);
        (time >= 0).then_some(time)
    }

    /// Has the clock read for it, once in a turn.
    pub fn read_turn_time(&self, clock: impl FnOnce() -> i64) -> i64 {
        let seen = self.turn_time.load(Ordering::Relaxed);
        if seen >= 0 {
            return seen;
        }
        let now = clock();
        if seen == ASLEEP {
            return now;
        }
        // If a turn has come meanwhile, what was read is of the one before, and not kept.
        match self.turn_time.compare_exchange(seen, now, Ordering::Release, Ordering::Relaxed) {
            Err(other) if other >= 0 => other,
            _ => now,
        }
    }

    /// The reactor is about to sleep.
    #[inline]
    pub fn suspend_turn_time(&self) {
        self.turn_time.store(ASLEEP, Ordering::Release);
    }

    /// The reactor has come back from the kernel for the `turns`th time.
    #[inline]
    pub fn forget_turn_time(&self, turns: u64) {
        self.turn_time.store(i64::MIN.wrapping_add_unsigned(turns), Ordering::Release);
    }

    /// The timerfd is a new one, which is set to nothing.
    pub fn renew(&self) {
        let mut clockwork = self.clockwork.lock();
        clockwork.programmed = NEVER;
        clockwork.sleeps_until = NEVER;
        clockwork.stale = true;
    }

    /// Readies it for the next context in its slot. The wheel is empty; its hand stays where it was.
    pub fn open(&self) {
        let mut clockwork = self.clockwork.lock();
        clockwork.queue = TimerQueue::new();
        clockwork.programmed = NEVER;
        clockwork.stale = false;
        clockwork.sleeps_until = NEVER;
        clockwork.sleeps = 0;
        clockwork.backlog = false;
        clockwork.manual_now = 0;
        clockwork.fired = Fired::default();
        self.turn_time.store(i64::MIN, Ordering::Release);
    }

    /// What is known of timers that fired.
    pub fn fired(&self) -> Fired {
        self.clockwork.lock().fired
    }

    /// The manual clock.
    pub fn manual_now(&self) -> i64 {
        self.clockwork.lock().manual_now
    }

    /// Moves the manual clock; true when a timer became due.
    pub fn advance_manual(&self, by: i64) -> bool {
        let mut clockwork = self.clockwork.lock();
        // It does not come to `NEVER`: what is due then never is.
        clockwork.manual_now = clockwork.manual_now.saturating_add(by).min(NEVER - 1);
        clockwork.stale = true;
        let now = clockwork.manual_now;
        clockwork.queue.wake_at().is_some_and(|at| at <= now)
    }

    /// Sees to it that whoever blocks next is woken for the earliest timer: tells when, or brings the timerfd up to
    /// date.
    pub fn flush(&self, host: &impl Host, before: Before) -> Wake {
        let mut clockwork = self.clockwork.lock();
        clockwork.sleeps_until = NEVER;
        if clockwork.backlog {
            return Wake::Now;
        }
        if !clockwork.stale {
            return Wake::ByEvent;
        }
        let Some(at) = clockwork.queue.wake_at() else {
            clockwork.stale = false;
            return Wake::ByEvent;
        };
        let manual = host.is_manual();
        let now = if manual { clockwork.manual_now } else { host.monotonic() };
        if at <= now {
            return Wake::Now;
        }
        if manual {
            clockwork.stale = false;
        } else if before == Before::Sleep && clockwork.sleeps < VAIN_SLEEPS && host.sleeps_exactly()
        {
            clockwork.sleeps += 1;
            clockwork.sleeps_until = clockwork.wake_for(host, at);
            return Wake::After(clockwork.sleeps_until.saturating_sub(now));
        } else if before != Before::Look {
            clockwork.program(host, at);
        }
        Wake::ByEvent
    }

    /// Queues the waits of due timers to `ready`: one batch, bounded, each with one hop to its callback.
    /// True when more are due.
    pub fn take_due(&self, sched: &Scheduler, ready: &OpQueue) -> bool {
        let now = sched.now();
        let mut guard = self.clockwork.lock();
        let clockwork = &mut *guard;
        // What was programmed has passed, or is about to be replaced.
        clockwork.programmed = NEVER;
        clockwork.stale = true;
        clockwork.sleeps = 0;
        let mut moves = MOVES_PER_TURN;
        let mut left = sched.options().max_events;
        while left > 0 {
            clockwork.queue.advance(now, &mut moves);
            let before = left;
            while left > 0 {
                // SAFETY: nodes in the queue are those of live timers of this context.
                let Some(node) = (unsafe { clockwork.queue.pop_due(now) }) else { break };
                // SAFETY: as above, and timers are type-stable.
                unsafe { Timer::of_node(node) }.fire(clockwork, now, ready);
                left -= 1;
            }
            if left == before {
                break;
            }
        }
        clockwork.backlog = clockwork.queue.wake_at().is_some_and(|at| at <= now);
        clockwork.backlog
    }
}

impl Clockwork {
    /// When to wake for a timer that is due at `at`: a little later where others may share the wake-up.
    fn wake_for(&self, host: &impl Host, at: i64) -> i64 {
        if self.queue.len() > 1 { at.saturating_add(host.slack()) } else { at }
    }

    fn program(&mut self, host: &impl Host, at: i64) {
        let at = self.wake_for(host, at);
        if at != self.programmed {
            host.arm(at);
            self.programmed = at;
        }
        self.stale = false;
    }

    /// Queues a timer. If it may be the earliest now, the timerfd is stale; where somebody sleeps who
    /// counts on it, it is programmed at once.
    #[inline]
    fn insert(&mut self, host: &impl Host, timer: &Timer, expiry: i64) {
        // SAFETY: the timer is type-stable and its node not queued, see `Locked`.
        if expiry != NEVER && unsafe { self.queue.insert(timer.node.get(), expiry) } {
            self.is_earlier(host, expiry);
        }
    }

    #[inline(never)]
    fn is_earlier(&mut self, host: &impl Host, expiry: i64) {
        self.stale = true;
        if host.has_sleepers() {
            if host.is_manual() {
                if expiry <= self.manual_now {
                    host.interrupt();
                }
            } else if let Some(at) = self.queue.wake_at()
                && self.wake_for(host, at) < self.programmed.min(self.sleeps_until)
            {
                self.program(host, at);
            }
        }
    }

    #[inline]
    fn remove(&mut self, timer: &Timer) {
        // SAFETY: under the lock that guards the node; a queued node is in this queue.
        unsafe {
            if (*timer.node.get()).is_queued() {
                self.queue.remove(timer.node.get());
            }
        }
    }
}
