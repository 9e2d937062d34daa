//! The program's own allocator.

use super::handle::code;
use crate::sys::errno::Errno;
use crate::sys::memory::{self, AllocateFn, Functions, ReleaseFn};
use libc::{c_int, c_void};
use std::mem::size_of;

/// Functions that the library gets its memory from, for weir_set_allocator(). They are called from any thread, also with
/// locks of the library held: they must not call the library.
#[repr(C)]
pub struct weir_allocator {
    /// sizeof(weir_allocator).
    pub struct_size: usize,
    /// Gives `size` bytes (never 0) at a multiple of `alignment` (a power of two), or NULL. A function that gets
    /// NULL in the middle of a call returns WEIR_ENOMEM. (One thing it can't do without: the table of threads that sleep
    /// on a lock grows with their number. Where this gives NULL for that, libc is asked.)
    pub allocate: Option<
        unsafe extern "C" fn(size: usize, alignment: usize, user: *mut c_void) -> *mut c_void,
    >,
    /// Takes back what `allocate` gave, with the same size and alignment.
    pub release: Option<
        unsafe extern "C" fn(memory: *mut c_void, size: usize, alignment: usize, user: *mut c_void),
    >,
    /// Passed to both.
    pub user: *mut c_void,
}

/// Has the library get its memory from the program, for the whole process and for ever. To be called before
/// anything else of the library: what was allocated by one allocator can't be freed by another. (Handles and
/// pooled operations are shared by all contexts, so this can't be an option of one.)
///
/// Errors: WEIR_EINVAL (NULL, or a function is NULL, or struct_size), WEIR_EBUSY (memory was allocated already).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_set_allocator(allocator: *const weir_allocator) -> c_int {
    let set = || {
        // SAFETY: promised by the caller; the first field is there in every version of the struct.
        if allocator.is_null() || unsafe { (*allocator).struct_size } != size_of::<weir_allocator>()
        {
            return Err(Errno::INVAL);
        }
        // SAFETY: of this size, promised by the caller.
        let given = unsafe { allocator.read() };
        let (Some(allocate), Some(release)) = (given.allocate, given.release) else {
            return Err(Errno::INVAL);
        };
        let (allocate, release): (AllocateFn, ReleaseFn) = (allocate, release);
        if memory::set(Functions { allocate, release, user: given.user }) {
            Ok(())
        } else {
            Err(Errno::BUSY)
        }
    };
    code(set())
}
