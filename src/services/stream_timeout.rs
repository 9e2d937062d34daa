//! Time limits of a stream's operations. Their clockwork is in `sched::timeout`.

use crate::sched::descriptor::{Descriptor, Dir};
use crate::sched::frame::Caller;
use crate::sched::table::Token;
use crate::sys::errno::Errno;

/// The bit of reading; that of writing is the next.
const READ: i32 = 1;
const WRITE: i32 = 2;

/// Limits the time without progress in one or both directions.
pub fn set(caller: &Caller, stream: Token, directions: i32, time: i64) -> Result<(), Errno> {
    let mut stream = Descriptor::lock(stream)?;
    if directions & !(READ | WRITE) != 0 || directions == 0 || time < 0 {
        return Err(Errno::INVAL);
    }
    stream.sched.check_open()?;
    if directions & READ != 0 {
        stream.set_timeout(caller, Dir::Read, time)?;
    }
    if directions & WRITE != 0 {
        stream.set_timeout(caller, Dir::Write, time)?;
    }
    Ok(())
}
