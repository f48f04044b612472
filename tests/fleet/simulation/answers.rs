//! What the questions of `deploy/lake/questions` must be answered, by the truth alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Fate, Fleet,
    truth::{Of, Sum, Truth},
    world::{DESTINATIONS, Destination, PROGRAMS, START_S},
};

pub type Rows = Vec<Vec<String>>;

const DAY_S: u64 = 86_400;

fn day(number: u64) -> String {
    let at = i64::try_from(START_S + number * DAY_S).expect("a time");
    jiff::Timestamp::from_second(at).expect("a time").strftime("%F").to_string()
}

/// Sums by some key, in its order.
fn by<K: Ord>(
    truth: &Truth,
    counts: impl Fn(&Of, &Destination) -> bool,
    key: impl Fn(&Of, &Destination) -> K,
) -> BTreeMap<K, (Sum, BTreeSet<String>, u64)> {
    let mut all: BTreeMap<K, (Sum, BTreeSet<String>, u64)> = BTreeMap::new();
    for (of, it) in &truth.sums {
        let to = &DESTINATIONS[of.to];
        if !counts(of, to) {
            continue;
        }
        let entry =
            all.entry(key(of, to)).or_insert_with(|| (Sum::default(), BTreeSet::new(), of.day));
        entry.0.states += it.states;
        entry.0.flows += it.flows;
        entry.0.attempts += it.attempts;
        entry.0.violations += it.violations;
        entry.0.sent += it.sent;
        entry.0.violating += it.violating;
        entry.1.insert(of.station.clone());
        entry.2 = entry.2.min(of.day);
    }
    all
}

/// The same of what violates.
fn violating<K: Ord>(
    truth: &Truth,
    key: impl Fn(&Of, &Destination) -> K,
) -> BTreeMap<K, (Sum, BTreeSet<String>, u64)> {
    let counts = |of: &Of, _: &Destination| truth.sums[of].violations > 0;
    by(truth, counts, key)
}

fn all(_: &Of, _: &Destination) -> bool {
    true
}

macro_rules! row {
    ($($it:expr),+ $(,)?) => { vec![$($it.to_string()),+] };
}

fn path(of: &Of) -> &'static str {
    PROGRAMS[of.by].path
}

/// By the name of the question.
pub fn expected(fleet: &Fleet) -> BTreeMap<&'static str, Rows> {
    let truth = &fleet.truth;
    let mut answers = BTreeMap::new();
    of_violations(truth, &mut answers);
    of_flows(truth, &mut answers);
    of_fleet(fleet, &mut answers);
    answers
}

fn of_violations(truth: &Truth, answers: &mut BTreeMap<&'static str, Rows>) {
    let mut put = |name: &'static str, rows: Rows| answers.insert(name, rows);
    let sums = violating(truth, |of, to| (to.country, to.operator, path(of)));
    let rows = sums
        .iter()
        .map(|((a, b, c), (it, who, _))| row![a, b, c, it.violations, it.violating, who.len()]);
    put("01-violations-by-country-operator-program", rows.collect());
    let to_china = |of: &Of, to: &Destination| truth.sums[of].violations > 0 && to.country == "CN";
    let sums = by(truth, to_china, |of, _| of.station.clone());
    let rows = sums.iter().map(|(who, (it, ..))| row![who, it.violations, it.violating]);
    put("02-to-china", rows.collect());
    let sums = violating(truth, |of, _| of.station.clone());
    let mut rows: Vec<_> = sums.iter().map(|(who, (it, ..))| (it.violations, who, it)).collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let rows = rows.into_iter().map(|(count, who, it)| row![who, count, it.violating]);
    put("03-stations-by-violations", rows.collect());
    let sums = violating(truth, |of, _| of.day);
    let rows = sums
        .iter()
        .map(|(at, (it, who, _))| row![day(*at), it.violations, it.violating, who.len()]);
    put("04-violations-by-day", rows.collect());
    let sums = violating(truth, |of, to| (of.station.clone(), to.country));
    let rows = sums.iter().map(|((who, country), (_, _, first))| row![who, country, day(*first)]);
    put("06-first-contact-by-station", rows.collect());
    let sums = violating(truth, |of, _| (path(of), PROGRAMS[of.by].user));
    let rows = sums
        .iter()
        .map(|((program, user), (it, who, _))| row![program, user, it.violations, who.len()]);
    put("09-programs-that-violate", rows.collect());
    let sums = violating(truth, |_, to| (to.domain, to.country));
    let rows = sums.iter().map(|((name, country), (it, ..))| row![name, country, it.violations]);
    put("11-domains-that-violate", rows.collect());
    let last = truth.sums.keys().map(|of| of.day).max().unwrap_or(0);
    let of_last = |of: &Of, _: &Destination| truth.sums[of].violations > 0 && of.day == last;
    let sums = by(truth, of_last, |of, _| of.station.clone());
    let rows = sums.iter().map(|(who, (it, ..))| row![who, it.violations]);
    put("14-violations-of-the-last-day", rows.collect());
}

fn of_flows(truth: &Truth, answers: &mut BTreeMap<&'static str, Rows>) {
    let mut put = |name: &'static str, rows: Rows| answers.insert(name, rows);
    let sums = by(truth, all, |_, to| to.country);
    let rows = sums.iter().map(|(country, (_, _, first))| row![country, day(*first)]);
    put("05-first-contact-by-country", rows.collect());
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for (country, (it, ..)) in &sums {
        *bytes.entry(*country).or_default() += it.sent;
    }
    for ((_, _, to), (_, sent)) in &truth.rollups {
        *bytes.entry(DESTINATIONS[*to].country).or_default() += sent;
    }
    put("07-bytes-by-country", bytes.iter().map(|(a, b)| row![a, b]).collect());
    let sums = by(truth, all, |_, to| to.operator);
    let mut rows: Vec<_> = sums.iter().map(|(who, (it, ..))| (it.sent, who, it.flows)).collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let rows = rows.into_iter().take(10).map(|(sent, who, flows)| row![who, sent, flows]);
    put("08-operators-by-bytes", rows.collect());
    let sums = by(truth, |_, to| to.asn == 45_090, |of, _| of.station.clone());
    let rows = sums.iter().map(|(who, (it, ..))| row![who, it.flows, it.sent]);
    put("10-who-reached-an-operator", rows.collect());
    let sums = by(truth, |of, _| truth.sums[of].attempts > 0, |_, to| to.country);
    let rows = sums.iter().map(|(country, (it, ..))| row![country, it.attempts]);
    put("12-attempts", rows.collect());
    let is_apart = |_: &Of, to: &Destination| to.country != to.operator_country;
    let sums = by(truth, is_apart, |_, to| (to.country, to.operator_country, to.operator));
    let rows = sums.iter().map(|((a, b, c), (it, ..))| row![a, b, c, it.flows, it.sent]);
    put("13-operator-of-another-country", rows.collect());
    let sums = by(truth, all, |of, _| path(of));
    let rows = sums.iter().map(|(path, (_, who, first))| row![path, day(*first), who.len()]);
    put("18-first-day-of-a-program", rows.collect());
    let rows = truth.largest.iter().take(10).map(|(bytes, id)| row![bytes, id]);
    put("19-largest-flows", rows.collect());
    let sums = by(truth, all, |of, _| of.station.clone());
    let rows = sums.iter().map(|(who, (it, ..))| row![who, it.states]);
    put("20-records-by-station", rows.collect());
}

fn of_fleet(fleet: &Fleet, answers: &mut BTreeMap<&'static str, Rows>) {
    let truth = &fleet.truth;
    let (mut watched, mut gaps, mut states) = (Rows::new(), Rows::new(), Rows::new());
    for (name, fate) in &fleet.fates {
        let state = match fate {
            Fate::Loses => Some("missing"),
            Fate::RolledBack => Some("rolled-back"),
            Fate::PutBack => Some("put-back"),
            Fate::Cloned => Some("cloned"),
            Fate::SignsTwice => Some("signs-twice"),
            Fate::Silent => Some("silent"),
            _ => None,
        };
        states.extend(state.map(|state| row![name, name, state]));
        if !is_simple(*fate) {
            continue;
        }
        let (from, to) = truth.watched[name];
        let seconds = to - from;
        watched.push(row![name, name, seconds - truth.unwatched_s(name), seconds]);
        let mut of: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, _, why) in truth.gaps.get(name).into_iter().flatten() {
            *of.entry(why).or_default() += 1;
        }
        gaps.extend(of.iter().map(|(why, count)| row![name, why, count]));
    }
    answers.insert("15-watched", watched);
    answers.insert("16-not-watched", gaps);
    answers.insert("17-stations-that-are-not-whole", states);
}

/// One ledger from the first day to the last, all of which arrived.
pub fn is_simple(fate: Fate) -> bool {
    !matches!(fate, Fate::Loses | Fate::RolledBack | Fate::PutBack | Fate::Silent)
}
