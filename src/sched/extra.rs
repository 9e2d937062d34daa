//! What few descriptors need: made when first used, so that the others pay one word for it.

use super::descriptor::Locked;
use super::frame::Caller;
use super::timeout::Timeouts;
use super::try_box::try_box;
use super::write_queue::WriteQueue;
use crate::sys::errno::Errno;
use std::any::Any;

/// See the module.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) timeouts: Option<Timeouts>,
    pub(super) writes: Option<WriteQueue>,
    /// See `sched::held`.
    pub(super) held: Option<Box<dyn Any + Send>>,
}

impl Locked {
    /// The descriptor's extra part, made if there is none yet.
    pub(super) fn extra(&mut self) -> Result<&mut Extra, Errno> {
        match &mut self.state.extra {
            Some(extra) => Ok(extra),
            none => Ok(none.insert(try_box(Extra::default())?)),
        }
    }

    /// Gives it up, at the handle's end.
    pub(super) fn drop_extra(&mut self, caller: &Caller) {
        self.close_writes(caller);
        let Some(extra) = self.state.extra.take() else { return };
        if let Some(timeouts) = extra.timeouts {
            timeouts.close(caller);
        }
    }
}
