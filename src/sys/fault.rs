//! Faults for the unit tests: the next call of a kind fails instead of being made. It exists in test builds only, and
//! is this thread's own, so that tests which run beside it notice nothing. (The library as it ships is made to fail
//! from outside: c-tests/fault.)

use super::errno::Errno;
use std::cell::Cell;

/// A call that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// epoll_create1.
    EpollCreate,
    /// epoll_ctl with EPOLL_CTL_ADD.
    EpollAdd,
    /// epoll_ctl with EPOLL_CTL_MOD.
    EpollModify,
    /// eventfd.
    EventFd,
    /// timerfd_create.
    TimerFd,
}

thread_local! {
    static NEXT: Cell<Option<(Call, u32, Errno)>> = const { Cell::new(None) };
}

/// After `passed` more of its kind that are made, one fails.
pub fn plan(call: Call, passed: u32, error: Errno) {
    NEXT.set(Some((call, passed, error)));
}

/// True when the one that was planned has failed.
pub fn is_over() -> bool {
    NEXT.get().is_none()
}

/// Whether this call is the one.
pub fn check(call: Call) -> Result<(), Errno> {
    match NEXT.get() {
        Some((planned, 0, error)) if planned == call => {
            NEXT.set(None);
            Err(error)
        }
        Some((planned, passed, error)) if planned == call => {
            NEXT.set(Some((planned, passed - 1, error)));
            Ok(())
        }
        _ => Ok(()),
    }
}
