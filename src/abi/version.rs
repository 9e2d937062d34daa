//! Version of the library.

use libc::c_char;

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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_the_package_agree() {
        let text = format!("{WEIR_VERSION_MAJOR}.{WEIR_VERSION_MINOR}.{WEIR_VERSION_PATCH}");
        assert_eq!(text, env!("CARGO_PKG_VERSION"));
    }
}
