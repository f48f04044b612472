//! The pipeline with a store of its own, without probes: what the benchmarks feed. Measures nothing.

use std::{fs, path::Path, sync::Arc, time::Duration};

use geofenced::inside::{
    attribute::{BootOffset, PROCESSES_MAX, Processes, Procfs},
    config::{Config, RecordMode, StoreConfig},
    event::{Notice, Timestamp},
    locate::Locator,
    metrics::{KnownLabels, Metrics},
    outputs::{self, Outputs, live, writer::StoreWriter},
    pipeline::{Pipeline, Rules},
    store::Store,
};
use zerocopy::IntoBytes as _;

use super::samples::{SECOND_NS, START_NS, executed};

/// Enough for whatever is measured.
const CAPACITY: u32 = 1 << 21;
/// Entries that wait for the store at most.
const QUEUED_MAX: i64 = 50_000;

pub(super) struct Rig {
    pub(super) pipeline: Pipeline,
    writer: StoreWriter,
    metrics: Arc<Metrics>,
    _folder: tempfile::TempDir,
}

impl Rig {
    pub(super) fn new(mode: RecordMode) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let metrics = Arc::new(Metrics::new(&KnownLabels::default()).expect("metrics"));
        let config = store(folder.path(), mode);
        let store = Store::open(&config).expect("a store");
        let (queue, writer) =
            outputs::writer::spawn(store, Arc::clone(&metrics), CAPACITY, config.sync)
                .expect("a writer");
        let outputs = Outputs::new(Arc::clone(&metrics), &config, queue, live::channel());
        let clock = BootOffset { wall_at_boot_ns: 0 };
        let processes =
            Processes::with(Procfs::at("/nonexistent"), "/etc/passwd", clock, PROCESSES_MAX);
        let rules = rules(folder.path());
        let mut pipeline =
            Pipeline::new(processes, rules, outputs, Arc::clone(&metrics), CAPACITY, 0);
        executed().for_each(|exec| pipeline.accept(exec.as_bytes()));
        Self { pipeline, writer, metrics, _folder: folder }
    }

    /// Waits for a slow disk, which is not what is measured.
    pub(super) fn let_the_store_catch_up(&self) {
        let depth = self.metrics.queue_depth.with_label_values(&["store"]);
        while depth.get() > QUEUED_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// With everything in the ledger at the end.
    pub(super) fn finish(mut self) {
        self.let_the_store_catch_up();
        // After this the last states wait for room.
        self.pipeline.note(Timestamp(START_NS), Notice::Stopped);
        drop(self.pipeline.finish(START_NS + 100 * SECOND_NS, Timestamp(START_NS)));
        assert!(self.writer.join(), "not everything was written");
        let lost = &self.metrics.events_lost_total;
        let is_lost = |labels: &[&str]| lost.with_label_values(labels).get() > 0;
        assert!(!is_lost(&["store", "queue-full"]) && !is_lost(&["rollup", "share"]), "lost");
    }
}

fn rules(folder: &Path) -> Arc<Rules> {
    let path = folder.join("config.toml");
    fs::write(&path, "[policy]\napproved_countries = [\"US\"]\n").expect("write the policy");
    let config = Config::load(&path).expect("the policy");
    let locator = Locator::open(&config.geo, &[]).expect("the databases");
    Arc::new(Rules::new(config.policy, locator))
}

fn store(folder: &Path, mode: RecordMode) -> StoreConfig {
    StoreConfig {
        path: folder.join("store"),
        record: mode,
        retention: Duration::from_hours(24 * 365),
        // All of it is one user's, who has a share.
        max_bytes: 256 << 30,
        sync: Duration::from_secs(10),
        shipping: None,
    }
}
