//! Signals: sigaction(2), and the handler that counts.
//!
//! The handler may run on any thread at any moment, also between two instructions of a thread that holds a
//! lock of the library. So it does what is async-signal-safe and nothing else: it adds to an atomic, writes to
//! an eventfd, and calls the handler that was there before where that was asked for; errno stays (H50).
//! Its atomics are the only state of this floor that outlives a call.
#![allow(unsafe_code, reason = "calls libc, and the handler that was there before")]

use super::errno::{Errno, check};
use super::eventfd;
use libc::{c_int, c_void, siginfo_t};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The largest signal number.
pub const MAX: c_int = 64;

/// What the handler knows of a signal.
struct Slot {
    /// Deliveries so far.
    count: AtomicU64,
    /// The handler to call as well, see [`chain_word`]; 0 for none.
    chain: AtomicU64,
}

static SLOTS: [Slot; MAX as usize + 1] =
    [const { Slot { count: AtomicU64::new(0), chain: AtomicU64::new(0) } }; MAX as usize + 1];

/// The eventfd that the handler writes to.
static WAKE: AtomicI32 = AtomicI32::new(-1);

fn slot(signo: c_int) -> Option<&'static Slot> {
    SLOTS.get(usize::try_from(signo).ok()?)
}

/// How often the handler has run for a signal.
#[inline]
pub fn count(signo: c_int) -> u64 {
    slot(signo).map_or(0, |slot| slot.count.load(Ordering::Acquire))
}

/// The eventfd that the handler writes to from now on. It must never be closed: a handler that another thread
/// is just about to leave may still write to the number.
pub fn set_wake(fd: RawFd) {
    WAKE.store(fd, Ordering::Release);
}

/// False for what a handler can't or must not take: numbers out of range, SIGKILL and SIGSTOP, and faults of
/// the program's own instructions, which would be repeated for ever when the handler returns.
pub fn is_catchable(signo: c_int) -> bool {
    let never = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    (1..=libc::SIGRTMAX().min(MAX)).contains(&signo) && !never.contains(&signo)
}

type Plain = extern "C" fn(c_int);
type WithInfo = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Set in the chain word of a handler that takes three arguments: one word, so that the handler never sees
/// the address of one action with the type of another. No address of a function has this bit.
const WITH_INFO: u64 = 1 << 63;

/// Does something after which errno is what it was, for signal handlers.
pub fn keep_errno(work: impl FnOnce()) {
    // SAFETY: errno is this thread's own.
    let errno = unsafe { *libc::__errno_location() };
    work();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// The handler.
extern "C" fn on_signal(signo: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(slot) = slot(signo) else { return };
    keep_errno(|| {
        // The next handler finds errno as it was, too.
        keep_errno(|| {
            // Counted before it wakes: who is woken looks at the counter.
            slot.count.fetch_add(1, Ordering::AcqRel);
            eventfd::write(WAKE.load(Ordering::Acquire));
        });
        chain(slot.chain.load(Ordering::Acquire), signo, info, context);
    });
}

/// Calls the handler that was there before.
fn chain(word: u64, signo: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if word == 0 {
        return;
    }
    let address = ptr::with_exposed_provenance::<c_void>((word & !WITH_INFO) as usize);
    // SAFETY: the address is of a handler of this type, as its owner told the kernel. That it is still
    // there is the owner's promise: the kernel would call it as well.
    unsafe {
        if word & WITH_INFO == 0 {
            std::mem::transmute::<*const c_void, Plain>(address)(signo);
        } else {
            std::mem::transmute::<*const c_void, WithInfo>(address)(signo, info, context);
        }
    }
}

/// What happens when a signal is delivered.
#[derive(Clone, Copy)]
pub struct Action(libc::sigaction);

impl Action {
    /// The action in force.
    pub fn current(signo: c_int) -> Result<Action, Errno> {
        let mut found = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: writes to `found` only.
        check(unsafe { libc::sigaction(signo, ptr::null(), found.as_mut_ptr()) })?;
        // SAFETY: all zero is a valid action, and so is what the kernel wrote.
        Ok(Action(unsafe { found.assume_init() }))
    }

    /// The handler above, with these flags (SA_...). `before` is the action that it calls as well: what that one
    /// had blocked while it ran stays blocked.
    pub fn counting(flags: c_int, before: Option<&Action>) -> Action {
        // SAFETY: all zero is a valid action.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = on_signal as *const () as usize;
        // On the alternate stack where the thread has one: language runtimes with small stacks need it.
        action.sa_flags = flags | libc::SA_SIGINFO | libc::SA_ONSTACK;
        if let Some(before) = before {
            action.sa_mask = before.0.sa_mask;
            action.sa_flags |= before.0.sa_flags & libc::SA_NODEFER;
        }
        Action(action)
    }

    /// True when it is the handler above.
    pub fn is_counting(&self) -> bool {
        self.0.sa_sigaction == on_signal as *const () as usize
    }

    /// Puts the action in force; the one that was.
    pub fn install(&self, signo: c_int) -> Result<Action, Errno> {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: reads an action, writes to `before` only. A handler in it is there, see `chain`.
        check(unsafe { libc::sigaction(signo, &raw const self.0, before.as_mut_ptr()) })?;
        // SAFETY: as in `current`.
        Ok(Action(unsafe { before.assume_init() }))
    }

    fn chain_word(&self) -> u64 {
        match self.0.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => 0,
            _ if self.is_counting() => 0,
            address if self.0.sa_flags & libc::SA_SIGINFO != 0 => address as u64 | WITH_INFO,
            address => address as u64,
        }
    }
}

/// What the handler calls besides from now on. The default action and "ignore" are no handlers.
pub fn set_chain(signo: c_int, before: Option<&Action>) {
    if let Some(slot) = slot(signo) {
        slot.chain.store(before.map_or(0, Action::chain_word), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    static PLAIN: AtomicU32 = AtomicU32::new(0);
    static INFO: AtomicU32 = AtomicU32::new(0);

    extern "C" fn plain(signo: c_int) {
        PLAIN.fetch_add(signo as u32, Ordering::Relaxed);
        // SAFETY: errno is this thread's own.
        unsafe { *libc::__errno_location() = libc::EXDEV };
    }

    extern "C" fn with_info(signo: c_int, info: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel's.
        assert_eq!(unsafe { (*info).si_signo }, signo);
        INFO.fetch_add(signo as u32, Ordering::Relaxed);
    }

    fn raise(signo: c_int) {
        // SAFETY: a handler is installed.
        assert_eq!(unsafe { libc::raise(signo) }, 0);
    }

    fn action(address: usize, flags: c_int) -> Action {
        // SAFETY: all zero is a valid action.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = address;
        action.sa_flags = flags;
        Action(action)
    }

    /// One test for all: actions are the process's. Where there is no eventfd yet the write of the handler fails,
    /// and sets errno.
    #[test]
    fn h50_h51_the_handler_counts_and_chains_and_keeps_errno() {
        let signo = libc::SIGURG;
        let first = Action::current(signo).unwrap();
        assert!(!first.is_counting());
        for (before, added) in [
            (first, (0, 0)),
            (action(plain as *const () as usize, 0), (signo as u32, 0)),
            (action(with_info as *const () as usize, libc::SA_SIGINFO), (0, signo as u32)),
            (action(libc::SIG_IGN, 0), (0, 0)),
        ] {
            before.install(signo).unwrap();
            set_chain(signo, Some(&before));
            let ours = Action::counting(libc::SA_RESTART, Some(&before));
            assert!(ours.is_counting());
            let was = ours.install(signo).unwrap();
            assert_eq!(was.0.sa_sigaction, before.0.sa_sigaction);
            let then = (count(signo), PLAIN.load(Ordering::Relaxed), INFO.load(Ordering::Relaxed));
            // SAFETY: errno is this thread's own.
            unsafe { *libc::__errno_location() = libc::EDOM };
            raise(signo);
            assert_eq!(Errno::last(), Errno(libc::EDOM));
            assert_eq!(count(signo), then.0 + 1);
            assert_eq!(PLAIN.load(Ordering::Relaxed), then.1 + added.0);
            assert_eq!(INFO.load(Ordering::Relaxed), then.2 + added.1);
        }
        first.install(signo).unwrap();
    }

    #[test]
    fn what_can_not_be_caught() {
        for signo in [-1, 0, MAX + 1, c_int::MAX, c_int::MIN, libc::SIGKILL, libc::SIGSEGV] {
            assert!(!is_catchable(signo), "{signo}");
        }
        for signo in [libc::SIGHUP, libc::SIGCHLD, libc::SIGRTMIN(), libc::SIGRTMAX()] {
            assert!(is_catchable(signo), "{signo}");
        }
        assert_eq!(Action::current(MAX + 1).err(), Some(Errno::INVAL));
    }
}
