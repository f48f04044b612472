//! What every exporter tells of its own process. It is told by whoever can read it, and only when somebody
//! scrapes; reads nothing itself.

use std::fmt;

use prometheus::{
    Counter, Gauge, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::catalogue::{Kind, MetricDoc, PROCESS};

/// Of this process, now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    pub max_fds: u64,
    pub threads: u64,
    /// Since 1970.
    pub started_at_seconds: f64,
}

impl Usage {
    /// In the order of [`PROCESS`].
    fn values(&self) -> [f64; PROCESS.len()] {
        [
            self.cpu_seconds,
            self.resident_bytes as f64,
            self.virtual_bytes as f64,
            self.open_fds as f64,
            self.max_fds as f64,
            self.threads as f64,
            self.started_at_seconds,
        ]
    }
}

type Read = Box<dyn Fn() -> Option<Usage> + Send + Sync>;

/// `None` of `read`: what was told last is told again.
pub fn register(
    registry: &Registry,
    read: impl Fn() -> Option<Usage> + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    let meters: Result<_, _> = PROCESS.iter().map(Meter::new).collect();
    registry.register(Box::new(Process { read: Box::new(read), meters: meters? }))
}

enum Meter {
    Counter(Counter),
    Gauge(Gauge),
}

impl Meter {
    fn new(doc: &MetricDoc) -> Result<Self, prometheus::Error> {
        Ok(match doc.kind {
            Kind::Counter => Self::Counter(Counter::new(doc.name, doc.help)?),
            Kind::Gauge | Kind::Histogram => Self::Gauge(Gauge::new(doc.name, doc.help)?),
        })
    }

    fn set(&self, value: f64) {
        match self {
            Self::Counter(counter) => counter.inc_by((value - counter.get()).max(0.0)),
            Self::Gauge(gauge) => gauge.set(value),
        }
    }

    fn collector(&self) -> &dyn Collector {
        match self {
            Self::Counter(counter) => counter,
            Self::Gauge(gauge) => gauge,
        }
    }
}

struct Process {
    read: Read,
    meters: Vec<Meter>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.meters.iter().flat_map(|it| it.collector().desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(usage) = (self.read)() {
            for (meter, value) in self.meters.iter().zip(usage.values()) {
                meter.set(value);
            }
        }
        self.meters.iter().flat_map(|it| it.collector().collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_reads_the_process_anew_and_its_processor_time_never_falls() {
        let registry = Registry::new();
        let reads = std::sync::Mutex::new(vec![7.5, 3.0]);
        register(&registry, move || {
            let cpu_seconds = reads.lock().unwrap().pop()?;
            Some(Usage { cpu_seconds, resident_bytes: 4096, open_fds: 9, ..Usage::default() })
        })
        .unwrap();
        let text = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for cpu in ["3", "7.5", "7.5"] {
            let text = text();
            let has = |line: String| assert!(text.lines().any(|it| it == line), "{line}\n{text}");
            has(format!("process_cpu_seconds_total {cpu}"));
            has("process_resident_memory_bytes 4096".into());
            has("process_open_fds 9".into());
        }
        assert_eq!(registry.gather().len(), PROCESS.len());
    }
}
