//! Points in time as people type them: RFC 3339, dates and times of a zone, spans back from now. Knows
//! no clock and no zone of its own.

use jiff::{
    SignedDuration, Span, SpanRelativeTo, Zoned,
    civil::{DateTime, Time},
    tz::TimeZone,
};

use crate::event::Timestamp;

/// What [`parse`] takes, for errors and help.
pub const FORMS: &str = "2026-11-24T08:00:00Z, 2026-11-24, \"2026-11-24 08:00\", 08:00, today, yesterday, or a span back from now such as 90s 15m 1h30m 7d";

/// Dates and times without an offset are those of `zone`, unless they name their own: `[Europe/Berlin]`.
/// `now` is what spans count back from.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no time; write {FORMS}");
    let at_now =
        i64::try_from(now.0).ok().and_then(|ns| jiff::Timestamp::from_nanosecond(ns.into()).ok());
    let at_now = at_now.ok_or_else(wrong)?;
    let at = match named_zone(text) {
        Some((rest, name)) => Some(in_zone(text, rest, name, at_now)?),
        None if is_ambiguous(text) => return Err(ambiguous(text)),
        None => match text.parse::<jiff::Timestamp>() {
            Ok(at) => Some(at),
            Err(_) => civil(text, &at_now.to_zoned(zone.clone()))
                .or_else(|| back(text).and_then(|span| at_now.checked_sub(span).ok())),
        },
    };
    let at = at.ok_or_else(wrong)?;
    // Spans may reach back before everything.
    let at_ns = at.as_nanosecond();
    match u64::try_from(at_ns) {
        Ok(ns) => Ok(Timestamp(ns)),
        Err(_) if back(text).is_some() => Ok(Timestamp(0)),
        Err(_) => Err(format!("`{text}` is not between 1970 and 2554")),
    }
}

/// What has no offset, in the zone of `now`.
fn civil(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    let local = |at: DateTime| at.to_zoned(now.time_zone().clone()).map(|at| at.timestamp()).ok();
    if let Ok(day) = text.parse::<DateTime>() {
        return local(day);
    }
    // Without a colon `2026` would be 20:26.
    if let Some(time) = text.parse::<Time>().ok().filter(|_| text.contains(':')) {
        return local(now.date().to_datetime(time));
    }
    match text {
        "now" => Some(now.timestamp()),
        "today" => local(now.date().into()),
        "yesterday" => now.date().yesterday().ok().and_then(|day| local(day.into())),
        _ => None,
    }
}

/// The text before a zone in brackets, and its name.
fn named_zone(text: &str) -> Option<(&str, &str)> {
    text.strip_suffix(']')?.split_once('[')
}

/// `rest` in the zone called so; where it has an offset, too, they must agree.
fn in_zone(
    text: &str,
    rest: &str,
    name: &str,
    now: jiff::Timestamp,
) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse::<Zoned>() {
        return Ok(at.timestamp());
    }
    let zone = TimeZone::get(name).map_err(|_| {
        format!("`{name}` is no time zone that is known here; write one such as [Europe/Berlin]")
    })?;
    if rest.parse::<jiff::Timestamp>().is_ok() {
        return Err(format!(
            "`{text}` has an offset that {name} has not at that time; leave out one of them"
        ));
    }
    civil(rest.trim_end(), &now.to_zoned(zone)).ok_or_else(|| {
        format!("`{text}` is no time; before a zone write 2026-11-24T08:00, 2026-11-24 or 08:00")
    })
}

/// Digits alone, which may be a year, a time of day or a span: all but the eight of a date.
fn is_ambiguous(text: &str) -> bool {
    !matches!(text.len(), 0 | 8) && text.bytes().all(|it| it.is_ascii_digit())
}

fn ambiguous(text: &str) -> String {
    let year = (text.len() == 4).then(|| format!("the year is {text}-01-01, "));
    let digits = text.get(..2).zip(text.get(2..4)).filter(|_| text.len() == 4);
    let time = digits.map(|(hours, minutes)| format!("a time of today {hours}:{minutes}, "));
    let (year, time) = (year.unwrap_or_default(), time.unwrap_or_default());
    format!("`{text}` says not what it is: {year}{time}a span {text}m or {text}d")
}

/// The same of what is still to come: spans count from now on.
pub fn parse_ahead(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    match back(text).and_then(|span| u64::try_from(span.as_nanos()).ok()) {
        Some(ahead) => Ok(Timestamp(now.0.saturating_add(ahead))),
        None => parse(text, now, zone),
    }
}

/// A length of time such as `15m`, `1h` or `1d`, in nanoseconds and not zero.
pub fn length_ns(text: &str) -> Result<u64, String> {
    let length = back(text).and_then(|span| u64::try_from(span.as_nanos()).ok());
    length.filter(|it| *it > 0).ok_or_else(|| format!("`{text}` is no length; write 15m, 1h or 1d"))
}

/// In UTC, to the nanosecond.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(at.0.into()).map_or_else(|_| "now".into(), |at| at.to_string())
}

/// How far back; days have 24 hours.
fn back(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (!span.is_negative()).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15, a Friday, 09:00 in Berlin.
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn at(text: &str) -> Result<Timestamp, String> {
        parse(text, NOW, &TimeZone::posix("CET-1").unwrap())
    }

    fn ago(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 - seconds)
    }

    #[test]
    fn a_length_is_a_span_that_is_not_nothing() {
        assert_eq!(length_ns("1d"), Ok(86_400_000_000_000));
        assert_eq!(length_ns("90s"), Ok(90_000_000_000));
        for text in ["0s", "-1h", "hour", "", "2026-11-24"] {
            assert!(length_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_count_back_from_now() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("1h30m", 5_400),
            ("7d", 604_800),
            ("2w", 1_209_600),
            ("now", 0),
        ] {
            assert_eq!(at(text), Ok(ago(seconds)), "{text}");
        }
        assert_eq!(at("100000w"), Ok(Timestamp(0)), "before everything");
    }

    #[test]
    fn what_has_no_offset_is_of_the_zone() {
        for (text, same) in [
            ("2027-01-14", "2027-01-13T23:00:00Z"),
            ("2027-01-14 08:30", "2027-01-14T07:30:00Z"),
            ("2027-01-14T08:30:15", "2027-01-14T07:30:15Z"),
            ("2027-01-14T08:30:15Z", "2027-01-14T09:30:15+01:00"),
            ("08:30", "2027-01-15T07:30:00Z"),
            ("today", "2027-01-14T23:00:00Z"),
            ("yesterday", "2027-01-13T23:00:00Z"),
        ] {
            assert_eq!(at(text), at(same), "{text}");
            assert!(at(text).is_ok(), "{text}: {:?}", at(text));
        }
    }

    #[test]
    fn digits_alone_are_neither_a_year_nor_a_time_of_today_but_a_question() {
        for (text, part) in [
            ("2026", "the year is 2026-01-01, a time of today 20:26"),
            ("202611", "span"),
            ("8", "8d"),
        ] {
            let problem = at(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert_eq!(at("20:26"), at("2027-01-15T20:26:00"));
        assert_eq!(at("20270114"), at("2027-01-14"));
        assert!(at("T2026").is_err(), "{:?}", at("T2026"));
    }

    #[test]
    fn a_zone_in_brackets_is_the_zone_of_the_time() {
        for (text, same) in [
            ("2027-01-14T08:00[UTC]", "2027-01-14T08:00:00Z"),
            ("2027-01-14[UTC]", "2027-01-14T00:00:00Z"),
            ("08:00[UTC]", "2027-01-15T08:00:00Z"),
            ("2027-01-14T08:00+00:00[UTC]", "2027-01-14T08:00:00Z"),
        ] {
            assert_eq!(at(text), at(same), "{text}");
            assert!(at(text).is_ok(), "{text}: {:?}", at(text));
        }
        // Of the machine's own database of zones, where there is one.
        if TimeZone::get("Asia/Tokyo").is_ok() {
            assert_eq!(at("2027-01-14T08:00[Asia/Tokyo]"), at("2027-01-13T23:00:00Z"));
        }
        for (text, part) in [
            ("2027-01-14T08:00[Nowhere/Atall]", "no time zone"),
            ("2027-01-14T08:00+05:00[UTC]", "leave out one"),
            ("7d[UTC]", "before a zone"),
            ("[UTC]", "before a zone"),
        ] {
            let problem = at(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_what_is() {
        for text in ["", "soon", "9é", "-5m", "1969-01-01", "25:00", "3mo", "2026-13-01"] {
            let problem = at(text).unwrap_err();
            assert!(problem.contains("1h30m") || problem.contains("1970"), "{text}: {problem}");
        }
    }
}
