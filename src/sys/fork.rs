//! Noticing a fork: how many lie between the process that loaded the library and this one.
#![allow(unsafe_code, reason = "registers a function with libc")]

use super::errno::Errno;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Begins to count; ENOMEM. (A child made by a raw clone system call is not noticed.)
pub fn watch() -> Result<(), Errno> {
    if WATCHED.load(Ordering::Acquire) {
        return Ok(());
    }
    // Two threads may both come here: a fork that is counted twice is as good as one.
    // SAFETY: the function only adds to a number, which is safe in a child of any process.
    match unsafe { libc::pthread_atfork(None, None, Some(in_child)) } {
        0 => {
            WATCHED.store(true, Ordering::Release);
            Ok(())
        }
        error => Err(Errno(error)),
    }
}

/// The number; it differs between a process and its children.
#[inline]
pub fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_counts_more() {
        watch().unwrap();
        let before = count();
        // SAFETY: the child does nothing but leave.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let code = i32::from(count() == before);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(count(), before);
    }
}
