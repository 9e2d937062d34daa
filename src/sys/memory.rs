//! Memory: from the program's own functions where it has given some, else from libc.
//!
//! What was allocated by the one must not be freed by the other; so functions are taken only while
//! nothing was allocated yet.
#![allow(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Gives memory of a size and an alignment, or NULL.
pub type AllocateFn = unsafe extern "C" fn(usize, usize, *mut c_void) -> *mut c_void;
/// Takes it back.
pub type ReleaseFn = unsafe extern "C" fn(*mut c_void, usize, usize, *mut c_void);

/// The program's functions and the pointer that they get.
#[derive(Clone, Copy)]
pub struct Functions {
    /// See the type.
    pub allocate: AllocateFn,
    /// See the type.
    pub release: ReleaseFn,
    /// Passed on.
    pub user: *mut c_void,
}

/// Nothing was allocated yet; libc's; the program's.
const UNDECIDED: usize = 0;
const LIBC: usize = 1;
const SETTING: usize = 2;
const PROGRAM: usize = 3;

struct Hooked {
    state: AtomicUsize,
    allocate: AtomicPtr<()>,
    release: AtomicPtr<()>,
    user: AtomicPtr<c_void>,
}

#[cfg_attr(not(any(test, loom)), global_allocator)]
static MEMORY: Hooked = Hooked {
    state: AtomicUsize::new(UNDECIDED),
    allocate: AtomicPtr::new(ptr::null_mut()),
    release: AtomicPtr::new(ptr::null_mut()),
    user: AtomicPtr::new(ptr::null_mut()),
};

/// Takes the program's functions; false when something was allocated before.
pub fn set(functions: Functions) -> bool {
    let order = Ordering::SeqCst;
    if MEMORY.state.compare_exchange(UNDECIDED, SETTING, order, order).is_err() {
        return false;
    }
    MEMORY.allocate.store(functions.allocate as *mut (), order);
    MEMORY.release.store(functions.release as *mut (), order);
    MEMORY.user.store(functions.user, order);
    MEMORY.state.store(PROGRAM, order);
    true
}

impl Hooked {
    /// The program's functions, if it has given some.
    #[inline]
    fn functions(&self) -> Option<Functions> {
        if self.state.load(Ordering::Acquire) == LIBC { None } else { self.decide() }
    }

    #[cold]
    fn decide(&self) -> Option<Functions> {
        let order = Ordering::SeqCst;
        loop {
            match self.state.compare_exchange(UNDECIDED, LIBC, order, order) {
                Ok(_) | Err(LIBC) => return None,
                Err(PROGRAM) => break,
                // Another thread is between two stores.
                Err(_) => std::hint::spin_loop(),
            }
        }
        // SAFETY: stored before the state, and functions of these types.
        unsafe {
            Some(Functions {
                allocate: std::mem::transmute::<*mut (), AllocateFn>(self.allocate.load(order)),
                release: std::mem::transmute::<*mut (), ReleaseFn>(self.release.load(order)),
                user: self.user.load(order),
            })
        }
    }
}

// SAFETY: both sides are allocators, and a block goes back to the one that it came from.
unsafe impl GlobalAlloc for Hooked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.functions() {
            // SAFETY: promised by the caller.
            None => unsafe { System.alloc(layout) },
            // SAFETY: the program's promise.
            Some(f) => unsafe { (f.allocate)(layout.size(), layout.align(), f.user).cast() },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match self.functions() {
            // SAFETY: promised by the caller.
            None => unsafe { System.dealloc(memory, layout) },
            // SAFETY: the program's promise.
            Some(f) => unsafe {
                (f.release)(memory.cast(), layout.size(), layout.align(), f.user);
            },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.functions().is_none() {
            // SAFETY: promised by the caller.
            return unsafe { System.realloc(memory, layout, size) };
        }
        // SAFETY: promised by the caller; the new block is not the old one.
        unsafe {
            let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
                return ptr::null_mut();
            };
            let next = self.alloc(wanted);
            if !next.is_null() {
                next.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            next
        }
    }
}
