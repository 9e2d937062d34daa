//! A box whose allocation may fail.
#![allow(unsafe_code, reason = "from a slice of one value to the value")]

use crate::sys::errno::Errno;

/// A box; an error where there is no memory.
pub fn try_box<T>(value: T) -> Result<Box<T>, Errno> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).map_err(|_| Errno::NOMEM)?;
    room.push(value);
    let slice = Box::into_raw(room.into_boxed_slice());
    // SAFETY: a slice of one value has the layout of that value, and is given up here.
    Ok(unsafe { Box::from_raw(slice.cast::<T>()) })
}
