//! A period as a document for people who were not there: what was watched, what left and where to, what
//! of it was in violation, and what can't be said. It is given facts and reads nothing; `html` makes a page
//! of what is JSON here, with the same numbers.

mod claim;
mod comparison;
mod declared;
pub mod html;
mod limits;
mod ports;
mod signature;
mod violations;

use serde::Serialize;

use self::claim::Grounds;
pub use self::{
    claim::{Claim, Decided, Standing},
    comparison::{Comparison, Side, Tables},
    declared::Declared,
    signature::{Head, Signature},
    violations::Violations,
};
use crate::{
    api::{PoliciesInForce, PolicyInForce},
    config::Reread,
    coverage::Coverage,
    ecs::Time,
    summary::{ROLLED_UP, Row, Verdicts, Volume},
    table,
};

/// What a report is made of. Whoever has it asked the daemon, or read the ledger.
#[derive(Debug)]
pub struct Facts {
    pub made_at: Time,
    pub scope: Scope,
    /// What the period is called, if it is an interval that was marked.
    pub interval: Option<String>,
    pub coverage: Coverage,
    pub countries: Vec<Row>,
    pub operators: Vec<Row>,
    pub programs: Vec<Row>,
    pub devices: Vec<Row>,
    pub verdicts: Vec<Row>,
    /// The same of the hours that are wholly in the period, where its bounds cut sums of others.
    pub whole_hours: Option<WholeHours>,
    pub comparison: Option<Comparison>,
    pub violations: Violations,
    pub policies: PoliciesInForce,
    pub databases: Vec<Database>,
    pub notices: Vec<String>,
    /// Each has seen all flows of the period that are itemised.
    pub claims: Vec<Claim>,
    pub declared: Declared,
    pub signature: Signature,
}

/// What left in hours of which no part is outside of the period.
#[derive(Clone, Debug, Default)]
pub struct WholeHours {
    pub countries: Vec<Row>,
    pub verdicts: Vec<Row>,
}

/// Who and what watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The host by its own name, where the report was made on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Of the program that made the report.
    pub version: String,
    pub commit: String,
    /// `daemon` or `ledger`: who answered.
    pub source: String,
    /// The daemon's capture tier in one word, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_trusted: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    pub name: String,
    pub attached: bool,
}

/// A database that something in the report rests on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Database {
    /// What it is asked for.
    pub label: String,
    pub name: String,
    /// Day of its data, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    pub sha256: String,
    /// Whether records of the period name it, or it is the one in force when the report was made.
    pub named_by_records: bool,
}

/// All flows of the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Of which a packet was seen.
    pub flows: u64,
    pub attempts: u64,
    pub violations: u64,
    /// What would be one, had the policy not only learned.
    #[serde(skip_serializing_if = "is_zero")]
    pub unraised: u64,
    pub sent: Volume,
    pub received: Volume,
    pub verdicts: Verdicts,
}

/// The document: as JSON in this form.
#[derive(Debug, Serialize)]
pub struct Report {
    pub made_at: Time,
    pub from: Time,
    pub to: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    pub scope: Scope,
    pub claims: Vec<Decided>,
    /// In some of the period the policy only learned: that there is no violation says nothing then.
    pub learning: bool,
    pub totals: Totals,
    pub coverage: Coverage,
    pub policies: Vec<PolicyInForce>,
    /// Changes of policy beyond those.
    pub untold_policies: u64,
    pub countries: Vec<Row>,
    pub operators: Vec<Row>,
    pub programs: Vec<Row>,
    /// Empty where this host forwards for nobody.
    pub devices: Vec<Row>,
    /// What is only added up: by country, verdict and program, and no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_up: Option<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    pub violations: Violations,
    pub declared: Declared,
    pub databases: Vec<Database>,
    pub notices: Vec<String>,
    pub limits: Vec<String>,
    pub signature: Signature,
}

impl Report {
    pub fn new(facts: Facts) -> Self {
        let Facts { coverage, countries, verdicts, policies, .. } = facts;
        let added_up = facts.operators.iter().find(|row| row.key == ROLLED_UP).cloned();
        let mut violations = facts.violations;
        violations.sort();
        let has_all_policies = policies.untold == 0
            && policies.policies.first().is_some_and(|it| it.noted_at <= coverage.from);
        let learning = verdicts.iter().any(|row| row.unraised > 0)
            || policies.policies.iter().any(PolicyInForce::is_learning);
        let grounds = Grounds {
            is_learning: learning,
            coverage: &coverage,
            countries: &countries,
            verdicts: &verdicts,
            whole_hours: facts.whole_hours.as_ref(),
            added_up: added_up.as_ref(),
            policies: &policies.policies,
            has_all_policies,
        };
        let claims = facts.claims.iter().map(|claim| claim.decide(grounds)).collect();
        let totals = totals(&verdicts);
        let declared = facts.declared.within(coverage.from, coverage.to);
        let mut report = Self {
            made_at: facts.made_at,
            from: coverage.from,
            to: coverage.to,
            interval: facts.interval,
            scope: facts.scope,
            claims,
            learning,
            totals,
            coverage,
            policies: policies.policies,
            untold_policies: policies.untold,
            countries,
            operators: facts.operators,
            programs: facts.programs,
            devices: facts.devices,
            added_up,
            comparison: facts.comparison,
            violations,
            declared,
            databases: facts.databases,
            notices: facts.notices,
            limits: Vec::new(),
            signature: facts.signature,
        };
        report.limits = limits::of(&report);
        report
    }

    /// Whether some claim stands so.
    pub fn has(&self, standing: Standing) -> bool {
        self.claims.iter().any(|claim| claim.standing == standing)
    }
}

/// What is said of a period in which the policy only learned.
pub const LEARNING: &str = "In the period, or a part of it, the policy only learned: nothing was raised as a violation then, so that to have none says nothing of whether it was met.";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a policy means, a sentence for each fact; `None` where its text is not understood.
fn sentences(policy: &PolicyInForce) -> Option<Vec<String>> {
    let read = policy.text.as_deref().and_then(Reread::from_text);
    read.map(|it| it.sentences())
}

fn totals(verdicts: &[Row]) -> Totals {
    let add = u64::saturating_add;
    let mut totals = Totals::default();
    for row in verdicts {
        totals.flows = add(totals.flows, row.flows);
        totals.attempts = add(totals.attempts, row.attempts);
        totals.violations = add(totals.violations, row.violations);
        totals.unraised = add(totals.unraised, row.unraised);
        for (sum, volume) in
            [(&mut totals.sent, row.source), (&mut totals.received, row.destination)]
        {
            sum.bytes = add(sum.bytes, volume.bytes);
            sum.packets = add(sum.packets, volume.packets);
        }
        let Verdicts { approved, unapproved, unknown, local } = row.verdicts;
        totals.verdicts.approved = add(totals.verdicts.approved, approved);
        totals.verdicts.unapproved = add(totals.verdicts.unapproved, unapproved);
        totals.verdicts.unknown = add(totals.verdicts.unknown, unknown);
        totals.verdicts.local = add(totals.verdicts.local, local);
    }
    totals
}

/// `1 flow`, `1,234 flows`.
fn flows(count: u64) -> String {
    if count == 1 { "1 flow".to_owned() } else { format!("{} flows", grouped(count)) }
}

/// To the byte, and in people's units where that is another number.
fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{} bytes", grouped(count)),
        _ => format!("{} bytes ({})", grouped(count), table::bytes(count)),
    }
}

/// In groups of three digits: `1,234,567`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod learning_tests;
#[cfg(test)]
pub(crate) mod tests;
