//! Tests of the timers of a whole context, which nobody runs.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::super::call::{free_call, new_call, run_wait};
use super::super::frame::Caller;
use super::super::run_queue::Limit;
use super::super::scheduler::{Count, Options};
use super::*;
use libc::c_void;
use std::ptr;

unsafe extern "C-unwind" fn nothing(_: i32, _: *mut c_void) {}

/// One hop: what a turn makes ready is the wait itself, and nothing else is queued for it.
#[test]
fn h41_a_due_wait_goes_straight_to_what_the_turn_made_ready() {
    let caller = Caller::current();
    let options = Options { manual_clock: true, ..Options::for_tests() };
    let context = Scheduler::create(options).unwrap();
    let sched = *Scheduler::resolve(&caller, context).unwrap();
    let timer = Timer::create(sched).unwrap();
    let waits =
        [(); 3].map(|()| new_call(&caller, run_wait, Some(nothing), ptr::null_mut()).unwrap());
    {
        let mut timer = Timer::lock(timer).unwrap();
        timer.set_expiry(10);
        for wait in waits {
            timer.add_internal_wait(wait);
        }
    }
    let ready = OpQueue::new();
    sched.advance(9).unwrap();
    assert!(!sched.timers.take_due(sched, &ready) && ready.is_empty());
    sched.advance(1).unwrap();
    assert!(!sched.timers.take_due(sched, &ready));
    for wait in waits {
        assert_eq!(ready.pop(), Some(wait));
        // SAFETY: popped, and nobody else has it.
        unsafe { free_call(&caller, wait) };
    }
    assert!(ready.is_empty());
    let pinned = Scheduler::resolve(&caller, context).unwrap();
    assert_eq!(Scheduler::run(pinned, &caller, Limit::Poll, Count::All), Ok(0));
    let pinned = Scheduler::resolve(&caller, context).unwrap();
    Scheduler::destroy(pinned, &caller, |_| ()).unwrap();
}
