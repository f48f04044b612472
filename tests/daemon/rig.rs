//! A daemon without a kernel: the real API server on a socket of its own, over events in memory.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use geofenced::inside::{
    api::{
        Api, Each, EventSource, IsOver, Located, LocatedDestination, LocatedJudgement, MarkRefusal,
        Marks, SourceError, server,
        status::{self, Status},
    },
    connections,
    coverage::{Alive, Coverage, Gap, Integrity},
    ecs::Time,
    event::{Lookup, Mark, Record, Rollup, Timestamp},
    filter::{Filter, Query},
    marks::Intervals,
    metrics::{KnownLabels, Metrics},
    outputs::live,
    shutdown::{self, Shutdown, Trigger},
};
use tempfile::TempDir;

use crate::records::START;

/// Events in memory, and what goes wrong with them.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) records: Vec<Record>,
    pub(crate) rollups: Vec<Rollup>,
    /// After this many records the source fails.
    pub(crate) fails_after: Option<usize>,
    /// How many records were handed out, whoever got them.
    pub(crate) handed_out: AtomicU64,
    /// A query matches nothing and looks on until nobody waits for it.
    pub(crate) is_endless: bool,
    /// Queries that ended because nobody waited.
    pub(crate) given_up: AtomicU64,
    /// What there is instead of a watched window.
    pub(crate) gaps: Vec<Gap>,
    pub(crate) integrity: Integrity,
}

/// Events for one answer.
struct Until {
    events: Arc<Events>,
    is_over: IsOver,
}

impl EventSource for Until {
    fn until(self: Arc<Self>, _is_over: IsOver) -> Arc<dyn EventSource> {
        self
    }
    fn query(&self, query: &Query, each: Each<'_, Record>) -> Result<(), SourceError> {
        if !self.events.is_endless {
            return self.events.query(query, each);
        }
        while !(self.is_over)() {
            thread::yield_now();
        }
        self.events.given_up.fetch_add(1, Ordering::Relaxed);
        Err(SourceError("nobody waits".into()))
    }
    fn rollups(&self, filter: &Filter, each: Each<'_, Rollup>) -> Result<(), SourceError> {
        EventSource::rollups(&*self.events, filter, each)
    }
    fn lookups(&self, query: &Query, each: Each<'_, Lookup>) -> Result<(), SourceError> {
        EventSource::lookups(&*self.events, query, each)
    }
    fn coverage(
        &self,
        window: (Option<Timestamp>, Timestamp),
        alive: Option<Alive>,
    ) -> Result<Coverage, SourceError> {
        self.events.coverage(window, alive)
    }
}

impl EventSource for Events {
    fn until(self: Arc<Self>, is_over: IsOver) -> Arc<dyn EventSource> {
        Arc::new(Until { events: self, is_over })
    }
    fn query(&self, query: &Query, each: Each<'_, Record>) -> Result<(), SourceError> {
        let matching: Vec<&Record> =
            self.records.iter().filter(|record| query.filter.matches(record)).collect();
        let skipped = matching.len().saturating_sub(query.limit.unwrap_or(usize::MAX));
        for (index, record) in matching.into_iter().skip(skipped).enumerate() {
            if self.fails_after == Some(index) {
                return Err(SourceError("the disk is gone".into()));
            }
            self.handed_out.fetch_add(1, Ordering::Relaxed);
            if each(record.clone()).is_break() {
                break;
            }
        }
        match self.fails_after {
            Some(0) => Err(SourceError("the disk is gone".into())),
            _ => Ok(()),
        }
    }
    fn rollups(&self, _filter: &Filter, each: Each<'_, Rollup>) -> Result<(), SourceError> {
        let _ = self.rollups.iter().cloned().try_for_each(|rollup| match each(rollup) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(()),
        });
        Ok(())
    }
    fn lookups(&self, _query: &Query, _each: Each<'_, Lookup>) -> Result<(), SourceError> {
        Ok(())
    }
    fn coverage(
        &self,
        (since, until): (Option<Timestamp>, Timestamp),
        _alive: Option<Alive>,
    ) -> Result<Coverage, SourceError> {
        let from = Time(since.unwrap_or(START));
        let (gaps, ledger) = (self.gaps.clone(), self.integrity);
        let (to, watching) = (Time(until), Vec::new());
        Ok(Coverage { from, to, watched_seconds: 1, seconds: 1, gaps, ledger, watching })
    }
}

/// Marks in memory.
#[derive(Default)]
struct Marked(Mutex<Arc<Intervals>>);

impl Marks for Marked {
    fn known(&self) -> Arc<Intervals> {
        Arc::clone(&self.0.lock().unwrap())
    }
    fn put(&self, mark: Mark) -> Result<(), MarkRefusal> {
        let mut known = self.0.lock().unwrap();
        let wrong = |problem: String| MarkRefusal { problem, is_wrong: true };
        known.check(&mark).map_err(|error| wrong(error.to_string()))?;
        Arc::make_mut(&mut known).add(&mark);
        Ok(())
    }
}

/// Serves until dropped.
pub(crate) struct Daemon {
    /// Of its socket, where no other was given; goes with it.
    _directory: TempDir,
    socket: PathBuf,
    pub(crate) events: Arc<Events>,
    pub(crate) live: live::Sender,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) api: Api,
    trigger: Trigger,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.trigger.request();
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the server ended in disorder");
    }
}

impl Daemon {
    pub(crate) fn with(events: Events) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("geofenced.sock");
        Self::at(directory, socket, events)
    }

    /// At a socket that is another's after this one.
    pub(crate) fn at(directory: TempDir, socket: PathBuf, events: Events) -> Self {
        let (trigger, shutdown) = shutdown::channel();
        let events = Arc::new(events);
        let live = live::channel();
        let metrics = Arc::new(Metrics::new(&KnownLabels::default()).unwrap());
        let api = Api {
            events: Arc::clone(&events) as Arc<dyn EventSource>,
            live: live.clone(),
            watching_since: START,
            status: Arc::new(status),
            locate: Arc::new(located),
            marks: Arc::new(Marked::default()),
            seal: Arc::new(|| None),
            metrics: Arc::clone(&metrics),
        };
        let (path, served) = (socket.clone(), api.clone());
        let (is_bound, bound) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || serve(&path, served, shutdown, &is_bound));
        bound.recv().unwrap();
        let thread = Some(thread);
        Self { _directory: directory, socket, events, live, metrics, api, trigger, thread }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// The command line, asking this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = geofenced(arguments);
        command.arg("--socket").arg(self.socket());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// The command line in a plain environment.
pub(crate) fn geofenced(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geofenced"));
    command.args(arguments).env_remove("GEOFENCED_CONFIG").env("TZ", "UTC");
    command
}

fn serve(socket: &Path, api: Api, shutdown: Shutdown, is_bound: &std::sync::mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bound = server::bind(socket).unwrap();
        is_bound.send(()).unwrap();
        let bounds = server::BOUNDS.within(connections::descriptors());
        bound.serve(api, bounds, shutdown).await;
    });
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        commit: "abc".into(),
        pid: 7,
        started_at: Time(START),
        uptime: 3_700,
        ready: true,
        tier: "full".into(),
        warnings: vec![],
        probes: vec![],
        coverage_since: Some(Time(START)),
        losses: vec![],
        policy: status::Policy {
            sha256: "00ff".into(),
            mode: "judge".into(),
            approved_countries: vec!["US".into()],
            rules: 0,
        },
        databases: vec![],
        store: status::Store {
            path: "/var/lib/geofenced".into(),
            bytes: 4096,
            records: 10,
            segments: 1,
            oldest: None,
            index: "current".into(),
        },
        self_test: None,
        evidence: None,
        clock: None,
        queues: vec![],
        maps: vec![],
        flows: 3,
        details: BTreeMap::new(),
    }
}

fn located(ip: IpAddr) -> Located {
    Located {
        destination: LocatedDestination { ip, geo: None, autonomous_system: None },
        geofenced: LocatedJudgement {
            verdict: "unknown".into(),
            certainty: "partial".into(),
            reason: "unlocated".into(),
            operator_country: None,
            second_country: None,
            anycast: false,
            correction: None,
            databases: vec!["none".into()],
            explanation: vec![],
        },
    }
}
