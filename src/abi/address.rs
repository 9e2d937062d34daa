//! Addresses as text.

use super::handle::{address_in, address_out};
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::{c_char, c_int, sockaddr, sockaddr_storage, socklen_t};
use std::ffi::CStr;
use std::fmt::{self, Write};

/// Room enough for every address that weir_address_format() writes, and its NUL. (The longest is an abstract
/// AF_UNIX name of which every byte is escaped.)
pub const WEIR_ADDRESS_TEXT_MAX: usize = 512;

/// Reads an address: "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80" (a scope by interface name or number),
/// "unix:/run/x.sock", or "unix:@name" for the abstract namespace, where "\\xNN" stands for any byte and
/// "\\\\" for a backslash. Names of hosts are not looked up. The port is needed, 0 to 65535.
///
/// Errors: WEIR_EINVAL (NULL, or not such an address), -ENAMETOOLONG (an AF_UNIX path or name), -ENODEV (there is no
/// such interface).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_address_parse(
    text: *const c_char,
    address: *mut sockaddr_storage,
    length: *mut socklen_t,
) -> c_int {
    let parsed = || {
        if text.is_null() {
            return Err(Errno::INVAL);
        }
        // SAFETY: promised by the caller.
        Address::parse(unsafe { CStr::from_ptr(text) }.to_bytes())
    };
    // SAFETY: promised by the caller.
    unsafe { address_out(address, length, parsed) }
}

/// Writes an address as text, with its NUL, in the form that weir_address_parse() reads. An AF_UNIX socket that has
/// no name is "unix:".
///
/// Errors: WEIR_EINVAL (NULL, or `length` too short for the family), -EAFNOSUPPORT (another family), -ENOSPC (it does not
/// fit in `capacity` bytes; WEIR_ADDRESS_TEXT_MAX are always enough).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_address_format(
    address: *const sockaddr,
    length: socklen_t,
    text: *mut c_char,
    capacity: usize,
) -> c_int {
    if text.is_null() {
        return Errno::INVAL.code();
    }
    // SAFETY: promised by the caller.
    let address = match unsafe { address_in(address, length) } {
        Ok(address) => address,
        Err(error) => return error.code(),
    };
    let mut buffer = Buffer { bytes: [0; WEIR_ADDRESS_TEXT_MAX], used: 0 };
    if address.format(&mut buffer).is_err() || buffer.used >= capacity {
        return Errno::NOSPC.code();
    }
    // SAFETY: `used` bytes and a NUL fit, as checked; the buffer ends with one at least.
    unsafe { buffer.bytes.as_ptr().copy_to_nonoverlapping(text.cast(), buffer.used + 1) };
    0
}

/// Text of a bounded length, with room for a NUL.
struct Buffer {
    bytes: [u8; WEIR_ADDRESS_TEXT_MAX],
    used: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        if end >= WEIR_ADDRESS_TEXT_MAX {
            return Err(fmt::Error);
        }
        self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}
