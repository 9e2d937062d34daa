//! When a thread lets others go first instead of sleeping: while posts wake it again and again within microseconds.
//!
//! With more threads than processors each of those sleeps and wake-ups is paid by the poster, who writes to the
//! eventfd, and by a switch of threads, for a post or two. Who stays runnable finds many at its next turn. But a thread
//! that sleeps is woken sooner than one that waits for its turn: so it is tried in a storm only, and where it was not
//! worth it, since a processor is free or others than the posters run, hardly ever again.

use std::time::{Duration, Instant};

/// Wake-ups no further apart than this belong together.
const APART: Duration = Duration::from_micros(200);
/// So many of them in a row are a storm.
const WAKES: u32 = 8;
/// Posts that are worth it.
const MANY: usize = 64;
/// Wake-ups until it is tried again: doubled from time to time, between these limits.
const REST: (u32, u32) = (64, 16_384);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Others may go first.
    Kept,
    /// They do, since so many were taken.
    Given(usize),
    /// They did: now the thread sleeps.
    Had,
}

/// What is known of the reactor's sleeps.
pub struct Storm {
    wakes: u32,
    last: Option<Instant>,
    way: Way,
    /// Wake-ups for which it is not tried, and how many there will be next time.
    rest: u32,
    next_rest: u32,
}

impl Storm {
    /// Calm.
    pub const fn new() -> Self {
        Storm { wakes: 0, last: None, way: Way::Kept, rest: 0, next_rest: REST.0 }
    }

    /// A sleep was ended by a post.
    #[inline(never)]
    pub fn woken(&mut self, now: impl FnOnce() -> Instant) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let now = now();
        let close = self.last.is_some_and(|last| now - last < APART);
        self.wakes = if close { (self.wakes + 1).min(WAKES) } else { 0 };
        self.last = Some(now);
        self.way = Way::Kept;
    }

    /// Nothing is left to do, after so many ops and calls. True when others are to be let go first.
    #[inline]
    pub fn gives_way(&mut self, taken: usize) -> bool {
        self.wakes == WAKES && self.judge(taken)
    }

    #[cold]
    #[inline(never)]
    fn judge(&mut self, taken: usize) -> bool {
        match self.way {
            Way::Given(before) if taken.wrapping_sub(before) < MANY => {
                self.way = Way::Had;
                self.wakes = 0;
                self.last = None;
                self.rest = self.next_rest;
                self.next_rest = (2 * self.next_rest).min(REST.1);
                return false;
            }
            Way::Given(_) => self.next_rest = REST.0,
            Way::Kept => {}
            Way::Had => return false,
        }
        self.way = Way::Given(taken);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// So many sleeps, each ended by a post after this time.
    fn wake(storm: &mut Storm, at: &mut Instant, count: u32, apart: Duration) {
        for _ in 0..count {
            *at += apart;
            storm.woken(|| *at);
        }
    }

    #[test]
    fn only_wake_ups_in_quick_succession_are_a_storm() {
        let (mut storm, mut at) = (Storm::new(), Instant::now());
        wake(&mut storm, &mut at, 3 * WAKES, APART);
        assert!(!storm.gives_way(0));
        wake(&mut storm, &mut at, WAKES - 1, APART / 2);
        assert!(!storm.gives_way(0));
        wake(&mut storm, &mut at, 1, APART / 2);
        assert!(storm.gives_way(0));
        assert!(storm.gives_way(MANY), "it was worth it");
        assert!(storm.gives_way(2 * MANY));
        wake(&mut storm, &mut at, 1, APART);
        assert!(!storm.gives_way(3 * MANY), "it is over");
    }

    #[test]
    fn where_it_is_not_worth_it_it_is_tried_more_and_more_seldom() {
        let (mut storm, mut at) = (Storm::new(), Instant::now());
        let mut rest = REST.0;
        for _ in 0..20 {
            wake(&mut storm, &mut at, WAKES + 1, APART / 2);
            assert!(storm.gives_way(0));
            assert!(!storm.gives_way(MANY - 1), "now it sleeps");
            wake(&mut storm, &mut at, rest, APART / 2);
            assert!(!storm.gives_way(MANY - 1));
            rest = (2 * rest).min(REST.1);
        }
        wake(&mut storm, &mut at, WAKES + 1, APART / 2);
        assert!(storm.gives_way(0));
        assert!(storm.gives_way(MANY));
        assert!(!storm.gives_way(MANY));
        wake(&mut storm, &mut at, REST.0 + WAKES + 1, APART / 2);
        assert!(storm.gives_way(0), "it was worth it once more");
    }
}
