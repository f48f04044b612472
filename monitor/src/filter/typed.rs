//! Values of filters as answers print them: an address with its port, a program with its number, an operator
//! with its name. Policies take none of these: they name one thing exactly.

use std::net::SocketAddr;

use super::parse_number;
use crate::{
    event::{CLAIMED, Place},
    select::{DestinationSelector, OperatorSelector, ProcessSelector},
};

/// A destination, and its port if that was said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub selector: DestinationSelector,
    pub port: Option<u16>,
}

impl From<DestinationSelector> for Destination {
    fn from(selector: DestinationSelector) -> Self {
        Self { selector, port: None }
    }
}

impl Destination {
    /// `203.0.113.10`, `203.0.113.10:443`, `[2001:db8::1]:443`, `203.0.113.0/24`, `example.org:443`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let of = |text| DestinationSelector::parse(text).map(Self::from);
        if let Ok(address) = text.parse::<SocketAddr>() {
            let selector = of(&address.ip().to_string())?.selector;
            return Ok(Self { selector, port: Some(address.port()) });
        }
        if let Some(address) = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            return of(address);
        }
        match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => {
                let port = parse_number(port).map_err(|_| format!("`{port}` is no port"))?;
                Ok(Self { selector: of(name)?.selector, port: Some(port) })
            }
            _ => of(text),
        }
    }

    pub fn matches(&self, remote: SocketAddr, place: &Place) -> bool {
        self.port.is_none_or(|port| remote.port() == port) && self.selector.matches(remote, place)
    }
}

/// Programs, each also as events print it: `curl[4711]`, with a question mark where it is a claim. A name
/// may hold a comma, so the whole text is one, too.
pub(super) fn processes(text: &str) -> Result<Vec<ProcessSelector>, String> {
    let mut all: Vec<ProcessSelector> = text
        .split(',')
        .map(|it| ProcessSelector::parse(plain(it.trim())))
        .collect::<Result<_, _>>()?;
    if all.len() > 1 {
        all.push(ProcessSelector::parse(text)?);
    }
    Ok(all)
}

fn plain(text: &str) -> &str {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|digit| digit.is_ascii_digit());
    let numbered = text.strip_suffix(']').and_then(|it| it.rsplit_once('['));
    match numbered {
        Some((name, number)) if !name.is_empty() && is_number(number) => {
            name.strip_prefix('?').unwrap_or(name)
        }
        _ => text.strip_prefix(CLAIMED).unwrap_or(text),
    }
}

/// Numbers, with or without `AS`, also with the name behind that a summary prints; or part of a name.
pub(super) fn operators(text: &str) -> Result<Vec<OperatorSelector>, String> {
    let number = |it: &str| {
        let it = it.trim();
        let digits = it.strip_prefix("AS").or_else(|| it.strip_prefix("as")).unwrap_or(it);
        digits.parse().ok().map(OperatorSelector::Asn)
    };
    let all: Option<Vec<OperatorSelector>> = text.split(',').map(number).collect();
    if let Some(all) = all {
        return Ok(all);
    }
    let printed = text.split_once(' ').filter(|(first, _)| first.starts_with("AS"));
    match printed.and_then(|(first, _)| number(first)) {
        Some(one) => Ok(vec![one]),
        None => Ok(vec![OperatorSelector::parse(text)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ecs::tests::full_record, event::Timestamp, filter::RawFilter};

    fn finds(raw: &RawFilter) -> bool {
        let filter = raw.parse(Timestamp::from_secs(1_900_000_000)).unwrap().filter;
        filter.matches(&full_record())
    }

    #[test]
    fn what_is_printed_is_found_when_it_is_typed() {
        let destination =
            |text: &str| RawFilter { destination: Some(text.into()), ..RawFilter::default() };
        for text in [
            "66.35.250.204:80",
            "[::ffff:66.35.250.204]:80",
            "example.org:80",
            "192.0.2.1,example.org",
            "66.35.250.0/24",
        ] {
            assert!(finds(&destination(text)), "{text}");
        }
        for text in ["66.35.250.204:443", "example.org:443", "192.0.2.1,192.0.2.2"] {
            assert!(!finds(&destination(text)), "{text}");
        }
        for text in ["66.35.250.204:99999", "example.org:http", "[66.35.250.204"] {
            assert!(destination(text).parse(Timestamp(1)).is_err(), "{text}");
        }
        let port = |text: &str| RawFilter { port: Some(text.into()), ..RawFilter::default() };
        assert!(finds(&port("443,80")) && !finds(&port("443,8080")));
        let process = |text: &str| RawFilter { process: Some(text.into()), ..RawFilter::default() };
        for text in ["curl,wget", "wget, /usr/bin/curl", "curl[42]", "?curl[42]", "claimed:./curl"]
        {
            assert!(finds(&process(text)), "{text}");
        }
        assert!(!finds(&process("wget,fetch")));
        let operator =
            |text: &str| RawFilter { operator: Some(text.into()), ..RawFilter::default() };
        for text in ["64500", "AS64500", "AS1,64500", "AS64500 Example Cloud", "example"] {
            assert!(finds(&operator(text)), "{text}");
        }
        assert!(!finds(&operator("64501")));
        let user = |text: &str| RawFilter { user: Some(text.into()), ..RawFilter::default() };
        assert!(finds(&user("root,ana")) && finds(&user("0,1000")) && !finds(&user("root,bo")));
    }

    #[test]
    fn a_name_with_a_comma_is_found_as_a_whole() {
        let all = processes("a,b").unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[2].0.as_ref(), "a,b");
        assert!(processes("a,").is_err());
    }
}
