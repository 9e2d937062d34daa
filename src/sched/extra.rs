//! What few descriptors need: made when first used, so that the others pay nothing for it.
#![allow(unsafe_code, reason = "what the descriptor's lock guards")]

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
    /// The descriptor's extra part, if there is one.
    #[inline]
    pub(super) fn extra(&mut self) -> Option<&mut Extra> {
        let side = self.descriptor.side.get()?;
        // SAFETY: under the lock, borrowed as long as this is.
        unsafe { side.extra() }.as_deref_mut()
    }

    /// The same, to be looked at only.
    pub(super) fn peek_extra(&self) -> Option<&Extra> {
        let side = self.descriptor.side.get()?;
        // SAFETY: as above.
        unsafe { side.extra() }.as_deref()
    }

    #[inline]
    pub(super) fn has_extra(&self) -> bool {
        self.peek_extra().is_some()
    }

    /// The same, made if there is none yet.
    pub(super) fn make_extra(&mut self) -> Result<&mut Extra, Errno> {
        let caller = Caller::current();
        let side = self.descriptor.lend(&caller).ok_or(Errno::NOMEM)?;
        // SAFETY: as above.
        match unsafe { side.extra() } {
            Some(extra) => Ok(extra),
            none => match try_box(Extra::default()) {
                Ok(extra) => Ok(none.insert(extra)),
                Err(error) => {
                    self.descriptor.give_back(&caller);
                    Err(error)
                }
            },
        }
    }

    /// Gives it up, at the handle's end.
    pub(super) fn drop_extra(&mut self, caller: &Caller) {
        self.close_writes(caller);
        let Some(side) = self.descriptor.side.get() else { return };
        // SAFETY: as above.
        if let Some(extra) = unsafe { side.extra() }.take()
            && let Some(timeouts) = extra.timeouts
        {
            timeouts.close(caller);
        }
        self.descriptor.give_back(caller);
    }
}
