//! loom models of the timers' stale flag. Run: `scripts/loom`; what they must find: `scripts/mutants`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::super::op::OpQueue;
use super::super::run_queue::models::{Kernel, SOON, check, open};
use super::super::run_queue::{Limit, RunQueue, Stay, Step};
use super::super::table::Entry;
use super::{Before, Host, Timer, Timers, Wake};
use loom::thread;

/// A context that has timers only. Its time is 0.
struct Context {
    queue: RunQueue,
    kernel: Kernel,
    timers: Timers,
    manual: bool,
    exact: bool,
    early: Timer,
    late: Timer,
}

impl Host for Context {
    fn is_manual(&self) -> bool {
        self.manual
    }

    fn slack(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> i64 {
        0
    }

    fn has_sleepers(&self) -> bool {
        self.queue.has_sleepers()
    }

    fn sleeps_exactly(&self) -> bool {
        self.exact
    }

    fn arm(&self, at: i64) {
        self.kernel.arm(at);
    }

    fn interrupt(&self) {
        self.kernel.interrupt();
    }
}

fn context(manual: bool, exact: bool) -> &'static Context {
    let context: &Context = Box::leak(Box::new(Context {
        queue: RunQueue::new(),
        kernel: Kernel::new(),
        timers: Timers::new(),
        manual,
        exact,
        early: Timer::vacant(),
        late: Timer::vacant(),
    }));
    open(&context.queue);
    context.queue.work_changed(1, || {});
    context
}

impl Context {
    fn insert(&self, timer: &Timer, at: i64) {
        self.timers.clockwork.lock().insert(self, timer, at);
    }

    /// What a run function does until the early timer is due.
    fn run_until_due(&self) {
        let stay = Stay::new(Limit::Forever, true, false);
        let private = OpQueue::new();
        self.queue.enter();
        loop {
            match self.queue.next(&private, &stay, || self.kernel.interrupt()) {
                Step::Turn { block } => {
                    let turn = self.queue.turn();
                    let before = if block { Before::Sleep } else { Before::Look };
                    let due = match self.timers.flush(self, before) {
                        Wake::Now => true,
                        Wake::After(nanos) => nanos <= SOON,
                        Wake::ByEvent => false,
                    };
                    if due || self.kernel.wait(block, &turn.ready) {
                        break;
                    }
                }
                Step::Run(..)
                | Step::Lane(_)
                | Step::Held(_)
                | Step::GiveWay
                | Step::Again
                | Step::Done => {
                    unreachable!("nothing is posted or stopped")
                }
            }
        }
        self.queue.leave(&private, false, || self.kernel.interrupt());
    }
}

/// A timer becomes the earliest while the reactor goes to sleep: the reactor sees it in time, or the
/// timerfd is programmed for it.
#[test]
fn loom_h01_an_earlier_timer_reaches_a_reactor_going_to_sleep() {
    for exact in [false, true] {
        check(3, move || {
            let context = context(false, exact);
            context.insert(&context.late, SOON + 1);
            let maker = thread::spawn(|| context.insert(&context.early, SOON));
            context.run_until_due();
            maker.join().unwrap();
        });
    }
}

/// Two threads make timers, the later one last or first.
#[test]
fn loom_h01_two_makers() {
    for exact in [false, true] {
        check(2, move || {
            let context = context(false, exact);
            let late = thread::spawn(|| context.insert(&context.late, SOON + 1));
            let early = thread::spawn(|| context.insert(&context.early, SOON));
            context.run_until_due();
            late.join().unwrap();
            early.join().unwrap();
        });
    }
}

/// The same for a timer of a manual clock that is due when it is made.
#[test]
fn loom_h01_a_due_timer_of_a_manual_clock() {
    check(3, || {
        let context = context(true, false);
        let maker = thread::spawn(|| context.insert(&context.early, 0));
        context.run_until_due();
        maker.join().unwrap();
    });
}
