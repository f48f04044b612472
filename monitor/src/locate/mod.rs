//! Where an address is and whose it is, from local files only: nothing here asks the network, and
//! nothing here judges.
//!
//! Of an address, the first that knows it decides: an override of the configuration, a network the
//! configuration calls local, a special range, the databases. An IPv6 address that carries an IPv4
//! one (NAT64, 6to4, Teredo) is looked up as that; it is displayed as it was.

mod age;
mod build;
pub mod codes;
pub mod curated;
mod editions;
mod embedded;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
pub mod image;
mod layers;
mod mmdb;
mod networks;
mod rows;
mod seen;
mod special;
pub mod tables;
pub mod update;

use std::{fmt, io, net::IpAddr, path::PathBuf, sync::Arc};

use ipnet::IpNet;

use monitor_ebpf::places::UNASKED;

use self::{
    curated::{Correction, Corrections},
    editions::Editions,
    files::Files,
    image::SourceNote,
    layers::{Layer, Layers, Named},
    mmdb::Bytes,
};
pub use self::{
    image::{Cache, Image, settle},
    rows::ClassRow,
    special::Carrier,
};
use crate::{
    config::Geo,
    event::{Country, Operator, Place, Timestamp},
};

/// What the licences of the embedded data ask to be shown (CC BY 4.0 and CC BY-SA 4.0, section
/// 3(a)); a line each.
pub const NOTICES: [&str; 2] = [
    "IP geolocation by DB-IP, https://db-ip.com (DB-IP IP-to-Country Lite, CC BY 4.0; modified: \
     merged and re-encoded)",
    "Operators and second opinion from the IPFire Location Database, https://location.ipfire.org \
     (CC BY-SA 4.0; modified: merged, re-encoded, joined with registrants of iptoasn.com)",
];

/// Why there is no database to look into. One line; says what to do. All but `Embedded`,
/// `Corrections` and `Image` are the configuration's fault: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    #[error("the embedded {0} database: {1}; build geofenced again")]
    Embedded(&'static str, String),
    #[error("{} is damaged ({problem}); get it again: `geofenced databases update`", path.display())]
    Edition { path: PathBuf, problem: String },
    #[error("the embedded list of operators: {0}; build geofenced again")]
    Corrections(String),
    #[error("database {} cannot be read: {error}; correct its path or its permissions", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is not a MaxMind database, or is damaged ({problem}); get it again from its vendor", path.display())]
    Broken { path: PathBuf, problem: String },
    #[error("{}: {kind} holds no {what} that can be read; name a database that does", path.display())]
    Useless { path: PathBuf, kind: String, what: &'static str },
    #[error(
        "databases and overrides do not fit the tables of addresses: {0}; name other databases"
    )]
    Tables(String),
    #[error("the tables of addresses can't be put into memory: {0}; give geofenced more memory")]
    Image(io::Error),
}

/// A database in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `country`, `operator`, `second` or `corrections`; a metric's label.
    pub label: &'static str,
    pub name: String,
    /// `None`: inside the program.
    pub path: Option<PathBuf>,
    /// One of ours, whether inside the program or an edition of it.
    pub is_own: bool,
    /// Date of the data.
    pub built_at: Timestamp,
    /// Of the file.
    pub sha256: [u8; 32],
    /// What its licence asks to be shown, where that is known.
    pub notice: Option<&'static str>,
}

impl Database {
    fn of(note: SourceNote, geo: &Geo, own: &Editions) -> Self {
        let label = match note.label.as_str() {
            "country" => "country",
            "operator" => "operator",
            _ => "second",
        };
        let (named, edition, notice) = match label {
            "country" => (&geo.database, &own.country, NOTICES[0]),
            "operator" => (&geo.operator_database, &own.operator, NOTICES[1]),
            _ => (&None, &own.operator, NOTICES[1]),
        };
        Self {
            label,
            name: note.name,
            built_at: Timestamp(note.dated.saturating_mul(1_000_000_000)),
            sha256: note.sha256,
            notice: named.is_none().then_some(notice),
            is_own: named.is_none(),
            path: named.clone().or_else(|| edition.path.clone()),
        }
    }
}

impl Database {
    fn of_corrections(corrections: &Corrections) -> Self {
        Self {
            label: "corrections",
            name: "geofenced's list of operators".to_owned(),
            path: None,
            is_own: true,
            built_at: corrections.reviewed,
            sha256: corrections.sha256,
            notice: None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(path) = &self.path {
            write!(f, " at {}", path.display())?;
        }
        let seconds = i64::try_from(self.built_at.secs()).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_second(seconds) {
            Ok(at) => write!(f, ", {}", at.strftime("%F")),
            Err(_) => Ok(()),
        }
    }
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// It was asked; it may have had no answer.
    Database(&'a Database),
    /// `[[geo.override]]` of this network.
    Override(IpNet),
    /// `policy.local_networks`.
    LocalNetwork(IpNet),
    /// The range's name and RFC.
    SpecialRange(&'static str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(database) => write!(f, "{database}"),
            Self::Override(network) => write!(f, "override of {network}"),
            Self::LocalNetwork(network) => write!(f, "local network {network}"),
            Self::SpecialRange(name) => f.write_str(name),
        }
    }
}

/// A place, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// Canonical: what is displayed.
    pub address: IpAddr,
    /// The IPv4 address that was looked up instead, and how it was carried.
    pub carried: Option<(Carrier, IpAddr)>,
    pub place: Place,
    pub country_source: Source<'a>,
    /// `None`: nothing could be asked.
    pub operator_source: Option<Source<'a>>,
    /// What was said of the operator instead of what its source says.
    pub correction: Option<&'a Correction>,
}

/// Finds places in the image; explains them by the layers that the image was built with.
#[derive(Debug)]
pub struct Locator {
    image: Image,
    layers: Layers,
    corrections: Corrections,
    /// The country database, the operator database, the one for a second opinion where that is
    /// neither, and the list of corrections.
    databases: Vec<Database>,
    passed_over: Vec<String>,
}

impl Locator {
    /// `local`: networks that are local besides the special ranges.
    pub fn open(geo: &Geo, local: &[IpNet]) -> Result<Self, LocateError> {
        Self::open_with(geo, local, Cache::Off)
    }

    /// The same, and what may be done with an image on disk.
    pub fn open_with(geo: &Geo, local: &[IpNet], cache: Cache<'_>) -> Result<Self, LocateError> {
        let own = Editions::newest(&geo.folders);
        match Self::open_of(geo, local, cache, own.clone()) {
            Err(problem @ LocateError::Edition { .. }) => {
                Self::open_of(geo, local, cache, own.without(&problem))
            }
            opened => opened,
        }
    }

    fn open_of(
        geo: &Geo,
        local: &[IpNet],
        cache: Cache<'_>,
        own: Editions,
    ) -> Result<Self, LocateError> {
        let layers = Layers::new(geo, local);
        let corrections = curated::corrections(geo)?;
        let files = Files {
            country: geo.database.as_deref().map(Bytes::read).transpose()?,
            operator: geo.operator_database.as_deref().map(Bytes::read).transpose()?,
            own: &own,
        };
        let inputs = files.fingerprint(geo, local, &corrections);
        let image = image::obtain(cache, &inputs, || files.build(&layers, &corrections))?;
        let sources = image.sources().into_iter().map(|note| Database::of(note, geo, &own));
        let databases = sources.chain([Database::of_corrections(&corrections)]).collect();
        Ok(Self { image, layers, corrections, databases, passed_over: own.passed_over })
    }

    /// Databases that are not used though they may be newer, and why; a line each.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Its `domain` is `None`: that is not the address's to know.
    pub fn locate(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        match self.image.tables().class(address) {
            UNASKED => self.explain(address).place,
            class => self.place(address, self.image.class(class)),
        }
    }

    /// The same of an address whose class the probes found in this locator's tables.
    pub fn locate_in(&self, class: u16, address: IpAddr) -> Place {
        self.place(address.to_canonical(), self.image.class(class))
    }

    pub fn explain(&self, address: IpAddr) -> Explanation<'_> {
        let address = address.to_canonical();
        let carried = special::carried(address);
        let layer = self.layers.of(address, carried);
        let place = match self.image.tables().class(address) {
            UNASKED => self.unasked(address, carried, &layer),
            class => self.place(address, self.image.class(class)),
        };
        let operator_source = match &layer.operator {
            Some((_, network)) => Some(Source::Override(*network)),
            None if place.country == Country::Local => None,
            None => self.databases.get(1).map(Source::Database),
        };
        // There always is a country database, and it is the first.
        let country_source =
            layer.country.map_or_else(|| Source::Database(&self.databases[0]), |it| it.1);
        let asn = place.operator.as_ref().and_then(|operator| operator.asn);
        let correction = asn.and_then(|asn| self.corrections.lookup(asn));
        Explanation { address, carried, place, country_source, operator_source, correction }
    }

    fn place(&self, address: IpAddr, class: ClassRow) -> Place {
        Place {
            country: class.country(),
            second: class.second(),
            operator: self.image.operator(address, class.is_anycast()),
            domain: None,
            server_name: None,
            via: None,
        }
    }

    /// Of an address of which the tables say nothing, because its upper half does not decide.
    fn unasked(
        &self,
        address: IpAddr,
        carried: Option<(Carrier, IpAddr)>,
        layer: &Layer<'_>,
    ) -> Place {
        let inner = carried.map_or(address, |(_, inner)| inner);
        let class = match inner {
            IpAddr::V4(_) => self.image.class(self.image.tables().class(inner)),
            IpAddr::V6(inner) => {
                self.image.finer((u128::from(inner) >> 64) as u64).unwrap_or_default()
            }
        };
        let mut place = self.place(inner, class);
        if let Some((country, _)) = layer.country {
            (place.country, place.second) = (country, None);
        }
        if place.country == Country::Local {
            place.operator = None;
        }
        if let Some((named, _)) = layer.operator {
            place.operator = Some(Arc::new(self.named(named, class.is_anycast())));
        }
        if let (Some(operator), true) = (&mut place.operator, layer.country.is_some()) {
            Arc::make_mut(operator).is_anycast = false;
        }
        place
    }

    fn named(&self, named: &Named, is_anycast: bool) -> Operator {
        let system = named.asn.and_then(|asn| self.image.system(asn));
        let operator = Operator {
            asn: named.asn,
            name: system.and_then(|(_, name)| name).map(Into::into),
            country: system.and_then(|(row, _)| row.country()),
            is_anycast,
        };
        let correction = named.asn.and_then(|asn| self.corrections.lookup(asn));
        let mut operator = correction.map_or(operator.clone(), |it| it.apply(operator));
        operator.name = named.name.clone().or(operator.name);
        operator
    }

    /// The database that gives it, where nothing else is said.
    pub fn second_opinion(&self) -> Option<&Database> {
        let labelled = |label| self.databases.iter().find(move |it| it.label == label);
        labelled("second").or_else(|| labelled("operator"))
    }

    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// For the probes: their tables, and what each class means.
    pub fn image(&self) -> &Image {
        &self.image
    }
}

#[cfg(test)]
mod tests;
