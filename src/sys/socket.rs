//! Sockets: making, naming, connecting, options. The bytes are in `transfer`.
#![allow(unsafe_code, reason = "calls libc")]

use super::address::Address;
use super::errno::{Errno, check, retry};
use super::thread::Uncancelled;
use libc::{c_int, c_void, linger, pollfd, sockaddr, socklen_t};
use std::ffi::CStr;
use std::os::fd::RawFd;

/// How far a connect has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connect {
    /// It has ended well.
    Done,
    /// It goes on; the socket becomes writable at its end.
    InProgress,
}

const INT: socklen_t = size_of::<c_int>() as socklen_t;

/// Opens a stream socket of a family.
pub fn stream_socket(family: c_int) -> Result<RawFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    retry(|| unsafe { libc::socket(family, kind, 0) })
}

/// Gives the socket its local address.
pub fn bind(fd: RawFd, address: &Address) -> Result<(), Errno> {
    // SAFETY: the address is as long as it says.
    retry(|| unsafe { libc::bind(fd, address.as_ptr(), address.len()) }).map(drop)
}

/// Makes the socket take connections.
pub fn listen(fd: RawFd, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    retry(|| unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// Begins to connect. An interrupted connect goes on in the background: to repeat it would be EALREADY.
/// EAGAIN (AF_UNIX, full backlog) means that nothing was begun.
pub fn connect(fd: RawFd, address: &Address) -> Result<Connect, Errno> {
    let _kept = Uncancelled::begin();
    // SAFETY: the address is as long as it says.
    match check(unsafe { libc::connect(fd, address.as_ptr(), address.len()) }) {
        Ok(_) => Ok(Connect::Done),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Connect::InProgress),
        Err(error) => Err(error),
    }
}

/// Takes a connection; `peer` becomes its peer's address.
pub fn accept(fd: RawFd, peer: &mut Address) -> Result<RawFd, Errno> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    filled(peer, |address, length| {
        // SAFETY: `filled` gives room and its size.
        unsafe { libc::accept4(fd, address, length, flags) }
    })
}

/// The local address.
pub fn local_address(fd: RawFd) -> Result<Address, Errno> {
    let mut address = Address::empty();
    // SAFETY: `filled` gives room and its size.
    filled(&mut address, |to, length| unsafe { libc::getsockname(fd, to, length) })?;
    Ok(address)
}

/// The peer's address; ENOTCONN without a peer.
pub fn peer_address(fd: RawFd) -> Result<Address, Errno> {
    let mut address = Address::empty();
    // SAFETY: `filled` gives room and its size.
    filled(&mut address, |to, length| unsafe { libc::getpeername(fd, to, length) })?;
    Ok(address)
}

/// Has a call fill an address. Each try offers the whole room anew.
fn filled(
    address: &mut Address,
    mut call: impl FnMut(*mut sockaddr, *mut socklen_t) -> c_int,
) -> Result<c_int, Errno> {
    retry(|| address.fill(&mut call))
}

/// Takes the socket's pending error out of it: 0 or a positive number.
pub fn take_error(fd: RawFd) -> Result<i32, Errno> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_ERROR)
}

/// Ends one or both directions.
pub fn shutdown(fd: RawFd, how: c_int) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    retry(|| unsafe { libc::shutdown(fd, how) }).map(drop)
}

/// The family, AF_*.
pub fn domain(fd: RawFd) -> Result<c_int, Errno> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)
}

/// The type, SOCK_*. ENOTSOCK for an fd that is no socket.
pub fn kind(fd: RawFd) -> Result<c_int, Errno> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_TYPE)
}

/// The protocol, IPPROTO_*; 0 for AF_UNIX.
pub fn protocol(fd: RawFd) -> Result<c_int, Errno> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)
}

/// Whether the socket takes connections.
pub fn is_listening(fd: RawFd) -> Result<bool, Errno> {
    get_int(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).map(|value| value != 0)
}

/// Sets any option.
///
/// # Safety
/// `length` bytes at `value` may be read.
pub unsafe fn set_option(
    fd: RawFd,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> Result<(), Errno> {
    // SAFETY: promised by the caller.
    retry(|| unsafe { libc::setsockopt(fd, level, name, value, length) }).map(drop)
}

/// Reads any option. `length` is the room at `value`, and then the size of what is there.
///
/// # Safety
/// `length` may be read and written, and as many bytes as it says may be written at `value`.
pub unsafe fn get_option(
    fd: RawFd,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> Result<(), Errno> {
    // SAFETY: promised by the caller.
    retry(|| unsafe { libc::getsockopt(fd, level, name, value, length) }).map(drop)
}

/// Sets an option that is an int.
pub fn set_int(fd: RawFd, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    // SAFETY: one int, which lives through the call.
    unsafe { set_option(fd, level, name, (&raw const value).cast(), INT) }
}

/// Reads an option that is an int.
pub fn get_int(fd: RawFd, level: c_int, name: c_int) -> Result<c_int, Errno> {
    // A few options answer with one byte: the others must be 0.
    let mut value: c_int = 0;
    let mut length = INT;
    // SAFETY: one int and its size, which live through the call.
    unsafe { get_option(fd, level, name, (&raw mut value).cast(), &raw mut length) }?;
    Ok(value)
}

/// Sets how long a close waits for unsent data: seconds, 0 to discard it with a reset, -1 for off.
pub fn set_linger(fd: RawFd, seconds: c_int) -> Result<(), Errno> {
    if seconds < -1 {
        return Err(Errno::INVAL);
    }
    let value = linger { l_onoff: c_int::from(seconds >= 0), l_linger: seconds.max(0) };
    let length = size_of::<linger>() as socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: one struct, which lives through the call.
    unsafe { set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, length) }
}

/// Reads what `set_linger` sets.
pub fn get_linger(fd: RawFd) -> Result<c_int, Errno> {
    let mut value = linger { l_onoff: 0, l_linger: 0 };
    let mut length = size_of::<linger>() as socklen_t;
    let to = (&raw mut value).cast();
    // SAFETY: one struct and its size, which live through the call.
    unsafe { get_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, to, &raw mut length) }?;
    Ok(if value.l_onoff == 0 { -1 } else { value.l_linger })
}

/// Binds the socket to a network interface, or to none with an empty name. ENODEV for one that is unknown.
pub fn bind_to_device(fd: RawFd, name: &CStr) -> Result<(), Errno> {
    let bytes = name.to_bytes_with_nul();
    if bytes.len() > libc::IFNAMSIZ {
        // The kernel would cut the name and might find another interface.
        return Err(Errno::NODEV);
    }
    let length = bytes.len() as socklen_t;
    let name = bytes.as_ptr().cast();
    // SAFETY: the bytes of the name.
    unsafe { set_option(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name, length) }
}

/// What of `events` (POLL*) holds now, and POLLERR, POLLHUP or POLLNVAL where they do; 0 for nothing.
pub fn poll(fd: RawFd, events: i16) -> Result<i16, Errno> {
    let mut asked = pollfd { fd, events, revents: 0 };
    // SAFETY: an array of one, which lives through the call.
    retry(|| unsafe { libc::poll(&raw mut asked, 1, 0) })?;
    Ok(asked.revents)
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;
    use crate::sys::fd::tests::is_nonblocking_cloexec;
    use crate::sys::fd::{close, set_nonblocking_cloexec};

    /// Two connected AF_UNIX streams.
    pub fn pair() -> (RawFd, RawFd) {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let mut ends = [-1; 2];
        // SAFETY: an array of two.
        let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
        assert_eq!(made, 0);
        (ends[0], ends[1])
    }

    fn listener(text: &str, backlog: c_int) -> (RawFd, Address) {
        let address = Address::parse(text).unwrap();
        let fd = stream_socket(address.family()).unwrap();
        assert!(is_nonblocking_cloexec(fd));
        bind(fd, &address).unwrap();
        assert_eq!(is_listening(fd), Ok(false));
        listen(fd, backlog).unwrap();
        assert_eq!(is_listening(fd), Ok(true));
        let address = local_address(fd).unwrap();
        (fd, address)
    }

    fn text(address: &Address) -> String {
        let mut text = String::new();
        address.format(&mut text).unwrap();
        text
    }

    /// Waits for what a loopback peer brings about. The limit is against a hang only.
    fn await_events(fd: RawFd, events: i16) -> i16 {
        let mut asked = pollfd { fd, events, revents: 0 };
        // SAFETY: an array of one.
        assert_eq!(unsafe { libc::poll(&raw mut asked, 1, 60_000) }, 1);
        asked.revents
    }

    fn connects_and_accepts(at: &str) {
        let (server, address) = listener(at, 8);
        assert_eq!(accept(server, &mut Address::empty()), Err(Errno::AGAIN));
        let client = stream_socket(address.family()).unwrap();
        assert_eq!(peer_address(client).err(), Some(Errno::NOTCONN));
        if connect(client, &address).unwrap() == Connect::InProgress {
            await_events(client, libc::POLLOUT);
        }
        assert_eq!(take_error(client), Ok(0));
        await_events(server, libc::POLLIN);
        let mut peer = Address::empty();
        let accepted = accept(server, &mut peer).unwrap();
        assert!(is_nonblocking_cloexec(accepted));
        assert_eq!(text(&peer), text(&local_address(client).unwrap()));
        assert_eq!(text(&address), text(&peer_address(client).unwrap()));
        assert_eq!(text(&address), text(&local_address(accepted).unwrap()));
        assert_eq!(domain(accepted), Ok(address.family()));
        assert_eq!(kind(accepted), Ok(libc::SOCK_STREAM));
        let inet = address.family() != libc::AF_UNIX;
        assert_eq!(protocol(accepted), Ok(if inet { libc::IPPROTO_TCP } else { 0 }));

        shutdown(client, libc::SHUT_WR).unwrap();
        await_events(accepted, libc::POLLIN);
        assert_eq!(poll(client, libc::POLLIN), Ok(0));
        for fd in [server, client, accepted] {
            close(fd);
        }
    }

    #[test]
    fn inet_connects() {
        connects_and_accepts("127.0.0.1:0");
    }

    #[test]
    fn inet6_connects() {
        connects_and_accepts("[::1]:0");
    }

    #[test]
    fn unix_connects_to_abstract_names_and_paths() {
        let id = std::process::id();
        connects_and_accepts(&format!("unix:@weir test {id}\\x00\\xff"));
        let path = std::env::temp_dir().join(format!("weir-socket-{id}"));
        connects_and_accepts(&format!("unix:{}", path.display()));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_full_unix_backlog_is_eagain() {
        let (server, address) = listener(&format!("unix:@weir full {}", std::process::id()), 0);
        let clients: Vec<RawFd> = (0..3).map(|_| stream_socket(libc::AF_UNIX).unwrap()).collect();
        let results: Vec<_> = clients.iter().map(|fd| connect(*fd, &address)).collect();
        assert_eq!(results[0], Ok(Connect::Done));
        assert_eq!(results[2], Err(Errno::AGAIN));
        clients.into_iter().chain([server]).for_each(close);
    }

    #[test]
    fn a_refused_connect_tells_once() {
        // A port that was free a moment ago, held by a socket that does not listen.
        let holder = stream_socket(libc::AF_INET).unwrap();
        bind(holder, &Address::parse("127.0.0.1:0").unwrap()).unwrap();
        let address = local_address(holder).unwrap();
        let client = stream_socket(libc::AF_INET).unwrap();
        match connect(client, &address) {
            Ok(Connect::InProgress) => {
                await_events(client, libc::POLLOUT);
                assert_eq!(take_error(client), Ok(libc::ECONNREFUSED));
                assert_eq!(take_error(client), Ok(0));
            }
            other => assert_eq!(other, Err(Errno::CONNREFUSED)),
        }
        close(client);
        close(holder);
    }

    #[test]
    fn options_go_both_ways() {
        let fd = stream_socket(libc::AF_INET).unwrap();
        for value in [1, 0] {
            set_int(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, value).unwrap();
            let read = get_int(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY).unwrap();
            assert_eq!(c_int::from(read != 0), value);
        }
        assert_eq!(get_linger(fd), Ok(-1));
        for seconds in [7, 0, -1] {
            set_linger(fd, seconds).unwrap();
            assert_eq!(get_linger(fd), Ok(seconds));
        }
        assert_eq!(set_linger(fd, -2), Err(Errno::INVAL));
        assert_eq!(get_linger(fd), Ok(-1));
        assert_eq!(set_int(fd, libc::IPPROTO_TCP, 9999, 1), Err(Errno::NOPROTOOPT));
        assert_eq!(get_int(fd, libc::IPPROTO_TCP, 9999), Err(Errno::NOPROTOOPT));

        // The bytes of an option, with a buffer that is too short for them.
        let mut value = [0xAA_u8; 4];
        let mut length: socklen_t = 2;
        set_int(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1).unwrap();
        // SAFETY: two of four bytes.
        let read = unsafe {
            let to = value.as_mut_ptr().cast();
            get_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, to, &raw mut length)
        };
        assert_eq!((read, length, &value[2..]), (Ok(()), 2, &[0xAA, 0xAA][..]));
        close(fd);
    }

    #[test]
    fn devices_are_known_or_refused() {
        let fd = stream_socket(libc::AF_INET).unwrap();
        assert_eq!(bind_to_device(fd, c"weir-none"), Err(Errno::NODEV));
        // Refused before the kernel is asked, which would cut the name.
        assert_eq!(bind_to_device(-1, c"sixteen-letters-"), Err(Errno::NODEV));
        assert_eq!(bind_to_device(-1, c"fifteen-letters"), Err(Errno::BADF));
        // Without the privilege the kernel may say EPERM to a device that it knows.
        assert!(matches!(bind_to_device(fd, c"lo"), Ok(()) | Err(Errno::PERM)));
        close(fd);
    }

    #[test]
    fn what_is_no_socket_is_reported() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(kind(fd), Err(Errno::NOTSOCK));
        assert_eq!(kind(-1), Err(Errno::BADF));
        assert_eq!(local_address(fd).err(), Some(Errno::NOTSOCK));
        assert_eq!(accept(-1, &mut Address::empty()), Err(Errno::BADF));
        assert_eq!(poll(c_int::MAX, libc::POLLIN), Ok(libc::POLLNVAL));
        assert_eq!(set_nonblocking_cloexec(c_int::MAX), Err(Errno::BADF));
        assert_eq!(stream_socket(9999), Err(Errno::AFNOSUPPORT));
        let udp = {
            // SAFETY: takes numbers only.
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }
        };
        assert_eq!(kind(udp), Ok(libc::SOCK_DGRAM));
        assert_eq!(protocol(udp), Ok(libc::IPPROTO_UDP));
        assert_eq!(listen(udp, 1), Err(Errno::OPNOTSUPP));
        close(udp);
    }
}
