//! From a file to a socket within the kernel.
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, retry, retry_bytes};
use libc::{c_int, off64_t, sigset_t, timespec};
use std::mem;
use std::os::fd::RawFd;
use std::ptr;

/// Sends up to `length` bytes of `file` from `offset` on; 0 is the end of the file. The file's own position
/// stays where it is.
pub fn send_file(socket: RawFd, file: RawFd, offset: i64, length: usize) -> Result<usize, Errno> {
    let mut at: off64_t = offset;
    // SAFETY: the offset is a local variable.
    let send = || retry_bytes(|| unsafe { libc::sendfile64(socket, file, &raw mut at, length) });
    without_sigpipe(length, send)
}

/// Calls `send`, of which EPIPE does not come with a signal (H31): sendfile(2) has no flag for that. It sends piece by
/// piece: where one has gone and the next met EPIPE, there is a count, and the signal all the same.
///
/// That signal is one to the thread, so it can be kept back from it and taken out before it is let through.
fn without_sigpipe(
    length: usize,
    send: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    // SAFETY: the sets are plain memory, which the calls fill in.
    let (pipe, before) = unsafe {
        let (mut pipe, mut before): (sigset_t, sigset_t) = mem::zeroed();
        libc::sigemptyset(&raw mut pipe);
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        (pipe, before)
    };
    // SAFETY: as above.
    let was_blocked: c_int = unsafe { libc::sigismember(&raw const before, libc::SIGPIPE) };
    // Only where the thread blocks it anyway can one wait for it from before: that stays the program's.
    let foreign = was_blocked == 1 && is_pending();
    let sent = send();
    let raised = match sent {
        Ok(count) => count > 0 && count < length,
        Err(error) => error == Errno::PIPE,
    };
    if raised && !foreign {
        let at_once = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: as above. The thread's own signals are taken before those of the process.
        let _ = retry(|| unsafe {
            libc::sigtimedwait(&raw const pipe, ptr::null_mut(), &raw const at_once)
        });
    }
    if was_blocked != 1 {
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    }
    sent
}

fn is_pending() -> bool {
    // SAFETY: as in `without_sigpipe`.
    unsafe {
        let mut pending: sigset_t = mem::zeroed();
        libc::sigpending(&raw mut pending) == 0
            && libc::sigismember(&raw const pending, libc::SIGPIPE) == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fd;
    use crate::sys::socket::tests::pair;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    fn file(content: &[u8]) -> File {
        // SAFETY: a name that ends, and a new fd, whose owner the file becomes.
        let mut file: File = unsafe {
            let fd = libc::memfd_create(c"weir".as_ptr(), libc::MFD_CLOEXEC);
            std::os::fd::FromRawFd::from_raw_fd(fd)
        };
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn bytes_of_a_file_from_an_offset() {
        let (a, b) = pair();
        let file = file(b"0123456789");
        assert_eq!(send_file(a, file.as_raw_fd(), 4, 3), Ok(3));
        assert_eq!(send_file(a, file.as_raw_fd(), 8, 100), Ok(2));
        assert_eq!(send_file(a, file.as_raw_fd(), 10, 100), Ok(0));
        let mut got = [0; 16];
        // SAFETY: a buffer of that length.
        assert_eq!(unsafe { crate::sys::transfer::recv(b, got.as_mut_ptr(), 16) }, Ok(5));
        assert_eq!(&got[..5], b"45689");
        fd::close(a);
        fd::close(b);
    }

    #[test]
    fn h31_a_lost_peer_leaves_no_signal_behind() {
        // SAFETY: as in the tests of `transfer`.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (a, b) = pair();
        fd::close(b);
        let file = file(b"x");
        assert_eq!(send_file(a, file.as_raw_fd(), 0, 1), Err(Errno::PIPE));
        assert!(!is_pending());
        fd::close(a);
        // SAFETY: as found.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }
}
