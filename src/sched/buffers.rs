//! A context's pool of buffers for multi-shot reads: one block of memory, cut into slots of equal size.
//!
//! It is made when the first such read begins. A slot is taken just before the system call that fills it
//! and comes back when its receiver says so; where none is free, reading pauses, and the data waits in
//! the kernel. Those that are paused go on in the order in which they paused: a slot that is free again is kept
//! for the one that was woken, or a stream that is always ready would take it first, every time.
#![allow(unsafe_code, reason = "memory that the kernel fills and the user reads")]

use super::descriptor::Descriptor;
use super::frame::Caller;
use super::sync::Mutex;
use super::table::Token;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::VecDeque;
use std::ptr::NonNull;

/// Page-aligned, which is what direct I/O and huge pages want.
const ALIGN: usize = 4096;

/// How large the pool is.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Slots.
    pub slots: u32,
    /// Bytes of each.
    pub slot_size: u32,
}

impl Shape {
    fn layout(self) -> Option<Layout> {
        let bytes = (self.slots as usize).checked_mul(self.slot_size as usize)?;
        Layout::from_size_align(bytes, ALIGN).ok().filter(|layout| layout.size() > 0)
    }
}

/// One slot.
#[derive(Clone, Copy)]
pub struct Buffer {
    /// Its memory, `slot_size` bytes.
    pub data: NonNull<u8>,
    /// The same from the start of the pool.
    pub offset: u64,
    /// Its size.
    pub length: usize,
}

struct Pool {
    base: NonNull<u8>,
    shape: Shape,
    /// Free slots; those used last are taken first.
    free: Vec<u32>,
    /// Which slots the receivers have.
    taken: Vec<bool>,
    /// The senders of datagrams, where there are some.
    senders: Vec<Address>,
    /// Descriptors whose reading is paused, oldest first.
    paused: VecDeque<Token>,
    /// Those that were woken and for each of which a slot is kept.
    woken: Vec<Token>,
}

// SAFETY: the memory is the pool's own.
unsafe impl Send for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(layout) = self.shape.layout() {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        }
    }
}

impl Pool {
    fn new(shape: Shape) -> Option<Self> {
        let slots = shape.slots as usize;
        let (mut free, mut taken) = (Vec::new(), Vec::new());
        free.try_reserve_exact(slots).ok()?;
        taken.try_reserve_exact(slots).ok()?;
        free.extend((0..shape.slots).rev());
        taken.resize(slots, false);
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc(shape.layout()?) })?;
        let (senders, paused, woken) = (Vec::new(), VecDeque::new(), Vec::new());
        Some(Pool { base, shape, free, taken, senders, paused, woken })
    }

    fn buffer(&self, slot: u32) -> Buffer {
        let offset = slot as usize * self.shape.slot_size as usize;
        Buffer {
            // SAFETY: slots lie within the block.
            data: unsafe { self.base.add(offset) },
            offset: offset as u64,
            length: self.shape.slot_size as usize,
        }
    }

    /// True when a slot is free that is kept for nobody.
    fn has_spare(&self) -> bool {
        self.free.len() > self.woken.len()
    }

    /// No longer keeps a slot for a descriptor; true if it did.
    fn unpromise(&mut self, token: Option<Token>) -> bool {
        let at = self.woken.iter().position(|woken| Some(*woken) == token);
        at.map(|at| self.woken.swap_remove(at)).is_some()
    }

    /// The slot at an offset; only its very start counts.
    fn slot_at(&self, offset: u64) -> Option<u32> {
        let size = u64::from(self.shape.slot_size);
        let slot = u32::try_from(offset / size).ok()?;
        (offset.is_multiple_of(size) && slot < self.shape.slots).then_some(slot)
    }
}

/// The pool of one context.
pub struct Buffers {
    pool: Mutex<Option<Pool>>,
}

/// What became of the wish to go on when a slot is free.
pub enum Pause {
    /// [`Buffers::give_back`] calls [`super::descriptor::Locked::retry`].
    Paused,
    /// There is one already.
    Available,
}

impl Buffers {
    /// No pool yet.
    #[allow(clippy::missing_const_for_fn, reason = "loom's mutex has no const constructor")]
    pub fn new() -> Self {
        Buffers { pool: Mutex::new(None) }
    }

    /// Makes the pool, unless there is one.
    pub fn prepare(&self, shape: Shape) -> Result<(), Errno> {
        let mut pool = self.pool.lock();
        if pool.is_none() {
            *pool = Some(Pool::new(shape).ok_or(Errno::NOMEM)?);
        }
        Ok(())
    }

    /// Where the pool's memory begins.
    pub fn base(&self) -> Option<NonNull<u8>> {
        self.pool.lock().as_ref().map(|pool| pool.base)
    }

    /// Takes a slot for a descriptor. `keeps` says that it comes back when the receiver likes: then one that is
    /// kept for another is not free.
    pub fn take(&self, token: Option<Token>, keeps: bool) -> Option<Buffer> {
        let mut pool = self.pool.lock();
        let pool = pool.as_mut()?;
        let was_woken = pool.unpromise(token);
        if keeps && !was_woken && !pool.has_spare() {
            return None;
        }
        let slot = pool.free.pop()?;
        if let Some(taken) = pool.taken.get_mut(slot as usize) {
            *taken = true;
        }
        Some(pool.buffer(slot))
    }

    /// Puts a slot back that was not filled. [`Buffers::wake_paused`] must follow, under no lock.
    pub fn put_back(&self, buffer: Buffer) {
        let _ = self.release(buffer.offset);
    }

    /// Has a descriptor told when a slot is free.
    pub fn pause(&self, token: Token) -> Result<Pause, Errno> {
        let mut pool = self.pool.lock();
        let pool = pool.as_mut().ok_or(Errno::NOBUFS)?;
        if pool.has_spare() {
            return Ok(Pause::Available);
        }
        if !pool.paused.contains(&token) {
            pool.paused.try_reserve(1).map_err(|_| Errno::NOMEM)?;
            pool.woken.try_reserve(pool.paused.len() + 1).map_err(|_| Errno::NOMEM)?;
            pool.paused.push_back(token);
        }
        Ok(Pause::Paused)
    }

    fn release(&self, offset: u64) -> Result<(), Errno> {
        let mut pool = self.pool.lock();
        let pool = pool.as_mut().ok_or(Errno::INVAL)?;
        let slot = pool.slot_at(offset).ok_or(Errno::INVAL)?;
        let taken = pool.taken.get_mut(slot as usize).ok_or(Errno::INVAL)?;
        if !std::mem::replace(taken, false) {
            return Err(Errno::INVAL);
        }
        pool.free.push(slot);
        Ok(())
    }

    /// Frees the slot at an offset, and has one that is paused go on.
    pub fn give_back(&self, caller: &Caller, offset: u64) -> Result<(), Errno> {
        self.release(offset)?;
        self.wake_paused(caller);
        Ok(())
    }

    /// Has those whose reading is paused go on, as many as slots are free.
    pub fn wake_paused(&self, caller: &Caller) {
        while let Some(token) = self.wake_first() {
            // Where it was closed or cancelled meanwhile the slot is for the next.
            if !Descriptor::lock(token).is_ok_and(|mut descriptor| descriptor.retry(caller))
                && let Some(pool) = self.pool.lock().as_mut()
            {
                pool.unpromise(Some(token));
            }
        }
    }

    fn wake_first(&self) -> Option<Token> {
        let mut pool = self.pool.lock();
        let pool = pool.as_mut().filter(|pool| pool.has_spare())?;
        let token = pool.paused.pop_front()?;
        pool.woken.push(token);
        Some(token)
    }

    /// A reading that may have been woken has ended: what is kept may be nobody's. Under no lock.
    pub fn reading_ended(&self, caller: &Caller) {
        if let Some(pool) = self.pool.lock().as_mut() {
            pool.woken.clear();
        }
        self.wake_paused(caller);
    }

    /// Notes where the datagram in a slot came from.
    pub fn set_sender(&self, offset: u64, sender: Address) -> Result<(), Errno> {
        let mut pool = self.pool.lock();
        let pool = pool.as_mut().ok_or(Errno::INVAL)?;
        let slot = pool.slot_at(offset).ok_or(Errno::INVAL)?;
        if pool.senders.is_empty() {
            let slots = pool.shape.slots as usize;
            pool.senders.try_reserve_exact(slots).map_err(|_| Errno::NOMEM)?;
            pool.senders.resize_with(slots, Address::empty);
        }
        *pool.senders.get_mut(slot as usize).ok_or(Errno::INVAL)? = sender;
        Ok(())
    }

    /// Where the datagram in a slot came from.
    pub fn sender(&self, offset: u64) -> Result<Address, Errno> {
        let pool = self.pool.lock();
        let pool = pool.as_ref().ok_or(Errno::INVAL)?;
        let slot = pool.slot_at(offset).ok_or(Errno::INVAL)? as usize;
        if pool.taken.get(slot) != Some(&true) {
            return Err(Errno::INVAL);
        }
        pool.senders.get(slot).cloned().ok_or(Errno::INVAL)
    }

    /// Frees the memory, at the end of the context.
    pub fn end(&self) {
        *self.pool.lock() = None;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { slots: 3, slot_size: 16 };

    #[test]
    fn slots_are_taken_once_and_come_back_once() {
        let buffers = Buffers::new();
        assert!(buffers.take(None, true).is_none());
        buffers.prepare(SHAPE).unwrap();
        let taken: Vec<Buffer> = (0..3).map(|_| buffers.take(None, true).unwrap()).collect();
        assert!(buffers.take(None, true).is_none());
        let mut offsets: Vec<u64> = taken.iter().map(|buffer| buffer.offset).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, 16, 32]);
        let caller = Caller::current();
        for wrong in [1, 17, 48, u64::MAX] {
            assert_eq!(buffers.give_back(&caller, wrong), Err(Errno::INVAL));
        }
        buffers.give_back(&caller, 16).unwrap();
        assert_eq!(buffers.give_back(&caller, 16), Err(Errno::INVAL));
        assert_eq!(buffers.take(None, true).unwrap().offset, 16);
        buffers.end();
        assert_eq!(buffers.give_back(&caller, 16), Err(Errno::INVAL));
    }
}
