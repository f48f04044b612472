//! What stored records would be judged by another policy or other databases. Counts and compares;
//! changes no record and reads none by itself.

use std::{net::IpAddr, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    event::{
        Country, CountryCode, Judgement, Operator, Phase, Place, Provenance, Record, Verdict, Via,
        Way,
    },
    judge::judge,
    rules::Rules,
};

/// Judges again.
#[derive(Debug)]
pub(super) struct Rejudge {
    rules: Rules,
    /// Look places up again, instead of taking them as they were stored.
    is_located_again: bool,
}

/// A record whose verdict another judgement would change.
#[derive(Debug)]
pub(super) struct Change {
    /// As it would be.
    pub(super) now: Record,
    pub(super) was: (Place, Judgement),
    /// It was raised as one.
    was_violation: bool,
}

impl Change {
    /// It would be a violation and was none.
    pub(super) fn is_new_violation(&self) -> bool {
        self.now.is_violation() && !self.was_violation
    }

    /// It was a violation and would be none.
    pub(super) fn is_violation_less(&self) -> bool {
        self.was_violation && !self.now.is_violation()
    }
}

impl Rejudge {
    pub(super) fn new(rules: Rules, is_located_again: bool) -> Self {
        Self { rules, is_located_again }
    }

    /// `None`: the same verdict, and as much or as little of a violation.
    pub(super) fn again(&self, record: Record) -> Option<Change> {
        let place = self.place(&record);
        let policy = &self.rules.policy;
        let judgement = judge(policy, &record.egress, &record.sender, &place);
        let was_violation = record.is_violation();
        let is_other = judgement.verdict != record.judgement.verdict;
        // Of a policy that only learned a violation was raised as none.
        let is_raised_otherwise = record.is_learning() != policy.is_learning()
            && judgement.verdict == Verdict::Unapproved
            && record.egress.phase == Phase::Sent;
        if !is_other && !is_raised_otherwise {
            return None;
        }
        let provenance = Some(self.provenance(&record));
        let was = (record.place.clone(), record.judgement.clone());
        let mut now = record;
        let findings = Arc::make_mut(&mut now.findings);
        (findings.place, findings.judgement, findings.provenance) = (place, judgement, provenance);
        Some(Change { now, was, was_violation })
    }

    /// The new policy, and the databases that the place is from.
    fn provenance(&self, record: &Record) -> Arc<Provenance> {
        let now = self.rules.provenance();
        match &record.provenance {
            Some(stored) if !self.is_located_again => Arc::new(Provenance {
                policy_sha256: now.policy_sha256,
                is_learning: now.is_learning,
                databases: stored.databases.clone(),
                host: stored.host.clone(),
            }),
            // Judged again here, and written there.
            stored => Arc::new(Provenance {
                host: stored.as_ref().and_then(|it| it.host.clone()),
                ..(**now).clone()
            }),
        }
    }

    /// Which networks are local is the policy's to say, so that is always asked anew.
    fn place(&self, record: &Record) -> Place {
        let stored = &record.place;
        let Some(remote) = record.egress.remote else { return stored.clone() };
        if record.egress.passage.way == Way::Loopback {
            return stored.clone();
        }
        let via = stored.via.as_deref().map(|it| {
            let place = self.place_of(it.address, &it.place);
            Box::new(Via { address: it.address, place })
        });
        Place { via, ..self.place_of(remote.ip(), stored) }
    }

    fn place_of(&self, address: IpAddr, stored: &Place) -> Place {
        let found = self.rules.locator.locate(address);
        let is_local = |place: &Place| place.country == Country::Local;
        if self.is_located_again || is_local(&found) != is_local(stored) {
            let (domain, server_name) = (stored.domain.clone(), stored.server_name.clone());
            Place { domain, server_name, ..found }
        } else {
            stored.clone()
        }
    }

    /// Whether the policy approves of a country; of roll-ups nothing more is known.
    pub(super) fn approves(&self, country: Country) -> bool {
        match country {
            Country::Known(code) => self.rules.policy.approved_countries.contains(&code),
            Country::Unlocated => false,
            Country::Local => true,
        }
    }
}

/// Changes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) was: Verdict,
    pub(super) now: Verdict,
    pub(super) country: Option<CountryCode>,
    /// Country and name or number.
    pub(super) operator: String,
    pub(super) reason: String,
}

/// What would change, added up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) judged: u64,
    pub(super) changed: u64,
    /// By the other policy, whatever they were before.
    pub(super) violations: u64,
    pub(super) new_violations: u64,
    pub(super) violations_less: u64,
    /// Flows and bytes sent.
    kinds: FxHashMap<Kind, (u64, u64)>,
}

impl Tally {
    pub(super) fn add(&mut self, change: &Change) {
        let now = &change.now;
        self.changed += 1;
        self.new_violations += u64::from(change.is_new_violation());
        self.violations_less += u64::from(change.is_violation_less());
        let kind = Kind {
            was: change.was.1.verdict,
            now: now.judgement.verdict,
            country: now.place.country.code(),
            operator: now.place.operator.as_deref().map(operator).unwrap_or_default(),
            reason: now.judgement.reason.to_string(),
        };
        let (flows, bytes) = self.kinds.entry(kind).or_default();
        *flows += 1;
        *bytes = bytes.saturating_add(now.egress.traffic.sent_bytes);
    }

    /// Most flows first.
    pub(super) fn kinds(&self) -> Vec<(&Kind, u64, u64)> {
        let mut kinds: Vec<_> =
            self.kinds.iter().map(|(kind, (flows, bytes))| (kind, *flows, *bytes)).collect();
        kinds.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        kinds
    }
}

/// `CN Alibaba (AS45102)`, as far as it is known.
pub(super) fn operator(operator: &Operator) -> String {
    let country = operator.country.map(|code| code.to_string());
    let asn = operator.asn.map(|asn| format!("AS{asn}"));
    let name = operator.name.as_deref().map(ToOwned::to_owned);
    let who = match (name, asn) {
        (Some(name), Some(asn)) => Some(format!("{name} ({asn})")),
        (name, asn) => name.or(asn),
    };
    [country, who].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, ecs::tests::full_record, locate::Locator};

    fn rejudge(toml: &[&str], is_located_again: bool) -> Rejudge {
        let mut config = Config::builtin();
        config.policy.approved_countries =
            toml.iter().filter_map(|it| CountryCode::new(it)).collect();
        let locator = Locator::open(&config.geo, &["66.35.250.0/24".parse().unwrap()]).unwrap();
        let mut rejudge = Rejudge::new(Rules::new(config.policy, locator), is_located_again);
        rejudge.rules.policy.sha256 = [7; 32];
        rejudge
    }

    /// In CN, run from RU, unapproved; elsewhere than the local network of the tests.
    fn record() -> Record {
        let mut record = full_record();
        record.egress.remote = "8.8.8.8:443".parse().ok();
        if let Some(operator) = record.place.operator.as_mut() {
            Arc::make_mut(operator).is_anycast = false;
        }
        record.place.second = None;
        record.place.via = None;
        record
    }

    #[test]
    fn the_other_address_of_a_way_is_judged_again_as_well() {
        let mut by_hop = record();
        by_hop.place.via = full_record().place.via.clone();
        let change = rejudge(&["CN", "RU"], false).again(by_hop.clone()).unwrap();
        assert_eq!(change.now.judgement.verdict, Verdict::Approved);
        // Of its own, the hop is in RU.
        by_hop.judgement.verdict = Verdict::Approved;
        if let Some(operator) = by_hop.place.operator.as_mut() {
            Arc::make_mut(operator).country = CountryCode::new("CN");
        }
        let change = rejudge(&["CN"], false).again(by_hop).unwrap();
        assert_eq!(change.now.judgement.verdict, Verdict::Unapproved);
    }

    #[test]
    fn a_place_is_taken_as_it_was_stored_unless_it_is_to_be_looked_up_again() {
        let by_stored = rejudge(&["CN", "RU"], false).again(record()).unwrap();
        assert_eq!(by_stored.now.judgement.verdict, Verdict::Approved);
        assert_eq!(by_stored.now.place, record().place);
        assert!(by_stored.is_violation_less() && !by_stored.is_new_violation());
        assert!(rejudge(&["US"], false).again(record()).is_none());
        let located = rejudge(&["US"], true).again(record()).unwrap();
        assert_eq!(located.now.place.country.code(), CountryCode::new("US"));
        assert_eq!(located.now.place.domain, record().place.domain);
        assert_eq!(located.was.0, record().place);
    }

    #[test]
    fn which_networks_are_local_is_asked_anew() {
        let mut local = record();
        local.egress.remote = "66.35.250.204:80".parse().ok();
        let change = rejudge(&["US"], false).again(local).unwrap();
        assert_eq!(change.now.judgement.verdict, Verdict::Local);
    }

    #[test]
    fn only_what_left_is_a_violation_and_every_change_is_counted_once() {
        let mut tally = Tally::default();
        let mut approved = record();
        approved.judgement.verdict = Verdict::Approved;
        let mut attempt = approved.clone();
        attempt.egress.phase = Phase::Attempt;
        let rejudge = rejudge(&["US"], false);
        for record in [approved.clone(), approved, attempt] {
            tally.add(&rejudge.again(record).unwrap());
        }
        assert_eq!((tally.changed, tally.new_violations, tally.violations_less), (3, 2, 0));
        let kinds = tally.kinds();
        assert_eq!(kinds.len(), 1);
        let (kind, flows, bytes) = kinds[0];
        assert_eq!((flows, bytes), (3, 4500));
        assert_eq!(kind.operator, "RU Example Cloud (AS64500)");
        assert_eq!((kind.was, kind.now), (Verdict::Approved, Verdict::Unapproved));
    }

    #[test]
    fn what_would_be_carries_what_it_would_rest_on() {
        let stored = record().provenance.clone().unwrap();
        let by_stored = rejudge(&["CN", "RU"], false).again(record()).unwrap();
        let now = by_stored.now.provenance.clone().unwrap();
        assert_ne!(now.policy_sha256, stored.policy_sha256);
        assert_eq!(now.databases, stored.databases);
        let mut denied = record();
        denied.judgement.verdict = Verdict::Unapproved;
        let located = rejudge(&["US"], true).again(denied).unwrap();
        assert_ne!(located.now.provenance.clone().unwrap().databases, stored.databases);
    }
}
