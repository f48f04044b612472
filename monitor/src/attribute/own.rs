//! What this process itself takes, as `/proc/self` says it. Read when somebody asks; keeps nothing.

use ::procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process},
};

use crate::clock;

/// Of this process, now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Own {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    pub max_fds: u64,
    pub threads: u64,
    /// By the boot clock.
    pub started_ns: u64,
}

/// `None`: there is no `/proc` here that shows this process.
pub fn own() -> Option<Own> {
    read().inspect_err(|error| tracing::debug!("/proc/self: {error}")).ok()
}

fn read() -> ProcResult<Own> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = ::procfs::ticks_per_second();
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(most) => most,
        LimitValue::Unlimited => u64::MAX,
    };
    let started_ns = u128::from(stat.starttime) * 1_000_000_000 / u128::from(ticks.max(1));
    Ok(Own {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks as f64,
        resident_bytes: stat.rss_bytes().get(),
        virtual_bytes: stat.vsize,
        open_fds: process.fd_count()? as u64,
        max_fds,
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
        started_ns: u64::try_from(started_ns).unwrap_or(0),
    })
}

impl Own {
    /// Since 1970, by the wall clock of now: it may have been set since.
    pub fn started_at_seconds(&self) -> f64 {
        let timeline = clock::Clock::host().now().timeline;
        timeline.wall(self.started_ns).0 as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_a_start_in_the_past() {
        let before = own().unwrap();
        assert!(before.resident_bytes > 1 << 20 && before.virtual_bytes >= before.resident_bytes);
        assert!(before.open_fds >= 3 && before.max_fds >= before.open_fds && before.threads >= 1);
        assert!(before.started_ns <= clock::boot_ns());
        assert!(before.started_at_seconds() > 1e9);
    }
}
