//! Fds that users own: what all watches of one want, merged into one registration in the epoll set.
//!
//! Every registration is edge-triggered. A user who closes an fd without a word, while a copy of it lives on,
//! leaves a registration behind that nobody can name any more: level-triggered it would keep the reactor
//! awake for ever, edge-triggered it is an event now and then that finds nothing (H33). So would a level
//! that holds while its callback waits or runs on another thread.
//!
//! Level-triggered watches are made of that by *looks*: when the callback of one has returned, its fd goes
//! to a list, and one poll(2) looks at all of the list before the reactor blocks. What it finds is not
//! believed, for the number may be another file's by now: the registration is armed again, and the
//! kernel tells by itself. While new events keep coming the look is put off for some turns, since most
//! callbacks leave nothing behind; see `look_pace.rs`.
#![allow(unsafe_code, reason = "intrusive links between type-stable watches")]

use super::frame::Caller;
use super::look_pace::{Pace, When};
use super::op::OpQueue;
use super::reactor::Found;
use super::scheduler::Scheduler;
use super::source::{Registered, Source};
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use super::timers::Host;
use super::watch::Watch;
use crate::sys::epoll;
use crate::sys::errno::Errno;
use crate::sys::fd::is_valid;
use crate::sys::poll::{self, Look};
use std::os::fd::RawFd;
use std::ptr;

/// `WEIR_WATCH_READ`.
pub const READ: u32 = 1;
/// `WEIR_WATCH_WRITE`.
pub const WRITE: u32 = 2;
/// `WEIR_WATCH_PRIORITY`.
pub const PRIORITY: u32 = 4;
/// `WEIR_WATCH_READ_HANGUP`.
pub const READ_HANGUP: u32 = 8;
/// `WEIR_WATCH_HANGUP`.
pub const HANGUP: u32 = 16;
/// `WEIR_WATCH_ERROR`.
pub const ERROR: u32 = 32;
/// `WEIR_WATCH_TIMEOUT`.
pub const TIMEOUT: u32 = 64;

/// Told whether asked for or not.
pub const UNASKED: u32 = HANGUP | ERROR;

const BITS: [(u32, u32); 6] = [
    (READ, epoll::IN),
    (WRITE, epoll::OUT),
    (PRIORITY, epoll::PRI),
    (READ_HANGUP, epoll::RDHUP),
    (HANGUP, epoll::HUP),
    (ERROR, epoll::ERR),
];

fn to_kernel(events: u32) -> u32 {
    BITS.iter().filter(|(ours, _)| events & ours != 0).fold(0, |mask, (_, theirs)| mask | theirs)
}

fn from_kernel(mask: u32) -> u32 {
    BITS.iter().filter(|(_, theirs)| mask & theirs != 0).fold(0, |events, (ours, _)| events | ours)
}

/// The watched fds of a context.
pub struct Watches {
    book: Mutex<Book>,
    /// There was a watch: the turn need not take the lock before.
    used: AtomicBool,
}

/// What the lock guards, besides the watches' own bodies.
pub struct Book {
    /// By fd.
    entries: Vec<Entry>,
    /// Fds to look at, and room for the look; as many as there are entries fit.
    list: Vec<RawFd>,
    looks: Vec<Look>,
    pace: Pace,
}

/// One fd.
struct Entry {
    registered: Option<Registered>,
    /// Of the registration: a late event of another finds nothing.
    epoch: u32,
    /// What the kernel was asked for.
    asked: u32,
    /// A registration of this number was left behind in the set; the same file may come back to it.
    ghost: bool,
    /// The kernel does not tell of such a file: it is always ready.
    always: bool,
    /// It is in the list.
    listed: bool,
    /// Its look is for every watch, not for the level-triggered ones only.
    whole: bool,
    /// The watches that are started.
    first: *const Watch,
}

// SAFETY: watches are type-stable, and touched under the lock.
unsafe impl Send for Book {}

impl Entry {
    const fn new() -> Self {
        Entry {
            registered: None,
            epoch: 0,
            asked: 0,
            ghost: false,
            always: false,
            listed: false,
            whole: false,
            first: ptr::null(),
        }
    }

    /// The started watches.
    fn watches(&self) -> impl Iterator<Item = &'static Watch> + use<> {
        let mut at = self.first;
        std::iter::from_fn(move || {
            // SAFETY: null or a watch; the book's lock guards the links.
            let watch: &'static Watch = unsafe { at.as_ref() }?;
            at = watch.next();
            Some(watch)
        })
    }

    fn link(&mut self, watch: &'static Watch) {
        watch.linked(self.first);
        self.first = watch;
    }

    fn merged(&self) -> u32 {
        self.watches().fold(0, |merged, watch| merged | watch.interest())
    }

    /// The registration is gone, and with it what was watched: whoever was started on it hears nothing more.
    fn lose(&mut self) {
        if let Some(registered) = self.registered.take() {
            registered.forget();
            self.ghost = true;
        }
        self.always = false;
        self.asked = 0;
        self.unlink_all();
    }

    fn unlink_all(&mut self) {
        while let Some(watch) = self.watches().next() {
            self.first = watch.next();
            watch.unlinked();
        }
    }

    /// Tells the kernel what is wanted. Where the number has become another file's since, that one is
    /// registered instead.
    fn register(&mut self, sched: &Scheduler, fd: RawFd, wanted: u32) -> Result<(), Errno> {
        let mask = to_kernel(wanted) | epoll::ET;
        if let Some(registered) = self.registered {
            match registered.modify(sched, fd, mask) {
                Ok(()) => {
                    self.asked = wanted;
                    return Ok(());
                }
                // Not in the set, or of a kind that never is.
                Err(Errno::NOENT | Errno::PERM) => self.lose(),
                Err(Errno::BADF) => {
                    self.lose();
                    return Err(Errno::BADF);
                }
                Err(error) => return Err(error),
            }
        }
        self.epoch = self.epoch.wrapping_add(1);
        let user = u64::from(self.epoch) << 32 | u64::from(fd.cast_unsigned());
        match Source::register_foreign(sched, fd, mask, self.ghost, on_event, user) {
            Ok(registered) => {
                if self.always {
                    self.lose();
                }
                self.registered = Some(registered);
            }
            Err(Errno::PERM) => self.always = true,
            Err(error) => {
                if self.always && error == Errno::BADF {
                    self.lose();
                }
                return Err(error);
            }
        }
        self.asked = wanted;
        Ok(())
    }

    /// Takes back what nobody wants.
    fn shrink(&mut self, sched: &Scheduler, fd: RawFd) {
        let merged = self.merged();
        if self.first.is_null() {
            if let Some(registered) = self.registered.take() {
                // An error says that the user closed the fd before.
                self.ghost |= registered.remove(sched, fd).is_err();
            }
            self.asked = 0;
        } else if self.asked != merged && self.registered.is_some() {
            self.rearm(sched, fd, merged);
        }
    }

    /// Has the kernel tell what is ready, if the file is still the same.
    fn rearm(&mut self, sched: &Scheduler, fd: RawFd, wanted: u32) {
        let Some(registered) = self.registered else { return };
        match registered.modify(sched, fd, to_kernel(wanted) | epoll::ET) {
            Ok(()) => self.asked = wanted,
            Err(_) => self.lose(),
        }
    }
}

impl Watches {
    /// No watches.
    #[allow(clippy::new_without_default, reason = "made in one place")]
    pub fn new() -> Self {
        Watches {
            book: Mutex::new(Book {
                entries: Vec::new(),
                list: Vec::new(),
                looks: Vec::new(),
                pace: Pace::new(),
            }),
            used: AtomicBool::new(false),
        }
    }

    /// Readies it for the next context in its slot. Every watch is closed.
    pub fn reset(&self) {
        let mut book = self.book.lock();
        book.entries = Vec::new();
        book.list = Vec::new();
        book.looks = Vec::new();
        book.pace = Pace::new();
        self.used.store(false, Ordering::SeqCst);
    }

    /// The lock of every watch of the context.
    pub fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    /// There will be watches. SeqCst, as what says that somebody sleeps.
    pub fn set_used(&self) {
        self.used.store(true, Ordering::SeqCst);
    }

    /// True when levels must be looked at before anybody sleeps.
    pub fn are_unsure(&self) -> bool {
        self.used.load(Ordering::SeqCst) && !self.lock().list.is_empty()
    }

    /// One turn, around `wait`, which is told whether it must not block, and queues what is ready. It takes
    /// place after the turn counts as a sleeper: a watch that is left unsure from here on is looked at by
    /// the thread that left it.
    pub fn turn(
        &self,
        sched: &Scheduler,
        ready: &OpQueue,
        mut wait: impl FnMut(bool) -> Result<Found, Errno>,
    ) -> Result<Found, Errno> {
        if !self.used.load(Ordering::SeqCst) {
            return wait(false);
        }
        let plan = self.lock().plan();
        match plan {
            When::Never => return wait(false),
            When::First => {
                let found = self.lock().look(sched, false);
                return wait(found);
            }
            When::Peek if !self.lock().peek() => return wait(false),
            When::Peek | When::Now | When::Later => {}
        }
        let mut found = wait(true)?;
        let idle = ready.is_empty();
        let mut book = self.lock();
        let put_off = matches!(plan, When::Later);
        if put_off {
            book.pace.put_off(idle);
        }
        let more = (idle || !put_off) && book.look(sched, true);
        drop(book);
        if more && idle {
            let again = wait(true)?;
            found.timer |= again.timer;
            found.full |= again.full;
        }
        Ok(found)
    }

    /// Registers an fd that is the library's own: `ask` adds it to the epoll set or, when told to replace what is
    /// there, modifies that. What was watched under its number is gone. All of it under one lock, so that no
    /// watch of an earlier file takes the new registration for its own.
    pub fn take_number(
        &self,
        sched: &Scheduler,
        fd: RawFd,
        mut ask: impl FnMut(bool) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !self.used.load(Ordering::SeqCst) {
            match ask(false) {
                // Used since.
                Err(Errno::EXIST) => {}
                asked => return asked,
            }
        }
        let mut book = self.lock();
        let asked = ask(false);
        let Some(entry) = book.entry(fd) else { return asked };
        match asked {
            Err(Errno::EXIST) if entry.registered.is_some() || entry.ghost => {
                ask(true)?;
                // They were started on this very file, before anybody knew that it is not the user's.
                let caller = Caller::current();
                for watch in entry.watches() {
                    watch.fail(sched, &caller, Errno::EXIST);
                }
            }
            asked => asked?,
        }
        entry.lose();
        entry.ghost = false;
        Ok(())
    }
}

impl Book {
    fn entry(&mut self, fd: RawFd) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(fd).ok()?)
    }

    fn grow(&mut self, fd: RawFd) -> Result<(), Errno> {
        let count = usize::try_from(fd).map_err(|_| Errno::BADF)?.saturating_add(1);
        if count <= self.entries.len() {
            return Ok(());
        }
        // The kernel has a table as long as the largest number that is open.
        if !is_valid(fd) {
            return Err(Errno::BADF);
        }
        let missing = count - self.entries.len();
        self.entries.try_reserve(missing).map_err(|_| Errno::NOMEM)?;
        let capacity = self.entries.capacity();
        let room = |length: usize| capacity - length;
        self.list.try_reserve(room(self.list.len())).map_err(|_| Errno::NOMEM)?;
        self.looks.try_reserve(room(self.looks.len())).map_err(|_| Errno::NOMEM)?;
        self.entries.resize_with(count, Entry::new);
        Ok(())
    }

    /// A watch starts. One system call, which finds out whether the fd is open, and what is ready by now;
    /// true when it is always ready.
    pub fn join(
        &mut self,
        sched: &Scheduler,
        watch: &'static Watch,
        fd: RawFd,
        wanted: u32,
    ) -> Result<bool, Errno> {
        self.grow(fd)?;
        let entry = self.entry(fd).ok_or(Errno::BADF)?;
        entry.register(sched, fd, entry.merged() | wanted)?;
        entry.link(watch);
        Ok(entry.always)
    }

    /// A watch that is started wants something else. No system call where the kernel knows; true when it
    /// is always ready.
    pub fn change(
        &mut self,
        sched: &Scheduler,
        watch: &'static Watch,
        fd: RawFd,
        wanted: u32,
    ) -> Result<bool, Errno> {
        let entry = self.entry(fd).ok_or(Errno::BADF)?;
        // Of a file that is always ready nothing is known but by asking.
        if wanted & !(entry.asked | UNASKED) != 0 || !watch.is_linked() || entry.always {
            entry.register(sched, fd, entry.merged() | wanted)?;
            if !watch.is_linked() {
                entry.link(watch);
            }
            return Ok(entry.always);
        }
        // It may have been ready since before anybody wanted it.
        self.recheck(sched, fd, true);
        Ok(false)
    }

    /// A watch ends. `keep` leaves the registration for the next one, until an event comes that nobody wants.
    pub fn leave(&mut self, sched: &Scheduler, watch: &'static Watch, fd: RawFd, keep: bool) {
        let Some(entry) = self.entry(fd) else { return };
        if ptr::eq(entry.first, watch) {
            entry.first = watch.next();
        } else {
            for other in entry.watches() {
                if ptr::eq(other.next(), watch) {
                    other.set_next(watch.next());
                    break;
                }
            }
        }
        watch.unlinked();
        if !keep {
            self.release(sched, fd);
        }
    }

    /// A watch that has left, and kept the registration, is back.
    pub fn relink(&mut self, watch: &'static Watch, fd: RawFd) {
        if let Some(entry) = self.entry(fd)
            && (entry.registered.is_some() || entry.always)
        {
            entry.link(watch);
        }
    }

    /// Takes the fd out of the set if nobody watches it.
    pub fn release(&mut self, sched: &Scheduler, fd: RawFd) {
        if let Some(entry) = self.entry(fd)
            && entry.first.is_null()
        {
            entry.shrink(sched, fd);
        }
    }

    /// True when several watches are started on the fd.
    pub fn is_shared(&mut self, fd: RawFd) -> bool {
        self.entry(fd).is_some_and(|entry| entry.watches().nth(1).is_some())
    }

    /// True when the fd is of a file that is always ready. Asks the kernel whether it still is: where it was
    /// closed, or has become another, its watches hear nothing more.
    pub fn is_always_ready(&mut self, sched: &Scheduler, fd: RawFd) -> bool {
        let Some(entry) = self.entry(fd).filter(|entry| entry.always) else { return false };
        let asked = entry.register(sched, fd, entry.asked);
        entry.shrink(sched, fd);
        asked.is_ok() && entry.always
    }

    /// Has the fd looked at before anybody sleeps.
    pub fn recheck(&mut self, sched: &Scheduler, fd: RawFd, whole: bool) {
        let Some(entry) = self.entry(fd) else { return };
        entry.whole |= whole;
        if !std::mem::replace(&mut entry.listed, true) {
            self.list.push(fd);
        }
        if sched.has_sleepers() {
            self.look(sched, false);
        }
    }

    fn plan(&mut self) -> When {
        if self.list.is_empty() { When::Never } else { self.pace.plan() }
    }

    /// Looks at what is listed: false where nobody need be told of anything.
    fn peek(&mut self) -> bool {
        self.gather();
        if self.found().next().is_some() {
            self.pace.stop_prompt();
            return true;
        }
        self.clear();
        self.pace.looked(false, false);
        false
    }

    /// The same, and has the kernel tell of what was found, with the next wait. `asked` says whether the kernel
    /// was asked before.
    fn look(&mut self, sched: &Scheduler, asked: bool) -> bool {
        if self.list.is_empty() {
            return false;
        }
        self.gather();
        self.clear();
        let found = self.found().next().is_some();
        for at in 0..self.looks.len() {
            if let Some(look) = self.looks.get(at).copied()
                && look.found() & !poll::NVAL != 0
                && let Some(entry) = self.entry(look.fd())
            {
                entry.rearm(sched, look.fd(), entry.asked);
            }
        }
        self.pace.looked(found, asked);
        found
    }

    fn found(&self) -> impl Iterator<Item = &Look> {
        self.looks.iter().filter(|look| look.found() & !poll::NVAL != 0)
    }

    fn gather(&mut self) {
        let Book { entries, list, looks, .. } = self;
        looks.clear();
        for fd in list.iter() {
            let entry = usize::try_from(*fd).ok().and_then(|at| entries.get(at));
            let Some(entry) = entry.filter(|entry| entry.registered.is_some()) else { continue };
            let mut relevant = entry.watches().filter(|w| entry.whole || w.is_level()).peekable();
            if relevant.peek().is_some() {
                let events = relevant.fold(0, |events, watch| events | watch.interest());
                looks.push(Look::new(*fd, to_kernel(events)));
            }
        }
        if poll::look(looks).is_err() {
            // No memory in the kernel: as if each were ready.
            for look in looks {
                *look = Look::new_found(look.fd());
            }
        }
    }

    fn clear(&mut self) {
        while let Some(fd) = self.list.pop() {
            if let Some(entry) = self.entry(fd) {
                entry.listed = false;
                entry.whole = false;
            }
        }
    }
}

/// The same question for one fd, now.
pub fn ready_now(fd: RawFd, wanted: u32) -> u32 {
    let mut at = [Look::new(fd, to_kernel(wanted))];
    match poll::look(&mut at) {
        Ok(()) => from_kernel(at[0].found() & !poll::NVAL),
        Err(_) => wanted,
    }
}

/// An event of a registration, in the reactor's turn.
fn on_event(sched: &'static Scheduler, user: u64, mask: u32, ready: &OpQueue) {
    let (fd, epoch) = ((user as u32).cast_signed(), (user >> 32) as u32);
    let mut book = sched.watches.lock();
    let Some(entry) = book.entry(fd).filter(|entry| entry.epoch == epoch) else { return };
    let events = from_kernel(mask);
    let mut wanted = false;
    for watch in entry.watches() {
        wanted |= watch.offer(events, ready);
    }
    if !wanted {
        entry.shrink(sched, fd);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn events_go_both_ways() {
        for events in 0..64 {
            assert_eq!(from_kernel(to_kernel(events)), events);
        }
    }
}
