//! Keeps a fork out of the moments in which a thread of the library's holds locks that a child needs.
//!
//! A user can see to it that no thread of his is inside the library when he forks, but not when a job ends or a
//! lookup's answer comes. Those threads pass this gate before they touch anything of a context, and leave it before
//! they run the user's function or ask the name server. A fork closes it and waits until all have left: for
//! microseconds.

use super::sync::{AtomicUsize, Ordering, pause};
use crate::sys::errno::Errno;
use crate::sys::fork;

struct Gate {
    inside: AtomicUsize,
    /// Forks in progress.
    closed: AtomicUsize,
}

#[cfg(not(loom))]
static GATE: Gate = Gate { inside: AtomicUsize::new(0), closed: AtomicUsize::new(0) };
#[cfg(loom)]
static GATE: once_cell::sync::Lazy<Gate> = once_cell::sync::Lazy::new(|| Gate {
    inside: AtomicUsize::new(0),
    closed: AtomicUsize::new(0),
});

/// While it is held this process is not forked.
pub struct Inside(());

/// Waits while the process is being forked, and holds the next fork up.
pub fn enter() -> Inside {
    let mut round = 0;
    loop {
        // SeqCst: this thread says that it is inside and then looks whether the gate is closed, a fork does the
        // reverse. With less both could miss the other.
        GATE.inside.fetch_add(1, Ordering::SeqCst);
        if GATE.closed.load(Ordering::SeqCst) == 0 {
            return Inside(());
        }
        GATE.inside.fetch_sub(1, Ordering::SeqCst);
        pause(round);
        round += 1;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        GATE.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

extern "C" fn close() {
    GATE.closed.fetch_add(1, Ordering::SeqCst);
    let mut round = 0;
    while GATE.inside.load(Ordering::SeqCst) > 0 {
        pause(round);
        round += 1;
    }
}

extern "C" fn open() {
    GATE.closed.fetch_sub(1, Ordering::SeqCst);
}

/// Of the threads that were about to pass, and of other forks, nothing is here.
extern "C" fn open_in_child() {
    GATE.inside.store(0, Ordering::SeqCst);
    GATE.closed.store(0, Ordering::SeqCst);
}

/// Begins to keep forks out, and to count them; ENOMEM. The gate may be closed twice by one fork.
pub fn watch() -> Result<(), Errno> {
    fork::watch(close, open, open_in_child)
}
