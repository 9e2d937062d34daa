//! Names of hosts and services: getaddrinfo(3) and getnameinfo(3). Both may block for as long as a name server
//! takes, unless everything asked for is numeric.
#![allow(unsafe_code, reason = "calls libc, and walks the list that it gives")]

use super::address::Address;
use super::errno::Errno;
use libc::{addrinfo, c_char, c_int};
use std::ffi::CStr;
use std::mem::{self, size_of};
use std::ptr;

/// What getaddrinfo says besides errnos, as numbers beyond errno's range; the C API has them negative.
#[allow(missing_docs, reason = "netdb.h has their meaning")]
pub mod fault {
    use super::Errno;

    pub const ADDRFAMILY: Errno = Errno(10101);
    pub const AGAIN: Errno = Errno(10102);
    pub const BADFLAGS: Errno = Errno(10103);
    pub const FAIL: Errno = Errno(10104);
    pub const FAMILY: Errno = Errno(10105);
    pub const NODATA: Errno = Errno(10106);
    pub const NONAME: Errno = Errno(10107);
    pub const OVERFLOW: Errno = Errno(10108);
    pub const SERVICE: Errno = Errno(10109);
    pub const SOCKTYPE: Errno = Errno(10110);
}

/// glibc's; the crate libc lacks it.
const EAI_ADDRFAMILY: c_int = -9;

/// Room for a host's name, its NUL included (NI_MAXHOST).
const HOST_ROOM: usize = 1025;
/// The same for a service.
const SERVICE_ROOM: usize = 256;

/// The error of an answer. To be called by the thread that got it, before anything else: errno is its own.
fn check(answer: c_int) -> Result<(), Errno> {
    Err(match answer {
        0 => return Ok(()),
        libc::EAI_SYSTEM => match Errno::last() {
            // An error must not look like success.
            Errno(..=0) => fault::FAIL,
            error => error,
        },
        libc::EAI_MEMORY => Errno::NOMEM,
        libc::EAI_AGAIN => fault::AGAIN,
        libc::EAI_BADFLAGS => fault::BADFLAGS,
        libc::EAI_FAMILY => fault::FAMILY,
        libc::EAI_NODATA => fault::NODATA,
        libc::EAI_NONAME => fault::NONAME,
        libc::EAI_OVERFLOW => fault::OVERFLOW,
        libc::EAI_SERVICE => fault::SERVICE,
        libc::EAI_SOCKTYPE => fault::SOCKTYPE,
        EAI_ADDRFAMILY => fault::ADDRFAMILY,
        _ => fault::FAIL,
    })
}

/// What kind of addresses is asked for, as in `struct addrinfo`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hints {
    /// AI_*.
    pub flags: c_int,
    /// AF_*.
    pub family: c_int,
    /// SOCK_*.
    pub socktype: c_int,
    /// IPPROTO_*.
    pub protocol: c_int,
}

/// What getaddrinfo found.
pub struct Found(*mut addrinfo);

impl Drop for Found {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: getaddrinfo gave it.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

impl Found {
    /// The addresses in the order of the list. What is not of the internet is left out.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        let mut at = self.0.cast_const();
        std::iter::from_fn(move || {
            // SAFETY: the list is whole and lives as long as `self`.
            let entry = unsafe { at.as_ref() }?;
            at = entry.ai_next;
            Some(entry)
        })
        // SAFETY: as above.
        .filter_map(|entry| unsafe { Address::from_raw(entry.ai_addr, entry.ai_addrlen) }.ok())
    }

    /// The canonical name, where one was asked for.
    pub fn canonical_name(&self) -> Option<&CStr> {
        // SAFETY: as in `addresses`; a name is a string.
        unsafe {
            let name = self.0.as_ref()?.ai_canonname;
            (!name.is_null()).then(|| CStr::from_ptr(name))
        }
    }
}

/// Looks up a host, a service, or both.
pub fn find(host: Option<&CStr>, service: Option<&CStr>, hints: Hints) -> Result<Found, Errno> {
    // SAFETY: all zero is valid.
    let mut wanted: addrinfo = unsafe { mem::zeroed() };
    wanted.ai_flags = hints.flags;
    wanted.ai_family = hints.family;
    wanted.ai_socktype = hints.socktype;
    wanted.ai_protocol = hints.protocol;
    let text = |name: Option<&CStr>| name.map_or(ptr::null(), CStr::as_ptr);
    let mut list = ptr::null_mut();
    // SAFETY: strings or NULL; `list` is written on success.
    check(unsafe { libc::getaddrinfo(text(host), text(service), &raw const wanted, &mut list) })?;
    Ok(Found(list))
}

/// The names of an address and its port.
pub struct Names {
    host: [c_char; HOST_ROOM],
    service: [c_char; SERVICE_ROOM],
}

impl Names {
    /// The host.
    pub fn host(&self) -> &CStr {
        // SAFETY: `name` sees to it that there is a NUL.
        unsafe { CStr::from_ptr(self.host.as_ptr()) }
    }

    /// The service.
    pub fn service(&self) -> &CStr {
        // SAFETY: as in `host`.
        unsafe { CStr::from_ptr(self.service.as_ptr()) }
    }
}

/// Looks up the names of an address; `flags` are NI_*.
pub fn name(address: &Address, flags: c_int) -> Result<Names, Errno> {
    let mut names = Names { host: [0; HOST_ROOM], service: [0; SERVICE_ROOM] };
    // The last byte of each stays 0.
    const _: () = assert!(size_of::<Names>() == HOST_ROOM + SERVICE_ROOM);
    // SAFETY: the address and both buffers are as long as told.
    check(unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.len(),
            names.host.as_mut_ptr(),
            (HOST_ROOM - 1) as libc::socklen_t,
            names.service.as_mut_ptr(),
            (SERVICE_ROOM - 1) as libc::socklen_t,
            flags,
        )
    })?;
    Ok(names)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NUMERIC: c_int = libc::AI_NUMERICHOST | libc::AI_NUMERICSERV;

    fn stream(flags: c_int) -> Hints {
        Hints { flags, socktype: libc::SOCK_STREAM, ..Hints::default() }
    }

    fn texts(found: &Found) -> Vec<String> {
        let text = |address: Address| {
            let mut text = String::new();
            address.format(&mut text).unwrap();
            text
        };
        found.addresses().map(text).collect()
    }

    #[test]
    fn numbers_are_found() {
        let found = find(Some(c"127.0.0.1"), Some(c"80"), stream(NUMERIC)).unwrap();
        assert_eq!(texts(&found), ["127.0.0.1:80"]);
        assert!(found.canonical_name().is_none());
        let found = find(Some(c"::1"), None, stream(NUMERIC | libc::AI_CANONNAME)).unwrap();
        assert_eq!(texts(&found), ["[::1]:0"]);
        assert_eq!(found.canonical_name(), Some(c"::1"));
    }

    #[test]
    fn errors_are_told_apart() {
        let error = |host, service, hints| find(host, service, hints).err();
        assert_eq!(error(Some(c"name"), None, stream(NUMERIC)), Some(fault::NONAME));
        assert_eq!(error(None, None, stream(NUMERIC)), Some(fault::NONAME));
        assert_eq!(error(Some(c"::1"), None, stream(1 << 30)), Some(fault::BADFLAGS));
        let odd = Hints { family: 9999, ..stream(NUMERIC) };
        assert_eq!(error(Some(c"::1"), None, odd), Some(fault::FAMILY));
        let odd = Hints { socktype: 9999, ..stream(NUMERIC) };
        assert_eq!(error(Some(c"::1"), Some(c"1"), odd), Some(fault::SOCKTYPE));
    }

    #[test]
    fn an_error_is_never_success() {
        // SAFETY: errno is this thread's own.
        unsafe { *libc::__errno_location() = 0 };
        assert_eq!(check(libc::EAI_SYSTEM), Err(fault::FAIL));
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = libc::EMFILE };
        assert_eq!(check(libc::EAI_SYSTEM), Err(Errno::MFILE));
        for answer in -1000..1000 {
            assert_eq!(check(answer).is_ok(), answer == 0);
        }
    }

    #[test]
    fn addresses_have_names() {
        let address = Address::parse("[::1]:53").unwrap();
        let names = name(&address, libc::NI_NUMERICHOST | libc::NI_NUMERICSERV).unwrap();
        assert_eq!((names.host(), names.service()), (c"::1", c"53"));
    }
}
