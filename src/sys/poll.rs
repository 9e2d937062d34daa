//! A look at the readiness of some fds: poll(2).
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, retry};
use libc::{c_short, nfds_t, pollfd};
use std::os::fd::RawFd;

/// The fd was not open.
pub const NVAL: u32 = libc::POLLNVAL as u32;

/// What to look at. The bits are epoll's.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Look(pollfd);

impl Look {
    /// Looks at `fd` for these events, and for errors.
    pub const fn new(fd: RawFd, events: u32) -> Self {
        Look(pollfd { fd, events: events as c_short, revents: 0 })
    }

    /// One that found it readable.
    pub const fn new_found(fd: RawFd) -> Self {
        Look(pollfd { fd, events: 0, revents: libc::POLLIN })
    }

    /// The fd.
    pub const fn fd(&self) -> RawFd {
        self.0.fd
    }

    /// What was found.
    pub const fn found(&self) -> u32 {
        self.0.revents as u16 as u32
    }
}

/// Looks, without waiting.
pub fn look(at: &mut [Look]) -> Result<(), Errno> {
    let count = at.len() as nfds_t;
    let at = at.as_mut_ptr().cast::<pollfd>();
    // SAFETY: `count` entries, of the same layout.
    retry(|| unsafe { libc::poll(at, count, 0) }).map(drop)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::epoll;
    use crate::sys::eventfd::EventFd;

    #[test]
    fn finds_what_is_ready_in_the_bits_of_epoll() {
        let event = EventFd::new().unwrap();
        let mut at = [Look::new(event.raw(), epoll::IN | epoll::OUT), Look::new(-1, epoll::IN)];
        look(&mut at).unwrap();
        assert_eq!((at[0].found(), at[1].found()), (epoll::OUT, 0));
        event.write();
        look(&mut at).unwrap();
        assert_eq!(at[0].found(), epoll::IN | epoll::OUT);
        assert_eq!(at[0].fd(), event.raw());
        let mut closed = [Look::new(i32::MAX, epoll::IN)];
        look(&mut closed).unwrap();
        assert_eq!(closed[0].found(), NVAL);
    }
}
