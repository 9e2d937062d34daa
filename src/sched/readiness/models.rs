//! loom models of the word: no byte is left unread while somebody waits for it.

use super::super::sync::{AtomicU64, Mutex, Ordering};
use super::{Dir, Readiness, Seen};
use crate::sys::epoll;
use loom::sync::Arc;
use loom::thread;

/// One direction of a descriptor, and the kernel behind it.
struct World {
    word: Readiness,
    /// Bytes in the kernel.
    bytes: AtomicU64,
    /// The lock of the descriptor, around the number of reads that are wanted still.
    reads: Mutex<u64>,
    /// A popped descriptor is ready no more, or stays so until a call says otherwise.
    clear: bool,
}

impl World {
    fn new(clear: bool) -> Self {
        let word = Readiness::new();
        word.renew(true);
        World { word, bytes: AtomicU64::new(0), reads: Mutex::new(0), clear }
    }

    /// One byte, or that there is none.
    fn take(&self) -> bool {
        let taken = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        taken.is_ok()
    }

    /// As `Locked::drive`, for operations that read one byte each. Under the lock.
    fn drive(&self, reads: &mut u64, due: Option<Seen>) {
        let mut is_due = due.is_some();
        let mut seen = due.unwrap_or_else(|| self.word.see());
        while *reads > 0 {
            if !is_due && !seen.is_ready(Dir::Read) {
                if self.word.want(Dir::Read, seen) {
                    return;
                }
            } else if self.take() {
                *reads -= 1;
                if !seen.is_ready(Dir::Read) {
                    self.word.assume(Dir::Read);
                }
            } else if self.word.drained(Dir::Read, seen, true) {
                return;
            }
            (seen, is_due) = (self.word.see(), false);
        }
    }

    /// A byte comes, the kernel tells, and whoever pops the descriptor drives it.
    fn arrive(&self, epoch: u32) {
        self.bytes.fetch_add(1, Ordering::AcqRel);
        if self.word.edge(epoch, epoll::IN) {
            let mut reads = self.reads.lock();
            let (due, seen) = self.word.popped(self.clear);
            if due.has(Dir::Read) {
                self.drive(&mut reads, Some(seen));
            }
        }
    }

    fn begin(&self, count: u64) {
        let mut reads = self.reads.lock();
        *reads += count;
        self.drive(&mut reads, None);
    }
}

fn nothing_is_left(clear: bool, arrivals: u64) {
    let world = Arc::new(World::new(clear));
    let epoch = world.word.epoch();
    let kernel = {
        let world = Arc::clone(&world);
        thread::spawn(move || (0..arrivals).for_each(|_| world.arrive(epoch)))
    };
    world.begin(arrivals);
    kernel.join().unwrap_or(());
    assert_eq!(*world.reads.lock(), 0, "a byte is there, and its reader waits");
    assert!(!world.word.is_queued());
}

#[test]
fn loom_an_edge_during_a_call_is_not_lost() {
    loom::model(|| nothing_is_left(false, 2));
}

#[test]
fn loom_an_edge_after_a_pop_is_not_lost() {
    loom::model(|| nothing_is_left(true, 2));
}

#[test]
fn loom_two_edges_at_once_queue_once() {
    loom::model(|| {
        let world = Arc::new(World::new(true));
        let epoch = world.word.epoch();
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.arrive(epoch))
        };
        world.begin(2);
        world.arrive(epoch);
        other.join().unwrap_or(());
        assert_eq!(*world.reads.lock(), 0);
        assert!(!world.word.is_queued());
    });
}
