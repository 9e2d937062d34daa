//! Streams.

use super::handle::{address_in, address_out};
use super::handle::{
    code, context_of, count, deliver, open_context, pointer, stream, weir_callback, weir_context,
    weir_io_callback, weir_stream,
};
use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::services::options;
use crate::services::stream::{self as service, Request};
use crate::sys::errno::Errno;
use crate::sys::socket;
use libc::{c_char, c_int, c_void, iovec, sockaddr, sockaddr_storage, socklen_t};
use std::ffi::CStr;

/// Readability, for weir_stream_wait().
pub const WEIR_WAIT_READ: c_int = 1;
/// Writability, for weir_stream_wait().
pub const WEIR_WAIT_WRITE: c_int = 2;

/// Ends receiving, for weir_stream_shutdown().
pub const WEIR_SHUTDOWN_READ: c_int = 0;
/// Ends sending: the peer reads the end of the stream.
pub const WEIR_SHUTDOWN_WRITE: c_int = 1;
/// Ends both.
pub const WEIR_SHUTDOWN_BOTH: c_int = 2;

/// Makes a stream of a context, without an fd yet: weir_stream_connect(), weir_stream_open() or
/// weir_stream_adopt() give it one. End it with weir_stream_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_create(
    context: *mut weir_context,
    out: *mut *mut weir_stream,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends a stream: when this returns the fd is closed, the handle is dead, and the buffers of pending
/// operations are the caller's again. Those operations complete with WEIR_ECANCELED and the bytes that
/// had moved, later, in run; operations that were complete keep their result.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_close(stream: *mut weir_stream) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        Descriptor::lock(token)?.close(&caller);
        Ok(())
    }))
}

/// Ends the pending operations with WEIR_ECANCELED and the bytes that had moved. What has completed
/// already stays as it happened, and nothing later is affected. `count`, which may be NULL, receives how
/// many were ended. A direction is free for the next operation when that completion is delivered. Ending a
/// connect closes the socket if weir_stream_connect() had opened it.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_cancel(stream: *mut weir_stream, count: *mut usize) -> c_int {
    let caller = Caller::current();
    let ended = self::stream(stream).and_then(|token| Ok(Descriptor::lock(token)?.cancel(&caller)));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// Opens a socket of this family (AF_INET, AF_INET6 or AF_UNIX), so that options can be set before the
/// connect.
///
/// Errors: WEIR_EBADF, WEIR_EBUSY (there is an fd already), -EAFNOSUPPORT, -EMFILE, -ENFILE, WEIR_ENOMEM,
/// WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_open(stream: *mut weir_stream, family: c_int) -> c_int {
    code(self::stream(stream).and_then(|token| service::open(token, family)))
}

/// Takes over a stream socket, connected or not. On success the stream owns it, and makes it
/// non-blocking and close-on-exec; on an error it stays the caller's, as it was.
///
/// Errors: WEIR_EBADF (also: `fd` is not open), WEIR_EBUSY (there is an fd already), -ENOTSOCK,
/// -EPROTOTYPE (not a stream socket, or a listening one), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_adopt(stream: *mut weir_stream, fd: c_int) -> c_int {
    code(self::stream(stream).and_then(|token| service::adopt(token, fd)))
}

/// Gives the fd away: pending operations end as by cancel, the fd (still non-blocking) is the caller's,
/// the handle is as new.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_release(stream: *mut weir_stream, fd: *mut c_int) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Descriptor::lock(self::stream(stream)?)?.release(&caller)) }
}

/// The fd, borrowed: the stream goes on owning it.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_fd(stream: *mut weir_stream, fd: *mut c_int) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(fd, || Descriptor::lock(self::stream(stream)?)?.fd()) }
}

/// The context that the stream belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_context(
    stream: *mut weir_stream,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Descriptor::lock(self::stream(stream)?)?.sched)) }
}

/// The local address. Asked of the kernel, so it is concrete where a wildcard was bound.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_local_address(
    stream: *mut weir_stream,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let found = || socket::local_address(Descriptor::lock(self::stream(stream)?)?.fd()?);
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, found) }
}

/// The peer's address.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (not connected).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_remote_address(
    stream: *mut weir_stream,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let found = || socket::peer_address(Descriptor::lock(self::stream(stream)?)?.fd()?);
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, found) }
}

/// Binds the stream's socket to a local address before it connects.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL, WEIR_ENOTCONN (there is no fd: open first), -EAFNOSUPPORT, -EADDRINUSE,
/// -EADDRNOTAVAIL, -EACCES.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_bind(
    stream: *mut weir_stream,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    code(self::stream(stream).and_then(|token| {
        // SAFETY: promised by the caller.
        let address = unsafe { address_in(address, length) }?;
        socket::bind(Descriptor::lock(token)?.fd()?, &address)
    }))
}

/// Connects; opens a socket of the address's family first if there is none. Completes with 0 when the peer
/// has answered, or with what went wrong: -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, WEIR_ETIMEDOUT (the
/// kernel's own limit, minutes, or that of weir_stream_set_timeout()), WEIR_ECANCELED and so on. A socket that
/// was opened here is closed again when the connect fails, so that the next one starts anew. An AF_UNIX
/// listener whose queue is full gives -ECONNREFUSED. A read that is begun meanwhile waits for the connection.
/// The address is not needed after the call.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (address), WEIR_EBUSY (a connect, write or wait for
/// writability is pending), -EAFNOSUPPORT, -EMFILE, -ENFILE, -ENOSPC (epoll watches), WEIR_ENOMEM,
/// WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_connect(
    stream: *mut weir_stream,
    address: *const sockaddr,
    length: socklen_t,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        // SAFETY: promised by the caller.
        let address = unsafe { address_in(address, length) }?;
        service::connect(&caller, token, &address, callback, user)
    }))
}

/// Inlined, with what the caller knows of the request, where most programs spend their time.
#[inline(always)]
fn transfer(
    stream: *mut weir_stream,
    dir: Dir,
    request: Request,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    match self::stream(stream) {
        Ok(token) => code(service::begin(&caller, token, dir, request, callback, user)),
        Err(error) => error.code(),
    }
}

fn transfer_vectors(
    stream: *mut weir_stream,
    dir: Dir,
    buffers: *const iovec,
    count: usize,
    exact: bool,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let data = buffers.cast_mut().cast();
    transfer(stream, dir, Request { data, length: count, vectored: true, exact }, callback, user)
}

/// Reads what there is, up to `length` bytes, as soon as there is any. Completes with 0 and the number of
/// bytes, or WEIR_EOF at the end of the stream, or what the connection met (-ECONNRESET and so on), or
/// WEIR_ECANCELED. Data that came before an error or the end is read first. A length of 0 completes with 0
/// bytes. The buffer stays valid until the completion, or until cancel or close has returned.
///
/// One operation may be pending in each direction: reading and waiting for readability share the one,
/// writing, connecting and waiting for writability the other.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above
/// SSIZE_MAX), WEIR_EBUSY (one is pending), WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches),
/// WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_read_some(
    stream: *mut weir_stream,
    data: *mut c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data, length, vectored: false, exact: false };
    transfer(stream, Dir::Read, request, callback, user)
}

/// Reads exactly `length` bytes. Completes as weir_stream_read_some(); with any other status than 0 `bytes`
/// tells how many were read before.
///
/// Errors: as weir_stream_read_some().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_read(
    stream: *mut weir_stream,
    data: *mut c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data, length, vectored: false, exact: true };
    transfer(stream, Dir::Read, request, callback, user)
}

/// As weir_stream_read_some(), into `count` buffers, any number. The array and the buffers stay valid until the
/// completion.
///
/// Errors: as weir_stream_read_some(); WEIR_EINVAL also where the lengths add up to more than
/// SSIZE_MAX.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_readv_some(
    stream: *mut weir_stream,
    buffers: *const iovec,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    transfer_vectors(stream, Dir::Read, buffers, count, false, callback, user)
}

/// As weir_stream_read(), into `count` buffers, all of them filled.
///
/// Errors: as weir_stream_readv_some().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_readv(
    stream: *mut weir_stream,
    buffers: *const iovec,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    transfer_vectors(stream, Dir::Read, buffers, count, true, callback, user)
}

/// Writes what the socket takes now, up to `length` bytes and at least one. Completes with 0 and the number
/// of bytes, or -EPIPE or -ECONNRESET where the peer is gone (there is never a SIGPIPE), or WEIR_ECANCELED.
/// A length of 0 completes with 0 bytes. The data stays valid until the completion, or until cancel or
/// close has returned.
///
/// Errors: as weir_stream_read_some().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_write_some(
    stream: *mut weir_stream,
    data: *const c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data: data.cast_mut(), length, vectored: false, exact: false };
    transfer(stream, Dir::Write, request, callback, user)
}

/// Writes all `length` bytes. Completes as weir_stream_write_some(); with any other status than 0 `bytes`
/// tells how many were written before.
///
/// Errors: as weir_stream_read_some().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_write(
    stream: *mut weir_stream,
    data: *const c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let request = Request { data: data.cast_mut(), length, vectored: false, exact: true };
    transfer(stream, Dir::Write, request, callback, user)
}

/// As weir_stream_write_some(), from `count` buffers, any number. The array and the buffers stay valid until the
/// completion.
///
/// Errors: as weir_stream_readv_some().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_writev_some(
    stream: *mut weir_stream,
    buffers: *const iovec,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    transfer_vectors(stream, Dir::Write, buffers, count, false, callback, user)
}

/// As weir_stream_write(), from `count` buffers, all of them.
///
/// Errors: as weir_stream_readv_some().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_writev(
    stream: *mut weir_stream,
    buffers: *const iovec,
    count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    transfer_vectors(stream, Dir::Write, buffers, count, true, callback, user)
}

/// # Safety
/// `bytes` is NULL or writable.
unsafe fn try_now(
    stream: *mut weir_stream,
    dir: Dir,
    request: Request,
    bytes: *mut usize,
) -> c_int {
    let mut end = 0;
    let moved = || {
        let (status, moved) = service::try_now(self::stream(stream)?, dir, request)?;
        end = status;
        if status < 0 { Err(Errno(-status)) } else { Ok(moved) }
    };
    // SAFETY: promised by the caller.
    let code = unsafe { deliver(bytes, moved) };
    if end < 0 { end } else { code }
}

/// Reads what there is now: 0 with `*bytes` set, which is 0 when there is nothing yet; WEIR_EOF at the end of
/// the stream. Nothing is begun and no callback comes.
///
/// Errors: WEIR_EOF, WEIR_EBADF, WEIR_EINVAL (as weir_stream_read_some(), or `bytes` is NULL), WEIR_EBUSY (a read or wait
/// for readability is pending), WEIR_ENOTCONN, and what the connection met.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_try_read(
    stream: *mut weir_stream,
    data: *mut c_void,
    length: usize,
    bytes: *mut usize,
) -> c_int {
    let request = Request { data, length, vectored: false, exact: false };
    // SAFETY: promised by the caller.
    unsafe { try_now(stream, Dir::Read, request, bytes) }
}

/// As weir_stream_try_read(), into `count` buffers.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_try_readv(
    stream: *mut weir_stream,
    buffers: *const iovec,
    count: usize,
    bytes: *mut usize,
) -> c_int {
    let request =
        Request { data: buffers.cast_mut().cast(), length: count, vectored: true, exact: false };
    // SAFETY: promised by the caller.
    unsafe { try_now(stream, Dir::Read, request, bytes) }
}

/// Writes what the socket takes now: 0 with `*bytes` set, which is 0 when its buffer is full. Nothing is begun
/// and no callback comes.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (as weir_stream_read_some(), or `bytes` is NULL), WEIR_EBUSY (a write, connect or wait
/// for writability is pending), WEIR_ENOTCONN, -EPIPE, -ECONNRESET.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_try_write(
    stream: *mut weir_stream,
    data: *const c_void,
    length: usize,
    bytes: *mut usize,
) -> c_int {
    let request = Request { data: data.cast_mut(), length, vectored: false, exact: false };
    // SAFETY: promised by the caller.
    unsafe { try_now(stream, Dir::Write, request, bytes) }
}

/// As weir_stream_try_write(), from `count` buffers.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_try_writev(
    stream: *mut weir_stream,
    buffers: *const iovec,
    count: usize,
    bytes: *mut usize,
) -> c_int {
    let request =
        Request { data: buffers.cast_mut().cast(), length: count, vectored: true, exact: false };
    // SAFETY: promised by the caller.
    unsafe { try_now(stream, Dir::Write, request, bytes) }
}

/// Waits until the stream is readable (WEIR_WAIT_READ: data, the end or an error) or writable
/// (WEIR_WAIT_WRITE), for programs that do the transfer themselves. Level-checked: what is so already
/// completes at once (not inside this call), and it never completes on a socket that is not ready.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`what`), WEIR_EBUSY (the direction has a pending
/// operation), WEIR_ENOTCONN (there is no fd), -ENOSPC, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_wait(
    stream: *mut weir_stream,
    what: c_int,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        let dir = match what {
            WEIR_WAIT_READ => Dir::Read,
            WEIR_WAIT_WRITE => Dir::Write,
            _ => return Err(Errno::INVAL),
        };
        service::wait(&caller, token, dir, callback, user)
    }))
}

/// Ends one or both directions of the connection: WEIR_SHUTDOWN_READ, _WRITE or _BOTH. Pending operations
/// complete as the kernel says: a read with WEIR_EOF, a write with -EPIPE.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`how`), WEIR_ENOTCONN (no fd, or not connected).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_shutdown(stream: *mut weir_stream, how: c_int) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| service::shutdown(&caller, token, how)))
}

/// Sets a named option, WEIR_OPT_....
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (unknown option, or what the kernel says of the value), WEIR_ENOTCONN (there is
/// no fd), -ENOPROTOOPT or -EOPNOTSUPP (not for this kind of socket).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_set(stream: *mut weir_stream, option: c_int, value: c_int) -> c_int {
    code(self::stream(stream).and_then(|token| options::set(token, option, value)))
}

/// Reads a named option, WEIR_OPT_....
///
/// Errors: as weir_stream_set(); WEIR_EINVAL also where `value` is NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_get(
    stream: *mut weir_stream,
    option: c_int,
    value: *mut c_int,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(value, || options::get(self::stream(stream)?, option)) }
}

/// Sets any socket option by level and name, as setsockopt(2) does.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`value` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel says.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_set_option(
    stream: *mut weir_stream,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    code(self::stream(stream).and_then(|token| {
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
pub unsafe extern "C" fn weir_stream_get_option(
    stream: *mut weir_stream,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    code(self::stream(stream).and_then(|token| {
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
pub unsafe extern "C" fn weir_stream_bind_to_device(
    stream: *mut weir_stream,
    name: *const c_char,
) -> c_int {
    code(self::stream(stream).and_then(|token| {
        if name.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        options::bind_to_device(token, unsafe { CStr::from_ptr(name) })
    }))
}
