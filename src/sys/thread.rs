//! Threads that nobody joins.
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::Errno;
use libc::c_void;
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
