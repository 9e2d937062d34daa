//! Threads that nobody joins, and threads that may not be cancelled.
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::Errno;
use libc::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// What a thread runs; its argument is NULL.
pub type Main = extern "C" fn(*mut c_void) -> *mut c_void;

/// Starts a detached thread with a stack of that size, in which every signal is blocked: the program's
/// handlers run in its own threads. EAGAIN: no more threads.
pub fn start(stack: usize, main: Main) -> Result<(), Errno> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: each is set up before it is used; the thread inherits the mask, which is put back here.
    let answer = unsafe {
        match libc::pthread_attr_init(attributes.as_mut_ptr()) {
            0 => {}
            error => return Err(Errno(error)),
        }
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        // Where the size does not do, the default stays.
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let answer =
            libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), main, ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        answer
    };
    if answer == 0 { Ok(()) } else { Err(Errno(answer)) }
}

/// `PTHREAD_CANCEL_DISABLE`, which the libc crate does not have.
const CANCEL_DISABLE: c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// Until it is dropped the calling thread is not cancelled: pthread_cancel(3) is kept for later. A thread that ended
/// in the middle of a system call would leave locks held, and the reactor's role taken, for ever.
///
/// Where it is in force already a second one costs one call and no atomic.
pub struct Uncancelled {
    before: c_int,
}

impl Uncancelled {
    /// Begins.
    #[inline]
    pub fn begin() -> Self {
        let mut before = 0;
        // SAFETY: changes the calling thread's state, and writes the one before.
        unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) };
        Uncancelled { before }
    }
}

impl Drop for Uncancelled {
    #[inline]
    fn drop(&mut self) {
        if self.before != CANCEL_DISABLE {
            // SAFETY: as above; NULL is allowed.
            unsafe { pthread_setcancelstate(self.before, ptr::null_mut()) };
        }
    }
}
