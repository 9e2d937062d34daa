#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use super::super::sync::Mutex;
use super::*;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

const KIND: u8 = 5;

struct Node {
    head: Head,
    object: Mutex<u64>,
}

// SAFETY: `head` is a field of the entry.
unsafe impl Entry for Node {
    fn head(&self) -> &Head {
        &self.head
    }

    fn vacant() -> Self {
        Node { head: Head::new(), object: Mutex::new(0) }
    }
}

type Nodes = &'static Table<Node>;

fn table() -> Nodes {
    Box::leak(Box::new(Table::new()))
}

fn open(nodes: Nodes) -> Token {
    nodes.publish(nodes.reserve().unwrap(), KIND)
}

fn close(nodes: Nodes, token: Token) -> bool {
    let Some(node) = nodes.find(token) else {
        return false;
    };
    let object = node.object.lock();
    if !node.head.is_live_as(token) {
        return false;
    }
    nodes.kill(node);
    drop(object);
    nodes.recycle(node);
    true
}

/// Steps 1 and 3 of the protocol, each by itself, say the same while no other thread is there.
fn is_good(nodes: Nodes, raw: u64) -> bool {
    let token = Token::from_raw(raw);
    let found = nodes.find(token).is_some();
    let entry = nodes.by_index(token.index());
    let live = entry.is_some_and(|node| node.head.is_live_as(token));
    assert_eq!(found, live, "{raw:#x}");
    found
}

fn token(kind: u64, index: u64, generation: u64) -> u64 {
    LIVE | kind << KIND_SHIFT | index << INDEX_SHIFT | generation << GENERATION_SHIFT
}

/// A small generator of well mixed 64-bit values (splitmix).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn set_generation(node: &Node, generation: u32) {
    let index = Token(node.head.stamp.load(Ordering::Relaxed)).index();
    node.head.stamp.store(dead_stamp(index, generation), Ordering::Relaxed);
}

#[test]
fn a_token_is_made_of_its_fields() {
    let nodes = table();
    for index in 0..5 {
        let made = nodes.publish(nodes.reserve().unwrap(), 31);
        assert_eq!((made.kind(), made.index(), made.generation()), (31, index, 1));
        assert_eq!(made.raw(), token(31, u64::from(index), 1));
        assert_eq!(made.raw() & 1, 1);
        assert!(made == Token::from_raw(made.raw()));
    }
    let most = Token::from_raw(u64::MAX);
    assert_eq!((most.kind(), most.index(), most.generation()), (31, (1 << 28) - 1, (1 << 30) - 1));
}

#[test]
fn find_gives_the_published_entry() {
    let nodes = table();
    let node = nodes.reserve().unwrap();
    assert!(node.head.token().is_none());
    assert!(!is_good(nodes, token(KIND.into(), 0, 1)), "reserved is not live");
    let made = nodes.publish(node, KIND);
    assert!(node.head.token() == Some(made));
    assert!(nodes.find(made).is_some_and(|found| ptr::eq(found, node)));
    assert!(nodes.by_index(0).is_some_and(|found| ptr::eq(found, node)));
}

#[test]
fn forged_tokens_find_nothing() {
    let nodes = table();
    let mut good = HashSet::new();
    for _ in 0..100 {
        good.insert(open(nodes).raw());
    }
    let real = token(KIND.into(), 42, 1);
    assert!(good.contains(&real) && is_good(nodes, real));

    assert!(!is_good(nodes, 0), "NULL");
    assert!(!is_good(nodes, real & !1), "bit 0 clear");
    for kind in 0..32 {
        assert_eq!(is_good(nodes, token(kind, 42, 1)), kind == u64::from(KIND), "kind {kind}");
    }
    for generation in [0, 2, 3, 1 << 29, (1 << 30) - 1] {
        assert!(!is_good(nodes, token(KIND.into(), 42, generation)), "generation {generation}");
    }
    for index in [100, 101, 127, 128, 191, 192, 1 << 20, (1 << 28) - 64, (1 << 28) - 1] {
        assert!(!is_good(nodes, token(KIND.into(), index, 1)), "index {index}");
        assert!(nodes.by_index(index as u32).is_none());
    }
    for index in [1 << 28, u32::MAX - 1, u32::MAX] {
        assert!(nodes.by_index(index).is_none());
    }
    for bit in 0..64 {
        let bent = real ^ (1 << bit);
        assert_eq!(is_good(nodes, bent), good.contains(&bent), "bit {bit}");
    }
    for small in 0..100_000 {
        assert!(!is_good(nodes, small), "small integer {small}");
    }
    let mut state = 1;
    for _ in 0..1_000_000 {
        let raw = random(&mut state);
        assert_eq!(is_good(nodes, raw), good.contains(&raw), "{raw:#x}");
        // The same, but near the real ones.
        let near = real ^ (raw & raw.rotate_left(17) & raw.rotate_left(31));
        assert_eq!(is_good(nodes, near), good.contains(&near), "{near:#x}");
    }
}

#[test]
fn a_dead_entry_has_no_good_token() {
    let nodes = table();
    let made = open(nodes);
    let node = nodes.find(made).unwrap();
    nodes.kill(node);
    assert!(!node.head.is_live_as(made));
    assert!(node.head.token().is_none());
    assert!(!is_good(nodes, made.raw()));
    // The stamp of the dead entry, offered as a token.
    assert!(!is_good(nodes, made.raw() & !1));
    assert!(nodes.find(Token::from_raw(made.raw() & !1)).is_none());
    assert!(!node.head.is_live_as(Token::from_raw(made.raw() & !1)));
    nodes.recycle(node);
    assert!(!is_good(nodes, node.head.stamp.load(Ordering::Relaxed)));
    assert!(!is_good(nodes, token(KIND.into(), 0, 2)), "the next token, before its time");
}

#[test]
fn a_reserved_entry_can_be_given_back_unused() {
    let nodes = table();
    let node = nodes.reserve().unwrap();
    nodes.recycle(node);
    let made = open(nodes);
    assert_eq!((made.index(), made.generation()), (0, 2));
}

#[test]
fn the_last_recycled_entry_comes_first() {
    let nodes = table();
    let made: Vec<Token> = (0..4).map(|_| open(nodes)).collect();
    for index in [1, 3, 2] {
        assert!(close(nodes, made[index]));
        assert!(!close(nodes, made[index]), "closed twice");
    }
    let again: Vec<u32> = (0..4).map(|_| open(nodes).index()).collect();
    assert_eq!(again, [2, 3, 1, 4]);
}

#[test]
fn h11_reuse_keeps_old_tokens_dead() {
    let nodes = table();
    let mut old: Vec<u64> = Vec::new();
    for round in 0..1u32 << 20 {
        let made = open(nodes);
        assert_eq!((made.index(), made.generation()), (0, round + 1));
        assert!(is_good(nodes, made.raw()));
        if round.is_multiple_of(1 << 12) || round < 16 {
            assert!(old.iter().all(|&raw| !is_good(nodes, raw)), "round {round}");
            old.push(made.raw());
        }
        assert!(close(nodes, made));
        assert!(!is_good(nodes, made.raw()));
    }
    assert!(nodes.by_index(1).is_none(), "one entry was enough");
}

#[test]
fn h09_an_entry_retires_when_its_generations_are_used_up() {
    let nodes = table();
    let node = nodes.reserve().unwrap();
    set_generation(node, GENERATION_MAX - 2);
    let mut old = vec![nodes.publish(node, KIND)];
    for generation in [GENERATION_MAX - 1, GENERATION_MAX] {
        assert!(close(nodes, old[old.len() - 1]));
        let made = open(nodes);
        assert_eq!((made.index(), made.generation()), (0, generation));
        assert!(is_good(nodes, made.raw()));
        old.push(made);
    }
    assert!(close(nodes, old[2]));
    for _ in 0..1000 {
        let made = open(nodes);
        assert_ne!(made.index(), 0, "a retired entry came back");
        assert!(old.iter().all(|token| !is_good(nodes, token.raw())));
        assert!(
            !is_good(nodes, token(KIND.into(), 0, 0)) && !is_good(nodes, token(KIND.into(), 0, 1))
        );
        if made.index().is_multiple_of(2) {
            assert!(close(nodes, made));
        }
    }
    // More lives than 2^28 for each entry, as the contract says.
    const { assert!(GENERATION_MAX - GENERATION_FIRST >= 1 << 28) };
}

#[test]
fn growth_keeps_addresses() {
    let nodes = table();
    let count = 10_000u32;
    let made: Vec<(Token, &Node)> = (0..count)
        .map(|index| {
            let node = nodes.reserve().unwrap();
            *node.object.lock() = u64::from(index);
            (nodes.publish(node, KIND), node)
        })
        .collect();
    let mut addresses = HashSet::new();
    for (index, (token, node)) in made.iter().enumerate() {
        assert_eq!(token.index() as usize, index);
        let found = nodes.find(*token).unwrap();
        assert!(ptr::eq(found, *node));
        assert_eq!(*found.object.lock(), index as u64);
        assert_eq!(ptr::from_ref(*node).align_offset(align_of::<Node>()), 0);
        addresses.insert(ptr::from_ref(*node));
    }
    assert_eq!(addresses.len(), count as usize, "two tokens, one entry");
}

#[test]
fn every_index_has_one_place() {
    let mut bucket = 0;
    let mut offset = 0;
    for index in 0..1 << 20 {
        assert_eq!(locate(index), (bucket, offset));
        offset += 1;
        if offset == bucket_size(bucket) {
            bucket += 1;
            offset = 0;
        }
    }
    assert_eq!(locate(CAPACITY - 1), (BUCKETS - 1, bucket_size(BUCKETS - 1) - 1));
    assert_eq!(locate(CAPACITY), (BUCKETS, 0));
    assert_eq!((0..BUCKETS).map(bucket_size).sum::<usize>(), CAPACITY as usize);
}

#[test]
fn no_memory_is_an_error() {
    assert_eq!(allocate::<Node>(1 << 50), Err(OutOfMemory));
    assert_eq!(allocate::<Node>(usize::MAX), Err(OutOfMemory));
}

#[test]
fn no_index_left_is_an_error() {
    let nodes = table();
    let made = open(nodes);
    nodes.used.store(CAPACITY, Ordering::Relaxed);
    assert!(nodes.reserve().is_err());
    assert!(nodes.reserve().is_err());
    // A recycled entry still serves.
    assert!(close(nodes, made));
    assert_eq!(open(nodes).generation(), 2);
    assert!(nodes.reserve().is_err());
}

/// Owners open, mark, check and close their own; thieves use whatever token they saw last.
#[test]
fn h10_threads_open_use_and_close() {
    const OWNERS: u64 = 3;
    const ROUNDS: u64 = 30_000;
    let nodes = table();
    let seen: [AtomicU64; OWNERS as usize] = Default::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let owners: Vec<_> = (1..=OWNERS)
            .map(|owner| {
                let seen = &seen;
                scope.spawn(move || {
                    let mut held: Vec<Token> = Vec::new();
                    let mut closed = 0u64;
                    for round in 0..ROUNDS {
                        let node = nodes.reserve().unwrap();
                        *node.object.lock() = owner;
                        let token = nodes.publish(node, KIND);
                        seen[(owner - 1) as usize].store(token.raw(), Ordering::Relaxed);
                        held.push(token);
                        if round % 7 != 0 || held.len() > 200 {
                            for token in held.drain(held.len() / 2..) {
                                let node = nodes.find(token).unwrap();
                                assert_eq!(*node.object.lock(), owner, "another's object");
                                assert!(close(nodes, token), "closed by someone else");
                                closed += 1;
                            }
                        }
                    }
                    for token in held {
                        assert!(close(nodes, token));
                        closed += 1;
                    }
                    closed
                })
            })
            .collect();
        let thief = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                for (place, raw) in seen.iter().enumerate() {
                    let token = Token::from_raw(raw.load(Ordering::Relaxed));
                    let Some(node) = nodes.find(token) else {
                        continue;
                    };
                    let object = node.object.lock();
                    if node.head.is_live_as(token) {
                        assert_eq!(*object, place as u64 + 1, "a stale token reached another");
                    }
                }
            }
        });
        let closed: u64 = owners.into_iter().map(|owner| owner.join().unwrap()).sum();
        done.store(true, Ordering::Release);
        thief.join().unwrap();
        assert_eq!(closed, OWNERS * ROUNDS);
    });
    let mut index = 0;
    while let Some(node) = nodes.by_index(index) {
        assert!(node.head.token().is_none(), "entry {index} is still live");
        index += 1;
    }
    // All came back to the free list, each once.
    let again: HashSet<u32> = (0..index).map(|_| open(nodes).index()).collect();
    assert_eq!(again.len(), index as usize);
    assert!(again.iter().all(|&free| free < index));
}
