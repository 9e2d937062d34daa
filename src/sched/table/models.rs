//! loom models of the table and of the pin protocol.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release --lib loom_`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::{Entry, Head, Table, Token};
use loom::cell::UnsafeCell;
use loom::thread;

const KIND: u8 = 3;
/// What `fixed` is in an entry that was never used.
const FRESH: u64 = 99;

/// What a real entry is: a head, a lock and the state under the lock.
struct Node {
    head: Head,
    /// Which object uses the entry: 0 is none.
    object: Mutex<u64>,
    /// Written before the entry is shared, read without the lock.
    fixed: UnsafeCell<u64>,
}

// SAFETY: `fixed` is written only while one thread owns the entry; loom checks each access.
unsafe impl Sync for Node {}

// SAFETY: `head` is a field of the entry.
unsafe impl Entry for Node {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        let node = Node { head: Head::new(), object: Mutex::new(0), fixed: UnsafeCell::new(0) };
        // loom does not count the making of a cell as a write; this one it does.
        // SAFETY: the node is a local.
        node.fixed.with_mut(|fixed| unsafe { *fixed = FRESH });
        node
    }
}

type Nodes = &'static Table<Node>;

/// The table of one execution. Leaked, as in production, where tables are static.
fn table() -> Nodes {
    Box::leak(Box::new(Table::new()))
}

fn open(nodes: Nodes, object: u64) -> Token {
    let node = nodes.reserve().unwrap();
    *node.object.lock() = object;
    nodes.publish(node, KIND)
}

/// What each call of the library does first.
fn acquire(nodes: Nodes, token: Token) -> Option<(&'static Node, MutexGuard<'static, u64>)> {
    let node = nodes.find(token)?;
    let guard = node.object.lock();
    let pinned = node.head.is_live_as(token);
    pinned.then_some((node, guard))
}

/// True for the one caller that ended the object.
fn close(nodes: Nodes, token: Token) -> bool {
    let Some((node, mut object)) = acquire(nodes, token) else {
        return false;
    };
    nodes.kill(node);
    *object = 0;
    drop(object);
    nodes.recycle(node);
    true
}

fn use_expecting(nodes: Nodes, token: Token, object: u64) -> bool {
    match acquire(nodes, token) {
        Some((_, found)) => {
            assert_eq!(*found, object, "the token reached another object");
            true
        }
        None => false,
    }
}

/// A call races with close and with the next use of the entry.
#[test]
fn loom_h10_a_call_races_with_close_and_reuse() {
    loom::model(|| {
        let nodes = table();
        let first = open(nodes, 1);
        let caller = thread::spawn(move || use_expecting(nodes, first, 1));
        assert!(close(nodes, first));
        let second = open(nodes, 2);
        assert_eq!(second.index(), first.index(), "the model is about one entry");
        caller.join().unwrap();
        assert!(!use_expecting(nodes, first, 1), "the stale token came back to life");
        assert!(use_expecting(nodes, second, 2));
    });
}

/// Two closes race, one caller beside them: one close wins, and the entry is free once.
#[test]
fn loom_h10_one_of_two_closes_wins() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let nodes = table();
        let first = open(nodes, 1);
        let closer = thread::spawn(move || close(nodes, first));
        let caller = thread::spawn(move || use_expecting(nodes, first, 1));
        let here = close(nodes, first);
        let there = closer.join().unwrap();
        assert!(here != there, "closed by both, or by none");
        caller.join().unwrap();
        let second = open(nodes, 2);
        let third = open(nodes, 3);
        assert_ne!(second.index(), third.index(), "one entry for two objects");
        assert!(use_expecting(nodes, second, 2) && use_expecting(nodes, third, 3));
        assert!(!use_expecting(nodes, first, 1));
    });
}

/// A loser of the close race, and a reuse by another thread while a call holds the stale token.
#[test]
fn loom_h11_reuse_by_another_thread_starts_clean() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let nodes = table();
        let first = open(nodes, 1);
        let caller = thread::spawn(move || use_expecting(nodes, first, 1));
        let opener = thread::spawn(move || open(nodes, 2));
        assert!(close(nodes, first));
        let second = opener.join().unwrap();
        assert!(use_expecting(nodes, second, 2));
        caller.join().unwrap();
        assert!(!use_expecting(nodes, first, 1));
    });
}

/// The reactor's late event: the token outlives the object, no lock orders the two threads.
#[test]
fn loom_h09_find_sees_what_was_written_before_publish() {
    loom::model(|| {
        let nodes = table();
        let handle: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let maker = thread::spawn(move || {
            let node = nodes.reserve().unwrap();
            // SAFETY: reserved and not published: no other thread has a pointer to it.
            node.fixed.with_mut(|fixed| unsafe { *fixed = 7 });
            let token = nodes.publish(node, KIND);
            // Relaxed: the table's own ordering must do.
            handle.store(token.raw(), Ordering::Relaxed);
        });
        let token = Token::from_raw(handle.load(Ordering::Relaxed));
        if let Some(node) = nodes.find(token) {
            // SAFETY: loom reports the race if `publish` and `find` do not order it.
            assert_eq!(node.fixed.with(|fixed| unsafe { *fixed }), 7);
        }
        maker.join().unwrap();
        assert!(nodes.find(Token::from_raw(handle.load(Ordering::Relaxed))).is_some());
    });
}

/// A forged index meets the table while it grows into a new bucket.
#[test]
fn loom_growth_shows_only_initialised_entries() {
    loom::model(|| {
        let nodes = table();
        let grower = thread::spawn(move || {
            for _ in 0..3 {
                nodes.reserve().unwrap();
            }
        });
        for index in [2, 0] {
            if let Some(node) = nodes.by_index(index) {
                assert!(node.head.token().is_none());
                // SAFETY: nobody writes it after `vacant`; loom reports it if that is not ordered.
                assert_eq!(node.fixed.with(|fixed| unsafe { *fixed }), FRESH);
            }
        }
        grower.join().unwrap();
        assert!(nodes.by_index(2).is_some());
        assert!(nodes.by_index(3).is_none());
    });
}
