//! `geofenced run`: starts everything in the one order that works, and ends it in the other. Wiring
//! only: what each part does is its module's.
//!
//! Configuration first (it may be wrong), then databases and probes at once (these need privileges),
//! then privileges are dropped, and only then are threads started that stay, since capabilities are
//! kept by thread; but for the ring's reader and the interfaces' thread, which drop their own.

mod classes;
mod last_good;
mod reload;
mod self_test;
mod serve;
mod stall;
mod status;
mod watch;
mod watched;
mod words;

use std::{panic, sync::Arc, thread, time::Instant};

use anyhow::Context as _;
use monitor_ebpf::{loss::Loss, names::map};

use self::{
    classes::Classes,
    last_good::{Began, begin},
    reload::Reloader,
    serve::{Serving, Sockets},
    status::Facts,
    watch::{Inbox, Vitals, watch},
    watched::Watched,
};
use super::{Failure, Outcome, load};
use crate::{
    api::{Api, Current, group, server},
    attribute::{
        self, PROCESSES_MAX, Processes, Procfs,
        namespaces::{self, Clocks},
    },
    cli::{COMMIT, Exit, Global, RunArgs, VERSION},
    clock::Clock,
    config::{Capture, Config, HostConfig, Memory, NamesConfig},
    connections,
    decode::DecodeError,
    event::{Moment, Notice, Timestamp, Watcher},
    evidence::KeyName,
    flow, host,
    locate::{self, codes},
    metrics::{self, KnownLabels, Metrics, serve::Readiness},
    names::{self, Resolvers},
    outputs::{self, Outputs, live, log::Wanted, marking::Marking, view::View},
    pipeline::{self, Pipeline, Watchers},
    probe::{
        self, Attaching, Attachment, Kernel, PROBES, Places, ProbeError, Recorder, Replay, Source,
        TIERS, Variant, find_cgroup, waiting_max,
    },
    rules::Rules,
    sandbox,
    self_test::SelfTest,
    shutdown::{self, Trigger, notify},
    store::{Options, Store, StoreError, host_name},
};

/// Watches this host until it is told to end.
pub(super) fn run(global: &Global, args: &RunArgs) -> Outcome {
    keep_little_memory();
    // Before anything is opened: a descriptor a probe, an interface, a segment.
    let descriptors = connections::descriptors();
    let Began { config, last_good, mut rules, opened } = begin(global, args)?;
    let Opened { mut source, attachments, mut processes, places, attaching, self_test } = opened;
    let classes = Classes::new(places);
    classes.put(&mut rules, None);
    let rules = Arc::new(rules);
    confine(&mut processes, args)?;
    let store = open_store(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sockets = runtime.block_on(bind(global, &config))?;
    let metrics = Arc::new(new_metrics(&rules, &attachments, &config.capture)?);
    last_good.started(&metrics);
    words::approved(&rules.policy);
    let (reader, counters) = (store.reader(), Arc::clone(store.counters()));
    let facts = Facts::new(&config, &attachments, &self_test, &store, Arc::clone(&metrics))
        .fallen_back(last_good.why());
    let (live, wanted) = (live::channel(), Wanted::of(config.log));
    let max_flows = config.capture.max_flows;
    let (queue, writer) =
        outputs::writer::spawn(store, Arc::clone(&metrics), max_flows, config.store.sync)?;
    let outputs = Outputs::new(Arc::clone(&metrics), &config.store, queue, live.clone())
        .counting_top(config.metrics.top, &metrics)
        .logging(wanted.clone(), &metrics);
    let marks = Arc::new(Marking::new(reader.clone(), outputs.noter()));
    let view = Arc::new(View::new(source.waker(), &outputs, Arc::clone(&metrics)));
    let now = Clock::host().now();
    let (by, told, wall) = (Arc::clone(&rules), Arc::clone(&metrics), now.timeline.wall_at_boot_ns);
    let mut pipeline = Pipeline::new(processes, by, outputs, told, max_flows, wall);
    name_by(&mut pipeline, &config.names, args);
    watch_by(&mut pipeline, self_test.ok(), watchers(&attachments, args));
    settle(attaching);
    let watching_since = note_start(&mut pipeline, started(&attachments, &rules), &now);

    let (trigger, shutdown) = shutdown::channel();
    let (vitals, inbox) = (Arc::new(Vitals::default()), Arc::new(Inbox::default()));
    let reloader =
        Reloader::new(config, last_good, &metrics, &inbox, classes, rules).logging(wanted);
    let (told, at_the_end) = (Arc::clone(&vitals), EndsDaemon(trigger.clone()));
    let (asked, ended) = (Arc::clone(&view), shutdown.clone());
    let watcher = thread::Builder::new().name("pipeline".into()).spawn(move || {
        let _at_the_end = at_the_end;
        watch(&mut *source, pipeline, &told, &inbox, &asked, &ended)
    })?;
    let (readiness, seal, locate) = (Readiness::default(), facts.seal(&view), reloader.locate());
    let status = facts.answer(Arc::clone(&vitals), reloader.rules(), readiness.clone());
    let (events, told) = (Arc::new(Current::new(reader.clone(), view)), Arc::clone(&metrics));
    let api = Api { events, live, watching_since, status, locate, marks, seal, metrics: told };
    let serving = Serving {
        watched: Watched::new(reader, watching_since, &metrics),
        metrics,
        counters,
        readiness,
        vitals,
        reloader,
        trigger,
        shutdown,
        descriptors,
    };
    let (began, told) = (Instant::now(), Arc::clone(&serving.metrics));
    let served = runtime.block_on(serving.serve(api, sockets));
    let watched = watcher.join().map_err(|_| anyhow::anyhow!("the pipeline broke"))?;
    let end = writer.join().then_some(Exit::Fine);
    let end = end.context("not everything was written; see the log above")?;
    served.and(watched.map_err(Into::into))?;
    words::stopped(began.elapsed(), &told);
    Ok(end)
}

/// Gives up rights, and then reads who runs already.
fn confine(processes: &mut Processes, args: &RunArgs) -> anyhow::Result<()> {
    notify::starting("reading who runs already");
    group::join();
    let confined = sandbox::confine()?;
    tracing::debug!(?confined, "privileges dropped");
    if args.replay.is_none() {
        processes.scan()?;
    }
    notify::starting("opening the store");
    Ok(())
}

/// Under which name the evidence is signed.
fn evidence_name(config: &HostConfig) -> KeyName {
    KeyName::parse(&host::host(config).name).unwrap_or_else(|_| host_name())
}

/// The first words of the ledger; since when is watched.
fn note_start(pipeline: &mut Pipeline, started: Notice, now: &Moment) -> Timestamp {
    let watching_since = Clock::host().now().wall();
    pipeline.note(watching_since, started);
    pipeline.note_policy(watching_since);
    pipeline.note_host(watching_since);
    pipeline.look_at_clock(now);
    watching_since
}

async fn bind(global: &Global, config: &Config) -> anyhow::Result<Sockets> {
    notify::starting("attaching to interfaces");
    let path = global.socket.as_deref().unwrap_or(&config.api.socket);
    let api = server::bind(path)?;
    let metrics = match config.metrics.listen {
        Some(address) => Some(metrics::serve::bind(address).await?),
        None => None,
    };
    Ok(Sockets { api, metrics })
}

fn name_by(pipeline: &mut Pipeline, names: &NamesConfig, args: &RunArgs) {
    if names.queries {
        pipeline.record_lookups();
    }
    // Of a recording nobody knows where it was made.
    let namespace = args.replay.is_none().then(probe::namespace_cookie).flatten();
    pipeline.trust(Resolvers::new(&names.resolvers, namespace));
}

/// Until every interface has its probes, and what that took is given back.
fn settle(attaching: Attaching) {
    attaching.wait();
    give_back_memory();
}

fn watch_by(pipeline: &mut Pipeline, test: Option<SelfTest>, watchers: Option<Watchers>) {
    if let Some(test) = test {
        pipeline.prove(test);
    }
    pipeline.watch_as(watchers);
}

/// Before any thread is started.
fn see_the_host() -> Result<(), Failure> {
    let host = Procfs::host();
    let seen = namespaces::pids(&host).and_then(|()| namespaces::users(&host));
    let seen = seen.and_then(|()| namespaces::join_time(&host));
    let clocks = seen.map_err(|error| {
        let exit = if error.is_host() { Exit::Unsupported } else { Exit::Error };
        Failure { exit, error: error.into() }
    })?;
    if clocks == Clocks::Joined {
        tracing::info!("left a time namespace of its own for the host's");
    }
    Ok(())
}

/// Ends the daemon when the thread that holds it ends, in whatever way.
struct EndsDaemon(Trigger);

impl Drop for EndsDaemon {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// So that two large things are not there at once.
fn is_memory_short(config: &Config) -> bool {
    config.sizing.memory.is_some_and(Memory::is_short)
}

fn open_store(config: &Config) -> Result<Store, StoreError> {
    let one_in = config.sizing.memory.map_or(1, Memory::one_in);
    let options = Options::of(&config.store).sparing(one_in);
    Store::open_named_with(&config.store, options, evidence_name(&config.host))
}

/// Databases and source at once: the kernel verifies programs while the image of addresses is built. Where memory is
/// short one after the other: building takes as much for a moment as the tables in the kernel do for good.
fn open_both(config: &Config, args: &RunArgs) -> Result<(Rules, Opened), Failure> {
    if args.replay.is_none() {
        see_the_host()?;
    }
    let (locator, opened) = thread::scope(|scope| {
        let building = scope.spawn(|| load::kept_locator(config));
        let built = || building.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        if is_memory_short(config) {
            let locator = built();
            if let Err(error) = locate::settle(&config.store.path) {
                tracing::debug!("the image of addresses is not written to the disk: {error}");
            }
            notify::starting("loading the probes");
            return (locator, open_source(config, args));
        }
        let opened = open_source(config, args);
        notify::starting("reading the databases");
        (built(), opened)
    });
    notify::starting("telling the kernel of the databases");
    // What is wrong with the configuration is told first.
    let rules = Rules::new(config.policy.clone(), locator?).on(host::host(&config.host));
    Ok((rules, opened?))
}

/// The kernel, or a recording.
struct Opened {
    source: Box<dyn Source + Send>,
    attachments: Vec<Attachment>,
    processes: Processes,
    places: Option<Places>,
    attaching: Attaching,
    /// Or why there is none.
    self_test: Result<SelfTest, String>,
}

fn open_source(config: &Config, args: &RunArgs) -> Result<Opened, Failure> {
    if let Some(path) = &args.replay {
        // Its processes are long gone: this host's /proc must not name them.
        let nowhere = Procfs::at("/nonexistent");
        let clock = attribute::BootOffset::now();
        let processes = Processes::with(nowhere, "/etc/passwd", clock, PROCESSES_MAX);
        let source = Box::new(Replay::open(path)?);
        let (attachments, attaching) = (Vec::new(), Attaching::default());
        let self_test = Err("a recording has none".to_owned());
        return Ok(Opened { source, attachments, processes, places: None, attaching, self_test });
    }
    let (mut kernel, attaching) = Kernel::begin(&config.capture, &config.names).map_err(failure)?;
    let (places, starts) = (kernel.take_places(), kernel.take_starts());
    let cgroup_sets = kernel.take_cgroup_sets();
    let attachments = kernel.attachments().to_vec();
    for attachment in &attachments {
        let name = attachment.probe.name;
        match &attachment.outcome {
            Ok(Variant { name: taken, better_refused: Some(why) }) => tracing::warn!(
                "probe {name} is {taken}, which tells less of who sent: this kernel refused {why}; please report it"
            ),
            Ok(_) => {}
            Err(problem) => {
                let lost = attachment.probe.lost_without;
                tracing::warn!("probe {name} is missing ({problem}); not seen: {lost}");
            }
        }
    }
    let source: Box<dyn Source + Send> = match &args.record_samples {
        Some(path) => Box::new(Recorder::new(kernel, path)?),
        None => Box::new(kernel),
    };
    let mut processes = Processes::new();
    if let Ok(mount) = find_cgroup(None) {
        processes.set_cgroups(&mount);
    }
    if !processes.sees_host_files() {
        tracing::warn!(
            "the host's root can't be looked into: no rule for a process can allow; run outside of \
             containers, or with CAP_SYS_PTRACE"
        );
    }
    if let Err(error) = processes.read_digests() {
        tracing::warn!("executed files are not read for their digests: {error}");
    }
    if let Some(starts) = starts {
        processes.set_last_exec(Box::new(move |tgid| starts.executed_ns(tgid)));
    }
    if let Some(mut sets) = cgroup_sets {
        processes.set_know_cgroups(Box::new(move |set| sets.know(set)));
    }
    let self_test = self_test::start(&config.capture);
    Ok(Opened { source, attachments, processes, places, attaching, self_test })
}

/// The option that this kernel was built without, where that is why.
pub(super) fn lacks(error: &ProbeError) -> Option<&'static str> {
    probe::lacking(error, Procfs::host().knows_file_system("cgroup2"))
}

pub(super) fn failure(error: ProbeError) -> Failure {
    let exit = match error {
        // The configuration names it.
        ProbeError::Cgroup { .. } | ProbeError::NotACgroup { .. } => Exit::Usage,
        _ if error.is_host() => Exit::Unsupported,
        _ => Exit::Error,
    };
    let option = lacks(&error);
    let error = anyhow::Error::from(error);
    let error = match option {
        Some(option) => error.context(format!("this kernel was built without {option}")),
        None => error,
    };
    Failure { exit, error }
}

/// Makes the allocator give back at once what is large. By itself it learns to keep what it was once
/// asked for, here the arrays that an image is built from, and for each thread.
#[cfg(target_env = "gnu")]
fn keep_little_memory() {
    const LARGE: libc::c_int = 1 << 20;
    // SAFETY: mallopt(3) sets a number of the allocator's own.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE) };
}

#[cfg(not(target_env = "gnu"))]
fn keep_little_memory() {}

/// What loading the probes and scanning took, and needs no more: the allocator keeps it otherwise.
#[cfg(target_env = "gnu")]
fn give_back_memory() {
    // SAFETY: malloc_trim(3) touches only free memory of the allocator's own.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back_memory() {}

fn started(attachments: &[Attachment], rules: &Rules) -> Notice {
    let attached = attachments.iter().filter(|it| it.outcome.is_ok());
    Notice::Started {
        version: VERSION.into(),
        probes: attached.map(|it| it.probe.name.into()).collect(),
        policy_sha256: rules.policy.sha256,
    }
}

/// What does not change of who watches; of a recording nobody knows who did.
fn watchers(attachments: &[Attachment], args: &RunArgs) -> Option<Watchers> {
    let watcher = |it: &Attachment| Watcher {
        name: it.probe.name.into(),
        missing: it.outcome.as_ref().err().map(|why| why.as_str().into()),
    };
    args.replay.is_none().then(|| Watchers {
        version: VERSION.into(),
        kernel: rustix::system::uname().release().to_string_lossy().into(),
        probes: attachments.iter().map(watcher).collect(),
    })
}

fn new_metrics(
    rules: &Rules,
    attachments: &[Attachment],
    capture: &Capture,
) -> anyhow::Result<Metrics> {
    let countries: Vec<_> = codes::assigned().collect();
    let mut known = outputs::known_labels(&countries);
    known.losses.extend(losses().map(|(stage, reason)| (stage.to_owned(), reason.to_owned())));
    let listeners = [connections::METRICS, connections::API];
    known.refusals = listeners
        .into_iter()
        .flat_map(|listener| connections::refused::ALL.map(|it| (listener.into(), it.into())))
        .collect();
    known.tiers = TIERS.map(str::to_owned).to_vec();
    known.attribution_events = attribute::EVENTS.map(str::to_owned).to_vec();
    known.queues.push((watch::SAMPLES.to_owned(), waiting_max(capture.max_flows) as u64));
    let metrics = Metrics::new(&KnownLabels {
        decode_reasons: [&DecodeError::REASONS[..], &[names::MALFORMED, names::UNASKED]]
            .concat()
            .iter()
            .map(|it| (*it).to_owned())
            .collect(),
        probes: PROBES.iter().map(|probe| probe.name.to_owned()).collect(),
        maps: vec![map::FLOWS.to_lowercase(), "processes".to_owned(), names::STAGE.to_owned()],
        ..known
    })?;
    metrics.build_info.with_label_values(&[VERSION, COMMIT]).set(1);
    metrics::process::register(&metrics.registry, own_usage)?;
    metrics.config_last_reload_successful.set(1);
    reload::meter_rules(&metrics, rules);
    for attachment in attachments {
        let attached = i64::from(attachment.outcome.is_ok());
        metrics.probe_attached.with_label_values(&[attachment.probe.name]).set(attached);
        if let Ok(variant) = &attachment.outcome {
            let is_best = i64::from(variant.better_refused.is_none());
            let labels = [attachment.probe.name, variant.name];
            metrics.probe_variant.with_label_values(&labels).set(is_best);
        }
    }
    let capacity = &metrics.map_capacity;
    capacity.with_label_values(&["flows"]).set(capture.max_flows.into());
    capacity.with_label_values(&["processes"]).set(i64::try_from(PROCESSES_MAX)?);
    capacity.with_label_values(&[names::STAGE]).set(i64::try_from(names::NAMES_MAX)?);
    Ok(metrics)
}

fn own_usage() -> Option<metrics::process::Usage> {
    let own = attribute::own::own()?;
    Some(metrics::process::Usage {
        cpu_seconds: own.cpu_seconds,
        resident_bytes: own.resident_bytes,
        virtual_bytes: own.virtual_bytes,
        open_fds: own.open_fds,
        max_fds: own.max_fds,
        threads: own.threads,
        started_at_seconds: own.started_at_seconds(),
    })
}

/// What stages before the outputs can lose: stage and reason.
fn losses() -> impl Iterator<Item = (&'static str, &'static str)> {
    let probe = Loss::ALL.map(|loss| (pipeline::STAGE, loss.reason()));
    let detached = [pipeline::DETACHED, pipeline::SHARE].map(|reason| (pipeline::STAGE, reason));
    let digest = attribute::digests::REASONS.map(|reason| (attribute::digests::STAGE, reason));
    let names = names::LOSSES.map(|reason| (names::STAGE, reason));
    let flow = [(flow::STAGE, flow::SAMPLE_MISSING)];
    probe.into_iter().chain(detached).chain(digest).chain(names).chain(flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    #[test]
    fn each_loss_that_can_be_counted_is_in_the_reference_of_metrics() {
        let reference = metrics::catalogue::reference();
        let line = reference.lines().find(|it| it.starts_with("| `stage` `reason` of losses |"));
        let line = line.unwrap();
        let outputs = outputs::known_labels(&[]).losses;
        let before = losses().map(|(stage, reason)| (stage.to_owned(), reason.to_owned()));
        for (stage, reason) in before.chain(outputs) {
            let of_stage = line.split(';').find(|it| it.contains(&format!("`{stage}`:")));
            let of_stage = of_stage.unwrap_or_else(|| panic!("{stage} is not told of"));
            assert!(of_stage.contains(&format!("`{reason}`")), "{stage} {reason}: {of_stage}");
        }
    }
}
