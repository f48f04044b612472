//! Kosovo: the legacy files have no number for XK and show Serbia or Albania there. An older edition
//! of the same data that still has the code says which ranges these are.

use std::path::Path;

use anyhow::Context as _;
use maxminddb::{PathElement, Reader};

use super::{Spans, push};

const KOSOVO: [u8; 2] = *b"XK";
/// What the legacy files show in its place; where they show anything else, they are newer and right.
const IN_ITS_PLACE: [[u8; 2]; 2] = [*b"RS", *b"AL"];

/// `first..=last` with its country, in the units of [`Spans`].
type Networks = Vec<(u64, u64, [u8; 2])>;

pub(super) struct Overlay {
    v4: Networks,
    v6: Networks,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Overlay> {
    let reader = Reader::open_readfile(path).with_context(|| path.display().to_string())?;
    let mut overlay = Overlay { v4: Vec::new(), v6: Vec::new() };
    for found in reader.networks(maxminddb::WithinOptions::default())? {
        let found = found?;
        let code: Option<&str> = found.decode_path(&[PathElement::Key("country_code")])?;
        let Some(&[a, b]) = code.map(str::as_bytes) else { continue };
        let network = found.network()?;
        match network.ip() {
            std::net::IpAddr::V4(address) => {
                let first = u64::from(u32::from(address));
                overlay.v4.push((first, first + (u64::from(u32::MAX) >> network.prefix()), [a, b]));
            }
            std::net::IpAddr::V6(address) if network.prefix() <= 64 => {
                let first = (u128::from(address) >> 64) as u64;
                let rest = u64::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                overlay.v6.push((first, first | rest, [a, b]));
            }
            std::net::IpAddr::V6(_) => {}
        }
    }
    Ok(overlay)
}

impl Overlay {
    /// Starts are addresses.
    pub(super) fn spans4(&self) -> Spans {
        spans(&self.v4, u64::from(u32::MAX))
    }

    /// Starts are upper halves.
    pub(super) fn spans6(&self) -> Spans {
        spans(&self.v6, u64::MAX)
    }

    /// Share of the networks whose first address has the same country in `spans`.
    pub(super) fn agreement(&self, spans: &Spans) -> f64 {
        let same =
            self.v4.iter().filter(|(first, _, code)| at(spans, *first) == Some(*code)).count();
        same as f64 / self.v4.len().max(1) as f64
    }

    /// Puts Kosovo back; gives the number of ranges it has then.
    pub(super) fn apply(&self, v4: &mut Spans, v6: &mut Spans) -> usize {
        *v4 = with_kosovo(v4, &self.v4);
        *v6 = with_kosovo(v6, &self.v6);
        v4.iter().chain(v6.iter()).filter(|(_, country)| *country == Some(KOSOVO)).count()
    }
}

fn spans(networks: &Networks, top: u64) -> Spans {
    let mut sorted = networks.clone();
    sorted.sort_unstable();
    let mut out: Spans = vec![(0, None)];
    for (first, last, code) in sorted {
        // Ends what came before; a network that follows at once begins there.
        out.pop_if(|(start, _)| *start == first);
        push(&mut out, first, Some(code));
        if last < top {
            out.push((last + 1, None));
        }
    }
    out
}

fn at(spans: &Spans, address: u64) -> Option<[u8; 2]> {
    let after = spans.partition_point(|(start, _)| *start <= address);
    spans[..after].last().and_then(|(_, country)| *country)
}

fn with_kosovo(spans: &Spans, networks: &Networks) -> Spans {
    let kosovo: Vec<_> = networks.iter().filter(|(.., code)| *code == KOSOVO).collect();
    let mut bounds: Vec<u64> = spans.iter().map(|(start, _)| *start).collect();
    for (first, last, _) in &kosovo {
        bounds.push(*first);
        bounds.extend(last.checked_add(1));
    }
    bounds.sort_unstable();
    bounds.dedup();
    let mut out = Spans::new();
    for start in bounds {
        let base = at(spans, start);
        let covered = kosovo.iter().any(|(first, last, _)| (*first..=*last).contains(&start));
        let replaced = covered && base.is_some_and(|code| IN_ITS_PLACE.contains(&code));
        push(&mut out, start, if replaced { Some(KOSOVO) } else { base });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kosovo_comes_back_only_where_its_stand_in_is_shown() {
        let spans = vec![(0, None), (10, Some(*b"RS")), (30, Some(*b"DE"))];
        let networks = vec![(20, 39, KOSOVO), (50, 60, *b"US")];
        let expected = vec![(0, None), (10, Some(*b"RS")), (20, Some(KOSOVO)), (30, Some(*b"DE"))];
        assert_eq!(with_kosovo(&spans, &networks), expected);
    }
}
