//! How many attempts live, by user: what is only attempted costs the watched nothing, and must not
//! fill anything here. Counts only.

use rustc_hash::FxHashMap;

/// Attempts of one user that wait for their packet, or for more to be told of them. Each further one is
/// told at once.
const OF_USER_MAX: usize = 8_192;
/// Of all users that many times as many.
const USERS: usize = 4;
/// Who has memory for few flows has for few attempts, but for so many of a user.
pub(super) const OF_USER_LEAST: usize = 256;

#[derive(Debug)]
pub(super) struct Attempts {
    by_user: FxHashMap<u32, usize>,
    all: usize,
    of_user_max: usize,
}

impl Attempts {
    /// `capacity`: flows the kernel can count.
    pub(super) fn new(capacity: u32) -> Self {
        let of_user_max = (capacity as usize / 32).clamp(OF_USER_LEAST, OF_USER_MAX);
        Self { by_user: FxHashMap::default(), all: 0, of_user_max }
    }

    pub(super) fn clear(&mut self) {
        self.by_user.clear();
        self.all = 0;
    }

    pub(super) fn begin(&mut self, whose: Option<u32>) {
        if let Some(whose) = whose {
            *self.by_user.entry(whose).or_default() += 1;
            self.all += 1;
        }
    }

    pub(super) fn end(&mut self, whose: Option<u32>) {
        if let Some(whose) = whose
            && let Some(count) = self.by_user.get_mut(&whose)
        {
            *count -= 1;
            self.all -= 1;
            if *count == 0 {
                self.by_user.remove(&whose);
            }
        }
    }

    fn of(&self, whose: u32) -> usize {
        self.by_user.get(&whose).copied().unwrap_or_default()
    }

    /// No more of this user are kept.
    pub(super) fn is_full(&self, whose: u32) -> bool {
        self.of(whose) >= self.of_user_max || self.all >= USERS * self.of_user_max
    }

    /// Those that were told are not kept.
    pub(super) fn are_many(&self, whose: u32) -> bool {
        self.of(whose) >= self.of_user_max / 2 || self.all >= USERS * self.of_user_max / 2
    }
}
