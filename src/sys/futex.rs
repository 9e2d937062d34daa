//! Sleeping on a word of memory: futex(2), within the process.
#![allow(unsafe_code, reason = "calls libc")]

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while the word has this value, for `timeout` at most. May return for no reason.
pub fn wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let what = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time live through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), what, value, time) };
}

/// Wakes so many of those that sleep on the word.
pub fn wake(word: &AtomicU32, count: i32) {
    let what = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), what, count) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_wait_ends_by_another_value_a_wake_or_its_time() {
        let word = AtomicU32::new(1);
        wait(&word, 0, None);
        wait(&word, 1, Some(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::SeqCst) == 1 {
                    wait(&word, 1, None);
                }
            });
            word.store(2, Ordering::SeqCst);
            wake(&word, i32::MAX);
        });
    }
}
