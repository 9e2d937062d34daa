//! A model of the handler, a wait that begins, and the turn of the reactor beside each other.
#![allow(unsafe_code, reason = "a run function that does nothing")]

use super::*;
use crate::sched::frame::Frame;
use crate::sched::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use loom::sync::Arc;
use loom::thread;

struct Shared {
    /// What the handler adds to.
    count: AtomicU64,
    /// The kernel's part, with a lock of its own: an edge that stays until a turn takes it.
    edge: Mutex<bool>,
    set: Mutex<Signals>,
    delivered: AtomicUsize,
}

unsafe fn nothing(_: NonNull<Op>, _: &Frame) {}

impl Shared {
    /// The order of `sys/signal.rs`.
    fn handler(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        *self.edge.lock() = true;
    }

    fn count_of(&self) -> impl Fn(c_int) -> u64 {
        |_| self.count.load(Ordering::Acquire)
    }

    fn wait(&self, op: &Op) {
        let mut set = self.set.lock();
        while set.match_one(self.count_of()).is_some() {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
        if set.take_or_park(op.as_ptr(), self.count_of()).is_some() {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn turn(&self) {
        if !std::mem::take(&mut *self.edge.lock()) {
            return;
        }
        let mut set = self.set.lock();
        while set.match_one(self.count_of()).is_some() {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// As many waits as signals: when all have been and the last edge was taken, each wait has its signal.
fn model(signals: usize, waits: usize) {
    loom::model(move || {
        let mut body = Signals::vacant();
        body.wanted.push(Wanted { signo: 1, seen: 0 });
        let shared = Arc::new(Shared {
            count: AtomicU64::new(0),
            edge: Mutex::new(false),
            set: Mutex::new(body),
            delivered: AtomicUsize::new(0),
        });
        let handler = thread::spawn({
            let shared = Arc::clone(&shared);
            move || (0..signals).for_each(|_| shared.handler())
        });
        let reactor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.turn()
        });
        let ops: Vec<Op> = (0..waits).map(|_| Op::new(nothing)).collect();
        ops.iter().for_each(|op| shared.wait(op));
        handler.join().unwrap();
        reactor.join().unwrap();
        shared.turn();
        assert_eq!(shared.delivered.load(Ordering::Relaxed), signals.min(waits));
        assert_eq!(shared.set.lock().waiting, waits - signals.min(waits));
    });
}

#[test]
fn loom_h53_a_signal_while_a_wait_begins() {
    model(1, 1);
}

#[test]
fn loom_h53_two_signals_and_two_waits() {
    model(2, 2);
}

#[test]
fn loom_h53_one_signal_for_two_waits() {
    model(1, 2);
}
