//! Sending a part of a file without reading it into the program.
//!
//! A transfer's `data` is the file's fd as a number, its `skip` the offset.

use super::stream::{BYTES_PER_TURN, CALLS_PER_TURN, EOF};
use crate::sched::completion::{Callback, IoFn, OP_WRITE};
use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::sched::slot::{Kind, Outcome, Transfer};
use crate::sched::table::Token;
use crate::sys::errno::Errno;
use crate::sys::sendfile::send_file;
use libc::c_int;
use std::os::fd::RawFd;
use std::ptr;

/// Begins to send `length` bytes of `file` from `offset` on.
pub fn begin(
    caller: &Caller,
    stream: Token,
    (file, offset, length): (c_int, i64, usize),
    callback: Option<IoFn>,
    user: *mut libc::c_void,
) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    stream.fd()?;
    let data = usize::try_from(file).map_err(|_| Errno::BADF)?;
    let skip = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
    if isize::try_from(length).is_err() || isize::try_from(skip).is_err() {
        return Err(Errno::INVAL);
    }
    let callback = callback.map_or(Callback::Record(OP_WRITE), Callback::Io);
    if length == 0 {
        return stream.begin_done(caller, Dir::Write, 0, callback, user);
    }
    let data = ptr::without_provenance_mut(data);
    let mut transfer = Transfer::new(data, length);
    transfer.skip = skip;
    stream.begin(caller, Dir::Write, Kind::Once(perform), transfer, callback, user)
}

fn perform(socket: RawFd, transfer: &mut Transfer, _: bool) -> Outcome {
    let Ok(file) = c_int::try_from(transfer.data.addr()) else { return Outcome::Yield };
    let start = transfer.done();
    let mut calls = 0;
    loop {
        calls += 1;
        let asked = (transfer.length() - transfer.done()).min(BYTES_PER_TURN);
        let offset = i64::try_from(transfer.skip + transfer.done()).unwrap_or(i64::MAX);
        let status = match send_file(socket, file, offset, asked) {
            Ok(0) => EOF,
            Ok(count) => {
                transfer.add_done(count);
                if transfer.done() < transfer.length() {
                    // A short count proves nothing of the socket: it may be the file that ends.
                    if transfer.done() - start >= BYTES_PER_TURN || calls >= CALLS_PER_TURN {
                        return Outcome::Yield;
                    }
                    continue;
                }
                0
            }
            Err(Errno::AGAIN) => return Outcome::WouldBlock,
            Err(error) => error.code(),
        };
        return Outcome::Done { status, drained: false };
    }
}
