//! What becomes of a handle when the kernel refuses a registration or an fd (H12).

use super::{acceptor, handle, kind, local, pooled, stream, watch};
use crate::sched::completion::{Record, Sink};
use crate::sched::descriptor::{Descriptor, Dir, Reserved};
use crate::sched::frame::Caller;
use crate::sched::run_queue::Limit;
use crate::sched::scheduler::{Options, Scheduler};
use crate::sched::table::Token;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::fault::{self, Call};
use crate::sys::socket;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;

const REFUSALS: [Errno; 3] = [Errno::NOSPC, Errno::PERM, Errno::NOMEM];
/// `WEIR_WATCH_READ` and `_WRITE`.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// Runs `test` with a context, and destroys that.
fn with_context(test: impl FnOnce(&'static Scheduler, &Caller)) {
    let caller = Caller::current();
    let context = Scheduler::create(Options::for_tests()).unwrap();
    let sched = *Scheduler::resolve(&caller, context).unwrap();
    test(sched, &caller);
    assert!(fault::is_over());
    let pinned = Scheduler::resolve(&caller, context).unwrap();
    Scheduler::destroy(pinned, &caller, |_| ()).unwrap();
}

fn wait_readable(caller: &Caller, token: Token) -> Result<(), Errno> {
    stream::wait(caller, token, Dir::Read, None, ptr::null_mut())
}

fn watch_for(caller: &Caller, token: Token, events: u32) -> Result<(), Errno> {
    watch::start(caller, token, events, 0, i64::MAX, None, ptr::null_mut())
}

#[test]
fn h12_a_context_that_is_refused_an_fd_is_an_error() {
    let calls = [
        (Call::EpollCreate, 0, Errno::MFILE),
        (Call::EventFd, 0, Errno::NFILE),
        (Call::TimerFd, 0, Errno::NOMEM),
        (Call::EpollAdd, 0, Errno::NOSPC),
        (Call::EpollAdd, 1, Errno::NOMEM),
    ];
    for (call, passed, error) in calls {
        fault::plan(call, passed, error);
        assert_eq!(Scheduler::create(Options::for_tests()).err(), Some(error));
        assert!(fault::is_over());
        with_context(|_, _| ());
    }
}

#[test]
fn h12_a_refused_registration_begins_nothing() {
    with_context(|sched, caller| {
        for error in REFUSALS {
            let [one, two] = local::pair(caller, sched, kind::STREAM, libc::SOCK_STREAM).unwrap();
            fault::plan(Call::EpollAdd, 0, error);
            assert_eq!(wait_readable(caller, one), Err(error));
            assert_eq!(handle::pending(one), Ok(0));
            wait_readable(caller, one).unwrap();
            assert_eq!(handle::pending(one), Ok(1));
            handle::close(caller, one).unwrap();
            handle::close(caller, two).unwrap();
        }
    });
}

#[test]
fn h12_a_refused_connect_closes_its_socket() {
    with_context(|sched, caller| {
        let listener = acceptor::create(sched).unwrap();
        acceptor::bind(listener, &Address::parse("127.0.0.1:0").unwrap()).unwrap();
        acceptor::listen(listener, 8).unwrap();
        let fd = Descriptor::lock(listener).unwrap().fd().unwrap();
        let address = socket::local_address(fd).unwrap();
        let connect = |token| stream::connect(caller, token, &address, None, ptr::null_mut());
        for error in REFUSALS {
            let token = stream::create(sched).unwrap();
            fault::plan(Call::EpollAdd, 0, error);
            assert_eq!(connect(token), Err(error));
            assert_eq!(Descriptor::lock(token).unwrap().fd(), Err(Errno::NOTCONN));
            connect(token).unwrap();
            handle::close(caller, token).unwrap();
        }
    });
}

#[test]
fn h12_a_refused_watch_leaves_the_others_as_they_were() {
    with_context(|sched, caller| {
        let [one, two] = local::pair(caller, sched, kind::STREAM, libc::SOCK_STREAM).unwrap();
        let fd = Descriptor::lock(one).unwrap().fd().unwrap();
        for error in [Errno::NOSPC, Errno::NOMEM] {
            let (first, second) =
                (watch::create(sched, fd).unwrap(), watch::create(sched, fd).unwrap());
            fault::plan(Call::EpollAdd, 0, error);
            assert_eq!(watch_for(caller, first, READ), Err(error));
            assert_eq!(handle::pending(first), Ok(0));
            watch_for(caller, first, READ).unwrap();
            fault::plan(Call::EpollModify, 0, error);
            assert_eq!(watch_for(caller, second, WRITE), Err(error));
            assert_eq!((handle::pending(first), handle::pending(second)), (Ok(1), Ok(0)));
            watch_for(caller, second, WRITE).unwrap();
            watch::close(caller, first).unwrap();
            watch::close(caller, second).unwrap();
        }
        handle::close(caller, one).unwrap();
        handle::close(caller, two).unwrap();
    });
}

/// The status of the next record, if there is one. There is room for no other.
#[allow(unsafe_code, reason = "gives memory for a record")]
fn reap(sched: &Scheduler, caller: &Caller) -> Option<i32> {
    let mut record = MaybeUninit::<Record>::uninit();
    // SAFETY: room for one.
    let sink = unsafe { Sink::new(record.as_mut_ptr(), 1) };
    let pinned = Scheduler::resolve(caller, sched.token().unwrap()).unwrap();
    let taken = Scheduler::enter_and_reap(pinned, caller, Limit::Poll, &sink, |_| ()).unwrap();
    // SAFETY: written where one was taken.
    (taken == 1).then(|| unsafe { record.assume_init() }.status)
}

#[test]
fn h12_a_refused_registration_ends_a_multi_shot_read_once() {
    with_context(|sched, caller| {
        let (own, mut peer) = UnixStream::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        // A short read says that there is no more, as with TCP: so the next thing is to register.
        let reserved = Reserved::new().unwrap();
        let token = reserved.publish(sched, kind::STREAM, own.into_raw_fd(), true).unwrap();
        peer.write_all(b"data").unwrap();
        pooled::read_each(caller, token, None, ptr::null_mut()).unwrap();
        fault::plan(Call::EpollAdd, 0, Errno::NOSPC);
        assert_eq!(reap(sched, caller), Some(0));
        assert!(fault::is_over());
        // The end has no room yet. It is told once, as what it was.
        assert_eq!(handle::cancel(caller, token), Ok(0));
        assert_eq!(handle::pending(token), Ok(1));
        assert_eq!(reap(sched, caller), Some(Errno::NOSPC.code()));
        assert_eq!(reap(sched, caller), None);
        assert_eq!(handle::pending(token), Ok(0));
        handle::close(caller, token).unwrap();
    });
}
