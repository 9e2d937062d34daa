//! Datagram sockets: making and disconnecting them, multicast groups, what the kernel can do.
#![allow(unsafe_code, reason = "calls libc")]

use super::address::Address;
use super::errno::{Errno, retry};
use super::fd;
use super::socket::{get_int, get_option, set_int, set_option};
use libc::{c_int, in_addr, ip_mreqn, sa_family_t, sockaddr, sockaddr_storage, socklen_t};
use std::mem;
use std::os::fd::RawFd;

// netinet/in.h
const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_LEAVE_GROUP: c_int = 45;

/// A group of either family: `struct group_req`.
#[repr(C)]
struct GroupRequest {
    interface: u32,
    group: sockaddr_storage,
}

/// Opens a datagram socket of a family.
pub fn socket(family: c_int) -> Result<RawFd, Errno> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    retry(|| unsafe { libc::socket(family, kind, 0) })
}

/// Takes the peer away.
pub fn disconnect(fd: RawFd) -> Result<(), Errno> {
    let mut none: sockaddr = {
        // SAFETY: a struct of numbers.
        unsafe { mem::zeroed() }
    };
    none.sa_family = libc::AF_UNSPEC as sa_family_t;
    let length = size_of::<sockaddr>() as socklen_t;
    // SAFETY: one struct, which lives through the call.
    retry(|| unsafe { libc::connect(fd, &raw const none, length) }).map(drop)
}

/// Joins or leaves a multicast group at an interface; 0: the kernel chooses.
pub fn set_member(fd: RawFd, group: &Address, interface: u32, join: bool) -> Result<(), Errno> {
    let level = match group.family() {
        libc::AF_INET => libc::IPPROTO_IP,
        libc::AF_INET6 => libc::IPPROTO_IPV6,
        _ => return Err(Errno::AFNOSUPPORT),
    };
    let name = if join { MCAST_JOIN_GROUP } else { MCAST_LEAVE_GROUP };
    // SAFETY: a struct of numbers.
    let mut request: GroupRequest = unsafe { mem::zeroed() };
    request.interface = interface;
    let (from, to) = (group.as_ptr().cast::<u8>(), (&raw mut request.group).cast());
    let length = size_of::<GroupRequest>() as socklen_t;
    // SAFETY: an address is never longer than the storage; one struct, which lives through the call.
    unsafe {
        from.copy_to_nonoverlapping(to, group.len() as usize);
        set_option(fd, level, name, (&raw const request).cast(), length)
    }
}

/// Sets the interface that multicast leaves by, for IPv4, where it is not an int.
pub fn set_interface(fd: RawFd, interface: c_int) -> Result<(), Errno> {
    let none = in_addr { s_addr: 0 };
    let value = ip_mreqn { imr_multiaddr: none, imr_address: none, imr_ifindex: interface };
    let length = size_of::<ip_mreqn>() as socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: one struct, which lives through the call.
    unsafe { set_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, value, length) }
}

/// Reads what `set_interface` sets. Older kernels tell an address of it at the most: EOPNOTSUPP.
pub fn interface(fd: RawFd) -> Result<c_int, Errno> {
    let none = in_addr { s_addr: 0 };
    let mut value = ip_mreqn { imr_multiaddr: none, imr_address: none, imr_ifindex: 0 };
    let mut length = size_of::<ip_mreqn>() as socklen_t;
    let to = (&raw mut value).cast();
    // SAFETY: one struct and its size, which live through the call.
    unsafe { get_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, to, &raw mut length) }?;
    if (length as usize) < size_of::<ip_mreqn>() {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(value.imr_ifindex)
}

/// Whether this socket can cut what is sent into segments. Where not, the request would be overlooked.
pub fn can_segment(fd: RawFd) -> bool {
    get_int(fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
}

/// Whether the kernel has UDP_SEGMENT, and UDP_GRO.
pub fn features() -> Result<(bool, bool), Errno> {
    let fd = socket(libc::AF_INET).or_else(|error| match error {
        Errno::AFNOSUPPORT => socket(libc::AF_INET6),
        error => Err(error),
    })?;
    let has = |name| set_int(fd, libc::SOL_UDP, name, 1).is_ok();
    let found = (has(libc::UDP_SEGMENT), has(libc::UDP_GRO));
    fd::close(fd);
    Ok(found)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fd::tests::is_nonblocking_cloexec;
    use crate::sys::socket as common;

    #[test]
    fn a_peer_comes_and_goes() {
        let fd = socket(libc::AF_INET).unwrap();
        assert!(is_nonblocking_cloexec(fd));
        let to = Address::parse("127.0.0.1:9").unwrap();
        assert_eq!(common::connect(fd, &to), Ok(common::Connect::Done));
        assert!(common::peer_address(fd).is_ok());
        disconnect(fd).unwrap();
        assert_eq!(common::peer_address(fd).err(), Some(Errno::NOTCONN));
        fd::close(fd);
    }

    #[test]
    fn groups_are_joined_once_and_left_once() {
        let fd = socket(libc::AF_INET).unwrap();
        let group = Address::parse("239.255.7.7:0").unwrap();
        let lo = {
            // SAFETY: a string.
            unsafe { libc::if_nametoindex(c"lo".as_ptr()) }
        };
        assert_eq!(set_member(fd, &group, lo, true), Ok(()));
        assert_eq!(set_member(fd, &group, lo, true), Err(Errno::ADDRINUSE));
        assert_eq!(set_member(fd, &group, lo, false), Ok(()));
        assert_eq!(set_member(fd, &group, lo, false), Err(Errno::ADDRNOTAVAIL));
        let plain = Address::parse("127.0.0.1:0").unwrap();
        assert_eq!(set_member(fd, &plain, lo, true), Err(Errno::INVAL));
        let name = Address::parse("unix:@x").unwrap();
        assert_eq!(set_member(fd, &name, lo, true), Err(Errno::AFNOSUPPORT));
        set_interface(fd, lo as c_int).unwrap();
        assert!(matches!(interface(fd), Err(Errno::OPNOTSUPP)) || interface(fd) == Ok(lo as c_int));
        fd::close(fd);
    }

    #[test]
    fn only_udp_segments() {
        let (segment, _) = features().unwrap();
        let fd = socket(libc::AF_INET).unwrap();
        assert_eq!(can_segment(fd), segment);
        fd::close(fd);
        let fd = socket(libc::AF_UNIX).unwrap();
        assert!(!can_segment(fd));
        fd::close(fd);
    }
}
