//! What is open in a context: for leak reports.

use super::kind;
use crate::sched::completion::LOG_LEAK;
use crate::sched::hooks::KIND_HOOK;
use crate::sched::member::Line;
use crate::sched::scheduler::{KIND_CONTEXT, Scheduler};
use crate::sched::strand::KIND_STRAND;
use crate::sched::timers::KIND_TIMER;
use crate::sched::watch::KIND_WATCH;
use std::ffi::CStr;
use std::fmt::{self, Write};

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
        let mut text = Text::new();
        if tell(&line, &mut text).is_ok() {
            sched.log(LOG_LEAK, text.as_c());
        }
    }
}

fn tell(line: &Line, text: &mut Text) -> fmt::Result {
    let kind = type_name(line.token.kind()).and_then(|name| name.to_str().ok()).unwrap_or("handle");
    write!(text, "{kind} \"")?;
    let name = CStr::from_bytes_until_nul(&line.name).map_or(&[][..], CStr::to_bytes);
    for part in name.utf8_chunks() {
        text.write_str(part.valid())?;
        if !part.invalid().is_empty() {
            text.write_char(char::REPLACEMENT_CHARACTER)?;
        }
    }
    let age = line.age as f64 / 1e9;
    write!(text, "\" is still open, after {age:.3} s, with {} pending", line.pending)
}

/// A line that needs no memory of anyone's: at destruction there may be none.
struct Text {
    bytes: [u8; 384],
    used: usize,
}

impl Text {
    fn new() -> Self {
        Text { bytes: [0; 384], used: 0 }
    }

    fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for Text {
    /// The last byte stays 0.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        if end >= self.bytes.len() {
            return Err(fmt::Error);
        }
        let to = self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}
