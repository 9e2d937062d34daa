//! What an operation is: its kind, its transfer, and the slot of a descriptor that holds it.
use super::buffers::Buffer;
use super::completion::Callback;
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

/// An operation's view of its transfer.
pub struct Transfer {
    /// The user's buffer, or array of `iovec`s.
    pub data: *mut c_void,
    /// Its length in bytes, or the number of `iovec`s.
    pub length: usize,
    /// Bytes moved so far.
    pub done: usize,
    /// Bytes wanted in all.
    pub total: usize,
    /// Bytes moved already of the first `iovec` that is left.
    pub skip: usize,
}

impl Transfer {
    /// Of an operation that moves no bytes.
    pub const fn none() -> Self {
        Transfer { data: ptr::null_mut(), length: 0, done: 0, total: 0, skip: 0 }
    }

    /// Of an operation that is one message, and has two pointers more of the user's. They lie where others
    /// have `total` and `skip`, so that idle streams don't pay for them.
    pub fn message(data: *mut c_void, length: usize, more: (*mut c_void, *mut c_void)) -> Self {
        let (total, skip) = (more.0.expose_provenance(), more.1.expose_provenance());
        Transfer { data, length, done: 0, total, skip }
    }

    /// The two pointers that were given to `message`.
    pub fn more(&self) -> (*mut c_void, *mut c_void) {
        let pointer = ptr::with_exposed_provenance_mut;
        (pointer(self.total), pointer(self.skip))
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
pub trait Taking {
    /// Takes one. `trust` as in [`Perform`].
    fn take(&self, from: &Locked, trust: bool, taken: &mut Taken) -> Result<(), Outcome>;
    /// After [`Outcome::Backoff`]: has [`Locked::retry`] called on the descriptor later; false when that
    /// can't be arranged.
    fn retry_later(&self, from: &mut Locked) -> bool;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// Waits for readiness.
    Parked,
    /// A multi-shot operation's callback is running, or about to; it parks again afterwards.
    Delivering,
    /// Complete, and queued for delivery.
    Done,
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
        taking: &'static (dyn Taking + Sync),
        /// Until cancelled.
        each: bool,
    },
}

pub(super) struct Slot {
    pub(super) phase: Phase,
    /// A multi-shot operation was ended while its callback ran; the status to end with.
    pub(super) ended: i32,
    pub(super) status: i32,
    pub(super) kind: Kind,
    pub(super) transfer: Transfer,
    pub(super) callback: Callback,
    pub(super) user: *mut c_void,
}

impl Slot {
    /// An operation that takes what it delivers when it is delivered.
    pub(super) fn is_parked_take(&self) -> bool {
        self.phase == Phase::Parked && matches!(self.kind, Kind::Take { .. })
    }

    pub(super) fn vacant() -> Self {
        Slot {
            phase: Phase::Idle,
            ended: 0,
            status: 0,
            kind: Kind::Once(|_, _, _| Outcome::Yield),
            transfer: Transfer::none(),
            callback: Callback::Record(0),
            user: ptr::null_mut(),
        }
    }
}
