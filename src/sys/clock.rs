//! Time.
#![allow(unsafe_code, reason = "calls libc")]

use libc::timespec;

/// The monotonic clock, in nanoseconds since some moment before the process. Never goes back; stands
/// still while the machine sleeps. No system call where the kernel maps its clock into the process.
#[inline]
pub fn monotonic() -> i64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` lives through the call, which cannot fail: the clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The same clock as it stood at the kernel's last tick: some milliseconds late, and cheaper.
pub fn monotonic_coarse() -> i64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn it_goes_on_in_nanoseconds() {
        let (wall, begin) = (Instant::now(), monotonic());
        assert!(begin > 0);
        std::thread::sleep(Duration::from_millis(5));
        let (passed, bound) = (monotonic() - begin, wall.elapsed());
        assert!(passed >= 5_000_000);
        assert!(u128::try_from(passed).unwrap() <= bound.as_nanos());
    }
}
