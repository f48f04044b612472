//! The pipeline's thread: waits for samples, feeds them in, sweeps the counters every second. Knows
//! sources and the pipeline; serves nobody.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::stall::Looks;
use crate::{
    clock::Clock,
    config::RecordMode,
    coverage::ALIVE_NS,
    event::{Notice, Timestamp},
    outputs::view::View,
    pipeline::Pipeline,
    probe::{ProbeError, Source},
    rules::Rules,
    shutdown::Shutdown,
};

const DAY_NS: u64 = 86_400_000_000_000;
const SWEEP_NS: u64 = 1_000_000_000;
/// When not everything that was due could be told.
const SWEEP_AGAIN_NS: u64 = 200_000_000;
/// Samples taken in before the clock is looked at again.
const DRAIN: usize = 4096;
/// Rounds that empty the ring at the end: more than it holds, but not for ever on a busy host.
const DRAINS_AT_END: usize = 64;

/// How soon what no interface has confirmed yet is asked for again; then each time after twice as long.
const CONFIRM_NS: u64 = 5_000_000;

/// Somebody who asks gets counters this fresh; so often are they read for it at most.
const FRESH_NS: u64 = 200_000_000;
/// And no more of the pipeline's time goes to that than one part in so many.
const ASKING_SHARE: u64 = 4;

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
    /// The last time that the wall clock was set: from and to.
    pub(super) last_step: Mutex<Option<(Timestamp, Timestamp)>>,
}

impl Vitals {
    /// After a sweep.
    fn tell(&self, pipeline: &Pipeline, source: &dyn Source) {
        self.flows.store(pipeline.live_flows() as u64, Ordering::Relaxed);
        self.processes.store(pipeline.processes().0 as u64, Ordering::Relaxed);
        self.names.store(pipeline.names() as u64, Ordering::Relaxed);
        self.below_ip.store(pipeline.below_ip() as u64, Ordering::Relaxed);
        *self.unknown_interfaces.lock().unwrap_or_else(PoisonError::into_inner) =
            source.unknown_interfaces();
        *self.last_step.lock().unwrap_or_else(PoisonError::into_inner) = pipeline.last_step();
        self.sweeps.fetch_add(1, Ordering::Relaxed);
    }
}

/// New rules on their way to the pipeline; at most one set, the newest.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Option<(Arc<Rules>, RecordMode)>>);

impl Inbox {
    pub(super) fn put(&self, rules: Arc<Rules>, mode: RecordMode) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((rules, mode));
    }
    fn empty(&self, pipeline: &mut Pipeline, clock: &Clock) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((rules, mode)) = taken {
            let policy_sha256 = rules.policy.sha256;
            let host_before = pipeline.host().cloned();
            pipeline.adopt(rules, mode);
            pipeline.note(clock.now().wall(), Notice::Reloaded { policy_sha256 });
            pipeline.note_policy(clock.now().wall());
            pipeline.note_watching(&clock.now(), false);
            if pipeline.host() != host_before.as_ref() {
                pipeline.note_host(clock.now().wall());
            }
        }
    }
}

/// Runs until shutdown is requested or a recorded source is at its end; then hands over what is
/// untold and closes the outputs.
pub(super) fn watch(
    source: &mut dyn Source,
    mut pipeline: Pipeline,
    vitals: &Vitals,
    inbox: &Inbox,
    view: &View,
    shutdown: &Shutdown,
) -> Result<(), ProbeError> {
    let _at_the_end = Closes(view);
    let clock = Clock::host();
    let mut sweep_at: u64 = 0;
    let now = source.now_ns();
    let mut said = Said { alive_at: now, policy_at: now, is_watching_told: false };
    let (mut is_unconfirmed, mut confirm_in) = (false, CONFIRM_NS);
    let mut fresh = Fresh::default();
    let mut looks = Looks::begin();
    let mut outcome = Ok(());
    while !shutdown.is_requested() {
        let at_most = if is_unconfirmed { confirm_in } else { u64::MAX };
        let due_in = sweep_at.saturating_sub(source.now_ns()).min(at_most);
        match source.wait(Duration::from_nanos(due_in)) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        learn_interfaces(source, &mut pipeline);
        let is_new = source.drain(DRAIN, &mut |sample| pipeline.accept(sample)) > 0;
        is_unconfirmed = pipeline.confirm(source);
        confirm_in = if is_new || !is_unconfirmed { CONFIRM_NS } else { 2 * confirm_in };
        if let Err(error) = fresh.answer(view, source, &mut pipeline) {
            outcome = Err(error);
            break;
        }
        if !source.is_sweep_due(sweep_at) {
            continue;
        }
        // Approved flows are told without waking anyone.
        source.collect();
        source.drain(DRAIN, &mut |sample| pipeline.accept(sample));
        let now = source.now_ns();
        inbox.empty(&mut pipeline, &clock);
        vitals.samples.store(source.waiting() as u64, Ordering::Relaxed);
        let moment = clock.now();
        pipeline.look_at_clock(&moment);
        looks.tell(source, &mut pipeline, &moment);
        match pipeline.sweep(source, moment.timeline.wall_at_boot_ns) {
            Ok(true) => sweep_at = now + SWEEP_NS,
            Ok(false) => sweep_at = now + SWEEP_AGAIN_NS,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        fresh.count(now, source.now_ns());
        said.again(now, &mut pipeline, &clock);
        vitals.tell(&pipeline, source);
    }
    outcome.and(end(source, pipeline, &clock, looks))
}

/// Takes in what is still in the ring, since it has left the machine, and tells all that is untold.
fn end(
    source: &mut dyn Source,
    mut pipeline: Pipeline,
    clock: &Clock,
    mut looks: Looks,
) -> Result<(), ProbeError> {
    let _ = source.wait(LAST_SAMPLES);
    source.collect_all();
    for _ in 0..DRAINS_AT_END {
        if source.drain(DRAIN, &mut |sample| pipeline.accept(sample)) == 0 {
            break;
        }
    }
    let moment = clock.now();
    pipeline.look_at_clock(&moment);
    looks.tell(source, &mut pipeline, &moment);
    let last = pipeline.sweep(source, moment.timeline.wall_at_boot_ns);
    pipeline.note(moment.wall(), Notice::Stopped);
    drop(pipeline.finish(source.now_ns(), moment.wall()));
    last.map(drop)
}

/// What is said again from time to time, and when it was last.
struct Said {
    alive_at: u64,
    policy_at: u64,
    /// Who watches; the first time after interfaces are known.
    is_watching_told: bool,
}

impl Said {
    fn again(&mut self, now: u64, pipeline: &mut Pipeline, clock: &Clock) {
        let is_alive_due = now >= self.alive_at + ALIVE_NS;
        if is_alive_due || !std::mem::replace(&mut self.is_watching_told, true) {
            // No sooner: interfaces of containers come and go by the second.
            pipeline.note_watching(&clock.now(), false);
        }
        if is_alive_due {
            pipeline.note(clock.now().wall(), Notice::Alive);
            self.alive_at = now;
        }
        // Retention takes the last one away some time.
        if now >= self.policy_at + DAY_NS {
            pipeline.note_policy(clock.now().wall());
            pipeline.note_host(clock.now().wall());
            pipeline.note_watching(&clock.now(), true);
            self.policy_at = now;
        }
    }
}

/// Ends the wait of whoever asks, in whatever way the pipeline ends.
struct Closes<'a>(&'a View);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How fresh the counters are that were read last, and from when on they may be read for somebody.
#[derive(Debug, Default)]
struct Fresh {
    until: u64,
}

impl Fresh {
    /// They were read between these two times.
    fn count(&mut self, from: u64, to: u64) {
        self.until = to + FRESH_NS.max(to.saturating_sub(from).saturating_mul(ASKING_SHARE));
    }

    /// If somebody asks.
    fn answer(
        &mut self,
        view: &View,
        source: &mut dyn Source,
        pipeline: &mut Pipeline,
    ) -> Result<(), ProbeError> {
        if let Some(asked) = view.asked() {
            // A recording has its samples and counters where they were.
            if !source.is_recorded() {
                // Much is told without waking anyone.
                source.collect_all();
                source.drain(DRAIN, &mut |sample| pipeline.accept(sample));
                self.read(source, pipeline)?;
                // However fresh the rest is: an answer is not to be without a loss that is known.
                pipeline.tell_losses(source)?;
            }
            view.answer(asked, pipeline.unreported(source.now_ns()));
        }
        Ok(())
    }

    fn read(&mut self, source: &mut dyn Source, pipeline: &mut Pipeline) -> Result<(), ProbeError> {
        let from = source.now_ns();
        if from < self.until {
            return Ok(());
        }
        pipeline.recount(source)?;
        self.count(from, source.now_ns());
        Ok(())
    }
}

fn learn_interfaces(source: &mut dyn Source, pipeline: &mut Pipeline) {
    if let Some(names) = source.interfaces() {
        pipeline.set_interfaces(names);
    }
    if let Some(seen) = source.seen() {
        pipeline.set_seen(seen);
    }
}
