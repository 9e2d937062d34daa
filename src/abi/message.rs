//! Datagrams: sending and receiving.

use super::handle::{code, datagram, weir_datagram, weir_io_callback};
use crate::sched::descriptor::Dir;
use crate::sched::frame::Caller;
use crate::services::datagram::{self as service, Request, Where};
use crate::sys::errno::Errno;
use crate::sys::message::Message;
use libc::{c_int, c_void, sockaddr, sockaddr_storage, socklen_t};
use std::mem::{align_of, offset_of, size_of};

/// One datagram of a batch.
#[repr(C)]
pub struct weir_datagram_message {
    /// What is sent, or room for what is received. May be NULL where `length` is 0.
    pub data: *mut c_void,
    /// The number of bytes at `data`.
    pub length: usize,
    /// Sending: the receiver, or NULL for the peer of a connected socket. Receiving: room for the sender's address, or
    /// NULL.
    pub address: *mut sockaddr_storage,
    /// Set: the bytes that were sent, or stored.
    pub bytes: usize,
    /// Sending: the length of what is at `address`. Receiving: set to the length of the sender's address.
    pub address_length: socklen_t,
    /// Set: 0; -EMSGSIZE for a received datagram that was longer than its room; what went wrong with the one that
    /// ended the sending of a batch.
    pub status: c_int,
    /// Sending: the length of the datagrams that the data is cut into (GSO), up to 65535; 0: it is one. Receiving: set to
    /// that with WEIR_OPT_GRO, where the data is several datagrams; the last one may be shorter. 0: it is one.
    pub segment_size: u32,
    /// 0.
    pub reserved: u32,
}

const _: () = assert!(
    size_of::<weir_datagram_message>() == size_of::<Message>()
        && align_of::<weir_datagram_message>() == align_of::<Message>()
        && offset_of!(weir_datagram_message, data) == offset_of!(Message, data)
        && offset_of!(weir_datagram_message, length) == offset_of!(Message, length)
        && offset_of!(weir_datagram_message, address) == offset_of!(Message, address)
        && offset_of!(weir_datagram_message, bytes) == offset_of!(Message, bytes)
        && offset_of!(weir_datagram_message, address_length) == offset_of!(Message, address_length)
        && offset_of!(weir_datagram_message, status) == offset_of!(Message, status)
        && offset_of!(weir_datagram_message, segment_size) == offset_of!(Message, segment_size)
        && offset_of!(weir_datagram_message, reserved) == offset_of!(Message, reserved)
);

fn transfer(
    datagram: *mut weir_datagram,
    dir: Dir,
    request: Request,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        self::datagram(datagram)
            .and_then(|token| service::begin(&caller, token, dir, request, callback, user)),
    )
}

/// Receives one datagram as soon as there is one. Completes with 0 and its length, which may be 0: a datagram
/// without bytes is data, there is no end. A datagram that is longer than `length` completes with -EMSGSIZE and
/// the bytes that were stored; the rest of it is lost. Errors that the socket met before (an ICMP message for a
/// connected socket gives -ECONNREFUSED) are the status of the next operation, or WEIR_ECANCELED. The buffer stays valid
/// until the completion, or until cancel or close has returned. A length of 0, with any `data`, drops one datagram.
///
/// One operation may be pending in each direction: receiving in any way and waiting for readability share the one,
/// sending and waiting for writability the other.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above SSIZE_MAX), WEIR_EBUSY (one is pending),
/// WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_receive(
    datagram: *mut weir_datagram,
    data: *mut c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data, length, address: Where::None };
    transfer(datagram, Dir::Read, request, callback, user)
}

/// As weir_datagram_receive(), and tells the sender: `*address` and `*address_length` are written together with the
/// data, and stay valid as long as the buffer does. An IPv6 address has its scope. A sender of AF_UNIX without
/// a name has a length of 0 and the family AF_UNSPEC.
///
/// Errors: as weir_datagram_receive(); WEIR_EINVAL also where `address` or `address_length` is NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_receive_from(
    datagram: *mut weir_datagram,
    data: *mut c_void,
    length: usize,
    address: *mut sockaddr_storage,
    address_length: *mut socklen_t,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data, length, address: Where::From(address, address_length) };
    transfer(datagram, Dir::Read, request, callback, user)
}

/// Sends one datagram to the peer of a connected socket, whole or not at all. Completes with 0 and its length; a
/// length of 0 sends a datagram without bytes. Otherwise: -EMSGSIZE (longer than the protocol has it), -EDESTADDRREQ
/// or WEIR_ENOTCONN (no peer), -ECONNREFUSED, -EPERM, WEIR_ECANCELED and so on. Waits while the socket's buffer, or
/// the queue of an AF_UNIX receiver, is full. The data stays valid until the completion, or until cancel or close
/// has returned.
///
/// Errors: as weir_datagram_receive().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_send(
    datagram: *mut weir_datagram,
    data: *const c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data: data.cast_mut(), length, address: Where::None };
    transfer(datagram, Dir::Write, request, callback, user)
}

/// As weir_datagram_send(), to an address, which stays valid as long as the data. On a connected socket it stands in for
/// the peer, for this datagram.
///
/// Errors: as weir_datagram_receive(); WEIR_EINVAL also for an address that is none, -EAFNOSUPPORT.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_send_to(
    datagram: *mut weir_datagram,
    data: *const c_void,
    length: usize,
    address: *const sockaddr,
    address_length: socklen_t,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let address = Where::To(address, address_length);
    let request = Request { data: data.cast_mut(), length, address };
    transfer(datagram, Dir::Write, request, callback, user)
}

/// # Safety
/// `count` and `bytes` are NULL or writable.
unsafe fn try_now(
    datagram: *mut weir_datagram,
    dir: Dir,
    request: Request,
    count: *mut usize,
    bytes: *mut usize,
) -> c_int {
    let attempt = || {
        let token = self::datagram(datagram)?;
        if count.is_null() || bytes.is_null() {
            return Err(Errno::INVAL);
        }
        service::try_now(token, dir, request)
    };
    let (moved, (status, stored)) = match attempt() {
        Ok(Some(moved)) => (1, moved),
        Ok(None) => (0, (0, 0)),
        Err(error) => return error.code(),
    };
    // SAFETY: not NULL; promised by the caller.
    unsafe {
        count.write(moved);
        bytes.write(stored);
    }
    status
}

/// Receives a datagram that is there now: 0 with `*count` 1 and its length in `*bytes`, or with both 0 when there is
/// none. A datagram that is longer than `length`: -EMSGSIZE, with `*count` 1 and the bytes stored in `*bytes`. Nothing is
/// begun and no callback comes.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (as weir_datagram_receive(), or `count` or `bytes` is NULL), WEIR_EBUSY (a receive or
/// wait for readability is pending), WEIR_ENOTCONN, and what the socket met.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_try_receive(
    datagram: *mut weir_datagram,
    data: *mut c_void,
    length: usize,
    count: *mut usize,
    bytes: *mut usize,
) -> c_int {
    let request = Request { data, length, address: Where::None };
    // SAFETY: promised by the caller.
    unsafe { try_now(datagram, Dir::Read, request, count, bytes) }
}

/// As weir_datagram_try_receive(), and tells the sender as weir_datagram_receive_from() does.
///
/// Errors: as weir_datagram_try_receive(); WEIR_EINVAL also where `address` or `address_length` is NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_try_receive_from(
    datagram: *mut weir_datagram,
    data: *mut c_void,
    length: usize,
    address: *mut sockaddr_storage,
    address_length: *mut socklen_t,
    count: *mut usize,
    bytes: *mut usize,
) -> c_int {
    let request = Request { data, length, address: Where::From(address, address_length) };
    // SAFETY: promised by the caller.
    unsafe { try_now(datagram, Dir::Read, request, count, bytes) }
}

/// Sends a datagram to the peer if there is room now: 0 with `*count` 1, or 0 when the buffer, or an AF_UNIX receiver's
/// queue, is full. Nothing is begun and no callback comes.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (as weir_datagram_receive(), or `count` is NULL), WEIR_EBUSY (a send or wait for
/// writability is pending), WEIR_ENOTCONN, and what completes weir_datagram_send().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_try_send(
    datagram: *mut weir_datagram,
    data: *const c_void,
    length: usize,
    count: *mut usize,
) -> c_int {
    let request = Request { data: data.cast_mut(), length, address: Where::None };
    // SAFETY: promised by the caller.
    unsafe { try_now(datagram, Dir::Write, request, count, &mut 0) }
}

/// As weir_datagram_try_send(), to an address.
///
/// Errors: as weir_datagram_try_send() and weir_datagram_send_to().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_try_send_to(
    datagram: *mut weir_datagram,
    data: *const c_void,
    length: usize,
    address: *const sockaddr,
    address_length: socklen_t,
    count: *mut usize,
) -> c_int {
    let address = Where::To(address, address_length);
    let request = Request { data: data.cast_mut(), length, address };
    // SAFETY: promised by the caller.
    unsafe { try_now(datagram, Dir::Write, request, count, &mut 0) }
}

/// Receives what there is, up to `count` datagrams, as soon as there is one, with few system calls. `bytes` of the
/// callback is the number of messages that were filled, from the first on; at most 1024 at once. Each tells its own
/// bytes, sender and truncation, see weir_datagram_message; the batch is 0 where one is cut short. With any other status
/// the messages that `bytes` counts were still received. A `count` of 0 completes with 0 messages. The array, the
/// buffers and the addresses stay valid until the completion, or until cancel or close has returned.
///
/// Errors: as weir_datagram_receive(), for each message; WEIR_EINVAL also for `reserved` that is not 0.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_receive_batch(
    datagram: *mut weir_datagram,
    messages: *mut weir_datagram_message,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { batch(datagram, Dir::Read, messages, count, callback, user) }
}

/// Sends `count` datagrams in their order, with few system calls. `bytes` of the callback is the number of messages that
/// have gone. The first that fails ends the batch: the status is its own, it is the message at the index `bytes`, and
/// those behind it were not tried. What is in the array stays valid as for weir_datagram_receive_batch().
///
/// Errors: as weir_datagram_send_to(), for each message; WEIR_EINVAL also for a `segment_size` above 65535 and `reserved`
/// that is not 0; -EOPNOTSUPP for a `segment_size` where the kernel or the socket can't cut, see
/// weir_datagram_features().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_send_batch(
    datagram: *mut weir_datagram,
    messages: *mut weir_datagram_message,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { batch(datagram, Dir::Write, messages, count, callback, user) }
}

/// # Safety
/// `messages` is NULL or points to `count` messages.
unsafe fn batch(
    datagram: *mut weir_datagram,
    dir: Dir,
    messages: *mut weir_datagram_message,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::datagram(datagram).and_then(|token| {
        // SAFETY: promised by the caller; both structs are the same.
        unsafe {
            service::begin_batch(&caller, token, dir, (messages.cast(), count), callback, user)
        }
    }))
}
