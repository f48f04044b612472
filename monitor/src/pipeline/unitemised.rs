//! What the probes added up, since a user had used up a share of the flow table or the ring: becomes
//! roll-ups, so that a violation stays one. Tells no flow: nobody knows one.

use monitor_ebpf::{
    places::UNASKED,
    sample::{Unitemised, UnitemisedKey},
    share::NOBODY,
};
use rustc_hash::FxHashMap;

use super::{Pipeline, STAGE};
use crate::{
    decode::verdict,
    event::{Judgement, Place, Timestamp, Traffic},
    judge::judge_place,
    outputs::Sum,
    probe::Source,
    rules::Rules,
};

/// `reason`: flows that are told by no record of their own. Their sums are.
pub const SHARE: &str = "share";
/// Sweeps after which rows of rules that are no more in force are not added to any more.
const SETTLED_SWEEPS: u32 = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    sum: Unitemised,
    /// Sweeps since it grew.
    still: u32,
}

/// What was told of each sum.
#[derive(Debug, Default)]
pub(super) struct Sums(FxHashMap<UnitemisedKey, Delivery>);

impl Sums {
    /// What was added since this was last asked; `None`: nothing.
    fn growth(&mut self, key: UnitemisedKey, now: Unitemised) -> Option<Unitemised> {
        let told = self.0.entry(key).or_default();
        if told.sum == now {
            told.still += 1;
            return None;
        }
        let before = std::mem::replace(told, Delivery { sum: now, still: 0 }).sum;
        Some(Unitemised {
            flows: now.flows.saturating_sub(before.flows),
            packets: now.packets.saturating_sub(before.packets),
            bytes: now.bytes.saturating_sub(before.bytes),
        })
    }

    /// Those that are of other rules than these, and grow no more.
    fn take_settled(&mut self, generation: u32) -> Vec<UnitemisedKey> {
        let is_settled = |key: &UnitemisedKey, told: &Delivery| {
            // Those of no class are there from the start.
            let is_of_rules = key.generation == generation || key.class == UNASKED;
            !is_of_rules && told.still >= SETTLED_SWEEPS
        };
        let settled = self.0.iter().filter(|(key, told)| is_settled(key, told));
        let settled: Vec<UnitemisedKey> = settled.map(|(key, _)| *key).collect();
        for key in &settled {
            self.0.remove(key);
        }
        settled
    }
}

impl Pipeline {
    /// About every second.
    pub(super) fn add_up_unitemised(&mut self, source: &mut dyn Source, at: Timestamp) {
        for (key, now) in source.unitemised() {
            let Some(growth) = self.sums.growth(key, now) else { continue };
            let (place, judgement) = judged(&self.rules, &key);
            let user = (key.uid != NOBODY).then(|| self.processes.user(key.uid));
            let traffic = Traffic {
                sent_bytes: growth.bytes,
                sent_packets: growth.packets,
                ..Traffic::default()
            };
            let labels = [STAGE, SHARE];
            self.metrics.events_lost_total.with_label_values(&labels).inc_by(growth.flows);
            let provenance = Some(self.rules.provenance().clone());
            let flows = growth.flows;
            self.outputs.add_up(Sum { at, user, place, judgement, provenance, flows, traffic });
        }
        let settled = self.sums.take_settled(self.rules.generation);
        source.forget_unitemised(&settled);
    }
}

/// By the class that the probes found, where it is one of these rules; else by their verdict, and of
/// what they have none on, as of a place that is unknown.
fn judged(rules: &Rules, key: &UnitemisedKey) -> (Place, Judgement) {
    let classes = rules.locator.image().classes();
    let is_ours = key.class != UNASKED && key.generation == rules.generation;
    let class = classes.get(usize::from(key.class)).filter(|_| is_ours);
    let place = class.map_or_else(Place::unknown, |row| row.place());
    let mut judgement = judge_place(&rules.policy, &place);
    if class.is_none()
        && let Some(verdict) = verdict(key.verdict)
    {
        judgement.verdict = verdict;
    }
    (place, judgement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_up_is_told_once_and_its_row_goes_with_its_rules() {
        let mut sums = Sums::default();
        let key = UnitemisedKey { uid: 7, generation: 3, class: 9, ..UnitemisedKey::default() };
        let sum = |flows| Unitemised { flows, packets: flows, bytes: 60 * flows };
        assert_eq!(sums.growth(key, sum(5)), Some(sum(5)));
        assert_eq!(sums.growth(key, sum(12)), Some(sum(7)));
        for _ in 0..SETTLED_SWEEPS {
            assert_eq!(sums.growth(key, sum(12)), None);
        }
        assert_eq!(sums.take_settled(3), [], "it is of the rules in force");
        assert_eq!(sums.take_settled(4), [key]);
    }
}
