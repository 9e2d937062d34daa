//! Noticing a fork: how many lie between the process that loaded the library and this one.
#![allow(unsafe_code, reason = "registers a function with libc")]

use super::errno::Errno;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

extern "C" fn count_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A function that is called by every fork.
pub type Handler = extern "C" fn();

/// Begins to count, and to call `before`, and `in_parent` and `in_child` after a fork; ENOMEM. (A child made by a raw
/// clone system call is not noticed.)
pub fn watch(before: Handler, in_parent: Handler, in_child: Handler) -> Result<(), Errno> {
    if WATCHED.load(Ordering::Acquire) {
        return Ok(());
    }
    // Two threads may both come here, and the second call fail after the first: a fork that is counted twice is as
    // good as one, and the handlers must stand to be called twice.
    // SAFETY: the functions touch atomics only, which is safe in a child of any process.
    let error = unsafe {
        match libc::pthread_atfork(None, None, Some(count_child)) {
            0 => libc::pthread_atfork(
                Some(as_c(before)),
                Some(as_c(in_parent)),
                Some(as_c(in_child)),
            ),
            error => error,
        }
    };
    if error != 0 {
        return Err(Errno(error));
    }
    WATCHED.store(true, Ordering::Release);
    Ok(())
}

fn as_c(handler: Handler) -> unsafe extern "C" fn() {
    handler
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
        extern "C" fn nothing() {}
        watch(nothing, nothing, nothing).unwrap();
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
