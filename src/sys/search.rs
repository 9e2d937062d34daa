//! Looking for bytes among bytes.
#![allow(unsafe_code, reason = "calls libc")]

use libc::c_void;
use std::ptr;

/// Where `needle` first occurs in the `length` bytes at `data`.
///
/// # Safety
/// Both are readable for their lengths.
pub unsafe fn find(
    data: *const c_void,
    length: usize,
    needle: *const c_void,
    needle_length: usize,
) -> Option<usize> {
    // SAFETY: promised by the caller.
    let found = unsafe { libc::memmem(data, length, needle, needle_length) };
    ptr::NonNull::new(found).map(|found| found.as_ptr().addr() - data.addr())
}
