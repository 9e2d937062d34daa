//! A context's timers: the queue with its clock and timerfd, the timer objects, and their firing.
//!
//! One lock guards the queue and every timer of the context. The timerfd is programmed lazily: a change
//! of the earliest expiry only marks it stale, and the reactor looks at it just before it blocks. It blocks
//! until the earliest expiry, which costs no system call more, as long as its sleeps last that long; when
//! other events keep waking it before, it programs the timerfd, and has nothing to compute from then on.
//! Where somebody sleeps already the thread that made a timer earlier programs the timerfd itself, which also
//! wakes the reactor in time: one system call instead of an interrupt and a second turn.
#![allow(unsafe_code, reason = "intrusive timers between type-stable objects")]

use super::call::{cancel_call, free_call, user_of};
use super::completion::{Callback, Delivery, OP_TIMER, StatusFn, deliver, hold_back};
use super::frame::{Caller, Frame, Subject};
use super::member::{Class, Member};
use super::op::{Op, OpQueue};
use super::scheduler::Scheduler;
use super::sync::{AtomicI64, AtomicPtr, Mutex, MutexGuard, Ordering};
use super::table::{Entry, Head, Table, Token};
use super::ticket;
use super::timer_queue::{TimerNode, TimerQueue};
use crate::sys::errno::Errno;
use libc::c_void;
use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

/// The handle kind of timers.
pub const KIND_TIMER: u8 = 2;

/// The expiry that never comes.
pub const NEVER: i64 = i64::MAX;

/// Nodes that the wheel may move in one turn (H44).
const MOVES_PER_TURN: usize = 4096;

/// Sleeps until the next expiry that something else may end, before the timerfd is programmed instead.
const VAIN_SLEEPS: u32 = 2;

/// Every timer of the process.
#[cfg(not(loom))]
pub static TIMERS: Table<Timer> = Table::new();
/// Every timer of the process.
#[cfg(loom)]
pub static TIMERS: once_cell::sync::Lazy<Table<Timer>> = once_cell::sync::Lazy::new(Table::new);

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
        // If a turn has come meanwhile, what was read is of the one before, and not kept.
        match self.turn_time.compare_exchange(seen, now, Ordering::Release, Ordering::Relaxed) {
            Err(other) if other >= 0 => other,
            _ => now,
        }
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

/// A timer object: three cache lines, of which the middle one is all that moving the expiry touches.
#[repr(C, align(64))]
pub struct Timer {
    member: Member,
    /// Queued to deliver ticks and the end of the periodic operation.
    tick: Op,
    /// Moves the node to its place.
    _hole: u64,
    /// Its first field ends the line.
    node: UnsafeCell<TimerNode>,
    head: Head,
    sched: AtomicPtr<Scheduler>,
    body: UnsafeCell<Body>,
}

#[cfg(not(any(loom, weir_sim)))]
const _: () = {
    assert!(offset_of!(Timer, node) == 56 && offset_of!(Timer, body) == 128);
    assert!(size_of::<Timer>() == 192);
};

/// What the context's timer lock guards of one timer, besides the node, which has the expiry.
struct Body {
    waits: OpQueue,
    /// The handle that an internal timer serves.
    owner: u64,
    periodic: Option<Periodic>,
    /// `tick` is in a queue or being delivered: the slot can't be reused, and no second one is queued,
    /// so that the callbacks of one operation never overlap.
    tick_busy: bool,
    closed: bool,
}

struct Periodic {
    period: i64,
    /// None: records.
    callback: Option<StatusFn>,
    user: *mut c_void,
    due: bool,
    ended: bool,
}

impl Periodic {
    fn callback(&self) -> Callback {
        self.callback.map_or(Callback::Record(OP_TIMER), Callback::Status)
    }
}

// SAFETY: `node` and `body` are guarded by the lock of the timers of `sched`.
unsafe impl Sync for Timer {}

// SAFETY: timers stay where the table put them.
unsafe impl Entry for Timer {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Timer {
            member: Member::new(&CLASS),
            tick: Op::new(run_tick),
            _hole: 0,
            node: UnsafeCell::new(TimerNode::new()),
            head: Head::new(),
            sched: AtomicPtr::new(ptr::null_mut()),
            body: UnsafeCell::new(Body {
                waits: OpQueue::new(),
                owner: 0,
                periodic: None,
                tick_busy: false,
                closed: true,
            }),
        }
    }
}

/// A live timer under its lock.
pub struct Locked {
    timer: &'static Timer,
    /// Its context.
    pub sched: &'static Scheduler,
    clockwork: MutexGuard<'static, Clockwork>,
}

impl Timer {
    /// Makes a timer of a context, due at once.
    pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
        let timer = TIMERS.reserve().map_err(|_| Errno::NOMEM)?;
        timer.sched.store(ptr::from_ref(sched).cast_mut(), Ordering::Release);
        let guard = sched.timers.clockwork.lock();
        // SAFETY: reserved, so nobody else has it; and under the lock that guards it.
        unsafe {
            *timer.body.get() = Body {
                waits: OpQueue::new(),
                owner: 0,
                periodic: None,
                tick_busy: false,
                closed: false,
            };
            (*timer.node.get()).set_expiry(0);
        }
        if !sched.members.add(&timer.member) {
            drop(guard);
            TIMERS.recycle(timer);
            return Err(Errno::SHUTDOWN);
        }
        Ok(TIMERS.publish(timer, KIND_TIMER))
    }

    /// The timer of a handle, locked.
    #[inline]
    pub fn lock(token: Token) -> Result<Locked, Errno> {
        let timer = TIMERS.find(token).ok_or(Errno::BADF)?;
        timer.lock_if(|head| head.is_live_as(token)).ok_or(Errno::BADF)
    }

    /// Takes the lock of the context that the timer is of and checks under it that it still is.
    #[inline]
    fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked> {
        // SAFETY: null or a context, and contexts are type-stable.
        let sched: &'static Scheduler = unsafe { self.sched.load(Ordering::Acquire).as_ref() }?;
        let clockwork = sched.timers.clockwork.lock();
        // The slot may have been closed, and even been reused in another context, before the lock was
        // taken: the stamp tells, since it changes under the lock only.
        (live(&self.head) && ptr::eq(self.sched.load(Ordering::Acquire), sched)).then_some(Locked {
            timer: self,
            sched,
            clockwork,
        })
    }

    /// # Safety
    /// The node of a timer.
    #[inline]
    unsafe fn of_node(node: *mut TimerNode) -> &'static Timer {
        // SAFETY: promised by the caller; the table never frees timers.
        unsafe { &*node.byte_sub(offset_of!(Timer, node)).cast() }
    }

    /// Completes what waits for this expiry. A periodic timer goes back into the queue.
    fn fire(&'static self, clockwork: &mut Clockwork, now: i64, ready: &OpQueue) {
        // SAFETY: under the lock.
        let (body, expiry) = unsafe { (&mut *self.body.get(), (*self.node.get()).expiry()) };
        let late = u64::try_from(now.saturating_sub(expiry)).unwrap_or(0);
        clockwork.fired.count += 1;
        // A manual clock may jump by centuries.
        clockwork.fired.late_sum = clockwork.fired.late_sum.saturating_add(late);
        clockwork.fired.late_max = clockwork.fired.late_max.max(late);
        match self.member.strand() {
            None => ready.append(&body.waits),
            Some(strand) => {
                while let Some(wait) = body.waits.pop() {
                    strand.submit_in_turn(ready, wait);
                }
            }
        }
        let Some(periodic) = body.periodic.as_mut().filter(|p| !p.ended) else { return };
        periodic.due = true;
        // Periods that were missed fold into this one.
        let missed = (now.saturating_sub(expiry)) / periodic.period;
        let step = missed.saturating_add(1).saturating_mul(periodic.period);
        let expiry = expiry.saturating_add(step);
        if !body.tick_busy {
            body.tick_busy = true;
            Scheduler::submit_in_turn(&self.member, ready, self.tick.as_ptr());
        }
        // SAFETY: under the lock; the node was popped, so it is not queued. The turn reprograms the timerfd.
        unsafe {
            (*self.node.get()).set_expiry(expiry);
            if expiry != NEVER {
                clockwork.queue.insert(self.node.get(), expiry);
            }
        }
    }

    fn recycle_if_done(&'static self, body: &Body) {
        if body.closed && !body.tick_busy {
            self.member.unbind();
            TIMERS.recycle(self);
        }
    }
}

impl Locked {
    /// The part that the context knows.
    pub fn member(&self) -> &'static Member {
        &self.timer.member
    }

    /// The number of waits, and of periodic operations.
    pub fn pending(&mut self) -> usize {
        let mut pending = usize::from(self.body().periodic.is_some());
        self.body().waits.for_each(|_| pending += 1);
        pending
    }

    #[inline]
    fn body(&mut self) -> &mut Body {
        // SAFETY: this holds the lock that guards it.
        unsafe { &mut *self.timer.body.get() }
    }

    /// The handle that an internal timer serves.
    pub fn owner(&mut self) -> u64 {
        self.body().owner
    }

    /// Makes it an internal timer.
    pub fn set_owner(&mut self, owner: u64) {
        self.body().owner = owner;
    }

    /// The expiry.
    #[inline]
    pub fn expiry(&mut self) -> i64 {
        // SAFETY: this holds the lock that guards it.
        unsafe { (*self.timer.node.get()).expiry() }
    }

    /// True while the queue must hold the timer.
    #[inline]
    fn is_awaited(&mut self) -> bool {
        let body = self.body();
        !body.waits.is_empty() || body.periodic.as_ref().is_some_and(|p| !p.ended)
    }

    /// The context's time, read under the lock.
    pub fn now(&self) -> i64 {
        if self.sched.options().manual_clock { self.clockwork.manual_now } else { self.sched.now() }
    }

    /// Sets the expiry; what is pending moves with it. O(1), and no system call unless the timer becomes
    /// the earliest while somebody sleeps.
    #[inline(always)]
    pub fn set_expiry(&mut self, at: i64) {
        // SAFETY: under the lock that guards the node; a queued node is in this queue.
        let moved =
            at != NEVER && unsafe { self.clockwork.queue.move_in_place(self.timer.node.get(), at) };
        if !moved {
            self.place_at(at);
        }
    }

    fn place_at(&mut self, at: i64) {
        let Locked { timer, clockwork, .. } = self;
        clockwork.remove(timer);
        // SAFETY: under the lock that guards it, and not queued.
        unsafe { (*timer.node.get()).set_expiry(at) };
        if self.is_awaited() {
            self.clockwork.insert(self.sched, self.timer, at);
        }
    }

    /// Makes a wait of a context that measures its callbacks, which a call is too small for: a ticket that knows the
    /// timer.
    pub fn new_measured_wait(
        &self,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> Result<NonNull<Op>, Errno> {
        let callback = callback.map_or(Callback::Record(OP_TIMER), Callback::Status);
        let wait = ticket::new(callback, user)?;
        let token = self.timer.head.token().map_or(0, Token::raw);
        let subject = Subject { token, member: Some(&self.timer.member) };
        // SAFETY: a new ticket.
        unsafe { ticket::set_subject(wait, subject) };
        Ok(wait)
    }

    /// Adds a wait that is not queued anywhere: a call, or where the context measures its callbacks a ticket.
    #[inline]
    pub fn add_wait(&mut self, wait: NonNull<Op>) {
        self.sched.work_started();
        self.add_internal_wait(wait);
    }

    /// Adds a wait that does not keep run going.
    #[inline]
    pub fn add_internal_wait(&mut self, wait: NonNull<Op>) {
        let queued = self.is_awaited();
        self.body().waits.push(wait);
        if !queued {
            let expiry = self.expiry();
            self.clockwork.insert(self.sched, self.timer, expiry);
        }
    }

    /// Starts the periodic operation.
    pub fn start(
        &mut self,
        first: i64,
        period: i64,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        if self.body().periodic.is_some() {
            return Err(Errno::BUSY);
        }
        self.sched.work_started();
        self.body().periodic = Some(Periodic { period, callback, user, due: false, ended: false });
        self.set_expiry(first);
        Ok(())
    }

    /// Ends the periodic operation; 1 if there was one. A tick that has come already is delivered first.
    #[inline]
    pub fn stop(&mut self, caller: &Caller) -> usize {
        if self.body().periodic.is_none() { 0 } else { self.stop_periodic(caller) }
    }

    fn stop_periodic(&mut self, caller: &Caller) -> usize {
        let timer = self.timer;
        let body = self.body();
        let Some(periodic) = body.periodic.as_mut().filter(|p| !p.ended) else { return 0 };
        periodic.ended = true;
        if !body.tick_busy {
            body.tick_busy = true;
            self.sched.submit(caller, &timer.member, timer.tick.as_ptr());
        }
        self.dequeue_if_idle();
        1
    }

    /// Ends up to `limit` waits, oldest first; the number ended.
    #[inline]
    pub fn cancel_waits(&mut self, caller: &Caller, limit: usize) -> usize {
        let mut ended = 0;
        while ended < limit
            && let Some(wait) = self.body().waits.pop()
        {
            self.cancel_wait(caller, wait);
            ended += 1;
        }
        if ended > 0 {
            self.dequeue_if_idle();
        }
        ended
    }

    #[inline]
    fn cancel_wait(&mut self, caller: &Caller, wait: NonNull<Op>) {
        if self.body().owner == 0 {
            // SAFETY: a wait is what `add_wait` says, and this one was popped under the lock.
            unsafe {
                if self.sched.measures() {
                    ticket::set_result(wait, Errno::CANCELED.code(), 0);
                } else {
                    cancel_call(wait);
                }
            }
        }
        self.sched.submit(caller, &self.timer.member, wait);
    }

    /// Ends what was begun with `user`: waits, and the periodic operation.
    pub fn cancel_of(&mut self, caller: &Caller, user: *mut c_void) -> usize {
        let (all, mut ended) = (OpQueue::new(), 0);
        all.append(&self.body().waits);
        while let Some(wait) = all.pop() {
            // SAFETY: as in `cancel_wait`.
            let of = unsafe {
                if self.sched.measures() { ticket::user_of(wait) } else { user_of(wait) }
            };
            if of == user {
                self.cancel_wait(caller, wait);
                ended += 1;
            } else {
                self.body().waits.push(wait);
            }
        }
        if self.body().periodic.as_ref().is_some_and(|periodic| periodic.user == user) {
            ended += self.stop(caller);
        }
        self.dequeue_if_idle();
        ended
    }

    #[inline]
    fn dequeue_if_idle(&mut self) {
        if !self.is_awaited() {
            let Locked { timer, clockwork, .. } = self;
            clockwork.remove(timer);
        }
    }

    /// Ends the timer. The slot is reused when nothing of it is queued any more.
    pub fn close(mut self, caller: &Caller) {
        // The wait of an internal timer is not counted as work: queued by itself it would keep a run that
        // has nothing else to do from seeing so.
        while self.body().owner != 0
            && let Some(wait) = self.body().waits.pop()
        {
            // SAFETY: internal waits are calls, and this one was popped under the lock.
            unsafe { free_call(caller, wait) };
            self.dequeue_if_idle();
        }
        self.cancel_waits(caller, usize::MAX);
        self.stop(caller);
        TIMERS.kill(self.timer);
        self.body().closed = true;
        self.sched.members.remove(&self.timer.member);
        let timer = self.timer;
        timer.recycle_if_done(self.body());
    }
}

/// Delivers a tick, or the end, of a periodic operation.
unsafe fn run_tick(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `tick` is a field of a timer, and the table never frees those.
    let timer: &'static Timer = unsafe { &*op.as_ptr().byte_sub(offset_of!(Timer, tick)).cast() };
    let mut delivery = None;
    {
        let _guard = frame.sched.timers.clockwork.lock();
        // SAFETY: under the lock of the timer's context; `tick_busy` keeps the slot from reuse.
        let body = unsafe { &mut *timer.body.get() };
        if let Some(periodic) = &mut body.periodic {
            if hold_back(frame, periodic.callback(), op) {
                return;
            }
            if periodic.due {
                periodic.due = false;
                delivery = Some((periodic.callback(), periodic.user, 0));
            } else if periodic.ended {
                delivery = Some((periodic.callback(), periodic.user, Errno::CANCELED.code()));
                body.periodic = None;
                Scheduler::work_finished(frame);
            }
        }
    }
    if let Some((callback, user, status)) = delivery {
        frame.about(&timer.head, &timer.member);
        deliver(frame, callback, Delivery { status, ..Delivery::default() }, user);
    }
    let _guard = frame.sched.timers.clockwork.lock();
    // SAFETY: as above.
    let body = unsafe { &mut *timer.body.get() };
    if body.periodic.as_ref().is_some_and(|p| p.due || p.ended) {
        frame.sched.submit(&Caller::of(frame), &timer.member, op);
    } else {
        body.tick_busy = false;
        timer.recycle_if_done(body);
    }
}

const CLASS: Class =
    Class { id: KIND_TIMER, close: close_member, report: report_member, renew: None };

fn of_member(member: NonNull<Member>, sched: &Scheduler) -> Option<Locked> {
    // SAFETY: `member` is a field of a timer, and the table never frees those.
    let timer: &'static Timer =
        unsafe { &*member.as_ptr().byte_sub(offset_of!(Timer, member)).cast() };
    let locked = timer.lock_if(|head| head.token().is_some())?;
    ptr::eq(locked.sched, sched).then_some(locked)
}

/// Closes a timer on behalf of its context's destruction.
unsafe fn close_member(member: NonNull<Member>, sched: &Scheduler, caller: &Caller) {
    if let Some(locked) = of_member(member, sched) {
        locked.close(caller);
    }
}

unsafe fn report_member(member: NonNull<Member>, sched: &Scheduler) -> Option<(Token, usize)> {
    let mut locked = of_member(member, sched)?;
    let token = locked.timer.head.token()?;
    // What serves another handle is no leak of the user's.
    if locked.owner() != 0 {
        return None;
    }
    Some((token, locked.pending()))
}
