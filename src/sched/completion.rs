//! Delivery to the user: the only place where a user's function is called.
//!
//! Callbacks are `extern "C-unwind"`: a C++ exception that leaves one ends the process with a message,
//! where `extern "C"` would be undefined. No lock is held and the op's object is already free for the
//! next operation when a callback runs, so a callback may call every function of the library.
#![allow(unsafe_code, reason = "calls the functions that the user gave")]
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "pointers are handed on, not followed")]

use super::frame::Frame;
use libc::{c_int, c_void, sockaddr, socklen_t};

/// `weir_callback`.
pub type StatusFn = unsafe extern "C-unwind" fn(c_int, *mut c_void);
/// `weir_io_callback`.
pub type IoFn = unsafe extern "C-unwind" fn(c_int, usize, *mut c_void);
/// `weir_accept_callback`, with the peer's handle as an opaque pointer.
pub type AcceptFn =
    unsafe extern "C-unwind" fn(c_int, *mut c_void, *const sockaddr, socklen_t, *mut c_void);

/// A user's function of one of the kinds.
#[derive(Clone, Copy)]
pub enum Callback {
    /// Takes a status.
    Status(StatusFn),
    /// Takes a status and a byte count.
    Io(IoFn),
    /// Takes a status, a new handle and its peer's address.
    Accept(AcceptFn),
}

/// Calls a function with a status.
#[inline]
pub fn deliver_status(frame: &Frame, callback: StatusFn, status: c_int, user: *mut c_void) {
    frame.delivered.set(frame.delivered.get() + 1);
    // SAFETY: the user promised a function of this type that may be called with this pointer.
    unsafe { callback(status, user) }
}

/// Calls a function of whichever kind; what a kind takes beyond status and bytes is empty.
#[inline]
pub fn deliver(frame: &Frame, callback: Callback, status: c_int, bytes: usize, user: *mut c_void) {
    match callback {
        Callback::Status(callback) => deliver_status(frame, callback, status, user),
        Callback::Io(callback) => {
            frame.delivered.set(frame.delivered.get() + 1);
            // SAFETY: as in `deliver_status`.
            unsafe { callback(status, bytes, user) }
        }
        Callback::Accept(callback) => deliver_accept(
            frame,
            callback,
            status,
            std::ptr::null_mut(),
            (std::ptr::null(), 0),
            user,
        ),
    }
}

/// Calls an accept function. The address lives on the caller's stack.
pub fn deliver_accept(
    frame: &Frame,
    callback: AcceptFn,
    status: c_int,
    peer: *mut c_void,
    address: (*const sockaddr, socklen_t),
    user: *mut c_void,
) {
    frame.delivered.set(frame.delivered.get() + 1);
    // SAFETY: as in `deliver_status`.
    unsafe { callback(status, peer, address.0, address.1, user) }
}

/// Calls a function at once, on behalf of `dispatch`, inside whatever callback is running.
pub fn call_now(callback: StatusFn, user: *mut c_void) {
    // SAFETY: as in `deliver_status`.
    unsafe { callback(0, user) }
}
