//! Handles and callbacks: the types that every section of the header uses.

use crate::sched::frame::Caller;
use crate::sched::hooks::KIND_HOOK;
use crate::sched::scheduler::{KIND_CONTEXT, Pinned, Scheduler};
use crate::sched::strand::KIND_STRAND;
use crate::sched::table::Token;
use crate::sched::timers::KIND_TIMER;
use crate::sched::watch::KIND_WATCH;
use crate::services::{handle as service, kind};
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::{c_char, c_int, c_void, sockaddr, sockaddr_storage, socklen_t};
use std::ffi::{CStr, CString};

/// An event loop. Made by weir_context_create().
pub struct weir_context {
    _opaque: [u8; 0],
}

/// A connected byte stream: TCP or AF_UNIX. Made by weir_stream_create() and by accepting.
pub struct weir_stream {
    _opaque: [u8; 0],
}

/// A listening socket. Made by weir_acceptor_create().
pub struct weir_acceptor {
    _opaque: [u8; 0],
}

/// A socket that keeps messages apart: UDP or AF_UNIX. Made by weir_datagram_create().
pub struct weir_datagram {
    _opaque: [u8; 0],
}

/// A timer. Made by weir_timer_create().
pub struct weir_timer {
    _opaque: [u8; 0],
}

/// A strand. Made by weir_strand_create().
pub struct weir_strand {
    _opaque: [u8; 0],
}

/// A turn hook. Made by weir_hook_create().
pub struct weir_hook {
    _opaque: [u8; 0],
}

/// A set of POSIX signals. Made by weir_signals_create().
pub struct weir_signals {
    _opaque: [u8; 0],
}

/// Watches an fd of the user's. Made by weir_watch_create().
pub struct weir_watch {
    _opaque: [u8; 0],
}

/// A child process. Made by weir_process_create().
pub struct weir_process {
    _opaque: [u8; 0],
}

/// A function that runs on a thread of the library's. Made by weir_job_start().
pub struct weir_job {
    _opaque: [u8; 0],
}

/// Looks up names and addresses. Made by weir_resolver_create().
pub struct weir_resolver {
    _opaque: [u8; 0],
}

/// Called when an operation completes: with 0 or a negative code, and the pointer given with it.
pub type weir_callback = Option<unsafe extern "C-unwind" fn(status: c_int, user: *mut c_void)>;

/// Called when a transfer completes. `bytes` have moved, whatever the status: an operation that was
/// cancelled or failed half way still tells how far it came.
pub type weir_io_callback =
    Option<unsafe extern "C-unwind" fn(status: c_int, bytes: usize, user: *mut c_void)>;

/// Called when an operation that gives a number completes.
pub type weir_value_callback =
    Option<unsafe extern "C-unwind" fn(status: c_int, value: c_int, user: *mut c_void)>;

/// Called with an accepted connection. `peer` is a new stream of the acceptor's context that belongs to
/// the receiver, who closes it. `address` is the other side's address, valid during the call only.
/// Where `status` is negative `peer` and `address` are NULL.
pub type weir_accept_callback = Option<
    unsafe extern "C-unwind" fn(
        status: c_int,
        peer: *mut weir_stream,
        address: *const sockaddr,
        address_length: socklen_t,
        user: *mut c_void,
    ),
>;

/// Called when a multi-shot read has filled a buffer of the library's. The `length` bytes at `data` are valid
/// during the call only. Where `status` is negative there are none.
pub type weir_buffer_callback = Option<
    unsafe extern "C-unwind" fn(
        status: c_int,
        data: *const c_void,
        length: usize,
        user: *mut c_void,
    ),
>;

/// The code of a result.
#[inline]
pub(super) fn code(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.code(),
    }
}

/// Writes a result through an out-pointer that must not be NULL.
///
/// # Safety
/// `out` is NULL or points to writable memory.
pub(super) unsafe fn deliver<T>(out: *mut T, result: impl FnOnce() -> Result<T, Errno>) -> c_int {
    if out.is_null() {
        return Errno::INVAL.code();
    }
    match result() {
        Ok(value) => {
            // SAFETY: not NULL; promised by the caller.
            unsafe { out.write(value) };
            0
        }
        Err(error) => error.code(),
    }
}

/// Writes a count through an out-pointer that may be NULL.
///
/// # Safety
/// `out` is NULL or points to writable memory.
pub(super) unsafe fn count(out: *mut usize, result: Result<usize, Errno>) -> c_int {
    match result {
        Ok(value) => {
            if !out.is_null() {
                // SAFETY: not NULL; promised by the caller.
                unsafe { out.write(value) };
            }
            0
        }
        Err(error) => error.code(),
    }
}

/// A token as the pointer that C sees.
#[inline]
pub(super) fn pointer<T>(token: Token) -> *mut T {
    std::ptr::without_provenance_mut(usize::try_from(token.raw()).unwrap_or(0))
}

#[inline]
fn token<T>(pointer: *const T, kind: u8) -> Result<Token, Errno> {
    let token = Token::from_raw(pointer.addr() as u64);
    if token.kind() == kind { Ok(token) } else { Err(Errno::BADF) }
}

#[inline]
pub(super) fn stream(pointer: *const weir_stream) -> Result<Token, Errno> {
    token(pointer, kind::STREAM)
}

#[inline]
pub(super) fn acceptor(pointer: *const weir_acceptor) -> Result<Token, Errno> {
    token(pointer, kind::ACCEPTOR)
}

#[inline]
pub(super) fn datagram(pointer: *const weir_datagram) -> Result<Token, Errno> {
    token(pointer, kind::DATAGRAM)
}

#[inline]
pub(super) fn timer(pointer: *const weir_timer) -> Result<Token, Errno> {
    token(pointer, KIND_TIMER)
}

#[inline]
pub(super) fn strand(pointer: *const weir_strand) -> Result<Token, Errno> {
    token(pointer, KIND_STRAND)
}

#[inline]
pub(super) fn process(pointer: *const weir_process) -> Result<Token, Errno> {
    token(pointer, kind::PROCESS)
}

#[inline]
pub(super) fn hook(pointer: *const weir_hook) -> Result<Token, Errno> {
    token(pointer, KIND_HOOK)
}

#[inline]
pub(super) fn signals(pointer: *const weir_signals) -> Result<Token, Errno> {
    token(pointer, kind::SIGNALS)
}

#[inline]
pub(super) fn watch(pointer: *const weir_watch) -> Result<Token, Errno> {
    token(pointer, KIND_WATCH)
}

#[inline]
pub(super) fn job(pointer: *const weir_job) -> Result<Token, Errno> {
    token(pointer, kind::JOB)
}

#[inline]
pub(super) fn resolver(pointer: *const weir_resolver) -> Result<Token, Errno> {
    token(pointer, kind::RESOLVER)
}

/// A handle of any kind.
#[inline]
pub(super) fn any(pointer: *const c_void) -> Token {
    Token::from_raw(pointer.addr() as u64)
}

#[inline]
pub(super) fn context_token(pointer: *const weir_context) -> Result<Token, Errno> {
    token(pointer, KIND_CONTEXT)
}

#[inline]
pub(super) fn context(caller: &Caller, pointer: *const weir_context) -> Result<Pinned, Errno> {
    Scheduler::resolve(caller, context_token(pointer)?)
}

/// The context for something new, which a context that is being destroyed refuses.
#[inline]
pub(super) fn open_context(caller: &Caller, pointer: *const weir_context) -> Result<Pinned, Errno> {
    Scheduler::resolve_open(caller, context_token(pointer)?)
}

/// The handle of a context that an object belongs to.
pub(super) fn context_of(sched: &Scheduler) -> Result<*mut weir_context, Errno> {
    sched.token().map(pointer).ok_or(Errno::BADF)
}

/// An address from C.
///
/// # Safety
/// `address` is NULL or points to `length` bytes.
pub(super) unsafe fn address_in(
    address: *const sockaddr,
    length: socklen_t,
) -> Result<Address, Errno> {
    // SAFETY: promised by the caller.
    unsafe { Address::from_raw(address, length) }
}

/// Writes an address through a pair of out-pointers.
///
/// # Safety
/// Both are NULL or writable.
pub(super) unsafe fn address_out(
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
    found: impl FnOnce() -> Result<Address, Errno>,
) -> c_int {
    if address.is_null() || length.is_null() {
        return Errno::INVAL.code();
    }
    match found() {
        Ok(found) => {
            // SAFETY: not NULL; promised by the caller. An address is never longer than the storage.
            unsafe {
                found
                    .as_ptr()
                    .cast::<u8>()
                    .copy_to_nonoverlapping(address.cast(), found.len() as usize);
                length.write(found.len());
            }
            0
        }
        Err(error) => error.code(),
    }
}

/// Ends a handle of any type but a context, as its own close function does.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_handle_close(handle: *mut c_void) -> c_int {
    code(service::close(&Caller::current(), any(handle)))
}

/// Ends what is pending on a handle of any type but a context, as its own cancel function does. `count`, which
/// may be NULL, receives the number ended.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_cancel(handle: *mut c_void, count: *mut usize) -> c_int {
    let ended = service::cancel(&Caller::current(), any(handle));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// As weir_handle_cancel(), but ends only what was begun with the pointer `user`: one read of a stream with a write
/// pending, one of several waits or lookups, one of the writes in the queue of weir_stream_send(), which tells what had
/// moved of it, and what is queued behind it follows that. `count`, which may be NULL, receives the number ended: 0 where
/// nothing of it is pending (any more).
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_cancel_operation(
    handle: *mut c_void,
    user: *mut c_void,
    count: *mut usize,
) -> c_int {
    let ended = service::cancel_operation(&Caller::current(), any(handle), user);
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// Has the fd of a stream, an acceptor or a datagram handle stay open (`keep` not 0) when the handle is closed, or its
/// context destroyed, or not (0, as every handle begins): for an fd that was adopted and belongs to somebody else. It
/// holds for the fd that the handle has now. The kernel is told to forget the fd; that it is non-blocking stays.
///
/// Errors: WEIR_EBADF, WEIR_ENOTCONN (there is no fd).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_handle_keep_fd(handle: *mut c_void, keep: c_int) -> c_int {
    code(service::keep_fd(any(handle), keep != 0))
}

/// The context of a handle of any type.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_context(
    handle: *mut c_void,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::context(any(handle)).map(pointer)) }
}

/// The number of operations that are pending on a handle, or whose completion is not delivered yet.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`count` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_pending(handle: *mut c_void, count: *mut usize) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(count, || service::pending(any(handle))) }
}

/// Names a handle, for reports. The text is copied; NULL takes the name away.
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_set_name(handle: *mut c_void, name: *const c_char) -> c_int {
    let copy = || {
        if name.is_null() {
            return Ok(None);
        }
        // SAFETY: promised by the caller.
        let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| Errno::NOMEM)?;
        copy.extend_from_slice(bytes);
        CString::from_vec_with_nul(copy).map(Some).map_err(|_| Errno::INVAL)
    };
    code(copy().and_then(|name| service::set_name(any(handle), name)))
}

/// Copies the name of a handle to `buffer`, of `size` bytes, with a terminating 0; an empty text where it has
/// none. A name that does not fit is cut short.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`buffer` is NULL or `size` is 0).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_name(
    handle: *mut c_void,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    let copied = service::read_name(any(handle), |name| {
        if buffer.is_null() || size == 0 {
            return Err(Errno::INVAL);
        }
        let length = name.len().min(size - 1);
        // SAFETY: `size` bytes are writable, promised by the caller.
        unsafe {
            name.as_ptr().copy_to_nonoverlapping(buffer.cast(), length);
            buffer.add(length).write(0);
        }
        Ok(())
    });
    code(copied.and_then(|copied| copied))
}

/// Tags a handle with a number of the user's, for weir_context_cancel_tag(). 0 is no tag.
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_handle_set_tag(handle: *mut c_void, tag: u64) -> c_int {
    code(service::set_tag(any(handle), tag))
}

/// The tag of a handle; 0 where it has none.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`tag` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_handle_tag(handle: *mut c_void, tag: *mut u64) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(tag, || service::tag(any(handle))) }
}

/// Sends the callbacks of a handle through a strand of its context from now on; NULL frees it of its
/// strand. The handle must have nothing pending; but for a job, whose completion goes through the strand that it has
/// when its function returns.
///
/// Errors: WEIR_EBADF (either handle), WEIR_EBUSY (something is pending), WEIR_EINVAL (a strand of another
/// context, or `handle` is a strand or a hook).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_handle_set_strand(handle: *mut c_void, strand: *mut weir_strand) -> c_int {
    let strand = if strand.is_null() { Ok(None) } else { self::strand(strand).map(Some) };
    code(strand.and_then(|strand| service::bind(any(handle), strand)))
}
