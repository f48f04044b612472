//! The map of the world, and the line of what is too small for it. The shapes are those of
//! `monitor/assets/world.svg`, which `cargo xtask world` writes.

use std::{collections::BTreeMap, sync::LazyLock};

use maud::{Markup, PreEscaped, html};

use super::{
    super::{bytes, flows, grouped},
    country,
    text::shown,
};
use crate::{event::CountryCode, locate::codes, summary::Row};

const WORLD: &str = include_str!("../../../assets/world.svg");

/// By code: what is drawn.
static SHAPES: LazyLock<BTreeMap<&str, &str>> =
    LazyLock::new(|| WORLD.lines().filter_map(shape).collect());

/// Code and path of a line of the file.
fn shape(line: &str) -> Option<(&str, &str)> {
    let (code, rest) = line.strip_prefix("<path id=\"")?.split_once("\" d=\"")?;
    Some((code, rest.split_once('"')?.0))
}

/// Whether all that a path of ours holds is commands and numbers.
#[cfg(test)]
fn is_path(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_digit() || " -Mlaz".contains(c))
}

/// Five shades by bytes sent, each for ten times more; another fill where there were violations.
fn class(row: &Row) -> String {
    let shade = match row.source.bytes {
        0..10_000 => 1,
        10_000..1_000_000 => 2,
        1_000_000..100_000_000 => 3,
        _ => 4,
    };
    if row.violations > 0 { "bad".to_owned() } else { format!("s{shade}") }
}

fn title(row: &Row) -> String {
    let violations = match row.violations {
        0 => "no violation".to_owned(),
        1 => "1 violation".to_owned(),
        count => format!("{} violations", grouped(count)),
    };
    format!(
        "{}: {}, {} sent, {violations}",
        country(&row.key),
        flows(row.flows),
        bytes(row.source.bytes)
    )
}

pub(super) fn figure(rows: &[Row]) -> Markup {
    let by_code: BTreeMap<&str, &Row> =
        rows.iter().filter(|row| row.flows > 0).map(|row| (row.key.as_str(), row)).collect();
    let undrawn: Vec<&Row> = rows
        .iter()
        .filter(|row| row.flows > 0 && !SHAPES.contains_key(row.key.as_str()))
        .filter(|row| CountryCode::new(&row.key).is_some_and(codes::is_assigned))
        .collect();
    html! {
        figure {
            svg.world viewBox="0 0 2000 870" role="img" aria-labelledby="map-title map-text" {
                title id="map-title" { "Map of the world" }
                desc id="map-text" { (shown(&told(rows))) }
                defs {
                    pattern id="hatch" width="10" height="10" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                        rect.ground width="10" height="10" {}
                        rect.stripe width="5" height="10" {}
                    }
                }
                @for (code, path) in SHAPES.iter() {
                    @match by_code.get(code) {
                        Some(row) => path id=(format!("map-{code}")) class=(class(row)) d=(PreEscaped(path)) {
                            title { (shown(&title(row))) }
                        },
                        None => path id=(format!("map-{code}")) d=(PreEscaped(path)) {
                            title { (country(code)) ": nothing seen" }
                        },
                    }
                }
            }
            figcaption {
                span.key { span class="swatch s1" {} "under 10 kB" }
                span.key { span class="swatch s2" {} "under 1 MB" }
                span.key { span class="swatch s3" {} "under 100 MB" }
                span.key { span class="swatch s4" {} "more sent" }
                span.key { span class="swatch bad" {} "violations" }
            }
        }
        @if !undrawn.is_empty() {
            p.undrawn { "Not on the map, too small or far away: "
                @for (index, row) in undrawn.iter().enumerate() {
                    @if index > 0 { "; " } (shown(&title(row)))
                } "."
            }
        }
    }
}

/// The map in words, for who does not see it. The table behind it has all of it.
fn told(rows: &[Row]) -> String {
    let is_country =
        |row: &&Row| row.flows > 0 && CountryCode::new(&row.key).is_some_and(codes::is_assigned);
    let countries: Vec<&Row> = rows.iter().filter(is_country).collect();
    let bad: Vec<String> =
        countries.iter().filter(|row| row.violations > 0).map(|row| country(&row.key)).collect();
    let most: Vec<String> = countries.iter().take(5).map(|row| country(&row.key)).collect();
    match (countries.len(), bad.len()) {
        (0, _) => "No data is known to have gone to any country.".to_owned(),
        (count, 0) if rows.iter().any(|row| row.unraised > 0) => format!(
            "Data went to {count} countries, most to {}. Not all of it was approved, and no violation raised while the policy learned. The table below tells all.",
            most.join(", ")
        ),
        (count, 0) => format!(
            "Data went to {count} countries, most to {}. No violations. The table below tells all.",
            most.join(", ")
        ),
        (count, _) => format!(
            "Data went to {count} countries, most to {}; violations to {}. The table below tells all.",
            most.join(", "),
            bad.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_of_a_country_that_is_assigned_and_holds_a_path_alone() {
        assert!(SHAPES.len() > 200, "{}", SHAPES.len());
        for (code, path) in SHAPES.iter() {
            assert!(CountryCode::new(code).is_some_and(codes::is_assigned), "{code}");
            assert!(
                path.starts_with('M') && path.ends_with('z') && is_path(path),
                "{code}: {path}"
            );
        }
        let lines = WORLD.lines().filter(|line| line.starts_with("<path")).count();
        assert_eq!(lines, SHAPES.len(), "no line is passed over");
        assert!(WORLD.len() < 100_000, "it is part of each page");
        for code in ["CN", "US", "RU", "HK", "SG", "XK", "TW"] {
            assert!(SHAPES.contains_key(code), "{code}");
        }
    }
}
