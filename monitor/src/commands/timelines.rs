//! Whether the wall clock was set among the events of an answer: then their times are no order.

use std::collections::BTreeMap;

use crate::{ecs::Event, printable::printable};

/// Less is an error of reading two clocks.
const STEP_NS: u128 = 100_000_000;

/// What wall and boot clock told of each boot's events.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    /// By boot, what was between the clocks, at least and at most, in nanoseconds.
    between: BTreeMap<String, (i128, i128)>,
}

impl Timelines {
    pub(super) fn add(&mut self, event: &Event<'_>) {
        let Some(boot) = &event.geofenced.boot else { return };
        let between = i128::from(event.timestamp.0.0) - i128::from(boot.ns);
        let known = self.between.entry(boot.id.to_string()).or_insert((between, between));
        *known = (known.0.min(between), known.1.max(between));
    }

    /// A line for each boot in which the clock was set.
    pub(super) fn lines(&self) -> Vec<String> {
        let set = self.between.iter().filter(|(_, (least, most))| most.abs_diff(*least) >= STEP_NS);
        set.map(|(boot, _)| {
            let boot = printable(boot);
            format!(
                "the clock was set among these events of boot {boot}: geofenced.boot.ns tells \
                 their order, not @timestamp"
            )
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ecs::tests::full_record,
        event::{BootId, Record, Timestamp},
    };

    fn lines(records: &[Record]) -> Vec<String> {
        let mut timelines = Timelines::default();
        for record in records {
            timelines.add(&Event::from(record));
        }
        timelines.lines()
    }

    #[test]
    fn a_clock_that_was_set_among_the_events_of_one_boot_is_told() {
        let at = |wall_ns: u64, step_ns: i64, boot: u8| {
            let mut record = full_record();
            record.egress.started_at = Timestamp(wall_ns);
            let timeline = record.timeline.as_mut().unwrap();
            timeline.wall_at_boot_ns = 1_000 + step_ns;
            timeline.boot = BootId([boot; 16]);
            record
        };
        let hour: i64 = 3_600_000_000_000;
        assert_eq!(lines(&[at(10_000, 0, 1), at(20_000, 0, 1)]), [""; 0]);
        assert_eq!(lines(&[at(10_000, 0, 1), at(20_000, -5, 1)]), [""; 0], "not worth a word");
        assert_eq!(
            lines(&[at(10_000, 0, 1), at(hour.cast_unsigned() + 30_000, 20_000, 2)]),
            [""; 0],
            "two boots"
        );
        let told = lines(&[at(10_000, 0, 1), at(2 * hour.cast_unsigned(), hour, 1)]);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(&BootId([1; 16]).to_string()), "{told:?}");
    }
}
