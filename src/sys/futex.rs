//! Sleeping until a word in memory changes.
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::Errno;
use libc::{c_int, timespec};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Sleeps until it is woken, if `word` is `seen`; returns at once if it is not. False when the time is over.
/// A signal may end it early, and so may nothing at all.
pub fn wait(word: &AtomicU32, seen: u32, limit: Option<Duration>) -> bool {
    let time = limit.map(|limit| timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX / NANOS_PER_SECOND as i64),
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time live through the call; syscall(2) is no place where a thread is cancelled.
    let answer = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, seen, time) };
    answer == 0 || Errno::last() != Errno::TIMEDOUT
}

/// Wakes up to `count` that sleep on `word`.
pub fn wake(word: &AtomicU32, count: c_int) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word is an address and nothing more to this operation.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use std::thread;

    #[test]
    fn another_value_and_the_end_of_the_time_return() {
        let word = AtomicU32::new(1);
        assert!(wait(&word, 0, None));
        assert!(!wait(&word, 1, Some(Duration::from_millis(1))));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Relaxed) == 0 {
                    wait(&word, 0, None);
                }
            });
            word.store(1, Ordering::Relaxed);
            wake(&word, 1);
        });
    }
}
