//! membarrier: a full fence on every running thread of the process, paid by the caller alone.
#![allow(unsafe_code, reason = "calls libc")]

use std::sync::atomic::{AtomicU8, Ordering};

const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;

const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;
static AVAILABLE: AtomicU8 = AtomicU8::new(UNKNOWN);

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// True when [`everywhere`] works here: the kernel has it and lets this process use it.
#[inline]
pub fn available() -> bool {
    match AVAILABLE.load(Ordering::Relaxed) {
        UNKNOWN => {
            let works = membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED);
            AVAILABLE.store(if works { YES } else { NO }, Ordering::Relaxed);
            works
        }
        known => known == YES,
    }
}

/// Every other thread of the process passes a full fence before this returns. Only where
/// [`available`] said yes; false if the kernel has changed its mind.
pub fn everywhere() -> bool {
    // A child of fork may have to register anew.
    let works = membarrier(PRIVATE_EXPEDITED)
        || (membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED));
    if !works {
        AVAILABLE.store(NO, Ordering::Relaxed);
    }
    works
}

#[cfg(all(test, not(loom)))]
mod tests {
    #[test]
    fn what_is_available_works() {
        if super::available() {
            assert!(super::everywhere());
        }
    }
}
