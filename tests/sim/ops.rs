//! Operations that are counted: each that begins completes exactly once, never inside the call that began it.

use libc::{c_int, c_void, sockaddr, socklen_t};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use weir::abi::context::{
    WEIR_CONTEXT_MANUAL_CLOCK, WEIR_CONTEXT_NO_INLINE, weir_context_create, weir_context_options,
    weir_context_run, weir_context_run_for, weir_context_run_one, weir_context_stopped,
};
use weir::abi::handle::{weir_context, weir_stream};
use weir::sched::sync::schedule::{self, Kind, Spawned};

type Then = Box<dyn FnOnce(&'static Op) + Send>;

/// One operation.
pub struct Op {
    name: &'static str,
    begun: AtomicBool,
    calls: AtomicUsize,
    /// Of its completion.
    pub status: AtomicI32,
    /// The same; or the value.
    pub bytes: AtomicUsize,
    /// It may complete any number of times with 0 before its last completion.
    many: bool,
    then: Mutex<Option<Then>>,
}

static ALL: Mutex<Vec<&'static Op>> = Mutex::new(Vec::new());

thread_local! {
    /// Inside a call that begins something.
    static BEGINS: Cell<bool> = const { Cell::new(false) };
}

fn all() -> std::sync::MutexGuard<'static, Vec<&'static Op>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin_op(
    name: &'static str,
    many: bool,
    then: Then,
    start: impl FnOnce(*mut c_void) -> c_int,
) -> (&'static Op, c_int) {
    let op: &'static Op = Box::leak(Box::new(Op {
        name,
        begun: AtomicBool::new(true),
        calls: AtomicUsize::new(0),
        status: AtomicI32::new(i32::MAX),
        bytes: AtomicUsize::new(0),
        many,
        then: Mutex::new(Some(then)),
    }));
    all().push(op);
    let outer = BEGINS.replace(true);
    let result = start(ptr::from_ref(op).cast_mut().cast());
    BEGINS.set(outer);
    if result < 0 {
        op.begun.store(false, SeqCst);
        assert_eq!(op.calls.load(SeqCst), 0, "{name}: refused with {result}, and completed");
    }
    (op, result)
}

/// Begins an operation; `start` gets the user pointer. `then` is called by its completion.
pub fn begin(
    name: &'static str,
    then: impl FnOnce(&'static Op) + Send + 'static,
    start: impl FnOnce(*mut c_void) -> c_int,
) -> (&'static Op, c_int) {
    begin_op(name, false, Box::new(then), start)
}

/// One that must begin.
pub fn must(
    name: &'static str,
    then: impl FnOnce(&'static Op) + Send + 'static,
    start: impl FnOnce(*mut c_void) -> c_int,
) -> &'static Op {
    let (op, result) = begin(name, then, start);
    assert_eq!(result, 0, "{name}");
    op
}

/// One that completes with 0 any number of times and once with an error.
pub fn many(
    name: &'static str,
    then: impl FnOnce(&'static Op) + Send + 'static,
    start: impl FnOnce(*mut c_void) -> c_int,
) -> (&'static Op, c_int) {
    begin_op(name, true, Box::new(then), start)
}

impl Op {
    /// True when it has completed.
    pub fn is_done(&self) -> bool {
        self.calls.load(SeqCst) > 0
    }

    /// How it completed.
    pub fn status(&self) -> i32 {
        assert!(self.is_done(), "{}: not complete", self.name);
        self.status.load(SeqCst)
    }

    /// A completion; called where the library calls a function, or for a record.
    pub fn complete(&'static self, status: c_int, bytes: usize) {
        assert!(!BEGINS.get(), "{}: completes inside a call that begins something", self.name);
        self.bytes.store(bytes, SeqCst);
        schedule::step(Kind::Test);
        if self.many && status == 0 {
            assert_eq!(self.calls.load(SeqCst), 0, "{}: told after its end", self.name);
            return;
        }
        self.status.store(status, SeqCst);
        let calls = self.calls.fetch_add(1, SeqCst);
        assert_eq!(calls, 0, "{}: completes again", self.name);
        let then = self.then.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(then) = then {
            then(self);
        }
    }
}

/// The operation of a user pointer.
pub fn of(user: *mut c_void) -> &'static Op {
    // SAFETY: what `begin` handed out, which is never freed.
    unsafe { &*user.cast::<Op>() }
}

/// A completion with a status.
pub unsafe extern "C-unwind" fn on_status(status: c_int, user: *mut c_void) {
    of(user).complete(status, 0);
}

/// A completion with a number of bytes.
pub unsafe extern "C-unwind" fn on_io(status: c_int, bytes: usize, user: *mut c_void) {
    of(user).complete(status, bytes);
}

/// A completion with a value.
pub unsafe extern "C-unwind" fn on_value(status: c_int, value: c_int, user: *mut c_void) {
    of(user).complete(status, value as usize);
}

/// A completion with a connection, which is kept as the number of bytes.
pub unsafe extern "C-unwind" fn on_accept(
    status: c_int,
    peer: *mut weir_stream,
    _: *const sockaddr,
    _: socklen_t,
    user: *mut c_void,
) {
    of(user).complete(status, peer.addr());
}

/// At the end: every operation that began has completed once.
pub fn check() {
    for op in all().iter() {
        let (begun, calls) = (op.begun.load(SeqCst), op.calls.load(SeqCst));
        assert_eq!(calls, usize::from(begun), "{}: begun {begun}, completions {calls}", op.name);
    }
}

/// A handle, which may go to other threads.
pub struct Handle<T>(pub *mut T);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Handle<T> {}
// SAFETY: a token, not an address.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Handle<T> {
    /// The token.
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// The context of a scenario.
pub type Context = Handle<weir_context>;

/// Has a function make a handle.
pub fn make<T>(create: impl FnOnce(*mut *mut T) -> c_int) -> Handle<T> {
    let mut out = ptr::null_mut();
    assert_eq!(create(&raw mut out), 0, "create");
    Handle(out)
}

/// A context with a manual clock, and for the rest what the seed chooses.
pub fn context() -> Context {
    // SAFETY: numbers and pointers that may be NULL.
    let mut options: weir_context_options = unsafe { std::mem::zeroed() };
    options.struct_size = size_of::<weir_context_options>();
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    if chance(4) {
        options.flags |= WEIR_CONTEXT_NO_INLINE;
    }
    options.thread_hint = [0, 0, 1, 2, 4][schedule::choose(5)];
    // SAFETY: the options live through the call.
    make(|out| unsafe { weir_context_create(&raw const options, out) })
}

/// True once in so many times.
pub fn chance(times: usize) -> bool {
    schedule::choose(times) == 0
}

/// One of the seed's.
pub fn choose(limit: usize) -> usize {
    schedule::choose(limit)
}

/// So long that the simulation's time does not get there by itself.
pub const LONG: i64 = 1_000_000_000_000;

/// Runs a context until it stops, by a run function that the seed chooses.
pub fn run(context: Context) {
    let way = choose(4);
    // SAFETY: the count may be NULL.
    unsafe {
        match way {
            0 | 1 => {
                assert_eq!(weir_context_run(context.get(), ptr::null_mut()), 0);
            }
            2 => {
                while weir_context_stopped(context.get()) == 0 {
                    assert_eq!(weir_context_run_one(context.get(), ptr::null_mut()), 0);
                }
            }
            _ => {
                while weir_context_stopped(context.get()) == 0 {
                    assert_eq!(weir_context_run_for(context.get(), LONG, ptr::null_mut()), 0);
                }
            }
        }
    }
}

/// Threads that run a context until it stops.
pub fn runners(context: Context, count: usize) -> Vec<Spawned> {
    const NAMES: [&str; 4] = ["runner 1", "runner 2", "runner 3", "runner 4"];
    NAMES.iter().take(count).map(|name| schedule::spawn(name, move || run(context))).collect()
}

/// Waits for threads.
pub fn join(threads: Vec<Spawned>) {
    for thread in threads {
        thread.join();
    }
}

/// A step of the test.
pub fn breathe() {
    schedule::step(Kind::Test);
}

/// Lets others go on until something holds.
pub fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        schedule::step(Kind::Spin);
    }
}

/// One that may complete inside the call.
pub fn dispatched(
    name: &'static str,
    then: impl FnOnce(&'static Op) + Send + 'static,
    start: impl FnOnce(*mut c_void) -> c_int,
) -> (&'static Op, c_int) {
    begin(name, then, |user| {
        BEGINS.set(false);
        start(user)
    })
}
