//! A timer: its expiry, its waits, and what happens when it fires. For ticks see `periodic.rs`.
#![allow(unsafe_code, reason = "intrusive timers between type-stable objects")]

use super::super::call::{cancel_call, free_call, user_of};
use super::super::completion::{Callback, OP_TIMER, StatusFn};
use super::super::frame::{Caller, Subject};
use super::super::member::{Class, Member};
use super::super::op::{Op, OpQueue};
use super::super::scheduler::Scheduler;
use super::super::sync::{AtomicPtr, MutexGuard, Ordering};
use super::super::table::{Entry, Head, Table, Token};
use super::super::ticket;
use super::super::timer_queue::TimerNode;
use super::periodic::{Periodic, run_tick};
use super::{Clockwork, NEVER};
use crate::sys::errno::Errno;
use libc::c_void;
use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// The handle kind of timers.
pub const KIND_TIMER: u8 = 2;

/// Every timer of the process.
#[cfg(not(loom))]
pub static TIMERS: Table<Timer> = Table::new();
/// Every timer of the process.
#[cfg(loom)]
pub static TIMERS: once_cell::sync::Lazy<Table<Timer>> = once_cell::sync::Lazy::new(Table::new);

/// A timer object: three cache lines, of which the middle one is all that moving the expiry touches.
#[repr(C, align(64))]
pub struct Timer {
    pub(super) member: Member,
    /// Queued to deliver ticks and the end of the periodic operation.
    pub(super) tick: Op,
    /// Moves the node to its place.
    _hole: [u64; 2],
    /// Its first field ends the line.
    pub(super) node: UnsafeCell<TimerNode>,
    pub(super) head: Head,
    sched: AtomicPtr<Scheduler>,
    pub(super) body: UnsafeCell<Body>,
}

#[cfg(not(any(loom, weir_sim)))]
const _: () = {
    assert!(offset_of!(Timer, node) == 56 && offset_of!(Timer, body) == 128);
    assert!(size_of::<Timer>() == 192);
};

/// What the context's timer lock guards of one timer, besides the node, which has the expiry.
pub(super) struct Body {
    waits: OpQueue,
    /// The handle that an internal timer serves.
    owner: u64,
    pub(super) periodic: Option<Periodic>,
    /// `tick` is in a queue or being delivered: the slot can't be reused, and no second one is queued,
    /// so that the callbacks of one operation never overlap.
    pub(super) tick_busy: bool,
    closed: bool,
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
            _hole: [0; 2],
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
    pub(super) timer: &'static Timer,
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
    pub(super) unsafe fn of_node(node: *mut TimerNode) -> &'static Timer {
        // SAFETY: promised by the caller; the table never frees timers.
        unsafe { &*node.byte_sub(offset_of!(Timer, node)).cast() }
    }

    /// Completes what waits for this expiry. A periodic timer goes back into the queue.
    pub(super) fn fire(&'static self, clockwork: &mut Clockwork, now: i64, ready: &OpQueue) {
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

    pub(super) fn recycle_if_done(&'static self, body: &Body) {
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
    pub(super) fn body(&mut self) -> &mut Body {
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

    /// Ends all waits, oldest first; the number ended.
    #[inline]
    pub fn cancel_waits(&mut self, caller: &Caller) -> usize {
        let waits = OpQueue::new();
        waits.append(&self.body().waits);
        if waits.is_empty() {
            return 0;
        }
        self.dequeue_if_idle();
        let mut ended = 0;
        while let Some(wait) = waits.pop() {
            self.cancel_wait(caller, wait);
            ended += 1;
        }
        ended
    }

    /// Ends the oldest wait; the number ended.
    pub fn cancel_first(&mut self, caller: &Caller) -> usize {
        let Some(wait) = self.body().waits.pop() else { return 0 };
        self.dequeue_if_idle();
        self.cancel_wait(caller, wait);
        1
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
    pub(super) fn dequeue_if_idle(&mut self) {
        if !self.is_awaited() {
            let Locked { timer, clockwork, .. } = self;
            clockwork.remove(timer);
        }
    }

    /// Ends the timer. The slot is reused when nothing of it is queued any more.
    pub fn close(mut self, caller: &Caller) {
        // The wait of an internal timer tells nobody, and is not counted as work: it ends here, not in a queue.
        while self.body().owner != 0
            && let Some(wait) = self.body().waits.pop()
        {
            // SAFETY: internal waits are calls, and this one was popped under the lock.
            unsafe { free_call(caller, wait) };
            self.dequeue_if_idle();
        }
        self.cancel_waits(caller);
        self.stop(caller);
        TIMERS.kill(self.timer);
        self.body().closed = true;
        self.sched.members.remove(&self.timer.member);
        let timer = self.timer;
        timer.recycle_if_done(self.body());
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
