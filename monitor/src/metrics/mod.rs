//! The daemon's metrics, one field each, named as in the contract without `geofenced_`. A leaf: it
//! imports no other module of this crate, and no label ever holds an address, pid, path or domain.

pub mod catalogue;
mod compress;
mod openmetrics;
pub mod process;
pub mod serve;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector, proto::MetricFamily,
};

use catalogue::MetricDoc;

/// `country` label of an address no database knows.
pub const COUNTRY_NONE: &str = "none";
/// `country` label of a local address.
pub const COUNTRY_LOCAL: &str = "local";
/// `transport` label of protocols without a name.
pub const TRANSPORT_OTHER: &str = "other";

/// `by` label of flows that the probes classified.
pub const CLASSIFIED_BY_KERNEL: &str = "kernel";
/// `by` label of the others.
pub const CLASSIFIED_BY_DAEMON: &str = "daemon";

/// Seconds: a loaded Raspberry Pi with a slow card lies in the middle.
const LATENCY_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Values of `result` of the self-test.
pub const SELF_TEST_RESULTS: [&str; 2] = ["passed", "failed"];

/// Values of `extent` of `coverage_seconds`.
pub const EXTENTS: [&str; 4] = ["watched", "blind", "degraded", "removed"];
/// Values of `reason` of `gap_before_start_seconds`.
pub const ABSENCES: [&str; 3] = ["stopped", "ended-without-a-word", "not-running"];
/// Values of `reason` of `log_lines_left_out_total`.
pub const LEFT_OUT: [&str; 3] = ["known", "rate", "slow"];
/// `unit` and `operator` of those beyond the largest, and of nobody.
pub const OTHER: &str = "other";
pub const NOBODY: &str = "none";

/// Label values known before anything happens: their series are created at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownLabels {
    pub verdicts: Vec<String>,
    pub transports: Vec<String>,
    pub attributions: Vec<String>,
    pub origins: Vec<String>,
    /// `(country, reason)` of `violations_total`.
    pub violations: Vec<(String, String)>,
    /// Of `capture_tier`.
    pub tiers: Vec<String>,
    /// `(stage, reason)` of `events_lost_total`.
    pub losses: Vec<(String, String)>,
    pub decode_reasons: Vec<String>,
    pub probes: Vec<String>,
    pub maps: Vec<String>,
    /// Name and capacity.
    pub queues: Vec<(String, u64)>,
    pub store_operations: Vec<String>,
    /// `(listener, reason)` of `connections_refused_total`.
    pub refusals: Vec<(String, String)>,
    /// `reason` of `answers_behind_total`.
    pub lacks: Vec<String>,
    /// `event` of `store_events_total` and of `attribution_events_total`.
    pub store_events: Vec<String>,
    pub attribution_events: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Metrics {
    pub registry: Registry,
    pub egress_flows_total: IntCounterVec,
    pub egress_bytes_total: IntCounterVec,
    pub egress_packets_total: IntCounterVec,
    pub received_bytes_total: IntCounterVec,
    pub attempts_total: IntCounterVec,
    pub violations_total: IntCounterVec,
    pub last_violation_timestamp_seconds: IntGaugeVec,
    pub unit_sent_bytes_total: IntCounterVec,
    pub operator_sent_bytes_total: IntCounterVec,
    pub attribution_total: IntCounterVec,
    pub unattributed_bytes_total: IntCounterVec,
    pub events_lost_total: IntCounterVec,
    pub decode_errors_total: IntCounterVec,
    pub classified_flows_total: IntCounterVec,
    pub verdict_disagreements_total: IntCounter,
    pub housekeeping_frames_total: IntCounter,
    pub received_without_flow_packets_total: IntCounter,
    pub received_without_flow_bytes_total: IntCounter,
    pub capture_tier: IntGaugeVec,
    pub probe_attached: IntGaugeVec,
    pub probe_variant: IntGaugeVec,
    pub probe_detachments_total: IntCounterVec,
    pub self_tests_total: IntCounterVec,
    pub self_test_last_success_timestamp_seconds: IntGauge,
    pub coverage_seconds: IntGaugeVec,
    pub gap_before_start_seconds: IntGaugeVec,
    pub map_entries: IntGaugeVec,
    pub map_capacity: IntGaugeVec,
    pub queue_depth: IntGaugeVec,
    pub queue_capacity: IntGaugeVec,
    pub store_bytes: IntGauge,
    pub store_max_bytes: IntGauge,
    pub store_waiting_bytes: IntGauge,
    pub store_oldest_timestamp_seconds: IntGauge,
    pub store_retention_seconds: IntGauge,
    pub store_records: IntGauge,
    pub checkpoint_size: IntGauge,
    pub checkpoint_timestamp_seconds: IntGauge,
    pub store_flows: IntGauge,
    pub store_flows_lost_total: IntCounterVec,
    pub store_writable: IntGauge,
    pub store_errors_total: IntCounterVec,
    pub store_events_total: IntCounterVec,
    pub attribution_events_total: IntCounterVec,
    pub answers_behind_total: IntCounterVec,
    pub connections_refused_total: IntCounterVec,
    pub log_lines_left_out_total: IntCounterVec,
    pub geo_database_build_timestamp_seconds: IntGaugeVec,
    pub geo_database_stale: IntGaugeVec,
    pub config_reloads_total: IntCounterVec,
    pub config_last_reload_successful: IntGauge,
    pub config_last_reload_success_timestamp_seconds: IntGauge,
    pub config_fallback: IntGauge,
    pub policy_learning: IntGauge,
    pub policy_info: IntGaugeVec,
    pub host_info: IntGaugeVec,
    pub build_info: IntGaugeVec,
    pub clock_trusted: IntGauge,
    pub clock_steps_total: IntCounter,
    pub event_latency_seconds: Histogram,
}

impl Metrics {
    /// Everything registered, the series of `known` at 0. Fails only on a name used twice.
    pub fn new(known: &KnownLabels) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            egress_flows_total: counters(r, &catalogue::EGRESS_FLOWS)?,
            egress_bytes_total: counters(r, &catalogue::EGRESS_BYTES)?,
            egress_packets_total: counters(r, &catalogue::EGRESS_PACKETS)?,
            received_bytes_total: counters(r, &catalogue::RECEIVED_BYTES)?,
            attempts_total: counters(r, &catalogue::ATTEMPTS)?,
            violations_total: counters(r, &catalogue::VIOLATIONS)?,
            last_violation_timestamp_seconds: gauges(r, &catalogue::LAST_VIOLATION)?,
            unit_sent_bytes_total: counters(r, &catalogue::UNIT_BYTES)?,
            operator_sent_bytes_total: counters(r, &catalogue::OPERATOR_BYTES)?,
            attribution_total: counters(r, &catalogue::ATTRIBUTION)?,
            unattributed_bytes_total: counters(r, &catalogue::UNATTRIBUTED_BYTES)?,
            events_lost_total: counters(r, &catalogue::EVENTS_LOST)?,
            decode_errors_total: counters(r, &catalogue::DECODE_ERRORS)?,
            classified_flows_total: counters(r, &catalogue::CLASSIFIED_FLOWS)?,
            verdict_disagreements_total: counter(r, &catalogue::VERDICT_DISAGREEMENTS)?,
            housekeeping_frames_total: counter(r, &catalogue::HOUSEKEEPING_FRAMES)?,
            received_without_flow_packets_total: counter(r, &catalogue::WITHOUT_FLOW_PACKETS)?,
            received_without_flow_bytes_total: counter(r, &catalogue::RECEIVED_WITHOUT_FLOW_BYTES)?,
            capture_tier: gauges(r, &catalogue::CAPTURE_TIER)?,
            probe_attached: gauges(r, &catalogue::PROBE_ATTACHED)?,
            probe_variant: gauges(r, &catalogue::PROBE_VARIANT)?,
            probe_detachments_total: counters(r, &catalogue::PROBE_DETACHMENTS)?,
            self_tests_total: counters(r, &catalogue::SELF_TESTS)?,
            self_test_last_success_timestamp_seconds: gauge(r, &catalogue::SELF_TEST_LAST_SUCCESS)?,
            coverage_seconds: gauges(r, &catalogue::COVERAGE)?,
            gap_before_start_seconds: gauges(r, &catalogue::GAP_BEFORE_START)?,
            map_entries: gauges(r, &catalogue::MAP_ENTRIES)?,
            map_capacity: gauges(r, &catalogue::MAP_CAPACITY)?,
            queue_depth: gauges(r, &catalogue::QUEUE_DEPTH)?,
            queue_capacity: gauges(r, &catalogue::QUEUE_CAPACITY)?,
            store_bytes: gauge(r, &catalogue::STORE_BYTES)?,
            store_max_bytes: gauge(r, &catalogue::STORE_MAX_BYTES)?,
            store_waiting_bytes: gauge(r, &catalogue::STORE_WAITING)?,
            store_oldest_timestamp_seconds: gauge(r, &catalogue::STORE_OLDEST)?,
            store_retention_seconds: gauge(r, &catalogue::STORE_RETENTION)?,
            store_records: gauge(r, &catalogue::STORE_RECORDS)?,
            checkpoint_size: gauge(r, &catalogue::CHECKPOINT_SIZE)?,
            checkpoint_timestamp_seconds: gauge(r, &catalogue::CHECKPOINT_TIMESTAMP)?,
            store_flows: gauge(r, &catalogue::STORE_FLOWS)?,
            store_flows_lost_total: counters(r, &catalogue::STORE_FLOWS_LOST)?,
            store_writable: gauge(r, &catalogue::STORE_WRITABLE)?,
            store_errors_total: counters(r, &catalogue::STORE_ERRORS)?,
            store_events_total: counters(r, &catalogue::STORE_EVENTS)?,
            attribution_events_total: counters(r, &catalogue::ATTRIBUTION_EVENTS)?,
            answers_behind_total: counters(r, &catalogue::ANSWERS_BEHIND)?,
            connections_refused_total: counters(r, &catalogue::CONNECTIONS_REFUSED)?,
            log_lines_left_out_total: counters(r, &catalogue::LOG_LINES_LEFT_OUT)?,
            geo_database_build_timestamp_seconds: gauges(r, &catalogue::GEO_DATABASE_BUILD)?,
            geo_database_stale: gauges(r, &catalogue::GEO_DATABASE_STALE)?,
            config_reloads_total: counters(r, &catalogue::CONFIG_RELOADS)?,
            config_last_reload_successful: gauge(r, &catalogue::CONFIG_LAST_RELOAD_SUCCESSFUL)?,
            config_last_reload_success_timestamp_seconds: gauge(r, &catalogue::CONFIG_LAST_RELOAD)?,
            config_fallback: gauge(r, &catalogue::CONFIG_FALLBACK)?,
            policy_learning: gauge(r, &catalogue::POLICY_LEARNING)?,
            policy_info: gauges(r, &catalogue::POLICY_INFO)?,
            host_info: gauges(r, &catalogue::HOST_INFO)?,
            build_info: gauges(r, &catalogue::BUILD_INFO)?,
            clock_trusted: gauge(r, &catalogue::CLOCK_TRUSTED)?,
            clock_steps_total: counter(r, &catalogue::CLOCK_STEPS)?,
            event_latency_seconds: latency(r)?,
            registry,
        };
        metrics.create_series(known);
        Ok(metrics)
    }

    /// Only the named one is in force from now on.
    pub fn set_policy(&self, sha256_hex: &str) {
        self.policy_info.reset();
        self.policy_info.with_label_values(&[sha256_hex]).set(1);
    }

    /// Only the named one from now on.
    pub fn set_host(&self, name: &str, id_hex: &str) {
        self.host_info.reset();
        self.host_info.with_label_values(&[name, id_hex]).set(1);
    }

    fn create_series(&self, known: &KnownLabels) {
        for verdict in &known.verdicts {
            let country = if verdict == "local" { COUNTRY_LOCAL } else { COUNTRY_NONE };
            for transport in &known.transports {
                self.egress_flows_total.with_label_values(&[verdict, country, transport]);
            }
            self.egress_bytes_total.with_label_values(&[verdict, country]);
            self.egress_packets_total.with_label_values(&[verdict, country]);
            self.received_bytes_total.with_label_values(&[verdict, country]);
            self.attempts_total.with_label_values(&[verdict, country]);
        }
        for tier in &known.tiers {
            self.capture_tier.with_label_values(&[tier]);
        }
        for (country, reason) in &known.violations {
            self.violations_total.with_label_values(&[country, reason]);
        }
        for attribution in &known.attributions {
            self.attribution_total.with_label_values(&[attribution]);
        }
        for origin in &known.origins {
            self.unattributed_bytes_total.with_label_values(&[origin]);
        }
        for (stage, reason) in &known.losses {
            self.events_lost_total.with_label_values(&[stage, reason]);
            if stage == "store" {
                self.store_flows_lost_total.with_label_values(&[reason]);
            }
        }
        for reason in &known.decode_reasons {
            self.decode_errors_total.with_label_values(&[reason]);
        }
        for probe in &known.probes {
            self.probe_attached.with_label_values(&[probe]);
            self.probe_detachments_total.with_label_values(&[probe]);
        }
        for map in &known.maps {
            self.map_entries.with_label_values(&[map]);
            self.map_capacity.with_label_values(&[map]);
        }
        for (queue, capacity) in &known.queues {
            self.queue_depth.with_label_values(&[queue]);
            let capacity = i64::try_from(*capacity).unwrap_or(i64::MAX);
            self.queue_capacity.with_label_values(&[queue]).set(capacity);
        }
        for operation in &known.store_operations {
            self.store_errors_total.with_label_values(&[operation]);
        }
        for (listener, reason) in &known.refusals {
            self.connections_refused_total.with_label_values(&[listener, reason]);
        }
        for event in &known.store_events {
            self.store_events_total.with_label_values(&[event]);
        }
        for event in &known.attribution_events {
            self.attribution_events_total.with_label_values(&[event]);
        }
        for reason in &known.lacks {
            self.answers_behind_total.with_label_values(&[reason]);
        }
        self.create_series_of_every_daemon();
    }

    fn create_series_of_every_daemon(&self) {
        for extent in EXTENTS {
            self.coverage_seconds.with_label_values(&[extent]);
        }
        for reason in ABSENCES {
            self.gap_before_start_seconds.with_label_values(&[reason]);
        }
        for by in [CLASSIFIED_BY_KERNEL, CLASSIFIED_BY_DAEMON] {
            self.classified_flows_total.with_label_values(&[by]);
        }
        for reason in LEFT_OUT {
            self.log_lines_left_out_total.with_label_values(&[reason]);
        }
        for result in SELF_TEST_RESULTS {
            self.self_tests_total.with_label_values(&[result]);
        }
        for result in ["success", "failure"] {
            self.config_reloads_total.with_label_values(&[result]);
        }
    }
}

/// Of all its series.
#[expect(clippy::cast_sign_loss, reason = "counters never fall below 0")]
pub fn sum(counters: &IntCounterVec) -> u64 {
    let families = counters.collect();
    let series = families.iter().flat_map(MetricFamily::get_metric);
    // Counters of integers are told as floating point.
    series.map(|it| it.get_counter().get_value()).sum::<f64>() as u64
}

/// Brings counters up to what somebody else counted, of which these are the labels.
pub fn catch_up(counters: &IntCounterVec, labels: &[&str], counts: &[u64]) {
    for (label, count) in labels.iter().zip(counts) {
        let counter = counters.with_label_values(&[label]);
        counter.inc_by(count.saturating_sub(counter.get()));
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counters(registry: &Registry, doc: &MetricDoc) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(doc.name, doc.help), doc.labels)?)
}

fn counter(registry: &Registry, doc: &MetricDoc) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(doc.name, doc.help)?)
}

fn gauges(registry: &Registry, doc: &MetricDoc) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(Opts::new(doc.name, doc.help), doc.labels)?)
}

fn gauge(registry: &Registry, doc: &MetricDoc) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(doc.name, doc.help)?)
}

fn latency(registry: &Registry) -> Result<Histogram, prometheus::Error> {
    let doc = &catalogue::EVENT_LATENCY;
    let options = HistogramOpts::new(doc.name, doc.help).buckets(LATENCY_BUCKETS.to_vec());
    register(registry, Histogram::with_opts(options)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap()
    }

    fn some_labels() -> KnownLabels {
        KnownLabels {
            verdicts: vec!["unapproved".into(), "local".into()],
            transports: vec!["tcp".into()],
            attributions: vec!["socket".into()],
            origins: vec!["process".into()],
            violations: vec![("CN".into(), "country".into())],
            losses: vec![("store".into(), "queue-full".into())],
            decode_reasons: vec!["short".into()],
            probes: vec!["connect4".into()],
            maps: vec!["FLOWS".into()],
            queues: vec![("store".into(), 7)],
            store_operations: vec!["append".into()],
            refusals: vec![("metrics".into(), "full".into())],
            lacks: vec!["room".into()],
            tiers: vec!["full".into()],
            store_events: vec!["tail-cut".into()],
            attribution_events: vec!["unenriched".into()],
        }
    }

    #[test]
    fn every_bounded_series_is_there_at_zero_before_anything_happens() {
        let text = text(&Metrics::new(&some_labels()).unwrap());
        for line in [
            r#"geofenced_egress_flows_total{country="none",transport="tcp",verdict="unapproved"} 0"#,
            r#"geofenced_egress_bytes_total{country="local",verdict="local"} 0"#,
            r#"geofenced_violations_total{country="CN",reason="country"} 0"#,
            r#"geofenced_events_lost_total{reason="queue-full",stage="store"} 0"#,
            r#"geofenced_queue_capacity{queue="store"} 7"#,
            r#"geofenced_answers_behind_total{reason="room"} 0"#,
            r#"geofenced_store_events_total{event="tail-cut"} 0"#,
            r#"geofenced_attribution_events_total{event="unenriched"} 0"#,
            r#"geofenced_config_reloads_total{result="failure"} 0"#,
            r#"geofenced_connections_refused_total{listener="metrics",reason="full"} 0"#,
            r#"geofenced_attempts_total{country="none",verdict="unapproved"} 0"#,
            r#"geofenced_received_bytes_total{country="local",verdict="local"} 0"#,
            r#"geofenced_capture_tier{tier="full"} 0"#,
            r#"geofenced_coverage_seconds{extent="blind"} 0"#,
            r#"geofenced_gap_before_start_seconds{reason="ended-without-a-word"} 0"#,
            "geofenced_event_latency_seconds_count 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_catalogue_and_the_registry_hold_the_same_names() {
        let metrics = Metrics::new(&some_labels()).unwrap();
        metrics.set_policy("00");
        metrics.set_host("uav-7", "00");
        metrics.build_info.with_label_values(&["0", "1"]).set(1);
        metrics.geo_database_build_timestamp_seconds.with_label_values(&["country"]).set(1);
        metrics.geo_database_stale.with_label_values(&["country"]).set(0);
        metrics.last_violation_timestamp_seconds.with_label_values(&["CN", "country"]).set(1);
        metrics.unit_sent_bytes_total.with_label_values(&[OTHER]).inc();
        metrics.operator_sent_bytes_total.with_label_values(&[OTHER]).inc();
        metrics.probe_variant.with_label_values(&["connect4", "connect4"]).set(1);
        let registered: BTreeSet<String> =
            metrics.registry.gather().iter().map(|family| family.name().to_owned()).collect();
        let described: BTreeSet<String> =
            catalogue::ALL.iter().map(|doc| doc.name.into()).collect();
        assert_eq!(registered, described);
    }

    #[test]
    fn a_counter_catches_up_with_what_another_counted_and_never_falls() {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        let events = &metrics.store_events_total;
        for counts in [[3, 0], [5, 1], [4, 1]] {
            catch_up(events, &["tail-cut", "text-cut"], &counts);
        }
        let count = |event| events.with_label_values(&[event]).get();
        assert_eq!((count("tail-cut"), count("text-cut")), (5, 1));
    }

    #[test]
    fn a_new_policy_replaces_the_old_one_in_policy_info() {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        metrics.set_policy("aa");
        metrics.set_policy("bb");
        let text = text(&metrics);
        assert!(text.contains(r#"geofenced_policy_info{sha256="bb"} 1"#));
        assert!(!text.contains(r#"sha256="aa""#));
    }

    #[test]
    fn the_reference_page_is_the_generated_one() {
        let page = include_str!("../../../docs/metrics.md");
        assert!(page == catalogue::reference(), "docs/metrics.md is old: run `cargo xtask docs`");
    }
}
