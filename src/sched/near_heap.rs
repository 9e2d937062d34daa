//! The timers that are due or nearly so: an intrusive leftist heap, ordered by (expiry, seq).
//!
//! A leftist heap is a binary tree in which the way to the right is the shortest way to a missing
//! child: at most log2(n + 1) steps. Every operation walks along that way only, so it costs O(log n)
//! in the worst case, not just on average. That is why it is not a pairing heap: there the first pop
//! after a million inserts touches all million nodes while the owner's lock is held. The tree itself
//! may be as deep as it has nodes; nothing here recurses, and nothing walks down to the left.
#![allow(unsafe_code, reason = "intrusive links between pinned nodes")]

use std::ptr;

/// `TimerNode::place` of a node that is in no queue.
pub(super) const NONE: u16 = u16::MAX;
/// `TimerNode::place` of a node in the near heap; smaller values are slots of the wheel.
pub(super) const NEAR: u16 = u16::MAX - 1;

/// The embedded part of a timer. It must not move while it is queued. In the order of use: what the wheel needs of a
/// node lies together, and what it does without comes first.
#[repr(C)]
pub struct TimerNode {
    /// In a slot: the node after the next, or one that was it once; a hint for the cache. In the heap: the left
    /// child.
    pub(super) child: *mut TimerNode,
    pub(super) expiry: i64,
    /// Counts inserts, so that equal expiries fire in the order in which they were started.
    pub(super) seq: u64,
    /// In a slot: the node before, null for the first. In the heap: the parent, null for the root.
    pub(super) prev: *mut TimerNode,
    /// In a slot: the node after. In the heap: the right child.
    pub(super) next: *mut TimerNode,
    /// `NONE`, `NEAR`, or the slot's place.
    pub(super) place: u16,
    /// In the heap: steps to the nearest missing child, plus one.
    pub(super) rank: u8,
}

// SAFETY: a node outside a queue is plain data; one in a queue is touched only under the queue's lock.
unsafe impl Send for TimerNode {}

impl TimerNode {
    /// A node that is in no queue.
    pub const fn new() -> Self {
        TimerNode {
            expiry: i64::MAX,
            seq: 0,
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
            child: ptr::null_mut(),
            place: NONE,
            rank: 0,
        }
    }

    /// The expiry, in nanoseconds; `i64::MAX` before the first was set.
    #[inline]
    pub fn expiry(&self) -> i64 {
        self.expiry
    }

    /// Sets the expiry of a node that is in no queue.
    #[inline]
    pub fn set_expiry(&mut self, expiry: i64) {
        debug_assert!(!self.is_queued());
        self.expiry = expiry;
    }

    /// True from insert until the node is removed or popped.
    #[inline]
    pub fn is_queued(&self) -> bool {
        self.place != NONE
    }
}

impl Default for TimerNode {
    fn default() -> Self {
        Self::new()
    }
}

/// The heap. It sets `place` of what it takes to `NEAR`; what it gives back, the caller places.
pub(super) struct NearHeap {
    root: *mut TimerNode,
}

impl NearHeap {
    pub(super) const fn new() -> Self {
        NearHeap { root: ptr::null_mut() }
    }

    /// The earliest node, null when empty.
    #[inline]
    pub(super) fn root(&self) -> *mut TimerNode {
        self.root
    }

    /// Adds a node.
    ///
    /// # Safety
    /// `node` is alive, stays where it is, and is linked nowhere.
    #[inline]
    pub(super) unsafe fn insert(&mut self, node: *mut TimerNode) {
        // SAFETY: the caller owns the node; the root is null or in this heap.
        unsafe {
            (*node).prev = ptr::null_mut();
            (*node).next = ptr::null_mut();
            (*node).child = ptr::null_mut();
            (*node).place = NEAR;
            (*node).rank = 1;
            self.root = merge(self.root, node);
        }
    }

    /// Takes a node out, wherever in the heap it is.
    ///
    /// # Safety
    /// `node` is in this heap.
    pub(super) unsafe fn remove(&mut self, node: *mut TimerNode) {
        // SAFETY: every link of a node in the heap leads to a node in the heap.
        unsafe {
            let parent = (*node).prev;
            let rest = merge((*node).child, (*node).next);
            if !rest.is_null() {
                (*rest).prev = parent;
            }
            if parent.is_null() {
                self.root = rest;
                return;
            }
            if (*parent).child == node {
                (*parent).child = rest;
            } else {
                (*parent).next = rest;
            }
            // Above the first node whose rank stays, nothing changes. A rank that falls is then one
            // more than the child's, one that rises was so before: both end after log2(n) steps.
            let mut at = parent;
            while !at.is_null() {
                let old = (*at).rank;
                lean(at);
                if (*at).rank == old {
                    break;
                }
                at = (*at).prev;
            }
        }
    }
}

/// True when `a` fires before `b`.
///
/// # Safety
/// Both are alive.
#[inline]
unsafe fn before(a: *mut TimerNode, b: *mut TimerNode) -> bool {
    // SAFETY: promised by the caller.
    unsafe { ((*a).expiry, (*a).seq) < ((*b).expiry, (*b).seq) }
}

/// The rank of a subtree, 0 for a missing one.
///
/// # Safety
/// `node` is null or alive.
#[inline]
unsafe fn rank(node: *mut TimerNode) -> u8 {
    if node.is_null() {
        return 0;
    }
    // SAFETY: promised by the caller.
    unsafe { (*node).rank }
}

/// Puts the child with the higher rank to the left and sets the node's own rank.
///
/// # Safety
/// `node` and its children are alive.
#[inline]
unsafe fn lean(node: *mut TimerNode) {
    // SAFETY: promised by the caller. Ranks stay below 65: a tree of rank r has 2^r - 1 nodes.
    unsafe {
        let (left, right) = (rank((*node).child), rank((*node).next));
        if left < right {
            std::mem::swap(&mut (*node).child, &mut (*node).next);
        }
        (*node).rank = left.min(right) + 1;
    }
}

/// Makes one tree of two and returns its root, whose parent is null unless it was the only tree.
///
/// # Safety
/// Each is null or the root of a tree of live nodes.
unsafe fn merge(a: *mut TimerNode, b: *mut TimerNode) -> *mut TimerNode {
    if a.is_null() {
        return b;
    }
    if b.is_null() {
        return a;
    }
    // SAFETY: only nodes of the two trees are reached.
    unsafe {
        let (top, mut rest) = if before(b, a) { (b, a) } else { (a, b) };
        (*top).prev = ptr::null_mut();
        // Down the right way of the earlier tree, which changes whenever the other one is earlier.
        let mut at = top;
        loop {
            let right = (*at).next;
            if right.is_null() {
                (*at).next = rest;
                (*rest).prev = at;
                break;
            }
            if before(rest, right) {
                (*at).next = rest;
                (*rest).prev = at;
                at = rest;
                rest = right;
            } else {
                at = right;
            }
        }
        // And back up, to make it the shortest way again.
        while !at.is_null() {
            lean(at);
            at = (*at).prev;
        }
        top
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Checks order, ranks and parents of the whole tree; returns its size.
    fn check(heap: &NearHeap) -> usize {
        let mut stack = vec![(heap.root(), ptr::null_mut::<TimerNode>())];
        let mut size = 0;
        while let Some((node, parent)) = stack.pop() {
            if node.is_null() {
                continue;
            }
            size += 1;
            // SAFETY: the tests keep every node of the heap alive.
            unsafe {
                assert_eq!((*node).prev, parent);
                assert_eq!((*node).place, NEAR);
                assert!(parent.is_null() || before(parent, node));
                assert!(rank((*node).child) >= rank((*node).next));
                assert_eq!((*node).rank, rank((*node).next) + 1);
                stack.push(((*node).child, node));
                stack.push(((*node).next, node));
            }
        }
        size
    }

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn shuffled(count: usize, state: &mut u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, random(state) as usize % (i + 1));
        }
        order
    }

    #[test]
    fn removal_of_root_and_inner_nodes_keeps_the_tree() {
        let mut state = 0x1234_5678_9abc_def1;
        for size in 1..120usize {
            let mut nodes: Vec<TimerNode> = (0..size).map(|_| TimerNode::new()).collect();
            let base = nodes.as_mut_ptr();
            let mut heap = NearHeap::new();
            for i in 0..size {
                // SAFETY: `nodes` neither moves nor dies before the heap is empty.
                unsafe {
                    let node = base.add(i);
                    (*node).expiry = (random(&mut state) % 16) as i64;
                    (*node).seq = i as u64;
                    heap.insert(node);
                }
                assert_eq!(check(&heap), i + 1);
            }
            for (gone, i) in shuffled(size, &mut state).into_iter().enumerate() {
                // SAFETY: each node is removed once.
                unsafe { heap.remove(base.add(i)) };
                assert_eq!(check(&heap), size - gone - 1);
            }
            assert!(heap.root().is_null());
        }
    }

    #[test]
    fn h44_a_million_equal_nodes_need_no_stack_and_few_steps() {
        const COUNT: usize = 1_000_000;
        // Descending, ascending and random order of seq: a chain, a bush and something between.
        let mut state = 77;
        let orders: [Vec<usize>; 3] =
            [(0..COUNT).rev().collect(), (0..COUNT / 8).collect(), shuffled(COUNT / 8, &mut state)];
        let mut nodes: Vec<TimerNode> = (0..COUNT).map(|_| TimerNode::new()).collect();
        let base = nodes.as_mut_ptr();
        for order in orders {
            let mut heap = NearHeap::new();
            let count = order.len();
            for i in order {
                // SAFETY: `nodes` outlives the heap; each node is linked once.
                unsafe {
                    (*base.add(i)).expiry = 5;
                    (*base.add(i)).seq = i as u64;
                    heap.insert(base.add(i));
                }
            }
            // SAFETY: the root is one of `nodes`.
            assert!(unsafe { (*heap.root()).rank } <= 20);
            for i in 0..count {
                // The longest way that a pop walks is the right way of both children.
                let mut steps = 0;
                let root = heap.root();
                // SAFETY: links lead to `nodes` only; the root is in the heap.
                unsafe {
                    assert_eq!(root, base.add(i));
                    for mut at in [(*root).child, (*root).next] {
                        while !at.is_null() {
                            steps += 1;
                            at = (*at).next;
                        }
                    }
                    heap.remove(root);
                }
                assert!(steps <= 40);
            }
            assert!(heap.root().is_null());
        }
    }
}
