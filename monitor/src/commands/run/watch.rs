//! The pipeline's thread: waits for samples, feeds them in, sweeps the counters every second. Knows
//! sources and the pipeline; serves nobody.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    config::RecordMode,
    event::{Notice, Timestamp},
    pipeline::{Pipeline, Rules},
    probe::{ProbeError, Source},
    shutdown::Shutdown,
};

const SWEEP_NS: u64 = 1_000_000_000;
/// When not everything that was due could be told.
const SWEEP_AGAIN_NS: u64 = 200_000_000;
/// How often the ledger is told that watching goes on: what a power cut leaves unknown.
const ALIVE_NS: u64 = 60_000_000_000;
/// Samples taken in before the clock is looked at again.
const DRAIN: usize = 4096;
/// Rounds that empty the ring at the end: more than it holds, but not for ever on a busy host.
const DRAINS_AT_END: usize = 64;

/// How soon what no interface has confirmed yet is asked for again.
const CONFIRM_NS: u64 = 5_000_000;

/// What left last is waited for.
const LAST_SAMPLES: Duration = Duration::from_millis(50);

/// The queue between the ring's reader and the pipeline.
pub(super) const SAMPLES: &str = "samples";

/// What the pipeline's thread tells of itself.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    /// Sweeps done: it lives while this grows.
    pub(super) sweeps: AtomicU64,
    pub(super) flows: AtomicU64,
    pub(super) processes: AtomicU64,
    pub(super) names: AtomicU64,
    /// Sockets below IP.
    pub(super) below_ip: AtomicU64,
    /// Waiting when the last sweep began.
    pub(super) samples: AtomicU64,
    /// Names in the configuration that stand for nothing.
    pub(super) unknown_interfaces: Mutex<Vec<String>>,
}

impl Vitals {
    fn take(&self, pipeline: &Pipeline) {
        self.flows.store(pipeline.live_flows() as u64, Ordering::Relaxed);
        self.processes.store(pipeline.processes().0 as u64, Ordering::Relaxed);
        self.names.store(pipeline.names() as u64, Ordering::Relaxed);
        self.below_ip.store(pipeline.below_ip() as u64, Ordering::Relaxed);
    }
}

/// New rules on their way to the pipeline; at most one set, the newest.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Option<(Arc<Rules>, RecordMode)>>);

impl Inbox {
    pub(super) fn put(&self, rules: Arc<Rules>, mode: RecordMode) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((rules, mode));
    }
    fn take(&self) -> Option<(Arc<Rules>, RecordMode)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs until shutdown is requested or a recorded source is at its end; then hands over what is
/// untold and closes the outputs.
pub(super) fn watch(
    source: &mut dyn Source,
    mut pipeline: Pipeline,
    vitals: &Vitals,
    inbox: &Inbox,
    shutdown: &Shutdown,
) -> Result<(), ProbeError> {
    let mut sweep_at: u64 = 0;
    let mut alive_at = source.now_ns();
    let mut is_unconfirmed = false;
    let mut outcome = Ok(());
    while !shutdown.is_requested() {
        let mut due_in = sweep_at.saturating_sub(source.now_ns());
        if is_unconfirmed {
            due_in = due_in.min(CONFIRM_NS);
        }
        match source.wait(Duration::from_nanos(due_in)) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        learn_interfaces(source, &mut pipeline);
        source.drain(DRAIN, &mut |sample| pipeline.accept(sample));
        is_unconfirmed = pipeline.confirm(source);
        if !source.is_sweep_due(sweep_at) {
            continue;
        }
        // Approved flows are told without waking anyone.
        source.collect();
        source.drain(DRAIN, &mut |sample| pipeline.accept(sample));
        let now = source.now_ns();
        if let Some((rules, mode)) = inbox.take() {
            let policy_sha256 = rules.policy.sha256;
            pipeline.adopt(rules, mode);
            pipeline.note(wall_now(), Notice::Reloaded { policy_sha256 });
        }
        vitals.samples.store(source.waiting() as u64, Ordering::Relaxed);
        match pipeline.sweep(source, wall_offset_ns()) {
            Ok(true) => sweep_at = now + SWEEP_NS,
            Ok(false) => sweep_at = now + SWEEP_AGAIN_NS,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        if now >= alive_at + ALIVE_NS {
            pipeline.note(wall_now(), Notice::Alive);
            alive_at = now;
        }
        vitals.take(&pipeline);
        *vitals.unknown_interfaces.lock().unwrap_or_else(PoisonError::into_inner) =
            source.unknown_interfaces();
        vitals.sweeps.fetch_add(1, Ordering::Relaxed);
    }
    // What is still in the ring has left the machine.
    let _ = source.wait(LAST_SAMPLES);
    source.collect();
    for _ in 0..DRAINS_AT_END {
        if source.drain(DRAIN, &mut |sample| pipeline.accept(sample)) == 0 {
            break;
        }
    }
    let last = pipeline.sweep(source, wall_offset_ns());
    pipeline.note(wall_now(), Notice::Stopped);
    drop(pipeline.finish(source.now_ns(), wall_now()));
    outcome.and(last.map(drop))
}

fn learn_interfaces(source: &mut dyn Source, pipeline: &mut Pipeline) {
    if let Some(names) = source.interfaces() {
        pipeline.set_interfaces(names);
    }
    if let Some(seen) = source.seen() {
        pipeline.set_seen(seen);
    }
}

/// Wall clock less boot clock, in nanoseconds.
pub(super) fn wall_offset_ns() -> i64 {
    let (wall, boot) = (clock_gettime(ClockId::Realtime), clock_gettime(ClockId::Boottime));
    (wall.tv_sec - boot.tv_sec) * 1_000_000_000 + (wall.tv_nsec - boot.tv_nsec)
}

pub(super) fn wall_now() -> Timestamp {
    let now = clock_gettime(ClockId::Realtime);
    Timestamp(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
}
