//! Two periods beside each other: what left in each, by country, operator, destination and program, and what
//! in one alone. That something is not seen in a period shows that it did not leave only where nothing could
//! have hidden it. Reads nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Totals, bytes, flows, totals};
use crate::{
    coverage::Coverage,
    ecs::Time,
    summary::{NO_DESTINATION, NO_PROCESS, OTHERS, ROLLED_UP, Row, Volume},
};

/// Totals of a period.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub countries: Vec<Row>,
    pub operators: Vec<Row>,
    pub destinations: Vec<Row>,
    pub programs: Vec<Row>,
    pub verdicts: Vec<Row>,
}

/// What a period is called, what of it was watched, and what left in it.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    pub coverage: Coverage,
    pub tables: Tables,
}

/// The document's part about two periods.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub periods: [Period; 2],
    /// What of the time is in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    pub countries: Compared,
    pub operators: Compared,
    pub destinations: Compared,
    pub programs: Compared,
}

#[derive(Clone, Debug, Serialize)]
pub struct Period {
    pub name: String,
    pub from: Time,
    pub to: Time,
    pub coverage: Coverage,
    pub totals: Totals,
    /// Of the bytes that left: those of spans that its bounds cut, which are divided evenly over each.
    pub divided: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    pub from: Time,
    pub to: Time,
}

/// One table of both.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Compared {
    /// Most bytes sent first, of both together.
    pub rows: Vec<Pair>,
    /// Of each period, why something may have left in it that it has no row of; empty where nothing may.
    pub unsure: [Vec<String>; 2],
}

/// What left in each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair {
    pub key: String,
    pub first: Moved,
    pub second: Moved,
    /// Packets are known to have left in one of them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_in: Option<Which>,
    /// Where they are: whether it is shown that none left in the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absence_shown: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    First,
    Second,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub flows: u64,
    pub attempts: u64,
    pub violations: u64,
    pub sent: Volume,
    pub received: Volume,
}

impl From<&Row> for Moved {
    fn from(row: &Row) -> Self {
        let Row { flows, attempts, violations, source, destination, .. } = row;
        Self {
            flows: *flows,
            attempts: *attempts,
            violations: *violations,
            sent: *source,
            received: *destination,
        }
    }
}

impl Comparison {
    pub fn new(first: Side, second: Side) -> Self {
        let overlap = overlap(&first.coverage, &second.coverage);
        let sides = [&first, &second];
        let table = |of: fn(&Tables) -> &Vec<Row>, key: &'static str| {
            Compared::new(sides.map(|side| (side, of(&side.tables).as_slice())), key)
        };
        let (countries, operators) =
            (table(|it| &it.countries, "country"), table(|it| &it.operators, "operator"));
        let (destinations, programs) =
            (table(|it| &it.destinations, "destination"), table(|it| &it.programs, "program"));
        let periods = [first, second].map(Period::from);
        Self { periods, overlap, countries, operators, destinations, programs }
    }

    /// Whether something of either period is not known.
    pub fn has_gaps(&self) -> bool {
        self.periods.iter().any(|it| it.coverage.has_gaps())
    }
}

impl From<Side> for Period {
    fn from(side: Side) -> Self {
        let Side { name, coverage, tables } = side;
        let divided = tables.verdicts.iter().fold(0, |sum: u64, it| sum.saturating_add(it.divided));
        let (from, to, totals) = (coverage.from, coverage.to, totals(&tables.verdicts));
        Self { name, from, to, coverage, totals, divided }
    }
}

impl Compared {
    fn new(sides: [(&Side, &[Row]); 2], what: &str) -> Self {
        let unsure = sides.map(|(side, rows)| unsure(&side.coverage, rows, what));
        let mut pairs: BTreeMap<&str, Pair> = BTreeMap::new();
        for (which, (_, rows)) in [Which::First, Which::Second].into_iter().zip(sides) {
            for row in rows {
                let pair = pairs.entry(&row.key).or_default();
                match which {
                    Which::First => pair.first = row.into(),
                    Which::Second => pair.second = row.into(),
                }
            }
        }
        let mut rows: Vec<Pair> = pairs
            .into_iter()
            .map(|(key, pair)| Pair { key: key.to_owned(), ..pair }.told_by(&unsure))
            .collect();
        let sent = |it: &Pair| it.first.sent.bytes.saturating_add(it.second.sent.bytes);
        rows.sort_by(|a, b| sent(b).cmp(&sent(a)).then_with(|| a.key.cmp(&b.key)));
        Self { rows, unsure }
    }
}

impl Pair {
    fn told_by(mut self, unsure: &[Vec<String>; 2]) -> Self {
        if is_no_key(&self.key) {
            return self;
        }
        let (only_in, other) = match (self.first.flows, self.second.flows) {
            (1.., 0) => (Which::First, &unsure[1]),
            (0, 1..) => (Which::Second, &unsure[0]),
            _ => return self,
        };
        self.only_in = Some(only_in);
        self.absence_shown = Some(other.is_empty());
        self
    }
}

/// Rows of what no key is known of.
fn is_no_key(key: &str) -> bool {
    matches!(key, ROLLED_UP | OTHERS | NO_PROCESS | NO_DESTINATION | "unlocated" | "unknown")
}

/// Why silence of a period about a country, an operator, … proves nothing.
fn unsure(coverage: &Coverage, rows: &[Row], what: &str) -> Vec<String> {
    let mut said = Vec::new();
    if coverage.from >= coverage.to {
        said.push("It is empty.".to_owned());
    }
    if coverage.has_gaps() {
        said.push(format!("Not all of it was watched: {}.", coverage.sentence()));
    }
    for row in rows.iter().filter(|row| row.flows > 0 && is_no_key(&row.key)) {
        let why = match row.key.as_str() {
            ROLLED_UP => format!("Only added up by hour, without the {what}"),
            OTHERS => "Beyond the rows that are told apart".to_owned(),
            _ => format!("Without a known {what}"),
        };
        said.push(format!("{why}: {} with {}.", flows(row.flows), bytes(row.source.bytes)));
    }
    said
}

fn overlap(first: &Coverage, second: &Coverage) -> Option<Overlap> {
    let (from, to) = (first.from.max(second.from), first.to.min(second.to));
    (from < to).then_some(Overlap { from, to })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{AWS, FROM, To, blind, flow, rows, watched},
        *,
    };
    use crate::{
        event::{Phase, Record, Timestamp},
        summary::By,
    };

    fn side(name: &str, records: &[Record], hours: (u64, u64)) -> Side {
        let at = |hours: u64| Time(Timestamp(FROM.0 + hours * 3_600_000_000_000));
        let of = |by| rows(by, records, &[]);
        Side {
            name: name.to_owned(),
            coverage: Coverage { from: at(hours.0), to: at(hours.1), ..watched() },
            tables: Tables {
                countries: of(By::Country),
                operators: of(By::Operator),
                destinations: of(By::Destination),
                programs: of(By::Process),
                verdicts: of(By::Verdict),
            },
        }
    }

    fn cn(number: u64) -> Record {
        flow(number, &To { address: "203.0.113.7:80", country: "CN", operator: "Example", ..AWS })
    }

    fn of<'a>(table: &'a Compared, key: &str) -> &'a Pair {
        table.rows.iter().find(|it| it.key == key).unwrap()
    }

    #[test]
    fn each_table_tells_what_left_in_each_and_what_in_one_alone() {
        let off = side("LDM off", &[flow(0, &AWS), cn(1), cn(2)], (0, 1));
        let on = side("LDM on", &[flow(3, &AWS)], (1, 2));
        let both = Comparison::new(on, off);
        let us = of(&both.countries, "US");
        assert_eq!((us.first.flows, us.second.flows, us.only_in), (1, 1, None));
        for (table, key) in [
            (&both.countries, "CN"),
            (&both.operators, "AS64500 Example"),
            (&both.destinations, "203.0.113.7"),
        ] {
            let pair = of(table, key);
            assert_eq!((pair.first, pair.second.flows), (Moved::default(), 2), "{key}");
            assert_eq!(pair.second.sent.bytes, 2_000, "{key}");
            assert_eq!((pair.only_in, pair.absence_shown), (Some(Which::Second), Some(true)));
        }
        let sent = |it: &Period| it.totals.sent.bytes;
        assert_eq!(both.periods.each_ref().map(sent), [1_000, 3_000]);
        assert_eq!((both.overlap, both.has_gaps()), (None, false));
    }

    #[test]
    fn over_a_gap_what_is_not_seen_is_not_said_to_have_stayed() {
        let off = side("LDM off", &[cn(1)], (0, 1));
        let mut on = side("LDM on", &[], (1, 2));
        on.coverage.gaps.push(blind());
        let both = Comparison::new(on, off);
        let pair = of(&both.countries, "CN");
        assert_eq!((pair.only_in, pair.absence_shown), (Some(Which::Second), Some(false)));
        assert!(both.countries.unsure[0][0].starts_with("Not all of it was watched"));
        assert!(both.countries.unsure[1].is_empty() && both.has_gaps());
    }

    #[test]
    fn what_is_only_added_up_may_have_gone_anywhere() {
        let added_up = |country: &str| super::super::tests::approved(4, country);
        let off = side("LDM off", &[cn(1)], (0, 1));
        let mut on = side("LDM on", &[], (1, 2));
        let sums = [added_up("US")];
        on.tables.countries = rows(By::Country, &[], &sums);
        on.tables.operators = rows(By::Operator, &[], &sums);
        let both = Comparison::new(on, off);
        assert_eq!(of(&both.countries, "CN").absence_shown, Some(true), "its country is known");
        assert_eq!(of(&both.operators, "AS64500 Example").absence_shown, Some(false));
        assert_eq!(of(&both.operators, ROLLED_UP).only_in, None, "it is no operator");
        assert!(both.operators.unsure[0][0].contains("without the operator: 4 flows"));
    }

    #[test]
    fn an_attempt_left_in_neither_and_time_in_both_is_told() {
        let mut attempt = cn(1);
        attempt.egress.phase = Phase::Attempt;
        let both = Comparison::new(side("a", &[attempt], (0, 2)), side("b", &[], (1, 3)));
        let pair = of(&both.countries, "CN");
        assert_eq!((pair.first.attempts, pair.only_in), (1, None));
        let Some(Overlap { from, to }) = both.overlap else { panic!("an hour is in both") };
        assert_eq!(to.0.0 - from.0.0, 3_600_000_000_000);
    }
}
