//! The word that a descriptor shares with the reactor: the epoch of the registration, the ready bits of each
//! direction, which of them somebody wants, whether the descriptor is queued, and a count of edges.
//!
//! A ready bit means "the kernel may have something": it is set at first and by edges, and cleared when a system
//! call has found that there is nothing left. So a clear bit says that the direction is drained since, and an
//! operation that meets it parks without a system call.
//!
//! An edge that comes during such a call must not be lost. So every edge changes the word, by the count, also where
//! its bits are set already: who was told "nothing left" clears the bit only if the word's count is the one that
//! was read before the call. A transfer that leaves the bit as it is costs no atomic change at all.

use super::descriptor::Dir;
use super::sync::{AtomicU64, Ordering};
use crate::sys::epoll;

const READY_READ: u64 = 1;
const READY_WRITE: u64 = 1 << 1;
const WANT_READ: u64 = 1 << 2;
const WANT_WRITE: u64 = 1 << 3;
/// In a run queue; set by who pushes it, cleared by who pops it.
const QUEUED: u64 = 1 << 4;
/// The peer's end, an error or urgent data was seen: a short transfer proves nothing any more, since
/// the edge that told of it is past.
const HUNG: u64 = 1 << 5;
/// One edge. The count goes round within the word's lower half: a system call that is overtaken by a whole round of
/// them, each a turn of the reactor, would have to last for minutes and end at the very number.
const EDGE: u32 = 1 << 6;
const EPOCH: u32 = 32;

impl Dir {
    const fn ready(self) -> u64 {
        match self {
            Dir::Read => READY_READ,
            Dir::Write => READY_WRITE,
        }
    }

    const fn want(self) -> u64 {
        match self {
            Dir::Read => WANT_READ,
            Dir::Write => WANT_WRITE,
        }
    }
}

/// The word as it was at some moment.
#[derive(Clone, Copy)]
pub(super) struct Seen(u64);

impl Seen {
    /// The direction may have something.
    #[inline]
    pub(super) fn is_ready(self, dir: Dir) -> bool {
        self.0 & dir.ready() != 0
    }

    /// An operation of the direction waits.
    #[inline]
    pub(super) fn is_wanted(self, dir: Dir) -> bool {
        self.0 & dir.want() != 0
    }

    /// Short transfers prove nothing.
    #[inline]
    pub(super) fn is_hung(self) -> bool {
        self.0 & HUNG != 0
    }

    /// No edge between the two, nor another registration.
    #[inline]
    fn has_edges_of(self, other: u64) -> bool {
        (self.0 ^ other) >> EDGE.trailing_zeros() == 0
    }
}

/// The directions that are to be driven.
#[derive(Clone, Copy)]
pub(super) struct Due(u64);

impl Due {
    #[inline]
    pub(super) fn has(self, dir: Dir) -> bool {
        self.0 & dir.ready() != 0
    }
}

/// See the module. All but [`Readiness::edge`] is called under the descriptor's lock.
pub(super) struct Readiness(AtomicU64);

impl Readiness {
    /// Of no registration.
    #[allow(clippy::missing_const_for_fn, reason = "loom's atomics have no const constructor")]
    pub(super) fn new() -> Self {
        Readiness(AtomicU64::new(0))
    }

    /// The word now. To be read before the system call whose answer is told to [`Readiness::drained`].
    #[inline]
    pub(super) fn see(&self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Of the registration, for the reactor's events.
    pub(super) fn epoch(&self) -> u32 {
        (self.0.load(Ordering::Relaxed) >> EPOCH) as u32
    }

    #[inline]
    fn change(&self, change: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let next = change(word)?;
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(word),
                Err(now) => word = now,
            }
        }
    }

    /// An edge from the kernel. True when the descriptor must be queued: somebody wants what is ready
    /// (H14) and it is not queued yet. An event of an earlier registration changes nothing.
    #[inline]
    pub(super) fn edge(&self, epoch: u32, events: u32) -> bool {
        let mut bits = 0;
        if events & (epoll::IN | epoll::PRI | epoll::RDHUP | epoll::HUP | epoll::ERR) != 0 {
            bits |= READY_READ;
        }
        if events & (epoll::OUT | epoll::HUP | epoll::ERR) != 0 {
            bits |= READY_WRITE;
        }
        if events & (epoll::PRI | epoll::RDHUP | epoll::HUP | epoll::ERR) != 0 {
            bits |= HUNG;
        }
        // WANT bits are the READY bits shifted by two.
        let is_wanted = |word: u64| word & (word >> 2) & (READY_READ | READY_WRITE) != 0;
        let next = |word: u64| {
            let counted = u64::from((word as u32).wrapping_add(EDGE)) | bits;
            let next = word & !u64::from(u32::MAX) | counted;
            if is_wanted(next) { next | QUEUED } else { next }
        };
        let of_this = |word: u64| word >> EPOCH == u64::from(epoch);
        let before = self.change(|word| of_this(word).then(|| next(word)));
        before.is_some_and(|word| word & QUEUED == 0 && next(word) & QUEUED != 0)
    }

    /// Starts a new epoch: events of the registration before find nothing any more. Whether it is
    /// queued stays as it is, in the same step (H10). `ready` is what is assumed of both directions.
    pub(super) fn renew(&self, ready: bool) {
        let bits = if ready { READY_READ | READY_WRITE } else { 0 };
        self.change(|word| {
            let epoch = ((word >> EPOCH) + 1) & u64::from(u32::MAX);
            Some(epoch << EPOCH | word & QUEUED | bits)
        });
    }

    /// The system call that began after `seen` has found the direction drained, and it is wanted from here on if
    /// `want` says so. False when an edge has come since: it may have something again.
    #[inline]
    pub(super) fn drained(&self, dir: Dir, seen: Seen, want: bool) -> bool {
        let wanted = if want { dir.want() } else { 0 };
        let next = |word: u64| word & !(dir.ready() | dir.want()) | wanted;
        self.change(|word| seen.has_edges_of(word).then(|| next(word))).is_some()
    }

    /// An operation is complete. The system call that began after `seen` has found that there is nothing left, or else
    /// there may be more.
    #[inline]
    pub(super) fn settle(&self, dir: Dir, seen: Seen, is_drained: bool) {
        if is_drained == seen.is_ready(dir) {
            self.resettle(dir, seen);
        }
    }

    #[inline(never)]
    fn resettle(&self, dir: Dir, seen: Seen) {
        if seen.is_ready(dir) {
            self.drained(dir, seen, false);
        } else {
            self.assume(dir);
        }
    }

    /// An operation of a drained direction waits for an edge; false when one has come since `seen`.
    #[inline]
    pub(super) fn want(&self, dir: Dir, seen: Seen) -> bool {
        self.drained(dir, seen, true)
    }

    /// Nothing waits in this direction any more.
    #[inline]
    pub(super) fn unwant(&self, dir: Dir) {
        self.0.fetch_and(!dir.want(), Ordering::AcqRel);
    }

    /// A read waits for the connection. What it waits for is not known to be there; but when the connection is, it
    /// is to be asked for.
    pub(super) fn await_connect(&self, dir: Dir) {
        self.0.fetch_or(dir.ready() | dir.want(), Ordering::AcqRel);
    }

    /// Makes the next operation ask the kernel, whatever is known of the direction.
    #[inline]
    pub(super) fn assume(&self, dir: Dir) {
        self.0.fetch_or(dir.ready(), Ordering::AcqRel);
    }

    /// Only an edge from now on says that the direction is ready.
    pub(super) fn forget(&self, dir: Dir) {
        self.0.fetch_and(!dir.ready(), Ordering::AcqRel);
    }

    /// The operation is to be driven by a thread inside run; true when the descriptor must be queued for that.
    pub(super) fn request(&self, dir: Dir) -> bool {
        self.0.fetch_or(dir.ready() | dir.want() | QUEUED, Ordering::AcqRel) & QUEUED == 0
    }

    /// The descriptor was popped; what is wanted and ready, as the answer has it, is to be driven: it is wanted no
    /// more. `clear` has it be ready no more, too, where a call is likely to find little: the answer says so then.
    #[inline]
    pub(super) fn popped(&self, clear: bool) -> (Due, Seen) {
        let due = |word: u64| word & (word >> 2) & (READY_READ | READY_WRITE);
        let next = |word: u64| {
            let due = due(word);
            word & !(QUEUED | due << 2 | if clear { due } else { 0 })
        };
        let before = self.change(|word| Some(next(word))).unwrap_or(0);
        (Due(due(before)), Seen(next(before)))
    }

    /// It is in a queue, or about to be.
    pub(super) fn is_queued(&self) -> bool {
        self.0.load(Ordering::Acquire) & QUEUED != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn wanting(dir: Option<Dir>) -> (Readiness, u32) {
        let readiness = Readiness::new();
        readiness.renew(false);
        if let Some(dir) = dir {
            assert!(readiness.want(dir, readiness.see()));
        }
        let epoch = readiness.epoch();
        (readiness, epoch)
    }

    #[test]
    fn h22_a_hangup_or_an_error_alone_readies_both_directions() {
        for event in [epoll::HUP, epoll::ERR] {
            for dir in [Dir::Read, Dir::Write] {
                let (readiness, epoch) = wanting(Some(dir));
                assert!(readiness.edge(epoch, event));
                let seen = readiness.see();
                assert!(seen.is_ready(Dir::Read));
                assert!(seen.is_ready(Dir::Write));
                assert!(seen.is_hung());
            }
        }
    }

    #[test]
    fn h11_an_event_of_an_earlier_registration_changes_nothing() {
        let (readiness, epoch) = wanting(None);
        readiness.renew(false);
        assert!(readiness.want(Dir::Read, readiness.see()));
        let before = readiness.see().0;
        assert!(!readiness.edge(epoch, epoll::IN | epoll::HUP));
        assert_eq!(readiness.see().0, before);
        assert!(readiness.edge(epoch + 1, epoll::IN));
    }

    #[test]
    fn h14_what_nobody_waits_for_is_not_queued() {
        let (readiness, epoch) = wanting(Some(Dir::Read));
        assert!(!readiness.edge(epoch, epoll::OUT));
        assert!(readiness.edge(epoch, epoll::IN | epoll::OUT));
        // Queued already: not a second time.
        assert!(!readiness.edge(epoch, epoll::IN));
        // Popped, so that nobody waits until the operation parks again.
        let (due, _) = readiness.popped(true);
        assert!(due.has(Dir::Read) && !due.has(Dir::Write));
        assert!(!readiness.edge(epoch, epoll::IN));
    }

    #[test]
    fn h10_a_new_epoch_keeps_that_it_is_queued() {
        let (readiness, epoch) = wanting(Some(Dir::Read));
        assert!(readiness.edge(epoch, epoll::IN));
        readiness.renew(false);
        assert!(readiness.is_queued());
        assert!(!readiness.edge(epoch + 1, epoll::IN));
    }

    #[test]
    fn an_edge_during_a_system_call_is_kept() {
        let (readiness, epoch) = wanting(None);
        for want in [false, true] {
            readiness.edge(epoch, epoll::IN);
            let seen = readiness.see();
            // Ready already, and again.
            readiness.edge(epoch, epoll::IN);
            assert!(!readiness.drained(Dir::Read, seen, want));
            assert!(readiness.see().is_ready(Dir::Read));
            assert!(readiness.drained(Dir::Read, readiness.see(), false));
            assert!(!readiness.see().is_ready(Dir::Read));
        }
    }

    #[test]
    fn the_count_of_edges_goes_round_alone() {
        let (readiness, epoch) = wanting(Some(Dir::Write));
        readiness.0.fetch_or(u64::from(u32::MAX - (EDGE - 1)), Ordering::Relaxed);
        let before = readiness.see().0;
        assert!(!readiness.edge(epoch, epoll::IN));
        assert_eq!(readiness.epoch(), epoch);
        assert!(readiness.see().is_wanted(Dir::Write));
        assert!(!Seen(before).has_edges_of(readiness.see().0));
    }
}

#[cfg(all(test, loom))]
mod models;
