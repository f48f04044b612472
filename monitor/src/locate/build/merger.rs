//! Numbers classes and operators as they come, and decides what a range is where its sources differ.

use assets::operator::{ANYCAST, Holding};
use monitor_ebpf::places::{CLASSES, UNASKED};
use rustc_hash::FxHashMap;

use super::{
    super::{
        LocateError,
        curated::Corrections,
        embedded::Operators,
        layers::{Said, Segment},
        rows::{ClassRow, ClassWord, OperatorRow},
        seen::{Found, Seen},
    },
    Inputs,
    sweep::{Ground, Range},
};
use crate::event::{Country, CountryCode};

/// Bytes of all names, some 20 for each of the systems there are: bounds what a database may claim.
const NAMES_MAX: usize = 64 << 20;
/// Bytes of one name.
const NAME_MAX: usize = 255;
/// Operators there can be: there are some 120,000 autonomous systems.
const OPERATORS_MAX: usize = 1 << 20;

/// What became of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) class: u16,
    /// Place in the table.
    pub(super) operator: u32,
    /// The class if only databases were asked.
    pub(super) of_database: u16,
}

/// What a class takes from its operator: little enough that those of all stay in the processor's
/// caches, which their rows do not.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    country: Option<CountryCode>,
    /// Whatever databases say of its addresses.
    is_anycast: Option<bool>,
}

impl Facts {
    fn row(self, asn: Option<u32>, name: (u32, u16)) -> OperatorRow {
        OperatorRow::new(asn, name, self.country, self.is_anycast)
    }
}

/// What databases say of a range, but for its operator. The default is nothing that was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ask {
    country: Option<CountryCode>,
    second: u8,
    is_anycast: Option<bool>,
}

pub(super) struct Merger<'a> {
    embedded: &'a Operators,
    corrections: &'a Corrections,
    pub(super) classes: Vec<ClassRow>,
    by_class: FxHashMap<ClassWord, u16>,
    pub(super) operators: Vec<OperatorRow>,
    by_operator: FxHashMap<OperatorRow, u32>,
    /// Of each operator.
    facts: Vec<Facts>,
    /// Of each operator, what its last range was.
    last: Vec<(Ask, u16)>,
    pub(super) names: String,
    by_name: FxHashMap<String, (u32, u16)>,
    has_operators: bool,
    pub(super) failure: Option<LocateError>,
}

impl<'a> Merger<'a> {
    pub(super) fn new(inputs: &Inputs<'a>) -> Self {
        let embedded = inputs.embedded;
        let mut merger = Self {
            embedded,
            corrections: inputs.corrections,
            // The first class is UNASKED, the first operator nobody.
            classes: vec![ClassRow::default()],
            by_class: FxHashMap::default(),
            operators: vec![OperatorRow::default()],
            by_operator: FxHashMap::default(),
            facts: vec![Facts::default()],
            last: vec![(Ask::default(), UNASKED)],
            names: String::new(),
            by_name: FxHashMap::default(),
            has_operators: inputs.operator.is_some(),
            failure: None,
        };
        for system in embedded.roster.systems() {
            let correction = merger.corrections.lookup(system.number);
            let name = correction.and_then(|it| it.name.as_deref()).unwrap_or(&system.name);
            let name = merger.push_name(name);
            let country = correction.and_then(|it| it.country);
            let country = country.or_else(|| embedded.country(system.registered));
            let is_anycast = correction.and_then(|it| it.is_anycast);
            merger.push_operator(Some(system.number), name, Facts { country, is_anycast });
        }
        merger
    }

    /// One that knows the same operators and no class yet, for another thread. It must not be asked
    /// for operators that this one does not know.
    pub(super) fn fork(&self) -> Self {
        Self {
            embedded: self.embedded,
            corrections: self.corrections,
            classes: vec![ClassRow::default()],
            by_class: FxHashMap::default(),
            operators: Vec::new(),
            by_operator: FxHashMap::default(),
            facts: self.facts.clone(),
            last: vec![(Ask::default(), UNASKED); self.last.len()],
            names: String::new(),
            by_name: FxHashMap::default(),
            has_operators: self.has_operators,
            failure: None,
        }
    }

    /// Takes over the classes of a fork. Returns by which number each is known here: as if its ranges
    /// had been merged here, after those that were.
    pub(super) fn join(&mut self, fork: Self) -> Vec<u16> {
        if let Some(failure) = fork.failure {
            self.failure.get_or_insert(failure);
        }
        let mut words = vec![None; fork.classes.len()];
        for (word, class) in fork.by_class {
            words[usize::from(class)] = Some(word);
        }
        words.into_iter().map(|word| word.map_or(UNASKED, |word| self.intern(word))).collect()
    }

    pub(super) fn merge(&mut self, range: &Range) -> Merged {
        let Range { seen, holding, operator, ground } = *range;
        let found = if self.has_operators { operator.unwrap_or(0) } else { holding.system };
        let of_database = self.base(seen, holding, found);
        if ground.is_unasked {
            return Merged { class: UNASKED, operator: found, of_database };
        }
        let is_local = ground.country == Some(Country::Local);
        let operator = ground.operator.unwrap_or(if is_local { 0 } else { found });
        let class = match ground.country {
            None if operator == found => of_database,
            None => self.base(seen, holding, operator),
            // Whoever wrote down where an address is needs no second opinion, nor to be told that
            // it may be elsewhere too.
            Some(country) => {
                let operator_country = self.facts(operator).country;
                self.intern(ClassWord::new(country, None, operator_country, false))
            }
        };
        Merged { class, operator, of_database }
    }

    fn base(&mut self, seen: Seen, holding: Holding, operator: u32) -> u16 {
        if seen.registered.is_some() {
            return self.class(seen, holding, operator);
        }
        let is_anycast = Some(holding.flags & ANYCAST != 0);
        let ask = Ask { country: seen.country, second: holding.class, is_anycast };
        // Most ranges of an operator are as the one of it before: no need to look for the class.
        match self.last.get(operator as usize) {
            Some((last, class)) if *last == ask => return *class,
            _ => {}
        }
        let class = self.class(seen, holding, operator);
        if let Some(last) = self.last.get_mut(operator as usize) {
            *last = (ask, class);
        }
        class
    }

    fn class(&mut self, seen: Seen, holding: Holding, operator: u32) -> u16 {
        let registered = seen.registered.filter(|code| Some(*code) != seen.country);
        let second = registered.or_else(|| self.embedded.country(holding.class));
        let facts = self.facts(operator);
        let is_anycast = facts.is_anycast.unwrap_or(holding.flags & ANYCAST != 0);
        let country = seen.country.map_or(Country::Unlocated, Country::Known);
        self.intern(ClassWord::new(country, second, facts.country, is_anycast))
    }

    fn facts(&self, operator: u32) -> Facts {
        self.facts.get(operator as usize).copied().unwrap_or_default()
    }

    fn intern(&mut self, word: ClassWord) -> u16 {
        if let Some(class) = self.by_class.get(&word) {
            return *class;
        }
        let Some(class) = u16::try_from(self.classes.len()).ok() else {
            self.fail(format!("more than {CLASSES} combinations of countries"));
            return UNASKED;
        };
        self.classes.push(word.row());
        self.by_class.insert(word, class);
        class
    }

    pub(super) fn grounds(&mut self, segments: Vec<Segment<'_>>) -> Vec<(u64, Ground)> {
        let mut ground = |said: Said<'_>| match said {
            Said::Unasked => Ground { is_unasked: true, ..Ground::default() },
            Said::Layer(layer) => Ground {
                country: layer.country.map(|(country, _)| country),
                operator: layer.operator.map(|(named, _)| {
                    let (asn, name) = (named.asn, named.name.as_deref());
                    self.operator(&Found { asn, name, country: None }, true)
                }),
                is_unasked: false,
            },
        };
        segments.into_iter().map(|segment| (segment.start, ground(segment.said))).collect()
    }

    /// Place in the table. What is not told of a known system is what the embedded database says;
    /// corrections come before what databases say, and before them what an override says.
    pub(super) fn operator(&mut self, found: &Found<'_>, is_override: bool) -> u32 {
        let numbers = &self.embedded.roster.numbers;
        let known = found
            .asn
            .and_then(|asn| numbers.binary_search(&asn).ok())
            // The first row is nobody.
            .map(|at| at + 1);
        let row = known.and_then(|at| self.operators.get(at).copied());
        if let (Some(at), None, None) = (known, found.name, found.country) {
            return at as u32;
        }
        let correction = found.asn.and_then(|asn| self.corrections.lookup(asn));
        let corrected = correction.and_then(|it| it.name.as_deref()).filter(|_| !is_override);
        let name = match (corrected.or(found.name), row) {
            (Some(name), _) => self.name(name),
            (None, Some(row)) => (row.name_at, row.name_bytes),
            (None, None) => {
                correction.and_then(|it| it.name.as_deref()).map_or((0, 0), |name| self.name(name))
            }
        };
        let country = correction.and_then(|it| it.country).or(found.country);
        let country = country.or_else(|| row?.country());
        let is_anycast = correction.and_then(|it| it.is_anycast);
        let facts = Facts { country, is_anycast };
        let row = facts.row(found.asn, name);
        if let Some(at) = self.by_operator.get(&row) {
            return *at;
        }
        if self.operators.len() >= OPERATORS_MAX {
            self.fail(format!("more than {OPERATORS_MAX} operators"));
            return 0;
        }
        let at = self.push_operator(found.asn, name, facts);
        self.by_operator.insert(row, at);
        at
    }

    /// Returns its place in the table.
    fn push_operator(&mut self, asn: Option<u32>, name: (u32, u16), facts: Facts) -> u32 {
        let at = self.operators.len() as u32;
        self.operators.push(facts.row(asn, name));
        self.facts.push(facts);
        self.last.push((Ask::default(), UNASKED));
        at
    }

    fn name(&mut self, name: &str) -> (u32, u16) {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let pushed = self.push_name(name);
        self.by_name.insert(name.to_owned(), pushed);
        pushed
    }

    fn push_name(&mut self, name: &str) -> (u32, u16) {
        let name = &name[..name.floor_char_boundary(NAME_MAX)];
        if self.names.len() + name.len() > NAMES_MAX {
            self.fail(format!("more than {} MB of names", NAMES_MAX >> 20));
            return (0, 0);
        }
        let at = self.names.len() as u32;
        self.names.push_str(name);
        (at, name.len() as u16)
    }

    fn fail(&mut self, problem: String) {
        self.failure.get_or_insert(LocateError::Tables(problem));
    }
}
