//! The operation queue that the threads inside run share, and who does what next.
//!
//! One lock guards the queue, the wake-up word and the reactor's role. The *sentinel* is an op of the
//! queue that stands for "run the reactor": the thread that pops it makes the next reactor turn, so
//! I/O and timers are served between handlers even when handlers post without end. Who leaves, for
//! whatever reason, leaves the sentinel in the queue and wakes a waiter, so that the role is never lost.
//!
//! Sleep protocol (H01, H02): a sleeper first counts itself in `sleepers`, then looks at the inbox (and
//! the reactor at the timers); a poster first pushes, then reads `sleepers`. The inbox's lock orders the two,
//! and SeqCst those at the timers, so one of them sees the other. The word "sleeper" covers waiters, a blocking reactor and an embedding host.

#![allow(
    unsafe_code,
    reason = "a look at a queued op, and a condition variable that is never freed"
)]

use super::batch::{self, Ahead, Call, Taken};
use super::biased_lock::{Bias, BiasedLock, Guard};
use super::frame::Caller;
use super::hooks::{Hook, HookList, When};
use super::inbox::{Inbox, Tag};
use super::lane::{Lane, Lanes};
use super::op::{Op, OpQueue};
use super::storm::Storm;
use super::sync::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicUsize, Condvar, Ordering, has_asymmetric_fences,
};
use super::wakeup::{HasWakeup, Wakeup};
use crate::sys::errno::Errno;
use std::cell::Cell;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

#[cfg(all(test, loom))]
pub mod models;

/// Handlers that may run between two visits to the kernel while the sentinel finds more queued. (What
/// was queued before the sentinel runs before it, however much it is.)
const HANDLERS_PER_TURN: u32 = 512;
/// A visit is due earlier once this much time has passed. Checked at a stride, see [`Pace`].
const TIME_PER_TURN: Duration = Duration::from_micros(50);
/// Handlers quicker than this on average let the stride grow.
const QUICK_HANDLER: Duration = Duration::from_micros(1);
/// Sentinels between two looks at the clock, at the most.
const MAX_STRIDE: u32 = 32;
/// Callbacks after which a poll returns even if callbacks keep posting.
const HANDLERS_PER_POLL: usize = 65_536;

/// What a queue holds.
pub enum Item {
    /// An op.
    Op(NonNull<Op>),
    /// A posted function.
    Call(Taken),
}

impl Item {
    /// Takes what is at the front of a queue: the op, or one call of it where it is a batch.
    #[inline]
    fn take(queue: &OpQueue, front: NonNull<Op>) -> Self {
        // SAFETY: in the caller's queue.
        if unsafe { front.as_ref() }.is_batch() {
            Item::Call(batch::take(queue, front))
        } else {
            queue.pop();
            Item::Op(front)
        }
    }
}

/// Records of the held that are taken before everything else has its turn: an operation that gives one record after
/// another waits there again and again where there is room for few at a time.
const HELD_PER_TURN: usize = 16;

/// What a thread inside run does next.
pub enum Step {
    /// Run this op, which waited for a thread that reaps.
    Held(NonNull<Op>),
    /// Run this. `assisted` says whether another thread could take what is left in the queue.
    Run(Item, bool),
    /// Run those in the stay's lane: [`RunQueue::next_in_lane`].
    Lane(bool),
    /// Make a reactor turn, which begins with [`RunQueue::turn`].
    Turn {
        /// Nothing else is left to do, so the turn may block.
        block: bool,
    },
    /// Let other threads go first: posts come in a storm.
    GiveWay,
    /// Woken with nothing to do: look whether to return.
    Again,
    /// Leave run.
    Done,
}

/// The time. It stands still in a model, each execution of which must go the same way.
#[inline]
fn now() -> Instant {
    #[cfg(loom)]
    return *once_cell::sync::Lazy::force(&MODEL_TIME);
    #[cfg(not(loom))]
    super::sync::now()
}

#[cfg(loom)]
static MODEL_TIME: once_cell::sync::Lazy<Instant> = once_cell::sync::Lazy::new(Instant::now);

/// How long a run function stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Until stopped or out of work.
    Forever,
    /// The same, or until this moment.
    Until(Instant),
    /// Only as long as something is ready.
    Poll,
}

/// What one run function remembers between its steps.
pub struct Stay {
    limit: Cell<Limit>,
    /// It takes records.
    reaps: bool,
    /// A reactor turn has been made; H03: a poll returns only after one.
    turned: Cell<bool>,
    /// Ops taken so far.
    taken: Cell<usize>,
    /// The lock may be biased to this thread between its steps.
    may_bias: bool,
    bias: Bias,
    /// Posted calls may come a batch at a time.
    takes_batches: bool,
    lane: Lane,
    /// The run function is called from a callback of the same context: it is out of work when nothing but
    /// such callbacks is left.
    nested: bool,
    /// The last turn left more behind than it could take.
    backlog: Cell<bool>,
    /// Operations that have ended and are still counted as work: paid at the sentinel, or against what
    /// handlers begin until then, so that a handler costs no atomic.
    debt: Cell<i64>,
}

impl Stay {
    /// The start of a run function with this limit. With `may_bias` every stay ends with a step that is
    /// `Done`, or with an error in a turn: the lock must not stay biased to a flag that is gone.
    pub fn new(limit: Limit, may_bias: bool, nested: bool) -> Self {
        Stay {
            limit: Cell::new(limit),
            reaps: false,
            turned: Cell::new(false),
            taken: Cell::new(0),
            may_bias,
            bias: Bias::new(),
            takes_batches: false,
            lane: Lane::new(),
            nested,
            backlog: Cell::new(false),
            debt: Cell::new(0),
        }
    }

    /// The start of a run function that takes records.
    pub fn reaping(limit: Limit, nested: bool) -> Self {
        Stay { reaps: true, ..Stay::new(limit, false, nested) }
    }

    /// The same, which takes posted calls a batch at a time where it need not return after one.
    pub fn taking_batches(self, takes_batches: bool) -> Self {
        Stay { takes_batches, ..self }
    }

    /// From now on only what is ready is served: there is a record to return with.
    pub fn make_haste(&self) {
        self.limit.set(Limit::Poll);
    }

    /// True for a run function that a callback of the same context has called.
    pub fn is_nested(&self) -> bool {
        self.nested
    }

    /// A callback has ended that was one posted call, and has begun nothing; not for a nested stay.
    #[inline(always)]
    pub fn owe_one(&self) {
        self.debt.set(self.debt.get() + 1);
    }

    /// Says whether the turn left something behind: due timers, or events beyond its buffer.
    pub fn set_backlog(&self, backlog: bool) {
        self.backlog.set(backlog);
    }

    /// When a blocking turn must be over.
    pub fn deadline(&self) -> Option<Instant> {
        match self.limit.get() {
            Limit::Until(at) => Some(at),
            _ => None,
        }
    }

    fn expired(&self) -> bool {
        match self.limit.get() {
            Limit::Forever => false,
            Limit::Until(at) => now() >= at,
            Limit::Poll => true,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The sentinel is queued: nobody has the role.
    Queued,
    /// A thread asks the kernel without blocking.
    Turning,
    /// A thread blocks in the kernel, and is woken by the interrupter.
    Blocking,
}

/// Decides when handlers that keep the queue full must let the reactor ask the kernel. The clock is
/// read once in `stride` sentinels; the stride starts at 1 after each visit, grows while handlers are
/// quick and falls back when they are slow, so that long handlers are each followed by a visit and short
/// ones pay little.
struct Pace {
    handlers: u32,
    stride: u32,
    until_check: u32,
    /// When the clock was first read since the visit.
    since: Option<Instant>,
}

impl Pace {
    fn visit(&mut self) {
        self.handlers = 0;
        self.stride = 1;
        self.until_check = 0;
        self.since = None;
    }

    /// True when neither the kernel nor the clock need be asked yet.
    #[inline]
    fn take_quick(&mut self) -> bool {
        let quick = self.handlers < HANDLERS_PER_TURN && self.until_check > 0;
        self.until_check -= u32::from(quick);
        quick
    }

    /// True when the kernel must be asked now.
    fn due(&mut self) -> bool {
        if self.handlers >= HANDLERS_PER_TURN {
            return true;
        }
        if self.until_check > 0 {
            self.until_check -= 1;
            return false;
        }
        let now = now();
        let spent = now - *self.since.get_or_insert(now);
        let quick = spent < QUICK_HANDLER * self.handlers.max(1);
        self.stride = if quick { (self.stride * 2).min(MAX_STRIDE) } else { 1 };
        self.until_check = self.stride - 1;
        spent >= TIME_PER_TURN
    }
}

/// What the lock guards.
pub struct Shared {
    queue: OpQueue,
    deferred: OpQueue,
    lanes: Lanes,
    /// Complete, and waiting for a thread that reaps.
    held: OpQueue,
    /// How many of those were taken since the reactor had its turn.
    held_in_a_row: usize,
    hooks: HookList,
    /// The hooks before the next turn were queued.
    prepared: bool,
    /// Threads inside that reap.
    reapers: usize,
    /// The deferred ops of this turn were let go; those deferred since wait for the next one.
    deferred_released: bool,
    wakeup: Wakeup,
    role: Role,
    interrupted: bool,
    stopped: bool,
    /// It stopped because it had no work, not because it was told to.
    ran_dry: bool,
    /// The context is being destroyed: it stays stopped.
    ending: bool,
    /// Threads inside run functions.
    inside: usize,
    pace: Pace,
    storm: Storm,
}

impl HasWakeup for Shared {
    fn wakeup(&mut self) -> &mut Wakeup {
        &mut self.wakeup
    }
}

/// What [`RunQueue::counts`] tells.
pub struct Counts {
    /// Waiters that were signalled so far.
    pub signalled: u64,
    /// Ops in the queue, but for what is still in the inbox.
    pub queued: u64,
    /// Records that nobody has reaped.
    pub held: u64,
    /// The outstanding work.
    pub work: i64,
}

/// The queue. `interrupt` in its methods is what ends a blocking turn: a write to the eventfd.
pub struct RunQueue {
    shared: BiasedLock<Shared>,
    condvar: Condvar,
    /// What takes its place in a child process. The first one has the parent's sleeping threads for waiters,
    /// which a signal would go to for ever.
    renewed: AtomicPtr<Condvar>,
    /// Signalled when the last thread leaves run.
    left: Condvar,
    /// A copy of `stopped` for a look without the lock.
    halted: AtomicBool,
    /// A host sleeps on the context's fd.
    embedded: AtomicBool,
    inbox: Inbox,
    /// Operations pending and work begun, but for posts that are still in the inbox.
    work: AtomicI64,
    /// Work that no run function but a certain one can end: callbacks in which a nested run is in progress,
    /// and what is held for a thread that reaps.
    suspended: AtomicI64,
    sleepers: AtomicUsize,
    /// Who reaps is to return; taken back by the one that does.
    woken: AtomicBool,
    sentinel: Op,
}

impl RunQueue {
    /// A queue that holds the sentinel only after [`RunQueue::open`].
    pub fn new() -> Self {
        RunQueue {
            shared: BiasedLock::new(Shared {
                queue: OpQueue::new(),
                deferred: OpQueue::new(),
                lanes: Lanes::new(),
                held: OpQueue::new(),
                held_in_a_row: 0,
                hooks: HookList::new(),
                prepared: false,
                reapers: 0,
                deferred_released: false,
                wakeup: Wakeup::default(),
                role: Role::Queued,
                interrupted: false,
                stopped: false,
                ran_dry: false,
                ending: false,
                inside: 0,
                pace: Pace { handlers: 0, stride: 1, until_check: 0, since: None },
                storm: Storm::new(),
            }),
            condvar: Condvar::new(),
            renewed: AtomicPtr::new(std::ptr::null_mut()),
            left: Condvar::new(),
            halted: AtomicBool::new(false),
            embedded: AtomicBool::new(false),
            inbox: Inbox::new(),
            work: AtomicI64::new(0),
            suspended: AtomicI64::new(0),
            sleepers: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            sentinel: Op::new(|_, _| {}),
        }
    }

    #[inline]
    fn condvar(&self) -> &Condvar {
        // SAFETY: null, or leaked by `renew`.
        unsafe { self.renewed.load(Ordering::Relaxed).as_ref() }.unwrap_or(&self.condvar)
    }

    /// The threads inside run that are not asleep.
    pub fn awake(&self) -> usize {
        let shared = self.shared.lock();
        let asleep = shared.wakeup.waiters() + usize::from(shared.role == Role::Blocking);
        shared.inside.saturating_sub(asleep)
    }

    /// After a fork: of the threads only the calling one is here, which is inside `inside` run functions of the
    /// context and uses no lane. Those asleep in the parent's are forgotten.
    pub fn renew(&self, inside: usize, reapers: usize) -> Result<(), Errno> {
        let mut condvar = Vec::new();
        condvar.try_reserve_exact(1).map_err(|_| Errno::NOMEM)?;
        condvar.push(Condvar::new());
        let condvar: &'static mut [Condvar] = condvar.leak();
        self.shared.forget_owner();
        let mut shared = self.shared.lock();
        shared.inside = inside;
        shared.reapers = reapers;
        shared.wakeup = Wakeup::default();
        shared.lanes.end_all(&shared.queue);
        self.renewed.store(condvar.as_mut_ptr(), Ordering::Relaxed);
        shared.interrupted = false;
        if shared.role != Role::Queued {
            shared.role = Role::Queued;
            shared.queue.push(self.sentinel.as_ptr());
        }
        self.embedded.store(false, Ordering::SeqCst);
        self.sleepers.store(0, Ordering::SeqCst);
        Ok(())
    }

    /// In the child of a fork, before the end: no thread is inside run here.
    pub fn forget_threads(&self) {
        self.shared.forget_owner();
        let mut shared = self.shared.lock();
        shared.inside = 0;
        shared.lanes.end_all(&shared.queue);
    }

    /// Puts the sentinel in and takes posts under this tag.
    pub fn open(&self, tag: Tag) {
        // Asked for the first time it takes milliseconds where there are other threads: not in the middle of run.
        has_asymmetric_fences();
        self.shared.lock().queue.push(self.sentinel.as_ptr());
        self.inbox.open(tag);
    }

    /// True when a thread, or a host that embeds the context, may be asleep. SeqCst, see above.
    #[inline]
    pub fn has_sleepers(&self) -> bool {
        self.sleepers.load(Ordering::SeqCst) > 0
    }

    /// Moves what was posted to the queue. Posts are counted as work here, many at once.
    #[inline]
    fn drain(&self, shared: &Shared) {
        let count = self.inbox.drain_into(&shared.queue);
        if count > 0 {
            self.work.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Queues an op from a thread that is not inside this context's run, and counts it as work if it comes
    /// with a tag. True when the caller must go on with [`RunQueue::wake_for_post`]; `None` when the context has ended.
    #[inline]
    pub fn post(&self, op: NonNull<Op>, tag: Option<Tag>) -> Option<bool> {
        Some(self.inbox.push(op, tag)? && self.has_sleepers())
    }

    /// Adds a call to posts that are there already, which nobody need be woken for; false if it can't be
    /// done in this way.
    #[inline(always)]
    pub fn post_more(&self, call: Call, tag: Tag) -> bool {
        self.inbox.append_call(call, tag)
    }

    /// The same as [`RunQueue::post`] for a function to call.
    #[inline]
    pub fn post_call(&self, caller: &Caller, call: Call, tag: Tag) -> Result<bool, Errno> {
        Ok(self.inbox.push_call(caller, call, tag)? && self.has_sleepers())
    }

    /// Wakes one sleeper for a post. The caller holds the context.
    pub fn wake_for_post(&self, interrupt: impl FnOnce()) {
        let mut asleep = false;
        {
            let mut shared = self.shared.lock();
            if shared.wakeup.has_waiters() {
                self.drain(&shared);
                if self.has_handlers(&shared) {
                    self.wake_one(&mut shared, || asleep = true);
                }
            } else {
                // What is posted stays in the inbox until whoever sleeps in the kernel has come back: those after
                // it find it there, and nobody is woken for them.
                self.wake_reactor(&mut shared, || asleep = true);
            }
        }
        // The woken thread begins with this lock. If it was woken otherwise meanwhile this wakes it in vain.
        if asleep {
            interrupt();
        }
    }

    /// Adds to the outstanding work. (SeqCst here and in `nest`: one of two threads that end work and
    /// begin to wait for its end sees the other.) When that has ended it the queue stops; where nothing but callbacks
    /// that wait for a nested run is left, that run returns.
    #[inline]
    pub fn work_changed(&self, by: i64, interrupt: impl FnOnce()) {
        let work = self.work.fetch_add(by, Ordering::SeqCst) + by;
        if work == self.suspended.load(Ordering::SeqCst) {
            self.check_work(interrupt);
        }
    }

    /// Counts what a handler has queued and ended.
    #[inline(always)]
    pub fn settle(&self, stay: &Stay, begun: i64, ended: i64, interrupt: impl FnOnce()) {
        let change = begun - ended - stay.debt.get();
        if change > 0 || stay.nested {
            stay.debt.set(0);
            if change != 0 {
                self.work_changed(change, interrupt);
            }
        } else {
            stay.debt.set(-change);
        }
    }

    /// Pays what is still counted though it has ended, when a thread leaves run.
    pub fn pay(&self, stay: &Stay, interrupt: impl FnOnce()) {
        let debt = stay.debt.replace(0);
        if debt != 0 {
            self.work_changed(-debt, interrupt);
        }
    }

    /// Looks at the work count under the lock, and does what its end asks for.
    pub fn check_work(&self, interrupt: impl FnOnce()) {
        self.check_work_locked(&mut self.shared.lock(), interrupt);
    }

    fn check_work_locked(&self, shared: &mut Shared, interrupt: impl FnOnce()) {
        // Posts are taken out of the inbox and counted under this lock.
        if !self.out_of_work() {
            return;
        }
        if self.suspended.load(Ordering::SeqCst) == 0 {
            shared.ran_dry |= !shared.stopped;
            self.stop_locked(shared, interrupt);
        } else {
            shared.wakeup.signal_all(self.condvar());
            self.wake_reactor(shared, interrupt);
        }
    }

    /// True when run has nothing to wait for. Posts in the inbox are work too; what else lies there is counted
    /// already, or is no work: if that were waited for, nobody would look again when it has gone.
    pub fn out_of_work(&self) -> bool {
        if self.work.load(Ordering::SeqCst) != self.suspended.load(Ordering::SeqCst) {
            return false;
        }
        !self.inbox.has_uncounted()
    }

    /// A callback begins, or ends, to wait for a nested run.
    pub fn nest(&self, by: i64, interrupt: impl FnOnce()) {
        self.suspended.fetch_add(by, Ordering::SeqCst);
        if by > 0 && self.out_of_work() {
            self.check_work(interrupt);
        }
    }

    /// Keeps a complete op, which goes on being counted as work, for a thread that reaps.
    pub fn hold(&self, op: NonNull<Op>, interrupt: impl Fn()) {
        let mut shared = self.shared.lock();
        shared.held.push(op);
        self.suspended.fetch_add(1, Ordering::SeqCst);
        if shared.reapers > 0 {
            shared.wakeup.signal_all(self.condvar());
            self.wake_reactor(&mut shared, &interrupt);
        }
        self.check_work_locked(&mut shared, interrupt);
    }

    /// A thread that is inside takes records from now until it leaves. A context that had no work goes on:
    /// who takes records begins operations between its calls.
    pub fn reaper_enters(&self) {
        let mut shared = self.shared.lock();
        shared.reapers += 1;
        if shared.ran_dry && !shared.ending {
            shared.ran_dry = false;
            shared.stopped = false;
            self.halted.store(false, Ordering::Relaxed);
        }
    }

    /// Moves what a thread queued privately to the shared queue.
    pub fn merge(&self, private: &OpQueue, interrupt: impl FnOnce()) {
        if private.is_empty() {
            return;
        }
        let mut shared = self.shared.lock();
        shared.queue.append(private);
        if self.has_sleepers() {
            self.wake_one(&mut shared, interrupt);
        }
    }

    /// True when there are posts from outside that were not taken yet; see [`Inbox::is_used`].
    #[inline(always)]
    pub fn has_posts(&self) -> bool {
        self.inbox.is_used()
    }

    /// The same, and what was posted from outside behind it.
    pub fn take_posts(&self, stay: &Stay, private: &OpQueue, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock_as(&stay.bias);
        shared.queue.append(private);
        self.drain(&shared);
        if self.has_sleepers() {
            self.wake_one(&mut shared, interrupt);
        }
    }

    /// Queues an op for the end of this turn.
    pub fn defer(&self, op: NonNull<Op>, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock();
        shared.deferred.push(op);
        // Only who has the sentinel lets it go: a waiter would look in vain.
        self.wake_reactor(&mut shared, interrupt);
    }

    /// A thread enters a run function; the number that is inside now.
    pub fn enter(&self) {
        self.shared.lock().inside += 1;
    }

    /// A thread leaves a run function: hands over what it did not do (H05).
    pub fn leave(&self, private: &OpQueue, reaped: bool, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock();
        shared.reapers -= usize::from(reaped);
        shared.queue.append(private);
        shared.inside -= 1;
        self.drain(&shared);
        let waiters = shared.wakeup.has_waiters() && !shared.queue.is_empty();
        if waiters || self.has_handlers(&shared) || shared.lanes.any() {
            self.wake_one(&mut shared, interrupt);
        } else if !shared.deferred.is_empty() || reaped && !shared.held.is_empty() {
            // The held are for a host that reaps; one that only polls would be told for ever.
            self.wake_reactor(&mut shared, interrupt);
        }
        if shared.inside == 0 {
            // The destroyer, if any, waits for this.
            self.left.notify_all();
        }
    }

    /// A shorter way to the next posted call, for a thread that is alone inside: the lock is biased to it, so
    /// nobody sleeps or need be woken. (The sentinel is queued besides.)
    #[inline(always)]
    pub fn next_call(&self, private: &OpQueue, stay: &Stay) -> Option<(Taken, Ahead)> {
        self.shared.with_bias(&stay.bias, |shared| {
            let front = shared.queue.front()?;
            // SAFETY: in the queue, which the lock guards.
            let is_batch = unsafe { front.as_ref() }.is_batch();
            if !is_batch {
                return None;
            }
            // Who stops ends the bias.
            debug_assert!(!shared.stopped);
            let taken = batch::take(&shared.queue, front);
            let ahead = Ahead::of(front);
            // With those that come next; few at the most.
            shared.pace.handlers += 1 + ahead.count();
            stay.taken.set(stay.taken.get() + 1 + ahead.count() as usize);
            shared.queue.append(private);
            Some((taken, ahead))
        })?
    }

    /// The next one of those ahead of the last that was taken. While the bias stands nobody else has taken any.
    #[inline(always)]
    pub fn next_ahead(&self, private: &OpQueue, stay: &Stay, ahead: &mut Ahead) -> Option<Call> {
        self.shared.with_bias(&stay.bias, |shared| {
            shared.queue.append(private);
            ahead.take()
        })
    }

    /// The next call in the lane, for a thread whose last step was [`Item::Lane`].
    #[inline(always)]
    pub fn next_in_lane(&self, stay: &Stay) -> Option<Call> {
        if self.halted() {
            return None;
        }
        stay.lane.claim()
    }

    /// Ends the lane, if any is used: what is left goes back to the queue.
    pub fn end_lane(&self, caller: &Caller, stay: &Stay) {
        if !stay.lane.is_used() {
            return;
        }
        let shared = self.shared.lock();
        let emptied = shared.lanes.end(&stay.lane, &shared.queue);
        drop(shared);
        if let Some(batch) = emptied {
            caller.batches().put(batch);
        }
    }

    /// A shorter way to an op that the last handler has queued while nothing else is: it need not travel through the
    /// queue, past the sentinel. The same order, and nothing is held back from others.
    #[inline(always)]
    pub fn next_own(&self, private: &OpQueue, stay: &Stay) -> Option<NonNull<Op>> {
        self.shared.with_bias(&stay.bias, |shared| {
            let front = private.front()?;
            // SAFETY: in the frame's queue, which is this thread's.
            if unsafe { front.as_ref() }.is_batch()
                || stay.limit.get() != Limit::Forever
                || !shared.queue.is_only(self.sentinel.as_ptr())
                || !shared.deferred.is_empty()
                || !shared.pace.take_quick()
            {
                return None;
            }
            private.pop();
            shared.queue.append(private);
            shared.pace.handlers += 1;
            stay.taken.set(stay.taken.get() + 1);
            Some(front)
        })?
    }

    /// The next thing to do for a thread inside run. `private` holds what its last handler queued.
    /// Between handlers the lock is biased to a thread that is alone inside; not in the kernel, where it
    /// is another thread that will want it, to wake this one.
    #[inline]
    pub fn next(&self, private: &OpQueue, stay: &Stay, interrupt: impl Fn()) -> Step {
        let mut shared = self.shared.lock_as(&stay.bias);
        if let Some(item) = self.next_as_owner(&mut shared, private, stay) {
            return Step::Run(item, shared.queue.is_empty());
        }
        shared.queue.append(private);
        let step = self.step(&mut shared, stay, interrupt);
        if !matches!(step, Step::Run(..) | Step::Lane(_)) {
            shared.end_bias();
        } else if self.may_bias(&shared, stay) {
            shared.set_bias(&stay.bias);
        }
        step
    }

    /// True when the thread is alone, and nobody looks into the queue from outside.
    #[inline]
    fn may_bias(&self, shared: &Shared, stay: &Stay) -> bool {
        stay.may_bias && shared.inside == 1 && !self.embedded()
    }

    /// The short way while the lock is biased: nobody else is inside, or sleeps, so that none need be woken.
    #[inline]
    fn next_as_owner(
        &self,
        shared: &mut Guard<'_, Shared>,
        private: &OpQueue,
        stay: &Stay,
    ) -> Option<Item> {
        if !shared.has_bias() || shared.stopped || matches!(stay.limit.get(), Limit::Until(_)) {
            return None;
        }
        let front = shared.queue.front()?;
        if front == self.sentinel.as_ptr() {
            return None;
        }
        let item = Item::take(&shared.queue, front);
        shared.queue.append(private);
        shared.pace.handlers += 1;
        stay.taken.set(stay.taken.get() + 1);
        Some(item)
    }

    #[inline]
    fn step(&self, shared: &mut Guard<'_, Shared>, stay: &Stay, interrupt: impl Fn()) -> Step {
        if stay.taken.get() > 0 && matches!(stay.limit.get(), Limit::Until(_)) && stay.expired() {
            return Step::Done;
        }
        loop {
            let halted = shared.stopped || self.gives_up(shared, stay);
            if stay.reaps
                && (halted || shared.held_in_a_row < HELD_PER_TURN)
                && let Some(op) = shared.held.pop()
            {
                shared.held_in_a_row += 1;
                self.suspended.fetch_sub(1, Ordering::SeqCst);
                return Step::Held(op);
            }
            if halted {
                return self.halted_step(shared, stay);
            }
            match shared.queue.front() {
                Some(op) if op == self.sentinel.as_ptr() => {
                    if !shared.lanes.is_empty()
                        && let Some(step) = self.help(shared, stay, &interrupt)
                    {
                        return step;
                    }
                    shared.queue.pop();
                    if let Some(step) = self.sentinel_step(shared, stay, &interrupt) {
                        return step;
                    }
                }
                Some(op) => {
                    // SAFETY: in the queue, which the lock guards.
                    if unsafe { op.as_ref() }.is_batch() && self.shares(shared, stay) {
                        return self.begin_lane(shared, stay, interrupt);
                    }
                    shared.pace.handlers += 1;
                    stay.taken.set(stay.taken.get() + 1);
                    let item = Item::take(&shared.queue, op);
                    let more = !shared.queue.is_empty();
                    return Step::Run(item, self.cascade(shared, more, interrupt));
                }
                // Another thread has the reactor's role.
                None if stay.reaps && !shared.held.is_empty() => shared.held_in_a_row = 0,
                None => {
                    if !shared.lanes.is_empty()
                        && let Some(call) = shared.lanes.steal()
                    {
                        return self.stolen(shared, stay, call, interrupt);
                    }
                    if let Some(step) = self.wait(shared, stay, &interrupt) {
                        return step;
                    }
                }
            }
        }
    }

    /// True where other threads may help with what this one takes.
    #[inline]
    fn shares(&self, shared: &Shared, stay: &Stay) -> bool {
        stay.takes_batches && !self.may_bias(shared, stay)
    }

    /// Takes all of the batch at the front of the queue.
    #[inline(never)]
    fn begin_lane(&self, shared: &mut Shared, stay: &Stay, interrupt: impl Fn()) -> Step {
        let count = shared.lanes.begin(&stay.lane, &shared.queue);
        stay.taken.set(stay.taken.get() + count as usize);
        shared.pace.handlers += count;
        let more = count > 1 || !shared.queue.is_empty();
        Step::Lane(self.cascade(shared, more, interrupt))
    }

    /// A call out of another's lane.
    #[cold]
    #[inline(never)]
    fn stolen(&self, shared: &mut Shared, stay: &Stay, call: Call, interrupt: impl Fn()) -> Step {
        shared.pace.handlers += 1;
        stay.taken.set(stay.taken.get() + 1);
        let taken = Taken { call, emptied: None };
        let more = shared.lanes.any() || !shared.queue.is_empty();
        Step::Run(Item::Call(taken), self.cascade(shared, more, interrupt))
    }

    /// Helps another thread with its lane while the sentinel is next: where nothing else is queued, or where that
    /// thread is stuck in a call, whose successors were queued before all that is in the queue.
    #[cold]
    #[inline(never)]
    fn help(&self, shared: &mut Shared, stay: &Stay, interrupt: impl Fn()) -> Option<Step> {
        if !stay.turned.get() || !shared.lanes.any() || shared.pace.due() {
            return None;
        }
        let call = if shared.queue.is_only(self.sentinel.as_ptr()) {
            shared.lanes.steal()
        } else {
            shared.lanes.steal_from_stuck()
        };
        call.map(|call| self.stolen(shared, stay, call, interrupt))
    }

    /// Who takes one wakes the next while there is more. True when what is left may be run by another thread.
    #[inline]
    fn cascade(&self, shared: &mut Shared, more: bool, interrupt: impl Fn()) -> bool {
        if !more {
            return true;
        }
        // Where nobody sleeps there is no more to it.
        let sleeps = shared.wakeup.has_waiters() || shared.role == Role::Blocking;
        sleeps && self.wake_one(shared, &interrupt)
    }

    /// True when only others can end what work is left.
    fn gives_up(&self, shared: &Shared, stay: &Stay) -> bool {
        (stay.nested || (!stay.reaps && !shared.held.is_empty())) && self.out_of_work()
    }

    /// Leaves; but a host that polls a stopped context must find its fd no longer readable for what is
    /// past, so the kernel is asked once all the same.
    #[cold]
    fn halted_step(&self, shared: &mut Shared, stay: &Stay) -> Step {
        let asks = stay.limit.get() == Limit::Poll && !stay.turned.get() && self.embedded();
        if !asks || shared.role != Role::Queued {
            return Step::Done;
        }
        let others = OpQueue::new();
        while let Some(op) = shared.queue.pop() {
            if op != self.sentinel.as_ptr() {
                others.push(op);
            }
        }
        shared.queue.append(&others);
        shared.role = Role::Turning;
        shared.interrupted = false;
        stay.turned.set(true);
        Step::Turn { block: false }
    }

    /// Decides what the sentinel, just popped, means now; `None` when it went back into the queue.
    fn sentinel_step(
        &self,
        shared: &mut Shared,
        stay: &Stay,
        interrupt: &impl Fn(),
    ) -> Option<Step> {
        self.drain(shared);
        let debt = stay.debt.replace(0);
        if debt != 0 {
            self.work.fetch_sub(debt, Ordering::SeqCst);
            self.check_work_locked(shared, interrupt);
            if shared.stopped || self.gives_up(shared, stay) {
                shared.queue.push(self.sentinel.as_ptr());
                return None;
            }
        }
        if !shared.deferred.is_empty() && !shared.deferred_released {
            // The end of a turn. What these defer in turn waits until the kernel was asked once more.
            shared.deferred_released = true;
            shared.queue.append(&shared.deferred);
        }
        shared.held_in_a_row = 0;
        let more = !shared.queue.is_empty()
            || !shared.deferred.is_empty()
            || stay.backlog.get()
            || stay.reaps && !shared.held.is_empty();
        if stay.turned.get() {
            let over = stay.limit.get() == Limit::Poll && stay.taken.get() > HANDLERS_PER_POLL;
            if over || (!more && stay.expired() && !shared.lanes.any()) {
                shared.queue.push(self.sentinel.as_ptr());
                return Some(Step::Done);
            }
            if !shared.queue.is_empty() && !shared.pace.due() {
                shared.queue.push(self.sentinel.as_ptr());
                return None;
            }
        }
        if !std::mem::replace(&mut shared.prepared, true) && self.queue_hooks(shared, more) {
            shared.queue.push(self.sentinel.as_ptr());
            return None;
        }
        // The interrupt of a wake may have reached a thread that does not reap.
        let woken = stay.reaps && self.is_woken();
        let mut block = !more && !woken && !stay.expired() && !shared.hooks.has(When::Idle);
        if block && shared.lanes.any() {
            block = false;
        }
        if block && shared.storm.gives_way(stay.taken.get()) {
            shared.queue.push(self.sentinel.as_ptr());
            return Some(Step::GiveWay);
        }
        if block {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            if !self.inbox.is_empty() {
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
                self.drain(shared);
                block = false;
            }
        }
        shared.role = if block { Role::Blocking } else { Role::Turning };
        shared.interrupted = false;
        shared.deferred_released = false;
        shared.prepared = false;
        shared.pace.visit();
        stay.turned.set(true);
        if !shared.queue.is_empty() {
            self.wake_one(shared, interrupt);
        }
        Some(Step::Turn { block })
    }

    /// Queues the hooks that come before a turn; false when there are none.
    fn queue_hooks(&self, shared: &Shared, more: bool) -> bool {
        if !more {
            shared.hooks.queue(When::Idle, &shared.queue);
        }
        shared.hooks.queue(When::Prepare, &shared.queue);
        shared.hooks.has(When::Prepare) || (!more && shared.hooks.has(When::Idle))
    }

    /// Has a hook queued in each turn. A turn in progress is interrupted.
    pub fn add_hook(&self, when: When, hook: &'static Hook, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock();
        shared.hooks.add(when, hook);
        self.wake_reactor(&mut shared, interrupt);
    }

    /// Ends that.
    pub fn remove_hook(&self, when: When, hook: &'static Hook) {
        self.shared.lock().hooks.remove(when, hook);
    }

    /// Numbers for the statistics.
    pub fn counts(&self) -> Counts {
        let shared = self.shared.lock();
        let mut counts = Counts { signalled: shared.wakeup.signals(), queued: 0, held: 0, work: 0 };
        shared.queue.for_each(|op| counts.queued += u64::from(op != self.sentinel.as_ptr()));
        counts.queued += shared.lanes.count() as u64;
        shared.held.for_each(|_| counts.held += 1);
        counts.work = self.work.load(Ordering::Relaxed);
        counts
    }

    /// The role, for the thread that was told to make a turn.
    pub fn turn(&self) -> Turn<'_> {
        Turn { run_queue: self, ready: OpQueue::new() }
    }

    /// The turn is over, however it ended (H06): queues what it made ready, then the sentinel.
    fn turn_done(&self, ready: &OpQueue) {
        let mut shared = self.shared.lock();
        if shared.role == Role::Blocking {
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            if shared.interrupted && ready.is_empty() {
                shared.storm.woken(now);
            }
        }
        shared.role = Role::Queued;
        shared.interrupted = false;
        shared.queue.append(ready);
        shared.hooks.queue(When::Check, &shared.queue);
        shared.queue.push(self.sentinel.as_ptr());
    }

    /// Nothing to take while another thread has the reactor's role.
    fn wait(
        &self,
        shared: &mut Guard<'_, Shared>,
        stay: &Stay,
        interrupt: &impl Fn(),
    ) -> Option<Step> {
        if stay.limit.get() == Limit::Poll {
            self.drain(shared);
            return if shared.queue.is_empty() { Some(Step::Done) } else { None };
        }
        let debt = stay.debt.replace(0);
        if debt != 0 {
            self.work.fetch_sub(debt, Ordering::SeqCst);
            self.check_work_locked(shared, interrupt);
            return None;
        }
        // Under the lock, as `wake_reapers`: what that said before this thread was here is seen.
        if stay.reaps && self.is_woken() {
            return Some(Step::Again);
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut woken = true;
        if self.inbox.is_empty() {
            woken = Wakeup::wait(shared, self.condvar(), stay.deadline());
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.drain(shared);
        if !shared.queue.is_empty() {
            return None;
        }
        if !woken {
            return Some(Step::Done);
        }
        // Perhaps it is to return, see `wake_reapers`.
        (stay.reaps && shared.held.is_empty()).then_some(Step::Again)
    }

    /// Who reaps is to return; true when that is new, and a thread in the kernel is to be interrupted. For signal
    /// handlers too.
    #[inline]
    pub fn wake(&self) -> bool {
        !self.woken.swap(true, Ordering::SeqCst)
    }

    /// True while a wake has not reached who reaps.
    #[inline]
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// True once for all wakes since the last time.
    #[inline]
    pub fn take_wake(&self) -> bool {
        self.is_woken() && self.woken.swap(false, Ordering::SeqCst)
    }

    /// Has who reaps look whether it is to return, where it sleeps behind another thread.
    pub fn wake_reapers(&self) {
        let mut shared = self.shared.lock();
        if shared.reapers > 0 {
            shared.wakeup.signal_all(self.condvar());
        }
    }

    /// True when the queue holds more than the sentinel.
    fn has_handlers(&self, shared: &Shared) -> bool {
        match shared.queue.front() {
            None => false,
            Some(op) if op == self.sentinel.as_ptr() => {
                // SAFETY-free look at the link: the sentinel is ours.
                !self.sentinel.next().is_null()
            }
            Some(_) => true,
        }
    }

    /// True when a host has to be told of something that is here already.
    fn has_more(&self, shared: &Shared) -> bool {
        self.has_handlers(shared) || !shared.deferred.is_empty() || !shared.held.is_empty()
    }

    /// Gets one more thread to look at the queue: a waiter, else the blocking reactor, else the host of
    /// an embedded context. False when there is none to get. The eventfd is written at most once until
    /// the reactor comes back.
    fn wake_one(&self, shared: &mut Shared, interrupt: impl FnOnce()) -> bool {
        shared.wakeup.signal_one(self.condvar()) || self.wake_reactor(shared, interrupt)
    }

    /// Gets the blocking reactor back, or the host of an embedded context; false when neither sleeps.
    fn wake_reactor(&self, shared: &mut Shared, interrupt: impl FnOnce()) -> bool {
        // A stopped context has nothing to do, and its host nothing to wake for.
        let idle = shared.inside == 0 && !shared.stopped;
        let host = idle && self.embedded();
        let asleep = shared.role == Role::Blocking || host;
        if asleep && !shared.interrupted {
            shared.interrupted = true;
            interrupt();
        }
        asleep
    }

    /// Makes every run function return.
    pub fn stop(&self, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock();
        shared.ran_dry = false;
        self.stop_locked(&mut shared, interrupt);
    }

    fn stop_locked(&self, shared: &mut Shared, interrupt: impl FnOnce()) {
        shared.stopped = true;
        self.halted.store(true, Ordering::Relaxed);
        shared.wakeup.signal_all(self.condvar());
        if shared.role == Role::Blocking {
            self.wake_reactor(shared, interrupt);
        }
    }

    /// Stops for good, and waits until no thread is inside run.
    pub fn end(&self, interrupt: impl FnOnce()) {
        self.inbox.doubt();
        let mut shared = self.shared.lock();
        shared.ending = true;
        self.stop_locked(&mut shared, interrupt);
        while shared.inside > 0 {
            shared.wait(&self.left, None);
        }
    }

    /// True after [`RunQueue::stop`].
    pub fn stopped(&self) -> bool {
        self.shared.lock().stopped
    }

    /// The same without the lock: what a thread sees that has just been told, or soon after.
    #[inline]
    pub fn halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Lets run functions run again.
    pub fn restart(&self, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock();
        if shared.ending {
            return;
        }
        shared.stopped = false;
        shared.ran_dry = false;
        self.halted.store(false, Ordering::Relaxed);
        self.drain(&shared);
        if self.embedded() && self.has_more(&shared) {
            self.wake_reactor(&mut shared, interrupt);
        }
    }

    /// A host will sleep on the context's fd from now on: it counts as a sleeper for ever.
    pub fn embed(&self, interrupt: impl FnOnce()) {
        let mut shared = self.shared.lock();
        if !self.embedded.swap(true, Ordering::SeqCst) {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            self.drain(&shared);
            if self.has_more(&shared) {
                self.wake_reactor(&mut shared, interrupt);
            }
        }
    }

    /// True when a host sleeps on the context's fd.
    #[inline]
    pub fn embedded(&self) -> bool {
        self.embedded.load(Ordering::Relaxed)
    }

    /// Takes everything that is queued, for destruction: no thread is inside run, and no post is taken
    /// any more.
    pub fn take_all(&self, into: &OpQueue) {
        let shared = self.shared.lock();
        self.inbox.close(&shared.queue);
        shared.queue.append(&shared.deferred);
        shared.queue.append(&shared.held);
        while let Some(op) = shared.queue.pop() {
            if op != self.sentinel.as_ptr() {
                into.push(op);
            }
        }
    }

    /// Empties the state for the next context in this slot. Everything was taken.
    pub fn reset(&self) {
        let mut shared = self.shared.lock();
        shared.deferred_released = false;
        shared.role = Role::Queued;
        shared.interrupted = false;
        shared.stopped = false;
        shared.ran_dry = false;
        shared.prepared = false;
        shared.wakeup = Wakeup::default();
        shared.ending = false;
        self.halted.store(false, Ordering::Relaxed);
        self.embedded.store(false, Ordering::Relaxed);
        self.sleepers.store(0, Ordering::SeqCst);
        self.work.store(0, Ordering::Relaxed);
        self.suspended.store(0, Ordering::Relaxed);
    }
}

/// The reactor's role, given back on every way out of the turn.
pub struct Turn<'a> {
    run_queue: &'a RunQueue,
    /// What the turn makes ready.
    pub ready: OpQueue,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.run_queue.turn_done(&self.ready);
    }
}
