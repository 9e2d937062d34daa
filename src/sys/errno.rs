//! The kernel's error numbers.
#![allow(unsafe_code, reason = "reads errno")]

use super::thread::Uncancelled;
use libc::c_int;

/// An error number, positive as in `errno.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// Names without their E, for patterns.
#[allow(missing_docs, reason = "errno.h has their meaning")]
impl Errno {
    pub const PERM: Errno = Errno(libc::EPERM);
    pub const NOENT: Errno = Errno(libc::ENOENT);
    pub const INTR: Errno = Errno(libc::EINTR);
    pub const BADF: Errno = Errno(libc::EBADF);
    pub const AGAIN: Errno = Errno(libc::EAGAIN);
    pub const NOMEM: Errno = Errno(libc::ENOMEM);
    pub const ACCES: Errno = Errno(libc::EACCES);
    pub const FAULT: Errno = Errno(libc::EFAULT);
    pub const BUSY: Errno = Errno(libc::EBUSY);
    pub const EXIST: Errno = Errno(libc::EEXIST);
    pub const NODEV: Errno = Errno(libc::ENODEV);
    pub const INVAL: Errno = Errno(libc::EINVAL);
    pub const NFILE: Errno = Errno(libc::ENFILE);
    pub const MFILE: Errno = Errno(libc::EMFILE);
    pub const NOSPC: Errno = Errno(libc::ENOSPC);
    pub const PIPE: Errno = Errno(libc::EPIPE);
    pub const NAMETOOLONG: Errno = Errno(libc::ENAMETOOLONG);
    pub const NOSYS: Errno = Errno(libc::ENOSYS);
    pub const PROTO: Errno = Errno(libc::EPROTO);
    pub const NOTSOCK: Errno = Errno(libc::ENOTSOCK);
    pub const MSGSIZE: Errno = Errno(libc::EMSGSIZE);
    pub const PROTOTYPE: Errno = Errno(libc::EPROTOTYPE);
    pub const NOPROTOOPT: Errno = Errno(libc::ENOPROTOOPT);
    pub const OPNOTSUPP: Errno = Errno(libc::EOPNOTSUPP);
    pub const AFNOSUPPORT: Errno = Errno(libc::EAFNOSUPPORT);
    pub const ADDRINUSE: Errno = Errno(libc::EADDRINUSE);
    pub const ADDRNOTAVAIL: Errno = Errno(libc::EADDRNOTAVAIL);
    pub const CONNABORTED: Errno = Errno(libc::ECONNABORTED);
    pub const CONNRESET: Errno = Errno(libc::ECONNRESET);
    pub const NOBUFS: Errno = Errno(libc::ENOBUFS);
    pub const ISCONN: Errno = Errno(libc::EISCONN);
    pub const NOTCONN: Errno = Errno(libc::ENOTCONN);
    pub const SHUTDOWN: Errno = Errno(libc::ESHUTDOWN);
    pub const TIMEDOUT: Errno = Errno(libc::ETIMEDOUT);
    pub const CONNREFUSED: Errno = Errno(libc::ECONNREFUSED);
    pub const ALREADY: Errno = Errno(libc::EALREADY);
    pub const INPROGRESS: Errno = Errno(libc::EINPROGRESS);
    pub const CANCELED: Errno = Errno(libc::ECANCELED);
}

impl Errno {
    /// What the last failed call of this thread left in `errno`.
    #[inline]
    pub fn last() -> Errno {
        // SAFETY: the calling thread's own word.
        Errno(unsafe { *libc::__errno_location() })
    }

    /// The number as the C API gives it: negative.
    #[inline]
    pub const fn code(self) -> i32 {
        -self.0
    }
}

/// The result of a call that answers -1 in case of an error.
#[inline]
pub(super) fn check(answer: c_int) -> Result<c_int, Errno> {
    if answer < 0 { Err(Errno::last()) } else { Ok(answer) }
}

/// Makes a call until no signal interrupts it. The thread is not cancelled in it.
#[inline]
pub(super) fn retry(mut call: impl FnMut() -> c_int) -> Result<c_int, Errno> {
    let _kept = Uncancelled::begin();
    loop {
        match check(call()) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// As `retry`, for calls that answer with a number of bytes.
#[inline]
pub(super) fn retry_bytes(mut call: impl FnMut() -> isize) -> Result<usize, Errno> {
    let _kept = Uncancelled::begin();
    match usize::try_from(call()) {
        Ok(bytes) => Ok(bytes),
        Err(_) => retry_failed(call),
    }
}

/// The call has failed once.
#[inline]
fn retry_failed(mut call: impl FnMut() -> isize) -> Result<usize, Errno> {
    loop {
        match Errno::last() {
            Errno::INTR => {}
            error => return Err(error),
        }
        if let Ok(bytes) = usize::try_from(call()) {
            return Ok(bytes);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(unsafe_code, reason = "sets errno by hand")]
mod tests {
    use super::*;

    fn fail(number: c_int) {
        // SAFETY: errno is this thread's own.
        unsafe { *libc::__errno_location() = number };
    }

    #[test]
    fn codes_are_negative() {
        assert_eq!(Errno::AGAIN.code(), -11);
        assert_eq!(Errno::CANCELED.code(), -125);
        assert_eq!(Errno::CONNREFUSED, Errno(111));
    }

    #[test]
    fn last_is_errno() {
        fail(libc::EXDEV);
        assert_eq!(Errno::last(), Errno(libc::EXDEV));
    }

    #[test]
    fn an_interrupted_call_is_repeated_and_others_are_not() {
        let mut calls = 0;
        let answer = retry(|| {
            calls += 1;
            fail(if calls < 3 { libc::EINTR } else { libc::EIO });
            -1
        });
        assert_eq!((answer, calls), (Err(Errno(libc::EIO)), 3));

        let mut calls = 0;
        let answer = retry_bytes(|| {
            calls += 1;
            fail(libc::EINTR);
            if calls < 4 { -1 } else { 7 }
        });
        assert_eq!((answer, calls), (Ok(7), 4));
        fail(libc::EAGAIN);
        assert_eq!(retry_bytes(|| -1), Err(Errno::AGAIN));
    }
}
