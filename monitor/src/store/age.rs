//! How long ago each segment ended, at least: by the order of the ledger, by the boot clock within a
//! boot, and from one boot to another by wall clocks that were trusted. What can't be known counts as
//! no time at all: nothing is taken for older than it is. Pure.

use super::ledger::frame::Created;
use crate::{
    clock,
    event::{Moment, Timeline, Timestamp},
};

/// When a segment was begun, as far as it is known.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// `None`: told by a version that did not tell the boot.
    moment: Option<Moment>,
    /// True time, if a trusted clock told it.
    wall: Option<Timestamp>,
}

/// For each beginning how many nanoseconds before `now` it was, at least. `begun` in the order of the
/// ledger.
pub(super) fn ages(begun: &[Created], now: Moment) -> Vec<u64> {
    let mut known: Vec<Known> = begun.iter().copied().map(known).collect();
    known.push(self::known(Created::At(now)));
    date_by_boot(&mut known);
    let mut ages = vec![0; known.len()];
    // True time and age of the next that has one, and of the next such of a later boot.
    let mut dated = known[begun.len()].wall.map(|wall| (wall, 0));
    let mut later_boot = None;
    for at in (0..begun.len()).rev() {
        let (this, next) = (known[at], known[at + 1]);
        if !same_boot(this, next) {
            later_boot = dated;
        }
        let by_order = ages[at + 1] + passed(this, next);
        // From one boot to another only trusted clocks know the way.
        let by_wall = match (this.wall, later_boot) {
            (Some(wall), Some((later, age))) => age + later.0.saturating_sub(wall.0),
            _ => 0,
        };
        ages[at] = by_order.max(by_wall);
        dated = this.wall.map(|wall| (wall, ages[at])).or(dated);
    }
    ages.pop();
    ages
}

fn known(created: Created) -> Known {
    match created {
        Created::At(moment) => {
            let wall = moment.timeline.is_trusted.then(|| moment.wall());
            Known { moment: Some(moment), wall }
        }
        Created::Wall(wall) => {
            Known { moment: None, wall: Some(wall).filter(|wall| *wall >= clock::EARLIEST) }
        }
    }
}

/// What an untrusted clock told is dated by the next trusted moment of its boot, or else by the last
/// one before.
fn date_by_boot(known: &mut [Known]) {
    date_in_order(known.iter_mut().rev());
    date_in_order(known.iter_mut());
}

fn date_in_order<'k>(known: impl Iterator<Item = &'k mut Known>) {
    let mut trusted: Option<Timeline> = None;
    for it in known {
        let Some(Moment { boot_ns, timeline }) = it.moment else { continue };
        if timeline.is_trusted {
            trusted = Some(timeline);
        } else if let Some(by) = trusted.filter(|by| by.boot == timeline.boot) {
            it.wall.get_or_insert(by.wall(boot_ns));
        }
    }
}

fn same_boot(one: Known, other: Known) -> bool {
    let boot = |it: Known| it.moment.map(|it| it.timeline.boot);
    boot(one).is_some() && boot(one) == boot(other)
}

/// At least so much, from the one to the next.
fn passed(this: Known, next: Known) -> u64 {
    let (this_ns, next_ns) =
        (this.moment.map_or(0, |it| it.boot_ns), next.moment.map(|it| it.boot_ns));
    match next_ns {
        Some(next_ns) if same_boot(this, next) => next_ns.saturating_sub(this_ns),
        // Since the next boot began.
        Some(next_ns) => next_ns,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::fake::FakeClock;

    const HOUR: Duration = Duration::from_hours(1);
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn hours(ages: &[u64]) -> Vec<u64> {
        ages.iter().map(|age| age / 3_600_000_000_000).collect()
    }

    #[test]
    fn within_a_boot_age_is_what_the_boot_clock_says_whatever_the_wall_clock_shows() {
        let fake = FakeClock::at(Timestamp(0));
        let mut begun = Vec::new();
        for (step, is_trusted) in [(0, false), (1_800_000_000, true), (86_400 * 400, true)] {
            fake.step(step);
            fake.trust(is_trusted);
            begun.push(Created::At(fake.now()));
            fake.pass(HOUR);
        }
        fake.step(-86_400 * 800);
        assert_eq!(hours(&ages(&begun, fake.now())), [3, 2, 1]);
    }

    #[test]
    fn from_boot_to_boot_trusted_clocks_tell_the_age_of_what_was_recorded_before_they_were() {
        let fake = FakeClock::at(Timestamp(0));
        let untrusted = Created::At(fake.now());
        fake.pass(HOUR);
        fake.set(NOW);
        fake.trust(true);
        let trusted = Created::At(fake.now());
        // Off for a day, and in 1970 again.
        fake.boot(Timestamp(0));
        let begun = [untrusted, trusted, Created::At(fake.now())];
        fake.pass(HOUR);
        assert_eq!(
            hours(&ages(&begun, fake.now())),
            [2, 1, 1],
            "it is not known how long it was off"
        );
        fake.set(Timestamp(NOW.0 + 24 * HOUR.as_nanos() as u64));
        fake.trust(true);
        assert_eq!(hours(&ages(&begun, fake.now())), [25, 24, 1]);
    }

    #[test]
    fn a_boot_that_was_never_trusted_is_as_young_as_the_next_one() {
        let fake = FakeClock::at(Timestamp(0));
        let begun = [Created::At(fake.now())];
        fake.boot(NOW);
        fake.trust(true);
        assert_eq!(hours(&ages(&begun, fake.now())), [0]);
        fake.pass(2 * HOUR);
        assert_eq!(hours(&ages(&begun, fake.now())), [2]);
    }

    #[test]
    fn a_header_of_format_1_is_believed_unless_the_program_is_younger() {
        let fake = FakeClock::at(NOW);
        fake.trust(true);
        let ago = |hours: u64| Created::Wall(Timestamp(NOW.0 - hours * HOUR.as_nanos() as u64));
        let begun = [ago(9), Created::Wall(Timestamp(5)), ago(7), Created::At(fake.now())];
        assert_eq!(hours(&ages(&begun, fake.now())), [9, 7, 7, 0]);
        fake.trust(false);
        assert_eq!(hours(&ages(&begun, fake.now())), [9, 7, 7, 0], "it was, when they ended");
        let ahead = [Created::Wall(Timestamp(NOW.0 * 2)), Created::At(fake.now())];
        fake.pass(HOUR);
        assert_eq!(hours(&ages(&ahead, fake.now())), [1, 1]);
    }
}
