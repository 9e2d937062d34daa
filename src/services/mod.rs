//! The services: what users wait for, one file each.
//!
//! They may use `sched` and `sys`. They see handles as tokens and take the caller's thread as an
//! argument; C's types and pointers are translated on the floor above.

pub mod acceptor;
pub mod handle;
pub mod job;
pub mod options;
pub mod resolver;
pub mod stream;
pub mod timer;

/// Handle kinds of the services (contexts, timers and strands, which `sched` knows, are 1, 2 and 5).
pub mod kind {
    /// `weir_stream`.
    pub const STREAM: u8 = 3;
    /// `weir_acceptor`.
    pub const ACCEPTOR: u8 = 4;
    /// `weir_datagram`.
    pub const DATAGRAM: u8 = 6;
    /// `weir_signals`.
    pub const SIGNALS: u8 = 7;
    /// `weir_resolver`.
    pub const RESOLVER: u8 = 8;
    /// `weir_watch`.
    pub const WATCH: u8 = 9;
    /// `weir_process`.
    pub const PROCESS: u8 = 10;
    /// `weir_job`.
    pub const JOB: u8 = 11;
}
