//! What AF_UNIX alone has: pairs, the credentials of a peer, names in the file system.
#![allow(unsafe_code, reason = "calls libc")]

use super::address::Address;
use super::errno::{Errno, retry};
use super::socket;
use libc::{c_int, socklen_t, ucred};
use std::ffi::CStr;
use std::os::fd::RawFd;

/// Two connected sockets of a type (SOCK_STREAM or SOCK_DGRAM).
pub fn pair(kind: c_int) -> Result<[RawFd; 2], Errno> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let mut ends = [-1; 2];
    // SAFETY: an array of two, which lives through the call.
    retry(|| unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    Ok(ends)
}

/// Process, user and group of the peer when it connected, listened or made the pair. EOPNOTSUPP: not
/// AF_UNIX. ENOTCONN: no peer.
pub fn peer_credentials(fd: RawFd) -> Result<(i32, u32, u32), Errno> {
    if socket::domain(fd)? != libc::AF_UNIX {
        return Err(Errno::OPNOTSUPP);
    }
    socket::peer_address(fd)?;
    let mut found = ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<ucred>() as socklen_t;
    let to = (&raw mut found).cast();
    // SAFETY: one struct and its size, which live through the call.
    unsafe { socket::get_option(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut length) }?;
    Ok((found.pid, found.uid, found.gid))
}

/// Removes the path that the socket is bound to. EOPNOTSUPP: it has none.
pub fn unlink(fd: RawFd) -> Result<(), Errno> {
    let address: Address = socket::local_address(fd)?;
    let path: &CStr = address.unix_path().ok_or(Errno::OPNOTSUPP)?;
    // SAFETY: ends with a NUL.
    retry(|| unsafe { libc::unlink(path.as_ptr()) }).map(drop)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::fd::close;
    use crate::sys::fd::tests::is_nonblocking_cloexec;

    #[test]
    fn a_pair_is_connected_and_knows_its_peer() {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let ends = pair(kind).unwrap();
            for fd in ends {
                assert!(is_nonblocking_cloexec(fd));
                assert_eq!(socket::kind(fd), Ok(kind));
                let own = std::process::id();
                assert_eq!(peer_credentials(fd).unwrap().0.unsigned_abs(), own);
            }
            ends.into_iter().for_each(close);
        }
    }

    #[test]
    fn without_a_peer_there_are_no_credentials() {
        let fd = socket::stream_socket(libc::AF_UNIX).unwrap();
        assert_eq!(peer_credentials(fd), Err(Errno::NOTCONN));
        close(fd);
        let fd = socket::stream_socket(libc::AF_INET).unwrap();
        assert_eq!(peer_credentials(fd), Err(Errno::OPNOTSUPP));
        close(fd);
    }

    #[test]
    fn only_a_path_is_removed() {
        let path = std::env::temp_dir().join(format!("weir-unlink-{}", std::process::id()));
        let at = [format!("unix:{}", path.display()), format!("unix:@{}", path.display())];
        for text in at {
            let fd = socket::stream_socket(libc::AF_UNIX).unwrap();
            assert_eq!(unlink(fd), Err(Errno::OPNOTSUPP));
            socket::bind(fd, &Address::parse(&text).unwrap()).unwrap();
            let is_path = path.exists();
            assert_eq!(unlink(fd), if is_path { Ok(()) } else { Err(Errno::OPNOTSUPP) });
            assert!(!path.exists());
            close(fd);
        }
    }
}
