//! The bytes: recv and send in their forms. Thin, because they are the hot path.
#![allow(unsafe_code, reason = "calls libc on the caller's buffers")]

use super::errno::{Errno, retry_bytes};
use libc::{c_int, c_void, iovec, msghdr};
use std::mem;
use std::os::fd::RawFd;

/// A peer that has gone is EPIPE, and never a signal (H31).
const SEND_FLAGS: c_int = libc::MSG_NOSIGNAL;

/// The most buffers that the kernel takes in one call.
const MAX_VECTORS: usize = libc::UIO_MAXIOV as usize;

/// Receives some bytes; 0 is the end of a stream.
///
/// # Safety
/// `length` bytes at `data` may be written.
#[inline]
pub unsafe fn recv(fd: RawFd, data: *mut u8, length: usize) -> Result<usize, Errno> {
    // SAFETY: promised by the caller.
    retry_bytes(|| unsafe { libc::recv(fd, data.cast::<c_void>(), length, 0) })
}

/// Sends some bytes.
///
/// # Safety
/// `length` bytes at `data` may be read.
#[inline]
pub unsafe fn send(fd: RawFd, data: *const u8, length: usize) -> Result<usize, Errno> {
    // SAFETY: promised by the caller.
    retry_bytes(|| unsafe { libc::send(fd, data.cast::<c_void>(), length, SEND_FLAGS) })
}

/// Receives some bytes into several buffers, one after the other; 0 is the end of a stream. Buffers past
/// the kernel's limit are left alone.
///
/// # Safety
/// Each element describes memory that may be written.
#[inline]
pub unsafe fn recv_vectored(fd: RawFd, buffers: &[iovec]) -> Result<usize, Errno> {
    let mut message = message(buffers);
    // SAFETY: the header and its array live through the call; the rest is promised by the caller.
    retry_bytes(|| unsafe { libc::recvmsg(fd, &raw mut message, 0) })
}

/// Sends some bytes from several buffers, one after the other. Buffers past the kernel's limit are left
/// alone.
///
/// # Safety
/// Each element describes memory that may be read.
#[inline]
pub unsafe fn send_vectored(fd: RawFd, buffers: &[iovec]) -> Result<usize, Errno> {
    let message = message(buffers);
    // SAFETY: as in `recv_vectored`.
    retry_bytes(|| unsafe { libc::sendmsg(fd, &raw const message, SEND_FLAGS) })
}

#[inline]
fn message(buffers: &[iovec]) -> msghdr {
    // SAFETY: all zero is a header without name, buffers and control data.
    let mut message: msghdr = unsafe { mem::zeroed() };
    message.msg_iov = buffers.as_ptr().cast_mut();
    // The field is an int in some C libraries.
    message.msg_iovlen = buffers.len().min(MAX_VECTORS) as _;
    message
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fd;
    use crate::sys::socket::tests::pair;

    fn read(fd: RawFd, room: usize) -> Result<Vec<u8>, Errno> {
        let mut data = vec![0; room];
        // SAFETY: a buffer of that length.
        let count = unsafe { recv(fd, data.as_mut_ptr(), room) }?;
        data.truncate(count);
        Ok(data)
    }

    fn write(fd: RawFd, data: &[u8]) -> Result<usize, Errno> {
        // SAFETY: a buffer of that length.
        unsafe { send(fd, data.as_ptr(), data.len()) }
    }

    fn vector(data: &mut [u8]) -> iovec {
        iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() }
    }

    #[test]
    fn bytes_go_across() {
        let (a, b) = pair();
        assert_eq!(read(b, 8), Err(Errno::AGAIN));
        assert_eq!(write(a, b"hello"), Ok(5));
        assert_eq!(read(b, 2), Ok(b"he".to_vec()));
        assert_eq!(read(b, 8), Ok(b"llo".to_vec()));
        fd::close(a);
        assert_eq!(read(b, 8), Ok(Vec::new()));
        fd::close(b);
    }

    #[test]
    fn h31_a_lost_peer_is_an_error_and_no_signal() {
        // The test harness ignores SIGPIPE; with the default action a signal would end the process.
        // SAFETY: sets no handler; every path under test keeps the signal away.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (a, b) = pair();
        fd::close(b);
        assert_eq!(write(a, b"x"), Err(Errno::PIPE));
        let mut data = *b"x";
        // SAFETY: one buffer.
        assert_eq!(unsafe { send_vectored(a, &[vector(&mut data)]) }, Err(Errno::PIPE));
        fd::close(a);
        // SAFETY: as found.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }

    #[test]
    fn buffers_are_used_in_order() {
        let (a, b) = pair();
        let (mut one, mut two) = (*b"abc", *b"defg");
        // SAFETY: two buffers.
        let sent = unsafe { send_vectored(a, &[vector(&mut one), vector(&mut two)]) };
        assert_eq!(sent, Ok(7));
        let (mut one, mut two) = ([0; 5], [0; 5]);
        // SAFETY: two buffers.
        let got = unsafe { recv_vectored(b, &[vector(&mut one), vector(&mut two)]) };
        assert_eq!(got, Ok(7));
        assert_eq!((&one, &two), (b"abcde", b"fg\0\0\0"));
        // SAFETY: two buffers.
        let got = unsafe { recv_vectored(b, &[vector(&mut one)]) };
        assert_eq!(got, Err(Errno::AGAIN));
        fd::close(a);
        fd::close(b);
    }

    #[test]
    fn buffers_past_the_kernels_limit_are_left_for_later() {
        let (a, b) = pair();
        let mut byte = [b'x'];
        let many = vec![vector(&mut byte); MAX_VECTORS + 1];
        // SAFETY: each names the same byte, which is only read.
        assert_eq!(unsafe { send_vectored(a, &many) }, Ok(MAX_VECTORS));
        // SAFETY: each names the same byte, which the kernel writes in turn.
        assert_eq!(unsafe { recv_vectored(b, &many) }, Ok(MAX_VECTORS));
        fd::close(a);
        fd::close(b);
    }
}
