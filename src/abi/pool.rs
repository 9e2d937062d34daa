//! Multi-shot reads into the context's pool.

use super::handle::{
    address_out, code, context, datagram, stream, weir_buffer_callback, weir_context,
    weir_datagram, weir_stream,
};
use crate::sched::frame::Caller;
use crate::services::pooled as service;
use crate::sys::errno::Errno;
use libc::{c_int, c_void, sockaddr_storage, socklen_t};

/// Reads until the end of the stream: the callback is called with 0 and the data each time that some has
/// come, in a buffer of the context's pool, and once, at last, with a negative status and no data: WEIR_EOF,
/// WEIR_ECANCELED after cancel, close or destruction, or what the connection met. The calls never overlap. It
/// is the stream's one reading operation meanwhile. A buffer is needed only while there is data: ten
/// thousand idle connections need none.
///
/// With a NULL callback each delivery is a record of kind WEIR_OP_READ: `value` is the number of bytes, `extra` their
/// offset in the pool's memory, see weir_context_pool(). The buffer is then the receiver's until
/// weir_context_pool_release() or a WEIR_SUBMIT_RELEASE. While no buffer is free reading pauses, and the data
/// waits in the kernel; those that pause take turns.
///
/// Errors: WEIR_EBADF, WEIR_EBUSY (a read is pending), WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches),
/// WEIR_ENOMEM (also: for the pool), WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_stream_read_each(
    stream: *mut weir_stream,
    callback: weir_buffer_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::stream(stream).and_then(|token| service::read_each(&caller, token, callback, user)))
}

/// Receives datagrams one after another, each into a buffer of the context's pool and with a record of kind
/// WEIR_OP_RECEIVE: `value` is the datagram's length, `extra` the buffer's offset; the buffer is the receiver's until it is
/// released. A datagram that is longer than a buffer is cut: `value` is above the size of a buffer then. Ends once with a
/// negative status: WEIR_ECANCELED after cancel, close or destruction, or the error of the socket (-ECONNREFUSED where a
/// connected peer is gone). While no buffer is free receiving pauses, and the datagrams wait in the kernel.
///
/// Errors: as weir_stream_read_each().
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_datagram_receive_each(
    datagram: *mut weir_datagram,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::datagram(datagram).and_then(|token| service::receive_each(&caller, token, user)))
}

/// Where the datagram in a buffer came from. A sender without a name is of family AF_UNSPEC.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`address` or `length` is NULL; no buffer with a datagram that the caller has begins
/// there).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_pool_sender(
    context: *mut weir_context,
    offset: u64,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let caller = Caller::current();
    let found = || self::context(&caller, context)?.buffers.sender(offset);
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, found) }
}

/// The pool's memory: where it begins, the bytes of a buffer and the number of buffers, each of which may be
/// NULL. It stays in its place until the context is destroyed. The pool is made here if it was not used yet.
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_context_pool(
    context: *mut weir_context,
    base: *mut *const c_void,
    slot_size: *mut usize,
    slots: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let found = || {
        let context = self::context(&caller, context)?;
        context.check_open()?;
        let shape = context.options().pool;
        context.buffers.prepare(shape)?;
        let memory = context.buffers.base().ok_or(Errno::NOMEM)?;
        // SAFETY: promised by the caller.
        unsafe {
            if let Some(base) = base.as_mut() {
                *base = memory.as_ptr().cast_const().cast();
            }
            if let Some(slot_size) = slot_size.as_mut() {
                *slot_size = shape.slot_size as usize;
            }
            if let Some(slots) = slots.as_mut() {
                *slots = shape.slots as usize;
            }
        }
        Ok(())
    };
    code(found())
}

/// Gives a buffer back, by the offset that its record told. A stream whose reading is paused goes on.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (no buffer that the caller has begins there).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_context_pool_release(context: *mut weir_context, offset: u64) -> c_int {
    let caller = Caller::current();
    code(
        self::context(&caller, context)
            .and_then(|context| context.buffers.give_back(&caller, offset)),
    )
}
