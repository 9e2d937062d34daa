//! File descriptors in general.
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, retry};
use super::thread::Uncancelled;
use libc::c_int;
use std::os::fd::RawFd;

/// Closes an fd. Errors are of no use: Linux has freed the number whatever it answers, so that a second
/// try would close what another thread has just opened.
pub fn close(fd: RawFd) {
    let _kept = Uncancelled::begin();
    // SAFETY: takes a number only; the caller owns the fd.
    unsafe { libc::close(fd) };
}

/// Makes an fd that came from elsewhere non-blocking and close-on-exec.
pub fn set_nonblocking_cloexec(fd: RawFd) -> Result<(), Errno> {
    let status = flags(fd, libc::F_GETFL)?;
    if status & libc::O_NONBLOCK == 0 {
        set_flags(fd, libc::F_SETFL, status | libc::O_NONBLOCK)?;
    }
    let own = flags(fd, libc::F_GETFD)?;
    if own & libc::FD_CLOEXEC == 0 {
        set_flags(fd, libc::F_SETFD, own | libc::FD_CLOEXEC)?;
    }
    Ok(())
}

/// Whether the number is an open fd.
pub fn is_valid(fd: RawFd) -> bool {
    flags(fd, libc::F_GETFD).is_ok()
}

fn flags(fd: RawFd, command: c_int) -> Result<c_int, Errno> {
    // SAFETY: F_GETFL and F_GETFD take numbers only.
    retry(|| unsafe { libc::fcntl(fd, command) })
}

fn set_flags(fd: RawFd, command: c_int, value: c_int) -> Result<(), Errno> {
    // SAFETY: F_SETFL and F_SETFD take numbers only.
    retry(|| unsafe { libc::fcntl(fd, command, value) }).map(drop)
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;

    /// Whether the fd has both flags that the library promises.
    pub fn is_nonblocking_cloexec(fd: RawFd) -> bool {
        flags(fd, libc::F_GETFL).unwrap() & libc::O_NONBLOCK != 0
            && flags(fd, libc::F_GETFD).unwrap() & libc::FD_CLOEXEC != 0
    }

    #[test]
    fn h32_a_foreign_fd_gets_both_flags_and_keeps_its_others() {
        let mut ends = [-1; 2];
        // SAFETY: an array of two.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), 0) }, 0);
        for fd in ends {
            assert!(!is_nonblocking_cloexec(fd));
            let before = flags(fd, libc::F_GETFL).unwrap();
            set_nonblocking_cloexec(fd).unwrap();
            assert!(is_nonblocking_cloexec(fd));
            assert_eq!(flags(fd, libc::F_GETFL).unwrap(), before | libc::O_NONBLOCK);
            set_nonblocking_cloexec(fd).unwrap();
            assert!(is_nonblocking_cloexec(fd));
            close(fd);
        }
    }

    #[test]
    fn what_is_no_fd_is_reported() {
        assert_eq!(set_nonblocking_cloexec(-1), Err(Errno::BADF));
        assert!(!is_valid(-1));
        assert!(!is_valid(c_int::MAX));
        assert!(is_valid(0) || is_valid(1) || is_valid(2));
        close(-1);
    }
}
