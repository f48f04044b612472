//! Every metric: its name, kind, labels and meaning. `docs/metrics.md` is generated from this table.

/// What a metric is, to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident: $kind:ident $name:literal $labels:expr, $help:literal;)+) => {
        $(pub(super) const $constant: MetricDoc = MetricDoc {
            name: concat!("geofenced_", $name),
            kind: Kind::$kind,
            labels: &$labels,
            help: $help,
        };)+
        /// All of them, in the order of the reference.
        pub const ALL: &[MetricDoc] = &[$($constant),+];
    };
}

catalogue! {
    EGRESS_FLOWS: Counter "egress_flows_total" ["verdict", "country", "transport"],
        "Flows that sent at least one packet, each counted once.";
    EGRESS_BYTES: Counter "egress_bytes_total" ["verdict", "country"],
        "IP bytes sent, headers included.";
    EGRESS_PACKETS: Counter "egress_packets_total" ["verdict", "country"],
        "IP packets sent.";
    RECEIVED_BYTES: Counter "received_bytes_total" ["verdict", "country"],
        "IP bytes that came back on the same flows, headers included.";
    ATTEMPTS: Counter "attempts_total" ["verdict", "country"],
        "Flows that were asked for, and of which no packet had left when they were first told. One that sends later is a flow of egress_flows_total, too.";
    VIOLATIONS: Counter "violations_total" ["country", "reason"],
        "Flows that sent to where the policy does not let data go, each counted once. Attempts never count.";
    LAST_VIOLATION: Gauge "last_violation_timestamp_seconds" ["country", "reason"],
        "When data last left in violation, up to a minute late while a flow goes on. No series where that never happened since the start.";
    UNIT_BYTES: Counter "unit_sent_bytes_total" ["unit"],
        "IP bytes sent by each of the [metrics] top systemd units that sent most, while they are among them; other: by the rest; none: by nobody, or no unit. Off unless `top` is set.";
    OPERATOR_BYTES: Counter "operator_sent_bytes_total" ["operator"],
        "IP bytes sent to each of the [metrics] top operators that most was sent to, as above; none: nobody knows whose the address is.";
    ATTRIBUTION: Counter "attribution_total" ["attribution"],
        "Flows by how their process is known; none: it is not.";
    UNATTRIBUTED_BYTES: Counter "unattributed_bytes_total" ["origin"],
        "IP bytes sent by sockets whose process is not known; packet-socket: also what left around every hook with nobody or several who can have sent it.";
    EVENTS_LOST: Counter "events_lost_total" ["stage", "reason"],
        "What was seen but not handed on, by the stage that dropped it and why. Above 0 the record has gaps.";
    HOUSEKEEPING_FRAMES: Counter "housekeeping_frames_total" [],
        "Frames that no record tells, since they hold nobody's data: ARP of the kernel and of bridged guests, with nothing behind it; spanning tree and link aggregation of the kernel.";
    WITHOUT_FLOW_PACKETS: Counter "received_without_flow_packets_total" [],
        "Packets that sockets received from an address to which no flow of theirs leads: answers from another address than was asked, answers to what went by a hop, and what clients send a server before it answers them.";
    RECEIVED_WITHOUT_FLOW_BYTES: Counter "received_without_flow_bytes_total" [],
        "IP bytes of the same, which no record has in destination.bytes.";
    DECODE_ERRORS: Counter "decode_errors_total" ["reason"],
        "Samples of the probes that could not be read.";
    CLASSIFIED_FLOWS: Counter "classified_flows_total" ["by"],
        "New flows by who found the class of their remote address: kernel; daemon, where the probes have no tables of the rules in force or say nothing of the address.";
    VERDICT_DISAGREEMENTS: Counter "verdict_disagreements_total" [],
        "Flows on which the probes' verdict is not the daemon's. Above 0 one of them is wrong.";
    CAPTURE_TIER: Gauge "capture_tier" ["tier"],
        "1 for the tier of `geofenced doctor` that holds now, 0 for the others.";
    PROBE_ATTACHED: Gauge "probe_attached" ["probe"],
        "1 while the probe is attached wherever it should be, else 0.";
    PROBE_VARIANT: Gauge "probe_variant" ["probe", "variant"],
        "Which program of a probe was loaded: 1 if it is the one that tells most of those whose helpers this kernel has, 0 if a better one was refused (the log says why).";
    PROBE_DETACHMENTS: Counter "probe_detachments_total" ["probe"],
        "Times that a probe was found taken off its hook, or behind another program.";
    SELF_TESTS: Counter "self_tests_total" ["result"],
        "Packets that the daemon sent itself, in a network namespace of its own, each [capture] self_test: passed if it was seen to leave, failed if not. All 0: no test can be made here (geofenced status says why).";
    SELF_TEST_LAST_SUCCESS: Gauge "self_test_last_success_timestamp_seconds" [],
        "When the last of them that was seen was sent; 0: none was.";
    COVERAGE: Gauge "coverage_seconds" ["extent"],
        "Of the last day, or since the ledger begins: how long was watched; blind: nobody looked; degraded: something was missed, or may have been, while watched; removed: seen, and kept no longer. Looked up at the start and every ten minutes.";
    GAP_BEFORE_START: Gauge "gap_before_start_seconds" ["reason"],
        "How long nobody watched before this daemon started, up to a day, and why: stopped: the one before it was told to end; ended-without-a-word: it was killed, or lost its power; not-running: nothing is known. All 0: this is the first, or nothing was missed.";
    MAP_ENTRIES: Gauge "map_entries" ["map"],
        "Entries in a bounded table.";
    MAP_CAPACITY: Gauge "map_capacity" ["map"],
        "Entries a bounded table can hold.";
    QUEUE_DEPTH: Gauge "queue_depth" ["queue"],
        "Entries waiting in a queue.";
    QUEUE_CAPACITY: Gauge "queue_capacity" ["queue"],
        "Entries a queue can hold; what comes beyond is lost and counted in geofenced_events_lost_total.";
    STORE_BYTES: Gauge "store_bytes" [],
        "Size of the store on disk.";
    STORE_MAX_BYTES: Gauge "store_max_bytes" [],
        "[store] max_size: beyond it the oldest entries go.";
    STORE_WAITING: Gauge "store_waiting_bytes" [],
        "What the store keeps beyond retention and max_size only because it is not on the ground yet: [store] keep_unshipped bounds it.";
    STORE_OLDEST: Gauge "store_oldest_timestamp_seconds" [],
        "When the oldest entry of the store was made; 0: it is empty.";
    STORE_RETENTION: Gauge "store_retention_seconds" [],
        "[store] retention: how long entries are kept where there is room.";
    STORE_RECORDS: Gauge "store_records" [],
        "Entries in the store.";
    CHECKPOINT_SIZE: Gauge "checkpoint_size" [],
        "Blocks of the ledger that the last signed checkpoint is over.";
    CHECKPOINT_TIMESTAMP: Gauge "checkpoint_timestamp_seconds" [],
        "When the last checkpoint was signed; 0 until this daemon signed one. Due every 15 minutes while something is stored.";
    STORE_FLOWS: Gauge "store_flows" [],
        "Flows of which the first state is in the store. Each flow has one.";
    STORE_FLOWS_LOST: Counter "store_flows_lost_total" ["reason"],
        "Flows of which the first state was lost, by the reasons of events_lost_total{stage=\"store\"}, which counts all their states. A later state may be there. Flows that are recorded one by one are as many as store_flows and these, as long as retention has deleted nothing.";
    STORE_WRITABLE: Gauge "store_writable" [],
        "1 while the store takes what it is given; 0 while it tries again what failed. Part of /readyz.";
    STORE_ERRORS: Counter "store_errors_total" ["operation"],
        "Failed operations of the store. It tries again; what it cannot keep meanwhile is counted as lost.";
    STORE_EVENTS: Counter "store_events_total" ["event"],
        "What the store did and met. block-corrupt: a stretch of the ledger that could not be read, each time one was met; chain-break, tail-cut: on opening; rollback: on opening it was not what had been signed; evidence-error: leaves or a checkpoint could not be written, which is tried again; text-cut: longer than is stored; index-set-aside, index-panic, index-error: answers came from the ledger alone meanwhile.";
    ATTRIBUTION_EVENTS: Counter "attribution_events_total" ["event"],
        "What it took to know who sent. process-evicted, program-forgotten: a table was full; unenriched: only the sample itself could tell of the process; socket-search: of all of /proc for the holder of a socket; postponed: none was due yet; cut: it met a bound first.";
    ANSWERS_BEHIND: Counter "answers_behind_total" ["reason"],
        "What answers to queries showed with totals older than a second, up to a minute. pipeline-busy: an answer without live totals, since the pipeline had no time; store-behind: an answer that did not wait for all that was handed to the store; room: a live flow beyond the 32768 of one answer.";
    CONNECTIONS_REFUSED: Counter "connections_refused_total" ["listener", "reason"],
        "Connections refused with 503, or closed before they had an answer. full: every place is taken by one being answered; peer: every place of this address or user; displaced: an idle one made way; late: no whole request in 10 s; unaccepted: the kernel would not hand it over.";
    LOG_LINES_LEFT_OUT: Counter "log_lines_left_out_total" ["reason"],
        "Violations that have no line of the log; the ledger has them. known: their program and destination had one ([log] violations = \"first\"); rate: there were too many in a minute; slow: who reads the log did not keep up.";
    GEO_DATABASE_BUILD: Gauge "geo_database_build_timestamp_seconds" ["database"],
        "Date of the data of the database in force.";
    GEO_DATABASE_STALE: Gauge "geo_database_stale" ["database"],
        "1 once the data of the database in force is 180 days old, else 0.";
    CONFIG_RELOADS: Counter "config_reloads_total" ["result"],
        "Reloads of the configuration; failure: it was invalid and the old one stays in force.";
    CONFIG_LAST_RELOAD_SUCCESSFUL: Gauge "config_last_reload_successful" [],
        "1 while what was read last is in force; 0: it was invalid, and the configuration before it goes on.";
    CONFIG_LAST_RELOAD: Gauge "config_last_reload_success_timestamp_seconds" [],
        "When the configuration in force was read.";
    CONFIG_FALLBACK: Gauge "config_fallback" [],
        "1 while the last good configuration is in force because the present one was broken at the start, else 0.";
    POLICY_LEARNING: Gauge "policy_learning" [],
        "1: the policy only learns (policy.mode), so that nothing is raised as a violation; else 0";
    POLICY_INFO: Gauge "policy_info" ["sha256"],
        "1; the label is the hash of the policy in force.";
    HOST_INFO: Gauge "host_info" ["name", "id"],
        "1; the labels are the host as records tell it: its name, and its machine id, hashed (empty: it has none).";
    BUILD_INFO: Gauge "build_info" ["version", "commit"],
        "1; the labels are what is running.";
    CLOCK_TRUSTED: Gauge "clock_trusted" [],
        "1 while the kernel says that the wall clock is synchronised, else 0: times may be wrong then. Ages count by the boot clock.";
    CLOCK_STEPS: Counter "clock_steps_total" [],
        "Times that the wall clock was found set, by a tenth of a second or more.";
    EVENT_LATENCY: Histogram "event_latency_seconds" [],
        "From the kernel's timestamp of a flow's first packet or attempt to its record being written, where \
         every query reads it. Within a second; a query has it written at once. Safe from a loss of power it is \
         after that: a violation in the same second, the rest within `[store] sync`.";
}

/// What every exporter tells of its own process, under the names that they all use.
pub const PROCESS: &[MetricDoc] = &[
    of_process("process_cpu_seconds_total", Kind::Counter, "Processor time of the daemon."),
    of_process("process_resident_memory_bytes", Kind::Gauge, "Memory that is resident."),
    of_process("process_virtual_memory_bytes", Kind::Gauge, "Memory that is mapped."),
    of_process("process_open_fds", Kind::Gauge, "Descriptors that are open."),
    of_process("process_max_fds", Kind::Gauge, "Descriptors that it may have."),
    of_process("process_threads", Kind::Gauge, "Threads."),
    of_process(
        "process_start_time_seconds",
        Kind::Gauge,
        "When it started, by the wall clock of now.",
    ),
];

const fn of_process(name: &'static str, kind: Kind, help: &'static str) -> MetricDoc {
    MetricDoc { name, kind, labels: &[], help }
}

const PREAMBLE: &str = "\
# Metrics

<!-- Generated by `cargo xtask docs` from monitor/src/metrics/catalogue.rs. Do not edit. -->

`http://<metrics.listen>/metrics` answers in the Prometheus text format, and in OpenMetrics 1.0 when
the request accepts `application/openmetrics-text`; compressed with gzip where it accepts that. `/healthz` answers 200 while the process runs,
`/readyz` 200 once the probes are attached and the store is writable, else 503.

Base units throughout. A series of a bounded label set exists from the start, at 0, so that the first
increase is seen. A rule that forbids has a series of `geofenced_violations_total` for each country it
names and for `none`; the others come with their first violation, at 1, which `increase()` does not see and
`deploy/prometheus/rules.yml` does. No label ever holds an address, pid, path, domain or command line.

| label | values |
|---|---|
| `verdict` | `approved` `unapproved` `unknown` `local` |
| `country` | ISO 3166-1 alpha-2 of the destination; `local` for local addresses; `none` where no database knows the country |
| `transport` | `tcp`, `udp`, `icmp` and the other named ones of `events`; `other` for the rest |
| `reason` of violations | `country` `operator` `unlocated` `undetermined` `malformed` `rule:<name>`, bounded by the rules of the configuration |
| `stage` `reason` of losses | `probe`: `ring-full-flow` `ring-full-attempt` `ring-full-end` `ring-full-process` `ring-full-name` `ring-full-sender` (the ring had no room for what it says), `flow-table-full` `packet-malformed` `owner-unstored`, `name-excess` (more answers than questions), `detached` (nobody looked, for up to a second each time), `attempt-share` (an attempt of a user whose share of the flow table or the ring was used up), `share` (a flow of such a user: it is added up, not lost); `track`: `sample-missing` (a flow that the kernel counts, all samples submitted since are taken in, and none told of it: told by its counters, without a process or a source); `names`: `table-full` `streams-full` `questions-full`; `digest`: `gone` (the process was over, or another program, and its file may have changed) `too-large` `queue-full`; `store`: `queue-full`, `disk-full` `read-only` `disk-failed` (the ledger took nothing, by why, and more came than is held in memory), `gave-way` (it was written, and had to go for what is newer on a full disk), `unwritten` (the daemon ended), in states of flows, of which a short flow has two; `notices`: the same of what the ledger says of itself, `queue-full` `disk-full` `read-only` `disk-failed` `gave-way` `unwritten`; `rollup`: `table-full`, `share` (a user's share of the store was used up: the flow is added up, not lost); `lookups`: `share`; `live`: `client-slow` |
| `reason` of answers | `pipeline-busy` `store-behind` `room` |
| `reason` of lines of the log | `known` `rate` `slow` |
| `event` of the store | `entry-appended` `entry-synced` `block-synced` `write-error` `text-cut` `block-corrupt` `chain-break` `segment-deleted` `index-set-aside` `index-panic` `index-error` `tail-cut` `checkpoint-signed` `evidence-error` `rollback` `segment-unshipped` |
| `event` of attribution | `process-evicted` `program-forgotten` `unenriched` `socket-search` `socket-search-postponed` `socket-search-cut` |
| `by` | `kernel` `daemon` |
| `database` | `country`, `operator`, `second` (opinion on the country), `corrections` (of operators) |
| `listener` | `metrics` `api` |
| `tier` | `full` `degraded` `none` |
| `extent` | `watched` `blind` `degraded` `removed` |
| `reason` of a gap before the start | `stopped` `ended-without-a-word` `not-running` |
| `unit` `operator` | at most `[metrics] top` names (an operator with its AS number), `other` `none`; no series where `top` is 0, as it is by default |
| `attribution` | `socket` `creator` `procfs` `none` |
| `origin` | `process` `accepted` `forwarded` `packet-socket` `tunnel` `kernel` `pre-existing` |

| metric | type | labels | meaning |
|---|---|---|---|
";

/// `docs/metrics.md`.
pub fn reference() -> String {
    use std::fmt::Write as _;
    let mut page = PREAMBLE.to_owned();
    for metric in ALL.iter().chain(PROCESS) {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.word(),
            labels.join(" "),
            metric.help
        );
    }
    page
}
