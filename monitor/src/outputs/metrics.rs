//! Flows, bytes and violations as metrics. Keeps no record.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};
use rustc_hash::FxHashMap;

use super::{Delivery, Output, Sum};
use crate::{
    event::{Attribution, Country, Origin, Reason, Record, Traffic, Transport, Verdict},
    metrics::{COUNTRY_LOCAL, COUNTRY_NONE, Metrics, TRANSPORT_OTHER},
};

/// With the counters of the labels that were needed: to find one by its words takes as long as to locate an
/// address. There are as few as in what is scraped.
#[derive(Debug)]
pub(super) struct Meters {
    metrics: Arc<Metrics>,
    flows: FxHashMap<(Verdict, Country, &'static str), IntCounter>,
    attributions: FxHashMap<Attribution, IntCounter>,
    violations: FxHashMap<(Country, Reason), Violations>,
    traffic: FxHashMap<(Verdict, Country), Moved>,
}

/// Rules come and go with each reload; those of so many countries and reasons are found at once.
const VIOLATIONS_FOUND: usize = 4096;

#[derive(Debug)]
struct Violations {
    flows: IntCounter,
    last: IntGauge,
}

#[derive(Debug)]
struct Moved {
    bytes: IntCounter,
    packets: IntCounter,
    received: IntCounter,
}

impl Output for Meters {
    fn deliver(&mut self, told: &Delivery) {
        if told.begins {
            self.count_flow(&told.record);
        }
        if told.attempts {
            let (place, judgement) = (&told.record.place, &told.record.judgement);
            let labels = [judgement.verdict.word(), country_label(&place.country)];
            self.metrics.attempts_total.with_label_values(&labels).inc();
        }
        if told.violates {
            self.violations(&told.record).flows.inc();
        }
        self.count_growth(&told.record, told.growth);
    }

    fn meter(&mut self, record: &Record, growth: Traffic) {
        self.count_growth(record, growth);
    }

    fn add_up(&mut self, sum: &Sum) {
        let metrics = &self.metrics;
        let verdict = sum.judgement.verdict.word();
        let country = country_label(&sum.place.country);
        let flows = &metrics.egress_flows_total;
        flows.with_label_values(&[verdict, country, TRANSPORT_OTHER]).inc_by(sum.flows);
        let is_learning = sum.provenance.as_ref().is_some_and(|it| it.is_learning);
        if sum.judgement.verdict == Verdict::Unapproved && !is_learning {
            let labels = [country, &sum.judgement.reason.to_string()];
            metrics.violations_total.with_label_values(&labels).inc_by(sum.flows);
            let last = metrics.last_violation_timestamp_seconds.with_label_values(&labels);
            last.set(sum.at.secs().cast_signed());
        }
        let labels = [verdict, country];
        let Traffic { sent_bytes, sent_packets, received_bytes, .. } = sum.traffic;
        metrics.received_bytes_total.with_label_values(&labels).inc_by(received_bytes);
        metrics.egress_bytes_total.with_label_values(&labels).inc_by(sent_bytes);
        metrics.egress_packets_total.with_label_values(&labels).inc_by(sent_packets);
    }
}

impl Meters {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            flows: FxHashMap::default(),
            attributions: FxHashMap::default(),
            violations: FxHashMap::default(),
            traffic: FxHashMap::default(),
        }
    }

    fn count_flow(&mut self, record: &Record) {
        let (verdict, country) = (record.judgement.verdict, record.place.country);
        let transport = transport_label(record.egress.transport);
        let all = &self.metrics.egress_flows_total;
        let labels = [verdict.word(), country_label(&country), transport];
        let key = (verdict, country, transport);
        self.flows.entry(key).or_insert_with(|| all.with_label_values(&labels)).inc();
        let (attribution, all) = (record.sender.attribution(), &self.metrics.attribution_total);
        let find = || all.with_label_values(&[attribution.word()]);
        self.attributions.entry(attribution).or_insert_with(find).inc();
    }

    fn violations(&mut self, record: &Record) -> &Violations {
        if self.violations.len() >= VIOLATIONS_FOUND {
            self.violations.clear();
        }
        let (country, reason) = (record.place.country, record.judgement.reason.clone());
        let metrics = &self.metrics;
        self.violations.entry((country, reason)).or_insert_with_key(|(country, reason)| {
            let labels = [country_label(country), &reason.to_string()];
            Violations {
                flows: metrics.violations_total.with_label_values(&labels),
                last: metrics.last_violation_timestamp_seconds.with_label_values(&labels),
            }
        })
    }

    fn count_growth(&mut self, record: &Record, growth: Traffic) {
        let is_sent = growth.sent_packets > 0 || growth.sent_bytes > 0;
        if !is_sent && growth.received_bytes == 0 {
            return;
        }
        let (verdict, country) = (record.judgement.verdict, record.place.country);
        let metrics = &self.metrics;
        let moved = self.traffic.entry((verdict, country)).or_insert_with(|| {
            let labels = [verdict.word(), country_label(&country)];
            Moved {
                bytes: metrics.egress_bytes_total.with_label_values(&labels),
                packets: metrics.egress_packets_total.with_label_values(&labels),
                received: metrics.received_bytes_total.with_label_values(&labels),
            }
        });
        moved.bytes.inc_by(growth.sent_bytes);
        moved.packets.inc_by(growth.sent_packets);
        moved.received.inc_by(growth.received_bytes);
        if is_sent && record.is_violation() {
            let at = record.egress.last_at.secs().cast_signed();
            self.violations(record).last.set(at);
        }
        // What is forwarded, wrapped or the kernel's own has no process to be named.
        let is_passing =
            matches!(record.egress.origin, Origin::Forwarded | Origin::Tunnel | Origin::Kernel);
        if record.sender.attribution() == Attribution::None && !is_passing {
            let origin = record.egress.origin.word();
            let bytes = &self.metrics.unattributed_bytes_total;
            bytes.with_label_values(&[origin]).inc_by(growth.sent_bytes);
        }
    }
}

fn country_label(country: &Country) -> &str {
    match country {
        Country::Known(code) => code.as_str(),
        Country::Unlocated => COUNTRY_NONE,
        Country::Local => COUNTRY_LOCAL,
    }
}

fn transport_label(transport: Transport) -> &'static str {
    transport.name().unwrap_or(TRANSPORT_OTHER)
}
