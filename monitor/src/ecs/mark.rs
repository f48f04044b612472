//! A mark in Elastic Common Schema names, and what is asked for to make one; both directions.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{BootFields, Text, Time, record::clock_word};
use crate::{
    event::{BootId, Mark, MarkKind, Moment, SHARES_MAX, Share, Timeline},
    select::DestinationSelector,
};

/// One mark as one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkEvent<'a> {
    #[serde(rename = "@timestamp")]
    pub timestamp: Time,
    pub event: MarkMeta<'a>,
    pub geofenced: Marked<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkMeta<'a> {
    pub kind: Text<'a>,
    pub category: Vec<Text<'a>>,
    pub action: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked<'a> {
    pub mark: MarkFields<'a>,
    pub clock: Text<'a>,
    pub boot: BootFields<'a>,
}

/// What a mark says; also what is asked for, by `POST /v1/marks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkFields<'a> {
    pub name: Text<'a>,
    /// `start` or `stop`.
    pub action: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub share: Vec<ShareFields<'a>>,
}

/// What is declared as shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareFields<'a> {
    pub destination: Text<'a>,
    pub purpose: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

impl<'a> From<&'a Share> for ShareFields<'a> {
    fn from(share: &'a Share) -> Self {
        Self {
            destination: share.destination.as_ref().into(),
            purpose: share.purpose.as_ref().into(),
            until: share.until.map(Time),
        }
    }
}

impl<'a> From<&'a Mark> for MarkEvent<'a> {
    fn from(mark: &'a Mark) -> Self {
        let Moment { boot_ns, timeline } = mark.moment;
        Self {
            timestamp: Time(mark.moment.wall()),
            event: MarkMeta {
                kind: "event".into(),
                category: vec!["host".into()],
                action: "mark".into(),
            },
            geofenced: Marked {
                mark: MarkFields {
                    name: mark.name.as_ref().into(),
                    action: mark.kind.word().into(),
                    note: mark.note.as_deref().map(Into::into),
                    share: mark.shares.iter().map(ShareFields::from).collect(),
                },
                clock: clock_word(timeline.is_trusted).into(),
                boot: BootFields { id: timeline.boot.to_string().into(), ns: boot_ns },
            },
        }
    }
}

impl MarkEvent<'_> {
    /// The mark that it tells of.
    pub fn mark(&self) -> Result<Mark, String> {
        let Marked { mark, clock, boot } = &self.geofenced;
        let id = BootId::parse(&boot.id).ok_or_else(|| format!("`{}` is no boot's id", boot.id))?;
        let wall_at_boot_ns = self.timestamp.0.0.wrapping_sub(boot.ns).cast_signed();
        let timeline = Timeline { boot: id, wall_at_boot_ns, is_trusted: clock == "trusted" };
        mark.at(Moment { boot_ns: boot.ns, timeline })
    }
}

impl MarkFields<'_> {
    /// The mark that is asked for; an error in one line that names what is wrong.
    pub fn at(&self, moment: Moment) -> Result<Mark, String> {
        let wrong = |what: &str, text: &str, problem: &str| format!("{what} {text:?} {problem}");
        if let Some(problem) = Mark::name_problem(&self.name) {
            return Err(wrong("the name", &self.name, problem));
        }
        let text = |what: &str, text: &str| match Mark::text_problem(text) {
            Some(problem) => Err(wrong(what, text, problem)),
            None => Ok(Arc::from(text)),
        };
        let kind = MarkKind::parse(&self.action)
            .ok_or_else(|| wrong("the action", &self.action, "is neither start nor stop"))?;
        if kind == MarkKind::Stop && !self.share.is_empty() {
            return Err("what is shared is declared at the start".into());
        }
        if self.share.len() > SHARES_MAX {
            return Err(format!("one mark can declare {SHARES_MAX} destinations at most"));
        }
        let shares = self.share.iter().map(|share| {
            DestinationSelector::parse(&share.destination)?;
            Ok(Share {
                destination: text("the destination", &share.destination)?,
                purpose: text("the purpose", &share.purpose)?,
                until: share.until.map(|until| until.0),
            })
        });
        let note = self.note.as_deref().map(|note| text("the note", note)).transpose()?;
        let shares = shares.collect::<Result<_, String>>()?;
        Ok(Mark { kind, name: self.name.as_ref().into(), note, shares, moment })
    }
}

impl fmt::Display for ShareFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.destination, self.purpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    #[test]
    fn a_mark_is_read_back_as_it_was_written() {
        let timeline = Timeline {
            boot: BootId([7; 16]),
            wall_at_boot_ns: 1_800_000_000_000_000_000,
            is_trusted: true,
        };
        let share = Share {
            destination: "tiles.example.org".into(),
            purpose: "maps".into(),
            until: Some(Timestamp::from_secs(1_900_000_000)),
        };
        for (kind, note, shares) in [
            (MarkKind::Start, Some("pilot: Bo".into()), vec![share]),
            (MarkKind::Stop, None, vec![]),
        ] {
            let moment = Moment { boot_ns: 9, timeline };
            let mark = Mark { kind, name: "LDM on".into(), note, shares, moment };
            let text = serde_json::to_string(&MarkEvent::from(&mark)).unwrap();
            assert!(text.contains(r#""category":["host"],"action":"mark""#), "{text}");
            assert!(!text.contains("null"), "{text}");
            let back: MarkEvent<'static> = serde_json::from_str(&text).unwrap();
            assert_eq!(back.mark(), Ok(mark));
        }
    }

    #[test]
    fn what_is_wrong_with_a_mark_is_said_in_one_line() {
        let moment = Moment {
            boot_ns: 0,
            timeline: Timeline { boot: BootId([0; 16]), wall_at_boot_ns: 0, is_trusted: false },
        };
        let wrong = |text: &str| {
            let fields: Result<MarkFields<'static>, _> = serde_json::from_str(text);
            let error = match fields {
                Ok(fields) => fields.at(moment).unwrap_err(),
                Err(error) => error.to_string(),
            };
            assert!(!error.contains('\n') && !error.contains('\u{1b}'), "{error}");
            error
        };
        assert!(wrong(r#"{"name":"a\nb","action":"start"}"#).contains("control character"));
        assert!(wrong(r#"{"name":"a\u001bb","action":"start"}"#).contains("control character"));
        assert!(wrong(r#"{"name":"a","action":"begin"}"#).contains("neither start nor stop"));
        assert!(wrong(r#"{"name":"a","action":"start","nte":"x"}"#).contains("unknown field"));
        let share = r#"{"name":"a","action":"ACTION","share":[{"destination":"TO","purpose":""}]}"#;
        let share = |action, to| wrong(&share.replace("ACTION", action).replace("TO", to));
        assert!(share("stop", "192.0.2.1").contains("at the start"));
        assert!(share("start", "192.0.2.1").contains("the purpose \"\" is empty"));
        assert!(share("start", "192.0.2.300").contains("192.0.2.300"));
    }
}
