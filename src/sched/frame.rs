//! The frame that a thread pushes while it is inside a run function, and the caller's view of it.
//!
//! Frames form a stack per thread: nested runs and several contexts on one thread work. What a handler
//! posts goes to its frame's private queue and private work count, with no lock and no atomic; the run
//! loop merges both once per handler.
#![allow(unsafe_code, reason = "frames live on the stacks of the run functions below the caller")]

use super::batch;
use super::budget::Budget;
use super::call::{Cache, give_back_at_end};
use super::completion::Sink;
use super::member::Member;
use super::op::OpQueue;
use super::run_queue::Stay;
use super::scheduler::Scheduler;
use super::side;
use super::strand::Strand;
use super::table::{Head, Token};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// What the library keeps per thread. One thread-local with nothing to drop: reading it is one call, and
/// works in destructors of other thread-locals too.
struct Thread {
    top: Cell<*const Frame>,
    /// The context that the thread has posted to from outside last, live or not, and its handle.
    target: Cell<*const Scheduler>,
    target_token: Cell<u64>,
    calls: Cache,
    batches: batch::Cache,
    sides: side::Cache,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            top: Cell::new(ptr::null()),
            target: Cell::new(ptr::null()),
            target_token: Cell::new(0),
            calls: Cache::new(),
            batches: batch::Cache::new(),
            sides: side::Cache::new(),
        }
    };
}

/// The handle that a callback is about.
#[derive(Clone, Copy)]
pub struct Subject {
    /// The handle; 0 for none.
    pub token: u64,
    /// Its part that the context knows.
    pub member: Option<&'static Member>,
}

impl Subject {
    /// Of a posted function.
    pub const NONE: Subject = Subject { token: 0, member: None };
}

/// One run function in progress on this thread.
pub struct Frame {
    /// The context that is run.
    pub sched: &'static Scheduler,
    /// Its handle.
    pub token: u64,
    below: Cell<*const Frame>,
    thread: *const Thread,
    /// Posted by the current handler.
    pub private: OpQueue,
    /// The calls at its end.
    pub streak: batch::Streak,
    /// Completed at once; served right after the current callback.
    pub inline: OpQueue,
    /// Work in the private and inline queues that is not counted yet: nobody else can end it before it
    /// is merged. (What others can end, a parked operation or a wait, is counted at once.)
    pub work: Cell<i64>,
    /// The operation being delivered. It stays counted until its callback has returned, so that run goes
    /// on while a callback may still begin something.
    pub finished: Cell<i64>,
    /// What the run function remembers between its steps.
    pub stay: Stay,
    /// For the inline queue.
    pub budget: Budget,
    /// Nothing is served inline: at most one callback may run (`run_one`), or none after a deadline.
    pub single: bool,
    /// The context is being destroyed: what has not happened yet is cancelled.
    pub draining: bool,
    /// Callbacks run so far.
    pub delivered: Cell<usize>,
    /// The part of `delivered` that is in the statistics already.
    pub counted: Cell<usize>,
    /// Completions served inline, not in the statistics yet.
    pub inlined: Cell<u64>,
    /// The context measures its callbacks.
    pub measures: bool,
    /// Whose callback comes next, where the context measures.
    pub subject: Cell<Subject>,
    /// The strand that is being served.
    pub strand: Cell<*const Strand>,
    /// Where records go, if this run function reaps.
    sink: Option<NonNull<Sink>>,
}

impl Frame {
    /// A frame that is not on the stack yet.
    pub fn new(sched: &'static Scheduler, stay: Stay, single: bool, draining: bool) -> Self {
        give_back_at_end();
        Frame {
            sched,
            token: sched.token().map_or(0, Token::raw),
            below: Cell::new(ptr::null()),
            thread: THREAD.with(ptr::from_ref),
            private: OpQueue::new(),
            streak: batch::Streak::new(),
            inline: OpQueue::new(),
            work: Cell::new(0),
            finished: Cell::new(0),
            stay,
            budget: Budget::new(sched.limits()),
            single,
            draining,
            delivered: Cell::new(0),
            counted: Cell::new(0),
            inlined: Cell::new(0),
            measures: sched.measures(),
            subject: Cell::new(Subject::NONE),
            strand: Cell::new(ptr::null()),
            sink: None,
        }
    }

    /// A frame that takes records; `sink` outlives it.
    pub fn reaping(sched: &'static Scheduler, stay: Stay, sink: &Sink) -> Self {
        Frame { sink: Some(NonNull::from(sink)), ..Frame::new(sched, stay, false, false) }
    }

    /// True when the callback that has returned neither began nor ended anything else.
    #[inline(always)]
    pub fn is_settled(&self) -> bool {
        self.work.get() | self.finished.get() == 0
    }

    /// Says whose callback comes next.
    #[inline]
    pub fn about(&self, head: &Head, member: &'static Member) {
        if self.measures {
            let token = head.token().map_or(0, Token::raw);
            self.subject.set(Subject { token, member: Some(member) });
        }
    }

    /// Where records go.
    #[inline]
    pub fn sink(&self) -> Option<&Sink> {
        // SAFETY: promised to `reaping`.
        self.sink.map(|sink| unsafe { sink.as_ref() })
    }

    /// Puts the frame on the thread's stack until the guard is dropped.
    pub fn push(&self) -> Pushed<'_> {
        self.below.set(THREAD.with(|thread| thread.top.replace(self)));
        Pushed(self)
    }
}

/// Takes the frame off the stack when dropped.
pub struct Pushed<'a>(&'a Frame);

impl Drop for Pushed<'_> {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.top.set(self.0.below.get()));
    }
}

/// The calling thread, as seen by a function of the library: which run functions it is inside of. Read
/// once where a call comes in and passed down, since a thread-local costs more than an argument.
#[derive(Clone, Copy)]
pub struct Caller {
    thread: *const Thread,
}

impl Caller {
    /// The calling thread.
    #[inline]
    pub fn current() -> Self {
        Caller { thread: THREAD.with(ptr::from_ref) }
    }

    /// The thread whose innermost frame this is.
    #[inline]
    pub fn of(frame: &Frame) -> Self {
        Caller { thread: frame.thread }
    }

    #[inline]
    fn thread(&self) -> &Thread {
        // SAFETY: a thread-local of the calling thread, and a caller never leaves its thread.
        unsafe { &*self.thread }
    }

    /// The thread's free calls.
    #[inline]
    pub fn calls(&self) -> &Cache {
        &self.thread().calls
    }

    /// The thread's empty batches.
    #[inline]
    pub fn batches(&self) -> &batch::Cache {
        &self.thread().batches
    }

    /// What the thread can lend to descriptors.
    #[inline]
    pub(super) fn sides(&self) -> &side::Cache {
        &self.thread().sides
    }

    /// Where the thread has posted to last, if that was by this handle. The context may have ended.
    #[inline(always)]
    pub fn target(&self, token: Token) -> Option<&'static Scheduler> {
        let thread = self.thread();
        if thread.target_token.get() != token.raw() {
            return None;
        }
        // SAFETY: contexts are never freed.
        unsafe { thread.target.get().as_ref() }
    }

    /// Notes that.
    pub fn set_target(&self, token: Token, sched: &'static Scheduler) {
        self.thread().target_token.set(token.raw());
        self.thread().target.set(sched);
    }

    /// The innermost frame, if it is of this context. (Not one further out: what it queues privately
    /// would wait for the run functions above it.)
    #[inline]
    pub fn frame_of(&self, sched: &Scheduler) -> Option<&Frame> {
        self.top().filter(|frame| ptr::eq(frame.sched, sched))
    }

    /// The innermost frame of whatever context.
    #[inline]
    pub fn top(&self) -> Option<&Frame> {
        // SAFETY: frames on this thread's stack outlive the calls made from above them.
        unsafe { self.thread().top.get().as_ref() }
    }

    /// Every frame on the thread, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        let mut at = self.thread().top.get();
        std::iter::from_fn(move || {
            // SAFETY: as above.
            let frame = unsafe { at.as_ref() }?;
            at = frame.below.get();
            Some(frame)
        })
    }

    /// Every frame of this context on the thread, innermost first.
    pub fn frames_of<'a>(&'a self, sched: &'a Scheduler) -> impl Iterator<Item = &'a Frame> {
        self.frames().filter(move |frame| ptr::eq(frame.sched, sched))
    }
}
