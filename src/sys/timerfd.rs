//! A timer that an epoll set can wait for: timerfd_create(2).
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, check};
#[cfg(all(test, not(loom)))]
use super::fault;
use super::fd;
use libc::{itimerspec, timespec};
use std::os::fd::RawFd;
use std::ptr;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A one-shot timer on the monotonic clock, readable from its expiry on. Closed when dropped.
pub struct TimerFd {
    fd: RawFd,
}

impl TimerFd {
    /// Makes one that is disarmed.
    pub fn new() -> Result<TimerFd, Errno> {
        #[cfg(all(test, not(loom)))]
        fault::check(fault::Call::TimerFd)?;
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: takes numbers only.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        Ok(TimerFd { fd })
    }

    /// The fd, which stays this one's own.
    #[inline]
    pub fn raw(&self) -> RawFd {
        self.fd
    }

    /// Makes it expire at a moment of `clock::monotonic`, instead of any earlier setting; at once where
    /// the moment has passed. An expiry that nobody has read is forgotten.
    pub fn arm(&self, at_ns: i64) {
        // All zero would disarm it.
        self.set(at_ns.max(1));
    }

    /// Makes it expire never. An expiry that nobody has read is forgotten.
    pub fn disarm(&self) {
        self.set(0);
    }

    fn set(&self, at_ns: i64) {
        let value = itimerspec {
            it_interval: timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: timespec {
                tv_sec: at_ns / NANOS_PER_SECOND,
                tv_nsec: at_ns % NANOS_PER_SECOND,
            },
        };
        // Nothing can fail: the fd is a timer, and the time is in range.
        // SAFETY: `value` lives through the call.
        let answer = unsafe {
            libc::timerfd_settime(
                self.fd,
                libc::TFD_TIMER_ABSTIME,
                &raw const value,
                ptr::null_mut(),
            )
        };
        debug_assert_eq!(answer, 0);
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        fd::close(self.fd);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::clock;
    use crate::sys::epoll::{ET, Epoll, EventBuffer, IN, Timeout};
    use crate::sys::fd::tests::is_nonblocking_cloexec;

    /// Against a hang only.
    const LIMIT: Timeout = Timeout::Nanos(60 * NANOS_PER_SECOND);

    /// A timer in a set of its own. The long times below stand for "never in this test".
    fn watched() -> (TimerFd, Epoll, EventBuffer) {
        let (timer, epoll) = (TimerFd::new().unwrap(), Epoll::new().unwrap());
        epoll.add(timer.raw(), IN | ET, 0).unwrap();
        (timer, epoll, EventBuffer::new(1).unwrap())
    }

    #[test]
    fn it_expires_once_and_not_early() {
        let (timer, epoll, mut buffer) = watched();
        assert!(is_nonblocking_cloexec(timer.raw()));
        for after in [1, 200_000, 2_000_000] {
            let at = clock::monotonic() + after;
            timer.arm(at);
            assert_eq!(epoll.wait(&mut buffer, LIMIT), Ok(1));
            assert!(clock::monotonic() >= at);
            assert_eq!(epoll.wait(&mut buffer, Timeout::Now), Ok(0));
        }
    }

    #[test]
    fn what_has_passed_expires_at_once() {
        let (timer, epoll, mut buffer) = watched();
        for at in [i64::MIN, -1, 0, 1, clock::monotonic()] {
            timer.arm(at);
            assert_eq!(epoll.wait(&mut buffer, LIMIT), Ok(1), "{at}");
        }
    }

    #[test]
    fn a_new_setting_replaces_the_old() {
        let (timer, epoll, mut buffer) = watched();
        timer.arm(i64::MAX);
        assert_eq!(epoll.wait(&mut buffer, Timeout::Now), Ok(0));
        timer.arm(clock::monotonic());
        assert_eq!(epoll.wait(&mut buffer, LIMIT), Ok(1));
        timer.arm(1);
        timer.disarm();
        assert_eq!(epoll.wait(&mut buffer, Timeout::Now), Ok(0));
        timer.arm(1);
        timer.arm(i64::MAX);
        assert_eq!(epoll.wait(&mut buffer, Timeout::Now), Ok(0));
    }
}
