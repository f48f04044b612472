//! Values of filters as answers print them: an address with its port, a program with its number, an operator
//! with its name. Policies take none of these: they name one thing exactly.

use std::net::SocketAddr;

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
    /// With the question mark that tables put before a name, too: `203.0.113.10`, `203.0.113.10:443`, `[2001:db8::1]:443`, `203.0.113.0/24`, `example.org:443`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('?').unwrap_or(text);
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
                let port = number(port).map_err(|_| format!("`{port}` is no port"))?;
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

/// A size as tables print it: `1500`, `1.5 KiB`; powers of 1024, however the unit is written.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write 1500, 10KiB or 1.5MiB");
    let at = text.find(|it: char| it.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..at].trim(), text[at..].to_ascii_lowercase());
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit != "i" && unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * 1024_f64.powi(power);
    if !(0.0..=1e18).contains(&bytes) {
        return Err(wrong());
    }
    format!("{bytes:.0}").parse().map_err(|_| wrong())
}

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number in range"))
}

fn plain(text: &str) -> &str {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|digit| digit.is_ascii_digit());
    let numbered = text.strip_suffix(']').and_then(|it| it.rsplit_once('['));
    match numbered {
        Some((name, number)) if !name.is_empty() && is_number(number) => {
            of_script(name.strip_prefix('?').unwrap_or(name))
        }
        _ => of_script(text.strip_prefix(CLAIMED).unwrap_or(text)),
    }
}

/// `live.py (python3.11)` is the script with what runs it.
fn of_script(text: &str) -> &str {
    let both = text.strip_suffix(')').and_then(|it| it.rsplit_once(" ("));
    both.map_or(text, |(script, _)| script)
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
            "?example.org:80",
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
    fn a_size_is_what_tables_print() {
        for (text, count) in [
            ("0", 0),
            ("1500", 1500),
            ("999 B", 999),
            ("1.5 KiB", 1536),
            ("10kb", 10_240),
            ("2M", 2 << 20),
        ] {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5.2", "12 parsecs", "1e30", "nan", "5 i"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_only_flows_have_is_filtered_by() {
        let raw = |set: fn(&mut RawFilter, String), text: &str| {
            let mut raw = RawFilter::default();
            set(&mut raw, text.to_owned());
            raw
        };
        let record = full_record();
        let id = record.sender.process().and_then(|it| it.container.clone()).unwrap();
        let sent = record.egress.traffic.sent_bytes;
        let reason = record.judgement.reason.to_string();
        for (set, yes, no) in [
            (
                (|it: &mut RawFilter, text| it.container = Some(text))
                    as fn(&mut RawFilter, String),
                id.to_string(),
                "c0ffe1".to_owned(),
            ),
            (|it, text| it.min_bytes = Some(text), sent.to_string(), (sent + 1).to_string()),
            (
                |it, text| it.verdict_reason = Some(text),
                format!("unlocated,{reason}"),
                "unlocated".to_owned(),
            ),
            (
                |it, text| it.certainty = Some(text),
                record.judgement.certainty.to_string(),
                "partial".to_owned(),
            ),
        ] {
            assert!(finds(&raw(set, &yes)), "{yes}");
            assert!(!finds(&raw(set, &no)), "{no}");
            assert!(!raw(set, &yes).parse(Timestamp(1)).unwrap().filter.knows_rollups());
        }
    }

    #[test]
    fn a_script_is_found_by_its_name_its_path_and_as_it_is_printed() {
        let mut record = full_record();
        let crate::event::Sender::Process { process, .. } = &mut record.sender else { panic!() };
        let process = std::sync::Arc::make_mut(process);
        process.executable = Some("/usr/bin/python3.11".into());
        process.command_line = Some("python3 /opt/live.py --fast".into());
        let finds = |raw: &RawFilter| raw.parse(Timestamp(1)).unwrap().filter.matches(&record);
        let script = |text: &str| RawFilter { script: Some(text.into()), ..RawFilter::default() };
        let process = |text: &str| RawFilter { process: Some(text.into()), ..RawFilter::default() };
        for text in ["live.py", "/opt/live.py", "other,live.py"] {
            assert!(finds(&script(text)) && finds(&process(text)), "{text}");
        }
        for text in ["live.py (python3.11)[42]", "/opt/live.py (/usr/bin/python3.11)"] {
            assert!(finds(&process(text)), "{text}");
        }
        assert!(!finds(&script("live")) && !finds(&script("/usr/live.py")));
    }

    #[test]
    fn a_name_with_a_comma_is_found_as_a_whole() {
        let all = processes("a,b").unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[2].0.as_ref(), "a,b");
        assert!(processes("a,").is_err());
    }
}
