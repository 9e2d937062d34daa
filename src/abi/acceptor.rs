//! Acceptors.

use super::handle::{
    acceptor, address_in, address_out, code, context_of, count, deliver, open_context, pointer,
    weir_accept_callback, weir_acceptor, weir_callback, weir_context,
};
use crate::sched::completion::AcceptFn;
use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::services::{acceptor as service, options, stream};
use crate::sys::errno::Errno;
use crate::sys::socket;
use libc::{c_char, c_int, c_void, sockaddr, sockaddr_storage, socklen_t};
use std::ffi::CStr;

/// Makes an acceptor of a context, without an fd yet: weir_acceptor_bind(), weir_acceptor_open() or
/// weir_acceptor_adopt() give it one. End it with weir_acceptor_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_create(
    context: *mut weir_context,
    out: *mut *mut weir_acceptor,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends an acceptor: when this returns the fd is closed and the handle is dead. A pending operation
/// completes with WEIR_ECANCELED, later, in run. An AF_UNIX path that it was bound to stays: see weir_acceptor_unlink().
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_close(acceptor: *mut weir_acceptor) -> c_int {
    let caller = Caller::current();
    code(self::acceptor(acceptor).and_then(|token| {
        Descriptor::lock(token)?.close(&caller);
        Ok(())
    }))
}

/// Ends the pending operation with WEIR_ECANCELED. No connection is lost: what was not delivered is still in
/// the kernel's queue. The next operation may begin when the completion is delivered. `count`, which may be NULL, receives 0 or 1.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_cancel(
    acceptor: *mut weir_acceptor,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let ended =
        self::acceptor(acceptor).and_then(|token| Ok(Descriptor::lock(token)?.cancel(&caller)));
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
pub extern "C" fn weir_acceptor_open(acceptor: *mut weir_acceptor, family: c_int) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| stream::open(token, family)))
}

/// Binds to a local address. Where there is no socket one of the address's family is opened first, with
/// SO_REUSEADDR set for AF_INET and AF_INET6; it is closed again if the bind fails.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (address, or bound already), -EAFNOSUPPORT, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES,
/// -EMFILE, -ENFILE, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_bind(
    acceptor: *mut weir_acceptor,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| {
        // SAFETY: promised by the caller.
        let address = unsafe { address_in(address, length) }?;
        service::bind(token, &address)
    }))
}

/// Listens. `backlog` is how many connections may wait to be accepted; 0 is the system's maximum.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (negative), WEIR_ENOTCONN (there is no fd), -EADDRINUSE.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_listen(acceptor: *mut weir_acceptor, backlog: c_int) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| service::listen(token, backlog)))
}

/// Takes over a listening stream socket, such as one from socket activation. On success the acceptor owns it,
/// and makes it non-blocking and close-on-exec; on an error it stays the caller's.
///
/// Errors: WEIR_EBADF (also: `fd` is not open), WEIR_EBUSY (there is an fd already), -ENOTSOCK, -EPROTOTYPE (not a stream
/// socket), WEIR_EINVAL (it does not listen), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_adopt(acceptor: *mut weir_acceptor, fd: c_int) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| service::adopt(token, fd)))
}

/// Gives the fd away: pending operations end as by cancel, the fd (still non-blocking) is the caller's,
/// the handle is as new.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_release(
    acceptor: *mut weir_acceptor,
    fd: *mut c_int,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Descriptor::lock(self::acceptor(acceptor)?)?.release(&caller)) }
}

/// The fd, borrowed: the acceptor goes on owning it.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_fd(acceptor: *mut weir_acceptor, fd: *mut c_int) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Descriptor::lock(self::acceptor(acceptor)?)?.fd()) }
}

/// The context that the acceptor belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_context(
    acceptor: *mut weir_acceptor,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Descriptor::lock(self::acceptor(acceptor)?)?.sched)) }
}

/// The local address. Asked of the kernel, so it is concrete where a wildcard was bound.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_local_address(
    acceptor: *mut weir_acceptor,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let found = || socket::local_address(Descriptor::lock(self::acceptor(acceptor)?)?.fd()?);
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, found) }
}

/// The callback as the services see it: the peer's handle is a pointer to something opaque.
fn accept_fn(callback: weir_accept_callback) -> Option<AcceptFn> {
    // SAFETY: the types differ in what an opaque pointer points to, which no ABI sees.
    unsafe { std::mem::transmute::<weir_accept_callback, Option<AcceptFn>>(callback) }
}

/// Accepts one connection. Completes with 0 and a new stream, or with WEIR_ECANCELED or what the kernel says
/// of the listening socket. Connections that were gone before they were taken (-ECONNABORTED and its
/// like) are passed over. Where the process or the system is out of fds or memory the operation stays
/// pending, and tries again every 100 ms of the context's clock.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (the socket does not listen), WEIR_EBUSY (one is pending),
/// WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_accept(
    acceptor: *mut weir_acceptor,
    callback: weir_accept_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        self::acceptor(acceptor)
            .and_then(|token| service::accept(&caller, token, false, accept_fn(callback), user)),
    )
}

/// Accepts connections one after another: the callback is called with 0 and a new stream for each, and
/// once, at last, with a negative status: WEIR_ECANCELED after cancel, close or destruction, or what the
/// kernel says. The calls of one acceptor never overlap. Otherwise as weir_acceptor_accept().
///
/// Errors: as weir_acceptor_accept().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_accept_each(
    acceptor: *mut weir_acceptor,
    callback: weir_accept_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        self::acceptor(acceptor)
            .and_then(|token| service::accept(&caller, token, true, accept_fn(callback), user)),
    )
}

/// Waits until a connection can be accepted, without taking it. Level-checked.
///
/// Errors: as weir_acceptor_accept().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_wait(
    acceptor: *mut weir_acceptor,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        self::acceptor(acceptor)
            .and_then(|token| stream::wait(&caller, token, Dir::Read, callback, user)),
    )
}

/// Sets a named option, WEIR_OPT_....
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (unknown option, or what the kernel says of the value), WEIR_ENOTCONN (there is
/// no fd), -ENOPROTOOPT or -EOPNOTSUPP (not for this kind of socket).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_set(
    acceptor: *mut weir_acceptor,
    option: c_int,
    value: c_int,
) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| options::set(token, option, value)))
}

/// Reads a named option, WEIR_OPT_....
///
/// Errors: as weir_acceptor_set(); WEIR_EINVAL also where `value` is NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_get(
    acceptor: *mut weir_acceptor,
    option: c_int,
    value: *mut c_int,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(value, || options::get(self::acceptor(acceptor)?, option)) }
}

/// Sets any socket option by level and name, as setsockopt(2) does.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`value` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel says.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_acceptor_set_option(
    acceptor: *mut weir_acceptor,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| {
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
pub unsafe extern "C" fn weir_acceptor_get_option(
    acceptor: *mut weir_acceptor,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| {
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
pub unsafe extern "C" fn weir_acceptor_bind_to_device(
    acceptor: *mut weir_acceptor,
    name: *const c_char,
) -> c_int {
    code(self::acceptor(acceptor).and_then(|token| {
        if name.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        options::bind_to_device(token, unsafe { CStr::from_ptr(name) })
    }))
}
