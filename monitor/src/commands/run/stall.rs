//! Notices when the pipeline stood still, whatever held it up: stopped by a signal, frozen with its cgroup, or no
//! processor for it. A host that slept is none: nothing left meanwhile.

use crate::{
    clock,
    event::{Moment, Notice},
    pipeline::Pipeline,
    probe::Source,
    when,
};

/// Counters are read each second, and on a host that is busy somewhat later.
const STALLED_NS: u64 = 5_000_000_000;

/// When the counters were read last, by the clock that stands while the host sleeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    awake_ns: u64,
}

impl Looks {
    pub(super) fn begin() -> Self {
        Self { awake_ns: clock::awake_ns() }
    }

    /// How long ago they were, if that is too long.
    fn again(&mut self, awake_ns: u64) -> Option<u64> {
        let stood_ns = awake_ns.saturating_sub(std::mem::replace(&mut self.awake_ns, awake_ns));
        (stood_ns > STALLED_NS).then_some(stood_ns)
    }

    /// Before the counters are read: what they lost is told after why.
    pub(super) fn tell(
        &mut self,
        source: &dyn Source,
        pipeline: &mut Pipeline,
        Moment { boot_ns, timeline }: &Moment,
    ) {
        let stood_ns = self.again(clock::awake_ns());
        // A recording has its own time.
        let Some(stood_ns) = stood_ns.filter(|_| !source.is_recorded()) else { return };
        let (since, at) =
            (timeline.wall(boot_ns.saturating_sub(stood_ns)), timeline.wall(*boot_ns));
        tracing::warn!(
            "stood still for {} s, since {}: what was told meanwhile is read now, as far as there was room for it",
            stood_ns / 1_000_000_000,
            when::rfc3339(since)
        );
        pipeline.note(at, Notice::Stalled { since });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_look_that_comes_late_is_a_stall_and_told_once() {
        let mut looks = Looks { awake_ns: 100 * SECOND };
        assert_eq!(looks.again(101 * SECOND), None);
        assert_eq!(looks.again(106 * SECOND), None, "a busy host");
        assert_eq!(looks.again(116 * SECOND), Some(10 * SECOND));
        assert_eq!(looks.again(117 * SECOND), None);
    }
}
