//! Flows, bytes and violations as metrics. Keeps no record.

use std::sync::Arc;

use super::{Delivery, Output, Sum};
use crate::{
    event::{Attribution, Country, Origin, Record, Traffic, Transport, Verdict},
    metrics::{COUNTRY_LOCAL, COUNTRY_NONE, Metrics, TRANSPORT_OTHER},
};

#[derive(Debug)]
pub(super) struct Meters(pub(super) Arc<Metrics>);

impl Output for Meters {
    fn deliver(&mut self, told: &Delivery) {
        if told.begins {
            self.count_flow(&told.record);
        }
        if told.violates {
            self.count_violation(&told.record);
        }
        self.count_growth(&told.record, told.growth);
    }

    fn meter(&mut self, record: &Record, growth: Traffic) {
        self.count_growth(record, growth);
    }

    fn add_up(&mut self, sum: &Sum) {
        let metrics = &self.0;
        let verdict = sum.judgement.verdict.word();
        let country = country_label(&sum.place.country);
        let flows = &metrics.egress_flows_total;
        flows.with_label_values(&[verdict, country, TRANSPORT_OTHER]).inc_by(sum.flows);
        if sum.judgement.verdict == Verdict::Unapproved {
            let reason = sum.judgement.reason.to_string();
            let violations = &metrics.violations_total;
            violations.with_label_values(&[country, &reason]).inc_by(sum.flows);
        }
        let labels = [verdict, country];
        let Traffic { sent_bytes, sent_packets, .. } = sum.traffic;
        metrics.egress_bytes_total.with_label_values(&labels).inc_by(sent_bytes);
        metrics.egress_packets_total.with_label_values(&labels).inc_by(sent_packets);
    }
}

impl Meters {
    fn count_flow(&self, record: &Record) {
        let verdict = record.judgement.verdict.word();
        let country = country_label(&record.place.country);
        let transport = transport_label(record.egress.transport);
        self.0.egress_flows_total.with_label_values(&[verdict, country, transport]).inc();
        let attribution = record.sender.attribution().word();
        self.0.attribution_total.with_label_values(&[attribution]).inc();
    }

    fn count_violation(&self, record: &Record) {
        let country = country_label(&record.place.country);
        let reason = record.judgement.reason.to_string();
        self.0.violations_total.with_label_values(&[country, &reason]).inc();
    }

    fn count_growth(&self, record: &Record, growth: Traffic) {
        if growth.sent_packets == 0 && growth.sent_bytes == 0 {
            return;
        }
        let labels = [record.judgement.verdict.word(), country_label(&record.place.country)];
        self.0.egress_bytes_total.with_label_values(&labels).inc_by(growth.sent_bytes);
        self.0.egress_packets_total.with_label_values(&labels).inc_by(growth.sent_packets);
        // What is forwarded, wrapped or the kernel's own has no process to be named.
        let is_passing =
            matches!(record.egress.origin, Origin::Forwarded | Origin::Tunnel | Origin::Kernel);
        if record.sender.attribution() == Attribution::None && !is_passing {
            let origin = record.egress.origin.word();
            let bytes = &self.0.unattributed_bytes_total;
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
