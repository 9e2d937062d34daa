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
            // Up to the end of the hand's tick.
            let reached = self.queue.cur_tick << TICK_BITS | (TICK - 1);
            self.advanced = self.now.min(reached);
            assert!(self.advanced == self.now || self.queue.has_due(self.now));
        }
        budget - left
    }

    /// Pops all that is due; the number.
    fn pop_all(&mut self) -> usize {
        let mut popped = 0;
        loop {
            self.advance(usize::MAX);
            if !self.pop() {
                return popped;
            }
            popped += 1;
        }
    }

    /// Gives a queued node another expiry, in place where the queue can.
    fn put_off(&mut self, index: usize, expiry: i64) -> bool {
        // SAFETY: the node is the model's.
        if !unsafe { self.queue.move_in_place(self.node(index), expiry) } {
            self.remove(index);
            self.insert(index, expiry);
            return false;
        }
        let old = self.keys[index].replace((expiry, self.inserts)).unwrap();
        assert_eq!(self.queued.remove(&old), Some(index));
        self.queued.insert((expiry, self.inserts), index);
        self.inserts += 1;
        true
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
                assert!(
                    !set || place == queue.draining || slot.earliest > lowest,
                    "slots out of order"
                );
                if set && place != queue.draining {
                    lowest = slot.earliest;
                }
                while !node.is_null() {
                    // SAFETY: nodes in the wheel are alive.
                    let n = unsafe { &*node };
                    assert_eq!((n.prev, n.place), (prev, place));
                    assert!(n.expiry >= slot.earliest);
                    if place != queue.draining {
                        assert!(n.expiry >> TICK_BITS > queue.cur_tick);
                    }
                    in_wheel += 1;
                    prev = node;
                    node = n.next;
                }
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
    let (mut popped, mut unfinished, mut deepest, mut put_off) = (0, 0, 0, 0);
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
                0..8 if random.below(2) == 0 => {
                    let later = model.now.saturating_add(random.span(bits));
                    let sooner =
                        model.keys[index].map_or(0, |key| key.0).saturating_sub(random.span(16));
                    let expiry = if random.below(2) == 0 { later } else { sooner };
                    put_off += usize::from(model.put_off(index, expiry.min(i64::MAX - 1)));
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
                    deepest = deepest.max(if n.place < NEAR { level_of_slot(n.place) } else { 0 });
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
                    popped += model.pop_all();
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
        model.pop_all();
        assert!(model.queue.is_empty() && model.queued.is_empty());
        assert_eq!(model.queue.wake_at(), None);
    }
    for kind in ["root", "heap", "pending", "alone", "head", "middle", "tail"] {
        assert!(removed.get(kind).is_some_and(|n| *n > 500), "{removed:?}");
    }
    assert!(put_off > 40_000, "{put_off}");
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
        assert_eq!(model.pop_all(), 64 - 14);
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
    assert_eq!(model.advance(128), 1, "the hand was where the others were due");
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
    model.pop_all();
    assert!(model.queue.is_empty());
}

/// A timeout that is put off at each operation moves about once in the time that it lasts, and fires in time.
#[test]
fn a_timeout_that_is_put_off_again_and_again_hardly_moves() {
    const LASTS: i64 = 1000 * TICK;
    let mut model = Model::new(2);
    model.insert(0, LASTS);
    let (mut moves, mut in_place) = (0, 0);
    for step in 1..=100_000 {
        model.now = step * TICK;
        if model.queue.wake_at().is_some_and(|at| at <= model.now) {
            moves += model.advance(usize::MAX);
            assert!(!model.pop());
        }
        in_place += usize::from(model.put_off(0, model.now + LASTS));
    }
    assert!(moves <= 400 && in_place > 99_000, "{moves} {in_place}");
    // One that is started later for the same moment comes later, and the other way round.
    let at = model.now + LASTS;
    model.insert(1, at);
    assert!(model.put_off(0, at));
    model.now = at - 1;
    assert_eq!(model.pop_all(), 0);
    model.now = at;
    assert_eq!(model.pop_all(), 2);
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
