//! The kernel, nothing else: one file for each of its facilities.
//!
//! A function here is one system call (or one of libc's wrappers of it) with a Rust face: it takes an fd
//! or an owning struct, gives a `Result<_, Errno>`, and leaves nothing behind. There are no locks, no
//! callbacks, no state that outlives the call, and no policy: what to do about `EMFILE` is for the floors
//! above. What the kernel leaves to chance is settled here, once:
//!
//! - every fd is made close-on-exec and non-blocking;
//! - no call raises SIGPIPE;
//! - EINTR does not come out. The call is repeated, with three exceptions: `close` (the fd is gone all the
//!   same), `connect` (it goes on in the background), and a blocking `Epoll::wait`, which reports no
//!   events, so that its caller looks at the clock again.
//!
//! `signal` has the one state that lives on: what its handler counts.
//!
//! Nothing here allocates but `EventBuffer::new`, and nothing panics.

pub mod address;
pub mod clock;
pub mod datagram;
pub mod epoll;
pub mod errno;
pub mod eventfd;
#[cfg(all(test, not(loom)))]
pub mod fault;
pub mod fd;
pub mod fork;
#[cfg_attr(
    any(loom, weir_sim),
    allow(dead_code, reason = "the locks of a model are not the kernel's")
)]
pub mod futex;
pub mod local;
pub mod membarrier;
pub mod memory;
pub mod message;
pub mod netdb;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod rights;
pub mod search;
pub mod sendfile;
pub mod signal;
pub mod socket;
pub mod thread;
pub mod timerfd;
pub mod transfer;
