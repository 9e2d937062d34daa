//! Acceptors: listening sockets.

use super::kind;
use super::stream::{open_locked, trusts_short};
use crate::sched::completion::{AcceptFn, Callback, OP_ACCEPT};
use crate::sched::descriptor::{Descriptor, Dir, Locked, Reserved};
use crate::sched::frame::Caller;
use crate::sched::retry;
use crate::sched::scheduler::Scheduler;
use crate::sched::slot::{Kind, Outcome, Taken, Taking, Transfer};
use crate::sched::table::Token;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::{fd, socket};
use libc::{c_int, c_void};
use std::os::fd::RawFd;

/// How long an accept waits when the process or the system is out of fds or memory (H30).
const BACKOFF: i64 = 100_000_000;
/// Connections that may fail in a row before others have their turn.
const FAILURES_PER_TURN: usize = 64;

/// Makes an acceptor without an fd.
pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
    Reserved::new()?.publish(sched, kind::ACCEPTOR, -1, false)
}

/// Binds; opens a socket of the address's family first if there is none.
pub fn bind(acceptor: Token, address: &Address) -> Result<(), Errno> {
    let mut acceptor = Descriptor::lock(acceptor)?;
    let opened = acceptor.fd().is_err();
    if opened {
        open_locked(&mut acceptor, address.family())?;
    }
    let fd = acceptor.fd()?;
    let bound = if opened && address.family() != libc::AF_UNIX {
        // A server that restarts must not wait for its old connections to time out.
        socket::set_int(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
    } else {
        Ok(())
    }
    .and_then(|()| socket::bind(fd, address));
    if bound.is_err() && opened {
        acceptor.drop_fd();
    }
    bound
}

/// Listens.
pub fn listen(acceptor: Token, backlog: c_int) -> Result<(), Errno> {
    if backlog < 0 {
        return Err(Errno::INVAL);
    }
    let acceptor = Descriptor::lock(acceptor)?;
    socket::listen(acceptor.fd()?, if backlog == 0 { libc::SOMAXCONN } else { backlog })
}

/// Takes over a listening socket.
pub fn adopt(acceptor: Token, fd: RawFd) -> Result<(), Errno> {
    let mut acceptor = Descriptor::lock(acceptor)?;
    acceptor.sched.check_open()?;
    if acceptor.fd().is_ok() {
        return Err(Errno::BUSY);
    }
    if socket::kind(fd)? != libc::SOCK_STREAM {
        return Err(Errno::PROTOTYPE);
    }
    if !socket::is_listening(fd)? {
        return Err(Errno::INVAL);
    }
    fd::set_nonblocking_cloexec(fd)?;
    let trusts = trusts_short(socket::domain(fd)?, socket::protocol(fd)?);
    acceptor.attach(fd, trusts);
    Ok(())
}

/// Begins to accept: one connection, or each until the operation ends.
pub fn accept(
    caller: &Caller,
    acceptor: Token,
    each: bool,
    callback: Option<AcceptFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut acceptor = Descriptor::lock(acceptor)?;
    if !socket::is_listening(acceptor.fd()?)? {
        return Err(Errno::INVAL);
    }
    let transfer = Transfer::none();
    let kind = Kind::Take { taking: &STREAMS, each };
    let callback = callback.map_or(Callback::Record(OP_ACCEPT), Callback::Accept);
    acceptor.begin(caller, Dir::Read, kind, transfer, callback, user)
}

/// Connections become streams of the acceptor's context.
static STREAMS: Taking = Taking { take: take_stream, retry_later };

fn take_stream(listener: &Locked, _: bool, taken: &mut Taken) -> Result<(), Outcome> {
    // Before the connection is taken: none is lost for want of memory.
    let reserved = Reserved::new().map_err(Outcome::Backoff)?;
    let listener_fd = listener.fd().map_err(failed)?;
    for _ in 0..FAILURES_PER_TURN {
        match socket::accept(listener_fd, &mut taken.address) {
            Ok(fd) => {
                // Connections are of their listener's protocol.
                let trusts = listener.trusts_short();
                let peer = reserved.publish(listener.sched, kind::STREAM, fd, trusts);
                taken.value = peer.inspect_err(|_| fd::close(fd)).map_err(failed)?.raw();
                return Ok(());
            }
            Err(Errno::AGAIN) => return Err(Outcome::WouldBlock),
            Err(error) if is_of_one_connection(error) => {}
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                return Err(Outcome::Backoff(error));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(Outcome::Yield)
}

fn retry_later(listener: &mut Locked) -> bool {
    retry::after(listener, BACKOFF)
}

fn failed(error: Errno) -> Outcome {
    Outcome::Done { status: error.code(), drained: false }
}

/// Errors that accept(2) passes on from the connection it would have taken.
fn is_of_one_connection(error: Errno) -> bool {
    matches!(
        error.0,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ETIMEDOUT
    )
}
