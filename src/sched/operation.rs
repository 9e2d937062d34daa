//! Where an operation is kept from its beginning to its delivery: seven words and three bytes.
//!
//! Every connection that waits for data has one of these, so what is never needed at the same time shares its
//! place: once an operation is complete its transfer is over but for the count, and the op that queues it lies
//! where the transfer was. Which of the two is there is told by the phase; kinds that move nothing have the op there
//! from the start. An operation is touched under its descriptor's lock; its op, while queued, by the queue's owner.
#![allow(unsafe_code, reason = "unions whose tags are beside them")]

use super::completion::{AcceptFn, BufferFn, Callback, IoFn, OP_LAST, ResultFn, StatusFn, ValueFn};
use super::op::{Op, RUN_AT, RunFn};
use super::slot::{Kind, MESSAGE, Perform, Taking, Transfer};
use super::write_queue::Serve;
use libc::c_void;
use std::cell::{Cell, UnsafeCell};
use std::mem::{ManuallyDrop, offset_of};
use std::ptr::{self, NonNull};

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    Idle,
    /// Waits for readiness.
    Parked,
    /// Of one that takes: its callback is running, or it waits for its strand or for room for its record. It parks
    /// again afterwards.
    Delivering,
    /// Complete, and queued for delivery.
    Done,
}

/// [`Kind`] without what goes with it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    Once,
    Connect,
    /// The same, and the fd goes if it fails.
    ConnectOpened,
    Queue,
    Held,
    Take,
    TakeEach,
}

/// The small part, which fills a hole elsewhere.
#[repr(C)]
pub(super) struct Tags {
    phase: Cell<Phase>,
    kind: Cell<Tag>,
    /// Which function is called: [`Callback`]'s kinds, and below them those of records.
    told: Cell<u8>,
}

const STATUS: u8 = 0x80;
const IO: u8 = 0x81;
const VALUE: u8 = 0x82;
const RESULT: u8 = 0x83;
const ACCEPT: u8 = 0x84;
const BUFFER: u8 = 0x85;
const _: () = assert!(OP_LAST < STATUS as u32);

#[derive(Clone, Copy)]
union Function {
    none: (),
    status: StatusFn,
    io: IoFn,
    value: ValueFn,
    result: ResultFn,
    accept: AcceptFn,
    buffer: BufferFn,
}

#[derive(Clone, Copy)]
union Method {
    none: (),
    perform: Perform,
    serve: Serve,
    taking: &'static Taking,
}

/// Of an operation that is complete.
#[repr(C)]
struct Complete {
    op: ManuallyDrop<Op>,
    status: Cell<i32>,
}

#[repr(C)]
union What {
    transfer: Transfer,
    complete: ManuallyDrop<Complete>,
}

/// The large part.
#[repr(C)]
pub(super) struct Operation {
    /// First, so that the op's address is the operation's.
    what: UnsafeCell<What>,
    function: Cell<Function>,
    user: Cell<*mut c_void>,
    method: Cell<Method>,
}

#[cfg(all(not(loom), not(weir_sim)))]
const _: () = assert!(size_of::<Operation>() == 56 && size_of::<Tags>() == 3);
const _: () = assert!(offset_of!(Operation, what) == 0 && offset_of!(Complete, op) == 0);
// The count outlives the rest of a transfer, and is looked for where the op's function may be: see `Slot::done`.
const _: () = assert!(offset_of!(Transfer, done) >= size_of::<Complete>());
const _: () = assert!(offset_of!(Transfer, length) == offset_of!(Complete, op) + RUN_AT);

/// An operation with its tags.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) tags: &'a Tags,
    pub(super) operation: &'a Operation,
}

impl Tags {
    pub(super) const fn new() -> Self {
        Tags { phase: Cell::new(Phase::Idle), kind: Cell::new(Tag::Held), told: Cell::new(0) }
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.phase() != Phase::Idle
    }

    /// The kind of the operation; of the last one, where there is none.
    #[inline]
    pub(super) fn kind(&self) -> Tag {
        self.kind.get()
    }
}

impl Operation {
    pub(super) const fn new() -> Self {
        Operation {
            what: UnsafeCell::new(What { transfer: Transfer::none() }),
            function: Cell::new(Function { none: () }),
            user: Cell::new(ptr::null_mut()),
            method: Cell::new(Method { none: () }),
        }
    }
}

impl<'a> Slot<'a> {
    #[inline]
    pub(super) fn phase(self) -> Phase {
        self.tags.phase()
    }

    #[inline]
    pub(super) fn set_phase(self, phase: Phase) {
        self.tags.phase.set(phase);
    }

    /// An operation that takes what it delivers when it is delivered.
    pub(super) fn is_parked_take(self) -> bool {
        self.phase() == Phase::Parked && self.takes()
    }

    /// A connect that is not complete.
    #[inline]
    pub(super) fn is_connecting(self) -> bool {
        self.phase() == Phase::Parked
            && matches!(self.tags.kind(), Tag::Connect | Tag::ConnectOpened)
    }

    /// True for an operation of that kind, at whatever phase.
    #[inline]
    pub(super) fn takes(self) -> bool {
        matches!(self.tags.kind(), Tag::Take | Tag::TakeEach)
    }

    /// Keeps a new operation, which is parked.
    #[inline]
    pub(super) fn begin(
        self,
        kind: Kind,
        transfer: Transfer,
        callback: Callback,
        user: *mut c_void,
        run: RunFn,
    ) {
        let (tag, method) = match kind {
            Kind::Once(perform) => (Tag::Once, Method { perform }),
            Kind::Connect { perform, opened: false } => (Tag::Connect, Method { perform }),
            Kind::Connect { perform, opened: true } => (Tag::ConnectOpened, Method { perform }),
            Kind::Queue(serve) => (Tag::Queue, Method { serve }),
            Kind::Held => (Tag::Held, Method { none: () }),
            Kind::Take { taking, each: false } => (Tag::Take, Method { taking }),
            Kind::Take { taking, each: true } => (Tag::TakeEach, Method { taking }),
        };
        // SAFETY: no operation is here, so no op of it is queued.
        unsafe { self.operation.what.get().write(What { transfer }) };
        self.operation.method.set(method);
        self.tags.kind.set(tag);
        self.set_callback(callback);
        self.operation.user.set(user);
        self.set_phase(Phase::Parked);
        if self.takes() {
            self.set_result(0, run);
        }
    }

    /// The same for an operation of the most common kind.
    #[inline(always)]
    pub(super) fn begin_once(
        self,
        perform: Perform,
        transfer: Transfer,
        callback: Callback,
        user: *mut c_void,
    ) {
        // SAFETY: as in `begin`.
        unsafe { self.operation.what.get().write(What { transfer }) };
        self.operation.method.set(Method { perform });
        self.tags.kind.set(Tag::Once);
        self.set_callback(callback);
        self.operation.user.set(user);
        self.set_phase(Phase::Parked);
    }

    /// The function of an operation that tells a number of bytes, as most do.
    #[inline]
    pub(super) fn io(self) -> Option<IoFn> {
        if self.tags.told.get() != IO {
            return None;
        }
        // SAFETY: written together with the tag.
        Some(unsafe { self.operation.function.get().io })
    }

    /// How to try one of the most common kind.
    #[inline]
    pub(super) fn once(self) -> Option<Perform> {
        if self.tags.kind() != Tag::Once {
            return None;
        }
        // SAFETY: written together with the tag.
        Some(unsafe { self.operation.method.get().perform })
    }

    #[inline(always)]
    fn set_callback(self, callback: Callback) {
        let (told, function) = match callback {
            Callback::Record(kind) => {
                debug_assert!(kind <= OP_LAST, "the next numbers are those of functions");
                (kind as u8, Function { none: () })
            }
            Callback::Status(status) => (STATUS, Function { status }),
            Callback::Io(io) => (IO, Function { io }),
            Callback::Value(value) => (VALUE, Function { value }),
            Callback::Result(result) => (RESULT, Function { result }),
            Callback::Accept(accept) => (ACCEPT, Function { accept }),
            Callback::Buffer(buffer) => (BUFFER, Function { buffer }),
        };
        self.tags.told.set(told);
        self.operation.function.set(function);
    }

    /// Whom to tell.
    #[inline]
    pub(super) fn callback(self) -> Callback {
        let function = self.operation.function.get();
        // SAFETY: written together with the tag.
        unsafe {
            match self.tags.told.get() {
                IO => Callback::Io(function.io),
                STATUS => Callback::Status(function.status),
                VALUE => Callback::Value(function.value),
                RESULT => Callback::Result(function.result),
                ACCEPT => Callback::Accept(function.accept),
                BUFFER => Callback::Buffer(function.buffer),
                kind => Callback::Record(u32::from(kind)),
            }
        }
    }

    #[inline]
    pub(super) fn user(self) -> *mut c_void {
        self.operation.user.get()
    }

    /// How to try it.
    #[inline]
    pub(super) fn kind(self) -> Kind {
        let method = self.operation.method.get();
        // SAFETY: written together with the tag.
        unsafe {
            match self.tags.kind() {
                Tag::Once => Kind::Once(method.perform),
                Tag::Connect => Kind::Connect { perform: method.perform, opened: false },
                Tag::ConnectOpened => Kind::Connect { perform: method.perform, opened: true },
                Tag::Queue => Kind::Queue(method.serve),
                Tag::Held => Kind::Held,
                Tag::Take => Kind::Take { taking: method.taking, each: false },
                Tag::TakeEach => Kind::Take { taking: method.taking, each: true },
            }
        }
    }

    /// The fd no longer goes with a connect that fails.
    pub(super) fn keep_fd(self) {
        if self.tags.kind() == Tag::ConnectOpened {
            self.tags.kind.set(Tag::Connect);
        }
    }

    /// The transfer of a parked operation.
    ///
    /// # Safety
    /// It is parked and its kind is none that takes; there is no other reference.
    #[inline]
    pub(super) unsafe fn transfer(self) -> &'a mut Transfer {
        // SAFETY: promised by the caller: then it is what is there.
        unsafe { &mut (*self.operation.what.get()).transfer }
    }

    /// Bytes moved: so far, or in all.
    #[inline]
    pub(super) fn done(self) -> usize {
        // SAFETY: plain words, whichever is there. Of an op it is the function that lies where a message says that
        // nothing has moved, by a bit that no address has; nobody changes that while it is queued.
        unsafe {
            let what = self.operation.what.get();
            let is_message = (*what).transfer.length & MESSAGE != 0;
            if is_message { 0 } else { (*what).transfer.done }
        }
    }

    /// It is complete: from here on the op is where the transfer was.
    #[inline]
    pub(super) fn complete(self, status: i32, run: RunFn) {
        let done = self.done();
        self.set_result(status, run);
        // SAFETY: under the lock; the count lies behind what is written there.
        unsafe { (*self.operation.what.get()).transfer.done = done };
        self.set_phase(Phase::Done);
    }

    #[inline]
    fn set_result(self, status: i32, run: RunFn) {
        let complete = Complete { op: ManuallyDrop::new(Op::new(run)), status: Cell::new(status) };
        // SAFETY: in the place of a transfer that is over, whose count is not touched.
        unsafe { self.operation.what.get().cast::<Complete>().write(complete) };
    }

    /// Of one that is complete; of one that takes, what it is to end with, or 0.
    #[inline]
    pub(super) fn status(self) -> i32 {
        // SAFETY: it has no transfer (any more).
        unsafe { (*self.operation.what.get().cast::<Complete>()).status.get() }
    }

    /// Ends one that takes.
    #[inline]
    pub(super) fn set_status(self, status: i32) {
        // SAFETY: as above.
        unsafe { (*self.operation.what.get().cast::<Complete>()).status.set(status) };
    }

    /// The op of one that has no transfer (any more).
    #[inline]
    pub(super) fn op(self) -> NonNull<Op> {
        NonNull::from(self.operation).cast()
    }
}
