//! A context in the child of a fork.

use super::{job, signals};
use crate::sched::frame::Caller;
use crate::sched::scheduler::Scheduler;
use crate::sched::sync::Mutex;
use crate::sys::errno::Errno;
use crate::sys::fork;

/// The fork for which what the whole process shares was set right.
#[cfg(not(loom))]
static DONE: Mutex<u32> = Mutex::new(0);
#[cfg(loom)]
static DONE: once_cell::sync::Lazy<Mutex<u32>> = once_cell::sync::Lazy::new(|| Mutex::new(0));

/// Makes a context the child's own.
pub fn child(sched: &'static Scheduler, caller: &Caller) -> Result<(), Errno> {
    if !sched.reactor().is_parents() {
        return Err(Errno::INVAL);
    }
    let mut done = DONE.lock();
    if *done != fork::count() {
        signals::after_fork()?;
        *done = fork::count();
    }
    drop(done);
    sched.renew(caller)?;
    job::renew_closed(sched, caller);
    signals::rouse();
    Ok(())
}
