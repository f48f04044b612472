//! How often the counters of all flows are read: what lives costs a look each, so many are looked at less
//! often. Reads none.

use std::time::Duration;

/// Of a processor's time, reading takes one part in so many;
const SHARE: u32 = 20;
/// but no flow waits for longer to be told that it grew or ended.
const LONGEST: Duration = Duration::from_secs(10);
/// Sweeps are so far from each other anyway.
const SWEEP: Duration = Duration::from_secs(1);

/// Begins as due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due_ns: u64,
}

impl Pace {
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// All were read, beginning at `now_ns`. `is_pressed`: room is wanted, so those that are over have to go.
    pub(super) fn keep(&mut self, now_ns: u64, took: Duration, is_pressed: bool) {
        let rest = (took * SHARE).min(LONGEST);
        let rest = if is_pressed || rest <= SWEEP { Duration::ZERO } else { rest };
        self.due_ns = now_ns.saturating_add(rest.as_nanos() as u64);
    }

    /// The next sweep reads them.
    pub(super) fn hurry(&mut self) {
        self.due_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000_000_000;

    fn rest(took: Duration, is_pressed: bool) -> u64 {
        let mut pace = Pace::default();
        assert!(pace.is_due(0));
        pace.keep(NOW, took, is_pressed);
        let due = (0..=20_000).find(|ms| pace.is_due(NOW + ms * 1_000_000)).unwrap();
        pace.hurry();
        assert!(pace.is_due(NOW));
        due
    }

    #[test]
    fn what_takes_long_is_done_less_often_but_never_more_than_ten_seconds_apart() {
        assert_eq!(rest(Duration::from_millis(50), false), 0, "each sweep");
        assert_eq!(rest(Duration::from_millis(100), false), 2_000);
        assert_eq!(rest(Duration::from_millis(459), false), 9_180);
        assert_eq!(rest(Duration::from_mins(1), false), 10_000);
    }

    #[test]
    fn where_room_is_wanted_every_sweep_reads_all() {
        assert_eq!(rest(Duration::from_mins(1), true), 0);
    }
}
