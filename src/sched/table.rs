//! The handle table: tokens in, objects out, and never an address from the caller.
//!
//! A handle is a 64-bit token of kind, index and generation. Each kind of object lives in a
//! [`Table`]: buckets of doubling size that are never moved or freed, so that a pointer to an entry
//! stays valid for ever and always points to an entry of its type (*type-stable memory*). Closing an
//! object makes its entry dead; the next use of the entry has another generation, and so another
//! token.
//!
//! The **pin protocol** needs no reference count. A caller
//!
//! 1. finds the entry, without a lock ([`Table::find`]);
//! 2. takes the entry's own lock, which the operation needs anyway;
//! 3. asks again, under the lock ([`Head::is_live_as`]).
//!
//! [`Table::kill`] is called only under that lock. So an entry that passed step 3 stays live until
//! the caller unlocks; one that was closed, or closed and taken anew, between steps 1 and 3 fails
//! step 3. Without step 3 a stale token reaches the new object.
//!
//! Whoever takes an entry with [`Table::reserve`] fills it under the entry's lock before it calls
//! [`Table::publish`]: a late caller with a stale token may hold that lock for a moment.
#![allow(unsafe_code, reason = "entries live in type-stable memory that the table allocates")]

use super::process_lock::{ProcessLock, Renew};
use super::sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering};
use std::alloc::{Layout, alloc};
use std::ptr;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("handles are 64-bit tokens in the form of pointers: a 64-bit target is needed");

const LIVE: u64 = 1;
const KIND_BITS: u32 = 5;
const INDEX_BITS: u32 = 28;
const GENERATION_BITS: u32 = 30;
const KIND_SHIFT: u32 = 1;
const INDEX_SHIFT: u32 = KIND_SHIFT + KIND_BITS;
const GENERATION_SHIFT: u32 = INDEX_SHIFT + INDEX_BITS;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const GENERATION_MAX: u32 = (1 << GENERATION_BITS) - 1;

/// The first generation. Not 0, so that small integers are never handles.
const GENERATION_FIRST: u32 = 1;

// The fields fill the word exactly.
const _: () = assert!(GENERATION_SHIFT + GENERATION_BITS == u64::BITS);

/// A handle: bit 0 is 1 (so it is neither NULL nor an aligned address), then kind, index and
/// generation.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Token(u64);

impl Token {
    /// The token as the caller sees it.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// A token from a caller: any value is allowed, [`Table::find`] tells the good ones.
    #[inline]
    pub const fn from_raw(raw: u64) -> Self {
        Token(raw)
    }

    /// The type of object.
    #[inline]
    pub const fn kind(self) -> u8 {
        ((self.0 >> KIND_SHIFT) & KIND_MASK) as u8
    }

    /// The place in the table.
    #[inline]
    pub const fn index(self) -> u32 {
        ((self.0 >> INDEX_SHIFT) & INDEX_MASK) as u32
    }

    /// Which use of that place.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }
}

/// The stamp of a dead entry; with [`LIVE`] and a kind added it is a token.
const fn dead_stamp(index: u32, generation: u32) -> u64 {
    ((index as u64) << INDEX_SHIFT) | ((generation as u64) << GENERATION_SHIFT)
}

/// Ends the free list.
const NONE: u32 = u32::MAX;
/// The entry is not in the free list.
const TAKEN: u32 = u32::MAX - 1;

/// What the table keeps in each entry.
pub struct Head {
    /// The token while live; the token with bit 0 cleared while dead. One comparison checks
    /// liveness, kind, index and generation.
    stamp: AtomicU64,
    /// The index of the next free entry, [`NONE`] or [`TAKEN`]. Guarded by the free list's lock.
    next_free: AtomicU32,
    /// The entry's own lock, for a type that keeps what it guards beside it: here it fills a hole.
    pub(super) lock: Mutex<()>,
}

impl Head {
    /// The head of an entry that the table has not numbered yet.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Head { stamp: AtomicU64::new(0), next_free: AtomicU32::new(TAKEN), lock: Mutex::new(()) }
    }

    /// The head of an entry that the table has not numbered yet.
    #[cfg(loom)]
    pub fn new() -> Self {
        Head { stamp: AtomicU64::new(0), next_free: AtomicU32::new(TAKEN), lock: Mutex::new(()) }
    }

    /// The place in the table, live or not.
    pub fn index(&self) -> u32 {
        Token(self.stamp.load(Ordering::Relaxed)).index()
    }

    /// Step 3 of the pin protocol; the caller holds the entry's lock.
    ///
    /// Relaxed is enough: `kill` happens under the same lock, and the Acquire in [`Table::find`] saw
    /// the `publish` of this token.
    #[inline]
    pub fn is_live_as(&self, token: Token) -> bool {
        token.0 & LIVE != 0 && self.stamp.load(Ordering::Relaxed) == token.0
    }

    /// The token of a live entry. Only under the entry's lock does it stay true.
    #[inline]
    pub fn token(&self) -> Option<Token> {
        let stamp = self.stamp.load(Ordering::Acquire);
        (stamp & LIVE != 0).then_some(Token(stamp))
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

/// What can live in a [`Table`]. Entries are never moved, freed or dropped.
///
/// # Safety
/// `head` returns the same [`Head`] each time, one that is part of the entry, belongs to no other
/// entry and is given to no second table.
pub unsafe trait Entry: Sync + 'static {
    /// The table's part of the entry.
    fn head(&self) -> &Head;

    /// An entry that was never used. Called with the free list locked: it must not call the table.
    fn vacant() -> Self;
}

/// No memory for a further entry, or no index left.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// log2 of the size of the first bucket. Small in a model, which makes a table for each execution.
const FIRST_BITS: u32 = if cfg!(loom) { 1 } else { 6 };
/// Enough buckets for every index but the last few.
const BUCKETS: usize = (INDEX_BITS - FIRST_BITS) as usize;
/// How many entries these buckets hold.
const CAPACITY: u32 = (1 << INDEX_BITS) - (1 << FIRST_BITS);

/// The bucket of an index and the place in it.
#[inline]
const fn locate(index: u32) -> (usize, usize) {
    // Shifted by the size of the first bucket, the top bit names the bucket and the rest the place.
    let shifted = index + (1 << FIRST_BITS);
    let top = u32::BITS - 1 - shifted.leading_zeros();
    ((top - FIRST_BITS) as usize, (shifted ^ (1 << top)) as usize)
}

/// The number of entries in a bucket.
const fn bucket_size(bucket: usize) -> usize {
    (1 << FIRST_BITS) << bucket
}

/// Memory for `count` entries, uninitialised.
fn allocate<T>(count: usize) -> Result<*mut T, OutOfMemory> {
    let layout = Layout::array::<T>(count).map_err(|_| OutOfMemory)?;
    if layout.size() == 0 {
        return Err(OutOfMemory);
    }
    // SAFETY: the size is not 0.
    let memory = unsafe { alloc(layout) }.cast::<T>();
    if memory.is_null() { Err(OutOfMemory) } else { Ok(memory) }
}

/// What reserve and recycle change.
struct Free {
    /// The most recently recycled entry: its memory is likely still in the cache.
    first: u32,
}

impl Renew for Free {
    /// Only new entries in a child: another thread may have held the lock of one of the others for a moment.
    fn renew(&mut self) {
        self.first = NONE;
    }
}

/// On a cache line of its own: lookups do not share one with reserve and recycle.
#[repr(align(128))]
struct Apart<T>(T);

/// All objects of one type.
pub struct Table<T> {
    /// The high-water mark: entries below it are initialised. Changed under `free`.
    used: AtomicU32,
    /// Plain addresses, not biased ones: leak checkers look for them.
    buckets: [AtomicPtr<T>; BUCKETS],
    free: Apart<ProcessLock<Free>>,
}

impl<T> Table<T> {
    /// An empty table, which allocates nothing yet.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Table {
            used: AtomicU32::new(0),
            buckets: [const { AtomicPtr::new(ptr::null_mut()) }; BUCKETS],
            free: Apart(ProcessLock::new(Free { first: NONE })),
        }
    }

    /// An empty table, which allocates nothing yet.
    #[cfg(loom)]
    pub fn new() -> Self {
        Table {
            used: AtomicU32::new(0),
            buckets: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            free: Apart(ProcessLock::new(Free { first: NONE })),
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Entry> Table<T> {
    /// Takes a vacant entry. It is not live: no token reaches it before [`Table::publish`].
    pub fn reserve(&'static self) -> Result<&'static T, OutOfMemory> {
        let mut free = self.free.0.lock();
        let Some(entry) = self.by_index(free.first) else {
            return self.extend();
        };
        free.first = entry.head().next_free.load(Ordering::Relaxed);
        entry.head().next_free.store(TAKEN, Ordering::Relaxed);
        Ok(entry)
    }

    /// Initialises the entry at the high-water mark. The free list is locked.
    #[cold]
    fn extend(&'static self) -> Result<&'static T, OutOfMemory> {
        let index = self.used.load(Ordering::Relaxed);
        if index >= CAPACITY {
            return Err(OutOfMemory);
        }
        let (bucket, place) = locate(index);
        let slot = self.buckets.get(bucket).ok_or(OutOfMemory)?;
        if place == 0 {
            slot.store(allocate(bucket_size(bucket))?, Ordering::Relaxed);
        }
        let base = slot.load(Ordering::Relaxed);
        // SAFETY: `place` is in this bucket, which was allocated for its first entry; entries from
        // the high-water mark on are ours alone while the free list is locked.
        let entry: &'static T = unsafe {
            let entry = base.add(place);
            entry.write(T::vacant());
            &*entry
        };
        entry.head().stamp.store(dead_stamp(index, GENERATION_FIRST), Ordering::Relaxed);
        // Release: whoever reads the new mark sees the bucket and the entry. With less, `at` on
        // another thread could follow a bucket that is not there or read an entry not yet written.
        self.used.store(index + 1, Ordering::Release);
        Ok(entry)
    }

    /// Makes a reserved entry live, as an object of this kind (0 to 31).
    ///
    /// Release: `find` with the new token sees everything written to the entry before.
    pub fn publish(&'static self, entry: &'static T, kind: u8) -> Token {
        debug_assert!(u64::from(kind) <= KIND_MASK, "a kind has 5 bits");
        let stamp = entry.head().stamp.load(Ordering::Relaxed);
        debug_assert!(stamp & LIVE == 0, "published twice");
        let place = stamp & !(LIVE | (KIND_MASK << KIND_SHIFT));
        let token = place | ((u64::from(kind) & KIND_MASK) << KIND_SHIFT) | LIVE;
        entry.head().stamp.store(token, Ordering::Release);
        Token(token)
    }

    /// Step 1 of the pin protocol: the entry of a token, if the token was good a moment ago.
    #[inline]
    pub fn find(&'static self, token: Token) -> Option<&'static T> {
        // A token without bit 0 would equal the stamp of a dead entry.
        if token.0 & LIVE == 0 || !self.is_used(token.index()) {
            return None;
        }
        // SAFETY: `is_used` said yes.
        let entry = unsafe { self.at(token.index()) };
        (entry.head().stamp.load(Ordering::Acquire) == token.0).then_some(entry)
    }

    /// Makes a live entry dead. Called under the entry's own lock, once.
    pub fn kill(&'static self, entry: &'static T) {
        let stamp = entry.head().stamp.load(Ordering::Relaxed);
        debug_assert!(stamp & LIVE != 0, "killed twice");
        entry.head().stamp.store(stamp & !LIVE, Ordering::Release);
    }

    /// Gives an entry back that was reserved and is not live (any more). Nothing may point to it:
    /// from here on it may become another object.
    ///
    /// An entry whose generations are used up is never used again, so that none of its tokens ever
    /// comes back to life.
    pub fn recycle(&'static self, entry: &'static T) {
        let head = entry.head();
        let mut free = self.free.0.lock();
        let last = Token(head.stamp.load(Ordering::Relaxed));
        let taken = head.next_free.load(Ordering::Relaxed) == TAKEN;
        debug_assert!(taken && last.0 & LIVE == 0, "recycled twice, or while live");
        // In a release build a doubled recycle leaks the entry rather than give it to two owners.
        if !taken || last.0 & LIVE != 0 {
            return;
        }
        if last.generation() >= GENERATION_MAX {
            return;
        }
        let next = dead_stamp(last.index(), last.generation() + 1);
        head.stamp.store(next, Ordering::Relaxed);
        head.next_free.store(free.first, Ordering::Relaxed);
        free.first = last.index();
    }

    /// The entry at an index, live or not; `None` at and above the high-water mark.
    #[inline]
    pub fn by_index(&'static self, index: u32) -> Option<&'static T> {
        // SAFETY: `is_used` said yes.
        self.is_used(index).then(|| unsafe { self.at(index) })
    }

    /// True below the high-water mark. Acquire: pairs with the Release in `extend`.
    #[inline]
    fn is_used(&'static self, index: u32) -> bool {
        index < self.used.load(Ordering::Acquire)
    }

    /// The entry at an index.
    ///
    /// # Safety
    /// [`Table::is_used`] returned true for the index.
    #[inline]
    unsafe fn at(&'static self, index: u32) -> &'static T {
        let (bucket, place) = locate(index);
        // SAFETY: the high-water mark is at most `CAPACITY`, so the bucket is one of ours. It is
        // allocated and the entry is initialised, both seen by the Acquire in `is_used`; neither
        // is ever moved or freed.
        unsafe {
            let base = self.buckets.get_unchecked(bucket).load(Ordering::Relaxed);
            &*base.add(place)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
