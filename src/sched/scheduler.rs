//! The scheduler: what a context is, posting and the work count. How it runs is in `run.rs`, how it ends in `end.rs`.
#![allow(unsafe_code, reason = "the table entry of a context, and what is emptied at its end")]

use super::batch::{self, Call};
use super::budget::Limits;
use super::buffers::{Buffers, Shape};
use super::call::{free_call, new_call, run_post};
use super::completion::{self, LogFn, StallFn, StatusFn, call_now};
use super::frame::{Caller, Frame};
use super::hooks::{Hook, When};
use super::inbox::Tag;
use super::interest::Watches;
use super::member::{Member, Members};
use super::op::{Op, OpQueue};
use super::reactor::Reactor;
use super::run_queue::{Counts, RunQueue};
use super::sync::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use super::table::{Entry, Head, Table, Token};
use super::timers::{Before, Host, Timers, Wake};
use super::wake_pipe::WakePipe;
use crate::sys::clock;
use crate::sys::errno::Errno;
use libc::{c_int, c_void};
use std::cell::UnsafeCell;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// The handle kind of contexts.
pub const KIND_CONTEXT: u8 = 1;

/// Every context of the process.
#[cfg(not(loom))]
pub static CONTEXTS: Table<Scheduler> = Table::new();
/// Every context of the process.
#[cfg(loom)]
pub static CONTEXTS: once_cell::sync::Lazy<Table<Scheduler>> =
    once_cell::sync::Lazy::new(Table::new);

/// What a context is made with, every value resolved.
#[derive(Clone, Copy)]
pub struct Options {
    /// Several threads will run it: the lock is not biased to one that happens to be alone.
    pub many_threads: bool,
    /// Time moves by [`Scheduler::advance`] only.
    pub manual_clock: bool,
    /// A signal that interrupts the reactor's sleep ends the run function.
    pub interruptible: bool,
    /// For the inline queue; all 0 when nothing is to be served inline.
    pub budget: Limits,
    /// Events and due timers taken per turn.
    pub max_events: u32,
    /// How much later than due a timer may fire to share a wake-up.
    pub timer_slack: i64,
    /// Of the pool for multi-shot reads.
    pub pool: Shape,
    /// Callbacks are timed, and transfers counted.
    pub measures: bool,
    /// How long a callback may run before it is reported; 0: any time.
    pub stall_limit: i64,
    /// Who hears of it.
    pub stall: Option<(StallFn, *mut c_void)>,
    /// Who hears of what the program should know.
    pub log: Option<(LogFn, *mut c_void)>,
}

#[cfg(all(test, not(loom)))]
impl Options {
    /// Of a plain context.
    pub fn for_tests() -> Self {
        Options {
            many_threads: false,
            manual_clock: false,
            interruptible: false,
            budget: Limits { initial: 0, max: 0, unassisted: 0 },
            max_events: 8,
            timer_slack: 0,
            pool: Shape { slots: 1, slot_size: 64 },
            measures: false,
            stall_limit: 0,
            stall: None,
            log: None,
        }
    }
}

/// What exists from creation to destruction.
pub(super) struct Core {
    reactor: Reactor,
    options: Options,
}

/// A context.
pub struct Scheduler {
    head: Head,
    pub(super) run_queue: RunQueue,
    /// Calls in progress from threads that are not inside run; see [`Pinned`].
    pub(super) pins: AtomicUsize,
    /// The part of the outstanding work that `work_begin` began.
    pub(super) begun: AtomicI64,
    pub(super) closing: AtomicBool,
    /// Has who reaps return, by an fd.
    pub wake_pipe: WakePipe,
    /// Timers; their lock is also the lock of every timer object.
    pub timers: Timers,
    /// The fds of users that are watched; their lock is also the lock of every watch.
    pub watches: Watches,
    /// The handles that belong to the context.
    pub members: Members,
    /// For multi-shot reads.
    pub buffers: Buffers,
    pub(super) core: UnsafeCell<Option<Core>>,
}

// SAFETY: `core` is written before the token is published and after the last pin and frame are gone.
unsafe impl Sync for Scheduler {}

// SAFETY: contexts are never dropped or moved by the table's contract, and nothing in them relies on it.
unsafe impl Entry for Scheduler {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Scheduler {
            head: Head::new(),
            run_queue: RunQueue::new(),
            pins: AtomicUsize::new(0),
            begun: AtomicI64::new(0),
            closing: AtomicBool::new(false),
            wake_pipe: WakePipe::new(),
            timers: Timers::new(),
            watches: Watches::new(),
            members: Members::new(),
            buffers: Buffers::new(),
            core: UnsafeCell::new(None),
        }
    }
}

/// A context that can't go away while this is held: the calling thread is inside its run, or it is
/// pinned. Pins are held for the length of one call, or of a job's function, never while a callback runs.
pub struct Pinned {
    sched: &'static Scheduler,
    pub(super) counted: bool,
}

impl std::ops::Deref for Pinned {
    type Target = &'static Scheduler;
    fn deref(&self) -> &&'static Scheduler {
        &self.sched
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.counted {
            self.sched.pins.fetch_sub(1, Ordering::Release);
        }
    }
}

/// How a run function ends besides its limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// At most one callback.
    One,
    /// Any number.
    All,
}

impl Host for Scheduler {
    fn is_manual(&self) -> bool {
        self.options().manual_clock
    }

    fn slack(&self) -> i64 {
        self.options().timer_slack
    }

    fn monotonic(&self) -> i64 {
        clock::monotonic()
    }

    fn has_sleepers(&self) -> bool {
        self.run_queue.has_sleepers()
    }

    fn sleeps_exactly(&self) -> bool {
        self.reactor().sleeps_exactly()
    }

    fn arm(&self, at: i64) {
        self.reactor().arm_timer(at);
    }

    fn interrupt(&self) {
        self.reactor().interrupt();
    }
}

impl Scheduler {
    /// Makes a context.
    pub fn create(options: Options) -> Result<Token, Errno> {
        let reactor = Reactor::new(options.max_events as usize)?;
        let sched = CONTEXTS.reserve().map_err(|_| Errno::NOMEM)?;
        batch::set_aside();
        // SAFETY: reserved and not published: nobody else looks at it.
        unsafe { *sched.core.get() = Some(Core { reactor, options }) };
        sched.members.set_open(true);
        sched.timers.open();
        let token = CONTEXTS.publish(sched, KIND_CONTEXT);
        sched.run_queue.open(Tag::of(token));
        Ok(token)
    }

    /// The context of a handle, held for the length of a call.
    #[inline]
    pub fn resolve(caller: &Caller, token: Token) -> Result<Pinned, Errno> {
        if let Some(frame) = caller.top()
            && frame.sched.head.is_live_as(token)
        {
            return Ok(Pinned { sched: frame.sched, counted: false });
        }
        Self::pin(token)
    }

    /// The same without a look at the calling thread, for signal handlers too: atomics alone.
    pub fn pin(token: Token) -> Result<Pinned, Errno> {
        let sched = CONTEXTS.find(token).ok_or(Errno::BADF)?;
        // SeqCst: the destroyer clears the stamp and then reads the pins, this reads them the other way
        // round. With less both could miss the other, and the fds be closed under this call.
        sched.pins.fetch_add(1, Ordering::SeqCst);
        let pinned = Pinned { sched, counted: true };
        super::sync::fence(Ordering::SeqCst);
        if sched.head.is_live_as(token) { Ok(pinned) } else { Err(Errno::BADF) }
    }

    /// The same for an operation that is to begin: refused while the context is being destroyed.
    #[inline]
    pub fn resolve_open(caller: &Caller, token: Token) -> Result<Pinned, Errno> {
        let pinned = Self::resolve(caller, token)?;
        pinned.check_open()?;
        Ok(pinned)
    }

    /// An error while the context is being destroyed.
    #[inline]
    pub fn check_open(&self) -> Result<(), Errno> {
        if self.is_closing() { Err(Errno::SHUTDOWN) } else { Ok(()) }
    }

    #[inline]
    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// The context's handle.
    pub fn token(&self) -> Option<Token> {
        self.head.token()
    }

    fn core(&self) -> &Core {
        // SAFETY: every caller is inside run, holds a pin, or holds the lock of a live object of this
        // context; destruction waits for all three before it empties the core.
        match unsafe { &*self.core.get() } {
            Some(core) => core,
            None => unreachable!("a context is used after its end"),
        }
    }

    /// The kernel objects.
    pub fn reactor(&self) -> &Reactor {
        &self.core().reactor
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.core().options
    }

    /// True when callbacks are timed.
    #[inline]
    pub fn measures(&self) -> bool {
        self.core().options.measures
    }

    /// Tells the user's log function. Under no lock.
    pub fn log(&self, level: libc::c_int, text: &std::ffi::CStr) {
        completion::log(self.options().log, level, text);
    }

    /// The numbers that the run queue keeps.
    pub fn queue_counts(&self) -> Counts {
        self.run_queue.counts()
    }

    /// The inline budget's limits.
    pub fn limits(&self) -> Limits {
        self.core().options.budget
    }

    /// Counts an operation that other threads may end from now on.
    #[inline]
    pub fn work_started(&self) {
        self.work_changed(1);
    }

    /// Counts an operation that goes to the caller's own queue next, by [`Scheduler::complete`].
    #[inline]
    fn work_queued(&self, caller: &Caller) {
        match caller.frame_of(self) {
            Some(frame) => frame.work.set(frame.work.get() + 1),
            None => self.work_changed(1),
        }
    }

    /// The operation that a run loop is delivering ends when its callback has returned.
    #[inline]
    pub fn work_finished(frame: &Frame) {
        frame.finished.set(frame.finished.get() + 1);
    }

    /// Queues an op whose operation is counted as work already. Takes no lock that a caller may hold.
    #[inline]
    pub fn post(&self, caller: &Caller, op: NonNull<Op>) {
        match caller.frame_of(self) {
            Some(frame) => frame.private.push(op),
            None => self.post_from_outside(op),
        }
    }

    /// The same through the strand that the op's handle is bound to, if any.
    #[inline]
    pub fn submit(&self, caller: &Caller, member: &Member, op: NonNull<Op>) {
        match member.strand() {
            None => self.post(caller, op),
            Some(strand) => strand.submit(self, caller, op),
        }
    }

    /// The same in a turn of the reactor, whose op queue is `ready`.
    #[inline]
    pub fn submit_in_turn(member: &Member, ready: &OpQueue, op: NonNull<Op>) {
        match member.strand() {
            None => ready.push(op),
            Some(strand) => strand.submit_in_turn(ready, op),
        }
    }

    /// Counts and queues an op whose result is known already: right after the current callback while the inline
    /// budget lasts, posted beyond it.
    #[inline]
    pub fn complete(&self, caller: &Caller, member: &Member, op: NonNull<Op>) {
        if let Some(strand) = member.strand() {
            self.work_started();
            return strand.submit(self, caller, op);
        }
        self.work_queued(caller);
        match caller.frame_of(self) {
            Some(frame) if !frame.single && frame.budget.take() => frame.inline.push(op),
            Some(frame) => frame.private.push(op),
            None => self.post_from_outside(op),
        }
    }

    /// Has a hook queued in each turn.
    pub fn add_hook(&self, when: When, hook: &'static Hook) {
        self.run_queue.add_hook(when, hook, || self.reactor().interrupt());
    }

    /// Ends that.
    pub fn remove_hook(&self, when: When, hook: &'static Hook) {
        self.run_queue.remove_hook(when, hook);
    }

    /// Keeps an op whose record this thread can't take for one that reaps.
    pub fn hold(&self, op: NonNull<Op>) {
        self.run_queue.hold(op, || self.reactor().interrupt());
    }

    fn post_from_outside(&self, op: NonNull<Op>) {
        // The caller holds an object of the context, so the inbox is open.
        if self.run_queue.post(op, None) == Some(true) {
            self.run_queue.wake_for_post(|| self.reactor().interrupt());
        }
    }

    /// Posts a function to a context by its handle: from inside its run with no lock and no atomic, from
    /// elsewhere with one atomic exchange, and the system call of a wake-up where all sleep. What needs
    /// no more than to add it to a batch is done here.
    #[inline(always)]
    pub fn post_call(
        caller: &Caller,
        token: Token,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> c_int {
        if let Some(callback) = callback {
            let call = Call { callback, user };
            if let Some(frame) = caller.top()
                && frame.token == token.raw()
            {
                if !frame.sched.is_closing() && !frame.sched.run_queue.has_posts() {
                    if !batch::append(&frame.private, call) {
                        return Self::post_inside(caller, frame, call);
                    }
                    frame.work.set(frame.work.get() + 1);
                    return 0;
                }
            } else if let Some(sched) = caller.target(token)
                && sched.run_queue.post_more(call, Tag::of(token))
            {
                // By the inbox's tag the context is the handle's still.
                return 0;
            }
        }
        Self::post_else(caller, token, callback, user)
    }

    /// Before a post from inside: what was posted from outside goes behind what the running callback has queued so
    /// far, and before what it queues now, since it may know of it.
    fn take_posts(&self, frame: &Frame) {
        if self.run_queue.has_posts() {
            self.work_changed(frame.work.replace(0));
            self.run_queue.take_posts(&frame.stay, &frame.private, || self.reactor().interrupt());
        }
    }

    /// Adds an op with a call to what the running callback has queued.
    #[inline(never)]
    fn post_inside(caller: &Caller, frame: &Frame, call: Call) -> c_int {
        if batch::push(&frame.private, &frame.streak, caller, call).is_err() {
            return Errno::NOMEM.code();
        }
        frame.work.set(frame.work.get() + 1);
        0
    }

    #[inline(never)]
    fn post_else(
        caller: &Caller,
        token: Token,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> c_int {
        match Self::post_new(caller, token, callback, user) {
            Ok(()) => 0,
            Err(error) => error.code(),
        }
    }

    /// The same at length.
    pub fn post_new(
        caller: &Caller,
        token: Token,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        let Some(callback) = callback else { return Self::post_record(caller, token, user) };
        let call = Call { callback, user };
        if let Some(frame) = caller.top()
            && frame.token == token.raw()
        {
            frame.sched.check_open()?;
            frame.sched.take_posts(frame);
            batch::push(&frame.private, &frame.streak, caller, call)?;
            frame.work.set(frame.work.get() + 1);
            return Ok(());
        }
        let sched = CONTEXTS.find(token).ok_or(Errno::BADF)?;
        sched.check_open()?;
        if sched.run_queue.post_call(caller, call, Tag::of(token))? {
            Self::wake_for_post(caller, token);
        }
        caller.set_target(token, sched);
        Ok(())
    }

    /// The same for one that completes with a record.
    #[cold]
    fn post_record(caller: &Caller, token: Token, user: *mut c_void) -> Result<(), Errno> {
        if let Some(frame) = caller.top()
            && frame.sched.head.is_live_as(token)
        {
            frame.sched.check_open()?;
            frame.sched.take_posts(frame);
            frame.private.push(new_call(caller, run_post, None, user)?);
            frame.work.set(frame.work.get() + 1);
            return Ok(());
        }
        let sched = CONTEXTS.find(token).ok_or(Errno::BADF)?;
        sched.check_open()?;
        let op = new_call(caller, run_post, None, user)?;
        match sched.run_queue.post(op, Some(Tag::of(token))) {
            Some(false) => {}
            Some(true) => Self::wake_for_post(caller, token),
            None => {
                // SAFETY: it was not queued.
                unsafe { free_call(caller, op) };
                return Err(Errno::BADF);
            }
        }
        Ok(())
    }

    /// Wakes a sleeper for a post from outside. If the context ends meanwhile, its end delivers it.
    fn wake_for_post(caller: &Caller, token: Token) {
        if let Ok(held) = Self::resolve(caller, token) {
            held.run_queue.wake_for_post(|| held.reactor().interrupt());
        }
    }

    /// Calls a function at once when the calling thread is inside the context's run, else posts it.
    pub fn dispatch(
        caller: &Caller,
        token: Token,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        let inside = caller.frames().find(|frame| frame.sched.head.is_live_as(token));
        let (Some(frame), Some(callback)) = (inside, callback) else {
            return Self::post_new(caller, token, callback, user);
        };
        frame.sched.check_open()?;
        call_now(callback, user);
        Ok(())
    }

    /// Queues a function for the end of this turn.
    pub fn defer(
        &self,
        caller: &Caller,
        callback: Option<StatusFn>,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        let op = new_call(caller, run_post, callback, user)?;
        self.work_started();
        self.run_queue.defer(op, || self.reactor().interrupt());
        Ok(())
    }

    /// Queues an op whose operation is counted as work already for the end of this turn.
    pub fn defer_op(&self, op: NonNull<Op>) {
        self.run_queue.defer(op, || self.reactor().interrupt());
    }

    /// Holds run open.
    pub fn work_begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.work_changed(1);
    }

    /// Ends one hold; an error where there is none.
    pub fn work_end(&self) -> Result<(), Errno> {
        self.begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n > 0).then(|| n - 1))
            .map_err(|_| Errno::INVAL)?;
        self.work_changed(-1);
        Ok(())
    }

    pub(super) fn work_changed(&self, by: i64) {
        if by != 0 {
            self.run_queue.work_changed(by, || self.reactor().interrupt());
        }
    }

    /// Makes every run function return as soon as its callback does.
    pub fn stop(&self) {
        self.run_queue.stop(|| self.reactor().interrupt());
    }

    /// Has a thread that reaps return, now or next time. Made of atomics and one write, for signal handlers.
    pub fn wake(&self) {
        if self.run_queue.wake() {
            self.reactor().interrupt();
        }
    }

    /// True after a stop, or when run ran out of work.
    pub fn stopped(&self) -> bool {
        self.run_queue.stopped()
    }

    /// Lets the context run again.
    pub fn restart(&self) {
        self.run_queue.restart(|| self.reactor().interrupt());
        if self.run_queue.embedded() {
            self.arm_for_host();
        }
    }

    /// The fd for a host's own loop.
    pub fn embed(&self) -> RawFd {
        self.run_queue.embed(|| self.reactor().interrupt());
        self.arm_for_host();
        self.reactor().fd()
    }

    /// Sees to it that the fd becomes readable when the next timer is due.
    pub(super) fn arm_for_host(&self) {
        let due = self.timers.flush(self, Before::Host) == Wake::Now;
        let due = due | self.watches.are_unsure();
        if due && !self.halted() {
            self.reactor().interrupt();
        }
    }

    /// True once the context is stopped; without a lock.
    #[inline]
    pub fn halted(&self) -> bool {
        self.run_queue.halted()
    }

    /// The context's time.
    #[inline]
    pub fn now(&self) -> i64 {
        if self.options().manual_clock { self.timers.manual_now() } else { clock::monotonic() }
    }

    /// The time of this turn: read where it is first asked for after the reactor has been in the kernel. Without a
    /// pin where it is known, since the slot stays a context's.
    #[inline]
    pub fn turn_now(token: Token) -> Result<i64, Errno> {
        let sched = CONTEXTS.find(token).ok_or(Errno::BADF)?;
        match sched.timers.turn_time() {
            Some(time) if sched.head.is_live_as(token) => Ok(time),
            _ => Self::read_turn_now(token),
        }
    }

    #[cold]
    #[inline(never)]
    fn read_turn_now(token: Token) -> Result<i64, Errno> {
        let sched = Self::pin(token)?;
        if sched.options().manual_clock {
            return Ok(sched.timers.manual_now());
        }
        Ok(sched.timers.read_turn_time(clock::monotonic))
    }

    /// Moves a manual clock.
    pub fn advance(&self, by: i64) -> Result<(), Errno> {
        if !self.options().manual_clock || by < 0 {
            return Err(Errno::INVAL);
        }
        if self.timers.advance_manual(by) && self.has_sleepers() {
            self.reactor().interrupt();
        }
        Ok(())
    }

    /// Makes the context the child's own after a fork: new fds in place of those that it shares with the
    /// parent, and everything registered anew. No other thread exists in this process yet.
    pub fn renew(&self, caller: &Caller) -> Result<(), Errno> {
        if !self.reactor().is_parents() {
            return Err(Errno::INVAL);
        }
        // Up to here the context is the parent's, and this may be tried again.
        let reactor = Reactor::new(self.options().max_events as usize)?;
        self.wake_pipe.renew()?;
        super::source::renew(self, &reactor)?;
        let reaps = caller.frames_of(self).filter(|frame| frame.sink().is_some()).count();
        caller.frames_of(self).for_each(|frame| self.run_queue.end_lane(caller, &frame.stay));
        self.run_queue.renew(caller.frames_of(self).count(), reaps)?;
        // SAFETY: this is the only thread of the process, and nothing below it on the stack uses the reactor:
        // it is in a callback or in no run function at all.
        if let Some(core) = unsafe { &mut *self.core.get() } {
            core.reactor = reactor;
        }
        self.pins.store(usize::from(!self.runs_here(caller)), Ordering::SeqCst);
        self.timers.renew();
        self.members.renew(self);
        Ok(())
    }

    /// True when another thread runs a callback of this context.
    pub fn is_busy_elsewhere(&self, caller: &Caller) -> bool {
        self.run_queue.awake() > caller.frames_of(self).count()
    }

    /// True when the calling thread is inside a run function of this context.
    pub fn runs_here(&self, caller: &Caller) -> bool {
        caller.frames_of(self).next().is_some()
    }
}
