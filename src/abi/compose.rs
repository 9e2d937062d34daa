//! Streams: time limits, and operations made of several.

use super::handle::{
    address_in, code, count, deliver, stream, weir_callback, weir_io_callback, weir_stream,
};
use crate::sched::frame::Caller;
use crate::sched::timers::NEVER;
use crate::services::connect_list::{self, Pace, STAGGER};
use crate::services::read_until::{self, Until};
use crate::services::{send_file, stream_timeout, write_queue};
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::{c_int, c_void, sockaddr, socklen_t};
use std::mem::{offset_of, size_of};

/// Limits how long an operation of the stream may go without progress. `directions` is WEIR_WAIT_READ,
/// WEIR_WAIT_WRITE or both. An operation that waits for `timeout_ns` with no byte moved completes with
/// WEIR_ETIMEDOUT and the bytes that had moved before; the stream is as good as before, and the next operation
/// may begin. Each byte that moves gives an operation its whole time again. What the kernel had ready
/// when the time was over comes first.
///
/// The limit holds for every operation of the direction until it is changed, a connect (of the writing
/// direction) and weir_stream_wait() among them; one that is pending is measured from now on. WEIR_FOREVER, which
/// every stream begins with, is no limit; with 0 only what can complete at once succeeds. The time is that
/// of the context's clock. A limit costs no system call for each operation.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (no or other directions, a negative time), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_set_timeout(
    stream: *mut weir_stream,
    directions: c_int,
    timeout_ns: i64,
) -> c_int {
    let caller = Caller::current();
    code(
        self::stream(stream)
            .and_then(|token| stream_timeout::set(&caller, token, directions, timeout_ns)),
    )
}

/// Sends `length` bytes of the file `fd` from `offset` on, without reading them into the program. Completes with 0
/// when all are sent, with WEIR_EOF where the file ends before, or with what was met; `bytes` tells how many
/// were sent. `fd` is anything that sendfile(2) reads from; it stays the caller's, its own position
/// stays as it is, and it must be open until the completion, or until cancel or close has returned. A file that
/// is not in memory is read from its disk meanwhile. A lost peer is -EPIPE and never a signal.
///
/// It is a write: one may be pending in that direction.
///
/// Errors: as weir_stream_write(); WEIR_EINVAL for a negative `offset`, WEIR_EBADF for a negative `fd`. What
/// sendfile(2) has against the file (-EBADF, -EINVAL) comes with the completion.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_send_file(
    stream: *mut weir_stream,
    fd: c_int,
    offset: i64,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        self::stream(stream).and_then(|token| {
            send_file::begin(&caller, token, (fd, offset, length), callback, user)
        }),
    )
}

/// What weir_stream_read_until() reads into and looks for. The caller's; from the start of the operation until its
/// completion, or until cancel or close has returned, only the library touches it.
#[repr(C)]
pub struct weir_until {
    /// sizeof(weir_until).
    pub struct_size: usize,
    /// The buffer.
    pub data: *mut c_void,
    /// Its length: the limit of the read.
    pub capacity: usize,
    /// In: the bytes that are in the buffer already. Out: those that are in it now.
    pub filled: usize,
    /// What to read up to.
    pub delimiter: *const c_void,
    /// Its length, at least 1.
    pub delimiter_length: usize,
}

const _: () = assert!(
    size_of::<weir_until>() == size_of::<Until>()
        && offset_of!(weir_until, data) == offset_of!(Until, data)
        && offset_of!(weir_until, capacity) == offset_of!(Until, capacity)
        && offset_of!(weir_until, filled) == offset_of!(Until, filled)
        && offset_of!(weir_until, delimiter) == offset_of!(Until, delimiter)
        && offset_of!(weir_until, delimiter_length) == offset_of!(Until, delimiter_length)
);

/// Reads until a delimiter is in the buffer. Completes with 0 and, as `bytes`, the number of bytes up to and with
/// the first delimiter. The buffer may hold more, which was read along: `until->filled` bytes in all. The caller
/// takes the `bytes`, moves the others to the front (or `data` past them) and gives them in again as
/// `filled` with the next call, which completes without reading when there is a delimiter among them. Plain reads
/// do not see what is in the buffer.
///
/// Where the buffer is full without a delimiter it completes with -EMSGSIZE; that, WEIR_EOF, WEIR_ECANCELED and
/// every other error leave what was read in the buffer, and `bytes` is `until->filled`.
///
/// Errors: as weir_stream_read_some(); WEIR_EINVAL also where `until` or a pointer in it is NULL, `struct_size` is
/// wrong, the delimiter is empty or `filled` is above `capacity`.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_read_until(
    stream: *mut weir_stream,
    until: *mut weir_until,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        // SAFETY: promised by the caller.
        unsafe { read_until::begin(&caller, token, until.cast(), callback, user) }
    }))
}

/// Queues a write of `length` bytes. Any number may be queued on a stream: they are written whole and in order,
/// several with one system call where several wait, and each completes once, with 0 and its bytes. When the
/// connection meets an error, or its time limit, or is cancelled or closed, each one that is left completes with
/// that status and what had moved of it. The buffer stays valid until the completion, or until cancel or
/// close has returned.
///
/// The queue and weir_stream_write() with its like share the writing direction: while anything is queued
/// those give WEIR_EBUSY, and while one of those is pending this does. The direction is free when the last byte
/// has been written. Setting a time limit on it limits the time without progress of the queue as a whole.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above SSIZE_MAX), WEIR_EBUSY,
/// WEIR_ENOTCONN (there is no fd), -ENOBUFS (more bytes than can be counted), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_send(
    stream: *mut weir_stream,
    data: *const c_void,
    length: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        write_queue::send(&caller, token, data.cast_mut(), length, callback, user)
    }))
}

/// Writes what the kernel takes at once, and copies the rest to the queue of weir_stream_send(), in order with what waits
/// there: when the function returns the buffer may be used again. `queued`, which may be NULL, receives the bytes that
/// wait then, from this call and others; 0: the kernel has all. Memory is needed for what waits only.
///
/// It is no operation: nothing completes. What ends the queue later (an error, a time limit) is returned by the
/// next call of this function, and by every one after it. Who wants to know when all has gone queues a
/// weir_stream_send() of length 0, which completes with 0 or that error. run goes on while something waits. A cancel, and the close,
/// drop what waits.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above SSIZE_MAX), WEIR_EBUSY (an operation
/// other than weir_stream_send() is pending in the writing direction), WEIR_ENOTCONN (there is no fd), -EPIPE,
/// -ECONNRESET and what else the kernel says, -ENOBUFS (more bytes than can be counted), WEIR_ESHUTDOWN, WEIR_ENOMEM: nothing
/// of it was taken, unless the next call says WEIR_ENOMEM too: then the kernel had taken a part.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_send_copy(
    stream: *mut weir_stream,
    data: *const c_void,
    length: usize,
    queued: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let result =
        self::stream(stream).and_then(|token| write_queue::send_copy(&caller, token, data, length));
    // SAFETY: promised by the caller.
    unsafe { count(queued, result) }
}

/// The bytes that wait in the queue of weir_stream_send().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`bytes` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_queued(stream: *mut weir_stream, bytes: *mut usize) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(bytes, || write_queue::queued(self::stream(stream)?)) }
}

/// Has the callback told when more than `high` bytes are queued by weir_stream_send(), so that who produces them
/// may pause, and again when `low` or fewer are left. It is called with 0 and the bytes that were queued at
/// that moment: above `high` or not above `low`, in turn. It is called once, at last, with WEIR_ECANCELED: when the
/// stream is closed, another mark is set, or the mark is taken away, which `high` 0 does. A cancel of the stream
/// leaves the mark; the queue has fallen to 0 then, as at the close. Writes are queued above the mark too. The mark by itself
/// does not keep run going.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`low` is above `high`), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_set_high_water(
    stream: *mut weir_stream,
    high: usize,
    low: usize,
    callback: weir_io_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(
        self::stream(stream)
            .and_then(|token| write_queue::set_mark(&caller, token, (high, low), callback, user)),
    )
}

/// The most addresses of one weir_stream_connect_list().
pub const WEIR_CONNECT_LIST_MAX: usize = 64;

/// How weir_stream_connect_list() goes about it. All zero but the size is the default.
#[repr(C)]
pub struct weir_connect_options {
    /// sizeof(weir_connect_options).
    pub struct_size: usize,
    /// Nanoseconds from the start of one attempt to that of the next, unless it fails before. 0: 250 ms.
    pub stagger_ns: i64,
    /// Nanoseconds that one attempt may take. 0 or WEIR_FOREVER: as long as the kernel tries (minutes).
    pub attempt_timeout_ns: i64,
}

fn pace(options: *const weir_connect_options) -> Result<Pace, Errno> {
    if options.is_null() {
        return Ok(Pace { stagger: STAGGER, limit: NEVER });
    }
    // SAFETY: promised by the caller.
    let options = unsafe { options.read() };
    if options.struct_size != size_of::<weir_connect_options>()
        || options.stagger_ns < 0
        || options.attempt_timeout_ns < 0
    {
        return Err(Errno::INVAL);
    }
    let or = |value, default| if value == 0 { default } else { value };
    Ok(Pace {
        stagger: or(options.stagger_ns, STAGGER),
        limit: or(options.attempt_timeout_ns, NEVER),
    })
}

/// Connects to the first of `count` addresses that answers. Families take turns, beginning with that of the first
/// address (RFC 8305); an attempt begins when the one before it has failed, or after a while when it has
/// not answered, which `options` (NULL: the default) tells. The first that succeeds gives the stream its
/// fd, the others are closed. Completes once: with 0, or, when all have failed, with the error of the last
/// (one that only tells of this host's own routes gives way to one from a peer; WEIR_ETIMEDOUT where an attempt
/// took too long), or with WEIR_ECANCELED. Cancel and close end every attempt at once, and so does a time limit of the
/// writing direction, which holds for the whole.
///
/// The stream must have no fd. Options of the socket are set afterwards; reads and writes begin when it is
/// connected. `addresses` and `lengths` are not needed after the call.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (no address or more than WEIR_CONNECT_LIST_MAX, a bad one, a NULL, bad
/// `options`), WEIR_EBUSY (there is an fd, or an operation of the writing direction is pending), WEIR_ENOMEM,
/// WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_stream_connect_list(
    stream: *mut weir_stream,
    addresses: *const *const sockaddr,
    lengths: *const socklen_t,
    count: usize,
    options: *const weir_connect_options,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| {
        // SAFETY: promised by the caller.
        let list = unsafe { address_list(addresses, lengths, count) }?;
        connect_list::begin(&caller, token, list, pace(options)?, callback, user)
    }))
}

/// # Safety
/// Both arrays are NULL or have `count` elements, and the addresses their lengths.
unsafe fn address_list(
    addresses: *const *const sockaddr,
    lengths: *const socklen_t,
    count: usize,
) -> Result<Vec<Address>, Errno> {
    if addresses.is_null() || lengths.is_null() || count == 0 || count > WEIR_CONNECT_LIST_MAX {
        return Err(Errno::INVAL);
    }
    let mut list = Vec::new();
    list.try_reserve_exact(count).map_err(|_| Errno::NOMEM)?;
    for at in 0..count {
        // SAFETY: promised by the caller.
        list.push(unsafe { address_in(*addresses.add(at), *lengths.add(at)) }?);
    }
    Ok(list)
}
