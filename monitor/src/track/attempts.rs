//! How many attempts live, by user: what is only attempted costs the watched nothing, and must not
//! fill anything here. Counts only.

use rustc_hash::FxHashMap;

/// Attempts of one user that wait for their packet, or for more to be told of them. Each further one is
/// told at once.
pub(super) const OF_USER_MAX: usize = 8_192;
/// Of all users.
const ALL_MAX: usize = 4 * OF_USER_MAX;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_user: FxHashMap<u32, usize>,
    all: usize,
}

impl Attempts {
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
        self.of(whose) >= OF_USER_MAX || self.all >= ALL_MAX
    }

    /// Those that were told are not kept.
    pub(super) fn are_many(&self, whose: u32) -> bool {
        self.of(whose) >= OF_USER_MAX / 2 || self.all >= ALL_MAX / 2
    }
}
