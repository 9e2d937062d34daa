//! Socket addresses, and their text.
//!
//! The forms of the text, each read back as it is written:
//!
//! | text | family |
//! | --- | --- |
//! | `127.0.0.1:80` | AF_INET |
//! | `[::1]:80`, `[fe80::1%eth0]:80`, `[fe80::1%3]:80` | AF_INET6; the scope by name or number |
//! | `unix:/run/x.sock` | AF_UNIX, a path |
//! | `unix:@name` | AF_UNIX, an abstract name |
//!
//! In the names of AF_UNIX any byte may be written as `\xNN`, a backslash is `\\`, and the `@` of a path
//! that begins with one is `\x40`. The socket without a name is written `unix:`, which names nothing and
//! is not read.
#![allow(unsafe_code, reason = "sockaddr is a union in disguise")]

use super::errno::Errno;
use libc::{
    c_int, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un,
    socklen_t,
};
use std::ffi::CStr;
use std::fmt;
use std::mem::{self, offset_of};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::slice;

/// Where the names of AF_UNIX begin.
const PATH_AT: usize = offset_of!(sockaddr_un, sun_path);
/// The longest path, its NUL aside; the longest abstract name, its leading NUL aside.
const NAME_MAX: usize = size_of::<sockaddr_un>() - PATH_AT - 1;

/// A socket address of any family. What lies behind its length is zero.
#[derive(Clone, Copy)]
pub struct Address {
    storage: sockaddr_storage,
    length: socklen_t,
}

impl Address {
    /// An address of no family, to be filled.
    #[inline]
    pub fn empty() -> Address {
        // SAFETY: all zero is AF_UNSPEC.
        Address { storage: unsafe { mem::zeroed() }, length: 0 }
    }

    /// Takes an address from C. EINVAL: NULL, or a length that its family cannot have. EAFNOSUPPORT: a
    /// family other than AF_INET, AF_INET6 and AF_UNIX. What is longer than the family needs, as a whole
    /// sockaddr_storage is, is cut, but for abstract names, whose length is part of the name.
    ///
    /// # Safety
    /// `address` is NULL, or `length` bytes there may be read.
    pub unsafe fn from_raw(address: *const sockaddr, length: socklen_t) -> Result<Address, Errno> {
        let size = length as usize;
        if address.is_null()
            || size < size_of::<sa_family_t>()
            || size > size_of::<sockaddr_storage>()
        {
            return Err(Errno::INVAL);
        }
        let mut taken = Address::empty();
        // SAFETY: not NULL; promised by the caller; it fits.
        unsafe {
            ptr::copy_nonoverlapping(
                address.cast::<u8>(),
                (&raw mut taken.storage).cast::<u8>(),
                size,
            );
        }
        taken.length = length;
        let used = match taken.family() {
            libc::AF_INET => size_of::<sockaddr_in>(),
            libc::AF_INET6 => size_of::<sockaddr_in6>(),
            libc::AF_UNIX => unix_length(taken.bytes())?,
            _ => return Err(Errno::AFNOSUPPORT),
        };
        if size < used {
            return Err(Errno::INVAL);
        }
        taken.cut(used);
        Ok(taken)
    }

    /// For calls that take an address.
    #[inline]
    pub fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    /// The length of what is at `as_ptr`; 0 when there is nothing.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "the name of the C parameter")]
    pub fn len(&self) -> socklen_t {
        self.length
    }

    /// AF_*; AF_UNSPEC when empty.
    #[inline]
    pub fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    /// Has a system call fill the address: gives it the room and the size of the room.
    pub(super) fn fill<T>(&mut self, call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> T) -> T {
        const ROOM: socklen_t = size_of::<sockaddr_storage>() as socklen_t;
        *self = Address::empty();
        self.length = ROOM;
        let answer = call((&raw mut self.storage).cast(), &raw mut self.length);
        // The kernel tells the length that it would have needed.
        self.length = self.length.min(ROOM);
        answer
    }

    /// Reads the text of an address. EINVAL: it is none. ENAMETOOLONG: a name of AF_UNIX that is too long.
    /// ENODEV: no such interface; other errors where the kernel cannot be asked for it (EMFILE).
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Address, Errno> {
        let text = text.as_ref();
        if text.contains(&0) {
            return Err(Errno::INVAL);
        }
        if let Some(name) = text.strip_prefix(b"unix:") {
            return match name.strip_prefix(b"@") {
                Some(name) => parse_abstract(name),
                None => parse_path(name),
            };
        }
        match text.strip_prefix(b"[") {
            Some(rest) => {
                let (inside, port) = split(rest, b']').ok_or(Errno::INVAL)?;
                parse_inet6(inside, parse_port(port.strip_prefix(b":").ok_or(Errno::INVAL)?)?)
            }
            None => {
                let (host, port) = split(text, b':').ok_or(Errno::INVAL)?;
                parse_inet(host, parse_port(port)?)
            }
        }
    }

    /// Writes the text of the address. EAFNOSUPPORT: of a family that is not known. ENOSPC: the writer is
    /// full. EINVAL: too short.
    pub fn format(&self, out: &mut impl fmt::Write) -> Result<(), Errno> {
        let written = match self.family() {
            libc::AF_INET => {
                let inet: sockaddr_in = self.read()?;
                let host = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
                write!(out, "{host}:{}", u16::from_be(inet.sin_port))
            }
            libc::AF_INET6 => {
                let inet: sockaddr_in6 = self.read()?;
                format_inet6(&inet, out)
            }
            libc::AF_UNIX => format_unix(self.bytes(), out),
            _ => return Err(Errno::AFNOSUPPORT),
        };
        written.map_err(|_| Errno::NOSPC)
    }

    /// The path of an AF_UNIX address that has one.
    pub fn unix_path(&self) -> Option<&CStr> {
        let name = self.bytes().get(PATH_AT..)?;
        if self.family() != libc::AF_UNIX || matches!(name.first(), None | Some(0)) {
            return None;
        }
        // A path that fills its struct has no NUL; one lies behind it.
        CStr::from_bytes_until_nul(all_bytes(&self.storage).get(PATH_AT..)?).ok()
    }

    /// The bytes of the address.
    fn bytes(&self) -> &[u8] {
        let used = (self.length as usize).min(size_of::<sockaddr_storage>());
        let all = all_bytes(&self.storage);
        all.get(..used).unwrap_or(all)
    }

    /// Sets the length, and what lies behind it to zero.
    fn cut(&mut self, used: usize) {
        self.length = used as socklen_t;
        if let Some(rest) = all_bytes_mut(&mut self.storage).get_mut(used..) {
            rest.fill(0);
        }
    }

    /// The address as the struct of its family.
    fn read<T: Family>(&self) -> Result<T, Errno> {
        if (self.length as usize) < size_of::<T>() {
            return Err(Errno::INVAL);
        }
        // SAFETY: a sockaddr struct of numbers; the storage is large and aligned enough for each.
        Ok(unsafe { (&raw const self.storage).cast::<T>().read() })
    }

    fn of<T: Family>(value: T) -> Address {
        let mut address = Address::empty();
        // SAFETY: as in `read`.
        unsafe { (&raw mut address.storage).cast::<T>().write(value) };
        address.length = size_of::<T>() as socklen_t;
        address
    }

    /// An address of AF_UNIX with `name` from `at` on, of a length of `used`.
    fn unix(name: &Name, at: usize, used: usize) -> Result<Address, Errno> {
        let mut address = Address::empty();
        address.storage.ss_family = libc::AF_UNIX as sa_family_t;
        address.length = used as socklen_t;
        let bytes = name.bytes()?;
        all_bytes_mut(&mut address.storage)
            .get_mut(at..at + bytes.len())
            .ok_or(Errno::NAMETOOLONG)?
            .copy_from_slice(bytes);
        Ok(address)
    }
}

/// The sockaddr structs that are read and written whole: numbers only, no larger than the storage.
trait Family: Copy {}
impl Family for sockaddr_in {}
impl Family for sockaddr_in6 {}

fn all_bytes(storage: &sockaddr_storage) -> &[u8] {
    // SAFETY: the storage has been zeroed before anything else was written, so all of it is set.
    unsafe { slice::from_raw_parts((&raw const *storage).cast(), size_of::<sockaddr_storage>()) }
}

fn all_bytes_mut(storage: &mut sockaddr_storage) -> &mut [u8] {
    // SAFETY: as above; any bytes make a storage.
    unsafe { slice::from_raw_parts_mut((&raw mut *storage).cast(), size_of::<sockaddr_storage>()) }
}

/// The part of an AF_UNIX address that counts. The kernel's own answers are one byte longer than
/// sockaddr_un where a path fills it and has no NUL.
fn unix_length(bytes: &[u8]) -> Result<usize, Errno> {
    let whole = size_of::<sockaddr_un>();
    let name = bytes.get(PATH_AT..).unwrap_or_default();
    if matches!(name.first(), None | Some(0)) {
        return if bytes.len() <= whole { Ok(bytes.len()) } else { Err(Errno::INVAL) };
    }
    let end = PATH_AT + name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    if end > whole {
        return Err(Errno::INVAL);
    }
    Ok((end + 1).min(whole).min(bytes.len()))
}

/// A name of AF_UNIX while it is read.
struct Name {
    bytes: [u8; NAME_MAX],
    used: usize,
}

impl Name {
    /// Takes the escapes out. What does not fit is counted, so that a bad escape behind it is seen too.
    fn unescape(text: &[u8]) -> Result<Name, Errno> {
        let mut name = Name { bytes: [0; NAME_MAX], used: 0 };
        let mut rest = text;
        while let [byte, tail @ ..] = rest {
            let (byte, tail) = match (byte, tail) {
                (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
                (b'\\', [b'x', high, low, tail @ ..]) => (hex(*high)? << 4 | hex(*low)?, tail),
                (b'\\', _) => return Err(Errno::INVAL),
                (byte, tail) => (*byte, tail),
            };
            if let Some(slot) = name.bytes.get_mut(name.used) {
                *slot = byte;
            }
            name.used += 1;
            rest = tail;
        }
        Ok(name)
    }

    fn bytes(&self) -> Result<&[u8], Errno> {
        self.bytes.get(..self.used).ok_or(Errno::NAMETOOLONG)
    }
}

fn hex(digit: u8) -> Result<u8, Errno> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Errno::INVAL),
    }
}

fn parse_abstract(text: &[u8]) -> Result<Address, Errno> {
    let name = Name::unescape(text)?;
    Address::unix(&name, PATH_AT + 1, PATH_AT + 1 + name.used)
}

fn parse_path(text: &[u8]) -> Result<Address, Errno> {
    let name = Name::unescape(text)?;
    if name.used == 0 || name.bytes.iter().take(name.used).any(|byte| *byte == 0) {
        return Err(Errno::INVAL);
    }
    Address::unix(&name, PATH_AT, PATH_AT + name.used + 1)
}

fn parse_inet(host: &[u8], port: u16) -> Result<Address, Errno> {
    let host: Ipv4Addr = parse_utf8(host)?;
    Ok(Address::of(sockaddr_in {
        sin_family: libc::AF_INET as sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(host).to_be() },
        sin_zero: [0; 8],
    }))
}

fn parse_inet6(inside: &[u8], port: u16) -> Result<Address, Errno> {
    let (host, scope) = match split(inside, b'%') {
        Some((host, scope)) => (host, Some(scope)),
        None => (inside, None),
    };
    let host: Ipv6Addr = parse_utf8(host)?;
    // Last, since it asks the kernel.
    let scope = scope.map_or(Ok(0), parse_scope)?;
    Ok(Address::of(sockaddr_in6 {
        sin6_family: libc::AF_INET6 as sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: host.octets() },
        sin6_scope_id: scope,
    }))
}

fn parse_utf8<T: std::str::FromStr>(text: &[u8]) -> Result<T, Errno> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::INVAL)?;
    text.parse().map_err(|_| Errno::INVAL)
}

/// Digits only: `u16::from_str` would take a sign, and any number of zeros.
fn parse_port(text: &[u8]) -> Result<u16, Errno> {
    if text.len() > 5 || !all_digits(text) {
        return Err(Errno::INVAL);
    }
    parse_utf8(text)
}

fn parse_scope(text: &[u8]) -> Result<u32, Errno> {
    if all_digits(text) {
        let scope = parse_utf8(text)?;
        return if scope == 0 { Err(Errno::INVAL) } else { Ok(scope) };
    }
    if text.is_empty() {
        return Err(Errno::INVAL);
    }
    let mut name = [0; libc::IFNAMSIZ];
    match name.get_mut(..text.len()) {
        Some(room) if text.len() < libc::IFNAMSIZ => room.copy_from_slice(text),
        _ => return Err(Errno::NODEV),
    }
    // SAFETY: the name ends with a zero: it is shorter than the array.
    match unsafe { libc::if_nametoindex(name.as_ptr().cast()) } {
        0 => Err(Errno::last()),
        index => Ok(index),
    }
}

fn all_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// What is before and behind the first `mark`.
fn split(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == mark)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn format_inet6(inet: &sockaddr_in6, out: &mut impl fmt::Write) -> fmt::Result {
    write!(out, "[{}", Ipv6Addr::from(inet.sin6_addr.s6_addr))?;
    if inet.sin6_scope_id != 0 {
        let mut buffer = [0; libc::IFNAMSIZ];
        match interface_name(inet.sin6_scope_id, &mut buffer) {
            Some(name) => write!(out, "%{name}")?,
            None => write!(out, "%{}", inet.sin6_scope_id)?,
        }
    }
    write!(out, "]:{}", u16::from_be(inet.sin6_port))
}

/// The name of an interface, if it has one that can be read back.
fn interface_name(index: u32, buffer: &mut [u8; libc::IFNAMSIZ]) -> Option<&str> {
    // SAFETY: room for the longest name and its NUL.
    if unsafe { libc::if_indextoname(index, buffer.as_mut_ptr().cast()) }.is_null() {
        return None;
    }
    let name = CStr::from_bytes_until_nul(buffer).ok()?.to_str().ok()?;
    let bytes = name.as_bytes();
    let readable = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b']');
    (readable && !bytes.is_empty() && !all_digits(bytes)).then_some(name)
}

fn format_unix(bytes: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    out.write_str("unix:")?;
    match bytes.get(PATH_AT..).unwrap_or_default() {
        [] => Ok(()),
        [0, name @ ..] => {
            out.write_char('@')?;
            escape(name, out)
        }
        path => {
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            match path {
                [b'@', rest @ ..] => {
                    out.write_str("\\x40")?;
                    escape(rest, out)
                }
                path => escape(path, out),
            }
        }
    }
}

fn escape(name: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    for byte in name {
        match byte {
            b'\\' => out.write_str("\\\\")?,
            b' '..=b'~' => out.write_char(char::from(*byte))?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn text(address: &Address) -> String {
        let mut text = String::new();
        address.format(&mut text).unwrap();
        text
    }

    fn error(text: impl AsRef<[u8]>) -> Errno {
        Address::parse(text.as_ref()).err().unwrap_or_else(|| {
            panic!("{} was read", String::from_utf8_lossy(text.as_ref()));
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Address, Errno> {
        // SAFETY: the bytes of a slice.
        unsafe { Address::from_raw(bytes.as_ptr().cast(), bytes.len() as socklen_t) }
    }

    /// AF_UNIX with the bytes of a name.
    fn unix(name: &[u8]) -> Vec<u8> {
        let mut bytes = (libc::AF_UNIX as sa_family_t).to_ne_bytes().to_vec();
        bytes.extend(name);
        bytes
    }

    #[test]
    fn every_form_goes_both_ways() {
        let long_path = format!("unix:/{}", "p".repeat(106));
        let long_name = format!("unix:@{}", "\\x00".repeat(107));
        let forms = [
            ("127.0.0.1:80", libc::AF_INET, 16),
            ("0.0.0.0:0", libc::AF_INET, 16),
            ("255.255.255.255:65535", libc::AF_INET, 16),
            ("[::]:0", libc::AF_INET6, 28),
            ("[::1]:80", libc::AF_INET6, 28),
            ("[fe80::1%lo]:80", libc::AF_INET6, 28),
            ("[fe80::1%4294967295]:1", libc::AF_INET6, 28),
            ("[::ffff:10.1.2.3]:443", libc::AF_INET6, 28),
            ("[1:2:3:4:5:6:7:8]:9", libc::AF_INET6, 28),
            ("unix:/run/x.sock", libc::AF_UNIX, 2 + 11 + 1),
            ("unix:relative", libc::AF_UNIX, 2 + 8 + 1),
            ("unix:\\x40at", libc::AF_UNIX, 2 + 3 + 1),
            ("unix:/a\\\\b\\x0a\\xc3\\xa9", libc::AF_UNIX, 2 + 7 + 1),
            ("unix:@name", libc::AF_UNIX, 3 + 4),
            ("unix:@", libc::AF_UNIX, 3),
            ("unix:@@", libc::AF_UNIX, 3 + 1),
            ("unix:@a b\\x00\\x7f\\xff\\\\", libc::AF_UNIX, 3 + 7),
            (&long_path, libc::AF_UNIX, 110),
            (&long_name, libc::AF_UNIX, 110),
        ];
        for (form, family, length) in forms {
            let address = Address::parse(form).unwrap_or_else(|e| panic!("{form}: {e:?}"));
            assert_eq!((address.family(), address.len()), (family, length), "{form}");
            assert_eq!(text(&address), form);
            // SAFETY: as long as it says.
            let taken = unsafe { Address::from_raw(address.as_ptr(), address.len()) }.unwrap();
            assert_eq!(taken.bytes(), address.bytes(), "{form}");
        }
    }

    #[test]
    fn other_spellings_mean_the_same() {
        for (spelling, canonical) in [
            ("127.0.0.1:00080", "127.0.0.1:80"),
            ("[0:0::0:1]:7", "[::1]:7"),
            ("[FE80::A]:7", "[fe80::a]:7"),
            ("[::10.0.0.1]:7", "[::a00:1]:7"),
            ("unix:\\x2frun\\X", ""),
            ("unix:\\x2frun", "unix:/run"),
            ("unix:@\\xFF\\x41", "unix:@\\xffA"),
            ("unix:/\u{e9}", "unix:/\\xc3\\xa9"),
        ] {
            match Address::parse(spelling) {
                Ok(address) => assert_eq!(text(&address), canonical),
                Err(error) => assert_eq!((error, canonical), (Errno::INVAL, ""), "{spelling}"),
            }
        }
    }

    #[test]
    fn h62_the_scope_is_kept() {
        let address = Address::parse("[fe80::1%7]:80").unwrap();
        let inet: sockaddr_in6 = address.read().unwrap();
        assert_eq!(inet.sin6_scope_id, 7);
        assert_eq!(inet.sin6_port, 80_u16.to_be());
        let named = Address::parse("[fe80::1%lo]:80").unwrap();
        // SAFETY: a C string.
        let index = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
        assert_eq!(named.read::<sockaddr_in6>().unwrap().sin6_scope_id, index);
        assert_eq!(error("[fe80::1%weir-none]:80"), Errno::NODEV);
        assert_eq!(error("[fe80::1%weir-no-such-interface]:80"), Errno::NODEV);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            ":",
            "80",
            ":80",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:-1",
            "127.0.0.1:65536",
            "127.0.0.1:99999",
            "127.0.0.1:000080",
            "127.0.0.1:80 ",
            " 127.0.0.1:80",
            "127.0.0.1 :80",
            "127.0.0.1:80x",
            "127.0.0.1:0x50",
            "127.0.0.1:80:81",
            "127.0.0.1:\u{661}",
            "127.1:80",
            "127.0.0.256:80",
            "127.0.0.01:80",
            "127.0.0.1.1:80",
            "localhost:80",
            "::1:80",
            "::1",
            "[::1]",
            "[::1]:",
            "[::1]80",
            "[::1]: 80",
            "[::1:80",
            "[::1]]:80",
            "[[::1]]:80",
            "[]:80",
            "[::1%]:80",
            "[::1%0]:80",
            "[::1%4294967296]:80",
            "[127.0.0.1]:80",
            "[::1::]:80",
            "[%lo]:80",
            "x[::1]:80",
            "[::1]:80]",
            "unix:",
            "unix",
            "UNIX:/a",
            "unix:\\",
            "unix:/\\n",
            "unix:/\\x",
            "unix:/\\x4",
            "unix:/\\xg0",
            "unix:/\\x4g",
            "unix:/a\\x00b",
            "unix:\\x00a",
            "unix:@\\",
            "unix:a\\y",
            "unix:\\x00",
            "unix:@\\x1",
            "[fe80::1%99999999999]:1",
            "[::1]x:80",
            "::1]:80",
            "127.0.0:1",
        ] {
            assert_eq!(error(bad), Errno::INVAL, "{bad}");
        }
        assert_eq!(error(b"unix:/a\0b"), Errno::INVAL);
        assert_eq!(error(b"unix:@a\0b"), Errno::INVAL);
        assert_eq!(error(b"127.0.0.1:80\0"), Errno::INVAL);
        assert_eq!(error(b"127.0.0.\xff:80"), Errno::INVAL);
        assert_eq!(error("1".repeat(5000)), Errno::INVAL);
    }

    #[test]
    fn names_that_are_too_long_are_refused() {
        assert_eq!(error(format!("unix:/{}", "p".repeat(107))), Errno::NAMETOOLONG);
        assert_eq!(error(format!("unix:@{}", "p".repeat(108))), Errno::NAMETOOLONG);
        assert_eq!(error(format!("unix:@{}", "p".repeat(5000))), Errno::NAMETOOLONG);
        assert_eq!(error(format!("unix:/{}\\", "p".repeat(200))), Errno::INVAL);
        assert_eq!(error(format!("unix:/{}\\x00", "p".repeat(200))), Errno::NAMETOOLONG);
    }

    #[test]
    fn lengths_from_c_are_checked() {
        let inet = Address::parse("127.0.0.1:80").unwrap();
        let inet6 = Address::parse("[::1]:80").unwrap();
        for (address, least) in [(&inet, 16), (&inet6, 28)] {
            for length in 0..=140 {
                let mut bytes = address.bytes().to_vec();
                bytes.resize(length, 0xEE);
                match from_bytes(&bytes) {
                    Ok(taken) => {
                        assert!((least..=128).contains(&length), "{length}");
                        assert_eq!(taken.len() as usize, least);
                        assert_eq!(all_bytes(&taken.storage), all_bytes(&address.storage));
                    }
                    Err(error) => {
                        assert!(!(least..=128).contains(&length), "{length}");
                        assert_eq!(error, Errno::INVAL);
                    }
                }
            }
        }
        // SAFETY: NULL is not read.
        assert_eq!(unsafe { Address::from_raw(ptr::null(), 16) }.err(), Some(Errno::INVAL));
        for family in [libc::AF_UNSPEC, libc::AF_NETLINK, 0xFFFF] {
            let mut bytes = (family as sa_family_t).to_ne_bytes().to_vec();
            assert_eq!(from_bytes(&bytes).err(), Some(Errno::AFNOSUPPORT));
            bytes.resize(128, 0);
            assert_eq!(from_bytes(&bytes).err(), Some(Errno::AFNOSUPPORT));
        }
    }

    #[test]
    fn unix_names_from_c_are_cut_where_they_end() {
        let cases: [(Vec<u8>, usize, &str); 7] = [
            (unix(b""), 2, "unix:"),
            (unix(b"/a"), 4, "unix:/a"),
            (unix(b"/a\0"), 5, "unix:/a"),
            (unix(b"/a\0garbage"), 5, "unix:/a"),
            (unix(b"\0"), 3, "unix:@"),
            (unix(b"\0a\0b\0"), 7, "unix:@a\\x00b\\x00"),
            (unix(&[b'p'; 108]), 110, &format!("unix:{}", "p".repeat(108))),
        ];
        for (bytes, length, expected) in cases {
            let address = from_bytes(&bytes).unwrap();
            assert_eq!(address.len() as usize, length, "{expected}");
            assert_eq!(text(&address), expected);
        }
        // As getsockname answers for a path that fills the struct, and as a whole storage.
        let mut filled = [b'p'; 109];
        filled[108] = 0;
        assert_eq!(from_bytes(&unix(&filled)).unwrap().len(), 110);
        let mut whole = unix(b"/a");
        whole.resize(128, 0);
        assert_eq!(from_bytes(&whole).unwrap().len(), 5);
        // Neither fits the kernel's struct.
        assert_eq!(from_bytes(&unix(&[b'p'; 109])).err(), Some(Errno::INVAL));
        assert_eq!(from_bytes(&unix(&[0; 109])).err(), Some(Errno::INVAL));
    }

    #[test]
    fn the_kernel_may_fill_less_or_claim_more() {
        let mut address = Address::parse("127.0.0.1:80").unwrap();
        address.fill(|_, length| {
            // SAFETY: given by `fill`.
            assert_eq!(unsafe { length.replace(0) }, 128);
        });
        assert_eq!((address.len(), address.family()), (0, libc::AF_UNSPEC));
        assert_eq!(address.format(&mut String::new()), Err(Errno::AFNOSUPPORT));
        // SAFETY: given by `fill`.
        address.fill(|_, length| unsafe { length.write(500) });
        assert_eq!(address.len(), 128);
        address.fill(|to, length| {
            // SAFETY: given by `fill`.
            unsafe { ((*to).sa_family, *length) = (libc::AF_INET as sa_family_t, 8) };
        });
        assert_eq!(address.format(&mut String::new()), Err(Errno::INVAL));
    }

    #[test]
    fn a_full_writer_is_enospc() {
        struct Full;
        impl fmt::Write for Full {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        for form in ["127.0.0.1:80", "[::1%1]:80", "unix:/a", "unix:@\\xff"] {
            assert_eq!(Address::parse(form).unwrap().format(&mut Full), Err(Errno::NOSPC));
        }
    }

    #[test]
    fn random_bytes_are_read_or_refused_and_come_back_the_same() {
        let mut state = 0x2545_F491_4F6C_DD17_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let alphabet = b"unix:@[]%:.\\x0123456789abcdefl/ \xff";
        let mut read = 0;
        for round in 0..200_000 {
            let start: &[u8] = [&b""[..], b"unix:", b"unix:@", b"[::", b"1.2.3."][round % 5];
            let mut form = start.to_vec();
            for _ in 0..random() % 12 {
                form.push(alphabet[random() as usize % alphabet.len()]);
            }
            let Ok(address) = Address::parse(&form) else { continue };
            read += 1;
            let again = Address::parse(text(&address)).unwrap();
            assert_eq!(again.bytes(), address.bytes());
        }
        assert!(read > 1000, "{read}");
    }
}
