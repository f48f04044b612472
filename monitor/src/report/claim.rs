//! What somebody wants to say of a period, and whether it can be said: "nothing left to CN". It is said
//! over full coverage alone, and never where something is not known that could refute it. Reads nothing.

use serde::Serialize;

use super::{PolicyInForce, WholeHours, bytes, flows};
use crate::{
    config::{Basis, Disputed, Reread},
    coverage::Coverage,
    ecs::{Event, Time},
    event::{Certainty, CountryCode, Phase, Verdict},
    locate::codes,
    summary::{OTHERS, Row},
};

/// What is claimed to have left nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// Nothing at all, but within local networks.
    Anything,
    /// Nothing that the policy does not approve.
    Unapproved,
    To(Vec<CountryCode>),
}

/// How a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Holds,
    Refuted,
    NotShown,
}

/// A claim that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    pub asked: String,
    pub standing: Standing,
    /// What can be said.
    pub sentence: String,
    /// Why no more than that; empty where it holds.
    pub because: Vec<String>,
}

/// A claim, and what of the itemised flows bears on it.
#[derive(Clone, Debug)]
pub struct Claim {
    asked: String,
    subject: Subject,
    /// Flows that refute it, and what they sent: those that the totals tell as well, by country or verdict.
    in_totals: (u64, u64),
    /// And those that only their operator, or the way they took, tells.
    besides: (u64, u64),
    /// Flows of which it is not known where they went.
    unlocated: u64,
    /// Flows that one database of two places there.
    disputed: u64,
    /// Flows to a name server in a local network, which asks others.
    asked_locally: u64,
}

/// What a claim is decided by, besides the flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds<'a> {
    /// In some of the period the policy only learned.
    pub(super) is_learning: bool,
    pub(super) coverage: &'a Coverage,
    pub(super) countries: &'a [Row],
    pub(super) verdicts: &'a [Row],
    /// Where the bounds of the period cut hours that are only added up: what left in the others.
    pub(super) whole_hours: Option<&'a WholeHours>,
    /// What was only added up: of that only the country is known.
    pub(super) added_up: Option<&'a Row>,
    pub(super) policies: &'a [PolicyInForce],
    /// All policies of the period are among these.
    pub(super) has_all_policies: bool,
}

impl Claim {
    /// `nothing`, `nothing unapproved` or `nothing to CN,RU`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = text.split_whitespace().collect::<Vec<_>>();
        let subject = match words.as_slice() {
            ["nothing"] => Subject::Anything,
            ["nothing", "unapproved"] => Subject::Unapproved,
            ["nothing", "to", codes @ ..] if !codes.is_empty() => {
                let codes = codes.iter().flat_map(|word| word.split(','));
                let codes = codes.filter(|code| !code.is_empty()).map(country);
                Subject::To(codes.collect::<Result<_, _>>()?)
            }
            _ => {
                return Err(format!(
                    "`{text}` is no claim; write \"nothing\", \"nothing unapproved\" or \"nothing to CN,RU\""
                ));
            }
        };
        Ok(Self {
            asked: words.join(" "),
            subject,
            in_totals: (0, 0),
            besides: (0, 0),
            unlocated: 0,
            disputed: 0,
            asked_locally: 0,
        })
    }

    /// Takes in an itemised flow.
    pub fn see(&mut self, event: &Event<'_>) {
        let (fields, to) = (&event.geofenced, &event.destination);
        if fields.phase != Phase::Sent.word() {
            return;
        }
        if fields.verdict == Verdict::Local.word() {
            let is_loopback = to.ip.is_some_and(|ip| ip.to_canonical().is_loopback());
            let asks = matches!(to.port, Some(53 | 853 | 5353)) && !is_loopback;
            self.asked_locally += u64::from(asks);
            return;
        }
        let is_disputed = fields.certainty == Certainty::Disputed.word();
        // In the totals, besides, not known where to, disputed.
        let (in_totals, besides, is_unlocated, is_disputed) = match &self.subject {
            Subject::Anything => (true, false, false, false),
            Subject::Unapproved => {
                let is_unknown = fields.verdict == Verdict::Unknown.word();
                (fields.verdict == Verdict::Unapproved.word(), false, is_unknown, is_disputed)
            }
            Subject::To(wanted) => {
                let is = |code: Option<&str>| {
                    code.is_some_and(|code| wanted.iter().any(|it| it.as_str() == code))
                };
                let located = to.geo.as_ref().map(|it| it.country_iso_code.as_ref());
                // Besides where it is: by who runs it, and by where it goes by the way.
                let besides =
                    is(fields.operator_country.as_deref()) || is(fields.via_country.as_deref());
                let is_disputed = is(fields.second_country.as_deref());
                (is(located), besides, located.is_none(), is_disputed)
            }
        };
        let sum = match (in_totals, besides) {
            (true, _) => &mut self.in_totals,
            (false, true) => &mut self.besides,
            (false, false) => {
                self.unlocated += u64::from(is_unlocated);
                self.disputed += u64::from(is_disputed);
                return;
            }
        };
        sum.0 += 1;
        sum.1 = sum.1.saturating_add(event.source.bytes);
    }

    pub(super) fn decide(&self, grounds: Grounds<'_>) -> Decided {
        let against = self.against(grounds);
        let asked = self.asked.clone();
        if against.0 > 0 {
            let (count, sent) = against;
            return Decided {
                asked,
                standing: Standing::Refuted,
                sentence: format!(
                    "It is not so: {} with {} went {}.",
                    flows(count),
                    bytes(sent),
                    self.whither()
                ),
                because: Vec::new(),
            };
        }
        let mut because = unwatched(grounds.coverage);
        because.extend(self.unknown(grounds));
        let (standing, sentence) = if because.is_empty() {
            (Standing::Holds, self.what_holds())
        } else {
            (
                Standing::NotShown,
                format!("It can't be said that in this period no data went {}.", self.whither()),
            )
        };
        Decided { asked, standing, sentence, because }
    }

    /// Flows and bytes that refute it: the itemised, and those that are only added up by country. What is
    /// only added up in an hour that a bound of the period cuts may have left outside of it.
    fn against(&self, grounds: Grounds<'_>) -> (u64, u64) {
        let rows = match grounds.whole_hours {
            Some(whole) => self.meant(&whole.countries, &whole.verdicts),
            None => self.meant(grounds.countries, grounds.verdicts),
        };
        // A flow that came between the two answers is in one of them.
        let (flows, sent) = if rows.0 > self.in_totals.0 { rows } else { self.in_totals };
        (flows.saturating_add(self.besides.0), sent.saturating_add(self.besides.1))
    }

    /// Of totals, what is against it.
    fn meant(&self, countries: &[Row], verdicts: &[Row]) -> (u64, u64) {
        match &self.subject {
            Subject::Anything => sum(verdicts, |key| key != Verdict::Local.word()),
            Subject::Unapproved => sum(verdicts, |key| key == Verdict::Unapproved.word()),
            Subject::To(wanted) => sum(countries, |key| wanted.iter().any(|it| it.as_str() == key)),
        }
    }

    /// What is not known and could refute it.
    fn unknown(&self, grounds: Grounds<'_>) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                out.push(format!("{what}: {}.", flows(count)));
            }
        };
        // All that is known for certain refutes it already.
        let cut = "Only added up by hours of which a part is outside of the period";
        say(self.meant(grounds.countries, grounds.verdicts).0, cut);
        let countries = |wanted: &str| sum(grounds.countries, |key| key == wanted).0;
        match &self.subject {
            Subject::Anything => {
                let asked = "To a name server in a local network, which asks others in turn";
                say(self.asked_locally, asked);
            }
            Subject::Unapproved => {
                let unknown = sum(grounds.verdicts, |key| key == Verdict::Unknown.word()).0;
                say(unknown.max(self.unlocated), "Where the policy can't tell");
                say(self.disputed, "Where one of two databases says that it is not approved");
            }
            Subject::To(_) => {
                let unlocated = countries("unlocated").max(self.unlocated);
                say(unlocated, "To addresses of which no country is known");
                say(self.disputed, "To addresses that one of two databases places there");
                say(countries(OTHERS), "To countries that are not told apart");
            }
        }
        if let Some(row) = grounds.added_up.filter(|row| outside(row) > 0)
            && !self.is_ruled_out(row, grounds)
        {
            let what = "Only added up by hour and country, so that their operators are not known";
            say(outside(row), what);
        }
        if self.subject == Subject::Unapproved && grounds.is_learning {
            out.push(super::LEARNING.to_owned());
        }
        out
    }

    /// Whether flows that were only added up can't be against it, by the policies that approved them.
    fn is_ruled_out(&self, row: &Row, grounds: Grounds<'_>) -> bool {
        if row.verdicts.unapproved > 0 || row.verdicts.unknown > 0 || !grounds.has_all_policies {
            return false;
        }
        let read = grounds.policies.iter().map(|it| it.text.as_deref().and_then(Reread::from_text));
        read.into_iter().all(|read| {
            read.is_some_and(|Reread { policy, .. }| match &self.subject {
                Subject::Anything => false,
                Subject::Unapproved => policy.disputed == Disputed::Unapproved,
                // Approved were both the address and who runs it, and by no rule.
                Subject::To(wanted) => {
                    policy.basis == Basis::Either
                        && policy.disputed == Disputed::Unapproved
                        && !policy.rules.iter().any(|rule| rule.allow)
                        && !wanted.iter().any(|it| policy.approved_countries.contains(it))
                }
            })
        })
    }

    fn whither(&self) -> String {
        match &self.subject {
            Subject::Anything => "out of the local networks".to_owned(),
            Subject::Unapproved => "where the policy does not approve".to_owned(),
            Subject::To(codes) => {
                format!("to {}, or to who is led from there", any_of(codes))
            }
        }
    }

    fn what_holds(&self) -> String {
        let what = match &self.subject {
            Subject::Anything => "Nothing left for anywhere but local networks".to_owned(),
            Subject::Unapproved => "Nothing left that the policy does not approve".to_owned(),
            Subject::To(codes) => format!(
                "Nothing left to {}: neither to an address there nor to one whose operator is known to be led from there",
                any_of(codes)
            ),
        };
        format!("{what}. All of the period was watched; what that means, the limits below say.")
    }
}

/// `CN (China) or RU (Russia)`.
fn any_of(codes: &[CountryCode]) -> String {
    let named: Vec<String> = codes.iter().map(|code| codes::named(*code)).collect();
    named.join(" or ")
}

fn country(text: &str) -> Result<CountryCode, String> {
    CountryCode::new(text)
        .filter(|code| codes::is_assigned(*code))
        .ok_or_else(|| format!("`{text}` is no country; write its two-letter code, such as CN"))
}

/// Flows that sent, and their bytes.
fn sum(rows: &[Row], is_meant: impl Fn(&str) -> bool) -> (u64, u64) {
    let meant = rows.iter().filter(|row| is_meant(&row.key));
    meant.fold((0, 0), |(flows, sent), row| {
        (flows.saturating_add(row.flows), sent.saturating_add(row.source.bytes))
    })
}

/// Flows of a row that went further than the local networks.
fn outside(row: &Row) -> u64 {
    row.flows.saturating_sub(row.verdicts.local)
}

/// Why silence proves nothing.
fn unwatched(coverage: &Coverage) -> Vec<String> {
    let Time(from) = coverage.from;
    let Time(to) = coverage.to;
    if from >= to {
        return vec!["The period is empty.".to_owned()];
    }
    if coverage.has_gaps() {
        return vec![format!("Not all of the period was watched: {}.", coverage.sentence())];
    }
    Vec::new()
}
