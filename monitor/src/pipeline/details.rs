//! What was found out about a flow besides its packets: who, where, the verdict, and by which rules.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use crate::{
    event::{Egress, Findings, Origin, Phase, Place, Record, ServerName, Verdict},
    judge::{judge, severity},
    outputs::Kept,
    rules::Rules,
};

/// What was found out about a flow, and by which rules: their mark alone, since they hold a whole
/// image, and a silent flow can be hours old.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) findings: Arc<Findings>,
    pub(super) kept: Kept,
    /// It was counted as a violation, which is done once.
    pub(super) is_counted: bool,
    /// It was told of this very process that it sends on the connection.
    pub(super) is_sender_known: bool,
    /// It is of the self-test, and nobody is told of it.
    pub(super) is_own: bool,
}

impl Deref for Details {
    type Target = Findings;

    fn deref(&self) -> &Findings {
        &self.findings
    }
}

/// Of this flow alone from here on.
impl DerefMut for Details {
    fn deref_mut(&mut self) -> &mut Findings {
        Arc::make_mut(&mut self.findings)
    }
}

impl Details {
    pub(super) fn record(&self, egress: Egress) -> Record {
        Record { egress, findings: Arc::clone(&self.findings) }
    }

    /// Whether it was judged by these rules.
    pub(super) fn is_by(&self, rules: &Rules) -> bool {
        self.provenance.as_ref().is_some_and(|it| Arc::ptr_eq(rules.provenance(), it))
    }

    /// Judges again, by what is known now and the rules in force. They take no violation back that was
    /// one by the rules before: what they say of it stands beside.
    pub(super) fn renew(&mut self, rules: &Arc<Rules>, egress: &Egress) {
        let Place { domain, server_name, via, .. } = self.place.clone();
        let via = via.map(|it| rules.via(it.address, egress.passage.way));
        let place = Place { domain, server_name, via, ..rules.locate(None, egress) };
        let judgement = judge(&rules.policy, egress, &self.sender, &place);
        let is_by_others = !self.is_by(rules);
        let is_objection = |verdict| verdict == Verdict::Unapproved;
        let was_violation =
            egress.phase == Phase::Sent && is_objection(self.judgement.verdict) && self.is_counted;
        // Rules that only learn take back as little as those that approve.
        let is_taken_back = !is_objection(judgement.verdict) || rules.policy.is_learning();
        if is_by_others && was_violation && is_taken_back {
            let now = judgement.verdict;
            self.verdict_now = (!is_objection(now)).then_some(now);
            return;
        }
        let found = &mut **self;
        (found.place, found.judgement, found.verdict_now) = (place, judgement, None);
        found.provenance = Some(Arc::clone(rules.provenance()));
    }

    /// Takes in what the stream says. `false`: nothing of it needs to be told before the flow is
    /// told again for another reason.
    pub(super) fn say(&mut self, said: ServerName, rules: &Arc<Rules>, egress: &Egress) -> bool {
        let known = self.place.server_name.clone();
        let is_unread = said == ServerName::Undetermined;
        // Who came to this host chose no name for where he is.
        if egress.origin == Origin::Accepted || known.as_ref() == Some(&said) {
            return false;
        }
        if is_unread && known.is_some() {
            return false;
        }
        let (judged, shown) = (self.judgement.clone(), self.shown());
        let before = severity(judged.verdict);
        self.place.server_name = Some(said);
        self.renew(rules, egress);
        // A second name is a second claim: it may make things worse, not better.
        let is_second = matches!(known, Some(ServerName::Said { .. }));
        if is_second && severity(self.judgement.verdict) < before {
            self.place.server_name = known;
            self.renew(rules, egress);
            return false;
        }
        self.judgement != judged || self.shown() != shown || !self.says_what_was_asked_for()
    }

    fn shown(&self) -> Option<Arc<str>> {
        self.place.shown().map(|(name, _)| Arc::clone(name))
    }

    fn says_what_was_asked_for(&self) -> bool {
        let said = self.place.server_name.as_ref().and_then(ServerName::name);
        let asked_for = self.place.domain.as_ref().map(|domain| &domain.name);
        said.is_some() && said == asked_for
    }
}
