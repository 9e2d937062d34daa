//! An fd that wakes whoever reaps when a byte is written to it, for those who can't call a function of ours: the
//! handlers of a language's runtime (`signal.set_wakeup_fd` in Python), other programs.
//!
//! The bytes are read in the turn, so that the pipe does not fill up, and kept as the set of their values. A byte
//! that comes twice before anybody asks is one, as with signals.

use super::op::OpQueue;
use super::scheduler::Scheduler;
use super::source::{Registered, Source};
use super::sync::{AtomicU64, Mutex, Ordering};
use crate::sys::epoll;
use crate::sys::errno::Errno;
use crate::sys::pipe::Pipe;
use std::os::fd::RawFd;

/// The values of bytes, a bit for each.
pub type Values = [u64; 4];

/// A context's.
pub struct WakePipe {
    /// Made when first asked for.
    open: Mutex<Option<(Pipe, Registered)>>,
    seen: [AtomicU64; 4],
}

impl WakePipe {
    /// None yet.
    #[allow(clippy::new_without_default, reason = "made in one place")]
    pub fn new() -> Self {
        WakePipe { open: Mutex::new(None), seen: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// The end to write to.
    pub fn fd(&self, sched: &Scheduler) -> Result<RawFd, Errno> {
        sched.reactor().check_own()?;
        let mut open = self.open.lock();
        if let Some((pipe, _)) = &*open {
            return Ok(pipe.writer);
        }
        let pipe = Pipe::new()?;
        // By level: what one turn does not read the next one is told of.
        let source = Source::register(sched, pipe.reader, epoll::IN, on_bytes, 0)?;
        Ok(open.insert((pipe, source)).0.writer)
    }

    /// The values that came since the last time.
    pub fn take_values(&self) -> Values {
        std::array::from_fn(|i| self.seen.get(i).map_or(0, |part| part.swap(0, Ordering::Acquire)))
    }

    /// In the child of a fork: a pipe of its own, under the same numbers.
    pub fn renew(&self) -> Result<(), Errno> {
        match &*self.open.lock() {
            Some((pipe, _)) => pipe.renew(),
            None => Ok(()),
        }
    }

    /// At the end of the context.
    pub fn end(&self, sched: &Scheduler) {
        if let Some((pipe, source)) = self.open.lock().take() {
            // An error says that it is out of the set already.
            let _ = source.remove(sched, pipe.reader);
        }
        self.take_values();
    }

    fn read(&self) -> bool {
        let mut bytes = [0; 512];
        let count = self.open.lock().as_ref().map_or(0, |(pipe, _)| pipe.read(&mut bytes));
        for byte in bytes.iter().take(count) {
            if let Some(part) = self.seen.get(usize::from(byte / 64)) {
                // Release: who takes the value sees what its writer did before.
                part.fetch_or(1 << (byte % 64), Ordering::Release);
            }
        }
        count > 0
    }
}

fn on_bytes(sched: &'static Scheduler, _: u64, _: u32, _: &OpQueue) {
    if sched.wake_pipe.read() {
        sched.wake();
    }
}
