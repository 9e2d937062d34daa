//! Descriptors that travel with a message of AF_UNIX, and the control data around them.
//!
//! Whatever arrives is taken into account: what the caller has no room for is closed at once, and so are
//! descriptors that a socket option of the user's brings along (SO_PASSPIDFD).
#![allow(unsafe_code, reason = "calls libc; walks control messages")]

use super::errno::{Errno, retry_bytes};
use super::fd;
use libc::{c_int, c_void, cmsghdr, iovec, msghdr};
use std::mem;
use std::os::fd::RawFd;
use std::ptr;

/// The most that the kernel takes with one message.
pub const FDS_MAX: usize = 253;

/// The kernel's SCM_PIDFD.
const SCM_PIDFD: c_int = 4;
const FD: usize = size_of::<RawFd>();

/// Room for the most descriptors and some control messages of other kinds.
#[repr(C, align(8))]
struct Control([u8; 1280]);

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes stored.
    pub bytes: usize,
    /// Descriptors stored.
    pub fds: usize,
    /// The datagram was longer than its buffer.
    pub cut: bool,
    /// Descriptors were lost: EMSGSIZE for want of room in the array, EMFILE for want of room in the process.
    pub lost: Option<Errno>,
}

/// Receives bytes and up to `capacity` descriptors, close-on-exec. The rest of the descriptors is closed.
///
/// # Safety
/// `length` bytes at `data` and `capacity` ints at `fds` may be written.
pub unsafe fn recv(
    fd: RawFd,
    data: *mut c_void,
    length: usize,
    fds: *mut RawFd,
    capacity: usize,
) -> Result<Received, Errno> {
    let mut control = Control([0; size_of::<Control>()]);
    let mut part = iovec { iov_base: data, iov_len: length };
    let mut message = header(&mut part, &mut control, size_of::<Control>());
    // SAFETY: the header and what it names live through the call; the rest is promised by the caller.
    let bytes =
        retry_bytes(|| unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    let (mut stored, mut surplus) = (0, false);
    // SAFETY: filled by the kernel.
    unsafe {
        each_fd(&message, |received, passed| {
            if passed && stored < capacity {
                fds.add(stored).write(received);
                stored += 1;
            } else {
                surplus |= passed;
                fd::close(received);
            }
        });
    }
    let lost = if surplus {
        Some(Errno::MSGSIZE)
    } else if message.msg_flags & libc::MSG_CTRUNC != 0 {
        // The room was enough for all that can come.
        Some(Errno::MFILE)
    } else {
        None
    };
    Ok(Received { bytes, fds: stored, cut: message.msg_flags & libc::MSG_TRUNC != 0, lost })
}

/// Sends bytes, and copies of up to `FDS_MAX` descriptors with the first of them.
///
/// # Safety
/// `length` bytes at `data` and `count` ints at `fds` may be read.
pub unsafe fn send(
    fd: RawFd,
    data: *const c_void,
    length: usize,
    fds: *const RawFd,
    count: usize,
) -> Result<usize, Errno> {
    if count > FDS_MAX {
        return Err(Errno::INVAL);
    }
    let mut control = Control([0; size_of::<Control>()]);
    let mut part = iovec { iov_base: data.cast_mut(), iov_len: length };
    let bytes = (count * FD) as u32;
    // SAFETY: computes only.
    let room = if count == 0 { 0 } else { unsafe { libc::CMSG_SPACE(bytes) as usize } };
    let message = header(&mut part, &mut control, room);
    if count > 0 {
        // SAFETY: the buffer is large enough for one control message with the most descriptors.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(bytes) as _;
            fds.cast::<u8>().copy_to_nonoverlapping(libc::CMSG_DATA(first), count * FD);
        }
    }
    // SAFETY: as in `recv`.
    retry_bytes(|| unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
}

fn header(part: &mut iovec, control: &mut Control, room: usize) -> msghdr {
    // SAFETY: all zero is a header without name, buffers and control data.
    let mut message: msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    if room > 0 {
        message.msg_control = (&raw mut *control).cast();
        message.msg_controllen = room as _;
    }
    message
}

/// Calls `work` with each descriptor that came with a message, and whether it was passed by the sender.
///
/// # Safety
/// The kernel has filled the message.
unsafe fn each_fd(message: &msghdr, mut work: impl FnMut(RawFd, bool)) {
    // SAFETY: promised by the caller.
    unsafe {
        each_control(message, |level, kind, data, length| {
            let passed = kind == libc::SCM_RIGHTS;
            if level != libc::SOL_SOCKET || !passed && kind != SCM_PIDFD {
                return;
            }
            for at in 0..length / FD {
                // Control data has no alignment to rely on. A pidfd may be an error instead, which is negative.
                let received = data.cast::<RawFd>().add(at).read_unaligned();
                if received >= 0 {
                    work(received, passed);
                }
            }
        });
    }
}

/// Closes every descriptor that came with a message.
///
/// # Safety
/// The kernel has filled the message, and this is called once for it.
pub(super) unsafe fn discard(message: &msghdr) {
    // SAFETY: promised by the caller.
    unsafe { each_fd(message, |received, _| fd::close(received)) };
}

/// Calls `work` with level, type, data and length of each control message.
///
/// # Safety
/// The kernel has filled the message.
pub(super) unsafe fn each_control(
    message: &msghdr,
    mut work: impl FnMut(c_int, c_int, *const u8, usize),
) {
    // SAFETY: the macros stay within `msg_controllen`.
    unsafe {
        let mut at: *const cmsghdr = libc::CMSG_FIRSTHDR(message);
        while !at.is_null() {
            let data = libc::CMSG_DATA(at);
            let before = data.offset_from(at.cast::<u8>()).unsigned_abs();
            let length = ((*at).cmsg_len as usize).saturating_sub(before);
            work((*at).cmsg_level, (*at).cmsg_type, data, length);
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
}

/// For operations without descriptors.
pub const NO_FDS: *const RawFd = ptr::null();

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::socket::tests::pair;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn open_files() -> Vec<RawFd> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: takes numbers only.
        (0..3).map(|_| unsafe { libc::memfd_create(c"weir".as_ptr(), libc::MFD_CLOEXEC) }).collect()
    }

    fn inode(fd: RawFd) -> u64 {
        // SAFETY: a struct of numbers.
        let mut found: libc::stat = unsafe { mem::zeroed() };
        // SAFETY: room for the struct.
        assert_eq!(unsafe { libc::fstat(fd, &raw mut found) }, 0);
        found.st_ino
    }

    fn receive(fd: RawFd, capacity: usize) -> (Received, Vec<RawFd>) {
        let (mut data, mut fds) = ([0_u8; 8], vec![-1; capacity]);
        // SAFETY: buffers of those lengths.
        let got = unsafe { recv(fd, data.as_mut_ptr().cast(), 8, fds.as_mut_ptr(), capacity) };
        (got.unwrap(), fds)
    }

    #[test]
    fn h32_descriptors_arrive_close_on_exec_and_surplus_is_told() {
        let (a, b) = pair();
        let sent = open_files();
        for capacity in [3, 2, 1, 0, 5] {
            // SAFETY: buffers of those lengths.
            let bytes = unsafe { send(a, b"xy".as_ptr().cast(), 2, sent.as_ptr(), sent.len()) };
            assert_eq!(bytes, Ok(2));
            let (got, fds) = receive(b, capacity);
            let lost = (capacity < 3).then_some(Errno::MSGSIZE);
            assert_eq!(got, Received { bytes: 2, fds: capacity.min(3), cut: false, lost });
            for (mine, received) in sent.iter().zip(&fds) {
                assert_eq!(inode(*mine), inode(*received));
                // SAFETY: takes numbers only.
                assert_eq!(unsafe { libc::fcntl(*received, libc::F_GETFD) }, libc::FD_CLOEXEC);
            }
            fds.iter().take(got.fds).for_each(|fd| fd::close(*fd));
            assert!(fds.iter().skip(got.fds).all(|fd| *fd == -1));
        }
        sent.into_iter().chain([a, b]).for_each(fd::close);
    }

    #[test]
    fn the_most_descriptors_fit_and_one_more_is_refused() {
        let (a, b) = pair();
        let many = vec![a; FDS_MAX + 1];
        let data = b"x".as_ptr().cast();
        // SAFETY: buffers of those lengths.
        assert_eq!(unsafe { send(a, data, 1, many.as_ptr(), FDS_MAX + 1) }, Err(Errno::INVAL));
        // SAFETY: as above.
        assert_eq!(unsafe { send(a, data, 1, many.as_ptr(), FDS_MAX) }, Ok(1));
        let (got, fds) = receive(b, FDS_MAX);
        assert_eq!(got, Received { bytes: 1, fds: FDS_MAX, cut: false, lost: None });
        fds.into_iter().chain([a, b]).for_each(fd::close);
    }

    #[test]
    fn bytes_go_without_descriptors_too() {
        let (a, b) = pair();
        // SAFETY: a buffer of that length.
        assert_eq!(unsafe { send(a, b"x".as_ptr().cast(), 1, NO_FDS, 0) }, Ok(1));
        let (got, _) = receive(b, 3);
        assert_eq!(got, Received { bytes: 1, fds: 0, cut: false, lost: None });
        // SAFETY: as above.
        let bad = unsafe { send(a, b"x".as_ptr().cast(), 1, [-1].as_ptr(), 1) };
        assert_eq!(bad, Err(Errno::BADF));
        [a, b].into_iter().for_each(fd::close);
    }
}
