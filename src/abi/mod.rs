//! The ABI: every exported function, one file per section of the header.
//!
//! A function here checks its arguments, resolves the handle, calls the service and turns the result
//! into a code. The doc comments are the header's text: they speak C. Policy is on the floors below.
#![allow(unsafe_code, reason = "exported names and pointers from C")]
#![allow(
    clippy::missing_safety_doc,
    reason = "each function's text says what its pointers must be"
)]
#![allow(non_camel_case_types, reason = "the names are C's")]

pub mod acceptor;
pub mod address;
pub mod compose;
pub mod context;
pub mod datagram;
pub mod enter;
pub mod error;
pub mod handle;
pub mod hook;
pub mod job;
pub mod local;
pub mod memory;
pub mod message;
pub mod option;
pub mod pool;
pub mod process;
pub mod record;
pub mod report;
pub mod resolver;
pub mod signals;
pub mod strand;
pub mod stream;
pub mod timer;
pub mod version;
pub mod watch;
