//! Which units sent most, and to which operators, by name, as far as the bound goes; the rest together.
//! Every byte is counted once, under what it was known by then, so that no counter ever falls.

use std::{hash::Hash, sync::Arc};

use prometheus::{IntCounter, IntCounterVec};
use rustc_hash::FxHashMap;

use super::{Delivery, Output, Sum};
use crate::{
    event::{Operator, Record, Traffic},
    metrics::{Metrics, NOBODY, OTHER},
};

/// Of which is known how much they sent, besides those that are named.
const CANDIDATES: usize = 1024;
/// Characters of a label.
const LABEL_MOST: usize = 120;

#[derive(Debug)]
pub(super) struct Top {
    units: Ranking<Arc<str>>,
    operators: Ranking<Arc<Operator>>,
}

impl Top {
    pub(super) fn new(most: usize, metrics: &Metrics) -> Self {
        Self {
            units: Ranking::new(most, &metrics.unit_sent_bytes_total),
            operators: Ranking::new(most, &metrics.operator_sent_bytes_total),
        }
    }

    fn count(&mut self, record: &Record, growth: Traffic) {
        if growth.sent_bytes == 0 {
            return;
        }
        let unit = record.sender.process().and_then(|process| process.unit.as_ref());
        self.units.add(unit, growth.sent_bytes, ToString::to_string);
        self.operators.add(record.place.operator.as_ref(), growth.sent_bytes, |it| called(it));
    }
}

impl Output for Top {
    fn deliver(&mut self, told: &Delivery) {
        self.count(&told.record, told.growth);
    }

    fn meter(&mut self, record: &Record, growth: Traffic) {
        self.count(record, growth);
    }

    /// Nobody knows the unit of each.
    fn add_up(&mut self, sum: &Sum) {
        self.units.other.inc_by(sum.traffic.sent_bytes);
        let operator = sum.place.operator.as_ref();
        self.operators.add(operator, sum.traffic.sent_bytes, |it| called(it));
    }
}

fn called(operator: &Operator) -> String {
    match (operator.asn, operator.name.as_deref()) {
        (Some(asn), Some(name)) => format!("AS{asn} {name}"),
        (Some(asn), None) => format!("AS{asn}"),
        (None, Some(name)) => name.to_owned(),
        (None, None) => NOBODY.to_owned(),
    }
}

#[derive(Debug)]
struct Ranking<K> {
    most: usize,
    counters: IntCounterVec,
    other: IntCounter,
    nobody: IntCounter,
    seen: FxHashMap<K, Seen>,
    named: usize,
    /// The least that a named one has sent, or less: they only grow.
    floor: u64,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: u64,
    named: Option<Named>,
}

#[derive(Debug)]
struct Named {
    label: String,
    counter: IntCounter,
}

impl<K: Clone + Eq + Hash> Ranking<K> {
    fn new(most: usize, counters: &IntCounterVec) -> Self {
        Self {
            most,
            other: counters.with_label_values(&[OTHER]),
            nobody: counters.with_label_values(&[NOBODY]),
            counters: counters.clone(),
            seen: FxHashMap::default(),
            named: 0,
            floor: 0,
        }
    }

    fn add(&mut self, key: Option<&K>, bytes: u64, label: impl Fn(&K) -> String) {
        let Some(key) = key else { return self.nobody.inc_by(bytes) };
        if !self.seen.contains_key(key) {
            self.make_room();
            self.seen.insert(key.clone(), Seen::default());
        }
        let Some(seen) = self.seen.get_mut(key) else { return };
        seen.bytes = seen.bytes.saturating_add(bytes);
        if let Some(named) = &seen.named {
            return named.counter.inc_by(bytes);
        }
        let sent = seen.bytes;
        if self.named < self.most || self.gives_way_to(sent) {
            self.name(key, &label(key), bytes);
        } else {
            self.other.inc_by(bytes);
        }
    }

    fn name(&mut self, key: &K, label: &str, bytes: u64) {
        let label: String = label.chars().take(LABEL_MOST).collect();
        let counter = self.counters.with_label_values(&[&label]);
        counter.inc_by(bytes);
        if let Some(seen) = self.seen.get_mut(key) {
            seen.named = Some(Named { label, counter });
            self.named += 1;
        }
    }

    /// Takes the name of the least of those that have one from it. Only for what sent twice as much: two that
    /// send alike would take it from each other for ever.
    fn gives_way_to(&mut self, sent: u64) -> bool {
        if sent / 2 <= self.floor {
            return false;
        }
        let named = self.seen.iter_mut().filter(|(_, seen)| seen.named.is_some());
        let Some((_, least)) = named.min_by_key(|(_, seen)| seen.bytes) else { return false };
        self.floor = least.bytes;
        if sent / 2 <= least.bytes {
            return false;
        }
        if let Some(Named { label, .. }) = least.named.take() {
            // Of two that are called alike one may still have it.
            let is_held = |seen: &Seen| seen.named.as_ref().is_some_and(|it| it.label == label);
            if !self.seen.values().any(is_held) {
                let _ = self.counters.remove_label_values(&[&label]);
            }
            self.named -= 1;
        }
        true
    }

    /// Who names himself anew each time does not push out those who sent more: the lesser half is forgotten,
    /// and the others count for half, so that they have to go on.
    fn make_room(&mut self) {
        if self.seen.len() < self.most + CANDIDATES {
            return;
        }
        let mut sent: Vec<u64> =
            self.seen.values().filter(|seen| seen.named.is_none()).map(|seen| seen.bytes).collect();
        let middle = sent.len() / 2;
        let (_, median, _) = sent.select_nth_unstable(middle);
        let median = *median;
        self.seen.retain(|_, seen| seen.named.is_some() || seen.bytes > median);
        for seen in self.seen.values_mut().filter(|seen| seen.named.is_none()) {
            seen.bytes /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::KnownLabels;

    fn ranking(most: usize) -> (Ranking<Arc<str>>, Metrics) {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        (Ranking::new(most, &metrics.unit_sent_bytes_total), metrics)
    }

    /// What is scraped, without those at 0.
    fn told(metrics: &Metrics) -> Vec<(String, u64)> {
        let families = metrics.registry.gather();
        let of_units = families.iter().find(|it| it.name() == "geofenced_unit_sent_bytes_total");
        let of_units =
            of_units.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
        #[expect(clippy::cast_sign_loss, reason = "counters never fall below 0")]
        let told = of_units
            .iter()
            .map(|it| (it.get_label()[0].value().to_owned(), it.get_counter().get_value() as u64));
        told.filter(|(_, bytes)| *bytes > 0).collect()
    }

    fn add(ranking: &mut Ranking<Arc<str>>, unit: &str, bytes: u64) {
        ranking.add(Some(&unit.into()), bytes, ToString::to_string);
    }

    #[test]
    fn the_largest_have_names_the_rest_is_other_and_every_byte_is_counted_once() {
        let (mut ranking, metrics) = ranking(2);
        add(&mut ranking, "a", 100);
        add(&mut ranking, "b", 10);
        add(&mut ranking, "c", 15);
        ranking.add(None, 7, ToString::to_string);
        let of = |name: &str, bytes| (name.to_owned(), bytes);
        assert_eq!(told(&metrics), [of("a", 100), of("b", 10), of("none", 7), of("other", 15)]);
        // What was other stays other.
        add(&mut ranking, "c", 30);
        assert_eq!(told(&metrics), [of("a", 100), of("c", 30), of("none", 7), of("other", 15)]);
        add(&mut ranking, "b", 5);
        assert_eq!(told(&metrics), [of("a", 100), of("c", 30), of("none", 7), of("other", 20)]);
    }

    #[test]
    fn who_names_himself_anew_each_time_takes_no_memory_and_no_name() {
        let (mut ranking, metrics) = ranking(3);
        for unit in ["a", "b", "c"] {
            add(&mut ranking, unit, 1_000_000);
        }
        for number in 0..20_000 {
            add(&mut ranking, &format!("run-{number}.service"), 1000);
        }
        assert!(ranking.seen.len() <= CANDIDATES + 3, "{}", ranking.seen.len());
        let names: Vec<_> = told(&metrics).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "c", "other"]);
        add(&mut ranking, "d", 3_000_000);
        assert!(told(&metrics).iter().any(|(name, _)| name == "d"));
        assert_eq!(told(&metrics).len(), 4);
    }
}
