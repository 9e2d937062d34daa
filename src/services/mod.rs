//! The services: what users wait for, one file each.
//!
//! They may use `sched` and `sys`. They see handles as tokens and take the caller's thread as an
//! argument; C's types and pointers are translated on the floor above.

pub mod acceptor;
pub mod connect_list;
pub mod datagram;
pub mod fork;
pub mod handle;
pub mod job;
pub mod local;
pub mod options;
pub mod pooled;
pub mod process;
pub mod read_until;
pub mod report;
pub mod resolver;
pub mod rights;
pub mod send_file;
pub mod signal_board;
pub mod signals;
pub mod stream;
pub mod stream_timeout;
pub mod timer;
pub mod watch;
pub mod write_queue;

#[cfg(all(test, not(loom)))]
mod fault_tests;

/// Handle kinds of the services (contexts, timers, strands, watches and hooks, which `sched` knows, are 1, 2, 5, 9 and 12).
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
    /// `weir_process`.
    pub const PROCESS: u8 = 10;
    /// `weir_job`.
    pub const JOB: u8 = 11;
}
