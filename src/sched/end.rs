//! The end of a context.
#![allow(unsafe_code, reason = "running popped ops, and emptying what the context was made of")]

use super::frame::{Caller, Frame};
use super::op::{Op, OpQueue};
use super::run_queue::{Limit, Stay};
use super::scheduler::{CONTEXTS, Pinned, Scheduler};
use super::sync::{Ordering, nap, yield_now};
use crate::sys::errno::Errno;
use crate::sys::thread::Uncancelled;
use std::cell::Cell;
use std::ptr;

impl Scheduler {
    /// Ends a context: stops it, waits for the threads inside run, calls `report`, closes every handle, delivers what
    /// is pending on the calling thread, and closes the fds.
    pub fn destroy(
        pinned: Pinned,
        caller: &Caller,
        report: impl FnOnce(&Scheduler),
    ) -> Result<(), Errno> {
        let _kept = Uncancelled::begin();
        let sched = *pinned;
        if sched.runs_here(caller) || JobMark::is_of(sched) {
            return Err(Errno::BUSY);
        }
        if sched.closing.swap(true, Ordering::SeqCst) {
            return Err(Errno::BADF);
        }
        let own = usize::from(pinned.counted);
        if sched.reactor().is_parents() {
            // The threads to wait for are in the process that forked this one.
            sched.run_queue.forget_threads();
            sched.pins.store(own, Ordering::SeqCst);
        }
        sched.run_queue.end(|| sched.reactor().interrupt());
        // Calls that were let in before `closing` was set may still begin operations: wait for them.
        // So do the functions of jobs, which may take long.
        let mut rounds = 0;
        while sched.pins.load(Ordering::SeqCst) > own {
            rounds += 1;
            if rounds < 1000 { yield_now() } else { nap() }
        }
        sched.members.set_open(false);
        {
            let frame = Frame::new(sched, Stay::new(Limit::Poll, false, false), false, true);
            let _pushed = frame.push();
            let caller = Caller::current();
            report(sched);
            sched.members.close_all(sched, &caller);
            sched.drain(&frame);
        }
        CONTEXTS.kill(sched);
        super::sync::fence(Ordering::SeqCst);
        sched.watches.reset();
        drop(pinned);
        while sched.pins.load(Ordering::SeqCst) > 0 {
            yield_now();
        }
        sched.run_queue.reset();
        sched.buffers.end();
        sched.begun.store(0, Ordering::Relaxed);
        sched.wake_pipe.end(sched);
        // SAFETY: the token is dead and no thread is inside or pinned: nobody else looks at it.
        unsafe { *sched.core.get() = None };
        sched.run_queue.take_wake();
        sched.closing.store(false, Ordering::SeqCst);
        CONTEXTS.recycle(sched);
        Ok(())
    }

    /// Delivers everything that is queued until nothing is, in a loop of constant depth (H15).
    fn drain(&self, frame: &Frame) {
        loop {
            let all = OpQueue::new();
            self.run_queue.take_all(&all);
            all.append(&frame.private);
            all.append(&frame.inline);
            if all.is_empty() {
                return;
            }
            while let Some(op) = all.pop() {
                // SAFETY: popped from a queue that this thread owns.
                unsafe { Op::run(op, frame) };
            }
        }
    }
}

thread_local! {
    static JOB_OF: Cell<*const Scheduler> = const { Cell::new(ptr::null()) };
}

/// While it is held this thread runs the function of a job, for which the context's destruction waits.
pub struct JobMark;

impl JobMark {
    /// Marks this thread.
    pub fn new(sched: &Scheduler) -> Self {
        JOB_OF.set(sched);
        JobMark
    }

    fn is_of(sched: &Scheduler) -> bool {
        ptr::eq(JOB_OF.get(), sched)
    }
}

impl Drop for JobMark {
    fn drop(&mut self) {
        JOB_OF.set(ptr::null());
    }
}
