//! When the reactor looks at levels that may still hold: a look is a system call.

/// Turns that a look may be put off for while others have events.
const MAX_PERIOD: u32 = 16;
/// Turns that begin with a look because one that was put off was not worth it.
const MAX_PROMPT: u32 = 64;

/// When to look.
pub enum When {
    /// Nothing to look at.
    Never,
    /// When this turn finds nothing else.
    Later,
    /// In this turn, after the kernel was asked: what it tells of by itself need not be looked at.
    Now,
    /// Before the kernel is asked; if there is nothing, it may block at once.
    Peek,
    /// Before the kernel is asked, which is then told to tell.
    First,
}

/// Decides when. Looks that find nothing become rarer while there are other events, those that find
/// something are made each turn; and where putting off was in vain (the kernel had no event either, so it
/// cost a second visit) it is not tried for a while.
pub struct Pace {
    /// Turns since the last look, and how many there may be.
    age: u32,
    period: u32,
    /// Turns that still begin with a look, and how many there will be next time.
    prompt: u32,
    next_prompt: u32,
    /// Something was left after the kernel was asked: next time it is not asked first. Every other time at
    /// the most, or new events would pass for what was left.
    left: bool,
}

impl Pace {
    /// Nothing is known yet.
    pub const fn new() -> Self {
        Pace { age: 0, period: 1, prompt: 0, next_prompt: 1, left: false }
    }

    /// When this turn looks.
    pub fn plan(&mut self) -> When {
        if std::mem::take(&mut self.left) {
            return When::First;
        }
        if self.prompt > 0 {
            self.prompt -= 1;
            return When::Peek;
        }
        if self.age >= self.period {
            return When::Now;
        }
        self.age += 1;
        When::Later
    }

    /// A look was taken; `asked` says whether the kernel was asked before.
    pub fn looked(&mut self, found: bool, asked: bool) {
        self.age = 0;
        self.period = if found { 0 } else { (self.period * 2).clamp(1, MAX_PERIOD) };
        self.left = found && asked;
    }

    /// A look was put off, in vain where the kernel had nothing else.
    pub fn put_off(&mut self, in_vain: bool) {
        if in_vain {
            self.prompt = self.next_prompt;
            self.next_prompt = (self.next_prompt * 2).min(MAX_PROMPT);
        } else {
            self.next_prompt = 1;
        }
    }

    /// Something was found before the kernel was asked: putting off may pay.
    pub fn stop_prompt(&mut self) {
        self.prompt = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn looks_that_find_nothing_become_rare() {
        let mut pace = Pace::new();
        let mut turns = |found: bool, asked: bool| {
            let mut turns = 0;
            while matches!(pace.plan(), When::Later) {
                pace.put_off(false);
                turns += 1;
            }
            pace.looked(found, asked);
            turns
        };
        assert_eq!([turns(false, true), turns(false, true), turns(false, true)], [1, 2, 4]);
        assert_eq!([turns(false, true), turns(false, true), turns(true, true)], [8, 16, 16]);
        assert_eq!([turns(true, false), turns(false, true), turns(false, true)], [0, 0, 1]);
    }

    #[test]
    fn what_is_left_is_looked_at_first_every_other_time_at_most() {
        let mut pace = Pace::new();
        pace.looked(true, true);
        assert!(matches!(pace.plan(), When::First));
        pace.looked(true, false);
        assert!(matches!(pace.plan(), When::Now));
    }

    #[test]
    fn putting_off_in_vain_is_not_tried_for_a_while() {
        let mut pace = Pace::new();
        let mut prompt = 0;
        for _ in 0..200 {
            match pace.plan() {
                When::Later => pace.put_off(true),
                _ => prompt += 1,
            }
            pace.looked(false, true);
        }
        assert!(prompt > 180);
    }
}
