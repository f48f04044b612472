//! What is told of a flow: its state, judged by the rules of its time, and by those in force.

use std::sync::Arc;

use super::{Details, Rules};
use crate::{
    event::{Egress, Phase, Place, Record, Verdict},
    judge::judge,
    outputs::Outputs,
    track::Telling,
};

/// Judges again where the rules changed since, and delivers.
pub(super) fn deliver(
    outputs: &mut Outputs,
    rules: &Arc<Rules>,
    telling: Telling,
    details: &mut Details,
) {
    let Telling { egress, growth, is_new } = telling;
    if !Arc::ptr_eq(rules.provenance(), &details.provenance) {
        details.renew(rules, &egress);
    }
    let record = details.record(egress);
    let is_violation = record.is_violation();
    // Those that are violations from their first packet on are counted with their flow.
    if is_violation && !is_new && !details.is_counted {
        outputs.count_violation(&record);
    }
    details.is_counted |= is_violation;
    details.kept = outputs.deliver(record, growth, is_new, details.kept);
}

impl Details {
    pub(super) fn record(&self, egress: Egress) -> Record {
        Record {
            egress,
            sender: self.sender.clone(),
            place: self.place.clone(),
            judgement: self.judgement.clone(),
            verdict_now: self.verdict_now,
            provenance: Some(Arc::clone(&self.provenance)),
            timeline: self.timeline.as_deref().copied(),
        }
    }

    /// Judges again, by what is known now and the rules in force. They take no violation back that was
    /// one by the rules before: what they say of it stands beside.
    pub(super) fn renew(&mut self, rules: &Arc<Rules>, egress: &Egress) {
        let Place { domain, server_name, via, .. } = self.place.clone();
        let via = via.map(|it| rules.via(it.address, egress.passage.way));
        let place = Place { domain, server_name, via, ..rules.locate(None, egress) };
        let judgement = judge(&rules.policy, egress, &self.sender, &place);
        let is_by_others = !Arc::ptr_eq(rules.provenance(), &self.provenance);
        let is_objection = |verdict| verdict == Verdict::Unapproved;
        let was_violation =
            egress.phase == Phase::Sent && is_objection(self.judgement.verdict) && self.is_counted;
        if is_by_others && was_violation && !is_objection(judgement.verdict) {
            self.verdict_now = Some(judgement.verdict);
            return;
        }
        (self.place, self.judgement, self.verdict_now) = (place, judgement, None);
        self.provenance = Arc::clone(rules.provenance());
    }
}
