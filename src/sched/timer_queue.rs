//! The timers of one scheduler: a hierarchical timing wheel, and a heap for its near end.
//!
//! Most timers are timeouts that are removed long before they are due, so insert and remove must cost
//! next to nothing, while order matters only for the few that fire. Hence two structures:
//!
//! - **The wheel** holds what is far. A tick is 2^16 ns (65.5 us), and its digits are 8, 8 and then 6 bits
//!   wide; a timer's level is the highest digit in which its tick differs from the current one, its slot is
//!   that digit's value. A slot is an unordered doubly linked list, so that insert and remove are a handful
//!   of instructions. Two levels of 256 slots (17 ms, 4.3 s) and six of 64 span every tick of an `i64`: there
//!   is no overflow list and no wrap-around. Whatever is on a lower level is earlier than all on a higher
//!   one, and a smaller slot is earlier than a larger one of its level, so two bitmaps find the first slot at
//!   once. The near levels are wide because each level is a cache miss on the way of a timer that fires.
//! - **The near heap** holds what lies at or before the current tick, exactly ordered by expiry and,
//!   where that is equal, by the order of the inserts.
//!
//! As time goes on, `advance` takes the first slot apart and places its nodes anew, each into the heap
//! or on a lower level. The current tick goes as far into that slot as the time allows, so that a timer
//! that is already due moves once, and any other at most once a level. A slot is taken apart within a
//! budget: a million timers of one slot do not hold up the sockets. While one is half done, nothing is
//! popped, because the rest of it may be earlier than the heap's root.
//!
//! Each slot keeps a lower bound of its expiries, which removal does not raise. The owner may therefore
//! wake once too early for each slot, never too late; a removed timeout costs no search for the next one.
//!
//! Nothing here allocates or locks: the nodes are embedded in the timers, the owner holds the lock.
#![allow(unsafe_code, reason = "intrusive links between pinned nodes")]

use super::near_heap::{NEAR, NONE, NearHeap};
use std::ptr;

pub use super::near_heap::TimerNode;

/// Nanoseconds to ticks.
const TICK_BITS: u32 = 16;
/// Levels with the wide digits, and the width of theirs and of the others'.
const WIDE_LEVELS: u32 = 2;
const WIDE_BITS: u32 = 8;
const BITS: u32 = 6;
// The stacks of models are small; their timers are near.
const LEVELS: u32 = if cfg!(loom) { 1 } else { 8 };
/// All slots, those of the lowest level first.
const SLOTS: usize = first_slot(LEVELS) as usize;
/// Slots of one word of the bitmap.
const WORD: usize = 64;

/// The first slot of a level.
const fn first_slot(level: u32) -> u32 {
    if level < WIDE_LEVELS {
        level << WIDE_BITS
    } else {
        (WIDE_LEVELS << WIDE_BITS) + ((level - WIDE_LEVELS) << BITS)
    }
}

/// Bits of a tick that are below the digit of a level.
const fn shift_of(level: u32) -> u32 {
    if level < WIDE_LEVELS {
        level * WIDE_BITS
    } else {
        WIDE_LEVELS * WIDE_BITS + (level - WIDE_LEVELS) * BITS
    }
}

/// The number of bits in a level's digit.
const fn bits_of(level: u32) -> u32 {
    if level < WIDE_LEVELS { WIDE_BITS } else { BITS }
}

/// The level whose digit has a bit of a tick.
const fn level_of_bit(bit: u32) -> u32 {
    if bit < WIDE_LEVELS * WIDE_BITS {
        bit / WIDE_BITS
    } else {
        WIDE_LEVELS + (bit - WIDE_LEVELS * WIDE_BITS) / BITS
    }
}

/// The level that a slot is of.
const fn level_of_slot(place: u16) -> u32 {
    let place = place as u32;
    if place < WIDE_LEVELS << WIDE_BITS {
        place >> WIDE_BITS
    } else {
        WIDE_LEVELS + ((place - (WIDE_LEVELS << WIDE_BITS)) >> BITS)
    }
}

/// Where a node goes whose tick differs from the hand's in a certain bit and none above it.
#[derive(Clone, Copy)]
struct Way {
    first: u16,
    shift: u8,
    mask: u8,
}

/// The ways of every bit.
static WAYS: [Way; 64] = {
    let mut ways = [Way { first: 0, shift: 0, mask: 0 }; 64];
    let mut bit = 0;
    while bit < 64 {
        let level = level_of_bit(bit as u32);
        ways[bit] = Way {
            first: first_slot(level) as u16,
            shift: shift_of(level) as u8,
            mask: ((1 << bits_of(level)) - 1) as u8,
        };
        bit += 1;
    }
    ways
};

/// One list of the wheel.
#[derive(Clone, Copy)]
struct Slot {
    head: *mut TimerNode,
    /// At most the smallest expiry in the list; `i64::MAX` when it is empty.
    earliest: i64,
}

/// All timers of one scheduler. Not thread-safe; lives under the owner's lock.
pub struct TimerQueue {
    /// The wheel's hand. It never goes back; every node of the wheel has a later tick, save those of
    /// the draining slot.
    cur_tick: i64,
    next_seq: u64,
    /// What the owner was last told to wake at, or was told since by `insert`.
    told: i64,
    near: NearHeap,
    len: usize,
    /// The place of the slot that is being taken apart, `NONE` when there is none. No insert reaches
    /// it: the hand is inside its range.
    draining: u16,
    /// Which words of `occupied` have a bit set.
    words: u16,
    /// Which slots are non-empty.
    occupied: [u64; SLOTS / WORD],
    slots: [Slot; SLOTS],
}

// SAFETY: the queue owns the links of the nodes in it; moving it moves that ownership.
unsafe impl Send for TimerQueue {}

impl TimerQueue {
    /// An empty queue with its hand at time 0.
    pub const fn new() -> Self {
        TimerQueue {
            cur_tick: 0,
            near: NearHeap::new(),
            draining: NONE,
            words: 0,
            occupied: [0; SLOTS / WORD],
            told: i64::MAX,
            next_seq: 0,
            len: 0,
            slots: [Slot { head: ptr::null_mut(), earliest: i64::MAX }; SLOTS],
        }
    }

    /// True when no timer is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of queued timers.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Queues a node. True when the owner must ask `wake_at` again, because the node expires before
    /// anything the owner was told of; said once, not again for later ones.
    ///
    /// `i64::MAX` means never: the owner does not insert that. An expiry in the past is due at once.
    ///
    /// # Safety
    /// `node` is alive, is in no queue, and neither moves nor dies while it is queued.
    #[inline]
    pub unsafe fn insert(&mut self, node: *mut TimerNode, expiry: i64) -> bool {
        debug_assert!(expiry != i64::MAX, "never is not queued");
        // SAFETY: the caller owns the node until it is placed, and `place` gets it complete.
        unsafe {
            debug_assert!(!(*node).is_queued());
            (*node).expiry = expiry;
            (*node).seq = self.next_seq;
            self.place(node);
        }
        self.next_seq += 1;
        self.len += 1;
        if expiry < self.told {
            self.told = expiry;
            return true;
        }
        false
    }

    /// Gives a queued node another expiry, as if it were taken out and queued anew. False, and nothing done, where
    /// that is what it takes. In the wheel it mostly takes two stores: a slot whose bound holds for the new expiry
    /// too is taken apart early enough, and what lies in it is placed by its expiry then. So a timeout that is put
    /// off again and again moves once in the time that it lasts.
    ///
    /// # Safety
    /// `node` is alive, and in this queue or in none.
    #[inline]
    pub unsafe fn move_in_place(&mut self, node: *mut TimerNode, expiry: i64) -> bool {
        // SAFETY: promised by the caller.
        unsafe {
            // Neither near nor in no queue.
            if (*node).place >= NEAR || expiry < self.slot((*node).place).earliest {
                return false;
            }
            (*node).expiry = expiry;
            (*node).seq = self.next_seq;
        }
        self.next_seq += 1;
        true
    }

    /// Takes a node out: O(1) in the wheel, O(log n) near the hand.
    ///
    /// # Safety
    /// `node` is in this queue.
    #[inline]
    pub unsafe fn remove(&mut self, node: *mut TimerNode) {
        // SAFETY: it is in the structure that its place names.
        unsafe {
            debug_assert!((*node).is_queued());
            if (*node).place == NEAR {
                self.near.remove(node);
            } else {
                self.unlink(node);
            }
            (*node).place = NONE;
        }
        self.len -= 1;
    }

    /// When the owner must call `advance` next: the earliest expiry or a lower bound of it. None when
    /// nothing is queued. Not later than the time last given to `advance` while a slot is half done.
    #[inline]
    pub fn wake_at(&mut self) -> Option<i64> {
        if self.len == 0 {
            self.told = i64::MAX;
            return None;
        }
        let root = self.near.root();
        let near = if root.is_null() {
            i64::MAX
        } else {
            // SAFETY: the root is in the heap, so it is alive.
            unsafe { (*root).expiry }
        };
        self.told = if self.is_draining() {
            let slot = self.slot(self.draining);
            near.min(slot.earliest).min(self.cur_tick << TICK_BITS)
        } else if root.is_null() {
            match self.first_place() {
                Some(place) => self.slot(place).earliest,
                None => i64::MAX,
            }
        } else {
            near
        };
        Some(self.told)
    }

    /// Moves the hand to `now`, or to the first slot with a node that is due: what lies behind it stays where it is
    /// until that is popped, so that the heap stays small. Each node that is moved costs 1 of `budget`; when that is
    /// used up with a slot half done, `wake_at` gives a time that has passed and `pop_due` gives nothing until
    /// another call has finished it.
    pub fn advance(&mut self, now: i64, budget: &mut usize) {
        let now_tick = now >> TICK_BITS;
        if self.told <= now {
            // That wake-up is used up: the next insert, whatever its expiry, is news.
            self.told = i64::MAX;
        }
        loop {
            while self.is_draining() {
                if *budget == 0 {
                    return;
                }
                *budget -= 1;
                let node = self.slot(self.draining).head;
                // SAFETY: the head is in the wheel; once unlinked it is in no list.
                unsafe {
                    prefetch_node((*node).child);
                    self.unlink(node);
                    self.place(node);
                }
            }
            self.draining = NONE;
            if self.has_due(now) {
                return;
            }
            let Some(place) = self.first_place() else {
                break;
            };
            let level = level_of_slot(place);
            let (shift, over) = (shift_of(level), shift_of(level) + bits_of(level));
            let digit = i64::from(u32::from(place) - first_slot(level));
            let above = self.cur_tick >> over << over;
            let start = above | digit << shift;
            if start > now_tick {
                break;
            }
            // The hand may go to the end of this slot, for all other slots come after it.
            let end = start | ((1 << shift) - 1);
            self.cur_tick = now_tick.min(end);
            self.draining = place;
        }
        // Nothing starts before now, so moving the hand up to it changes no node's level or slot.
        self.cur_tick = self.cur_tick.max(now_tick);
    }

    /// True when the heap's first is due.
    #[inline]
    fn has_due(&self, now: i64) -> bool {
        // SAFETY: the root is in the heap, so it is alive.
        unsafe { self.near.root().as_ref() }.is_some_and(|root| root.expiry <= now)
    }

    /// The next due node, taken out, in the order of expiry and then of insert. None when `advance`, with the same
    /// time, must be called first: then none is due if there is none again.
    ///
    /// # Safety
    /// Every node in the queue is alive, as `insert` asks.
    #[inline]
    pub unsafe fn pop_due(&mut self, now: i64) -> Option<*mut TimerNode> {
        let root = self.near.root();
        if root.is_null() || self.is_draining() {
            return None;
        }
        // SAFETY: the root is in the heap, so it is alive.
        unsafe {
            if (*root).expiry > now {
                return None;
            }
            self.remove(root);
        }
        Some(root)
    }

    /// True when a slot is half taken apart.
    #[inline]
    fn is_draining(&self) -> bool {
        self.draining != NONE && !self.slot(self.draining).head.is_null()
    }

    /// The place of the earliest non-empty slot.
    #[inline]
    fn first_place(&self) -> Option<u16> {
        let word = self.words.trailing_zeros();
        let occupied = self.occupied.get(word as usize)?;
        Some((word * WORD as u32 + occupied.trailing_zeros()) as u16)
    }

    #[inline]
    fn slot(&self, place: u16) -> &Slot {
        debug_assert!(usize::from(place) < SLOTS);
        // SAFETY: places come from `place` and `first_place`, which stay below the number of slots.
        unsafe { self.slots.get_unchecked(usize::from(place)) }
    }

    #[inline]
    fn slot_mut(&mut self, place: u16) -> &mut Slot {
        debug_assert!(usize::from(place) < SLOTS);
        // SAFETY: as in `slot`.
        unsafe { self.slots.get_unchecked_mut(usize::from(place)) }
    }

    /// Notes whether a slot is empty.
    #[inline]
    fn occupy(&mut self, place: u16, occupied: bool) {
        debug_assert!(usize::from(place) < SLOTS);
        let (word, bit) = (usize::from(place) / WORD, 1 << (usize::from(place) % WORD));
        // SAFETY: as in `slot`; each word has as many slots.
        let bits = unsafe { self.occupied.get_unchecked_mut(word) };
        if occupied {
            *bits |= bit;
            self.words |= 1 << word;
        } else {
            *bits &= !bit;
            if *bits == 0 {
                self.words &= !(1 << word);
            }
        }
    }

    /// Links a node where its expiry belongs, as seen from the hand.
    ///
    /// # Safety
    /// `node` is alive and linked nowhere; its expiry and seq are set.
    #[inline]
    unsafe fn place(&mut self, node: *mut TimerNode) {
        // SAFETY: the caller owns the node; the slot's head, if any, is alive.
        unsafe {
            let expiry = (*node).expiry;
            let tick = expiry >> TICK_BITS;
            if tick <= self.cur_tick {
                self.near.insert(node);
                return;
            }
            // The hand is never negative, so neither is the tick: they differ below bit 47, and
            // that is in the last level at most.
            let bit = 63 ^ (tick ^ self.cur_tick).leading_zeros() as usize;
            let Way { first, shift, mask } = WAYS[bit & 63];
            let place = first + ((tick >> shift) as u16 & u16::from(mask));
            let slot = self.slot_mut(place);
            slot.earliest = slot.earliest.min(expiry);
            let head = slot.head;
            slot.head = node;
            (*node).prev = ptr::null_mut();
            (*node).next = head;
            (*node).place = place;
            (*node).child = ptr::null_mut();
            if head.is_null() {
                self.occupy(place, true);
            } else {
                (*node).child = (*head).next;
                (*head).prev = node;
            }
        }
    }

    /// Takes a node out of its slot.
    ///
    /// # Safety
    /// `node` is in a slot of this wheel.
    #[inline]
    unsafe fn unlink(&mut self, node: *mut TimerNode) {
        // SAFETY: the neighbours of a node in a slot are alive, and in the same slot.
        unsafe {
            let (prev, next, place) = ((*node).prev, (*node).next, (*node).place);
            if !next.is_null() {
                (*next).prev = prev;
            }
            if !prev.is_null() {
                (*prev).next = next;
                return;
            }
            let slot = self.slot_mut(place);
            slot.head = next;
            if next.is_null() {
                slot.earliest = i64::MAX;
                self.occupy(place, false);
            }
        }
    }
}

/// Asks for a line of memory that will be read soon; any address will do.
#[inline(always)]
fn prefetch(at: *const TimerNode) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The same for a node: its first field may end a line.
#[inline(always)]
fn prefetch_node(node: *mut TimerNode) {
    prefetch(node);
    prefetch(node.wrapping_byte_add(8));
}

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
