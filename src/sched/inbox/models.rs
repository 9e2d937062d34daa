//! loom model of the inbox. Run: `scripts/loom`; what it must find: `scripts/mutants`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "cells whose accesses loom checks")]

use super::super::batch;
use super::super::batch::Call;
use super::super::frame::Caller;
use super::super::op::{Op, OpQueue};
use super::super::run_queue::models::check;
use super::super::sync::Mutex;
use super::super::table::Token;
use super::{Inbox, Tag};
use loom::cell::UnsafeCell;
use loom::thread;

/// Two producers of two ops each.
const PRODUCERS: usize = 2;
const EACH: usize = 2;

struct Item {
    op: Op,
    /// Written by the producer; loom sees it if the inbox does not order that before the drainer's read.
    payload: UnsafeCell<usize>,
}

struct Shared {
    inbox: Inbox,
    /// The run queue's lock.
    queue: Mutex<OpQueue>,
    items: Vec<Item>,
}

// SAFETY: payloads are ordered by the inbox; loom checks each access.
unsafe impl Sync for Shared {}

impl Shared {
    /// Pushes a producer's items; how many pushes were told that the inbox was empty.
    fn produce(&self, producer: usize, tag: Tag) -> usize {
        let mut found_empty = 0;
        for index in producer * EACH..(producer + 1) * EACH {
            let item = &self.items[index];
            // SAFETY: not pushed yet.
            item.payload.with_mut(|payload| unsafe { *payload = index + 1 });
            found_empty += usize::from(self.inbox.push(item.op.as_ptr(), Some(tag)).unwrap());
        }
        found_empty
    }

    /// Takes what is there; adds the numbers of the items to `seen`, and says if there was any.
    fn drain(&self, seen: &mut Vec<usize>) -> usize {
        let queue = self.queue.lock();
        let count = self.inbox.drain_into(&queue);
        let before = seen.len();
        while let Some(op) = queue.pop() {
            let index = self.items.iter().position(|item| item.op.as_ptr() == op).unwrap();
            // SAFETY: taken by this thread.
            assert_eq!(self.items[index].payload.with(|payload| unsafe { *payload }), index + 1);
            seen.push(index);
        }
        assert_eq!(seen.len() - before, usize::try_from(count).unwrap());
        usize::from(count > 0)
    }
}

/// Nothing is lost or doubled, each producer's ops come in its order, and just the pushes that found
/// the inbox empty are told so: one for each chain that is taken.
#[test]
fn loom_inbox_keeps_order_and_loses_nothing() {
    check(3, || {
        let item = |_| Item { op: Op::new(|_, _| {}), payload: UnsafeCell::new(0) };
        let shared: &Shared = Box::leak(Box::new(Shared {
            inbox: Inbox::new(),
            queue: Mutex::new(OpQueue::new()),
            items: (0..PRODUCERS * EACH).map(item).collect(),
        }));
        let tag = Tag::of(Token::from_raw(7));
        shared.inbox.open(tag);
        let producer = thread::spawn(move || shared.produce(1, tag));
        // Not on the first thread: loom explores too little where the reader goes first.
        let drainer = thread::spawn(move || {
            let mut seen = Vec::new();
            let chains = shared.drain(&mut seen) + shared.drain(&mut seen);
            (seen, chains)
        });
        let found_empty = shared.produce(0, tag) + producer.join().unwrap();
        let (mut seen, mut chains) = drainer.join().unwrap();
        chains += shared.drain(&mut seen);
        assert!(shared.inbox.is_empty());
        assert_eq!(found_empty, chains);
        for producer in 0..PRODUCERS {
            let of_producer: Vec<usize> =
                seen.iter().copied().filter(|index| index / EACH == producer).collect();
            let expected: Vec<usize> = (producer * EACH..(producer + 1) * EACH).collect();
            assert_eq!(of_producer, expected);
        }
        assert_eq!(seen.len(), PRODUCERS * EACH);
    });
}

/// What is posted as functions: batches of two.
struct Calls {
    inbox: Inbox,
    queue: Mutex<OpQueue>,
    payloads: Vec<UnsafeCell<usize>>,
}

// SAFETY: as above.
unsafe impl Sync for Calls {}

unsafe extern "C-unwind" fn nothing(_: libc::c_int, _: *mut libc::c_void) {}

impl Calls {
    /// Posts a payload's number as most posts go: into a batch where one is begun.
    fn post(&self, number: usize, tag: Tag) -> bool {
        // SAFETY: not posted yet.
        self.payloads[number].with_mut(|payload| unsafe { *payload = number + 1 });
        let call = Call { callback: nothing, user: std::ptr::without_provenance_mut(number) };
        let caller = Caller::current();
        !self.inbox.append_call(call, tag) && self.inbox.push_call(&caller, call, tag).unwrap()
    }

    /// Takes what is there; adds the numbers to `seen`, and says if there was any.
    fn drain(&self, seen: &mut Vec<usize>) -> usize {
        let caller = Caller::current();
        let queue = self.queue.lock();
        let count = self.inbox.drain_into(&queue);
        let before = seen.len();
        while let Some(front) = queue.front() {
            let taken = batch::take(&queue, front);
            if let Some(batch) = taken.emptied {
                caller.batches().put(batch);
            }
            let user = taken.call.user;
            // SAFETY: taken by this thread.
            let payload = self.payloads[user.addr()].with(|payload| unsafe { *payload });
            assert_eq!(payload, user.addr() + 1);
            seen.push(user.addr());
        }
        assert_eq!(seen.len() - before, usize::try_from(count).unwrap());
        usize::from(count > 0)
    }
}

/// The same for functions, of which several share a block that is filled while it is queued.
#[test]
fn loom_inbox_calls_keep_order_and_are_not_lost() {
    check(3, || {
        let shared: &Calls = Box::leak(Box::new(Calls {
            inbox: Inbox::new(),
            queue: Mutex::new(OpQueue::new()),
            payloads: (0..4).map(|_| UnsafeCell::new(0)).collect(),
        }));
        let tag = Tag::of(Token::from_raw(7));
        shared.inbox.open(tag);
        let mut found_empty = usize::from(shared.post(0, tag));
        let producer = thread::spawn(move || usize::from(shared.post(3, tag)));
        let drainer = thread::spawn(move || {
            let mut seen = Vec::new();
            let chains = shared.drain(&mut seen);
            (seen, chains)
        });
        found_empty += usize::from(shared.post(1, tag)) + usize::from(shared.post(2, tag));
        found_empty += producer.join().unwrap();
        let (mut seen, mut chains) = drainer.join().unwrap();
        chains += shared.drain(&mut seen);
        assert!(shared.inbox.is_empty());
        assert_eq!(found_empty, chains);
        let own: Vec<usize> = seen.iter().copied().filter(|number| *number < 3).collect();
        assert_eq!(own, [0, 1, 2]);
        assert_eq!(seen.len(), 4);
    });
}

/// Close races with pushes: an op is either refused or taken, and after the close, or under the next
/// tag, every push is refused.
#[test]
fn loom_inbox_close_takes_or_refuses() {
    check(3, || {
        let item = |_| Item { op: Op::new(|_, _| {}), payload: UnsafeCell::new(0) };
        let shared: &Shared = Box::leak(Box::new(Shared {
            inbox: Inbox::new(),
            queue: Mutex::new(OpQueue::new()),
            items: (0..2).map(item).collect(),
        }));
        let tag = Tag::of(Token::from_raw(7));
        shared.inbox.open(tag);
        let producer =
            thread::spawn(move || shared.inbox.push(shared.items[0].op.as_ptr(), Some(tag)));
        let queue = OpQueue::new();
        let taken = shared.inbox.close(&queue);
        shared.inbox.open(Tag::of(Token::from_raw(8)));
        let pushed = producer.join().unwrap();
        assert_eq!(pushed.is_some(), taken == 1);
        assert_eq!(queue.pop().is_some(), taken == 1);
        assert!(shared.inbox.push(shared.items[1].op.as_ptr(), Some(tag)).is_none());
        assert!(shared.inbox.is_empty());
    });
}
