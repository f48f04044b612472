//! Points in time as people type them: RFC 3339, dates and times of a zone, spans back from now. Knows
//! no clock and no zone of its own.

use jiff::{
    SignedDuration, Span, SpanRelativeTo,
    civil::{DateTime, Time},
    tz::TimeZone,
};

use crate::event::Timestamp;

/// What [`parse`] takes, for errors and help.
pub const FORMS: &str = "2026-11-24T08:00:00Z, 2026-11-24, \"2026-11-24 08:00\", 08:00, today, yesterday, or a span back from now such as 90s 15m 1h30m 7d";

/// Dates and times without an offset are those of `zone`; `now` is what spans count back from.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no time; write {FORMS}");
    let at_now =
        i64::try_from(now.0).ok().and_then(|ns| jiff::Timestamp::from_nanosecond(ns.into()).ok());
    let at_now = at_now.ok_or_else(wrong)?.to_zoned(zone.clone());
    let local = |at: DateTime| at.to_zoned(zone.clone()).map(|at| at.timestamp()).ok();
    let at = if let Ok(at) = text.parse::<jiff::Timestamp>() {
        Some(at)
    } else if let Ok(day) = text.parse::<DateTime>() {
        local(day)
    } else if let Ok(time) = text.parse::<Time>() {
        local(at_now.date().to_datetime(time))
    } else {
        match text {
            "now" => Some(at_now.timestamp()),
            "today" => local(at_now.date().into()),
            "yesterday" => at_now.date().yesterday().ok().and_then(|day| local(day.into())),
            _ => back(text).and_then(|span| at_now.timestamp().checked_sub(span).ok()),
        }
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

/// The same of what is still to come: spans count from now on.
pub fn parse_ahead(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    match back(text).and_then(|span| u64::try_from(span.as_nanos()).ok()) {
        Some(ahead) => Ok(Timestamp(now.0.saturating_add(ahead))),
        None => parse(text, now, zone),
    }
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
    fn what_is_no_time_is_told_what_is() {
        for text in ["", "soon", "9é", "-5m", "1969-01-01", "25:00", "3mo", "2026-13-01"] {
            let problem = at(text).unwrap_err();
            assert!(problem.contains("1h30m") || problem.contains("1970"), "{text}: {problem}");
        }
    }
}
