//! Socket options: the named integer ones that people use, and any other by level and name.

use crate::sched::descriptor::Descriptor;
use crate::sched::table::Token;
use crate::sys::errno::Errno;
use crate::sys::{datagram, socket};
use libc::{c_int, c_void, socklen_t};
use std::ffi::CStr;

/// How a named option reaches the kernel.
enum Named {
    /// An int at a level.
    Int(c_int, c_int),
    /// An int whose level and name depend on the family: IPv4 here, IPv6 there.
    ByFamily((c_int, c_int), (c_int, c_int)),
    /// SO_LINGER, as seconds or -1.
    Linger,
    /// The interface that multicast leaves by: a struct in IPv4, an int in IPv6.
    Interface,
}

fn named(option: c_int) -> Result<Named, Errno> {
    use Named::{ByFamily, Int, Interface, Linger};
    Ok(match option {
        1 => Int(libc::IPPROTO_TCP, libc::TCP_NODELAY),
        2 => Int(libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        3 => Int(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        4 => Int(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        5 => Int(libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        6 => Int(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
        7 => Int(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        8 => Int(libc::SOL_SOCKET, libc::SO_REUSEADDR),
        9 => Int(libc::SOL_SOCKET, libc::SO_REUSEPORT),
        10 => Int(libc::SOL_SOCKET, libc::SO_SNDBUF),
        11 => Int(libc::SOL_SOCKET, libc::SO_RCVBUF),
        12 => Linger,
        13 => ByFamily((libc::IPPROTO_IP, libc::IP_TOS), (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)),
        14 => ByFamily(
            (libc::IPPROTO_IP, libc::IP_TTL),
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        ),
        15 => Int(libc::IPPROTO_TCP, libc::TCP_QUICKACK),
        16 => Int(libc::IPPROTO_TCP, libc::TCP_CORK),
        17 => Int(libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
        18 => Int(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
        19 => Int(libc::SOL_SOCKET, libc::SO_BROADCAST),
        20 => ByFamily(
            (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP),
        ),
        21 => ByFamily(
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS),
        ),
        22 => Interface,
        23 => Int(libc::SOL_UDP, libc::UDP_SEGMENT),
        24 => Int(libc::SOL_UDP, libc::UDP_GRO),
        _ => return Err(Errno::INVAL),
    })
}

fn level_and_name(
    fd: c_int,
    v4: (c_int, c_int),
    v6: (c_int, c_int),
) -> Result<(c_int, c_int), Errno> {
    Ok(if socket::domain(fd)? == libc::AF_INET6 { v6 } else { v4 })
}

/// Sets a named option.
pub fn set(handle: Token, option: c_int, value: c_int) -> Result<(), Errno> {
    let handle = Descriptor::lock(handle)?;
    let option = named(option)?;
    let fd = handle.fd()?;
    match option {
        Named::Int(level, name) => socket::set_int(fd, level, name, value),
        Named::ByFamily(v4, v6) => {
            let (level, name) = level_and_name(fd, v4, v6)?;
            socket::set_int(fd, level, name, value)
        }
        Named::Linger => socket::set_linger(fd, value),
        Named::Interface if socket::domain(fd)? == libc::AF_INET6 => {
            socket::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, value)
        }
        Named::Interface => datagram::set_interface(fd, value),
    }
}

/// Reads a named option.
pub fn get(handle: Token, option: c_int) -> Result<c_int, Errno> {
    let handle = Descriptor::lock(handle)?;
    let option = named(option)?;
    let fd = handle.fd()?;
    match option {
        Named::Int(level, name) => socket::get_int(fd, level, name),
        Named::ByFamily(v4, v6) => {
            let (level, name) = level_and_name(fd, v4, v6)?;
            socket::get_int(fd, level, name)
        }
        Named::Linger => socket::get_linger(fd),
        Named::Interface if socket::domain(fd)? == libc::AF_INET6 => {
            socket::get_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF)
        }
        Named::Interface => datagram::interface(fd),
    }
}

/// Sets any option.
///
/// # Safety
/// `value` points to `length` bytes.
#[allow(unsafe_code, reason = "bytes from the caller")]
pub unsafe fn set_raw(
    handle: Token,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> Result<(), Errno> {
    let handle = Descriptor::lock(handle)?;
    // SAFETY: promised by the caller.
    unsafe { socket::set_option(handle.fd()?, level, name, value, length) }
}

/// Reads any option.
///
/// # Safety
/// `value` points to `*length` bytes.
#[allow(unsafe_code, reason = "bytes from the caller")]
pub unsafe fn get_raw(
    handle: Token,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> Result<(), Errno> {
    let handle = Descriptor::lock(handle)?;
    // SAFETY: promised by the caller.
    unsafe { socket::get_option(handle.fd()?, level, name, value, length) }
}

/// Binds to a network interface.
pub fn bind_to_device(handle: Token, name: &CStr) -> Result<(), Errno> {
    socket::bind_to_device(Descriptor::lock(handle)?.fd()?, name)
}
