//! What a summary asks of sums: which columns must be kept apart for its keys and its filter, which of their entries
//! are wanted and what those are called. Each entry is shown to the filter and to the summary as a record, so both
//! answer as they would for the flows themselves. It reads nothing.

use crate::{
    event::{Country, Rollup, Timestamp, Traffic, Verdict},
    filter::Filter,
    store::index::{
        COLUMNS, DEVICE, Dictionary, HOUR, HOUR_NS, Key, Needs, OPERATOR, PORT, RolledBy, RolledUp,
        Sum, Sums, TO, WHAT, WHO, blank, learning,
    },
    summary::{By, Kind, Like, Parts, Totals},
};

/// A question that sums can answer.
#[derive(Debug)]
pub(super) struct Asked {
    keys: Vec<(By, usize)>,
    /// What the filter asks of each column; the times are asked of each row.
    filters: [Filter; COLUMNS],
    pub(super) needs: Needs,
    /// The filter asks for countries and verdicts at most.
    pub(super) is_of_kinds: bool,
    /// How roll-ups are to be kept apart.
    pub(super) rolled_by: RolledBy,
}

/// The column that tells a key.
fn column(by: By) -> usize {
    match by {
        By::Country | By::Verdict => WHAT,
        By::Operator => OPERATOR,
        By::Process | By::Script | By::User | By::Unit | By::Container | By::Parent => WHO,
        By::Port => PORT,
        By::Destination | By::Domain => TO,
        By::Device => DEVICE,
        By::Hour => HOUR,
    }
}

impl Asked {
    /// `None`: some of it is asked for that sums don't keep apart.
    pub(super) fn of(filter: &Filter, totals: &dyn Totals) -> Option<Self> {
        let keys: Vec<(By, usize)> = totals.keys()?.iter().map(|by| (by, column(by))).collect();
        let Filter {
            since: _,
            until: _,
            during,
            countries,
            operators,
            processes,
            pids,
            tree,
            units,
            users,
            destinations,
            ports,
            transports,
            verdicts,
            origins,
            scripts,
            containers,
            hashes,
            reasons,
            certainties,
            min_bytes,
            phase,
        } = filter.clone();
        let is_of_each = during.is_some() || min_bytes.is_some() || tree.is_some();
        if is_of_each || !pids.is_empty() || !destinations.is_empty() {
            return None;
        }
        let by_program = !processes.is_empty()
            || !users.is_empty()
            || keys.iter().any(|(by, _)| matches!(by, By::Process | By::User));
        let by_hour = keys.iter().any(|(by, _)| *by == By::Hour);
        let rolled_by = match (by_program, by_hour) {
            (_, true) => RolledBy::Hour,
            (true, false) => RolledBy::Program,
            (false, false) => RolledBy::Kind,
        };
        let kinds = Filter { countries, verdicts, ..Filter::default() };
        let mut filters: [Filter; COLUMNS] = Default::default();
        filters[WHO] =
            Filter { processes, units, users, scripts, containers, hashes, ..Filter::default() };
        filters[OPERATOR] = Filter { operators, ..Filter::default() };
        filters[PORT] = Filter { ports, ..Filter::default() };
        filters[WHAT] =
            Filter { transports, origins, reasons, certainties, phase, ..kinds.clone() };
        let columns = (0..COLUMNS).filter(|at| {
            let more = if *at == WHAT { &kinds } else { &Filter::default() };
            filters[*at] != *more || *at != WHAT && keys.iter().any(|(_, column)| column == at)
        });
        let columns: Vec<usize> = columns.collect();
        if by_hour && columns.iter().any(|column| ![HOUR, WHAT].contains(column)) {
            // No sums keep these apart, and the index may know the few blocks in which they are.
            return None;
        }
        let needs = columns.iter().copied().fold(Needs::default(), Needs::also);
        let is_of =
            |at: usize| at == WHAT && filters[at] == kinds || filters[at] == Filter::default();
        let is_of_kinds = (0..COLUMNS).all(is_of);
        Some(Self { keys, filters, needs, is_of_kinds, rolled_by })
    }

    /// What the entries of these sums' dictionary are.
    pub(super) fn names(&self, sums: &Sums, totals: &mut dyn Totals) -> Names {
        let Sums { dictionary, .. } = sums;
        let mut names = Names::default();
        for column in 0..COLUMNS {
            let (count, mut record) = (dictionary.count(column), blank());
            let mut wanted = Vec::with_capacity(count);
            let mut called: Vec<(usize, Vec<u32>)> = Vec::new();
            for number in 0..count {
                dictionary.show(column, number, &mut record);
                let is_wanted = self.filters[column].matches(&record);
                wanted.push(is_wanted);
                for (at, (by, _)) in self.keys.iter().enumerate().filter(|(_, it)| it.1 == column) {
                    let part = if is_wanted { totals.part(*by, Like::Flow(&record)) } else { 0 };
                    match called.iter_mut().find(|(place, _)| *place == at) {
                        Some((_, parts)) => parts.push(part),
                        None => called.push((at, vec![part])),
                    }
                }
            }
            if wanted.contains(&false) {
                names.wanted.push((column, wanted));
            }
            names.parts.extend(called.into_iter().map(|(at, parts)| (at, column, parts)));
        }
        names
    }

    /// What roll-ups of these rows are called, where they are wanted.
    pub(super) fn rolled(
        &self,
        filter: &Filter,
        rolled: &RolledUp,
        totals: &mut dyn Totals,
    ) -> Vec<(Parts, Kind, Sum)> {
        let filter = Filter { since: None, until: None, ..filter.clone() };
        let mut told = Vec::new();
        for (row, sum) in &rolled.rows {
            let (program, user) = rolled.programs[usize::from(row.program)].clone();
            let Kind { country, verdict, is_learning } = row.kind;
            let like = Rollup {
                hour: Timestamp(u64::from(row.hour) * HOUR_NS),
                program,
                user,
                country,
                verdict,
                provenance: is_learning.then(learning),
                flows: 0,
                traffic: Traffic::default(),
            };
            if filter.matches_rollup(&like) {
                let mut parts = Parts::default();
                for (part, (by, _)) in parts.iter_mut().zip(&self.keys) {
                    *part = totals.part(*by, Like::Rollup(&like));
                }
                told.push((parts, row.kind, *sum));
            }
        }
        told
    }
}

/// What the entries of a dictionary are to a question.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Of the columns of which not all is wanted.
    wanted: Vec<(usize, Vec<bool>)>,
    /// By key: its place, its column, and the number of what each entry is called.
    parts: Vec<(usize, usize, Vec<u32>)>,
}

impl Names {
    pub(super) fn is_wanted(&self, key: &Key) -> bool {
        self.wanted.iter().all(|(column, wanted)| {
            wanted.get(usize::from(key[*column])).copied().unwrap_or_default()
        })
    }

    pub(super) fn parts(&self, key: &Key) -> Parts {
        let mut parts = Parts::default();
        for (at, column, called) in &self.parts {
            parts[*at] = called.get(usize::from(key[*column])).copied().unwrap_or_default();
        }
        parts
    }
}

/// What a row is in all.
pub(super) fn kind(dictionary: &Dictionary, key: &Key) -> Kind {
    let unknown =
        Kind { country: Country::Unlocated, verdict: Verdict::Unknown, is_learning: false };
    dictionary.kind(key).unwrap_or(unknown)
}
