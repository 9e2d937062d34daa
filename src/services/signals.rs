//! Signals: sets that wait for them.
//!
//! A signal is a counter of the process (`sys/signal.rs`), and a set remembers how far it has seen each of its
//! signals. So nothing is lost between two waits (H53), several sets see the same signal, and a set that was
//! closed sees none.
//!
//! No signal slips in between the look at the counters and the parking of a wait: both are done under the set's
//! lock, and the handler counts first and writes to the eventfd then. The edge that this makes in the context's
//! epoll set stays until a turn of the reactor takes it, and that turn takes the set's lock before it looks: it
//! comes after the parking and finds the wait, or before it and then the look at the counters was later still.

use super::kind;
use super::signal_board::{ANY, CHAIN, INTERRUPT, NO_CHILD_STOP, NO_CHILD_WAIT, board};
use crate::sched::completion::{Callback, OP_SIGNAL, ValueFn};
use crate::sched::frame::Caller;
use crate::sched::object::{Body, Locked, Object};
use crate::sched::op::{Op, OpQueue};
use crate::sched::scheduler::Scheduler;
use crate::sched::table::{Table, Token};
use crate::sched::ticket;
use crate::sys::errno::Errno;
use crate::sys::signal;
use libc::{c_int, c_void};
use std::ptr::NonNull;

/// Every set of the process.
#[cfg(not(loom))]
static SIGNALS: Table<Object<Signals>> = Table::new();
#[cfg(loom)]
static SIGNALS: once_cell::sync::Lazy<Table<Object<Signals>>> =
    once_cell::sync::Lazy::new(Table::new);

/// A signal that a set has.
struct Wanted {
    signo: c_int,
    /// The count up to which it was delivered.
    seen: u64,
}

/// A set of signals.
pub struct Signals {
    wanted: Vec<Wanted>,
    /// Oldest first.
    waits: OpQueue,
    waiting: usize,
    /// Where the next search begins, so that a signal that never stops can't hide the others.
    turn: usize,
}

impl Body for Signals {
    const KIND: u8 = kind::SIGNALS;

    fn vacant() -> Self {
        Signals { wanted: Vec::new(), waits: OpQueue::new(), waiting: 0, turn: 0 }
    }

    fn table() -> &'static Table<Object<Self>> {
        &SIGNALS
    }

    fn cancel(set: &mut Locked<Self>, caller: &Caller) -> usize {
        let waits = OpQueue::new();
        waits.append(&set.body().waits);
        set.body().waiting = 0;
        set.finish_all(caller, &waits, Errno::CANCELED.code())
    }

    fn cancel_of(set: &mut Locked<Self>, caller: &Caller, user: *mut c_void) -> usize {
        let (all, ended) = (OpQueue::new(), OpQueue::new());
        all.append(&set.body().waits);
        while let Some(wait) = all.pop() {
            if set.is_of(wait, user) { ended.push(wait) } else { set.body().waits.push(wait) }
        }
        let count = set.finish_all(caller, &ended, Errno::CANCELED.code());
        set.body().waiting -= count;
        count
    }

    fn close(set: &mut Locked<Self>, _: &Caller) {
        give_all_back(set);
    }

    fn pending(&self) -> usize {
        self.waiting
    }
}

impl Signals {
    fn find(&self, signo: c_int) -> Option<usize> {
        self.wanted.iter().position(|wanted| wanted.signo == signo)
    }

    /// Takes one signal that has arrived. `count_of` tells how often one was delivered to the process.
    fn take(&mut self, count_of: impl Fn(c_int) -> u64) -> Option<c_int> {
        let count = self.wanted.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let wanted = self.wanted.get_mut(at)?;
            if wanted.seen != count_of(wanted.signo) {
                wanted.seen = wanted.seen.wrapping_add(1);
                self.turn = at + 1;
                return Some(wanted.signo);
            }
        }
        None
    }

    /// The oldest wait and a signal for it.
    fn match_one(&mut self, count_of: impl Fn(c_int) -> u64) -> Option<(NonNull<Op>, u64)> {
        if self.waits.is_empty() {
            return None;
        }
        let signo = self.take(count_of)?;
        let ticket = self.waits.pop()?;
        self.waiting -= 1;
        Some((ticket, value(signo)))
    }

    /// Takes a signal for a new wait, which comes after those that are parked; where there is none the wait is
    /// parked.
    fn take_or_park(
        &mut self,
        ticket: NonNull<Op>,
        count_of: impl Fn(c_int) -> u64,
    ) -> Option<u64> {
        if self.waits.is_empty()
            && let Some(signo) = self.take(count_of)
        {
            return Some(value(signo));
        }
        self.waits.push(ticket);
        self.waiting += 1;
        None
    }
}

fn value(signo: c_int) -> u64 {
    u64::try_from(signo).unwrap_or(0)
}

fn give_all_back(set: &mut Locked<Signals>) {
    let wanted = std::mem::take(&mut set.body().wanted);
    if wanted.is_empty() {
        return;
    }
    let mut board = board();
    for Wanted { signo, .. } in wanted {
        board.give_back(signo);
    }
    if let Some(token) = set.token() {
        board.unlisten(set.sched, token);
    }
}

/// A signal was delivered to the process: looks at every set of the context.
pub(super) fn on_edge(sched: &'static Scheduler, _: u64, _: u32, ready: &OpQueue) {
    let mut at = None;
    loop {
        // Not in the loop's condition, which would keep the lock.
        let next = board().next_set(sched, at);
        let Some(token) = next else { return };
        at = Some(token);
        let Ok(mut set) = Object::<Signals>::lock(token) else { continue };
        while let Some((ticket, value)) = set.body().match_one(signal::count) {
            set.finish_in_turn(ready, ticket, 0, value);
        }
    }
}

/// Makes a set without signals.
pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
    Object::create(sched, Signals::vacant())
}

/// The set of a handle, locked.
pub fn lock(set: Token) -> Result<Locked<Signals>, Errno> {
    Object::lock(set)
}

fn check_flags(signo: c_int, flags: u32) -> Result<(), Errno> {
    let known = INTERRUPT | NO_CHILD_STOP | NO_CHILD_WAIT | CHAIN | ANY;
    let of_children = flags & (NO_CHILD_STOP | NO_CHILD_WAIT) != 0;
    let contradiction = flags & ANY != 0 && flags != ANY;
    if flags & !known != 0 || contradiction || (of_children && signo != libc::SIGCHLD) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// Adds a signal.
pub fn add(set: Token, signo: c_int, flags: u32) -> Result<(), Errno> {
    let mut set = lock(set)?;
    if !signal::is_catchable(signo) {
        return Err(Errno::INVAL);
    }
    check_flags(signo, flags)?;
    set.check_open()?;
    if set.body().find(signo).is_some() {
        return board().check(signo, flags);
    }
    set.body().wanted.try_reserve(1).map_err(|_| Errno::NOMEM)?;
    let token = set.token().ok_or(Errno::BADF)?;
    let is_first = set.body().wanted.is_empty();
    let mut board = board();
    if is_first {
        board.listen(set.sched, token)?;
    }
    match board.take(signo, flags) {
        Ok(seen) => {
            set.body().wanted.push(Wanted { signo, seen });
            Ok(())
        }
        Err(error) => {
            if is_first {
                board.unlisten(set.sched, token);
            }
            Err(error)
        }
    }
}

/// Takes a signal out.
pub fn remove(set: Token, signo: c_int) -> Result<(), Errno> {
    let mut set = lock(set)?;
    if !signal::is_catchable(signo) {
        return Err(Errno::INVAL);
    }
    let at = set.body().find(signo).ok_or(Errno::NOENT)?;
    set.body().wanted.swap_remove(at);
    let is_last = set.body().wanted.is_empty();
    let mut board = board();
    board.give_back(signo);
    if is_last && let Some(token) = set.token() {
        board.unlisten(set.sched, token);
    }
    Ok(())
}

/// Takes every signal out.
pub fn clear(set: Token) -> Result<(), Errno> {
    give_all_back(&mut lock(set)?);
    Ok(())
}

/// Signals that have arrived and that no wait has taken.
pub fn arrived(set: Token) -> Result<usize, Errno> {
    let mut set = lock(set)?;
    let mut sum = 0_u64;
    for wanted in &set.body().wanted {
        sum = sum.wrapping_add(signal::count(wanted.signo).wrapping_sub(wanted.seen));
    }
    Ok(usize::try_from(sum).unwrap_or(usize::MAX))
}

/// Waits for one signal.
#[allow(unsafe_code, reason = "returns a ticket that was not used")]
pub fn wait(
    caller: &Caller,
    set: Token,
    callback: Option<ValueFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let callback = callback.map_or(Callback::Record(OP_SIGNAL), Callback::Value);
    let ticket = ticket::new(callback, user)?;
    let begun = lock(set).and_then(|mut set| {
        set.check_open()?;
        // Older waits come first; the turn that serves them may not have come yet.
        while let Some((older, value)) = set.body().match_one(signal::count) {
            set.finish(caller, older, 0, value);
        }
        match set.body().take_or_park(ticket, signal::count) {
            Some(value) => set.complete(caller, ticket, 0, value),
            None => set.begin(),
        }
        Ok(())
    });
    if begun.is_err() {
        // SAFETY: it was not begun.
        unsafe { ticket::free(ticket) };
    }
    begun
}

/// Ends the pending waits; the number. Signals that have arrived stay for later waits.
pub fn cancel(caller: &Caller, set: Token) -> Result<usize, Errno> {
    Ok(lock(set)?.cancel(caller))
}

/// Ends the set.
pub fn close(caller: &Caller, set: Token) -> Result<(), Errno> {
    lock(set)?.close(caller);
    Ok(())
}

/// In the child of a fork, once, before anything else is done with signals: the child's handler wakes the
/// child's contexts, no longer the parent's. No other thread may have been inside `add`, `remove`, `clear`, `close`
/// or a turn of a reactor when the process was forked: the board's lock would stay locked in the child.
pub fn after_fork() -> Result<(), Errno> {
    board().after_fork()
}

/// In the child of a fork, after [`after_fork`], when a context has registered its sources again: what came
/// in between woke nobody. What had arrived before the fork and was not delivered stays, in the parent and in
/// the child.
pub fn rouse() {
    board().rouse();
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sched::completion::{Record, Sink};
    use crate::sched::run_queue::Limit;
    use crate::sched::scheduler::Options;

    /// What a child does after a fork, done here: a new eventfd under the old number has lost its place in the
    /// epoll set, and gets it back.
    #[test]
    #[allow(unsafe_code, reason = "raises a signal, and gives memory for records")]
    fn h70_a_renewed_eventfd_is_registered_again() {
        let caller = Caller::current();
        let context = Scheduler::create(Options::for_tests()).unwrap();
        let sched = *Scheduler::resolve(&caller, context).unwrap();
        let set = create(sched).unwrap();
        let signo = libc::SIGWINCH;
        add(set, signo, 0).unwrap();
        wait(&caller, set, None, std::ptr::null_mut()).unwrap();
        let reap = || {
            let mut record = std::mem::MaybeUninit::<Record>::uninit();
            // SAFETY: room for one.
            let sink = unsafe { Sink::new(record.as_mut_ptr(), 1) };
            let pinned = Scheduler::resolve(&caller, context).unwrap();
            let taken =
                Scheduler::enter_and_reap(pinned, &caller, Limit::Poll, &sink, |_| ()).unwrap();
            // SAFETY: written where one was taken.
            (taken == 1).then(|| unsafe { record.assume_init() }.value)
        };
        assert_eq!(reap(), None);
        after_fork().unwrap();
        // Comes in between: no edge yet in this context's set.
        // SAFETY: a handler is installed.
        assert_eq!(unsafe { libc::raise(signo) }, 0);
        assert_eq!(reap(), None);
        crate::sched::source::renew(sched, sched.reactor()).unwrap();
        rouse();
        assert_eq!(reap(), Some(value(signo)));
        wait(&caller, set, None, std::ptr::null_mut()).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::raise(signo) }, 0);
        assert_eq!(reap(), Some(value(signo)));
        close(&caller, set).unwrap();
        let pinned = Scheduler::resolve(&caller, context).unwrap();
        Scheduler::destroy(pinned, &caller, |_| ()).unwrap();
    }
}
