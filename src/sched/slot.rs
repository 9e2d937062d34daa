//! What an operation is: its kind, its transfer, and what trying it comes to.
use super::buffers::Buffer;
use super::descriptor::Locked;
use super::write_queue::Serve;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use libc::c_void;
use std::os::fd::RawFd;
use std::ptr;

/// What trying the system call came to.
pub enum Outcome {
    /// The operation is complete, with this status. `drained`: the kernel has nothing more in this
    /// direction, so that the next operation need not ask.
    Done {
        /// 0 or a negative code.
        status: i32,
        /// See above.
        drained: bool,
    },
    /// The kernel has nothing now.
    WouldBlock,
    /// More could be done, but others have waited long enough.
    Yield,
    /// A resource of the system or a receiver's queue is short, and nobody tells when it no longer is: try
    /// again after a while.
    Backoff(Errno),
}

/// An operation's view of its transfer: four words, of which an idle connection has one set for each read.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Transfer {
    /// The user's buffer, or array of `iovec`s.
    pub data: *mut c_void,
    /// Its length in bytes, or the number of `iovec`s. Lengths end at SSIZE_MAX: the top bit is [`MESSAGE`].
    pub(super) length: usize,
    /// Bytes moved already of the first `iovec` that is left.
    pub skip: usize,
    /// Bytes moved so far. Last, since it outlives the others.
    pub(super) done: usize,
}

/// Nothing has moved, and `done` is the second pointer of a message.
pub(super) const MESSAGE: usize = 1 << (usize::BITS - 1);

impl Transfer {
    /// Of an operation that moves no bytes.
    pub const fn none() -> Self {
        Transfer::new(ptr::null_mut(), 0)
    }

    /// Of `length` things at `data`; at most SSIZE_MAX.
    #[inline]
    pub const fn new(data: *mut c_void, length: usize) -> Self {
        Transfer { data, length: length & !MESSAGE, skip: 0, done: 0 }
    }

    /// Of an operation that is one message, and has two pointers more of the user's. They lie where others
    /// have `skip` and `done`, so that idle streams don't pay for them.
    pub fn message(data: *mut c_void, length: usize, more: (*mut c_void, *mut c_void)) -> Self {
        let (skip, done) = (more.0.expose_provenance(), more.1.expose_provenance());
        Transfer { data, length: length | MESSAGE, skip, done }
    }

    /// The two pointers that were given to `message`, until something has moved.
    pub fn more(&self) -> (*mut c_void, *mut c_void) {
        let pointer = ptr::with_exposed_provenance_mut;
        (pointer(self.skip), pointer(self.done))
    }

    /// Bytes, or things, in all.
    #[inline]
    pub const fn length(&self) -> usize {
        self.length & !MESSAGE
    }

    /// True for one message that has not moved.
    pub const fn is_message(&self) -> bool {
        self.length & MESSAGE != 0
    }

    /// Leaves the first of an array behind.
    pub fn shift<T>(&mut self) {
        self.data = self.data.cast::<T>().wrapping_add(1).cast();
        self.length = self.length().saturating_sub(1);
    }

    /// Moved so far.
    #[inline]
    pub const fn done(&self) -> usize {
        if self.is_message() { 0 } else { self.done }
    }

    /// So many have moved in all.
    #[inline]
    pub const fn set_done(&mut self, done: usize) {
        self.length &= !MESSAGE;
        self.done = done;
    }

    /// So many have moved now.
    #[inline]
    pub const fn add_done(&mut self, count: usize) {
        self.set_done(self.done() + count);
    }
}

/// Tries the system call. `trust` says that a transfer shorter than its buffer has drained the
/// direction. Called under the descriptor's lock.
pub type Perform = fn(RawFd, &mut Transfer, trust: bool) -> Outcome;

/// What an operation took from the kernel.
pub struct Taken {
    /// A handle, or a number of bytes.
    pub value: u64,
    /// Where it came from.
    pub address: Address,
    /// The buffer that it is in.
    pub buffer: Option<Buffer>,
    /// The kernel has nothing more.
    pub drained: bool,
    /// A buffer was taken from the pool, not used, and put back.
    pub returned: bool,
}

/// Operations that take what they deliver, a connection or data for a buffer of the library's, just
/// before its delivery, so that it never lies in a queue where a cancel could lose it (H24).
pub struct Taking {
    /// Takes one. `trust` as in [`Perform`].
    pub take: fn(from: &Locked, trust: bool, taken: &mut Taken) -> Result<(), Outcome>,
    /// After [`Outcome::Backoff`]: has [`Locked::retry`] called on the descriptor later; false when that
    /// can't be arranged.
    pub retry_later: fn(from: &mut Locked) -> bool,
}

/// What an operation is, given when it begins.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Tried with a system call; complete once.
    Once(Perform),
    /// Establishes the connection. Until then nothing is read: a read would take the error that belongs
    /// to the connect out of the socket.
    Connect {
        /// How to find out.
        perform: Perform,
        /// The fd goes if it fails: it was opened for this operation.
        opened: bool,
    },
    /// Serves the queue of writes, see `sched::write_queue`.
    Queue(Serve),
    /// Completed by a service, see `sched::held`.
    Held,
    /// Takes what it delivers: one, or until cancelled.
    Take {
        /// How.
        taking: &'static Taking,
        /// Until cancelled.
        each: bool,
    },
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_moved_nothing_until_it_is_done() {
        let (mut first, mut second) = (1_u8, 2_u8);
        let pointers = ((&raw mut first).cast(), (&raw mut second).cast());
        let mut transfer = Transfer::message(ptr::null_mut(), 7, pointers);
        assert_eq!((transfer.length(), transfer.done(), transfer.more()), (7, 0, pointers));
        transfer.set_done(5);
        assert_eq!((transfer.length(), transfer.done()), (7, 5));
    }
}
