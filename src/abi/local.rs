//! AF_UNIX: pairs, names in the file system, credentials, fds that go with a message.

use super::handle::{
    acceptor, code, datagram, open_context, pointer, stream, weir_acceptor, weir_context,
    weir_datagram, weir_io_callback, weir_stream,
};
use crate::sched::frame::Caller;
use crate::services::{kind, local as service, rights};
use crate::sys::errno::Errno;
use libc::{c_int, c_void};

/// # Safety
/// Both are NULL or writable.
unsafe fn pair<T>(
    context: *mut weir_context,
    kind: u8,
    socket_type: c_int,
    first: *mut *mut T,
    second: *mut *mut T,
) -> c_int {
    let caller = Caller::current();
    let made = open_context(&caller, context).and_then(|sched| {
        if first.is_null() || second.is_null() {
            return Err(Errno::INVAL);
        }
        service::pair(&caller, *sched, kind, socket_type)
    });
    match made {
        Ok([one, two]) => {
            // SAFETY: not NULL; promised by the caller.
            unsafe {
                first.write(pointer(one));
                second.write(pointer(two));
            }
            0
        }
        Err(error) => error.code(),
    }
}

/// Makes two AF_UNIX streams of a context that are connected to each other. (weir_stream_release() and
/// weir_stream_adopt() take one to another context.)
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`first` or `second` is NULL), -EMFILE, -ENFILE, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_pair(
    context: *mut weir_context,
    first: *mut *mut weir_stream,
    second: *mut *mut weir_stream,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { pair(context, kind::STREAM, libc::SOCK_STREAM, first, second) }
}

/// Makes two AF_UNIX datagram sockets of a context that are connected to each other.
///
/// Errors: as weir_stream_pair().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_pair(
    context: *mut weir_context,
    first: *mut *mut weir_datagram,
    second: *mut *mut weir_datagram,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { pair(context, kind::DATAGRAM, libc::SOCK_DGRAM, first, second) }
}

/// Removes the path that the acceptor is bound to, as unlink(2) does: call it before close, which never does so by
/// itself and leaves the path for the next bind to stumble over (-EADDRINUSE). Whatever has the path by now is
/// removed, and a relative one is looked up in the current directory.
///
/// Errors: WEIR_EBADF, WEIR_ENOTCONN (there is no fd), -EOPNOTSUPP (not bound to a path), -ENOENT, -EACCES, -EPERM, -EROFS.
///
/// Thread: any; may block on the file system.
#[unsafe(no_mangle)]
pub extern "C" fn weir_acceptor_unlink(acceptor: *mut weir_acceptor) -> c_int {
    code(self::acceptor(acceptor).and_then(service::unlink))
}

/// As weir_acceptor_unlink(), for a datagram socket.
///
/// Errors: as weir_acceptor_unlink().
///
/// Thread: any; may block on the file system.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_unlink(datagram: *mut weir_datagram) -> c_int {
    code(self::datagram(datagram).and_then(service::unlink))
}

/// Who is at the other end of an AF_UNIX stream: the process, user and group that connected, called listen, or made the
/// pair (SO_PEERCRED; the peer can't forge them). A pointer may be NULL where the answer is of no interest. A process
/// or user that the caller's namespace does not know is 0 or the overflow id.
///
/// Errors: WEIR_EBADF, WEIR_ENOTCONN (no fd, or not connected), -EOPNOTSUPP (not AF_UNIX).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_peer_credentials(
    stream: *mut weir_stream,
    pid: *mut i32,
    uid: *mut u32,
    gid: *mut u32,
) -> c_int {
    match self::stream(stream).and_then(service::peer_credentials) {
        Ok(found) => {
            // SAFETY: promised by the caller.
            unsafe {
                if !pid.is_null() {
                    pid.write(found.0);
                }
                if !uid.is_null() {
                    uid.write(found.1);
                }
                if !gid.is_null() {
                    gid.write(found.2);
                }
            }
            0
        }
        Err(error) => error.code(),
    }
}

/// Writes all `length` bytes, at least one, and copies of up to 253 fds with the first of them. Completes as
/// weir_stream_write(); where `bytes` is not 0 the fds have gone. The caller keeps its own fds, which stay open as
/// long as the data and the array stay valid: until the completion, or until cancel or close has returned. Also
/// completes with -EBADF (an fd is not open) and -ETOOMANYREFS (too many fds are under way).
///
/// Errors: as weir_stream_write(); WEIR_EINVAL also for a `length` of 0, NULL `fds` with a count, more than 253 of them;
/// -EOPNOTSUPP (not AF_UNIX).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_write_fds(
    stream: *mut weir_stream,
    data: *const c_void,
    length: usize,
    fds: *const c_int,
    fd_count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        let (data, fds) = ((data.cast_mut(), length), (fds, fd_count));
        rights::begin_send(&caller, token, data, fds, callback, user)
    }))
}

/// As weir_stream_read_some(), and takes the fds that come with the bytes: `*fd_count` is the room at `fds` before, and
/// the number received after; they belong to the receiver and are close-on-exec. Where WEIR_ECANCELED is the status it
/// is untouched, and nothing was received. The bytes of two messages with fds are never read as one.
///
/// No fd is leaked: those that find no room at `fds` are closed and the status is -EMSGSIZE, those for which the
/// process has no number left are dropped by the kernel and the status is -EMFILE; in both cases `bytes` and
/// `*fd_count` tell what was received. All other ways of reading drop the fds that come. `fd_count` and `fds` stay
/// valid as long as the buffer does.
///
/// Errors: as weir_stream_read_some(); WEIR_EINVAL also for a `length` of 0, NULL `fd_count`, NULL `fds` with room;
/// -EOPNOTSUPP (not AF_UNIX).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_read_fds(
    stream: *mut weir_stream,
    data: *mut c_void,
    length: usize,
    fds: *mut c_int,
    fd_count: *mut usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        let (data, fds) = ((data, length), (fds, fd_count));
        // SAFETY: promised by the caller.
        unsafe { rights::begin_receive(&caller, token, data, fds, callback, user) }
    }))
}

/// As weir_datagram_send(), with copies of fds as weir_stream_write_fds(). The `length` may be 0.
///
/// Errors: as weir_datagram_receive(); WEIR_EINVAL also for NULL `fds` with a count and more than 253 of them;
/// -EOPNOTSUPP (not AF_UNIX).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_send_fds(
    datagram: *mut weir_datagram,
    data: *const c_void,
    length: usize,
    fds: *const c_int,
    fd_count: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::datagram(datagram).and_then(|token| {
        let (data, fds) = ((data.cast_mut(), length), (fds, fd_count));
        rights::begin_send(&caller, token, data, fds, callback, user)
    }))
}

/// As weir_datagram_receive(), and takes the fds that come with the datagram, as weir_stream_read_fds() does. The status
/// is -EMSGSIZE where the datagram was longer than `length`, and where fds found no room.
///
/// Errors: as weir_datagram_receive(); WEIR_EINVAL also for NULL `fd_count` and NULL `fds` with room; -EOPNOTSUPP (not
/// AF_UNIX).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_datagram_receive_fds(
    datagram: *mut weir_datagram,
    data: *mut c_void,
    length: usize,
    fds: *mut c_int,
    fd_count: *mut usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::datagram(datagram).and_then(|token| {
        let (data, fds) = ((data, length), (fds, fd_count));
        // SAFETY: promised by the caller.
        unsafe { rights::begin_receive(&caller, token, data, fds, callback, user) }
    }))
}
