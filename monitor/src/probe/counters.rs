//! The probes' counters of what they do not tell, of which each processor has its own. Read all at once
//! where the kernel can; adds up, and judges nothing.

use std::{
    io,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
    util::nr_cpus,
};
use monitor_ebpf::{
    loss::{HOUSEKEEPING, LOSSES, Loss, WITHOUT_FLOW_BYTES, WITHOUT_FLOW_PACKETS},
    names::map,
};

use super::{ProbeError, batch};

pub(super) struct Counters {
    map: MapData,
    cpus: usize,
    /// Before Linux 5.13 each is asked for by itself.
    is_single: AtomicBool,
}

impl Counters {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        let problem =
            |problem: &str| ProbeError::Map { name: map::LOSSES, problem: problem.into() };
        let Some(Map::PerCpuArray(map)) = ebpf.take_map(map::LOSSES) else {
            return Err(problem("is no array of each processor"));
        };
        let cpus = nr_cpus().map_err(|(what, error)| problem(&format!("{what}: {error}")))?;
        Ok(Self { map, cpus, is_single: AtomicBool::new(false) })
    }

    /// By [`Loss`].
    pub(super) fn losses(&self) -> Result<[u64; Loss::ALL.len()], ProbeError> {
        let all = self.read()?;
        Ok(Loss::ALL.map(|loss| all[loss as usize]))
    }

    pub(super) fn housekeeping(&self) -> Result<u64, ProbeError> {
        Ok(self.read()?[HOUSEKEEPING as usize])
    }

    /// Packets and bytes.
    pub(super) fn without_flow(&self) -> Result<(u64, u64), ProbeError> {
        let all = self.read()?;
        Ok((all[WITHOUT_FLOW_PACKETS as usize], all[WITHOUT_FLOW_BYTES as usize]))
    }

    fn read(&self) -> Result<[u64; LOSSES as usize], ProbeError> {
        let mut values = vec![0; LOSSES as usize * self.cpus];
        self.fill(&mut values)
            .map_err(|error| ProbeError::Map { name: map::LOSSES, problem: error.to_string() })?;
        let mut totals = [0; LOSSES as usize];
        for (total, each) in totals.iter_mut().zip(values.chunks(self.cpus)) {
            *total = each.iter().sum();
        }
        Ok(totals)
    }

    fn fill(&self, values: &mut [u64]) -> io::Result<()> {
        let map = self.map.fd().as_fd();
        if !self.is_single.load(Ordering::Relaxed) {
            if batch::look_up_array(map, self.cpus, values).is_ok() {
                return Ok(());
            }
            self.is_single.store(true, Ordering::Relaxed);
        }
        let each = values.chunks_mut(self.cpus);
        (0..).zip(each).try_for_each(|(index, values)| batch::look_up_index(map, index, values))
    }
}
