//! What AF_UNIX sockets have beyond the others: pairs, names in the file system, credentials.

use crate::sched::descriptor::{Descriptor, Reserved};
use crate::sched::frame::Caller;
use crate::sched::scheduler::Scheduler;
use crate::sched::table::Token;
use crate::sys::errno::Errno;
use crate::sys::{fd, local};
use libc::c_int;

/// Two connected handles of a kind, of sockets of a type (SOCK_*).
pub fn pair(
    caller: &Caller,
    sched: &'static Scheduler,
    kind: u8,
    socket_type: c_int,
) -> Result<[Token; 2], Errno> {
    // Before the sockets are made: nothing can fail for want of memory then.
    let (one, two) = (Reserved::new()?, Reserved::new()?);
    let [first, second] = local::pair(socket_type)?;
    let one = one.publish(sched, kind, first, false).inspect_err(|_| {
        fd::close(first);
        fd::close(second);
    })?;
    match two.publish(sched, kind, second, false) {
        Ok(two) => Ok([one, two]),
        Err(error) => {
            fd::close(second);
            if let Ok(one) = Descriptor::lock(one) {
                one.close(caller);
            }
            Err(error)
        }
    }
}

/// Removes the path that the socket is bound to.
pub fn unlink(handle: Token) -> Result<(), Errno> {
    local::unlink(Descriptor::lock(handle)?.fd()?)
}

/// Process, user and group of the peer.
pub fn peer_credentials(stream: Token) -> Result<(i32, u32, u32), Errno> {
    local::peer_credentials(Descriptor::lock(stream)?.fd()?)
}
