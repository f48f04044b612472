//! Merges what every source says of every range into tables, classes and operators. In memory only;
//! `image` puts the result into a file.

mod merger;
mod sweep;

use std::{cell::RefCell, collections::BTreeMap, panic, thread};

use assets::operator::Holding;

use self::{
    merger::Merger,
    sweep::{Head, Sweep},
};
use super::{
    LocateError,
    curated::Corrections,
    embedded::{Countries, Operators},
    layers::Layers,
    mmdb::{CountryFile, OperatorFile},
    rows::{ClassRow, OperatorRow},
    seen::{IpVersion, Seen},
    tables::{self, Tables, TablesError},
};

/// Everything the image holds.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) tables: Tables,
    /// By class; the first is for `UNASKED`.
    pub(super) classes: Vec<ClassRow>,
    /// The first is nobody; then those of the embedded database, ascending by number.
    pub(super) operators: Vec<OperatorRow>,
    pub(super) names: String,
    /// Who runs what: first address, and the operator's place in the table.
    pub(super) runs4: (Vec<u32>, Vec<u32>),
    pub(super) runs6: (Vec<u64>, Vec<u32>),
    /// Upper halves of IPv6 addresses of which more is known, and the class of the rest.
    pub(super) finer: (Vec<u64>, Vec<u16>),
    /// Of the embedded operator database.
    pub(super) systems: usize,
}

#[cfg(test)]
impl Built {
    /// Ranges of the tables.
    pub(super) fn ranges(&self) -> usize {
        let tables = self.tables.borrow();
        tables.ranges4().count() + tables.ranges6().count()
    }
}

/// Where the ranges come from.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) country: CountryInput,
    /// Always there: it is the second opinion, and knows where systems are registered.
    pub(super) embedded: &'a Operators,
    /// Asked for operators instead.
    pub(super) operator: Option<&'a OperatorFile>,
    pub(super) layers: &'a Layers,
    pub(super) corrections: &'a Corrections,
}

#[derive(Debug)]
pub(super) enum CountryInput {
    Embedded(Countries),
    File(CountryFile),
}

/// Tables, and who runs what of each family.
type Merged = (Result<Tables, TablesError>, (Vec<u32>, Vec<u32>), (Vec<u64>, Vec<u32>));

impl Inputs<'_> {
    pub(super) fn build(&self) -> Result<Built, LocateError> {
        let mut merger = RefCell::new(Merger::new(self));
        let mut finer: BTreeMap<u64, u16> =
            self.layers.finer().into_iter().map(|key| (key, 0)).collect();
        let (tables, runs4, runs6) = match &self.country {
            CountryInput::Embedded(embedded) if self.operator.is_none() => {
                self.merge_at_once(embedded, merger.get_mut(), &mut finer)
            }
            CountryInput::Embedded(embedded) => {
                self.merge(embedded.ranges4(), embedded.ranges6(), &merger, &mut finer)
            }
            CountryInput::File(file) => {
                let (v4, v6) = (file.ranges(IpVersion::V4), file.ranges(IpVersion::V6));
                self.merge(v4, v6, &merger, &mut finer)
            }
        };
        let files = [self.country_failure(), self.operator.and_then(OperatorFile::failure)];
        let merger = merger.into_inner();
        if let Some(failure) = files.into_iter().chain([merger.failure]).flatten().next() {
            return Err(failure);
        }
        Ok(Built {
            tables: tables.map_err(|error| LocateError::Tables(error.to_string()))?,
            classes: merger.classes,
            operators: merger.operators,
            names: merger.names,
            runs4,
            runs6,
            finer: finer.into_iter().unzip(),
            systems: self.embedded.roster.numbers.len(),
        })
    }

    /// `countries`: ranges of the country database.
    fn merge(
        &self,
        countries4: impl Iterator<Item = (u64, Seen)>,
        countries6: impl Iterator<Item = (u64, Seen)>,
        merger: &RefCell<Merger<'_>>,
        finer: &mut BTreeMap<u64, u16>,
    ) -> Merged {
        let (mut runs4, mut runs6) = ((vec![], vec![]), (vec![], vec![]));
        let roster = &self.embedded.roster;
        let v4 = self.sweep(IpVersion::V4, countries4, roster.ranges4(), merger);
        let v4 = v4.map(|(start, range)| {
            let merged = merger.borrow_mut().merge(&range);
            push_run(&mut runs4, start as u32, merged.operator);
            (start as u32, merged.class)
        });
        let v6 = self.sweep(IpVersion::V6, countries6, roster.ranges6(), merger);
        let v6 = v6.map(|(start, range)| {
            let merged = merger.borrow_mut().merge(&range);
            push_run(&mut runs6, start, merged.operator);
            finer.entry(start).and_modify(|class| *class = merged.of_database);
            (start, merged.class)
        });
        let tables = Tables::build(v4, v6);
        (tables, runs4, runs6)
    }

    /// Both families of what is embedded, on two threads: the result is that of `merge`.
    fn merge_at_once(
        &self,
        embedded: &Countries,
        merger: &mut Merger<'_>,
        finer: &mut BTreeMap<u64, u16>,
    ) -> Merged {
        let grounds4 = merger.grounds(self.layers.segments4());
        let grounds6 = merger.grounds(self.layers.segments6());
        let mut fork = merger.fork();
        let (mut runs4, mut runs6) = ((vec![], vec![]), (vec![], vec![]));
        let roster = &self.embedded.roster;
        let (tables, columns6) = thread::scope(|scope| {
            let v6 = scope.spawn(|| {
                let v6 = Sweep::new(embedded.ranges6(), roster.ranges6(), grounds6);
                tables::columns6(v6.map(|(start, range)| {
                    let merged = fork.merge(&range);
                    push_run(&mut runs6, start, merged.operator);
                    finer.entry(start).and_modify(|class| *class = merged.of_database);
                    (start, merged.class)
                }))
            });
            let v4 = Sweep::new(embedded.ranges4(), roster.ranges4(), grounds4);
            let tables = Tables::build4(v4.map(|(start, range)| {
                let merged = merger.merge(&range);
                push_run(&mut runs4, start as u32, merged.operator);
                (start as u32, merged.class)
            }));
            (tables, v6.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
        });
        let numbers = merger.join(fork);
        let renumber = |class: &mut u16| *class = numbers[usize::from(*class)];
        finer.values_mut().for_each(renumber);
        let tables = tables.and_then(|tables| {
            let (keys, mut classes) = columns6?;
            classes.iter_mut().for_each(renumber);
            Ok(tables.with6((keys, classes)))
        });
        (tables, runs4, runs6)
    }

    fn country_failure(&self) -> Option<LocateError> {
        match &self.country {
            CountryInput::Embedded(_) => None,
            CountryInput::File(file) => file.failure(),
        }
    }

    fn sweep<'a, C, H>(
        &'a self,
        family: IpVersion,
        countries: C,
        holdings: H,
        merger: &'a RefCell<Merger<'_>>,
    ) -> Sweep<'a, C, H>
    where
        C: Iterator<Item = (u64, Seen)>,
        H: Iterator<Item = (u64, Holding)>,
    {
        let operators: sweep::Operators<'a> = match self.operator {
            None => Box::new(std::iter::empty()),
            Some(file) => Box::new(
                file.ranges(family, |found| Some(merger.borrow_mut().operator(&found, false))),
            ),
        };
        let segments = match family {
            IpVersion::V4 => self.layers.segments4(),
            IpVersion::V6 => self.layers.segments6(),
        };
        let operators = Head::new(operators);
        let grounds = merger.borrow_mut().grounds(segments);
        Sweep { operators, ..Sweep::new(countries, holdings, grounds) }
    }
}

fn push_run<K>((starts, operators): &mut (Vec<K>, Vec<u32>), start: K, operator: u32) {
    if operators.last() != Some(&operator) {
        starts.push(start);
        operators.push(operator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::editions::Editions;
    use crate::{config::Config, locate::curated};

    #[test]
    fn two_threads_merge_what_one_does() {
        let geo = Config::builtin().geo;
        let local = ["10.0.0.0/8", "2001:db8:5::/112"].map(|network| network.parse().unwrap());
        let (layers, corrections) =
            (Layers::new(&geo, &local), curated::corrections(&geo).unwrap());
        let own = Editions::embedded();
        let embedded = Operators::open(&own.operator).unwrap();
        let countries = Countries::open(&own.country).unwrap();
        let inputs = Inputs {
            country: CountryInput::Embedded(Countries::default()),
            embedded: &embedded,
            operator: None,
            layers: &layers,
            corrections: &corrections,
        };
        let finer = || layers.finer().into_iter().map(|key| (key, 0)).collect::<BTreeMap<_, _>>();
        let (mut two, mut finer_of_two) = (Merger::new(&inputs), finer());
        let of_two = inputs.merge_at_once(&countries, &mut two, &mut finer_of_two);
        let (one, mut finer_of_one) = (RefCell::new(Merger::new(&inputs)), finer());
        let ranges = (countries.ranges4(), countries.ranges6());
        let of_one = inputs.merge(ranges.0, ranges.1, &one, &mut finer_of_one);
        // Not printed: they are long.
        assert!(of_two == of_one && two.classes == one.borrow().classes);
        assert_eq!(finer_of_two, finer_of_one);
    }
}
