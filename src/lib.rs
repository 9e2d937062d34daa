//! libweir: an event loop for Linux as a C-ABI shared library. The product is `include/weir.h`, which is made
//! from `abi`; this crate's Rust API is for its own tests.
//!
//! Four floors, each importing only from those below it (`tests/floors.rs` enforces it):
//!
//! - [`abi`] translates: checks arguments, resolves handles, calls the service. One file per section of the header.
//! - [`services`] is what users wait for, one file each: streams, datagrams, timers, signals, lookups, and so on.
//! - [`sched`] schedules: queues, wake-ups, reactor, descriptors, timers' clockwork, handle table, completions.
//! - [`sys`] is the kernel, nothing else.
//!
//! One byte from the wire to the callback: `sched/reactor.rs` (readiness: marks and queues the descriptor) →
//! `sched/run_queue.rs` (who takes it) → `sched/run.rs` (pop and run) → `sched/ready.rs` and `sched/drive.rs` (the operation that
//! waits for it) → `services/stream.rs` (the system call) → the user's function, through `sched/completion.rs`,
//! the only place where one is called. On the way back `abi/stream.rs` → `services/stream.rs` →
//! `sched/drive.rs` tries the next system call at once, or parks the operation.
pub mod abi;
pub mod sched;
pub mod services;
pub mod sys;
