//! What threads outside run have posted: a queue that many add to and the run queue takes whole.
//!
//! A spin lock guards it, held for some ten instructions: one atomic exchange a post, where a lock-free stack
//! has one too, but needs a node for each and a walk to turn it round; functions come many to a block instead.
//! The post that finds it empty is told so: its thread alone wakes a sleeper, those after it ride along.
//!
//! The *tag* says which context has the slot now. A post compares it under the lock, so it needs no hold on
//! the context: once that has ended, the post is refused.

use super::batch::{self, Call, Room, SINGLE};
use super::frame::Caller;
use super::op::{Op, OpQueue};
use super::spin_lock::{Guard, SpinLock};
use super::sync::{AtomicBool, Ordering};
use super::table::Token;
use crate::sys::errno::Errno;
use std::ptr::NonNull;

#[cfg(not(loom))]
const _: () = assert!(size_of::<SpinLock<Posted>>() <= 64);

#[cfg(all(test, loom))]
mod models;

/// Which context an inbox belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// Nobody's: every post is refused. (No token is 0.)
    const CLOSED: Tag = Tag(0);

    /// A context's.
    #[inline]
    pub fn of(token: Token) -> Self {
        Tag(token.raw())
    }
}

/// What the lock guards; with the lock itself a cache line.
struct Posted {
    tag: Tag,
    /// Whose calls are added to others in the room: nobody's once the context is being destroyed, so that a poster
    /// need not ask for that.
    room_tag: Tag,
    queue: OpQueue,
    /// In the batch at the end of the queue, if that is one.
    room: Room,
    /// Those that are not counted as work yet.
    uncounted: u32,
    /// Calls at the end that are ops by themselves; as many as there may be where the posts that were taken last
    /// were many: so many will come again.
    singles: u32,
}

impl Posted {
    /// To be done before anything but a call in the room is added, or taken.
    #[inline]
    fn finish_room(&mut self) {
        self.room.finish(&self.queue);
    }
}

/// The queue of posted ops and calls. On cache lines of its own: posters write to it while a run function
/// writes to what is beside it.
#[repr(align(128))]
pub struct Inbox {
    posted: SpinLock<Posted>,
    /// Something is posted. Written under the lock; without it a look that may come late.
    used: AtomicBool,
}

impl Inbox {
    /// A closed inbox.
    pub fn new() -> Self {
        Inbox {
            posted: SpinLock::new(Posted {
                tag: Tag::CLOSED,
                room_tag: Tag::CLOSED,
                queue: OpQueue::new(),
                room: Room::none(),
                uncounted: 0,
                singles: 0,
            }),
            used: AtomicBool::new(false),
        }
    }

    /// Opens it for a context.
    pub fn open(&self, tag: Tag) {
        let mut posted = self.posted.lock();
        posted.tag = tag;
        posted.room_tag = tag;
    }

    /// Each post has to ask from now on whether the context still takes any.
    pub fn doubt(&self) {
        self.posted.lock().room_tag = Tag::CLOSED;
    }

    /// Takes posts no longer; moves those it has to `queue`. Returns as [`Inbox::drain_into`].
    pub fn close(&self, queue: &OpQueue) -> i64 {
        let mut posted = self.posted.lock();
        posted.tag = Tag::CLOSED;
        posted.room_tag = Tag::CLOSED;
        self.take_all(&mut posted, queue)
    }

    /// Adds an op; `Some(true)` when the inbox was empty before, `None` when it is not the tag's. With no
    /// tag it is whoever's it is now, and counted as work already: the caller holds the context.
    ///
    /// The poster then reads whether anyone sleeps; the sleeper first says so and then takes the lock to
    /// look at the inbox. Whichever of the two has the lock later sees what the other did.
    #[inline]
    pub fn push(&self, op: NonNull<Op>, tag: Option<Tag>) -> Option<bool> {
        let mut posted = self.posted.lock();
        if tag.is_some_and(|tag| tag != posted.tag) || posted.tag == Tag::CLOSED {
            return None;
        }
        let first = self.is_first(&posted);
        posted.finish_room();
        posted.queue.push(op);
        posted.singles = 0;
        posted.uncounted += u32::from(tag.is_some());
        Some(first)
    }

    /// Adds a call where one more fits into the last batch: then it is not the first. False also where another
    /// thread has the lock.
    #[inline(always)]
    pub fn append_call(&self, call: Call, tag: Tag) -> bool {
        let Some(mut posted) = self.posted.try_lock() else { return false };
        if posted.room_tag != tag || !posted.room.add(call) {
            return false;
        }
        posted.uncounted += 1;
        true
    }

    /// Adds a call, in the same way as an op.
    #[inline]
    pub fn push_call(&self, caller: &Caller, call: Call, tag: Tag) -> Result<bool, Errno> {
        let mut posted = self.posted.lock();
        if posted.tag != tag {
            return Err(Errno::BADF);
        }
        let mut first = false;
        if !posted.room.add(call) {
            let in_a_row = posted.singles >= SINGLE;
            // An op comes from the thread's own, or from under another lock.
            drop(posted);
            let op = batch::new_op(in_a_row, caller, call)?;
            posted = self.posted.lock();
            if posted.tag != tag {
                drop(posted);
                batch::free(caller, op);
                return Err(Errno::BADF);
            }
            first = self.is_first(&posted);
            posted.finish_room();
            posted.queue.push(op);
            posted.room.begin(op);
            posted.singles = (posted.singles + 1).min(SINGLE);
        }
        posted.uncounted += 1;
        Ok(first)
    }

    /// To be asked before the push.
    #[inline]
    fn is_first(&self, posted: &Posted) -> bool {
        let first = posted.queue.is_empty();
        if first {
            self.used.store(true, Ordering::Relaxed);
        }
        first
    }

    /// True when nothing is posted. By the lock, see [`Inbox::push`].
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.posted.lock().queue.is_empty()
    }

    /// True when something posted is still to be counted as work. By the lock, too.
    #[inline]
    pub fn has_uncounted(&self) -> bool {
        self.posted.lock().uncounted > 0
    }

    /// True when something is posted. Of a post that the caller knows of it is sure; of others it may come late.
    #[inline(always)]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Moves everything posted to `queue`, oldest first; the number that is to be counted as work now. Called
    /// under the run queue's lock.
    #[inline]
    pub fn drain_into(&self, queue: &OpQueue) -> i64 {
        if !self.is_used() {
            return 0;
        }
        self.take_all(&mut self.posted.lock(), queue)
    }

    fn take_all(&self, posted: &mut Guard<'_, Posted>, queue: &OpQueue) -> i64 {
        self.used.store(false, Ordering::Relaxed);
        posted.finish_room();
        queue.append(&posted.queue);
        let uncounted = std::mem::take(&mut posted.uncounted);
        posted.singles = if uncounted > SINGLE { SINGLE } else { 0 };
        i64::from(uncounted)
    }
}
