//! Noticing a fork: how many lie between the process that loaded the library and this one.
#![allow(unsafe_code, reason = "registers a function with libc")]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

extern "C" fn count_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A function that is called by every fork.
pub type Handler = extern "C" fn();

/// Begins to count, and to call `before`, and `in_parent` and `in_child` after a fork, those of the first call of this.
/// (A child made by a raw clone system call is not noticed.)
pub fn watch(before: Handler, in_parent: Handler, in_child: Handler) {
    REGISTER.call_once(|| {
        // SAFETY: the functions touch atomics only, which is safe in a child of any process.
        unsafe {
            libc::pthread_atfork(None, None, Some(count_child));
            libc::pthread_atfork(Some(as_c(before)), Some(as_c(in_parent)), Some(as_c(in_child)));
        }
    });
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
    fn a_child_counts_one_more() {
        extern "C" fn nothing() {}
        watch(nothing, nothing, nothing);
        let before = count();
        // SAFETY: the child does nothing but leave.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let code = i32::from(count() != before + 1);
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
