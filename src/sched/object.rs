//! A handle that is not an fd: the part that every such service shares, around a body of its own.
//!
//! One lock guards the body. Operations are tickets, which outlive the handle: so closing an object
//! frees its slot at once, unless something of it is still queued (see [`Locked::hold`]).
#![allow(unsafe_code, reason = "the table entry, and the object of a member")]

use super::frame::{Caller, Subject};
use super::member::{Class, Member};
use super::op::{Op, OpQueue};
use super::scheduler::Scheduler;
use super::sync::{Mutex, MutexGuard};
use super::table::{Entry, Head, Table, Token};
use super::ticket;
use crate::sys::errno::Errno;
use libc::c_void;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// What a service keeps in an object.
pub trait Body: Sized + Send + 'static {
    /// The handle kind.
    const KIND: u8;

    /// The body of an object that is not in use.
    fn vacant() -> Self;

    /// Every object of this kind in the process.
    fn table() -> &'static Table<Object<Self>>;

    /// Ends every pending operation with `WEIR_ECANCELED`, by [`Locked::finish`]; the number ended.
    fn cancel(object: &mut Locked<Self>, caller: &Caller) -> usize;

    /// The same for those that were begun with `user`.
    fn cancel_of(object: &mut Locked<Self>, caller: &Caller, user: *mut c_void) -> usize;

    /// Gives up what the body holds besides operations, which were cancelled. The body is replaced by a
    /// vacant one afterwards.
    fn close(object: &mut Locked<Self>, caller: &Caller);

    /// The number of operations pending.
    fn pending(&self) -> usize;

    /// In a child of the process: what threads of the parent were doing for the object will not be done here.
    fn renew(_: Locked<Self>, _: &Caller) {}
}

/// An object of a service.
#[repr(C)]
pub struct Object<B: Body> {
    head: Head,
    member: Member,
    state: Mutex<State<B>>,
}

struct State<B> {
    sched: Option<&'static Scheduler>,
    closed: bool,
    /// Things outside that still refer to the slot.
    holds: u32,
    body: B,
}

// SAFETY: objects stay where the table put them.
unsafe impl<B: Body> Entry for Object<B> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Object {
            head: Head::new(),
            member: Member::new(
                const {
                    &Class {
                        id: B::KIND,
                        close: close_member::<B>,
                        report: report_member::<B>,
                        renew: Some(renew_member::<B>),
                    }
                },
            ),
            state: Mutex::new(State { sched: None, closed: true, holds: 0, body: B::vacant() }),
        }
    }
}

/// A live object under its lock; its context lives as long.
pub struct Locked<B: Body> {
    object: &'static Object<B>,
    /// Its context.
    pub sched: &'static Scheduler,
    state: MutexGuard<'static, State<B>>,
}

impl<B: Body> Object<B> {
    /// Makes an object of a context.
    pub fn create(sched: &'static Scheduler, body: B) -> Result<Token, Errno> {
        let object = B::table().reserve().map_err(|_| Errno::NOMEM)?;
        let mut state = object.state.lock();
        state.sched = Some(sched);
        state.closed = false;
        state.holds = 0;
        state.body = body;
        if !sched.members.add(&object.member) {
            state.closed = true;
            state.body = B::vacant();
            drop(state);
            B::table().recycle(object);
            return Err(Errno::SHUTDOWN);
        }
        Ok(B::table().publish(object, B::KIND))
    }

    /// The object of a handle, locked.
    #[inline]
    pub fn lock(token: Token) -> Result<Locked<B>, Errno> {
        let object = B::table().find(token).ok_or(Errno::BADF)?;
        object.lock_if(|head| head.is_live_as(token)).ok_or(Errno::BADF)
    }

    #[inline]
    fn lock_if(&'static self, live: impl Fn(&Head) -> bool) -> Option<Locked<B>> {
        let state = self.state.lock();
        // Closed since it was found? The stamp changes under the lock only.
        if !live(&self.head) {
            return None;
        }
        Some(Locked { object: self, sched: state.sched?, state })
    }

    fn of_member(member: NonNull<Member>, sched: &Scheduler) -> Option<Locked<B>> {
        // SAFETY: `member` is a field of an object, and the table never frees those.
        let object: &'static Object<B> =
            unsafe { &*member.as_ptr().byte_sub(offset_of!(Object<B>, member)).cast() };
        let locked = object.lock_if(|head| head.token().is_some())?;
        ptr::eq(locked.sched, sched).then_some(locked)
    }

    /// The part that the context knows.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Drops one hold, see [`Locked::hold`]. Also of an object that was closed meanwhile.
    pub fn release(&'static self) {
        let mut state = self.state.lock();
        state.holds = state.holds.saturating_sub(1);
        self.recycle_if_done(&state);
    }

    fn recycle_if_done(&'static self, state: &State<B>) {
        if state.closed && state.holds == 0 {
            self.member.unbind();
            B::table().recycle(self);
        }
    }
}

impl<B: Body> Locked<B> {
    /// What the service keeps.
    #[inline]
    pub fn body(&mut self) -> &mut B {
        &mut self.state.body
    }

    /// The handle.
    pub fn token(&self) -> Option<Token> {
        self.object.head.token()
    }

    /// The part that the context knows.
    pub fn member(&self) -> &'static Member {
        &self.object.member
    }

    /// The object itself, for who has a hold of it.
    pub fn object(&self) -> &'static Object<B> {
        self.object
    }

    /// Refused while the context is being destroyed. To be asked before a ticket is begun.
    pub fn check_open(&self) -> Result<(), Errno> {
        self.sched.check_open()
    }

    /// Counts a ticket as work from now on; the body keeps it until it is finished.
    pub fn begin(&mut self) {
        self.sched.work_started();
    }

    /// Completes a ticket that was begun: it is delivered later, through the object's strand if it has one.
    pub fn finish(&mut self, caller: &Caller, ticket: NonNull<Op>, status: i32, value: u64) {
        // SAFETY: the body owned it, and gives it up.
        unsafe { ticket::set_result(ticket, status, value) };
        self.note_subject(ticket);
        self.sched.submit(caller, &self.object.member, ticket);
    }

    /// The same from within a turn of the reactor.
    pub fn finish_in_turn(
        &mut self,
        ready: &OpQueue,
        ticket: NonNull<Op>,
        status: i32,
        value: u64,
    ) {
        // SAFETY: the body owned it, and gives it up.
        unsafe { ticket::set_result(ticket, status, value) };
        self.note_subject(ticket);
        Scheduler::submit_in_turn(&self.object.member, ready, ticket);
    }

    fn note_subject(&self, ticket: NonNull<Op>) {
        if self.sched.measures() {
            let token = self.token().map_or(0, Token::raw);
            // SAFETY: the caller owns it until it is submitted.
            unsafe {
                ticket::set_subject(ticket, Subject { token, member: Some(&self.object.member) });
            }
        }
    }

    /// Finishes every ticket of a queue with the same status; the number.
    pub fn finish_all(&mut self, caller: &Caller, tickets: &OpQueue, status: i32) -> usize {
        let mut count = 0;
        while let Some(ticket) = tickets.pop() {
            self.finish(caller, ticket, status, 0);
            count += 1;
        }
        count
    }

    /// Completes a new ticket, whose result is known already.
    pub fn complete(&mut self, caller: &Caller, ticket: NonNull<Op>, status: i32, value: u64) {
        // SAFETY: a new ticket, the caller's.
        unsafe { ticket::set_result(ticket, status, value) };
        self.note_subject(ticket);
        self.sched.complete(caller, &self.object.member, ticket);
    }

    /// Keeps the slot from being used again until [`Object::release`]; for an op embedded in the body's
    /// object, or a pointer to it in another thread.
    pub fn hold(&mut self) -> &'static Object<B> {
        self.state.holds += 1;
        self.object
    }

    /// Drops one hold while the object is not closed.
    pub fn drop_hold(&mut self) {
        self.state.holds = self.state.holds.saturating_sub(1);
    }

    /// Ends what is pending.
    pub fn cancel(&mut self, caller: &Caller) -> usize {
        B::cancel(self, caller)
    }

    /// True when an operation of this object, which is pending, was begun with `user`.
    pub fn is_of(&self, ticket: NonNull<Op>, user: *mut c_void) -> bool {
        // SAFETY: the body owns it, and is locked.
        unsafe { ticket::user_of(ticket) == user }
    }

    /// Ends those that were begun with `user`; the number ended.
    pub fn cancel_of(&mut self, caller: &Caller, user: *mut c_void) -> usize {
        B::cancel_of(self, caller, user)
    }

    /// Ends the handle.
    pub fn close(mut self, caller: &Caller) {
        B::cancel(&mut self, caller);
        B::close(&mut self, caller);
        self.state.body = B::vacant();
        B::table().kill(self.object);
        self.state.closed = true;
        // Last, since the context may go once it is out of the list.
        self.sched.members.remove(&self.object.member);
        self.object.recycle_if_done(&self.state);
    }
}

/// Closes an object on behalf of its context's destruction.
unsafe fn close_member<B: Body>(member: NonNull<Member>, sched: &Scheduler, caller: &Caller) {
    if let Some(locked) = Object::<B>::of_member(member, sched) {
        locked.close(caller);
    }
}

unsafe fn renew_member<B: Body>(member: NonNull<Member>, sched: &Scheduler) {
    if let Some(locked) = Object::<B>::of_member(member, sched) {
        B::renew(locked, &Caller::current());
    }
}

unsafe fn report_member<B: Body>(
    member: NonNull<Member>,
    sched: &Scheduler,
) -> Option<(Token, usize)> {
    let locked = Object::<B>::of_member(member, sched)?;
    Some((locked.token()?, locked.state.body.pending()))
}
