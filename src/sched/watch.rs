//! Watches: readiness of an fd that the user owns, told to a function of the user's.
//!
//! As with timers one lock guards all watches of a context, and the watched fds with them (`interest.rs`).
//! A watch has one operation and one embedded op, `tick`, that delivers it; events that come while the op
//! is queued or its callback runs gather in the watch, so that the calls of one watch never overlap and
//! nothing is allocated. What waited so is looked at again, where it is a level, before it is told.
#![allow(unsafe_code, reason = "the table entry, and intrusive links")]

use super::call::{free_call, new_call};
use super::completion::{Callback, Delivery, deliver, hold_back};
use super::frame::{Caller, Frame};
use super::interest::{Book, READ, TIMEOUT, UNASKED, WRITE, ready_now};
use super::member::{Class, Member};
use super::op::{Op, OpQueue};
use super::scheduler::Scheduler;
use super::sync::{AtomicPtr, MutexGuard, Ordering};
use super::table::{Entry, Head, Table, Token};
use super::timers::{NEVER, Timer};
use crate::sys::errno::Errno;
use libc::c_void;
use std::cell::{Cell, UnsafeCell};
use std::mem::offset_of;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

/// The handle kind of watches.
pub const KIND_WATCH: u8 = 9;

/// Every watch of the process.
#[cfg(not(loom))]
pub static WATCHES: Table<Watch> = Table::new();
/// Every watch of the process.
#[cfg(loom)]
pub static WATCHES: once_cell::sync::Lazy<Table<Watch>> = once_cell::sync::Lazy::new(Table::new);

/// A watch object.
#[repr(C)]
pub struct Watch {
    head: Head,
    member: Member,
    sched: AtomicPtr<Scheduler>,
    /// Queued to deliver events and the end of the operation.
    tick: Op,
    /// The next watch of the same fd, and whether this one is in the fd's list.
    next: Cell<*const Watch>,
    linked: Cell<bool>,
    body: UnsafeCell<Body>,
}

/// What the context's lock of watches guards.
struct Body {
    fd: RawFd,
    operation: Option<Operation>,
    /// `tick` is in a queue or being delivered: the slot can't be reused, and it is not queued again.
    tick_busy: bool,
    closed: bool,
    /// An internal timer, made with the first deadline, and how long it lasts.
    timer: Option<Token>,
    timeout: i64,
    deadline: i64,
}

/// A started watch.
struct Operation {
    interest: u32,
    how: How,
    callback: Callback,
    user: *mut c_void,
    /// Events to tell: from the kernel, and from elsewhere.
    seen: u32,
    fed: u32,
    /// What was seen may be gone by now.
    unsure: bool,
    /// The final status.
    ended: i32,
}

/// How a watch is started.
#[derive(Clone, Copy)]
pub struct How {
    /// Edge-triggered.
    pub edge: bool,
    /// It goes on after the first event.
    pub persistent: bool,
}

// SAFETY: the links and `body` are guarded by the lock of the watches of `sched`.
unsafe impl Sync for Watch {}

// SAFETY: watches stay where the table put them.
unsafe impl Entry for Watch {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Watch {
            head: Head::new(),
            member: Member::new(&CLASS),
            sched: AtomicPtr::new(ptr::null_mut()),
            tick: Op::new(run_tick),
            next: Cell::new(ptr::null()),
            linked: Cell::new(false),
            body: UnsafeCell::new(Body { closed: true, ..Body::new(-1) }),
        }
    }
}

impl Body {
    const fn new(fd: RawFd) -> Self {
        Body {
            fd,
            operation: None,
            tick_busy: false,
            closed: false,
            timer: None,
            timeout: NEVER,
            deadline: NEVER,
        }
    }

    /// The operation, unless it has ended.
    fn started(&mut self) -> Option<&mut Operation> {
        self.operation.as_mut().filter(|operation| operation.ended == 0)
    }
}

/// A live watch under its lock.
pub struct Locked {
    watch: &'static Watch,
    /// Its context.
    pub sched: &'static Scheduler,
    book: MutexGuard<'static, Book>,
}

// What `interest` asks, under the lock.
impl Watch {
    /// The next watch of the fd.
    pub(super) fn next(&self) -> *const Watch {
        self.next.get()
    }

    pub(super) fn set_next(&self, next: *const Watch) {
        self.next.set(next);
    }

    /// It is in its fd's list now, before `next`.
    pub(super) fn linked(&self, next: *const Watch) {
        self.next.set(next);
        self.linked.set(true);
    }

    /// It no longer is.
    pub(super) fn unlinked(&self) {
        self.next.set(ptr::null());
        self.linked.set(false);
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked.get()
    }

    /// What it wants.
    pub(super) fn interest(&self) -> u32 {
        // SAFETY: under the lock.
        unsafe { &*self.body.get() }.operation.as_ref().map_or(0, |operation| operation.interest)
    }

    /// True when it is told again while what it wants holds. One whose callback is still to come is asked
    /// again afterwards.
    pub(super) fn is_level(&self) -> bool {
        // SAFETY: under the lock.
        let body = unsafe { &*self.body.get() };
        !body.tick_busy && body.operation.as_ref().is_some_and(|operation| !operation.how.edge)
    }

    /// Events of the fd; true where some are wanted.
    pub(super) fn offer(&'static self, events: u32, ready: &OpQueue) -> bool {
        // SAFETY: under the lock.
        let body = unsafe { &mut *self.body.get() };
        let busy = body.tick_busy;
        let Some(operation) = body.started() else { return false };
        let events = events & (operation.interest | UNASKED);
        if events == 0 {
            return false;
        }
        operation.seen |= events;
        operation.unsure |= busy;
        if !busy {
            body.tick_busy = true;
            Scheduler::submit_in_turn(&self.member, ready, self.tick.as_ptr());
        }
        true
    }
}

impl Watch {
    /// Ends the operation with an error, under the lock.
    pub(super) fn fail(&'static self, sched: &Scheduler, caller: &Caller, error: Errno) {
        // SAFETY: under the lock.
        let body = unsafe { &mut *self.body.get() };
        let Some(operation) = body.started() else { return };
        (operation.seen, operation.fed, operation.ended) = (0, 0, error.code());
        if !std::mem::replace(&mut body.tick_busy, true) {
            sched.submit(caller, &self.member, self.tick.as_ptr());
        }
    }

    /// Makes a watch of a context, on an fd or, with -1, on none yet.
    pub fn create(sched: &'static Scheduler, fd: RawFd) -> Result<Token, Errno> {
        let watch = WATCHES.reserve().map_err(|_| Errno::NOMEM)?;
        watch.sched.store(ptr::from_ref(sched).cast_mut(), Ordering::Release);
        let guard = sched.watches.lock();
        // SAFETY: reserved, so nobody else has it; and under the lock that guards it.
        unsafe { *watch.body.get() = Body::new(fd) };
        if !sched.members.add(&watch.member) {
            drop(guard);
            WATCHES.recycle(watch);
            return Err(Errno::SHUTDOWN);
        }
        sched.watches.set_used();
        Ok(WATCHES.publish(watch, KIND_WATCH))
    }

    /// The watch of a handle, locked.
    pub fn lock(token: Token) -> Result<Locked, Errno> {
        let watch = WATCHES.find(token).ok_or(Errno::BADF)?;
        watch.lock_if(|head| head.is_live_as(token)).ok_or(Errno::BADF)
    }

    fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked> {
        // SAFETY: null or a context, and contexts are type-stable.
        let sched: &'static Scheduler = unsafe { self.sched.load(Ordering::Acquire).as_ref() }?;
        let book = sched.watches.lock();
        // As with timers: the stamp changes under the lock only.
        (live(&self.head) && ptr::eq(self.sched.load(Ordering::Acquire), sched)).then_some(Locked {
            watch: self,
            sched,
            book,
        })
    }

    fn recycle_if_done(&'static self, body: &Body) {
        if body.closed && !body.tick_busy {
            self.member.unbind();
            WATCHES.recycle(self);
        }
    }
}

impl Locked {
    fn body(&mut self) -> &mut Body {
        // SAFETY: this holds the lock that guards it.
        unsafe { &mut *self.watch.body.get() }
    }

    /// The part that the context knows.
    pub fn member(&self) -> &'static Member {
        &self.watch.member
    }

    /// 1 while it is started.
    pub fn pending(&mut self) -> usize {
        usize::from(self.body().operation.is_some())
    }

    /// The fd, or -1.
    pub fn fd(&mut self) -> RawFd {
        self.body().fd
    }

    /// Queues the op unless it is, or its callback runs.
    fn submit(&mut self, caller: &Caller) {
        if !std::mem::replace(&mut self.body().tick_busy, true) {
            self.sched.submit(caller, &self.watch.member, self.watch.tick.as_ptr());
        }
    }

    /// Begins the operation.
    pub fn start(
        &mut self,
        caller: &Caller,
        interest: u32,
        how: How,
        timeout: i64,
        callback: Callback,
        user: *mut c_void,
    ) -> Result<(), Errno> {
        self.sched.check_open()?;
        if self.body().operation.is_some() {
            return Err(Errno::BUSY);
        }
        self.prepare_timeout(caller, timeout)?;
        let always = self.join(self.watch, interest)?;
        self.sched.work_started();
        self.body().operation = Some(Operation {
            interest,
            how,
            callback,
            user,
            seen: 0,
            fed: 0,
            unsure: false,
            ended: 0,
        });
        self.arm();
        if always {
            self.tell_always(caller);
        }
        Ok(())
    }

    fn join(&mut self, watch: &'static Watch, interest: u32) -> Result<bool, Errno> {
        match self.body().fd {
            -1 => Ok(false),
            fd => self.book.join(self.sched, watch, fd, interest),
        }
    }

    /// A file that is always ready, is.
    fn tell_always(&mut self, caller: &Caller) {
        if let Some(operation) = self.body().started()
            && operation.interest & (READ | WRITE) != 0
        {
            operation.seen |= operation.interest & (READ | WRITE);
            self.submit(caller);
        }
    }

    /// Changes what is wanted. What was seen already and is no longer wanted is not told.
    pub fn change(&mut self, caller: &Caller, interest: u32) -> Result<(), Errno> {
        let fd = self.fd();
        let operation = self.body().started().ok_or(Errno::INVAL)?;
        let before = std::mem::replace(&mut operation.interest, interest);
        if before == interest && self.watch.is_linked() {
            return Ok(());
        }
        if fd != -1 {
            match self.book.change(self.sched, self.watch, fd, interest) {
                Ok(true) => self.tell_always(caller),
                Ok(false) => {}
                Err(error) => {
                    if let Some(operation) = self.body().started() {
                        operation.interest = before;
                    }
                    return Err(error);
                }
            }
        }
        if let Some(operation) = self.body().started() {
            operation.seen &= interest | UNASKED;
        }
        Ok(())
    }

    /// Moves the watch to another fd, or to none; started or not. On an error it stays where it was.
    pub fn set_fd(&mut self, caller: &Caller, fd: RawFd) -> Result<(), Errno> {
        let before = self.fd();
        let mut always = false;
        if let Some(operation) = self.body().started() {
            let interest = operation.interest;
            let linked = self.watch.is_linked();
            if linked {
                self.unlink(before);
            }
            if fd != -1 {
                match self.book.join(self.sched, self.watch, fd, interest) {
                    Ok(ready) => always = ready,
                    Err(error) => {
                        if linked {
                            self.book.relink(self.watch, before);
                        }
                        return Err(error);
                    }
                }
            }
        }
        self.body().fd = fd;
        if before != -1 && before != fd {
            self.book.release(self.sched, before);
        }
        if let Some(operation) = self.body().started() {
            operation.seen = 0;
        }
        if always {
            self.tell_always(caller);
        }
        Ok(())
    }

    fn unlink(&mut self, fd: RawFd) {
        self.book.leave(self.sched, self.watch, fd, true);
    }

    /// Has it fire without the kernel.
    pub fn feed(&mut self, caller: &Caller, events: u32) -> Result<(), Errno> {
        self.body().started().ok_or(Errno::INVAL)?.fed |= events;
        self.submit(caller);
        Ok(())
    }

    /// The same if it was begun with `user`.
    pub fn stop_of(&mut self, caller: &Caller, user: *mut c_void) -> usize {
        let is_it = self.body().started().is_some_and(|operation| operation.user == user);
        if is_it { self.stop(caller) } else { 0 }
    }

    /// Ends the operation; 1 if there was one. What was not told yet is not told any more.
    pub fn stop(&mut self, caller: &Caller) -> usize {
        let fd = self.fd();
        let Some(operation) = self.body().started() else { return 0 };
        operation.ended = Errno::CANCELED.code();
        operation.seen = 0;
        operation.fed = 0;
        if self.watch.is_linked() {
            self.book.leave(self.sched, self.watch, fd, false);
        }
        self.disarm();
        self.submit(caller);
        1
    }

    /// Ends the watch. The slot is reused when nothing of it is queued any more.
    pub fn close(mut self, caller: &Caller) {
        self.stop(caller);
        let fd = self.fd();
        self.book.release(self.sched, fd);
        if let Some(timer) = self.body().timer.take()
            && let Ok(timer) = Timer::lock(timer)
        {
            timer.close(caller);
        }
        WATCHES.kill(self.watch);
        self.body().closed = true;
        let watch = self.watch;
        self.sched.members.remove(&watch.member);
        watch.recycle_if_done(self.body());
    }

    /// Sets the deadline, which counts from now on and from each event.
    pub fn set_timeout(&mut self, caller: &Caller, timeout: i64) -> Result<(), Errno> {
        self.body().started().ok_or(Errno::INVAL)?;
        self.prepare_timeout(caller, timeout)?;
        self.arm();
        Ok(())
    }

    /// Sees to it that there is a timer if one is wanted.
    fn prepare_timeout(&mut self, caller: &Caller, timeout: i64) -> Result<(), Errno> {
        if timeout != NEVER && self.body().timer.is_none() {
            let owner = self.watch.head.token().ok_or(Errno::BADF)?;
            let timer = Timer::create(self.sched)?;
            let mut locked = Timer::lock(timer)?;
            match new_call(caller, run_deadline, None, as_pointer(timer)) {
                Ok(call) => {
                    locked.set_owner(owner.raw());
                    locked.set_expiry(NEVER);
                    locked.add_internal_wait(call);
                }
                Err(error) => {
                    locked.close(caller);
                    return Err(error);
                }
            }
            self.body().timer = Some(timer);
        }
        self.body().timeout = timeout;
        Ok(())
    }

    /// Lets the deadline count from now.
    fn arm(&mut self) {
        let body = self.body();
        if body.timeout == NEVER {
            return self.disarm();
        }
        if let Some(Ok(mut timer)) = body.timer.map(Timer::lock) {
            body.deadline = timer.now().saturating_add(body.timeout);
            timer.set_expiry(body.deadline);
        }
    }

    fn disarm(&mut self) {
        let body = self.body();
        if std::mem::replace(&mut body.deadline, NEVER) != NEVER
            && let Some(Ok(mut timer)) = body.timer.map(Timer::lock)
        {
            timer.set_expiry(NEVER);
        }
    }

    /// The deadline has passed, unless it was moved meanwhile.
    fn expire(&mut self, caller: &Caller, now: i64) {
        let body = self.body();
        if now < body.deadline {
            return;
        }
        body.deadline = NEVER;
        // An event that came before is told instead, and the deadline counts from there.
        if let Some(operation) = body.started()
            && operation.seen | operation.fed == 0
        {
            operation.fed = TIMEOUT;
            self.submit(caller);
        }
    }

    /// What to tell now; the operation ends here if this was all of it.
    fn take(&mut self, frame: &Frame) -> Option<(Callback, *mut c_void, i32, u32)> {
        let fd = self.fd();
        let (shared, linked) = (self.book.is_shared(fd), self.watch.is_linked());
        let operation = self.body().operation.as_mut()?;
        let (callback, user, status) = (operation.callback, operation.user, operation.ended);
        let fed = std::mem::take(&mut operation.fed);
        let mut seen = std::mem::take(&mut operation.seen);
        let unsure = std::mem::take(&mut operation.unsure);
        if !linked {
            // Of a file that is gone.
            seen = 0;
        } else if seen != 0 && !operation.how.edge && (unsure || shared) {
            // Level-triggered: another callback may have used up what there was.
            seen &= ready_now(fd, seen) & (operation.interest | UNASKED);
        }
        let events = seen | fed;
        if events == 0 && status == 0 {
            if self.body().deadline == NEVER {
                self.arm();
            }
            return None;
        }
        if status != 0 || !operation.how.persistent {
            self.body().operation = None;
            self.disarm();
            if linked {
                self.unlink(fd);
            }
            Scheduler::work_finished(frame);
        } else {
            self.arm();
        }
        Some((callback, user, status, events))
    }

    /// A callback has returned, or there was nothing to tell: goes on with what came meanwhile.
    fn settle(mut self, frame: &Frame, told: bool) {
        let caller = Caller::of(frame);
        self.body().tick_busy = false;
        let (fd, linked) = (self.fd(), self.watch.is_linked());
        if let Some(operation) = self.body().operation.as_mut() {
            let more = operation.seen | operation.fed != 0 || operation.ended != 0;
            let level = !operation.how.edge;
            if more {
                self.submit(&caller);
            } else if linked && level && told {
                if self.book.is_always_ready(self.sched, fd) {
                    self.again(&caller);
                } else {
                    self.book.recheck(self.sched, fd, false);
                }
            }
        }
        let watch = self.watch;
        watch.recycle_if_done(self.body());
    }

    /// Tells of a file that is always ready once more, in the next turn.
    fn again(&mut self, caller: &Caller) {
        if self.watch.member.strand().is_some() {
            return self.tell_always(caller);
        }
        let Some(operation) = self.body().started() else { return };
        operation.seen |= operation.interest & (READ | WRITE);
        if operation.seen != 0 {
            self.body().tick_busy = true;
            self.sched.defer_op(self.watch.tick.as_ptr());
        }
    }
}

fn as_pointer(token: Token) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(token.raw()).unwrap_or(0))
}

/// Delivers events, or the end, of a watch.
unsafe fn run_tick(op: NonNull<Op>, frame: &Frame) {
    // SAFETY: `tick` is a field of a watch, and the table never frees those.
    let watch: &'static Watch = unsafe { &*op.as_ptr().byte_sub(offset_of!(Watch, tick)).cast() };
    // `tick_busy` keeps the slot from reuse, whether the handle is live or not.
    let lock = || Locked { watch, sched: frame.sched, book: frame.sched.watches.lock() };
    let mut locked = lock();
    if let Some(operation) = &locked.body().operation
        && hold_back(frame, operation.callback, op)
    {
        return;
    }
    let Some((callback, user, status, events)) = locked.take(frame) else {
        return locked.settle(frame, false);
    };
    drop(locked);
    let what = Delivery { status, value: u64::from(events), ..Delivery::default() };
    deliver(frame, callback, what, user);
    lock().settle(frame, true);
}

/// A deadline may have passed.
unsafe fn run_deadline(op: NonNull<Op>, frame: &Frame) {
    let caller = Caller::of(frame);
    // SAFETY: popped by this thread; it came from the pool.
    let (_, timer) = unsafe { free_call(&caller, op) };
    let token = Token::from_raw(timer.addr() as u64);
    let Ok((owner, now)) = Timer::lock(token).map(|mut timer| (timer.owner(), timer.now())) else {
        return;
    };
    let Ok(mut watch) = Watch::lock(Token::from_raw(owner)) else { return };
    let again = new_call(&caller, run_deadline, None, timer);
    let Ok(mut locked) = Timer::lock(token) else {
        if let Ok(call) = again {
            // SAFETY: it was not queued.
            unsafe { free_call(&caller, call) };
        }
        return;
    };
    match again {
        Ok(call) => {
            if locked.expiry() <= now {
                locked.set_expiry(NEVER);
            }
            locked.add_internal_wait(call);
        }
        Err(_) => {
            locked.close(&caller);
            watch.body().timer = None;
            watch.expire(&caller, now);
            return;
        }
    }
    drop(locked);
    watch.expire(&caller, now);
}

const CLASS: Class =
    Class { id: KIND_WATCH, close: close_member, report: report_member, renew: None };

fn of_member(member: NonNull<Member>, sched: &Scheduler) -> Option<Locked> {
    // SAFETY: `member` is a field of a watch, and the table never frees those.
    let watch: &'static Watch =
        unsafe { &*member.as_ptr().byte_sub(offset_of!(Watch, member)).cast() };
    let locked = watch.lock_if(|head| head.token().is_some())?;
    ptr::eq(locked.sched, sched).then_some(locked)
}

/// Closes a watch on behalf of its context's destruction.
unsafe fn close_member(member: NonNull<Member>, sched: &Scheduler, caller: &Caller) {
    if let Some(locked) = of_member(member, sched) {
        locked.close(caller);
    }
}

unsafe fn report_member(member: NonNull<Member>, sched: &Scheduler) -> Option<(Token, usize)> {
    let mut locked = of_member(member, sched)?;
    Some((locked.watch.head.token()?, locked.pending()))
}
