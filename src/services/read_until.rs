//! Reading up to a delimiter, into a buffer that keeps what comes after it.
//!
//! A transfer's fields are used as follows: `data` is the user's [`Until`], `length` the buffer's capacity, `done` the
//! bytes in it (when complete: those up to and with the delimiter), `skip` how much was searched.
#![allow(unsafe_code, reason = "the user's buffer")]

use super::stream::{BYTES_PER_TURN, CALLS_PER_TURN, EOF};
use crate::sched::completion::{Callback, IoFn, OP_READ};
use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::sched::slot::{Kind, Outcome, Transfer};
use crate::sched::table::Token;
use crate::sys::errno::Errno;
use crate::sys::search;
use crate::sys::transfer::recv;
use libc::c_void;
use std::os::fd::RawFd;

/// `weir_until`: the caller's until the completion.
#[repr(C)]
pub struct Until {
    /// Of the struct, in bytes.
    pub struct_size: usize,
    /// The buffer.
    pub data: *mut c_void,
    /// Its length.
    pub capacity: usize,
    /// Bytes in it.
    pub filled: usize,
    /// What ends the read.
    pub delimiter: *const c_void,
    /// Its length.
    pub delimiter_length: usize,
}

/// Begins to read until the delimiter is in the buffer.
///
/// # Safety
/// `until` and what it points to are valid, and the library's until the operation ends.
pub unsafe fn begin(
    caller: &Caller,
    stream: Token,
    until: *mut Until,
    callback: Option<IoFn>,
    user: *mut c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.fd()?;
    if until.is_null() {
        return Err(Errno::INVAL);
    }
    // SAFETY: promised by the caller.
    let Until { struct_size, data, capacity, filled, delimiter, delimiter_length } =
        unsafe { until.read() };
    if struct_size != size_of::<Until>()
        || data.is_null()
        || delimiter.is_null()
        || delimiter_length == 0
        || filled > capacity
        || isize::try_from(capacity).is_err()
        || isize::try_from(delimiter_length).is_err()
    {
        return Err(Errno::INVAL);
    }
    let mut transfer = Transfer::new(until.cast(), capacity);
    transfer.set_done(filled);
    if stream.is_busy(Dir::Read) {
        return Err(Errno::BUSY);
    }
    if filled == capacity || find(&mut transfer) != Found::No {
        // Complete, or about to fail, without the kernel: the operation need not wait for it.
        stream.assume_ready(Dir::Read);
        transfer.skip = 0;
    }
    let callback = callback.map_or(Callback::Record(OP_READ), Callback::Io);
    stream.begin(caller, Dir::Read, Kind::Once(perform), transfer, callback, user)
}

#[derive(PartialEq, Eq)]
enum Found {
    No,
    /// Up to and with the delimiter.
    At(usize),
}

/// Looks for the delimiter in what was not searched yet, and notes how far that was.
fn find(transfer: &mut Transfer) -> Found {
    // SAFETY: the user's struct, which describes valid memory until the operation ends.
    let (at, wanted) = unsafe {
        let until = transfer.data.cast::<Until>();
        let (data, delimiter) = ((*until).data, (*until).delimiter);
        let wanted = (*until).delimiter_length;
        let rest = transfer.done() - transfer.skip;
        (search::find(data.byte_add(transfer.skip), rest, delimiter, wanted), wanted)
    };
    match at {
        Some(at) => Found::At(transfer.skip + at + wanted),
        None => {
            // The delimiter may have begun at the end of what is there.
            let searched = (transfer.done() + 1).saturating_sub(wanted);
            transfer.skip = transfer.skip.max(searched);
            Found::No
        }
    }
}

fn perform(fd: RawFd, transfer: &mut Transfer, trust: bool) -> Outcome {
    let start = transfer.done();
    let mut calls = 0;
    let mut short = false;
    loop {
        if let Found::At(end) = find(transfer) {
            transfer.set_done(end);
            return Outcome::Done { status: 0, drained: short };
        }
        if transfer.done() == transfer.length() {
            return Outcome::Done { status: -libc::EMSGSIZE, drained: short };
        }
        if short && trust {
            return Outcome::WouldBlock;
        }
        if transfer.done() - start >= BYTES_PER_TURN || calls >= CALLS_PER_TURN {
            return Outcome::Yield;
        }
        calls += 1;
        let room = (transfer.length() - transfer.done()).min(BYTES_PER_TURN);
        // SAFETY: as in `find`.
        let moved = unsafe {
            let data = (*transfer.data.cast::<Until>()).data.cast::<u8>();
            recv(fd, data.add(transfer.done()), room)
        };
        match moved {
            Ok(0) => return Outcome::Done { status: EOF, drained: false },
            Ok(count) => {
                transfer.add_done(count);
                short = count < room;
                // SAFETY: as in `find`.
                unsafe { (*transfer.data.cast::<Until>()).filled = transfer.done() };
            }
            Err(Errno::AGAIN) => return Outcome::WouldBlock,
            Err(error) => return Outcome::Done { status: error.code(), drained: false },
        }
    }
}
