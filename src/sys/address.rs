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
mod tests;
