//! Any sequence of calls, on all types of handles: `c-tests/sequence` says what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
// Its functions are what the driver calls.
use weir as _;

unsafe extern "C" {
    fn weir_fuzz_sequence(data: *const u8, size: usize);
}

fuzz_target!(|data: &[u8]| {
    // SAFETY: a buffer and its length.
    unsafe { weir_fuzz_sequence(data.as_ptr(), data.len()) };
});
