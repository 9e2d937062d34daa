//! What is open in a context: for leak reports.

use super::kind;
use crate::sched::completion::LOG_LEAK;
use crate::sched::hooks::KIND_HOOK;
use crate::sched::scheduler::{KIND_CONTEXT, Scheduler};
use crate::sched::strand::KIND_STRAND;
use crate::sched::timers::KIND_TIMER;
use crate::sched::watch::KIND_WATCH;
use std::ffi::{CStr, CString};

/// What a type of handle is called.
pub const fn type_name(kind: u8) -> Option<&'static CStr> {
    Some(match kind {
        KIND_CONTEXT => c"context",
        KIND_TIMER => c"timer",
        kind::STREAM => c"stream",
        kind::ACCEPTOR => c"acceptor",
        KIND_STRAND => c"strand",
        kind::DATAGRAM => c"datagram",
        kind::SIGNALS => c"signals",
        kind::RESOLVER => c"resolver",
        KIND_WATCH => c"watch",
        kind::PROCESS => c"process",
        kind::JOB => c"job",
        KIND_HOOK => c"hook",
        _ => return None,
    })
}

/// Tells the log of every handle that is open, before the context is destroyed. Says what it can: without
/// memory nothing.
pub fn log_leaks(sched: &Scheduler) {
    if sched.options().log.is_none() {
        return;
    }
    for line in sched.members.report(sched).unwrap_or_default() {
        let kind = type_name(line.token.kind()).unwrap_or(c"handle").to_string_lossy();
        let name = line.name.unwrap_or_default();
        let text = format!(
            "{kind} \"{}\" is still open, after {:.3} s, with {} pending",
            name.to_string_lossy(),
            line.age as f64 / 1e9,
            line.pending
        );
        if let Ok(text) = CString::new(text) {
            sched.log(LOG_LEAK, &text);
        }
    }
}
