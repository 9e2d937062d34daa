//! loom models of the run queue: sleep and wake-up, cascade, hand-over, stop, the embedding host.
//!
//! Run: `scripts/loom`. The queue, the inbox and the biased lock are the real ones; [`Kernel`] stands
//! in for epoll with its eventfd and timerfd. A lost wake-up shows as a deadlock, which loom reports.
//! `scripts/mutants` breaks the code in the ways that each model is there to find.
//!
//! The models of three threads have a bound on preemptions of 2 or 3, which keeps the whole run under two
//! minutes. A protocol of flags that two threads exchange goes wrong with fewer. Time stands still: a
//! deadline is either far off or past before the model begins.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "cells whose accesses loom checks")]

use super::super::biased_lock::{Bias, BiasedLock};
use super::super::inbox::Tag;
use super::super::op::{Op, OpQueue};
use super::super::sync::Ordering::SeqCst;
use super::super::sync::{Condvar, Mutex};
use super::super::table::Token;
use super::{Item as Next, Limit, RunQueue, Stay, Step, now};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Checks a model with at most this many preemptions, or as many as the environment says if fewer.
pub fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound =
        Some(builder.preemption_bound.map_or(preemptions, |asked| asked.min(preemptions)));
    builder.max_branches = builder.max_branches.max(20_000);
    builder.check(model);
}

/// Epoll with an eventfd and a timerfd, edge-triggered: what a turn has seen is gone.
pub struct Kernel {
    state: Mutex<Pending>,
    changed: Condvar,
}

struct Pending {
    interrupted: bool,
    /// When the timerfd expires.
    armed: i64,
    events: OpQueue,
}

/// Moments up to this one come while a thread blocks, those after it never do.
pub const SOON: i64 = 100;

impl Pending {
    fn is_ready(&self) -> bool {
        self.interrupted || self.armed <= SOON || !self.events.is_empty()
    }
}

impl Kernel {
    /// Nothing is ready.
    pub fn new() -> Self {
        Kernel {
            state: Mutex::new(Pending {
                interrupted: false,
                armed: i64::MAX,
                events: OpQueue::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// The eventfd is written.
    pub fn interrupt(&self) {
        self.state.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// The timerfd is programmed.
    pub fn arm(&self, at: i64) {
        self.state.lock().armed = at;
        self.changed.notify_all();
    }

    /// A descriptor becomes ready.
    fn event(&self, op: &Op) {
        self.state.lock().events.push(op.as_ptr());
        self.changed.notify_all();
    }

    /// What `epoll_wait` does; true when the timer has expired.
    pub fn wait(&self, block: bool, ready: &OpQueue) -> bool {
        let mut state = self.state.lock();
        while block && !state.is_ready() {
            self.changed.wait(&mut state);
        }
        state.interrupted = false;
        ready.append(&state.events);
        let expired = state.armed <= SOON;
        if expired {
            state.armed = i64::MAX;
        }
        expired
    }

    /// What a host does: sleeps until the epoll fd is readable, and takes nothing.
    fn wait_readable(&self) {
        let mut state = self.state.lock();
        while !state.is_ready() {
            self.changed.wait(&mut state);
        }
    }
}

/// An operation whose payload the poster writes and the handler reads: loom sees it if nothing orders
/// the two.
struct Item {
    op: Op,
    payload: UnsafeCell<usize>,
    runs: AtomicUsize,
}

/// A context without fds and frames.
struct Context {
    queue: RunQueue,
    kernel: Kernel,
    items: Vec<Item>,
    /// Threads inside a handler that waits for others.
    arrived: Mutex<usize>,
    arrival: Condvar,
}

// SAFETY: payloads are ordered by the queue under test; loom checks each access.
unsafe impl Sync for Context {}

/// Opens a queue. loom lets a SeqCst load see a value older than the last unless both were stored with
/// SeqCst, so that the count of sleepers must not begin with a plain 0.
pub fn open(queue: &RunQueue) {
    queue.open(tag());
    queue.sleepers.store(0, SeqCst);
}

/// The generation that posts are tagged with.
pub fn tag() -> Tag {
    Tag::of(Token::from_raw(1))
}

/// The context of one execution, with work held for each item. Leaked, as ops must stay.
fn context(items: usize) -> &'static Context {
    let item =
        |_| Item { op: Op::new(|_, _| {}), payload: UnsafeCell::new(0), runs: AtomicUsize::new(0) };
    let context: &Context = Box::leak(Box::new(Context {
        queue: RunQueue::new(),
        kernel: Kernel::new(),
        items: (0..items).map(item).collect(),
        arrived: Mutex::new(0),
        arrival: Condvar::new(),
    }));
    open(&context.queue);
    context.work_changed(i64::try_from(items).unwrap());
    context
}

impl Context {
    fn work_changed(&self, by: i64) {
        self.queue.work_changed(by, || self.kernel.interrupt());
    }

    fn write_payload(&self, index: usize) {
        // SAFETY: the item is not queued.
        self.items[index].payload.with_mut(|payload| unsafe { *payload = index + 1 });
    }

    /// What a post from outside does with an operation that is counted already.
    fn post(&self, index: usize) {
        self.write_payload(index);
        if self.queue.post(self.items[index].op.as_ptr(), Some(tag())).unwrap() {
            self.queue.wake_for_post(|| self.kernel.interrupt());
        }
        self.work_changed(-1);
    }

    /// A descriptor of the item becomes ready.
    fn event(&self, index: usize) {
        self.write_payload(index);
        self.kernel.event(&self.items[index].op);
    }

    fn stop(&self) {
        self.queue.stop(|| self.kernel.interrupt());
    }

    fn leave(&self, private: &OpQueue) {
        self.queue.leave(private, false, || self.kernel.interrupt());
    }

    /// What a run function does. `handler` gets the item's number and the thread's private queue.
    fn run_with(&self, stay: &Stay, most: usize, handler: impl Fn(usize, &OpQueue)) {
        let private = OpQueue::new();
        self.queue.enter();
        let mut ran = 0;
        while ran < most {
            match self.queue.next(&private, stay, || self.kernel.interrupt()) {
                Step::Run(Next::Op(op), _) | Step::Held(op) => {
                    let index = self.items.iter().position(|item| item.op.as_ptr() == op).unwrap();
                    let item = &self.items[index];
                    // SAFETY: popped by this thread; loom reports it if the write is not ordered before.
                    assert_eq!(item.payload.with(|payload| unsafe { *payload }), index + 1);
                    assert_eq!(item.runs.fetch_add(1, Ordering::Relaxed), 0, "run twice");
                    handler(index, &private);
                    self.queue.settle(stay, 0, 1, || self.kernel.interrupt());
                    ran += 1;
                }
                Step::Run(Next::Call(_), _) | Step::Lane(_) => {
                    unreachable!("posted calls are `loom_lanes`")
                }
                Step::Turn { block } => {
                    let turn = self.queue.turn();
                    self.kernel.wait(block, &turn.ready);
                }
                Step::GiveWay | Step::Again => {}
                Step::Done => break,
            }
        }
        self.queue.pay(stay, || self.kernel.interrupt());
        self.leave(&private);
    }

    fn run(&self) {
        self.run_with(&Stay::new(Limit::Forever, true, false), usize::MAX, |_, _| {});
    }

    /// A handler that returns when this many threads are inside one.
    fn meet(&self, threads: usize) {
        let mut arrived = self.arrived.lock();
        *arrived += 1;
        self.arrival.notify_all();
        while *arrived < threads {
            self.arrival.wait(&mut arrived);
        }
    }

    fn all_ran(&self) -> bool {
        self.items.iter().all(|item| item.runs.load(Ordering::Relaxed) == 1)
    }

    fn assert_all_ran(&self) {
        assert!(self.all_ran(), "an operation was lost");
        assert!(!self.queue.has_sleepers(), "a sleeper is counted that is not there");
    }
}

/// Takes the reactor's role before any other thread runs.
fn take_role(context: &Context, stay: &Stay, blocking: bool) {
    context.queue.enter();
    let step = context.queue.next(&OpQueue::new(), stay, || context.kernel.interrupt());
    assert!(matches!(step, Step::Turn { block } if block == blocking), "the first thread turns");
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Runs one on the model's first thread and the other on a second. loom explores from the order in which
/// the first goes as far as it can, and of an atomic's reads remembers the last only, which may hide an
/// earlier one: so each order is a start of its own.
fn beside(first: impl FnOnce(), second: impl FnOnce() + Send + 'static) {
    let second = thread::spawn(second);
    first();
    second.join().unwrap();
}

fn post_both(context: &Context) {
    context.post(0);
    context.post(1);
}

/// Posts race with the only thread on its way into the kernel, and with it coming back: `interrupted` is
/// set for the one post and must be clear for the other.
#[test]
fn loom_h02_post_wakes_a_blocking_reactor() {
    check(3, || {
        let context = context(2);
        beside(|| context.run(), || post_both(context));
        context.assert_all_ran();
    });
    check(3, || {
        let context = context(2);
        beside(|| post_both(context), || context.run());
        context.assert_all_ran();
    });
}

/// The same with two posters: the second rides along on the first's wake-up, or makes its own.
#[test]
fn loom_h02_two_posters_wake_a_blocking_reactor() {
    check(2, || {
        let context = context(2);
        let posters = [0, 1].map(|index| thread::spawn(move || context.post(index)));
        context.run();
        join(posters);
        context.assert_all_ran();
    });
}

/// Two posts run on two threads at once, although the second post found the inbox in use and woke
/// nobody: each handler waits for the other to begin.
#[test]
fn loom_cascade_runs_two_posts_on_two_threads() {
    check(2, || {
        let context = context(2);
        let runner = move || {
            let stay = Stay::new(Limit::Forever, true, false);
            context.run_with(&stay, usize::MAX, |_, _| context.meet(2));
        };
        let runners = [thread::spawn(runner), thread::spawn(runner)];
        context.post(0);
        context.post(1);
        join(runners);
        context.assert_all_ran();
    });
}

/// The reactor leaves by its limit while another thread sleeps, or is about to: that one becomes the
/// reactor and sees the next event.
fn hand_over(limit: Limit) {
    let context = context(1);
    let stay = Stay::new(limit, true, false);
    take_role(context, &stay, false);
    let waiter = thread::spawn(move || context.run());
    drop(context.queue.turn());
    let step = context.queue.next(&OpQueue::new(), &stay, || context.kernel.interrupt());
    assert!(matches!(step, Step::Done));
    context.leave(&OpQueue::new());
    context.event(0);
    waiter.join().unwrap();
    context.assert_all_ran();
}

#[test]
fn loom_h05_hand_over_at_a_deadline() {
    check(3, || hand_over(Limit::Until(now())));
}

#[test]
fn loom_h05_hand_over_after_a_poll() {
    check(3, || hand_over(Limit::Poll));
}

/// A thread that may run one callback leaves; what that callback queued is run by the other.
#[test]
fn loom_h05_hand_over_of_private_ops() {
    check(3, || {
        let context = context(2);
        let handler = move |index: usize, private: &OpQueue| {
            if index == 0 {
                context.write_payload(1);
                private.push(context.items[1].op.as_ptr());
            }
        };
        let other = thread::spawn(move || {
            let stay = Stay::new(Limit::Forever, true, false);
            context.run_with(&stay, usize::MAX, handler);
        });
        context.event(0);
        context.run_with(&Stay::new(Limit::Forever, false, false), 1, handler);
        other.join().unwrap();
        context.assert_all_ran();
    });
}

/// A turn that fails gives the role back, and is no longer counted among the sleepers.
#[test]
fn loom_h06_a_failed_turn_gives_the_role_back() {
    check(3, || {
        let context = context(1);
        let stay = Stay::new(Limit::Forever, true, false);
        take_role(context, &stay, true);
        let waiter = thread::spawn(move || context.run());
        let failing_turn = || -> Result<(), ()> {
            let _turn = context.queue.turn();
            Err(())
        };
        assert!(failing_turn().is_err());
        context.leave(&OpQueue::new());
        context.event(0);
        waiter.join().unwrap();
        context.assert_all_ran();
    });
}

/// Stop races with a waiter and a reactor that go to sleep; the destroyer waits until both have left.
#[test]
fn loom_stop_makes_every_thread_leave() {
    check(3, || {
        let context = context(1);
        let runners = [(); 2].map(|()| thread::spawn(|| context.run()));
        context.stop();
        join(runners);
        assert!(!context.queue.has_sleepers());
    });
}

/// A stop reaches a waiter at once, although the reactor is still in the kernel.
#[test]
fn loom_stop_reaches_a_waiter() {
    check(3, || {
        let context = context(1);
        let stay = Stay::new(Limit::Forever, true, false);
        take_role(context, &stay, true);
        let turn = context.queue.turn();
        beside(|| context.stop(), || context.run());
        drop(turn);
        context.leave(&OpQueue::new());
        assert!(!context.queue.has_sleepers());
    });
}

/// The same as the first for the end of the context.
#[test]
fn loom_stop_at_the_end_of_the_context() {
    check(3, || {
        let context = context(1);
        let runners = [(); 2].map(|()| thread::spawn(|| context.run()));
        context.queue.end(|| context.kernel.interrupt());
        join(runners);
        assert!(!context.queue.has_sleepers());
    });
}

/// The last operation ends outside run while two threads go to sleep.
#[test]
fn loom_stop_when_out_of_work() {
    check(3, || {
        let context = context(1);
        let runners = [(); 2].map(|()| thread::spawn(|| context.run()));
        context.work_changed(-1);
        join(runners);
        assert!(context.queue.stopped() && !context.queue.has_sleepers());
    });
}

/// Nothing but a callback that waits for a nested run is left: that run returns, whoever else sleeps.
#[test]
fn loom_nested_run_returns_when_out_of_work() {
    check(3, || {
        let context = context(2);
        let stay = Stay::new(Limit::Forever, true, false);
        take_role(context, &stay, true);
        context.queue.nest(1, || {});
        let nested = thread::spawn(move || {
            context.run_with(&Stay::new(Limit::Forever, true, true), usize::MAX, |_, _| {});
        });
        let other = thread::spawn(move || context.run());
        context.work_changed(-1);
        nested.join().unwrap();
        context.queue.nest(-1, || {});
        context.work_changed(-1);
        drop(context.queue.turn());
        context.leave(&OpQueue::new());
        other.join().unwrap();
    });
}

/// What a thread does that reaps until it is woken.
fn reap(context: &Context) {
    let interrupt = || context.kernel.interrupt();
    let (stay, private) = (Stay::reaping(Limit::Forever, false), OpQueue::new());
    context.queue.enter();
    context.queue.reaper_enters();
    loop {
        if context.queue.take_wake() {
            stay.make_haste();
        }
        match context.queue.next(&private, &stay, interrupt) {
            Step::Turn { block } => {
                let turn = context.queue.turn();
                context.kernel.wait(block, &turn.ready);
            }
            Step::GiveWay | Step::Again => {}
            Step::Done => break,
            Step::Run(..) | Step::Lane(_) | Step::Held(_) => unreachable!("nothing is queued"),
        }
    }
    context.queue.leave(&private, true, interrupt);
}

/// A wake reaches who reaps, though it is another thread that the interrupt calls back from the kernel: the one
/// that reaps may be on its way to sleep, or into the kernel in the other's place.
#[test]
fn loom_wake_reaches_who_reaps_beside_a_thread_in_run() {
    check(3, || {
        let context = context(1);
        let stay = Stay::new(Limit::Forever, false, false);
        take_role(context, &stay, true);
        let reaper = thread::spawn(|| {
            reap(context);
            context.stop();
        });
        let waker = thread::spawn(|| {
            if context.queue.wake() {
                context.kernel.interrupt();
            }
        });
        let turn = context.queue.turn();
        context.kernel.wait(true, &turn.ready);
        drop(turn);
        if context.queue.is_woken() {
            context.queue.wake_reapers();
        }
        context.run();
        join([reaper, waker]);
        context.leave(&OpQueue::new());
    });
}

/// Polls when the fd is readable, one callback at a time.
fn host(context: &Context) {
    while !context.all_ran() {
        context.kernel.wait_readable();
        context.run_with(&Stay::new(Limit::Poll, false, false), 1, |_, _| {});
    }
}

/// A host hears of what each of its polls has left, and of what is posted at any moment.
#[test]
fn loom_h71_leave_embedded_tells_the_host() {
    let embedded = || {
        let context = context(2);
        context.queue.embed(|| context.kernel.interrupt());
        context
    };
    check(3, move || {
        let context = embedded();
        beside(|| host(context), || post_both(context));
        assert!(context.queue.stopped(), "out of work");
    });
    check(3, move || {
        let context = embedded();
        beside(|| post_both(context), || host(context));
        assert!(context.queue.stopped(), "out of work");
    });
}

/// The same where another thread inside run leaves handlers behind.
#[test]
fn loom_h71_the_last_to_leave_tells_the_host() {
    check(2, || {
        let context = context(2);
        context.queue.embed(|| context.kernel.interrupt());
        let other = thread::spawn(|| {
            context.run_with(&Stay::new(Limit::Poll, false, false), 1, |_, _| {});
            if context.all_ran() {
                // The host of the model waits for this thread too.
                context.kernel.interrupt();
            }
        });
        let poster = thread::spawn(|| context.post(0));
        context.post(1);
        while !context.all_ran() {
            context.kernel.wait_readable();
            context.run_with(&Stay::new(Limit::Poll, false, false), 1, |_, _| {});
            // The fd stays readable while the other thread is on its way into the kernel.
            thread::yield_now();
        }
        other.join().unwrap();
        poster.join().unwrap();
    });
}

/// The lock biased to one thread excludes the others, and each sees what the last has written.
#[test]
fn loom_biased_lock_excludes() {
    check(3, || {
        let lock: &BiasedLock<UnsafeCell<usize>> =
            Box::leak(Box::new(BiasedLock::new(UnsafeCell::new(0))));
        // SAFETY: a guard is held; loom reports it if guards do not exclude each other.
        let add = |cell: &UnsafeCell<usize>| cell.with_mut(|count| unsafe { *count += 1 });
        let bias: &Bias = Box::leak(Box::new(Bias::new()));
        lock.lock().set_bias(bias);
        let other = thread::spawn(move || add(&lock.lock()));
        for last in [false, true] {
            let mut guard = lock.lock_as(bias);
            add(&guard);
            if last {
                guard.end_bias();
            } else {
                guard.set_bias(bias);
            }
        }
        other.join().unwrap();
        // SAFETY: as above.
        assert_eq!(lock.lock().with(|count| unsafe { *count }), 3);
    });
}
