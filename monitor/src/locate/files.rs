//! Which sources the image is built from: those of the configuration, else our own.

use std::{fmt::Write as _, panic, thread};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{
    LocateError,
    build::{Built, CountryInput, Inputs},
    curated::Corrections,
    editions::{self, Editions},
    embedded::{Countries, Operators},
    image::SourceNote,
    layers::Layers,
    mmdb::{About, Bytes, CountryFile, OperatorFile},
};
use crate::config::Geo;

/// Raised when the same sources are merged differently.
const REVISION: u32 = 1;

/// What the configuration names; `None` is our own.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub(super) country: Option<Bytes>,
    pub(super) operator: Option<Bytes>,
    pub(super) own: &'a Editions,
}

impl Files<'_> {
    /// Stands for everything that the image depends on.
    pub(super) fn fingerprint(
        &self,
        geo: &Geo,
        local: &[IpNet],
        corrections: &Corrections,
    ) -> [u8; 32] {
        let mut text = format!("geofenced image {REVISION} {}\n", env!("CARGO_PKG_VERSION"));
        let mut line = |name: &str, value: &dyn std::fmt::Debug| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {value:?}");
        };
        let file = |file: &Option<Bytes>| file.as_ref().map(|file| file.sha256);
        line("embedded country", &self.own.country.identity());
        line("embedded operator", &self.own.operator.identity());
        line("country", &file(&self.country));
        line("operator", &file(&self.operator));
        line("corrections", &corrections.sha256);
        for known in &geo.overrides {
            line("override", known);
        }
        for network in local {
            line("local", network);
        }
        Sha256::digest(text).into()
    }

    /// What the image holds, and its list of sources.
    pub(super) fn build(
        self,
        layers: &Layers,
        corrections: &Corrections,
    ) -> Result<(Built, Vec<u8>), LocateError> {
        let Self { country, operator, own } = self;
        let (embedded, country) = thread::scope(|scope| {
            let country = scope.spawn(|| match country {
                None => Countries::open(&own.country).map(CountryInput::Embedded),
                Some(bytes) => CountryFile::open(bytes).map(CountryInput::File),
            });
            let embedded = Operators::open(&own.operator);
            (embedded, country.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
        });
        let embedded = embedded?;
        let operator = operator.map(OperatorFile::open).transpose()?;
        let country = country?;
        let notes = notes(&country, operator.as_ref(), &embedded, own);
        let operator = operator.as_ref();
        let inputs = Inputs { country, embedded: &embedded, operator, layers, corrections };
        let built = inputs.build()?;
        let sources = serde_json::to_vec(&notes)
            .map_err(|error| LocateError::Image(std::io::Error::other(error)))?;
        editions::rest();
        Ok((built, sources))
    }
}

fn notes(
    country: &CountryInput,
    operator: Option<&OperatorFile>,
    embedded: &Operators,
    own: &Editions,
) -> Vec<SourceNote> {
    let of_file = |label: &str, about: About<'_>| SourceNote {
        label: label.to_owned(),
        name: about.name.to_owned(),
        dated: about.dated.secs(),
        sha256: about.sha256,
        licence: None,
    };
    let of_roster = |label: &str| SourceNote {
        label: label.to_owned(),
        name: embedded.roster.source.clone(),
        dated: embedded.roster.dated,
        sha256: own.operator.sha256(),
        licence: Some("CC BY-SA 4.0".to_owned()),
    };
    let mut notes = vec![match country {
        CountryInput::File(file) => of_file("country", file.about()),
        CountryInput::Embedded(countries) => SourceNote {
            label: "country".to_owned(),
            name: countries.asset.source.clone(),
            dated: countries.asset.dated,
            sha256: own.country.sha256(),
            licence: Some("CC BY 4.0".to_owned()),
        },
    }];
    match operator {
        None => notes.push(of_roster("operator")),
        Some(file) => notes.extend([of_file("operator", file.about()), of_roster("second")]),
    }
    notes
}
