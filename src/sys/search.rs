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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn found(data: &[u8], needle: &[u8]) -> Option<usize> {
        let (data, length) = (data.as_ptr().cast(), data.len());
        // SAFETY: both are slices.
        unsafe { find(data, length, needle.as_ptr().cast(), needle.len()) }
    }

    #[test]
    fn the_first_occurrence_within_the_length() {
        assert_eq!(found(b"aababab", b"abab"), Some(1));
        assert_eq!(found(b"aabab", b"abab"), Some(1));
        assert_eq!(found(b"aaba", b"abab"), None);
        assert_eq!(found(b"", b"a"), None);
        assert_eq!(found(b"a\0b\0\0", b"\0\0"), Some(3));
    }
}
