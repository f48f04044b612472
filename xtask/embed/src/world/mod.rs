//! `cargo xtask world`: rebuilds the map of the world for reports from Natural Earth's shapes, as the npm
//! package world-atlas holds them. For maintainers; building geofenced never needs it, because the map is
//! committed. See docs/report.md.

mod codes;
mod shapes;
mod topology;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, ensure};

use self::{
    shapes::{Shape, VIEW},
    topology::Topology,
};
use crate::geodb::obtain;

const PACKAGE: &str = "world-atlas";
/// In the page of a report.
const BYTES_MAX: usize = 100_000;

/// Rebuild the map of the world that reports show, from Natural Earth's shapes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The package world-atlas at hand, as .tgz, instead of fetching it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "monitor/assets/world.svg")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { from, out } = args;
    let folder = tempfile::tempdir()?;
    let at_hand: Vec<PathBuf> = from.into_iter().collect();
    let unpacked = obtain::npm(PACKAGE, &at_hand, folder.path())?;
    let topology = |name: &str| -> anyhow::Result<Topology> {
        let bytes = fs::read(unpacked.join("package").join(name))?;
        serde_json::from_slice(&bytes).with_context(|| format!("reading {name}"))
    };
    let countries = countries(&topology("countries-110m.json")?, &topology("countries-50m.json")?)?;
    let dots = countries.values().filter(|it| it.is_dot).count();
    let text = written(&countries);
    ensure!(text.len() <= BYTES_MAX, "{} bytes are too many for a page", text.len());
    fs::write(&out, &text).with_context(|| format!("writing {}", out.display()))?;
    println!(
        "      {}: {} countries, {dots} of them as dots, {} KB",
        out.display(),
        countries.len(),
        text.len() / 1000
    );
    Ok(())
}

/// By code. A country that the coarse set is too coarse for is a dot where the fine one has it.
fn countries(coarse: &Topology, fine: &Topology) -> anyhow::Result<BTreeMap<&'static str, Shape>> {
    let mut countries: BTreeMap<&str, Shape> = BTreeMap::new();
    for (topology, is_dot) in [(coarse, false), (fine, true)] {
        let mut found: BTreeMap<&str, Shape> = BTreeMap::new();
        let arcs = shapes::arcs(topology, is_dot);
        for geometry in &topology.objects.countries.geometries {
            let name = geometry.properties.name.as_str();
            let Some(code) = codes::of(geometry.id.as_deref(), name) else { continue };
            let shape = found.entry(code).or_insert_with(|| Shape::named(name));
            shape.name = if geometry.id.is_some() { name.to_owned() } else { shape.name.clone() };
            shape.add(&arcs, &geometry.rings()?);
        }
        for (code, mut shape) in found {
            ensure!(shape.is_somewhere(), "nothing is left of {code}");
            shape.is_dot = is_dot;
            countries.entry(code).or_insert(shape);
        }
    }
    Ok(countries)
}

/// One path a line, which the page of a report takes apart: `monitor/src/report/html/map.rs`.
fn written(countries: &BTreeMap<&str, Shape>) -> String {
    let [width, height] = VIEW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n\
         <!-- Made with Natural Earth, public domain; `cargo xtask world` writes this file. -->\n"
    );
    for (code, shape) in countries {
        let name = shape.name.replace('&', "&amp;").replace('<', "&lt;");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<path id=\"{code}\" d=\"{}\"><title>{name}</title></path>",
            shape.path()
        );
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two countries side by side that share an arc; the second is too small for the coarse set.
    fn square(name: &str, id: &str) -> Topology {
        let json = serde_json::json!({
            "transform": {"scale": [10.0, 10.0], "translate": [0.0, 0.0]},
            "objects": {"countries": {"geometries": [
                {"type": "Polygon", "arcs": [[0]], "id": id, "properties": {"name": name}},
            ]}},
            "arcs": [[[0, 0], [4, 0], [0, 3], [-4, 0], [0, -3]]],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_country_is_drawn_by_its_shape_and_a_small_one_as_a_dot() {
        let (coarse, fine) = (square("China", "156"), square("Singapore", "702"));
        let countries = countries(&coarse, &fine).unwrap();
        let text = written(&countries);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("<path")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("<path id=\"CN\" d=\"M"), "{text}");
        assert!(lines[0].ends_with("z\"><title>China</title></path>"), "{text}");
        assert!(lines[1].starts_with("<path id=\"SG\"") && lines[1].contains('a'), "{text}");
    }

    #[test]
    fn a_country_of_both_sets_is_not_drawn_twice() {
        let (coarse, fine) = (square("China", "156"), square("China", "156"));
        let countries = countries(&coarse, &fine).unwrap();
        assert_eq!(countries.len(), 1);
        assert!(!countries["CN"].is_dot);
    }

    #[test]
    fn a_country_without_a_code_of_its_own_belongs_to_the_one_that_iso_knows() {
        assert_eq!(codes::of(None, "Somaliland"), Some("SO"));
        assert_eq!(codes::of(None, "Kosovo"), Some("XK"));
        assert_eq!(codes::of(None, "Siachen Glacier"), None);
        assert_eq!(codes::of(Some("010"), "Antarctica"), None);
    }
}
