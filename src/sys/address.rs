//! Socket addresses: AF_INET, AF_INET6 and AF_UNIX, and their text.
#![allow(unsafe_code, reason = "reads the kernel's structs")]

use super::errno::Errno;
use libc::{
    c_char, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un,
    socklen_t,
};
use std::fmt::{self, Write};
use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr};

const STORAGE: usize = size_of::<sockaddr_storage>();
const PATH: usize = offset_of!(sockaddr_un, sun_path);
/// Bytes of a path or name in `sockaddr_un`.
const PATH_MAX: usize = size_of::<sockaddr_un>() - PATH;

/// An address of any family, with its length.
#[derive(Clone, Copy)]
pub struct Address {
    storage: sockaddr_storage,
    length: socklen_t,
}

impl Address {
    /// Room for an address that the kernel will write.
    pub fn empty() -> Self {
        // SAFETY: all zero is a valid sockaddr_storage.
        let storage = unsafe { std::mem::zeroed() };
        Address { storage, length: STORAGE as socklen_t }
    }

    /// A copy of an address. EINVAL: NULL, or a length that does not fit the family; EAFNOSUPPORT.
    ///
    /// # Safety
    /// `address` is NULL or points to `length` readable bytes.
    pub unsafe fn from_raw(address: *const sockaddr, length: socklen_t) -> Result<Self, Errno> {
        let size = length as usize;
        if address.is_null() || size < size_of::<sa_family_t>() || size > STORAGE {
            return Err(Errno::INVAL);
        }
        let mut copy = Self::empty();
        // SAFETY: `size` bytes on both sides.
        unsafe {
            address.cast::<u8>().copy_to_nonoverlapping((&raw mut copy.storage).cast(), size);
        }
        copy.length = length;
        let (least, most) = match copy.family() {
            libc::AF_INET => (size_of::<sockaddr_in>(), STORAGE),
            libc::AF_INET6 => (size_of::<sockaddr_in6>(), STORAGE),
            libc::AF_UNIX => (PATH, size_of::<sockaddr_un>()),
            _ => return Err(Errno::AFNOSUPPORT),
        };
        if (least..=most).contains(&size) { Ok(copy) } else { Err(Errno::INVAL) }
    }

    fn of<T>(value: T, length: usize) -> Self {
        let mut address = Self::empty();
        const { assert!(size_of::<T>() <= STORAGE) };
        // SAFETY: the storage is aligned for every address type and large enough.
        unsafe { (&raw mut address.storage).cast::<T>().write(value) };
        address.length = length as socklen_t;
        address
    }

    /// The address for the kernel.
    pub fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    /// Where the kernel writes.
    pub fn as_mut_ptr(&mut self) -> *mut sockaddr {
        (&raw mut self.storage).cast()
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "of a struct, not of a collection")]
    pub fn len(&self) -> socklen_t {
        self.length
    }

    /// Where the kernel writes the length.
    pub fn len_mut(&mut self) -> &mut socklen_t {
        &mut self.length
    }

    /// Cuts a length that the kernel reports beyond the room it had.
    pub(super) fn clamp(&mut self) {
        self.length = self.length.min(STORAGE as socklen_t);
    }

    /// AF_INET and so on.
    pub fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// Reads the text of an address.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Errno> {
        let text = text.as_ref();
        if let Some(name) = text.strip_prefix(b"unix:") {
            return parse_unix(name);
        }
        let text = str::from_utf8(text).map_err(|_| Errno::INVAL)?;
        let (host, port) = text.rsplit_once(':').ok_or(Errno::INVAL)?;
        let digits =
            (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().ok().filter(|_| digits).ok_or(Errno::INVAL)?;
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => parse_v6(host, port),
            None => {
                let host: Ipv4Addr = host.parse().map_err(|_| Errno::INVAL)?;
                // SAFETY: all zero is valid.
                let mut address: sockaddr_in = unsafe { std::mem::zeroed() };
                address.sin_family = libc::AF_INET as sa_family_t;
                address.sin_port = port.to_be();
                address.sin_addr.s_addr = u32::from(host).to_be();
                Ok(Self::of(address, size_of::<sockaddr_in>()))
            }
        }
    }

    /// Writes the text that [`Address::parse`] reads.
    pub fn format(&self, out: &mut impl Write) -> fmt::Result {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says so, and the storage is aligned for it.
                let address = unsafe { &*self.as_ptr().cast::<sockaddr_in>() };
                let host = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                write!(out, "{host}:{}", u16::from_be(address.sin_port))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let address = unsafe { &*self.as_ptr().cast::<sockaddr_in6>() };
                write!(out, "[{}", Ipv6Addr::from(address.sin6_addr.s6_addr))?;
                if address.sin6_scope_id != 0 {
                    out.write_char('%')?;
                    write_scope(out, address.sin6_scope_id)?;
                }
                write!(out, "]:{}", u16::from_be(address.sin6_port))
            }
            _ => {
                out.write_str("unix:")?;
                self.write_unix(out)
            }
        }
    }

    fn write_unix(&self, out: &mut impl Write) -> fmt::Result {
        // SAFETY: within the storage, since the length is.
        let name = unsafe {
            let used = (self.length as usize).clamp(PATH, STORAGE) - PATH;
            std::slice::from_raw_parts(self.as_ptr().cast::<u8>().add(PATH), used)
        };
        let name = match name.split_first() {
            None => return Ok(()),
            Some((0, name)) => {
                out.write_char('@')?;
                name
            }
            // A path ends at its NUL, which the kernel counts and users may leave out.
            Some(_) => name.split(|byte| *byte == 0).next().unwrap_or_default(),
        };
        for byte in name {
            match byte {
                b'\\' => out.write_str("\\\\")?,
                b' '..=b'~' => out.write_char(char::from(*byte))?,
                _ => write!(out, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

fn parse_v6(host: &str, port: u16) -> Result<Address, Errno> {
    let (host, scope) = match host.split_once('%') {
        Some((host, scope)) => (host, parse_scope(scope)?),
        None => (host, 0),
    };
    let host: Ipv6Addr = host.parse().map_err(|_| Errno::INVAL)?;
    // SAFETY: all zero is valid.
    let mut address: sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as sa_family_t;
    address.sin6_port = port.to_be();
    address.sin6_addr.s6_addr = host.octets();
    address.sin6_scope_id = scope;
    Ok(Address::of(address, size_of::<sockaddr_in6>()))
}

/// A scope: the number of an interface, or its name.
fn parse_scope(scope: &str) -> Result<u32, Errno> {
    if scope.is_empty() {
        return Err(Errno::INVAL);
    }
    if scope.bytes().all(|byte| byte.is_ascii_digit()) {
        return scope.parse().map_err(|_| Errno::INVAL);
    }
    let mut name = [0_u8; libc::IF_NAMESIZE];
    let room = name.get_mut(..scope.len()).filter(|room| room.len() < libc::IF_NAMESIZE);
    room.ok_or(Errno::NODEV)?.copy_from_slice(scope.as_bytes());
    // SAFETY: ends with a NUL.
    match unsafe { libc::if_nametoindex(name.as_ptr().cast()) } {
        0 => Err(Errno::NODEV),
        index => Ok(index),
    }
}

fn write_scope(out: &mut impl Write, scope: u32) -> fmt::Result {
    let mut name = [0 as c_char; libc::IF_NAMESIZE];
    // SAFETY: room for a name and its NUL.
    if unsafe { libc::if_indextoname(scope, name.as_mut_ptr()) }.is_null() {
        return write!(out, "{scope}");
    }
    // SAFETY: the call wrote a NUL.
    let name = unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) };
    match name.to_str() {
        Ok(name) => out.write_str(name),
        Err(_) => write!(out, "{scope}"),
    }
}

fn parse_unix(text: &[u8]) -> Result<Address, Errno> {
    let (is_abstract, text) = match text.strip_prefix(b"@") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let mut name = [0_u8; PATH_MAX];
    let mut used = usize::from(is_abstract);
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let byte;
        (byte, rest) = if *first == b'\\' { unescape(tail)? } else { (*first, tail) };
        // A path can't hold a NUL and ends with one.
        if byte == 0 && !is_abstract {
            return Err(Errno::INVAL);
        }
        *name.get_mut(used).ok_or(Errno::NAMETOOLONG)? = byte;
        used += 1;
    }
    if !is_abstract {
        if used == 0 {
            return Err(Errno::INVAL);
        }
        if used == PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        used += 1;
    }
    // SAFETY: all zero is valid.
    let mut address: sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    Ok(Address::of(address, PATH + used))
}

/// What follows a backslash: the byte, and the rest.
fn unescape(text: &[u8]) -> Result<(u8, &[u8]), Errno> {
    match text {
        [b'\\', rest @ ..] => Ok((b'\\', rest)),
        [b'x', high, low, rest @ ..] => {
            let digit =
                |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (high, low) = digit(high).zip(digit(low)).ok_or(Errno::INVAL)?;
            Ok((high << 4 | low, rest))
        }
        _ => Err(Errno::INVAL),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        let mut out = String::new();
        Address::parse(text.as_bytes()).unwrap().format(&mut out).unwrap();
        out
    }

    fn error(text: &str) -> Errno {
        Address::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("{text} was taken"))
    }

    #[test]
    fn both_ways() {
        for text in [
            "127.0.0.1:80",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "[::1]:80",
            "[::]:0",
            "[fe80::1%lo]:80",
            "[fe80::1%4000000]:1",
            "[2001:db8::ff]:443",
            "unix:/run/x.sock",
            "unix:x",
            "unix:@name",
            "unix:@",
            "unix:@a\\x00b\\\\c\\xff",
            "unix:/with\\x0anewline",
        ] {
            assert_eq!(round(text), text);
        }
        assert_eq!(round("[0:0::1]:080"), "[::1]:80");
        assert_eq!(round("unix:\\x41"), "unix:A");
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            ":",
            "80",
            ":80",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:+1",
            "127.0.0.1:-1",
            "127.0.0.1:1 ",
            " 127.0.0.1:1",
            "127.0.0.1:000080",
            "127.0.0:1",
            "127.0.0.256:1",
            "::1:80",
            "[::1]",
            "[::1]:",
            "[::1:80",
            "::1]:80",
            "[::1%]:80",
            "[127.0.0.1]:80",
            "localhost:80",
            "[::1]x:80",
            "unix:",
            "unix:\\x00",
            "unix:a\\",
            "unix:a\\y",
            "unix:@\\x1",
            "unix:@\\xg0",
            "[fe80::1%99999999999]:1",
        ] {
            assert_eq!(error(text), Errno::INVAL, "{text}");
        }
        assert_eq!(error("[fe80::1%no-such-interface-here]:80"), Errno::NODEV);
        assert_eq!(error("[fe80::1%nosuchif]:80"), Errno::NODEV);
        assert_eq!(error(&format!("unix:{}", "a".repeat(108))), Errno::NAMETOOLONG);
        assert_eq!(error(&format!("unix:@{}", "a".repeat(108))), Errno::NAMETOOLONG);
    }

    #[test]
    fn longest_names() {
        let path = format!("unix:{}", "a".repeat(107));
        assert_eq!(round(&path), path);
        let name = format!("unix:@{}", "\\x01".repeat(107));
        assert_eq!(round(&name), name);
    }

    #[test]
    fn raw_addresses_are_checked() {
        let address = Address::parse(b"127.0.0.1:80").unwrap();
        let raw = |length| {
            // SAFETY: the storage is longer than any of the lengths.
            unsafe { Address::from_raw(address.as_ptr(), length) }.map(|_| ())
        };
        assert_eq!(raw(16), Ok(()));
        assert_eq!(raw(15), Err(Errno::INVAL));
        assert_eq!(raw(1), Err(Errno::INVAL));
        assert_eq!(raw(129), Err(Errno::INVAL));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { Address::from_raw(std::ptr::null(), 16) }.err(), Some(Errno::INVAL));
        let mut other = Address::empty();
        other.storage.ss_family = libc::AF_NETLINK as sa_family_t;
        // SAFETY: as above.
        let other = unsafe { Address::from_raw(other.as_ptr(), 16) };
        assert_eq!(other.err(), Some(Errno::AFNOSUPPORT));
    }
}
