//! Sizes that follow from the memory there is, where the configuration says "auto". Pure: who asks reads the
//! memory.

use monitor_ebpf::settings;

use super::Capture;

const SHORT: u64 = 192 << 20;
const VERY_SHORT: u64 = 96 << 20;

/// What the daemon and its tables in the kernel may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub bytes: u64,
    /// By a cgroup of the daemon's; else it is the machine's.
    pub is_bounded: bool,
}

impl Memory {
    /// Not enough for two large things at once.
    pub fn is_short(self) -> bool {
        self.bytes < SHORT
    }

    /// Of what else could be kept in memory, one in so many.
    pub fn one_in(self) -> usize {
        match self.bytes {
            // The tables in the kernel take more than half of it.
            ..VERY_SHORT => 8,
            VERY_SHORT..SHORT => 4,
            SHORT.. => 1,
        }
    }
}

/// Which sizes nobody wrote down, and what they were fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    pub(super) is_ring_automatic: bool,
    pub(super) are_flows_automatic: bool,
    pub memory: Option<Memory>,
}

impl Sizing {
    pub(super) const AUTOMATIC: Self =
        Self { is_ring_automatic: true, are_flows_automatic: true, memory: None };

    pub(super) fn fit(&mut self, capture: &mut Capture, memory: Memory) {
        let (_, flows, ring) = *step(memory.bytes);
        if self.are_flows_automatic {
            capture.max_flows = flows;
        }
        if self.is_ring_automatic {
            capture.ring_bytes = ring;
        }
        self.memory = Some(memory);
    }

    /// For `check`; `None` before it was fitted.
    pub(super) fn sentence(self, capture: &Capture) -> Option<String> {
        let memory = self.memory?;
        let whose = if memory.is_bounded { "its cgroup may take" } else { "this machine has" };
        let chosen =
            if self.are_flows_automatic { "follows from" } else { "is written down, beside" };
        Some(format!(
            "Up to {} flows are counted at once, by a buffer of {} KiB, which {chosen} the {} MiB that {whose}.",
            capture.max_flows,
            capture.ring_bytes >> 10,
            memory.bytes >> 20,
        ))
    }
}

/// From so many bytes on: flows, and bytes of the ring. A flow takes up to 0.25 kB in the kernel and as much in
/// the daemon, beside some 50 MiB of class tables and programs; each step leaves half of the memory. A machine
/// says less than it has: 1 GB are 900 MiB, 512 MB are 420.
const STEPS: [(u64, u32, u32); 5] = [
    (768 << 20, settings::FLOWS, settings::RING_BYTES),
    (384 << 20, 1 << 16, settings::RING_BYTES),
    (192 << 20, 1 << 14, 1 << 20),
    (96 << 20, 1 << 12, 512 << 10),
    (0, 1 << 10, 256 << 10),
];

fn step(bytes: u64) -> &'static (u64, u32, u32) {
    let last = &STEPS[STEPS.len() - 1];
    STEPS.iter().find(|it| bytes >= it.0).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn fitted(sizing: Sizing, mib: u64) -> (u32, u32, String) {
        let (mut sizing, mut capture) = (sizing, Config::builtin().capture);
        sizing.fit(&mut capture, Memory { bytes: mib << 20, is_bounded: true });
        (capture.max_flows, capture.ring_bytes, sizing.sentence(&capture).unwrap())
    }

    #[test]
    fn less_memory_is_fewer_flows_and_a_smaller_ring_down_to_the_least() {
        let all = [8192, 900, 420, 256, 128, 64, 1].map(|mib| fitted(Sizing::AUTOMATIC, mib));
        assert_eq!(all[0].0, settings::FLOWS);
        assert_eq!(all[1].0, settings::FLOWS);
        assert!(all.windows(2).all(|two| two[0].0 >= two[1].0 && two[0].1 >= two[1].1), "{all:?}");
        assert_eq!((all[5].0, all[5].1), (1024, 256 << 10));
        assert_eq!(all[6].0, 1024);
        assert!(all[5].2.contains("1024 flows") && all[5].2.contains("64 MiB"), "{}", all[5].2);
        assert!(all.iter().all(|it| it.1.is_power_of_two()));
    }

    #[test]
    fn what_is_written_down_stays_whatever_the_memory() {
        let flows = Sizing { are_flows_automatic: false, ..Sizing::AUTOMATIC };
        let (max_flows, ring, told) = fitted(flows, 64);
        assert_eq!((max_flows, ring), (settings::FLOWS, 256 << 10));
        assert!(told.contains("written down"), "{told}");
        let ring = Sizing { is_ring_automatic: false, ..Sizing::AUTOMATIC };
        assert_eq!(fitted(ring, 64).1, settings::RING_BYTES);
        assert_eq!(Sizing::AUTOMATIC.sentence(&Config::builtin().capture), None);
    }
}
