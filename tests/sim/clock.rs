//! Timers on the manual clock, and the run functions that have a deadline.

use super::driver::Scenario;
use super::ops::{
    self, Context, Handle, breathe, chance, choose, context, join, make, many, must, on_status,
    runners,
};
use std::ptr;
use weir::abi::context::{
    weir_context_advance, weir_context_destroy, weir_context_now, weir_context_restart,
    weir_context_run, weir_context_run_for, weir_context_stopped, weir_context_work_begin,
    weir_context_work_end,
};
use weir::abi::handle::weir_timer;
use weir::abi::timer::{
    weir_timer_cancel, weir_timer_close, weir_timer_create, weir_timer_expires_after,
    weir_timer_start, weir_timer_stop, weir_timer_wait,
};
use weir::sched::sync::schedule::{self, spawn};

/// This file's.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "timers", idle_clock: false, outside: false, run: timers },
    Scenario { name: "periodic", idle_clock: false, outside: false, run: periodic },
    Scenario { name: "hand_over", idle_clock: false, outside: false, run: hand_over },
    Scenario { name: "timed_runs", idle_clock: true, outside: false, run: timed_runs },
];

const ECANCELED: i32 = -libc::ECANCELED;

fn timer(context: Context) -> Handle<weir_timer> {
    // SAFETY: a place for a handle.
    make(|out| unsafe { weir_timer_create(context.get(), out) })
}

fn now(context: Context) -> i64 {
    let mut at = 0;
    // SAFETY: a place for a number.
    assert_eq!(unsafe { weir_context_now(context.get(), &raw mut at) }, 0);
    at
}

fn expires_after(timer: Handle<weir_timer>, after: i64) {
    assert_eq!(weir_timer_expires_after(timer.get(), after), 0);
}

/// Timers are made earlier and later, waited for and cancelled by one thread while another moves the clock and
/// others run: nothing comes early, everything comes.
fn timers() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = runners(context, 1 + choose(3));
    let timers = [timer(context), timer(context), timer(context)];
    let changing = spawn("changer", move || {
        for (timer, after) in timers.into_iter().zip([100, 1000, 10_000]) {
            let begun = now(context);
            expires_after(timer, after);
            let then = move |op: &'static ops::Op| match op.status() {
                0 => assert!(now(context) >= begun + 10, "early"),
                status => assert_eq!(status, ECANCELED),
            };
            must("wait", then, |user| weir_timer_wait(timer.get(), Some(on_status), user));
        }
        for _ in 0..2 {
            let timer = timers[choose(3)];
            expires_after(timer, [10, 50, 500, 5000][choose(4)]);
            must("wait again", |_| (), |user| weir_timer_wait(timer.get(), Some(on_status), user));
            if chance(3) {
                let mut ended = usize::MAX;
                // SAFETY: a place for a number.
                assert_eq!(unsafe { weir_timer_cancel(timer.get(), &raw mut ended) }, 0);
                assert!(ended <= 3);
            }
        }
        if chance(3) {
            assert_eq!(weir_timer_close(timers[0].get()), 0);
        }
    });
    for step in [5, 20, 300] {
        assert_eq!(weir_context_advance(context.get(), step), 0);
    }
    changing.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    assert_eq!(weir_context_advance(context.get(), 100_000), 0);
    join(running);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// A periodic timer is stopped by another thread: no call comes after its end.
fn periodic() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = runners(context, 1 + choose(2));
    let timer = timer(context);
    let (op, result) = many(
        "periodic",
        |_| (),
        |user| weir_timer_start(timer.get(), 100, 100, Some(on_status), user),
    );
    assert_eq!(result, 0);
    let stopping = spawn("stopper", move || {
        breathe();
        if chance(2) {
            // SAFETY: the count may be NULL.
            assert_eq!(unsafe { weir_timer_stop(timer.get(), ptr::null_mut()) }, 0);
        } else {
            assert_eq!(weir_timer_close(timer.get()), 0);
        }
    });
    for _ in 0..3 {
        assert_eq!(weir_context_advance(context.get(), 150), 0);
    }
    stopping.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    join(running);
    assert_eq!(op.status(), ECANCELED);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// H05: a thread leaves a timed run while another stays in run. Who stays must take over the reactor, or the
/// timer is never served.
fn hand_over() {
    const SHORT: i64 = 1000;
    let context = context();
    let timer = timer(context);
    expires_after(timer, 100);
    must("wait", |_| (), |user| weir_timer_wait(timer.get(), Some(on_status), user));
    let staying = runners(context, 1 + choose(2));
    let leaving = spawn("leaver", move || {
        // SAFETY: the count may be NULL.
        assert_eq!(unsafe { weir_context_run_for(context.get(), SHORT, ptr::null_mut()) }, 0);
    });
    schedule::advance(SHORT / 2);
    // Once it has entered it leaves at its time; if it has not yet, its time is later.
    while !leaving.has_ended() {
        schedule::advance(SHORT);
        schedule::step(schedule::Kind::Spin);
    }
    leaving.join();
    assert_eq!(weir_context_advance(context.get(), 100), 0);
    join(staying);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}

/// Timed runs end at their time, also while all of them wait, and whoever is the reactor.
fn timed_runs() {
    let context = context();
    assert_eq!(weir_context_work_begin(context.get()), 0);
    let running = ["timed 1", "timed 2", "timed 3"].map(|name| {
        spawn(name, move || {
            // SAFETY: the count may be NULL.
            let answer = unsafe {
                weir_context_run_for(context.get(), 1 + 500 * choose(3) as i64, ptr::null_mut())
            };
            assert_eq!(answer, 0);
        })
    });
    let posting = spawn("poster", move || {
        must(
            "post",
            |_| (),
            |user| weir::abi::context::weir_context_post(context.get(), Some(on_status), user),
        );
    });
    join(running.into());
    posting.join();
    assert_eq!(weir_context_work_end(context.get()), 0);
    if weir_context_stopped(context.get()) == 1 {
        assert_eq!(weir_context_restart(context.get()), 0);
    }
    // SAFETY: the count may be NULL.
    assert_eq!(unsafe { weir_context_run(context.get(), ptr::null_mut()) }, 0);
    ops::check();
    assert_eq!(weir_context_destroy(context.get()), 0);
}
