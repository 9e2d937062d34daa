//! What the process has of signals: which are taken, how, what was there before, and which contexts listen.
//!
//! The handler (`sys/signal.rs`) writes to one eventfd, which is registered edge-triggered in the epoll set of
//! every context that has a set with a signal in it. It is never read: each write is an edge of its own in each
//! of them, and its counter would be full after 2^64 signals. It is never closed either, since a handler may be
//! about to write to it on some other thread.
//!
//! One lock, taken below the locks of sets. No handler takes it.

use super::signals::on_edge;
use crate::sched::process_lock::{ProcessLock, Renew};
use crate::sched::scheduler::Scheduler;
use crate::sched::source::{Registered, Source};
use crate::sched::sync::MutexGuard;
use crate::sched::table::Token;
use crate::sys::epoll;
use crate::sys::errno::Errno;
use crate::sys::eventfd::EventFd;
use crate::sys::signal::{self, Action};
use libc::c_int;
use std::ptr;

/// System calls that the signal interrupts end with EINTR.
pub const INTERRUPT: u32 = 1;
/// SIGCHLD: not for children that stop or continue.
pub const NO_CHILD_STOP: u32 = 2;
/// SIGCHLD: children leave no zombie.
pub const NO_CHILD_WAIT: u32 = 4;
/// The handler that was there before is called as well.
pub const CHAIN: u32 = 8;
/// Whatever flags others have given.
pub const ANY: u32 = 16;

/// A signal of the process.
struct Taken {
    /// The sets that have it.
    users: u32,
    /// What they agreed on; None as long as nobody cares.
    flags: Option<u32>,
    /// What to restore. Kept while our handler may be called in spite of being restored, see `buried`.
    before: Option<Action>,
    /// The last set left when the program had put another handler over ours, which may call ours.
    buried: bool,
}

impl Taken {
    const fn new() -> Self {
        Taken { users: 0, flags: None, before: None, buried: false }
    }

    /// Puts our handler in force with these flags.
    fn install(&mut self, signo: c_int, flags: u32) -> Result<(), Errno> {
        let there = Action::current(signo)?;
        if !there.is_counting() {
            // To be put over a handler that may call ours, and call it, would go round for ever.
            if self.users > 0 || (self.buried && flags & CHAIN != 0) {
                return Err(Errno::BUSY);
            }
            self.before = Some(there);
        }
        let chained = self.before.as_ref().filter(|_| flags & CHAIN != 0);
        let ours = Action::counting(kernel_flags(flags), chained);
        // Before the first delivery. It stays after the last: a handler may be late.
        signal::set_chain(signo, chained);
        let was = ours.install(signo)?;
        if !was.is_counting() && there.is_counting() {
            self.before = Some(was);
        }
        self.buried = false;
        Ok(())
    }

    fn join(&mut self, signo: c_int, flags: u32) -> Result<(), Errno> {
        let wanted = (flags & ANY == 0).then_some(flags);
        match (self.users, self.flags, wanted) {
            (0, _, _) => self.install(signo, flags & !ANY)?,
            (_, Some(agreed), Some(wanted)) if agreed != wanted => return Err(Errno::EXIST),
            // Those before did not care: they run without flags.
            (_, None, Some(wanted)) if wanted != 0 => self.install(signo, wanted)?,
            _ => {}
        }
        self.users += 1;
        self.flags = self.flags.or(wanted);
        Ok(())
    }

    fn leave(&mut self, signo: c_int) {
        self.users = self.users.saturating_sub(1);
        if self.users > 0 {
            return;
        }
        self.flags = None;
        let ours = Action::current(signo).is_ok_and(|there| there.is_counting());
        match &self.before {
            Some(before) if ours => {
                let _ = before.install(signo);
                self.before = None;
            }
            // The program has set another one meanwhile: that stays (H51).
            _ => self.buried = true,
        }
    }
}

fn kernel_flags(flags: u32) -> c_int {
    let given = |flag, value| if flags & flag != 0 { value } else { 0 };
    given(NO_CHILD_STOP, libc::SA_NOCLDSTOP)
        | given(NO_CHILD_WAIT, libc::SA_NOCLDWAIT)
        | if flags & INTERRUPT != 0 { 0 } else { libc::SA_RESTART }
}

/// A context with sets that have signals.
struct Home {
    sched: &'static Scheduler,
    source: Registered,
    /// In the order of their numbers, so that a walk goes on where it was whatever came and went.
    sets: Vec<Token>,
}

/// See the head of this file.
pub struct Board {
    taken: [Taken; signal::MAX as usize + 1],
    wake: Option<EventFd>,
    homes: Vec<Home>,
}

impl Board {
    const fn new() -> Self {
        Board {
            taken: [const { Taken::new() }; signal::MAX as usize + 1],
            wake: None,
            homes: Vec::new(),
        }
    }
}

impl Renew for Board {
    /// What is installed in the process is installed in its child: nothing is to be forgotten.
    fn renew(&mut self) {}
}

#[cfg(not(loom))]
static BOARD: ProcessLock<Board> = ProcessLock::new(Board::new());
#[cfg(loom)]
static BOARD: once_cell::sync::Lazy<ProcessLock<Board>> =
    once_cell::sync::Lazy::new(|| ProcessLock::new(Board::new()));

/// The board, locked.
pub fn board() -> MutexGuard<'static, Board> {
    BOARD.lock()
}

fn slot(taken: &mut [Taken], signo: c_int) -> Result<&mut Taken, Errno> {
    let index = usize::try_from(signo).map_err(|_| Errno::INVAL)?;
    taken.get_mut(index).ok_or(Errno::INVAL)
}

impl Board {
    /// One more set has the signal; the count of deliveries before.
    pub fn take(&mut self, signo: c_int, flags: u32) -> Result<u64, Errno> {
        let before = signal::count(signo);
        slot(&mut self.taken, signo)?.join(signo, flags)?;
        Ok(before)
    }

    /// Whether a set that has the signal may ask for it with these flags again.
    pub fn check(&mut self, signo: c_int, flags: u32) -> Result<(), Errno> {
        match slot(&mut self.taken, signo)?.flags {
            Some(agreed) if flags & ANY == 0 && agreed != flags => Err(Errno::EXIST),
            // The set itself may have been the one that did not care.
            None if flags & ANY == 0 => {
                let taken = slot(&mut self.taken, signo)?;
                if flags != 0 {
                    taken.install(signo, flags)?;
                }
                taken.flags = Some(flags);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A set no longer has the signal.
    pub fn give_back(&mut self, signo: c_int) {
        if let Ok(taken) = slot(&mut self.taken, signo) {
            taken.leave(signo);
        }
    }

    fn wake_fd(&mut self) -> Result<c_int, Errno> {
        if let Some(wake) = &self.wake {
            return Ok(wake.raw());
        }
        let wake = EventFd::new()?;
        let fd = wake.raw();
        signal::set_wake(fd);
        self.wake = Some(wake);
        Ok(fd)
    }

    /// Wakes a context for a set from now on.
    pub fn listen(&mut self, sched: &'static Scheduler, set: Token) -> Result<(), Errno> {
        let fd = self.wake_fd()?;
        if let Some(home) = self.homes.iter_mut().find(|home| ptr::eq(home.sched, sched)) {
            home.sets.try_reserve(1).map_err(|_| Errno::NOMEM)?;
            let at = home.sets.partition_point(|other| other.raw() < set.raw());
            home.sets.insert(at, set);
            return Ok(());
        }
        let mut sets = Vec::new();
        sets.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        self.homes.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        let source = Source::register(sched, fd, epoll::IN | epoll::ET, on_edge, 0)?;
        sets.push(set);
        self.homes.push(Home { sched, source, sets });
        Ok(())
    }

    /// No longer.
    pub fn unlisten(&mut self, sched: &Scheduler, set: Token) {
        let found = self.homes.iter().position(|home| ptr::eq(home.sched, sched));
        let Some((at, home)) = found.and_then(|at| Some((at, self.homes.get_mut(at)?))) else {
            return;
        };
        home.sets.retain(|other| *other != set);
        if home.sets.is_empty() {
            let source = home.source;
            self.homes.swap_remove(at);
            if let Some(wake) = &self.wake {
                let _ = source.remove(sched, wake.raw());
            }
        }
    }

    /// The first set of a context with a number above this one's.
    pub fn next_set(&self, sched: &Scheduler, after: Option<Token>) -> Option<Token> {
        let home = self.homes.iter().find(|home| ptr::eq(home.sched, sched))?;
        let at =
            after.map_or(0, |after| home.sets.partition_point(|other| other.raw() <= after.raw()));
        home.sets.get(at).copied()
    }

    /// In the child of a fork: an eventfd of its own, under the same number.
    pub fn after_fork(&self) -> Result<(), Errno> {
        match &self.wake {
            Some(wake) => wake.renew(),
            None => Ok(()),
        }
    }

    /// In the child of a fork: has every context look at what came.
    pub fn rouse(&self) {
        if let Some(wake) = &self.wake {
            wake.write();
        }
    }
}
