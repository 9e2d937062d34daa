//! Datagrams: the sockets. What they send and receive is in `message`.

use super::handle::{
    address_in, address_out, code, context_of, count, datagram, deliver, open_context, pointer,
    weir_callback, weir_context, weir_datagram,
};
use super::stream::{WEIR_WAIT_READ, WEIR_WAIT_WRITE};
use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::sched::table::Token;
use crate::services::{datagram as service, options, stream};
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::{datagram as kernel, socket};
use libc::{c_char, c_int, c_void, sockaddr, sockaddr_storage, socklen_t};
use std::ffi::CStr;

/// The kernel cuts what is sent into segments, see WEIR_OPT_SEGMENT_SIZE.
pub const WEIR_DATAGRAM_GSO: u32 = 1;
/// The kernel puts received segments together, see WEIR_OPT_GRO.
pub const WEIR_DATAGRAM_GRO: u32 = 2;

/// Makes a datagram socket of a context, without an fd yet: weir_datagram_bind(), weir_datagram_connect(),
/// weir_datagram_open() or weir_datagram_adopt() give it one. End it with weir_datagram_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_create(
    context: *mut weir_context,
    out: *mut *mut weir_datagram,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends a datagram socket: when this returns the fd is closed, the handle is dead, and the buffers and
/// addresses of pending operations are the caller's again. Those operations complete with WEIR_ECANCELED,
/// later, in run; operations that were complete keep their result. A path that the socket was bound to
/// stays: see weir_datagram_unlink().
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_close(datagram: *mut weir_datagram) -> c_int {
    let caller = Caller::current();
    code(self::datagram(datagram).and_then(|token| {
        Descriptor::lock(token)?.close(&caller);
        Ok(())
    }))
}

/// Ends the pending operations with WEIR_ECANCELED (a batch that is being sent: and the number of messages that have
/// gone). What has completed already stays as it happened: no datagram is taken from the kernel and lost. `count`,
/// which may be NULL, receives how many were ended. A direction is free for the next operation when that
/// completion is delivered.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_cancel(
    datagram: *mut weir_datagram,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let ended =
        self::datagram(datagram).and_then(|token| Ok(Descriptor::lock(token)?.cancel(&caller)));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// Opens a socket of this family (AF_INET, AF_INET6 or AF_UNIX), so that options can be set before the bind.
///
/// Errors: WEIR_EBADF, WEIR_EBUSY (there is an fd already), -EAFNOSUPPORT, -EMFILE, -ENFILE, WEIR_ENOMEM,
/// WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_open(datagram: *mut weir_datagram, family: c_int) -> c_int {
    code(self::datagram(datagram).and_then(|token| service::open(token, family)))
}

/// Takes over a datagram socket. On success the handle owns it, and makes it non-blocking and close-on-exec;
/// on an error it stays the caller's, as it was.
///
/// Errors: WEIR_EBADF (also: `fd` is not open), WEIR_EBUSY (there is an fd already), -ENOTSOCK,
/// -EPROTOTYPE (not a datagram socket), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_adopt(datagram: *mut weir_datagram, fd: c_int) -> c_int {
    code(self::datagram(datagram).and_then(|token| service::adopt(token, fd)))
}

/// Gives the fd away: pending operations end as by cancel, the fd (still non-blocking) is the caller's,
/// the handle is as new.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_release(
    datagram: *mut weir_datagram,
    fd: *mut c_int,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Descriptor::lock(self::datagram(datagram)?)?.release(&caller)) }
}

/// The fd, borrowed: the handle goes on owning it.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_fd(datagram: *mut weir_datagram, fd: *mut c_int) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Descriptor::lock(self::datagram(datagram)?)?.fd()) }
}

/// The context that the socket belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_context(
    datagram: *mut weir_datagram,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Descriptor::lock(self::datagram(datagram)?)?.sched)) }
}

/// The local address. Asked of the kernel, so it is concrete where a wildcard was bound.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_local_address(
    datagram: *mut weir_datagram,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let found = || socket::local_address(Descriptor::lock(self::datagram(datagram)?)?.fd()?);
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, found) }
}

/// The peer's address.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (not connected).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_remote_address(
    datagram: *mut weir_datagram,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let found = || socket::peer_address(Descriptor::lock(self::datagram(datagram)?)?.fd()?);
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, found) }
}

/// Binds to a local address; opens a socket of its family first if there is none. A port of 0 has the kernel
/// choose one: see weir_datagram_local_address(). A `struct sockaddr_un` of the length of its family alone has it choose
/// an abstract name. Of an AF_UNIX path the file appears in the file system and stays there after close.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (address; bound already), -EAFNOSUPPORT, -EADDRINUSE (for a path: it exists),
/// -EADDRNOTAVAIL, -EACCES, -ENOENT, -ENOTDIR, -EROFS, -EMFILE, -ENFILE, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_bind(
    datagram: *mut weir_datagram,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    // SAFETY: promised by the caller.
    code(unsafe { with_address(datagram, address, length, service::bind) })
}

/// Gives the socket a peer, at once: what is sent goes there, what others send is no longer received. Opens a
/// socket of the address's family first if there is none. Connecting again changes the peer. On a connected
/// UDP socket an ICMP error is the status of the next operation: -ECONNREFUSED where nobody listens. Datagrams
/// that are queued already, from whomever, are still received.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (address), -EAFNOSUPPORT, -ENETUNREACH, -EHOSTUNREACH, -EACCES (broadcast
/// needs WEIR_OPT_BROADCAST), for AF_UNIX -ECONNREFUSED, -ENOENT, -EPROTOTYPE, -EPERM; -EMFILE, -ENFILE, WEIR_ENOMEM,
/// WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_connect(
    datagram: *mut weir_datagram,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    // SAFETY: promised by the caller.
    code(unsafe { with_address(datagram, address, length, service::connect) })
}

/// # Safety
/// As for `address_in`.
unsafe fn with_address(
    datagram: *mut weir_datagram,
    address: *const sockaddr,
    length: socklen_t,
    work: impl FnOnce(Token, &Address) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let token = self::datagram(datagram)?;
    // SAFETY: promised by the caller.
    work(token, &unsafe { address_in(address, length) }?)
}

/// Takes the peer away again; 0 also where there is none. A port that the kernel chose may go with it.
///
/// Errors: WEIR_EBADF, WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_disconnect(datagram: *mut weir_datagram) -> c_int {
    code(self::datagram(datagram).and_then(service::disconnect))
}

/// Joins a multicast group, an IPv4 or IPv6 address whose port is not looked at, at the interface with this index
/// (if_nametoindex(3)); 0 lets the kernel choose. The socket receives what is sent to the group and the port
/// that it is bound to. Several groups, and one group at several interfaces, may be joined.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (no multicast address), WEIR_ENOTCONN (there is no fd), -EAFNOSUPPORT, -EADDRINUSE
/// (a member already), -ENODEV, -ENOBUFS (too many groups), -ENOPROTOOPT (an IPv4 group and an IPv6 socket, or the
/// other way round).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_join(
    datagram: *mut weir_datagram,
    group: *const sockaddr,
    length: socklen_t,
    interface_index: u32,
) -> c_int {
    let join = |token, group: &Address| service::set_member(token, group, interface_index, true);
    // SAFETY: promised by the caller.
    code(unsafe { with_address(datagram, group, length, join) })
}

/// Leaves a multicast group that was joined with the same address and index.
///
/// Errors: as weir_datagram_join(); -EADDRNOTAVAIL (no member).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_leave(
    datagram: *mut weir_datagram,
    group: *const sockaddr,
    length: socklen_t,
    interface_index: u32,
) -> c_int {
    let leave = |token, group: &Address| service::set_member(token, group, interface_index, false);
    // SAFETY: promised by the caller.
    code(unsafe { with_address(datagram, group, length, leave) })
}

/// What the kernel that runs can do with UDP: WEIR_DATAGRAM_GSO, WEIR_DATAGRAM_GRO, asked anew by each call (remember the
/// answer).
///
/// Errors: WEIR_EINVAL (`features` is NULL), -EMFILE, -ENFILE, WEIR_ENOMEM, -EAFNOSUPPORT (no IP at all).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_features(features: *mut u32) -> c_int {
    let found = || {
        let (gso, gro) = kernel::features()?;
        Ok(if gso { WEIR_DATAGRAM_GSO } else { 0 } | if gro { WEIR_DATAGRAM_GRO } else { 0 })
    };
    // SAFETY: promised by the caller.
    unsafe { deliver(features, found) }
}

/// Waits until there is a datagram or an error to receive (WEIR_WAIT_READ) or room to send (WEIR_WAIT_WRITE), for
/// programs that do the transfer themselves. Level-checked: what is so already completes at once (not inside
/// this call), and it never completes on a socket that is not ready.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`what`), WEIR_EBUSY (the direction has a pending operation), WEIR_ENOTCONN (there
/// is no fd), -ENOSPC, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_wait(
    datagram: *mut weir_datagram,
    what: c_int,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::datagram(datagram).and_then(|token| {
        let dir = match what {
            WEIR_WAIT_READ => Dir::Read,
            WEIR_WAIT_WRITE => Dir::Write,
            _ => return Err(Errno::INVAL),
        };
        stream::wait(&caller, token, dir, callback, user)
    }))
}

/// Sets a named option, WEIR_OPT_....
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (unknown option, or what the kernel says of the value), WEIR_ENOTCONN (there is
/// no fd), -ENOPROTOOPT or -EOPNOTSUPP (not for this kind of socket).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_set(
    datagram: *mut weir_datagram,
    option: c_int,
    value: c_int,
) -> c_int {
    code(self::datagram(datagram).and_then(|token| options::set(token, option, value)))
}

/// Reads a named option, WEIR_OPT_....
///
/// Errors: as weir_datagram_set(); WEIR_EINVAL also where `value` is NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_get(
    datagram: *mut weir_datagram,
    option: c_int,
    value: *mut c_int,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(value, || options::get(self::datagram(datagram)?, option)) }
}

/// Sets any socket option by level and name, as setsockopt(2) does.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`value` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel says.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_set_option(
    datagram: *mut weir_datagram,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    code(self::datagram(datagram).and_then(|token| {
        if value.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        unsafe { options::set_raw(token, level, name, value, length) }
    }))
}

/// Reads any socket option by level and name, as getsockopt(2) does: `*length` is the room at `value` before,
/// and the option's size after.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`value` or `length` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel
/// says.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_get_option(
    datagram: *mut weir_datagram,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    code(self::datagram(datagram).and_then(|token| {
        if value.is_null() || length.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        unsafe { options::get_raw(token, level, name, value, length) }
    }))
}

/// Binds the socket to a network interface by name; "" ends that.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`name` is NULL), WEIR_ENOTCONN (there is no fd), -ENODEV, -EPERM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_bind_to_device(
    datagram: *mut weir_datagram,
    name: *const c_char,
) -> c_int {
    code(self::datagram(datagram).and_then(|token| {
        if name.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        options::bind_to_device(token, unsafe { CStr::from_ptr(name) })
    }))
}
