//! The services: what users wait for, one file each.
//!
//! They may use `sched` and `sys`. They see handles as tokens and take the caller's thread as an
//! argument; C's types and pointers are translated on the floor above.

pub mod acceptor;
pub mod options;
pub mod stream;
pub mod timer;

/// Handle kinds of the services that are descriptors (contexts and timers are 1 and 2).
pub mod kind {
    /// `weir_stream`.
    pub const STREAM: u8 = 3;
    /// `weir_acceptor`.
    pub const ACCEPTOR: u8 = 4;
}
