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

    /// Moves the hand to `now`. Each node that is moved costs 1 of `budget`; when that is used up with a
    /// slot half done, `wake_at` gives a time that has passed and `pop_due` gives nothing until another
    /// call has finished it.
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
                    prefetch((*node).child);
                    self.unlink(node);
                    self.place(node);
                }
            }
            self.draining = NONE;
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

    /// The next due node, taken out, in the order of expiry and then of insert. None when none is due, or
    /// when `advance` has not finished. Call `advance` with the same time first.
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
            let level = level_of_bit(63 - (tick ^ self.cur_tick).leading_zeros());
            let digit = (tick >> shift_of(level)) as u32 & ((1 << bits_of(level)) - 1);
            let place = (first_slot(level) + digit) as u16;
            self.occupy(place, true);
            let slot = self.slot_mut(place);
            slot.earliest = slot.earliest.min(expiry);
            let head = slot.head;
            slot.head = node;
            (*node).prev = ptr::null_mut();
            (*node).next = head;
            (*node).place = place;
            (*node).child = ptr::null_mut();
            if !head.is_null() {
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

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use std::collections::BTreeMap;

    const TICK: i64 = 1 << TICK_BITS;

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, limit: u64) -> u64 {
            (self.next() >> 1) % limit
        }

        /// A time span whose magnitude is random, up to `bits` bits.
        fn span(&mut self, bits: u64) -> i64 {
            let bits = self.below(bits + 1);
            (self.next() & ((1u64 << bits) - 1)) as i64
        }
    }

    /// Nodes at fixed addresses, the queue, and what it should hold.
    struct Model {
        base: *mut TimerNode,
        size: usize,
        queue: TimerQueue,
        /// (expiry, order of insert) to the index of the node.
        queued: BTreeMap<(i64, u64), usize>,
        /// The key of each queued node.
        keys: Vec<Option<(i64, u64)>>,
        inserts: u64,
        now: i64,
        /// The time that `advance` last reached; what is due later need not be popped yet.
        advanced: i64,
    }

    impl Model {
        fn new(size: usize) -> Self {
            let nodes: Box<[TimerNode]> = (0..size).map(|_| TimerNode::new()).collect();
            Model {
                base: Box::into_raw(nodes).cast(),
                size,
                queue: TimerQueue::new(),
                queued: BTreeMap::new(),
                keys: vec![None; size],
                inserts: 0,
                now: 0,
                advanced: 0,
            }
        }

        fn node(&self, index: usize) -> *mut TimerNode {
            assert!(index < self.size);
            self.base.wrapping_add(index)
        }

        fn index(&self, node: *mut TimerNode) -> usize {
            // SAFETY: all nodes that the queue knows are the model's.
            unsafe { node.offset_from(self.base) as usize }
        }

        fn insert(&mut self, index: usize, expiry: i64) -> bool {
            let node = self.node(index);
            // SAFETY: the node is not queued and lives as long as the model.
            let news = unsafe {
                assert!(!(*node).is_queued());
                let news = self.queue.insert(node, expiry);
                assert!((*node).is_queued());
                assert_eq!((*node).expiry(), expiry);
                news
            };
            let key = (expiry, self.inserts);
            self.inserts += 1;
            self.queued.insert(key, index);
            self.keys[index] = Some(key);
            news
        }

        fn remove(&mut self, index: usize) {
            let key = self.keys[index].take().unwrap();
            assert_eq!(self.queued.remove(&key), Some(index));
            // SAFETY: the model says that it is queued.
            unsafe {
                self.queue.remove(self.node(index));
                assert!(!(*self.node(index)).is_queued());
            }
        }

        fn first(&self) -> Option<i64> {
            self.queued.first_key_value().map(|(key, _)| key.0)
        }

        /// Pops one and checks that it is the right one; false when there was none.
        fn pop(&mut self) -> bool {
            // SAFETY: all nodes are alive.
            let popped = unsafe { self.queue.pop_due(self.now) };
            let due = self.queued.first_key_value().map(|(k, i)| (*k, *i));
            let mut due = due.filter(|(key, _)| key.0 <= self.now);
            if self.queue.is_draining() {
                due = None;
            } else if popped.is_none() {
                due = due.filter(|(key, _)| key.0 <= self.advanced);
            }
            assert_eq!(popped.map(|node| self.index(node)), due.map(|(_, i)| i));
            if let Some((key, index)) = due {
                self.queued.remove(&key);
                self.keys[index] = None;
                // SAFETY: as above.
                assert!(!unsafe { (*self.node(index)).is_queued() });
            }
            due.is_some()
        }

        /// Advances within `budget`; returns what it cost.
        fn advance(&mut self, budget: usize) -> usize {
            let mut left = budget;
            self.queue.advance(self.now, &mut left);
            assert!(left <= budget);
            if self.queue.is_draining() {
                assert_eq!(left, 0, "stopped with budget left");
                assert!(self.queue.wake_at().unwrap() <= self.now);
            } else {
                self.advanced = self.now;
            }
            budget - left
        }

        fn finish(&mut self) {
            while self.queue.is_draining() {
                self.advance(1 << 20);
            }
        }

        fn check_wake_at(&mut self) {
            let wake_at = self.queue.wake_at();
            assert_eq!(wake_at.is_some(), !self.queued.is_empty());
            assert!(wake_at <= self.first(), "{wake_at:?} {:?}", self.first());
            assert_eq!(self.queue.len(), self.queued.len());
            assert_eq!(self.queue.is_empty(), self.queued.is_empty());
        }

        /// Checks every slot, bitmap and bound.
        fn check_structure(&self) {
            let queue = &self.queue;
            let mut in_wheel = 0;
            let mut lowest = i64::MIN;
            for word in 0..SLOTS / WORD {
                let occupied = queue.occupied[word];
                assert_eq!(queue.words >> word & 1 == 1, occupied != 0, "word {word}");
                for bit in 0..WORD {
                    let place = (word * WORD + bit) as u16;
                    let slot = queue.slot(place);
                    let set = occupied >> bit & 1 == 1;
                    assert_eq!(set, !slot.head.is_null());
                    assert!(set || slot.earliest == i64::MAX);
                    let (mut node, mut prev) = (slot.head, ptr::null_mut());
                    let mut highest = lowest;
                    while !node.is_null() {
                        // SAFETY: nodes in the wheel are alive.
                        let n = unsafe { &*node };
                        assert_eq!((n.prev, n.place), (prev, place));
                        assert!(n.expiry >= slot.earliest);
                        if place != queue.draining {
                            assert!(n.expiry >> TICK_BITS > queue.cur_tick);
                            assert!(n.expiry > lowest, "slots out of order");
                            highest = highest.max(n.expiry);
                        }
                        in_wheel += 1;
                        prev = node;
                        node = n.next;
                    }
                    lowest = highest;
                }
            }
            let near = (0..self.size)
                // SAFETY: the node is the model's.
                .filter(|i| unsafe { (*self.node(*i)).place } == NEAR)
                .count();
            assert_eq!(in_wheel + near, queue.len());
        }
    }

    impl Drop for Model {
        fn drop(&mut self) {
            let nodes = ptr::slice_from_raw_parts_mut(self.base, self.size);
            // SAFETY: `new` made this box; nobody looks at the nodes any more.
            drop(unsafe { Box::from_raw(nodes) });
        }
    }

    /// A million random operations; what is removed lies in every kind of place.
    #[test]
    fn agrees_with_a_sorted_map_over_a_million_operations() {
        const ROUNDS: u64 = 400;
        const STEPS: u64 = 2_500;
        const NODES: u64 = 300;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut removed = BTreeMap::<&str, usize>::new();
        let (mut popped, mut unfinished, mut deepest) = (0, 0, 0);
        for round in 0..ROUNDS {
            let mut model = Model::new(NODES as usize);
            // Small spans crowd the near end, large ones reach the far end of time.
            let bits = 14 + random.below(49);
            model.now = random.span(bits);
            for step in 0..STEPS {
                let index = random.below(NODES) as usize;
                match random.below(16) {
                    0..8 if model.keys[index].is_none() => {
                        let expiry = match random.below(8) {
                            0 => model.now.saturating_add(random.span(8)),
                            1 => model.now.saturating_sub(random.span(62)),
                            // An expiry that another one has already.
                            2 | 3 => model.queued.keys().nth(index / 8).map_or(0, |k| k.0),
                            _ => model.now.saturating_add(random.span(bits)),
                        };
                        model.insert(index, expiry.min(i64::MAX - 1));
                    }
                    0..8 => {
                        // SAFETY: the node is the model's.
                        let n = unsafe { &*model.node(index) };
                        let kind = match n.place {
                            NEAR if n.prev.is_null() => "root",
                            NEAR => "heap",
                            place if place == model.queue.draining => "pending",
                            _ => match (n.prev.is_null(), n.next.is_null()) {
                                (true, true) => "alone",
                                (true, false) => "head",
                                (false, false) => "middle",
                                (false, true) => "tail",
                            },
                        };
                        deepest =
                            deepest.max(if n.place < NEAR { level_of_slot(n.place) } else { 0 });
                        *removed.entry(kind).or_default() += 1;
                        model.remove(index);
                    }
                    8..10 => {
                        model.now = model.now.saturating_add(random.span(bits) / 256);
                    }
                    10..13 => {
                        let budget = random.below(5) as usize;
                        model.advance(budget);
                        unfinished += usize::from(model.queue.is_draining());
                    }
                    13 if random.below(64) == 0 => {
                        // Up to the next wake-up: all that is due comes, then the next lies ahead.
                        if let Some(at) = model.queue.wake_at() {
                            model.now = model.now.max(at);
                        }
                        model.advance(usize::MAX);
                        while model.pop() {
                            popped += 1;
                        }
                        let next = model.queue.wake_at();
                        assert!(next.is_none_or(|at| at > model.now), "busy loop");
                    }
                    _ => popped += usize::from(model.pop()),
                }
                model.check_wake_at();
                if step % 64 == round % 64 {
                    model.check_structure();
                }
            }
            // To the end of time, where nothing may be left.
            model.now = i64::MAX - 1;
            model.advance(usize::MAX);
            while model.pop() {}
            assert!(model.queue.is_empty() && model.queued.is_empty());
            assert_eq!(model.queue.wake_at(), None);
        }
        for kind in ["root", "heap", "pending", "alone", "head", "middle", "tail"] {
            assert!(removed.get(kind).is_some_and(|n| *n > 500), "{removed:?}");
        }
        assert!(popped > 50_000 && unfinished > 5_000 && deepest >= 6);
    }

    #[test]
    fn equal_expiries_fire_in_start_order_from_everywhere() {
        // From a slot, from a slot of a high level in several steps, and straight from the heap.
        for expiry in [-5, 0, 10 * TICK + 7, (TICK << 40) + 3] {
            let mut model = Model::new(64);
            for index in 0..40 {
                model.insert(index, expiry);
            }
            for index in (0..40).step_by(3) {
                model.remove(index);
            }
            model.now = expiry - 1;
            model.advance(usize::MAX);
            assert!(!model.pop());
            for index in 40..64 {
                model.insert(index, expiry);
            }
            model.now = expiry;
            model.advance(usize::MAX);
            let mut fired = 0;
            while model.pop() {
                fired += 1;
            }
            assert_eq!(fired, 64 - 14);
        }
    }

    #[test]
    fn never_early_and_never_late_at_each_edge() {
        let mut model = Model::new(1);
        for shift in 0..62 {
            for offset in [-TICK, -1, 0, 1, TICK] {
                let expiry = model.now.max((1i64 << shift).saturating_add(offset));
                model.insert(0, expiry);
                // Follow the wake-ups, as the owner does; each is at most the expiry.
                let mut wakes = 0;
                loop {
                    let at = model.queue.wake_at().unwrap();
                    assert!(at <= expiry);
                    model.now = model.now.max(at);
                    model.advance(usize::MAX);
                    wakes += 1;
                    if model.pop() {
                        break;
                    }
                }
                assert_eq!((model.now, wakes), (expiry, 1));
            }
        }
    }

    #[test]
    fn h42_the_far_end_is_kept_and_never_early() {
        let mut model = Model::new(3);
        for (index, expiry) in [i64::MAX - 1, i64::MAX - 2, i64::MIN].into_iter().enumerate() {
            model.insert(index, expiry);
        }
        model.advance(usize::MAX);
        assert!(model.pop());
        assert!(!model.pop());
        assert_eq!(model.queue.wake_at(), Some(i64::MAX - 2));
        model.now = i64::MAX - 3;
        model.advance(usize::MAX);
        assert!(!model.pop());
        assert_eq!(model.queue.wake_at(), Some(i64::MAX - 2));
        model.now = i64::MAX - 2;
        model.advance(usize::MAX);
        assert!(model.pop());
        assert!(!model.pop());
        model.now = i64::MAX - 1;
        assert!(model.pop());
        assert_eq!(model.queue.wake_at(), None);
    }

    #[test]
    fn h44_a_turn_is_bounded_however_many_are_due() {
        const COUNT: usize = 20_000;
        let mut model = Model::new(COUNT + 1);
        for index in 0..COUNT {
            model.insert(index, (1 << 40) + (index % 1000) as i64);
        }
        model.now = 2 << 40;
        let mut turns = 0;
        while model.advance(128) == 128 {
            turns += 1;
            if model.queue.is_draining() {
                // Half done: nothing fires yet, not even what is in the heap, and the owner is told
                // to come back at once.
                assert!(!model.pop());
                assert!(model.queue.wake_at().unwrap() <= model.now);
            }
        }
        assert_eq!(turns, COUNT / 128);
        // Due nodes moved once, although they were several levels up.
        assert!(!model.queue.is_draining());
        // A timer of 0 ns that is started again and again comes after all that were due before it.
        model.insert(COUNT, model.now);
        for _ in 0..COUNT {
            assert!(model.pop());
        }
        assert_eq!(model.keys.iter().filter(|key| key.is_some()).count(), 1);
        assert!(model.keys[COUNT].is_some());
        for _ in 0..1000 {
            assert!(model.pop());
            assert!(!model.pop());
            model.insert(COUNT, model.now);
            assert_eq!(model.advance(128), 0, "a due timer needs no move");
        }
    }

    #[test]
    fn h44_what_is_not_due_moves_at_most_once_a_level() {
        let mut random = Random(7);
        let mut model = Model::new(2000);
        for index in 0..2000 {
            model.insert(index, 1 + random.span(62));
        }
        let (mut cost, mut fired) = (0, 0);
        while let Some(at) = model.queue.wake_at() {
            model.now = model.now.max(at);
            cost += model.advance(usize::MAX);
            while model.pop() {
                fired += 1;
            }
        }
        assert_eq!(fired, 2000);
        assert!(cost <= 2000 * LEVELS as usize, "{cost}");
    }

    #[test]
    fn h44_a_slot_that_empties_while_half_done_holds_nothing_up() {
        let mut model = Model::new(10);
        for index in 0..9 {
            model.insert(index, 100 * TICK + index as i64);
        }
        model.now = 200 * TICK;
        assert_eq!(model.advance(4), 4);
        assert!(model.queue.is_draining() && !model.pop());
        for index in 0..9 {
            // SAFETY: the node is the model's.
            if unsafe { (*model.node(index)).place } != NEAR {
                model.remove(index);
            }
        }
        assert!(!model.queue.is_draining());
        model.check_wake_at();
        model.insert(9, 300 * TICK);
        let mut fired = 0;
        while model.pop() {
            fired += 1;
        }
        assert_eq!(fired, 4);
        assert_eq!(model.queue.wake_at(), Some(300 * TICK));
        // One that comes while a slot is half done and belongs before it fires before it.
        for index in 0..4 {
            model.insert(index, 400 * TICK);
        }
        model.now = 500 * TICK;
        model.advance(1);
        model.advance(1);
        assert!(model.queue.is_draining());
        assert!(!model.insert(4, 350 * TICK), "told to go on at once already");
        model.check_wake_at();
        assert!(model.queue.wake_at().unwrap() <= 350 * TICK);
        model.finish();
        model.advance(usize::MAX);
        while model.pop() {}
        assert!(model.queue.is_empty());
    }

    /// An owner that re-arms its timerfd only when insert says so, and after the timerfd has fired.
    #[test]
    fn h46_rearming_only_when_told_is_enough_and_rare() {
        let mut random = Random(99);
        let mut model = Model::new(200);
        let mut armed: Option<i64> = None;
        let mut fired = 0;
        for _ in 0..200_000 {
            let index = random.below(200) as usize;
            match random.below(4) {
                0 | 1 if model.keys[index].is_none() => {
                    let expiry = model.now + random.span(36);
                    if model.insert(index, expiry) {
                        armed = model.queue.wake_at();
                    }
                }
                0 | 1 => model.remove(index),
                _ => {
                    model.now += random.span(30);
                    if armed.is_some_and(|at| at <= model.now) {
                        model.advance(1 + random.below(40) as usize);
                        for _ in 0..random.below(8) {
                            fired += usize::from(model.pop());
                        }
                        // Timers that callbacks start, before the fd is armed again.
                        if model.keys[index].is_none() {
                            let expiry = model.now + random.span(20);
                            model.insert(index, expiry);
                        }
                        armed = model.queue.wake_at();
                    }
                }
            }
            if let Some(first) = model.first() {
                assert!(armed.is_some_and(|at| at <= first), "sleeps too long");
            }
        }
        assert!(fired > 1000);

        // Resets to a later expiry: told once, never again.
        let mut model = Model::new(2);
        assert!(model.insert(0, 1000 * TICK));
        assert_eq!(model.queue.wake_at(), Some(1000 * TICK));
        for step in 1..1000 {
            model.remove(0);
            assert!(!model.insert(0, (1000 + step) * TICK));
        }
        assert!(model.insert(1, 5));
        model.remove(1);
        assert!(!model.insert(1, 6), "said already");
        // Once the wake-up has come, the next timer is news, also before wake_at was asked again.
        model.now = 5;
        model.advance(usize::MAX);
        model.remove(1);
        assert!(model.insert(1, 7));
        assert_eq!(model.queue.wake_at(), Some(7));
    }
}
