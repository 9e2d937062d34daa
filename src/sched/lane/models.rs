//! loom models of lanes, with the real run queue. Run: `scripts/loom`; what they must find: `scripts/mutants`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "cells whose accesses loom checks")]

use super::super::batch::{self, Call};
use super::super::frame::Caller;
use super::super::inbox::Tag;
use super::super::op::OpQueue;
use super::super::run_queue::models::{Kernel, check, open, tag};
use super::super::run_queue::{Item, Limit, RunQueue, Stay, Step};
use super::super::sync::{Condvar, Mutex};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A batch in a model.
const CALLS: usize = 2;

struct Context {
    queue: RunQueue,
    kernel: Kernel,
    /// Written by the poster; loom sees it if nothing orders that before the call.
    payloads: Vec<UnsafeCell<usize>>,
    ran: Vec<AtomicUsize>,
    arrived: Mutex<usize>,
    arrival: Condvar,
}

// SAFETY: payloads are ordered by the queue under test; loom checks each access.
unsafe impl Sync for Context {}

unsafe extern "C-unwind" fn nothing(_: libc::c_int, _: *mut libc::c_void) {}

impl Context {
    fn new(calls: usize) -> &'static Self {
        let context: &Context = Box::leak(Box::new(Context {
            queue: RunQueue::new(),
            kernel: Kernel::new(),
            payloads: (0..calls).map(|_| UnsafeCell::new(0)).collect(),
            ran: (0..calls).map(|_| AtomicUsize::new(0)).collect(),
            arrived: Mutex::new(0),
            arrival: Condvar::new(),
        }));
        open(&context.queue);
        context
    }

    fn post(&self, number: usize, tag: Tag) {
        // SAFETY: not posted yet.
        self.payloads[number].with_mut(|payload| unsafe { *payload = number + 1 });
        let call = Call { callback: nothing, user: std::ptr::without_provenance_mut(number) };
        if !self.queue.post_more(call, tag)
            && self.queue.post_call(&Caller::current(), call, tag).unwrap()
        {
            self.queue.wake_for_post(|| self.kernel.interrupt());
        }
    }

    /// What a run function does that takes batches.
    fn run(&self, handler: impl Fn(usize)) {
        let private = OpQueue::new();
        let stay = Stay::new(Limit::Forever, false, false).taking_batches(true);
        let called = |call: Call| {
            let number = call.user.addr();
            // SAFETY: taken by this thread alone; loom reports it if the write is not ordered before.
            assert_eq!(self.payloads[number].with(|payload| unsafe { *payload }), number + 1);
            assert_eq!(self.ran[number].fetch_add(1, Ordering::Relaxed), 0, "called twice");
            handler(number);
            stay.owe_one();
        };
        self.queue.enter();
        loop {
            match self.queue.next(&private, &stay, || self.kernel.interrupt()) {
                Step::Lane(_) => {
                    while let Some(call) = self.queue.next_in_lane(&stay) {
                        called(call);
                    }
                    self.queue.end_lane(&Caller::current(), &stay);
                }
                Step::Run(Item::Call(taken), _) => called(taken.call),
                Step::Run(Item::Op(_), _) | Step::Held(_) => unreachable!("only calls are posted"),
                Step::Turn { block } => {
                    let turn = self.queue.turn();
                    self.kernel.wait(block, &turn.ready);
                }
                Step::GiveWay | Step::Again => {}
                Step::Done => break,
            }
        }
        self.queue.pay(&stay, || self.kernel.interrupt());
        self.queue.leave(&private, false, || self.kernel.interrupt());
    }

    /// Returns when this many threads are inside a call.
    fn meet(&self, threads: usize) {
        let mut arrived = self.arrived.lock();
        *arrived += 1;
        self.arrival.notify_all();
        while *arrived < threads {
            self.arrival.wait(&mut arrived);
        }
    }

    fn assert_all_ran(&self) {
        assert!(self.ran.iter().all(|ran| ran.load(Ordering::Relaxed) == 1), "a call was lost");
        assert!(!self.queue.has_sleepers(), "a sleeper is counted that is not there");
    }
}

fn run_beside(most: usize, calls: usize, handler: fn(&Context, usize)) {
    check(most, move || {
        let context = Context::new(calls);
        for number in 0..calls {
            context.post(number, tag());
        }
        let other = thread::spawn(move || context.run(|number| handler(context, number)));
        context.run(|number| handler(context, number));
        other.join().unwrap();
        context.assert_all_ran();
    });
}

/// Two threads and two batches: each call is made once, by whichever thread claims it.
#[test]
fn loom_lanes_call_each_once() {
    run_beside(3, 2 * CALLS, |_, _| {});
}

/// The second call of the first batch is made although the first waits for it, and so is what comes after.
#[test]
fn loom_lanes_hold_up_nothing() {
    run_beside(3, CALLS + 1, |context, number| {
        if number < CALLS {
            context.meet(CALLS);
        }
    });
}

/// Posts find both threads asleep, or on their way: the one that is woken wakes the other for what is behind.
#[test]
fn loom_lanes_wake_the_others() {
    check(2, || {
        let context = Context::new(CALLS);
        context.queue.work_changed(1, || {});
        let runner = move || context.run(|_| context.meet(CALLS));
        let runners = [thread::spawn(runner), thread::spawn(runner)];
        for number in 0..CALLS {
            context.post(number, tag());
        }
        context.queue.work_changed(-1, || context.kernel.interrupt());
        for runner in runners {
            runner.join().unwrap();
        }
        context.assert_all_ran();
    });
}

/// A claim of the thread's own against one under the lock, and the end of the lane.
#[test]
fn loom_lanes_give_back_what_is_left() {
    check(3, || {
        let caller = Caller::current();
        let queue = OpQueue::new();
        let op =
            batch::new_op(true, &caller, Call { callback: nothing, user: std::ptr::null_mut() });
        queue.push(op.unwrap());
        let user = std::ptr::without_provenance_mut(1);
        assert!(batch::append(&queue, Call { callback: nothing, user }));
        let (lane, lanes) = (super::Lane::new(), super::Lanes::new());
        assert_eq!(lanes.begin(&lane, &queue), 2);
        assert!(queue.is_empty() && lanes.any() && !lanes.is_empty());
        assert_eq!(lane.claim().unwrap().user.addr(), 0);
        assert!(lanes.steal_from_stuck().is_none(), "it has moved on");
        assert!(lanes.end(&lane, &queue).is_none());
        assert!(lanes.is_empty() && !lane.is_used());
        assert_eq!(lanes.begin(&lane, &queue), 1);
        assert!(lanes.steal_from_stuck().is_none(), "not seen before");
        assert_eq!(lanes.steal_from_stuck().unwrap().user.addr(), 1);
        assert!(!lanes.any() && lanes.steal().is_none() && lane.claim().is_none());
        assert_eq!(lanes.end(&lane, &queue), op.ok());
    });
}
