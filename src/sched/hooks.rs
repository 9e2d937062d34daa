//! Turn hooks: functions that are called once in each turn of the reactor, before or after it.
//!
//! A hook is not called by the reactor but queued like everything else, so that its callback may do what
//! any callback may. Hooks are no work: they keep no run function going.
#![allow(unsafe_code, reason = "intrusive links between type-stable objects")]

use super::completion::{StatusFn, deliver_status};
use super::frame::{Caller, Frame};
use super::member::{Class, Member};
use super::op::{Op, OpQueue};
use super::scheduler::Scheduler;
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use super::table::{Entry, Head, Table, Token};
use crate::sys::errno::Errno;
use libc::c_void;
use std::cell::Cell;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// The handle kind of hooks.
pub const KIND_HOOK: u8 = 12;

/// When a hook is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the kernel is asked.
    Prepare,
    /// After what the kernel told has been served.
    Check,
    /// In each turn that finds nothing else to do; it keeps the reactor from blocking.
    Idle,
}

/// Every hook of the process.
#[cfg(not(loom))]
pub static HOOKS: Table<Hook> = Table::new();
/// Every hook of the process.
#[cfg(loom)]
pub static HOOKS: once_cell::sync::Lazy<Table<Hook>> = once_cell::sync::Lazy::new(Table::new);

/// A hook.
#[repr(C)]
pub struct Hook {
    head: Head,
    member: Member,
    op: Op,
    /// The op is queued or its callback runs: it is not queued a second time.
    busy: AtomicBool,
    /// The list of those that are started. Guarded by the run queue's lock.
    next: Cell<*const Hook>,
    state: Mutex<State>,
}

struct State {
    sched: Option<&'static Scheduler>,
    when: When,
    phase: Phase,
    callback: Option<(StatusFn, *mut c_void)>,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Started,
    /// Its last call, which is counted as work, is queued or about to come.
    Ending,
}

// SAFETY: the user's pointer is only handed on.
unsafe impl Send for State {}
// SAFETY: `next` is guarded by the lock of the run queue, the rest by itself.
unsafe impl Sync for Hook {}

// SAFETY: hooks stay where the table put them.
unsafe impl Entry for Hook {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Hook {
            head: Head::new(),
            member: Member::new(&CLASS),
            op: Op::new(run_hook),
            busy: AtomicBool::new(false),
            next: Cell::new(ptr::null()),
            state: Mutex::new(State {
                sched: None,
                when: When::Prepare,
                phase: Phase::Idle,
                callback: None,
                closed: true,
            }),
        }
    }
}

/// The started hooks of a context, in the order in which they were started. Under the run queue's lock.
pub struct HookList {
    /// Prepare, check, idle.
    first: [Cell<*const Hook>; 3],
}

// SAFETY: type-stable objects, used under the lock.
unsafe impl Send for HookList {}

impl HookList {
    /// No hooks.
    pub const fn new() -> Self {
        HookList { first: [const { Cell::new(ptr::null()) }; 3] }
    }

    fn head(&self, when: When) -> &Cell<*const Hook> {
        let [prepare, check, idle] = &self.first;
        match when {
            When::Prepare => prepare,
            When::Check => check,
            When::Idle => idle,
        }
    }

    /// True when there is a hook of this kind.
    #[inline]
    pub fn has(&self, when: When) -> bool {
        !self.head(when).get().is_null()
    }

    /// Adds a hook that is in no list.
    pub fn add(&self, when: When, hook: &'static Hook) {
        hook.next.set(ptr::null());
        let mut at = self.head(when);
        // SAFETY: hooks are type-stable, and the lock guards their links.
        while let Some(next) = unsafe { at.get().as_ref() } {
            at = &next.next;
        }
        at.set(hook);
    }

    /// Takes a hook out.
    pub fn remove(&self, when: When, hook: &'static Hook) {
        let mut at = self.head(when);
        // SAFETY: as in `add`.
        while let Some(next) = unsafe { at.get().as_ref() } {
            if ptr::eq(next, hook) {
                at.set(next.next.get());
                return;
            }
            at = &next.next;
        }
    }

    /// Queues those that are not queued yet.
    pub fn queue(&self, when: When, queue: &OpQueue) {
        let mut at = self.head(when);
        // SAFETY: as in `add`.
        while let Some(next) = unsafe { at.get().as_ref() } {
            if !next.busy.swap(true, Ordering::AcqRel) {
                queue.push(next.op.as_ptr());
            }
            at = &next.next;
        }
    }
}

/// A live hook under its lock; its context lives as long.
pub struct Locked {
    hook: &'static Hook,
    /// Its context.
    pub sched: &'static Scheduler,
    state: MutexGuard<'static, State>,
}

impl Hook {
    /// Makes a hook of a context.
    pub fn create(sched: &'static Scheduler, when: When) -> Result<Token, Errno> {
        let hook = HOOKS.reserve().map_err(|_| Errno::NOMEM)?;
        let mut state = hook.state.lock();
        state.sched = Some(sched);
        state.when = when;
        state.phase = Phase::Idle;
        state.closed = false;
        if !sched.members.add(&hook.member) {
            state.closed = true;
            drop(state);
            HOOKS.recycle(hook);
            return Err(Errno::SHUTDOWN);
        }
        Ok(HOOKS.publish(hook, KIND_HOOK))
    }

    /// The hook of a handle, locked.
    pub fn lock(token: Token) -> Result<Locked, Errno> {
        let hook = HOOKS.find(token).ok_or(Errno::BADF)?;
        hook.lock_if(|head| head.is_live_as(token)).ok_or(Errno::BADF)
    }

    fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked> {
        let state = self.state.lock();
        if !live(&self.head) {
            return None;
        }
        Some(Locked { hook: self, sched: state.sched?, state })
    }

    fn recycle_if_done(&'static self, state: &State) {
        if state.closed && state.phase == Phase::Idle && !self.busy.load(Ordering::Acquire) {
            HOOKS.recycle(self);
        }
    }
}

impl Locked {
    /// The handle.
    pub fn token(&self) -> Option<Token> {
        self.hook.head.token()
    }

    /// The part that the context knows.
    pub fn member(&self) -> &'static Member {
        &self.hook.member
    }

    /// 1 while it is started or its end is not delivered.
    pub fn pending(&self) -> usize {
        usize::from(self.state.phase != Phase::Idle)
    }

    /// Has the function called in each turn from now on.
    pub fn start(&mut self, callback: StatusFn, user: *mut c_void) -> Result<(), Errno> {
        self.sched.check_open()?;
        if self.state.phase != Phase::Idle {
            return Err(Errno::BUSY);
        }
        self.state.phase = Phase::Started;
        self.state.callback = Some((callback, user));
        self.sched.add_hook(self.state.when, self.hook);
        Ok(())
    }

    /// Ends that; 1 if it was started.
    pub fn stop(&mut self, caller: &Caller) -> usize {
        if self.state.phase != Phase::Started {
            return 0;
        }
        self.sched.remove_hook(self.state.when, self.hook);
        self.state.phase = Phase::Ending;
        self.sched.work_started();
        if !self.hook.busy.swap(true, Ordering::AcqRel) {
            self.sched.post(caller, self.hook.op.as_ptr());
        }
        1
    }

    /// The same if it was started with `user`.
    pub fn stop_of(&mut self, caller: &Caller, user: *mut c_void) -> usize {
        let is_it = self.state.callback.is_some_and(|(_, of)| of == user);
        if is_it { self.stop(caller) } else { 0 }
    }

    /// Ends the handle.
    pub fn close(mut self, caller: &Caller) {
        self.stop(caller);
        HOOKS.kill(self.hook);
        self.state.closed = true;
        // Last, since the context may go once it is out of the list.
        self.sched.members.remove(&self.hook.member);
        self.hook.recycle_if_done(&self.state);
    }
}

unsafe fn run_hook(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `op` is a field of a hook, and the table never frees those.
    let hook: &'static Hook = unsafe { &*op.as_ptr().byte_sub(offset_of!(Hook, op)).cast() };
    let mut state = hook.state.lock();
    if state.phase == Phase::Started
        && let Some((callback, user)) = state.callback
    {
        drop(state);
        frame.about(&hook.head, &hook.member);
        // Work while it is called, as every other callback: a nested run takes those around it for that.
        frame.work.set(frame.work.get() + 1);
        deliver_status(frame, callback, 0, user);
        Scheduler::work_finished(frame);
        state = hook.state.lock();
    }
    let last = if state.phase == Phase::Ending { state.callback.take() } else { None };
    if last.is_some() {
        state.phase = Phase::Idle;
    }
    hook.busy.store(false, Ordering::Release);
    hook.recycle_if_done(&state);
    drop(state);
    if let Some((callback, user)) = last {
        Scheduler::work_finished(frame);
        deliver_status(frame, callback, Errno::CANCELED.code(), user);
    }
}

const CLASS: Class =
    Class { id: KIND_HOOK, close: close_member, report: report_member, renew: None };

fn of_member(member: NonNull<Member>, sched: &Scheduler) -> Option<Locked> {
    // SAFETY: `member` is a field of a hook, and the table never frees those.
    let hook: &'static Hook =
        unsafe { &*member.as_ptr().byte_sub(offset_of!(Hook, member)).cast() };
    let locked = hook.lock_if(|head| head.token().is_some())?;
    ptr::eq(locked.sched, sched).then_some(locked)
}

unsafe fn close_member(member: NonNull<Member>, sched: &Scheduler, caller: &Caller) {
    if let Some(locked) = of_member(member, sched) {
        locked.close(caller);
    }
}

unsafe fn report_member(member: NonNull<Member>, sched: &Scheduler) -> Option<(Token, usize)> {
    let locked = of_member(member, sched)?;
    Some((locked.token()?, locked.pending()))
}
