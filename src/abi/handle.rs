//! Handles and callbacks: the types that every section of the header uses.

use crate::sched::frame::Caller;
use crate::sched::scheduler::{KIND_CONTEXT, Pinned, Scheduler};
use crate::sched::table::Token;
use crate::sched::timers::KIND_TIMER;
use crate::services::kind;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::{c_int, c_void, sockaddr, sockaddr_storage, socklen_t};

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

/// A timer. Made by weir_timer_create().
pub struct weir_timer {
    _opaque: [u8; 0],
}

/// Called when an operation completes: with 0 or a negative code, and the pointer given with it.
pub type weir_callback = Option<unsafe extern "C-unwind" fn(status: c_int, user: *mut c_void)>;

/// Called when a transfer completes. `bytes` have moved, whatever the status: an operation that was
/// cancelled or failed half way still tells how far it came.
pub type weir_io_callback =
    Option<unsafe extern "C-unwind" fn(status: c_int, bytes: usize, user: *mut c_void)>;

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
pub(super) fn timer(pointer: *const weir_timer) -> Result<Token, Errno> {
    token(pointer, KIND_TIMER)
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

/// A callback that must not be NULL.
#[inline]
pub(super) fn required<F>(callback: Option<F>) -> Result<F, Errno> {
    callback.ok_or(Errno::INVAL)
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
