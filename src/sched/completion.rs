//! Delivery to the user: the only place where a user's function is called.
//!
//! Callbacks are `extern "C-unwind"`: a C++ exception that leaves one ends the process with a message,
//! where `extern "C"` would be undefined. No lock is held and the op's object is already free for the
//! next operation when a callback runs, so a callback may call every function of the library.
//!
//! An operation that was begun without a function completes with a *record* instead. Its op then waits,
//! complete, in the context's queue of held ops until a thread that reaps runs it: nothing is copied or
//! allocated before there is room for the record, so none is lost.
#![allow(unsafe_code, reason = "calls the functions that the user gave")]
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "pointers are handed on, not followed")]

use super::frame::{Frame, Subject};
use super::op::Op;
use super::stats;
use crate::sys::clock;
use libc::{c_int, c_void, sockaddr, socklen_t};
use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::{self, NonNull};

/// `weir_callback`.
pub type StatusFn = unsafe extern "C-unwind" fn(c_int, *mut c_void);
/// `weir_io_callback`.
pub type IoFn = unsafe extern "C-unwind" fn(c_int, usize, *mut c_void);
/// `weir_value_callback`.
pub type ValueFn = unsafe extern "C-unwind" fn(c_int, c_int, *mut c_void);
/// `weir_job_function`.
pub type JobFn = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
/// A function that receives a pointer to a result, which it owns from then on.
pub type ResultFn = unsafe extern "C-unwind" fn(c_int, *mut c_void, *mut c_void);
/// `weir_accept_callback`, with the peer's handle as an opaque pointer.
pub type AcceptFn =
    unsafe extern "C-unwind" fn(c_int, *mut c_void, *const sockaddr, socklen_t, *mut c_void);
/// `weir_buffer_callback`.
pub type BufferFn = unsafe extern "C-unwind" fn(c_int, *const c_void, usize, *mut c_void);

/// `WEIR_OP_POST`: a posted function.
pub const OP_POST: u32 = 1;
/// `WEIR_OP_TIMER`: a wait, or a tick, of a timer.
pub const OP_TIMER: u32 = 2;
/// `WEIR_OP_ACCEPT`.
pub const OP_ACCEPT: u32 = 3;
/// `WEIR_OP_CONNECT`.
pub const OP_CONNECT: u32 = 4;
/// `WEIR_OP_READ`: every way of reading from a stream.
pub const OP_READ: u32 = 5;
/// `WEIR_OP_WRITE`: every way of writing to a stream.
pub const OP_WRITE: u32 = 6;
/// `WEIR_OP_WAIT`: readiness of a stream, an acceptor or a datagram socket.
pub const OP_WAIT: u32 = 7;
/// `WEIR_OP_RECEIVE`: every way of receiving datagrams.
pub const OP_RECEIVE: u32 = 8;
/// `WEIR_OP_SEND`: every way of sending datagrams.
pub const OP_SEND: u32 = 9;
/// `WEIR_OP_SIGNAL`.
pub const OP_SIGNAL: u32 = 10;
/// `WEIR_OP_RESOLVE`: forward.
pub const OP_RESOLVE: u32 = 11;
/// `WEIR_OP_REVERSE`.
pub const OP_REVERSE: u32 = 12;
/// `WEIR_OP_WATCH`.
pub const OP_WATCH: u32 = 13;
/// `WEIR_OP_PROCESS`.
pub const OP_PROCESS: u32 = 14;
/// `WEIR_OP_JOB`.
pub const OP_JOB: u32 = 15;
/// The greatest of them.
pub const OP_LAST: u32 = OP_JOB;

/// A user's function of one of the kinds.
#[derive(Clone, Copy)]
pub enum Callback {
    /// None: a record, which tells this kind.
    Record(u32),
    /// Takes a status.
    Status(StatusFn),
    /// Takes a status and a byte count.
    Io(IoFn),
    /// Takes a status and a number.
    Value(ValueFn),
    /// Takes a status and a result.
    Result(ResultFn),
    /// Takes a status, a new handle and its peer's address.
    Accept(AcceptFn),
    /// Takes a status and a filled buffer of the library's.
    Buffer(BufferFn),
}

impl Callback {
    /// True when a record is to be delivered.
    #[inline]
    pub fn is_record(self) -> bool {
        matches!(self, Callback::Record(_))
    }
}

/// What an operation came to.
#[derive(Clone, Copy)]
pub struct Delivery {
    /// 0 or a negative code.
    pub status: i32,
    /// Bytes, a number, a handle or a pointer, as the kind has it.
    pub value: u64,
    /// The peer's address; it lives on the caller's stack.
    pub address: (*const sockaddr, socklen_t),
    /// The library's buffer that was filled, and its offset in the pool.
    pub buffer: (*const c_void, u64),
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery { status: 0, value: 0, address: (ptr::null(), 0), buffer: (ptr::null(), 0) }
    }
}

/// One completion of an operation that was begun without a callback. `weir_record` in the header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Record {
    /// The user's pointer.
    pub user: *mut c_void,
    /// Bytes, a number, a handle or a pointer, as the kind has it.
    pub value: u64,
    /// A pooled buffer's offset in its pool.
    pub extra: u64,
    /// `WEIR_OP_...`.
    pub kind: u32,
    /// 0 or a negative code.
    pub status: i32,
}

/// Where a thread that reaps has its records written.
pub struct Sink {
    at: Cell<*mut Record>,
    left: Cell<usize>,
    taken: Cell<usize>,
}

impl Sink {
    /// # Safety
    /// `records` points to `capacity` writable records for as long as the sink is used.
    pub unsafe fn new(records: *mut Record, capacity: usize) -> Self {
        Sink { at: Cell::new(records), left: Cell::new(capacity), taken: Cell::new(0) }
    }

    /// True when there is no room left.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.left.get() == 0
    }

    /// The number written.
    #[inline]
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    fn push(&self, record: Record) {
        if self.is_full() {
            debug_assert!(false, "an op was run that should have been held back");
            return;
        }
        // SAFETY: there is room, as promised to `new`.
        unsafe {
            self.at.get().write(record);
            self.at.set(self.at.get().add(1));
        }
        self.left.set(self.left.get() - 1);
        self.taken.set(self.taken.get() + 1);
    }
}

/// To be asked before a completion is delivered: true when it is a record that this thread can't take. Then
/// the op, which must stay as it is, waits in the context for a thread that can.
#[inline]
pub fn hold_back(frame: &Frame, callback: Callback, op: NonNull<Op>) -> bool {
    if !callback.is_record() {
        return false;
    }
    hold_record_back(frame, op)
}

#[cold]
fn hold_record_back(frame: &Frame, op: NonNull<Op>) -> bool {
    // At destruction nobody will reap any more: records are dropped.
    if frame.draining || frame.sink().is_some_and(|sink| !sink.is_full()) {
        return false;
    }
    frame.sched.hold(op);
    true
}

/// Calls a function with a status.
#[inline]
pub fn deliver_status(frame: &Frame, callback: StatusFn, status: c_int, user: *mut c_void) {
    frame.delivered.set(frame.delivered.get() + 1);
    if frame.measures {
        measured(frame, user, move || call_status(callback, status, user));
    } else {
        // Not by `call`: its closure would be built in memory, for the other branch.
        call_status(callback, status, user);
    }
}

/// The same where callbacks are not timed, and the caller counts them.
#[inline(always)]
pub fn call_status(callback: StatusFn, status: c_int, user: *mut c_void) {
    // SAFETY: the user promised a function of this type that may be called with this pointer.
    unsafe { callback(status, user) }
}

/// Calls a function with a status and a byte count.
#[inline]
pub fn deliver_io(frame: &Frame, callback: IoFn, status: c_int, bytes: usize, user: *mut c_void) {
    // SAFETY: as in `deliver_status`.
    call(frame, user, || unsafe { callback(status, bytes, user) });
}

/// Calls a function of whichever kind, or writes the record. False when it was a record that nobody takes.
#[inline]
pub fn deliver(frame: &Frame, callback: Callback, what: Delivery, user: *mut c_void) -> bool {
    let status = what.status;
    if let Callback::Record(kind) = callback {
        return deliver_record(frame, kind, what, user);
    }
    // SAFETY: as in `deliver_status`; the sizes of the numbers are those that the kinds have.
    call(frame, user, || unsafe {
        match callback {
            Callback::Status(callback) => callback(status, user),
            Callback::Io(callback) => callback(status, what.value as usize, user),
            Callback::Value(callback) => callback(status, what.value as c_int, user),
            Callback::Result(callback) => callback(status, as_pointer(what.value), user),
            Callback::Accept(callback) => {
                callback(status, as_pointer(what.value), what.address.0, what.address.1, user);
            }
            Callback::Buffer(callback) => {
                callback(status, what.buffer.0, what.value as usize, user);
            }
            Callback::Record(_) => {}
        }
    });
    true
}

#[inline]
fn call(frame: &Frame, user: *mut c_void, callback: impl FnOnce()) {
    frame.delivered.set(frame.delivered.get() + 1);
    if frame.measures {
        measured(frame, user, callback);
    } else {
        callback();
    }
}

/// Calls back and looks at the clock before and after.
#[inline(never)]
fn measured(frame: &Frame, user: *mut c_void, callback: impl FnOnce()) {
    let subject = frame.subject.replace(Subject::NONE);
    let mut name = [0; STALL_NAME];
    if let Some(member) = subject.member {
        // Before the call, which may close the handle.
        frame.sched.members.copy_name(member, &mut name);
    }
    let began = clock::monotonic();
    callback();
    let took = clock::monotonic().saturating_sub(began);
    let stats = &frame.sched.reactor().stats;
    stats::keep_max(&stats.longest, u64::try_from(took).unwrap_or(0));
    let options = frame.sched.options();
    if options.stall_limit == 0 || took < options.stall_limit {
        return;
    }
    stats::add(&stats.stalls, 1);
    if let Some((callback, context)) = options.stall {
        let stall = Stall { handle: subject.token, duration: took, user, name: name.as_ptr() };
        // SAFETY: as in `deliver_status`.
        unsafe { callback(&raw const stall, context) }
    }
}

/// Bytes of a name in a stall report, the last of which is 0.
pub const STALL_NAME: usize = 64;

/// `weir_stall` in the header.
#[repr(C)]
pub struct Stall {
    /// The handle, or 0.
    pub handle: u64,
    /// Nanoseconds.
    pub duration: i64,
    /// The callback's own pointer.
    pub user: *mut c_void,
    /// The handle's name.
    pub name: *const u8,
}

/// `weir_stall_callback`.
pub type StallFn = unsafe extern "C-unwind" fn(*const Stall, *mut c_void);
/// `weir_log_callback`.
pub type LogFn = unsafe extern "C-unwind" fn(c_int, *const libc::c_char, *mut c_void);

/// Something that the program should mend.
pub const LOG_WARNING: c_int = 1;
/// A handle that was open when its context was destroyed.
pub const LOG_LEAK: c_int = 2;

/// Gives the user's log function a line.
pub fn log(log: Option<(LogFn, *mut c_void)>, level: c_int, text: &CStr) {
    if let Some((callback, user)) = log {
        // SAFETY: as in `deliver_status`.
        unsafe { callback(level, text.as_ptr(), user) }
    }
}

#[cold]
fn deliver_record(frame: &Frame, kind: u32, what: Delivery, user: *mut c_void) -> bool {
    let Some(sink) = frame.sink() else { return false };
    sink.push(Record { user, value: what.value, extra: what.buffer.1, kind, status: what.status });
    true
}

/// A pointer or a handle that travelled as a number.
fn as_pointer(value: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(usize::try_from(value).unwrap_or(0))
}

/// Calls the function of a job, on a thread of the pool.
pub fn call_job(function: JobFn, argument: *mut c_void) -> c_int {
    // SAFETY: as in `deliver_status`.
    unsafe { function(argument) }
}

/// Calls a function at once, on behalf of `dispatch`, inside whatever callback is running.
pub fn call_now(callback: StatusFn, user: *mut c_void) {
    // SAFETY: as in `deliver_status`.
    unsafe { callback(0, user) }
}
