//! What few descriptors need: made when first used, so that the others pay one word for it.
#![allow(unsafe_code, reason = "a box whose allocation may fail")]

use super::descriptor::Locked;
use super::frame::Caller;
use super::timeout::Timeouts;
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

/// A box; an error where there is no memory.
pub fn try_box<T>(value: T) -> Result<Box<T>, Errno> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).map_err(|_| Errno::NOMEM)?;
    room.push(value);
    let slice = Box::into_raw(room.into_boxed_slice());
    // SAFETY: a slice of one value has the layout of that value, and is given up here.
    Ok(unsafe { Box::from_raw(slice.cast::<T>()) })
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
