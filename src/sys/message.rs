//! Datagrams: one at a time, and in batches.
#![allow(unsafe_code, reason = "calls libc on the caller's buffers")]

use super::errno::{Errno, retry, retry_bytes};
use super::rights;
use libc::{
    c_int, c_void, iovec, mmsghdr, msghdr, sockaddr, sockaddr_storage, sockaddr_un, socklen_t,
};
use std::mem;
use std::os::fd::RawFd;
use std::ptr;

/// Messages of one system call.
pub const CHUNK: usize = 32;

const NO_VECTOR: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };
const STORAGE: socklen_t = size_of::<sockaddr_storage>() as socklen_t;

/// One datagram of a batch. `weir_datagram_message` in the header.
#[repr(C)]
pub struct Message {
    /// Its bytes, or room for them.
    pub data: *mut c_void,
    /// How many.
    pub length: usize,
    /// Receiver, or room for the sender; may be NULL.
    pub address: *mut sockaddr_storage,
    /// Moved.
    pub bytes: usize,
    /// Of `address`.
    pub address_length: socklen_t,
    /// 0 or a negative code.
    pub status: c_int,
    /// Length of the datagrams that this one is cut into, or was put together from; 0: it is one.
    pub segment_size: u32,
    /// 0.
    pub reserved: u32,
}

/// Control data of one message: a segment size, and what options of the user's bring along.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

/// What was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes stored.
    pub bytes: usize,
    /// The datagram was longer than its buffer.
    pub cut: bool,
    /// Its own length.
    pub whole: usize,
}

/// Receives one datagram. Where `address` is not NULL it and `address_length` tell the sender.
///
/// # Safety
/// `length` bytes at `data` may be written, and both address pointers if the first is not NULL.
#[inline]
pub unsafe fn recv(
    fd: RawFd,
    data: *mut c_void,
    length: usize,
    address: *mut sockaddr_storage,
    address_length: *mut socklen_t,
) -> Result<Received, Errno> {
    let mut used = STORAGE;
    let used_at = if address.is_null() { ptr::null_mut() } else { &raw mut used };
    // With MSG_TRUNC the answer is the datagram's own length.
    // SAFETY: promised by the caller.
    let whole = retry_bytes(|| unsafe {
        libc::recvfrom(fd, data, length, libc::MSG_TRUNC, address.cast(), used_at)
    })?;
    if !address.is_null() {
        // SAFETY: promised by the caller.
        unsafe { tell_sender(address, address_length, used) };
    }
    Ok(Received { bytes: whole.min(length), cut: whole > length, whole })
}

/// The length of a sender's address; one without a name, of AF_UNIX, is of no family.
///
/// # Safety
/// Both may be written.
unsafe fn tell_sender(address: *mut sockaddr_storage, length: *mut socklen_t, used: socklen_t) {
    // SAFETY: promised by the caller.
    unsafe {
        length.write(used.min(STORAGE));
        if used == 0 {
            (&raw mut (*address).ss_family).write(libc::AF_UNSPEC as _);
        }
    }
}

/// Sends one datagram, to the peer of the socket where `address` is NULL.
///
/// # Safety
/// `length` bytes at `data` may be read, and `address_length` bytes at `address`.
#[inline]
pub unsafe fn send(
    fd: RawFd,
    data: *const c_void,
    length: usize,
    address: *const sockaddr,
    address_length: socklen_t,
) -> Result<usize, Errno> {
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: promised by the caller.
    retry_bytes(|| unsafe { libc::sendto(fd, data, length, flags, address, address_length) })
}

/// The arrays of one batched call.
struct Batch {
    headers: [mmsghdr; CHUNK],
    vectors: [iovec; CHUNK],
    controls: [Control; CHUNK],
}

impl Batch {
    fn new() -> Self {
        // SAFETY: all zero are headers without name, buffers and control data.
        let headers = unsafe { mem::zeroed() };
        Batch { headers, vectors: [NO_VECTOR; CHUNK], controls: [Control([0; 64]); CHUNK] }
    }

    /// Describes up to `CHUNK` messages; their number.
    fn describe(&mut self, messages: &[Message], receive: bool) -> usize {
        let rows = self.headers.iter_mut().zip(&mut self.vectors).zip(&mut self.controls);
        let mut count = 0;
        for (((header, vector), control), message) in rows.zip(messages) {
            let header = &mut header.msg_hdr;
            *vector = iovec { iov_base: message.data, iov_len: message.length };
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = message.address.cast();
            if !message.address.is_null() {
                header.msg_namelen = if receive { STORAGE } else { receiver_length(message) };
            }
            if receive {
                header.msg_control = (&raw mut *control).cast();
                header.msg_controllen = size_of::<Control>() as _;
            } else if message.segment_size != 0 {
                set_segment(header, control, message.segment_size as u16);
            }
            count += 1;
        }
        count
    }
}

/// For AF_UNIX the kernel takes no more than its struct, where others may have a whole storage.
fn receiver_length(message: &Message) -> socklen_t {
    // SAFETY: not NULL, and promised by the caller of the batch.
    let family = unsafe { (&raw const (*message.address).ss_family).read_unaligned() };
    let local = size_of::<sockaddr_un>() as socklen_t;
    let is_local = c_int::from(family) == libc::AF_UNIX;
    message.address_length.min(if is_local { local } else { STORAGE })
}

/// Has the kernel cut what is sent into datagrams of this size.
fn set_segment(header: &mut msghdr, control: &mut Control, size: u16) {
    const BYTES: u32 = size_of::<u16>() as u32;
    header.msg_control = (&raw mut *control).cast();
    // SAFETY: computes only.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(BYTES) } as _;
    // SAFETY: there is room for one control message.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = libc::UDP_SEGMENT;
        (*first).cmsg_len = libc::CMSG_LEN(BYTES) as _;
        libc::CMSG_DATA(first).cast::<u16>().write_unaligned(size);
    }
}

/// Receives up to `CHUNK` datagrams into `messages`; their number. Descriptors that come with them are closed.
///
/// # Safety
/// The messages describe memory that may be written.
pub unsafe fn recv_many(fd: RawFd, messages: &mut [Message]) -> Result<usize, Errno> {
    let mut batch = Batch::new();
    let count = batch.describe(messages, true);
    let headers = batch.headers.as_mut_ptr();
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `count` headers, which live through the call with all that they name.
    let got =
        retry(|| unsafe { libc::recvmmsg(fd, headers, count as _, flags as _, ptr::null_mut()) })?;
    let got = usize::try_from(got).unwrap_or(0);
    for (message, header) in messages.iter_mut().zip(&batch.headers).take(got) {
        let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        message.bytes = header.msg_len as usize;
        message.status = if cut { Errno::MSGSIZE.code() } else { 0 };
        message.segment_size = 0;
        // SAFETY: the kernel has filled the header.
        unsafe {
            if message.address.is_null() {
                message.address_length = 0;
            } else {
                let length = &raw mut message.address_length;
                tell_sender(message.address, length, header.msg_hdr.msg_namelen);
            }
            rights::each_control(&header.msg_hdr, |level, kind, data, length| {
                if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) && length >= size_of::<c_int>() {
                    let size = data.cast::<c_int>().read_unaligned();
                    message.segment_size = u32::try_from(size).unwrap_or(0);
                }
            });
            rights::discard(&header.msg_hdr);
        }
    }
    Ok(got)
}

/// Sends up to `CHUNK` datagrams; how many. What fails after the first is told by the next call.
///
/// # Safety
/// The messages describe memory that may be read.
pub unsafe fn send_many(fd: RawFd, messages: &mut [Message]) -> Result<usize, Errno> {
    let mut batch = Batch::new();
    let count = batch.describe(messages, false);
    let (headers, flags) = (batch.headers.as_mut_ptr(), libc::MSG_NOSIGNAL);
    // SAFETY: as in `recv_many`.
    let sent = retry(|| unsafe { libc::sendmmsg(fd, headers, count as _, flags as _) })?;
    let sent = usize::try_from(sent).unwrap_or(0);
    for (message, header) in messages.iter_mut().zip(&batch.headers).take(sent) {
        message.bytes = header.msg_len as usize;
        message.status = 0;
    }
    Ok(sent)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::local;

    fn pair() -> (RawFd, RawFd) {
        let [a, b] = local::pair(libc::SOCK_DGRAM).unwrap();
        (a, b)
    }

    fn message(data: &mut [u8]) -> Message {
        Message {
            data: data.as_mut_ptr().cast(),
            length: data.len(),
            address: ptr::null_mut(),
            bytes: 99,
            address_length: 0,
            status: 1,
            segment_size: 0,
            reserved: 0,
        }
    }

    fn put(fd: RawFd, data: &[u8]) -> Result<usize, Errno> {
        // SAFETY: a buffer of that length.
        unsafe { send(fd, data.as_ptr().cast(), data.len(), ptr::null(), 0) }
    }

    fn take(fd: RawFd, room: usize) -> Result<Received, Errno> {
        let mut data = vec![0_u8; room];
        // SAFETY: a buffer of that length.
        unsafe { recv(fd, data.as_mut_ptr().cast(), room, ptr::null_mut(), ptr::null_mut()) }
    }

    #[test]
    fn h28_nothing_is_a_datagram_and_a_cut_one_is_told() {
        let (a, b) = pair();
        assert_eq!(take(b, 4), Err(Errno::AGAIN));
        for data in [&b""[..], b"four", b"more than four"] {
            assert_eq!(put(a, data), Ok(data.len()));
        }
        assert_eq!(take(b, 4), Ok(Received { bytes: 0, cut: false, whole: 0 }));
        assert_eq!(take(b, 4), Ok(Received { bytes: 4, cut: false, whole: 4 }));
        assert_eq!(take(b, 4), Ok(Received { bytes: 4, cut: true, whole: 14 }));
        assert_eq!(take(b, 4), Err(Errno::AGAIN));
        put(a, b"x").unwrap();
        assert_eq!(take(b, 0), Ok(Received { bytes: 0, cut: true, whole: 1 }));
        [a, b].into_iter().for_each(crate::sys::fd::close);
    }

    #[test]
    fn batches_count_what_moved() {
        let (a, b) = pair();
        let mut out = [*b"one.", *b"two.", *b"3..."];
        let mut messages: Vec<Message> = out.iter_mut().map(|data| message(data)).collect();
        // SAFETY: they name buffers that live on.
        assert_eq!(unsafe { send_many(a, &mut messages) }, Ok(3));
        assert!(messages.iter().all(|one| one.status == 0 && one.bytes == 4));
        let (mut large, mut small, mut rest) = ([0; 8], [0; 2], [[0; 8]; 2]);
        let mut messages = vec![message(&mut large), message(&mut small)];
        messages.extend(rest.iter_mut().map(|data| message(data)));
        // SAFETY: as above.
        assert_eq!(unsafe { recv_many(b, &mut messages) }, Ok(3));
        let found: Vec<_> = messages.iter().map(|one| (one.status, one.bytes)).collect();
        assert_eq!(found, [(0, 4), (-libc::EMSGSIZE, 2), (0, 4), (1, 99)]);
        // SAFETY: as above.
        assert_eq!(unsafe { recv_many(b, &mut messages) }, Err(Errno::AGAIN));
        assert_eq!((&large[..4], &small, &rest[0][..4]), (&b"one."[..], b"tw", &b"3..."[..]));
        [a, b].into_iter().for_each(crate::sys::fd::close);
    }

    #[test]
    fn h32_a_batch_closes_descriptors_that_it_did_not_ask_for() {
        let (a, b) = pair();
        let ends = local::pair(libc::SOCK_STREAM).unwrap();
        let [mine, passed] = ends;
        // SAFETY: buffers of those lengths.
        let sent = unsafe { rights::send(a, b"x".as_ptr().cast(), 1, [passed].as_ptr(), 1) };
        assert_eq!(sent, Ok(1));
        crate::sys::fd::close(passed);
        let mut data = [0; 8];
        // SAFETY: a buffer that lives on.
        assert_eq!(unsafe { recv_many(b, &mut [message(&mut data)]) }, Ok(1));
        // The only copy of the other end is gone: its peer sees the end.
        let found = crate::sys::socket::poll(mine, libc::POLLIN).unwrap();
        assert!(found & libc::POLLHUP != 0);
        [a, b, mine].into_iter().for_each(crate::sys::fd::close);
    }
}
