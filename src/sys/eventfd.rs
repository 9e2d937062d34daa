//! A wake-up that an epoll set can wait for: eventfd(2).
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, check, retry, retry_bytes};
#[cfg(all(test, not(loom)))]
use super::fault;
use super::fd;
use std::os::fd::RawFd;

/// A counter that is readable while it is not 0. Closed when dropped.
pub struct EventFd {
    fd: RawFd,
}

impl EventFd {
    /// Makes one at 0.
    pub fn new() -> Result<EventFd, Errno> {
        #[cfg(all(test, not(loom)))]
        fault::check(fault::Call::EventFd)?;
        // SAFETY: takes numbers only.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(EventFd { fd })
    }

    /// The fd, which stays this one's own.
    #[inline]
    pub fn raw(&self) -> RawFd {
        self.fd
    }

    /// Adds 1. Each write is an edge, whether or not the earlier ones were drained. It fails only at the
    /// counter's end, EAGAIN, and then the fd is readable already.
    #[inline]
    pub fn write(&self) {
        write(self.fd);
    }

    /// Puts a fresh one, at 0, in place of this one under the same number; for the child of a fork, which
    /// shares the old one with its parent.
    pub fn renew(&self) -> Result<(), Errno> {
        let fresh = EventFd::new()?;
        // SAFETY: takes numbers only; both are ours.
        retry(|| unsafe { libc::dup3(fresh.fd, self.fd, libc::O_CLOEXEC) }).map(drop)
    }

    /// Sets the counter to 0.
    pub fn drain(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes of `count`, which lives through the call.
        let _ = retry_bytes(|| unsafe {
            libc::read(self.fd, (&raw mut count).cast(), size_of::<u64>())
        });
    }
}

/// [`EventFd::write`] by number, for a signal handler.
#[inline]
pub(super) fn write(fd: RawFd) {
    let one = 1_u64;
    // SAFETY: eight bytes of `one`, which lives through the call.
    let _ = retry_bytes(|| unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) });
}

impl Drop for EventFd {
    fn drop(&mut self) {
        fd::close(self.fd);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fd::tests::is_nonblocking_cloexec;
    use crate::sys::socket;

    fn is_readable(event: &EventFd) -> bool {
        socket::poll(event.raw(), libc::POLLIN) == Ok(libc::POLLIN)
    }

    #[test]
    fn readable_from_write_to_drain() {
        let event = EventFd::new().unwrap();
        assert!(is_nonblocking_cloexec(event.raw()));
        assert!(!is_readable(&event));
        event.drain();
        event.write();
        event.write();
        assert!(is_readable(&event));
        event.drain();
        assert!(!is_readable(&event));
    }

    #[test]
    fn a_full_counter_does_not_block_and_stays_readable() {
        let event = EventFd::new().unwrap();
        let most = u64::MAX - 1;
        // SAFETY: eight bytes of `most`.
        let wrote = unsafe { libc::write(event.raw(), (&raw const most).cast(), 8) };
        assert_eq!(wrote, 8);
        event.write();
        assert!(is_readable(&event));
    }

    #[test]
    fn h70_a_renewed_one_has_its_number_and_nothing_of_the_old() {
        let event = EventFd::new().unwrap();
        // SAFETY: takes a number only.
        let old = unsafe { libc::dup(event.raw()) };
        let number = event.raw();
        event.renew().unwrap();
        event.write();
        assert_eq!(event.raw(), number);
        assert!(is_nonblocking_cloexec(number) && is_readable(&event));
        assert_eq!(socket::poll(old, libc::POLLIN), Ok(0));
        fd::close(old);
    }
}
