//! The scheduler's floor: queues, wake-ups, the reactor, descriptors, timers, handles, completions.
//!
//! It may use `sys`, and locks and atomics through `sync`. It knows nothing of sockets or of the
//! services' names. User functions are called in `completion` only, with no lock held.

pub mod batch;
pub mod biased_lock;
pub mod budget;
pub mod buffers;
pub mod call;
pub mod completion;
pub mod descriptor;
mod drive;
pub mod end;
mod ending;
pub mod extra;
pub mod fork_gate;
pub mod frame;
#[cfg(all(not(loom), not(weir_sim)))]
mod futex_lock;
pub mod held;
pub mod hooks;
pub mod inbox;
pub mod interest;
pub mod lane;
mod look_pace;
pub mod member;
mod near_heap;
pub mod object;
pub mod op;
mod operation;
pub mod process_lock;
pub mod reactor;
mod readiness;
pub mod ready;
mod registration;
pub mod retry;
mod run;
pub mod run_queue;
pub mod scheduler;
mod side;
pub mod slot;
pub mod source;
mod spin_lock;
pub mod stats;
mod storm;
pub mod strand;
pub mod sync;
pub mod table;
pub mod thread_pool;
pub mod ticket;
pub mod timeout;
pub mod timer_queue;
pub mod timers;
pub mod try_box;
pub mod wake_pipe;
pub mod wakeup;
pub mod watch;
pub mod write_queue;
