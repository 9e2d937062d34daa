//! A pipe of the library's own: pipe(2).
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, check, retry, retry_bytes};
use super::fd;
use std::os::fd::RawFd;

/// Both ends, non-blocking and close-on-exec. Closed when dropped.
pub struct Pipe {
    /// The end that is read.
    pub reader: RawFd,
    /// The end that is written to.
    pub writer: RawFd,
}

impl Pipe {
    /// Makes one.
    pub fn new() -> Result<Pipe, Errno> {
        let mut ends = [-1; 2];
        // SAFETY: room for two.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
        let [reader, writer] = ends;
        Ok(Pipe { reader, writer })
    }

    /// Reads what there is, up to the room; 0 where nothing is.
    pub fn read(&self, room: &mut [u8]) -> usize {
        // SAFETY: the room lives through the call.
        retry_bytes(|| unsafe { libc::read(self.reader, room.as_mut_ptr().cast(), room.len()) })
            .unwrap_or(0)
    }

    /// Puts a fresh one in place of this one under the same numbers; for the child of a fork, which shares the old
    /// one with its parent.
    pub fn renew(&self) -> Result<(), Errno> {
        let fresh = Pipe::new()?;
        for (from, to) in [(fresh.reader, self.reader), (fresh.writer, self.writer)] {
            // SAFETY: takes numbers only; all are ours.
            retry(|| unsafe { libc::dup3(from, to, libc::O_CLOEXEC) })?;
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        fd::close(self.writer);
        fd::close(self.reader);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fd::tests::is_nonblocking_cloexec;

    fn write(fd: RawFd, bytes: &[u8]) -> isize {
        // SAFETY: the bytes live through the call.
        unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }
    }

    #[test]
    fn h70_a_renewed_one_has_its_numbers_and_nothing_of_the_old() {
        let pipe = Pipe::new().unwrap();
        let mut room = [0; 4];
        assert_eq!(pipe.read(&mut room), 0);
        // SAFETY: takes a number only.
        let old = unsafe { libc::dup(pipe.writer) };
        pipe.renew().unwrap();
        assert!(is_nonblocking_cloexec(pipe.reader) && is_nonblocking_cloexec(pipe.writer));
        write(old, b"old");
        assert_eq!(pipe.read(&mut room), 0);
        assert_eq!(write(pipe.writer, b"new"), 3);
        assert_eq!(pipe.read(&mut room), 3);
        fd::close(old);
    }
}
