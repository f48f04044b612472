//! Puts the operator database together: ranges, flags and names from `IPFire` Location, the country
//! of each registrant from the join.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use assets::{libloc, operator};

use super::{obtain::Packages, registrants::Registrants, write};

/// Fewer systems with a known registrant than this share: the two sets do not fit each other.
const REGISTERED_MIN: f64 = 0.9;

pub(super) fn build(packages: &Packages, out: &Path) -> anyhow::Result<()> {
    let location = fs::read(&packages.location)?;
    let parsed = libloc::parse(&location);
    let database = parsed.with_context(|| packages.location.display().to_string())?;
    let (v4, v6) = (database.networks4()?, database.networks6()?);
    let registrants = Registrants::join(&packages.registrants, &v4, &v6)?;
    let version = &packages.operator_version;
    let source = format!("IPFire Location Database (Debian libloc-database {version})");
    let registered = |system| registrants.country(system);
    let draft = libloc::draft(&database, [&v4, &v6], registered, source)?;
    let known = draft.systems.iter().filter(|system| system.registered != 0).count();
    let share = known as f64 / draft.systems.len().max(1) as f64;
    println!("{:.1} % of the systems have a registrant whose country is known", share * 100.0);
    ensure!(share > REGISTERED_MIN, "{} does not fit", packages.registrants.display());
    let bytes = operator::encode(&draft)?;
    let read = operator::decode(&bytes).context("what was written")?;
    let same = read.systems().eq(draft.systems.iter().cloned())
        && read.ranges4().eq(draft.v4.iter().copied())
        && read.ranges6().eq(draft.v6.iter().copied());
    ensure!(same, "what was written reads back differently");
    write(out, &bytes)?;
    println!(
        "{}: {} IPv4 and {} IPv6 ranges, {} systems, {} KB",
        out.display(),
        draft.v4.len(),
        draft.v6.len(),
        draft.systems.len(),
        bytes.len() / 1000
    );
    Ok(())
}
