//! What `GET /v1/status` answers: facts of the start, and what changes since. Reads only.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use prometheus::core::Collector;

use super::{
    reload::{InForce, in_force},
    watch::{self, Vitals},
};
use crate::{
    api::status::{self, Database, Fill, Loss, Policy, Probe, Status},
    cli::{COMMIT, VERSION},
    clock,
    config::Config,
    ecs::{Time, hex},
    event::Moment,
    metrics::{CLASSIFIED_BY_DAEMON, CLASSIFIED_BY_KERNEL, Metrics, serve::Readiness},
    outputs::{self, view::View},
    probe::{Attachment, tier_of, waiting_max},
    rules::Rules,
    self_test::{SelfTest, Standing},
    store::{EvidenceHead, Reader, Store},
    table::counted,
};

/// What does not change while the daemon runs.
pub(super) struct Facts {
    /// By the boot clock, in nanoseconds: the wall clock may be set.
    started_ns: u64,
    probes: Vec<Probe>,
    store_path: PathBuf,
    reader: Reader,
    evidence: EvidenceHead,
    metrics: Arc<Metrics>,
    max_flows: u32,
    /// What the sizes follow from.
    memory: Option<u64>,
    /// Or why there is none.
    self_test: Result<SelfTest, String>,
    /// Why it started with the last good configuration, if it did.
    fallen_back: Option<String>,
}

impl Facts {
    pub(super) fn new(
        config: &Config,
        attachments: &[Attachment],
        self_test: &Result<SelfTest, String>,
        store: &Store,
        metrics: Arc<Metrics>,
    ) -> Self {
        let probes = attachments.iter().map(|attachment| Probe {
            name: attachment.probe.name.to_owned(),
            attached: attachment.outcome.is_ok(),
            detail: match &attachment.outcome {
                Ok(variant) => variant.told(attachment.probe),
                Err(problem) => problem.clone(),
            },
        });
        Self {
            started_ns: clock::boot_ns(),
            probes: probes.collect(),
            store_path: config.store.path.clone(),
            reader: store.reader(),
            evidence: store.evidence(),
            metrics,
            max_flows: config.capture.max_flows,
            memory: config.sizing.memory.map(|memory| memory.bytes),
            self_test: self_test.clone(),
            fallen_back: None,
        }
    }

    pub(super) fn fallen_back(self, why: Option<&str>) -> Self {
        Self { fallen_back: why.map(str::to_owned), ..self }
    }

    /// Signs for what is stored, when somebody asks, and waits for it.
    pub(super) fn seal(
        &self,
        view: &Arc<View>,
    ) -> Arc<dyn Fn() -> Option<status::Evidence> + Send + Sync> {
        let (view, head) = (Arc::clone(view), self.evidence.clone());
        Arc::new(move || {
            if !view.seal() {
                tracing::warn!("a checkpoint that was asked for was not signed in time");
            }
            evidence(&head)
        })
    }

    /// The function that the API calls; it may block on the disk.
    pub(super) fn answer(
        self,
        vitals: Arc<Vitals>,
        rules: InForce,
        readiness: Readiness,
    ) -> Arc<dyn Fn() -> Status + Send + Sync> {
        Arc::new(move || self.status(&vitals, &in_force(&rules), &readiness))
    }

    fn status(&self, vitals: &Vitals, rules: &Rules, readiness: &Readiness) -> Status {
        let flows = vitals.flows.load(Ordering::Relaxed);
        let probes = self.probes();
        let now = clock::Clock::host().now();
        let uptime = now.boot_ns.saturating_sub(self.started_ns) / 1_000_000_000;
        let started_at = Time(now.timeline.wall(self.started_ns));
        let fill = |name: &str, entries, capacity: usize| Fill {
            name: name.to_owned(),
            entries,
            capacity: capacity as u64,
        };
        let queue = self.metrics.queue_depth.with_label_values(&[outputs::store::STAGE]);
        Status {
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            pid: process::id(),
            started_at,
            uptime,
            ready: readiness.is_ready(),
            tier: tier_of(probes.iter().map(|it| (it.name.as_str(), it.attached))).to_owned(),
            warnings: self.warnings(vitals, rules),
            probes,
            coverage_since: Some(started_at),
            losses: losses(&self.metrics),
            policy: policy(rules),
            databases: databases(rules),
            store: self.store(),
            evidence: evidence(&self.evidence),
            clock: Some(self.clock(vitals)),
            self_test: Some(self.self_test(&now)),
            queues: vec![
                fill(
                    watch::SAMPLES,
                    vitals.samples.load(Ordering::Relaxed),
                    waiting_max(self.max_flows),
                ),
                fill(
                    outputs::store::STAGE,
                    queue.get().max(0).cast_unsigned(),
                    outputs::store::queue_entries(self.max_flows),
                ),
            ],
            maps: vec![
                fill("flows", flows, self.max_flows as usize),
                fill(
                    "processes",
                    vitals.processes.load(Ordering::Relaxed),
                    crate::attribute::PROCESSES_MAX,
                ),
                fill("names", vitals.names.load(Ordering::Relaxed), crate::names::NAMES_MAX),
            ],
            flows,
            details: details(rules, &self.metrics, vitals)
                .into_iter()
                .chain(self.memory.map(|bytes| ("bytes of memory at the start".to_owned(), bytes)))
                .collect(),
        }
    }

    fn warnings(&self, vitals: &Vitals, rules: &Rules) -> Vec<String> {
        // Until a reload put the present one in force.
        let is_in_force = self.metrics.config_fallback.get() == 1;
        let fallen_back = self.fallen_back.iter().filter(|_| is_in_force).cloned();
        let databases = rules.locator.warnings(clock::wall());
        fallen_back.chain(warnings(vitals)).chain(databases).collect()
    }

    /// As they are now: whoever may can take one off its hook.
    fn probes(&self) -> Vec<Probe> {
        let mut probes = self.probes.clone();
        for probe in probes.iter_mut().filter(|probe| probe.attached) {
            let gauge = self.metrics.probe_attached.with_label_values(&[&probe.name]);
            probe.attached = gauge.get() == 1;
        }
        probes
    }

    fn clock(&self, vitals: &Vitals) -> status::ClockState {
        let last = *vitals.last_step.lock().unwrap_or_else(PoisonError::into_inner);
        status::ClockState {
            trusted: self.metrics.clock_trusted.get() == 1,
            boot: clock::Clock::host().now().timeline.boot.to_string(),
            steps: self.metrics.clock_steps_total.get(),
            last_step: last.map(|(from, to)| status::Step { from: Time(from), to: Time(to) }),
        }
    }

    fn self_test(&self, now: &Moment) -> status::SelfTestState {
        let (word, detail, last_passed) = match &self.self_test {
            Err(why) => ("off", why.clone(), None),
            Ok(test) => {
                let Standing { last_passed_ns, is_failing, failed, .. } = test.standing();
                let last = last_passed_ns.map(|at_ns| Time(now.timeline.wall(at_ns)));
                let word = match last {
                    _ if is_failing => "failing",
                    Some(_) => "passed",
                    None => "waiting",
                };
                (word, format!("failed {failed} times"), last)
            }
        };
        status::SelfTestState { state: word.to_owned(), detail, last_passed }
    }

    fn store(&self) -> status::Store {
        let path = self.store_path.display().to_string();
        let Ok(stats) = self.reader.stats() else {
            let index = "unreadable".to_owned();
            return status::Store { path, bytes: 0, records: 0, segments: 0, oldest: None, index };
        };
        let index = match stats.index {
            None => "off".to_owned(),
            Some(index) if index.blocks_behind == 0 => "current".to_owned(),
            Some(index) => format!("{} behind", counted(index.blocks_behind, "block", "blocks")),
        };
        status::Store {
            path,
            bytes: stats.ledger_bytes + stats.index_bytes,
            records: stats.flow_states,
            segments: stats.segments,
            oldest: stats.oldest.map(Time),
            index,
        }
    }
}

/// What was signed last.
fn evidence(head: &EvidenceHead) -> Option<status::Evidence> {
    let signed = head.get()?;
    Some(status::Evidence {
        origin: signed.checkpoint.origin,
        size: signed.checkpoint.size,
        root: data_encoding::BASE64.encode(&signed.checkpoint.root),
        signed_at: signed.at.map(Time),
        key: signed.key,
        rolled_back_from: signed.rolled_back_from,
    })
}

fn warnings(vitals: &Vitals) -> Vec<String> {
    let unknown = vitals.unknown_interfaces.lock().unwrap_or_else(PoisonError::into_inner);
    unknown
        .iter()
        .map(|name| format!("capture.interfaces: no interface is called {name}"))
        .collect()
}

/// Who judges: classes the probes have a verdict on, and new flows by who found their class; and the
/// sockets that could send around every hook.
fn details(rules: &Rules, metrics: &Metrics, vitals: &Vitals) -> BTreeMap<String, u64> {
    let classes = rules.locator.image().classes().len() as u64;
    let by = |by| metrics.classified_flows_total.with_label_values(&[by]).get();
    let details = [
        ("classes in the kernel", if rules.generation == 0 { 0 } else { classes }),
        ("flows classified by the kernel", by(CLASSIFIED_BY_KERNEL)),
        ("flows classified by the daemon", by(CLASSIFIED_BY_DAEMON)),
        ("verdicts that differ", metrics.verdict_disagreements_total.get()),
        ("refused reloads", metrics.config_reloads_total.with_label_values(&["failure"]).get()),
        ("bytes received without a flow", metrics.received_without_flow_bytes_total.get()),
        ("sockets below ip", vitals.below_ip.load(Ordering::Relaxed)),
    ];
    let details = details.into_iter().map(|(name, count)| (name.to_owned(), count));
    details.chain(met(metrics)).collect()
}

/// What was met on the way, and how often, where it was.
fn met(metrics: &Metrics) -> impl Iterator<Item = (String, u64)> {
    let counters = [
        ("store", &metrics.store_events_total),
        ("attribution", &metrics.attribution_events_total),
        ("answers behind", &metrics.answers_behind_total),
    ];
    counters.into_iter().flat_map(|(of, counters)| nonzero(of, counters))
}

/// The counters of one label that are not 0, each with its label.
fn nonzero(of: &str, counters: &prometheus::IntCounterVec) -> Vec<(String, u64)> {
    let families = counters.collect();
    let counters = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    let counted = counters.filter_map(|metric| {
        let label = metric.get_label().first()?.value().to_owned();
        Some((format!("{of} {label}"), whole(metric.get_counter().get_value())))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

/// Every loss counter that is not 0.
fn losses(metrics: &Metrics) -> Vec<Loss> {
    let families = metrics.events_lost_total.collect();
    let counters = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    let losses = counters.map(|metric| {
        let label = |name| {
            let found = metric.get_label().iter().find(|pair| pair.name() == name);
            found.map(|pair| pair.value().to_owned()).unwrap_or_default()
        };
        let count = metric.get_counter().get_value();
        Loss { stage: label("stage"), reason: label("reason"), count: whole(count) }
    });
    losses.filter(|loss| loss.count > 0).collect()
}

/// Counters count in whole numbers, whatever the exposition's type.
#[expect(clippy::cast_sign_loss, reason = "counters never fall below 0")]
fn whole(count: f64) -> u64 {
    count as u64
}

fn policy(rules: &Rules) -> Policy {
    Policy {
        sha256: hex(&rules.policy.sha256),
        mode: rules.policy.mode.word().to_owned(),
        approved_countries: rules
            .policy
            .approved_countries
            .iter()
            .map(ToString::to_string)
            .collect(),
        rules: rules.policy.rules.len() as u64,
    }
}

fn databases(rules: &Rules) -> Vec<Database> {
    let databases = rules.locator.databases().iter();
    databases
        .map(|database| Database {
            label: database.label.to_owned(),
            name: database.name.clone(),
            built_at: Some(Time(database.built_at)),
            sha256: hex(&database.sha256),
            freshness: database.freshness(clock::wall()).word().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::KnownLabels;

    #[test]
    fn what_the_store_met_and_what_answers_lacked_is_a_line_of_the_status() {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        metrics.store_events_total.with_label_values(&["tail-cut"]).inc_by(2);
        metrics.store_events_total.with_label_values(&["text-cut"]);
        metrics.attribution_events_total.with_label_values(&["unenriched"]).inc();
        metrics.answers_behind_total.with_label_values(&["room"]).inc_by(9);
        let mut lines: Vec<_> = met(&metrics).collect();
        lines.sort();
        let told = |name: &str, count| (name.to_owned(), count);
        let right = [
            told("answers behind room", 9),
            told("attribution unenriched", 1),
            told("store tail-cut", 2),
        ];
        assert_eq!(lines, right);
    }
}
