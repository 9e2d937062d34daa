//! Strands.

use super::handle::{
    code, context_of, deliver, open_context, pointer, strand, weir_callback, weir_context,
    weir_strand,
};
use crate::sched::frame::Caller;
use crate::sched::strand::{self as service, Strand};
use libc::{c_int, c_void};

/// Makes a strand of a context: callbacks that go through it never run at the same time, whatever the
/// number of threads, and run in the order in which they were queued; no thread waits for another.
/// weir_handle_set_strand() sends the callbacks of a handle through it. End it with weir_strand_close().
///
/// A nested run function, called from a callback that is in a strand, runs no callback of that strand.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_strand_create(
    context: *mut weir_context,
    out: *mut *mut weir_strand,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || Strand::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends the handle. Nothing is cancelled: what was posted is called in its turn, and what is bound to the
/// strand stays serialised.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_strand_close(strand: *mut weir_strand) -> c_int {
    code(self::strand(strand).and_then(|token| {
        Strand::lock(token)?.close();
        Ok(())
    }))
}

/// The context that the strand belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_strand_context(
    strand: *mut weir_strand,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || context_of(Strand::lock(self::strand(strand)?)?.sched)) }
}

/// Queues a function to be called in the strand; never calls it at once. Functions are called in the order
/// in which they were posted. Status: 0, or WEIR_ECANCELED from weir_context_destroy().
///
/// Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_strand_post(
    strand: *mut weir_strand,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::strand(strand).and_then(|token| service::post(&caller, token, callback, user)))
}

/// Calls a function at once with status 0 when the calling thread runs a callback of the strand, else as
/// weir_strand_post().
///
/// Errors: as weir_strand_post().
///
/// Thread: any; never blocks but for the callbacks that it runs.
#[unsafe(no_mangle)]
pub extern "C" fn weir_strand_dispatch(
    strand: *mut weir_strand,
    callback: weir_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::strand(strand).and_then(|token| service::dispatch(&caller, token, callback, user)))
}

/// 1 when the calling thread runs a callback of the strand, else 0.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_strand_running_in_this_thread(strand: *mut weir_strand) -> c_int {
    let caller = Caller::current();
    self::strand(strand)
        .and_then(|token| service::is_inside(&caller, token))
        .map_or_else(|error| error.code(), c_int::from)
}
