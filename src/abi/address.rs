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
/// "\\\\" for a backslash, in paths too; a path that begins with "@" is written with "\\x40". Names of hosts are not
/// looked up. The port is needed, 0 to 65535. `address` and `length` are written on success only.
///
/// Errors: WEIR_EINVAL (NULL, or not such an address), -ENAMETOOLONG (an AF_UNIX path or name of more than 107 bytes),
/// -ENODEV (there is no such interface), -EMFILE or -ENFILE (no fd is left to ask for the interface with).
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
    if let Err(error) = address.format(&mut buffer) {
        return error.code();
    }
    if buffer.used >= capacity {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::mem::zeroed;
    use std::ptr::{null, null_mut};

    const MARK: u8 = 0xA5;

    fn parse(text: &CStr) -> Result<(sockaddr_storage, socklen_t), c_int> {
        // SAFETY: all zero is an address of no family.
        let (mut address, mut length): (sockaddr_storage, _) = (unsafe { zeroed() }, 77);
        // SAFETY: a C string, and two places to write.
        match unsafe { weir_address_parse(text.as_ptr(), &raw mut address, &raw mut length) } {
            0 => Ok((address, length)),
            error => {
                assert_eq!((length, address.ss_family), (77, 0), "written in spite of {error}");
                Err(error)
            }
        }
    }

    /// The code, and the text with a mark wherever nothing was written.
    fn format(address: &sockaddr_storage, length: socklen_t, capacity: usize) -> (c_int, Vec<u8>) {
        let mut text = vec![MARK; WEIR_ADDRESS_TEXT_MAX + 8];
        let from = (&raw const *address).cast();
        // SAFETY: an address, and room for the capacity.
        let code = unsafe { weir_address_format(from, length, text.as_mut_ptr().cast(), capacity) };
        (code, text)
    }

    #[test]
    fn text_goes_both_ways() {
        let longest = format!("unix:@{}\0", "\\xff".repeat(107));
        for text in [
            c"127.0.0.1:80",
            c"[::1]:65535",
            c"[fe80::1%lo]:80",
            c"unix:/run/x.sock",
            c"unix:@name",
            CStr::from_bytes_with_nul(longest.as_bytes()).unwrap(),
        ] {
            let (address, length) = parse(text).unwrap();
            let (code, written) = format(&address, length, WEIR_ADDRESS_TEXT_MAX);
            assert_eq!((code, CStr::from_bytes_until_nul(&written)), (0, Ok(text)));
        }
    }

    #[test]
    fn a_small_capacity_is_enospc_and_nothing_is_written() {
        let (address, length) = parse(c"127.0.0.1:80").unwrap();
        for capacity in 0..=20 {
            let (code, text) = format(&address, length, capacity);
            let used = if capacity > 12 { 13 } else { 0 };
            assert_eq!(code, if used > 0 { 0 } else { -libc::ENOSPC }, "{capacity}");
            assert!(text[used..].iter().all(|byte| *byte == MARK), "{capacity}");
        }
    }

    #[test]
    fn bad_arguments_have_their_errors() {
        let (address, length) = parse(c"127.0.0.1:80").unwrap();
        let (mut to, mut size) = (address, length);
        let mut text = [0; 64];
        let from = (&raw const address).cast();
        // SAFETY: NULL is an error; the others are valid.
        unsafe {
            let (to, size, text) = (&raw mut to, &raw mut size, text.as_mut_ptr());
            assert_eq!(weir_address_parse(null(), to, size), -libc::EINVAL);
            assert_eq!(weir_address_parse(c"[::1]:1".as_ptr(), null_mut(), size), -libc::EINVAL);
            assert_eq!(weir_address_parse(c"[::1]:1".as_ptr(), to, null_mut()), -libc::EINVAL);
            assert_eq!(weir_address_format(null(), length, text, 64), -libc::EINVAL);
            assert_eq!(weir_address_format(from, length, null_mut(), 64), -libc::EINVAL);
            assert_eq!(weir_address_format(from, length - 1, text, 64), -libc::EINVAL);
            assert_eq!(weir_address_format(from, 129, text, 64), -libc::EINVAL);
            assert_eq!(weir_address_format(from, 0, text, 64), -libc::EINVAL);
        }
        assert_eq!(size, length);
        let mut other = address;
        other.ss_family = 0xFFFF;
        assert_eq!(format(&other, length, 64).0, -libc::EAFNOSUPPORT);

        assert_eq!(parse(c"127.0.0.1:+80").err(), Some(-libc::EINVAL));
        assert_eq!(parse(c"").err(), Some(-libc::EINVAL));
        assert_eq!(parse(c"[fe80::1%weir-none]:80").err(), Some(-libc::ENODEV));
        let long = format!("unix:/{}\0", "p".repeat(5000));
        let long = CStr::from_bytes_with_nul(long.as_bytes()).unwrap();
        assert_eq!(parse(long).err(), Some(-libc::ENAMETOOLONG));
    }
}
