//! A scrape for those who pay by the byte: gzip, where it is asked for. Knows text and headers, no metric.

use std::io::{self, Write as _};

use axum::http::{HeaderMap, header};
use flate2::{Compression, write::GzEncoder};

pub(super) const GZIP: &str = "gzip";

/// Labels repeat so much that the least effort leaves a tenth; more takes three times as long for little.
const EFFORT: u32 = 4;

pub(super) fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::new(EFFORT));
    encoder.write_all(text)?;
    encoder.finish()
}

/// Whether who asks can read it. Only by name: `*` is what programs send that read nothing of the kind.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|it| {
        let mut parts = it.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(GZIP))
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn gzip_is_for_those_who_ask_for_it_by_name() {
        let wanted = |text: &str| {
            is_wanted(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, text.parse().unwrap())]))
        };
        for text in ["gzip", "deflate, GZip", "br;q=1, gzip;q=0.2"] {
            assert!(wanted(text), "{text}");
        }
        for text in ["", "identity", "gzip;q=0", "deflate, gzip; q=0.0", "*", "x-gzip2"] {
            assert!(!wanted(text), "{text}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn what_is_compressed_is_read_back() {
        let text = "geofenced_violations_total{country=\"CN\",reason=\"country\"} 0\n".repeat(1000);
        let bytes = gzip(text.as_bytes()).unwrap();
        assert!(bytes.len() * 20 < text.len(), "{}", bytes.len());
        let mut back = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
    }
}
