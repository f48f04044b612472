//! The daemon's asynchronous side: the API, the metrics, signals, and what the service manager is
//! told. It never touches the pipeline but through its inbox.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{net::TcpListener, time::sleep};

use super::{
    reload::Reloader,
    watch::{self, Vitals},
    watched::Watched,
};
use crate::{
    api::{
        Api,
        server::{self, Bound},
    },
    metrics::{self, Metrics, serve::Readiness},
    probe::{PROBES, Probe, TIERS, tier_of},
    shutdown::{Shutdown, Trigger, notify, watch_signals},
    store::{STORE_EVENTS, StoreCounters},
    ticks::Ticks,
};

/// How often the gauges are brought up to date and readiness is looked at.
const GAUGES: Duration = Duration::from_secs(2);
/// How often what lay idle is given back.
const MINUTE: Duration = Duration::from_mins(1);
const MINUTES_A_DAY: u32 = 24 * 60;
/// After so long is looked what of the last day was watched; the last one repeats. A new ledger has a day of
/// a few seconds.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_mins(1), Duration::from_mins(10)];
/// Sweeps come every second; this long without one means that the pipeline hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bound before anything is served, so that one in use ends the start at once.
pub(super) struct Sockets {
    pub(super) api: Bound,
    pub(super) metrics: Option<TcpListener>,
}

/// What the servers share.
pub(super) struct Serving {
    pub(super) metrics: Arc<Metrics>,
    pub(super) counters: Arc<StoreCounters>,
    pub(super) readiness: Readiness,
    pub(super) vitals: Arc<Vitals>,
    pub(super) reloader: Reloader,
    pub(super) trigger: Trigger,
    pub(super) shutdown: Shutdown,
    /// That this process may have.
    pub(super) descriptors: u64,
    pub(super) watched: Watched,
}

impl Serving {
    /// Until shutdown is requested.
    pub(super) async fn serve(self, api: Api, sockets: Sockets) -> anyhow::Result<()> {
        let Self {
            metrics,
            counters,
            readiness,
            vitals,
            reloader,
            trigger,
            shutdown,
            descriptors,
            watched,
        } = self;
        let more = reloader.page(&api);
        let api_served = async {
            let bounds = server::BOUNDS.within(descriptors);
            sockets.api.serve(api, bounds, shutdown.clone()).await;
            trigger.request();
        };
        let metrics_served = async {
            let Some(socket) = sockets.metrics else { return };
            let (metrics, readiness) = (Arc::clone(&metrics), readiness.clone());
            let ended = shutdown.clone().requested();
            let bounds = metrics::serve::BOUNDS.within(descriptors);
            metrics::serve::serve(socket, metrics, readiness, more, bounds, ended).await;
            trigger.request();
        };
        let signalled = watch_signals(&trigger, || {
            let reloader = reloader.clone();
            notify::reloading();
            tokio::task::spawn_blocking(move || {
                reloader.reload();
                notify::ready("watching");
            });
        });
        let told = (&*metrics, &*counters);
        let ticks = (Ticks::every(GAUGES)?, shutdown.clone());
        let gauged = keep_gauges(&vitals, told, &readiness, &reloader, ticks);
        let kept = keep_house(&reloader, shutdown.clone());
        let looked = keep_watched(watched, shutdown.clone());
        let ((), (), signalled, (), (), ()) =
            tokio::join!(api_served, metrics_served, signalled, gauged, kept, looked);
        notify::stopping();
        signalled?;
        Ok(())
    }
}

/// Gives idle memory back, and says once a day how old the databases are.
async fn keep_house(reloader: &Reloader, shutdown: Shutdown) {
    let mut minutes = 0;
    while !shutdown.is_requested() {
        reloader.rest();
        tokio::select! {
            () = sleep(MINUTE) => minutes += 1,
            () = shutdown.clone().requested() => return,
        }
        if minutes % MINUTES_A_DAY == 0 {
            reloader.meter_age();
        }
    }
}

/// Tells in metrics what was watched.
async fn keep_watched(watched: Watched, shutdown: Shutdown) {
    let last = LOOKS[LOOKS.len() - 1];
    for pause in LOOKS.into_iter().chain(std::iter::repeat(last)) {
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.clone().requested() => return,
        }
        let watched = watched.clone();
        let _ = tokio::task::spawn_blocking(move || watched.meter()).await;
    }
}

/// Which tier holds now.
fn meter_tier(metrics: &Metrics) {
    let attached = |probe: &Probe| metrics.probe_attached.with_label_values(&[probe.name]).get();
    let now = tier_of(PROBES.iter().map(|probe| (probe.name, attached(probe) == 1)));
    for tier in TIERS {
        metrics.capture_tier.with_label_values(&[tier]).set((tier == now).into());
    }
}

/// Whether every probe is where it should be without which nothing is seen; a replay has none.
fn sees(metrics: &Metrics) -> bool {
    let attached = |probe: &Probe| metrics.probe_attached.with_label_values(&[probe.name]).get();
    let is_replay = PROBES.iter().all(|probe| attached(probe) == 0);
    is_replay || PROBES.iter().all(|probe| !probe.essential || attached(probe) == 1)
}

/// Brings the gauges up to date; tells readiness and, while the pipeline sweeps, the watchdog.
async fn keep_gauges(
    vitals: &Vitals,
    (metrics, counters): (&Metrics, &StoreCounters),
    readiness: &Readiness,
    reloader: &Reloader,
    (ticks, shutdown): (Ticks, Shutdown),
) {
    let entries = &metrics.map_entries;
    let [flows, processes, names] =
        ["flows", "processes", "names"].map(|map| entries.with_label_values(&[map]));
    let samples = metrics.queue_depth.with_label_values(&[watch::SAMPLES]);
    let (mut sweeps, mut swept_at) = (0, std::time::Instant::now());
    while !shutdown.is_requested() {
        flows.set(vitals.flows.load(Ordering::Relaxed).cast_signed());
        processes.set(vitals.processes.load(Ordering::Relaxed).cast_signed());
        names.set(vitals.names.load(Ordering::Relaxed).cast_signed());
        samples.set(vitals.samples.load(Ordering::Relaxed).cast_signed());
        metrics::catch_up(&metrics.store_events_total, &STORE_EVENTS, &counters.counts());
        metrics.store_waiting_bytes.set(counters.waiting_bytes().cast_signed());
        meter_tier(metrics);
        let now = vitals.sweeps.load(Ordering::Relaxed);
        if now != sweeps {
            if sweeps == 0 {
                // What left during the start was looked up by now.
                reloader.rest();
                notify::ready("watching");
                tracing::info!("watching");
            }
            (sweeps, swept_at) = (now, std::time::Instant::now());
        }
        let is_alive = sweeps > 0 && swept_at.elapsed() < PATIENCE;
        readiness.set(is_alive && sees(metrics) && metrics.store_writable.get() == 1);
        if is_alive {
            notify::alive();
        }
        // Quickly at first: whoever started the daemon waits for it.
        let pause = async {
            if sweeps == 0 {
                sleep(Duration::from_millis(1)).await;
            } else if ticks.next().await.is_err() {
                sleep(GAUGES).await;
            }
        };
        tokio::select! {
            () = pause => {}
            () = shutdown.clone().requested() => {}
        }
    }
    readiness.set(false);
}
