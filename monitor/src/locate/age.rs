//! How old a database may be: networks move, some 1 to 3 in a hundred in four months.

use super::{Database, Locator};
use crate::event::Timestamp;

const DAY: u64 = 86_400;
/// Days after which a newer database is asked for.
pub const WARN_AFTER: u64 = 90;
/// Days after which a database is stale. It goes on being used: an old one beats none.
pub const STALE_AFTER: u64 = 180;

/// By days since the date of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    Aging { days: u64 },
    Stale { days: u64 },
}

impl Database {
    /// Since the date of the data.
    pub fn days(&self, now: Timestamp) -> u64 {
        now.secs().saturating_sub(self.built_at.secs()) / DAY
    }

    /// A date in the future is as fresh as today's: clocks are wrong more often than databases.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        match self.days(now) {
            days @ STALE_AFTER.. => Freshness::Stale { days },
            days @ WARN_AFTER.. => Freshness::Aging { days },
            _ => Freshness::Fresh,
        }
    }

    /// What to tell people of its age; `None` while it is fresh.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let (word, days) = match self.freshness(now) {
            Freshness::Fresh => return None,
            Freshness::Aging { days } => ("old", days),
            Freshness::Stale { days } => ("old and stale", days),
        };
        let what = if self.is_own {
            "`geofenced databases update` takes a newer one, else update geofenced"
        } else {
            "get a newer one from its vendor"
        };
        let label = self.label;
        Some(format!("the {label} database is {days} days {word} ({self}); {what}"))
    }
}

impl Locator {
    /// What to tell people of the databases, a line each: those that are old, and those that are passed over.
    pub fn warnings(&self, now: Timestamp) -> impl Iterator<Item = String> {
        let old = self.databases().iter().filter_map(move |it| it.warning(now));
        old.chain(self.passed_over().iter().cloned())
    }
}

impl Freshness {
    pub const fn is_stale(self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// `fresh`, `aging` or `stale`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Aging { .. } => "aging",
            Self::Stale { .. } => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_asked_to_be_replaced_at_90_days_and_stale_at_180() {
        let built_at = Timestamp::from_secs(1_790_812_800);
        let database = Database {
            label: "country",
            name: "Test".to_owned(),
            path: None,
            is_own: true,
            built_at,
            sha256: [0; 32],
            notice: None,
        };
        let after = |seconds: u64| Timestamp::from_secs(built_at.secs() + seconds);
        let expected = [
            (after(0), Freshness::Fresh),
            (Timestamp(0), Freshness::Fresh),
            (after(90 * DAY - 1), Freshness::Fresh),
            (after(90 * DAY), Freshness::Aging { days: 90 }),
            (after(180 * DAY - 1), Freshness::Aging { days: 179 }),
            (after(180 * DAY), Freshness::Stale { days: 180 }),
        ];
        for (now, freshness) in expected {
            assert_eq!(database.freshness(now), freshness, "{now:?}");
            assert_eq!(database.warning(now).is_none(), freshness == Freshness::Fresh);
        }
        let warning = database.warning(after(200 * DAY)).unwrap();
        assert!(warning.contains("200 days old and stale") && !warning.contains('\n'), "{warning}");
    }
}
