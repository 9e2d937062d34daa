//! Version of the library.

use super::compose::{weir_connect_options, weir_until};
use super::context::{weir_context_options, weir_stall};
use super::enter::weir_submission;
use super::memory::weir_allocator;
use super::message::weir_datagram_message;
use super::record::weir_record;
use super::report::{weir_report_line, weir_stats};
use super::resolver::weir_resolve_hints;
use libc::c_char;
use std::ffi::CStr;

/// Major version of this header.
pub const WEIR_VERSION_MAJOR: u32 = 0;
/// Minor version of this header.
pub const WEIR_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const WEIR_VERSION_PATCH: u32 = 0;

/// The version of the library that runs: major << 16 | minor << 8 | patch. Compare it with the header's
/// constants where the library is loaded at run time.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_version() -> u32 {
    WEIR_VERSION_MAJOR << 16 | WEIR_VERSION_MINOR << 8 | WEIR_VERSION_PATCH
}

/// The same as text, such as "0.1.0". Static; never NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

const SIZES: [(&str, usize); 11] = [
    ("weir_allocator", size_of::<weir_allocator>()),
    ("weir_connect_options", size_of::<weir_connect_options>()),
    ("weir_context_options", size_of::<weir_context_options>()),
    ("weir_datagram_message", size_of::<weir_datagram_message>()),
    ("weir_record", size_of::<weir_record>()),
    ("weir_report_line", size_of::<weir_report_line>()),
    ("weir_resolve_hints", size_of::<weir_resolve_hints>()),
    ("weir_stall", size_of::<weir_stall>()),
    ("weir_stats", size_of::<weir_stats>()),
    ("weir_submission", size_of::<weir_submission>()),
    ("weir_until", size_of::<weir_until>()),
];

/// The size of a struct of this header in the library that runs, for languages that lay structs out themselves: compare it
/// where the library is loaded. 0 for a name that it does not know.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_struct_size(name: *const c_char) -> usize {
    if name.is_null() {
        return 0;
    }
    // SAFETY: promised by the caller.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    SIZES.iter().find(|(known, _)| known.as_bytes() == name).map_or(0, |(_, size)| *size)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_the_package_agree() {
        let text = format!("{WEIR_VERSION_MAJOR}.{WEIR_VERSION_MINOR}.{WEIR_VERSION_PATCH}");
        assert_eq!(text, env!("CARGO_PKG_VERSION"));
    }
}
