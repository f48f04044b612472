//! What may be typed to ask for records: `events`, `show` and `summary`. Parsing only.

use clap::{Args, ValueEnum};

use super::GapArgs;
use crate::{
    event::FlowIds,
    filter::RawFilter,
    summary::{Keys, Sort},
    when,
};

#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Show what comes from now on, until interrupted; waits for a daemon that stops to come back
    #[arg(short, long, conflicts_with_all = ["since", "until", "interval", "limit", "reverse", "coverage", "fail_on_gap"])]
    pub follow: bool,
    /// Of what is followed only this: what is `new`, `more` of a flow, its `end`
    #[arg(long, value_name = "STATE,...", value_enum, value_delimiter = ',', requires = "follow")]
    pub only: Vec<Only>,
    /// Follow from a record on: first what was stored since it began, its event.id or the first 8 digits of it
    #[arg(long, value_name = "ID", value_parser = FlowIds::parse, requires = "follow")]
    pub after: Option<FlowIds>,
    /// Show questions to resolvers and their answers instead (stored with `[names] queries = true`).
    /// Of the filters those by time, process, user, unit, destination and transport apply
    #[arg(long, conflicts_with_all = ["follow", "fail_on_violation"])]
    pub lookups: bool,
    /// Instead of events the process of this number, its parents, and what it started, with what each sent
    #[arg(long, value_name = "PID", conflicts_with_all = ["follow", "lookups", "limit", "reverse"])]
    pub tree: Option<u32>,
    #[command(flatten)]
    pub gap: GapArgs,
    /// Exit with 3 if a violation is among what is shown
    #[arg(long)]
    pub fail_on_violation: bool,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    /// Do not shorten columns to the width of the terminal
    #[arg(short, long)]
    pub wide: bool,
    #[command(flatten)]
    pub filter: RawFilter,
}

/// Which state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    New,
    More,
    End,
}

impl Only {
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::More => "more",
            Self::End => "end",
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub struct ShowArgs {
    /// Its event.id, or the first 8 digits of it or more
    #[arg(value_name = "ID", value_parser = FlowIds::parse)]
    pub ids: FlowIds,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SummaryArgs {
    /// What to add up by, up to three of: country, operator, process (with its script, where it is an
    /// interpreter), script, destination, domain, device, verdict, user, unit, container, port, parent,
    /// hour (in which a flow began, UTC)
    /// [default: country]
    #[arg(long, value_name = "KEY,...", value_parser = Keys::parse)]
    pub by: Option<Keys>,
    /// First contacts: only what was not seen before this time, of all that is stored or since --since;
    /// by process and destination, if --by says nothing else. What was only added up by the hour is
    /// known by process, user, country and verdict alone
    #[arg(long, value_name = "TIME")]
    pub new_since: Option<String>,
    /// With each row what left in each stretch of this length, from --since on, as a line of bars (400 at most)
    #[arg(long, value_name = "LENGTH", value_parser = when::length_ns)]
    pub per: Option<u64>,
    /// What comes first
    #[arg(long, value_name = "BY", value_enum, default_value_t)]
    pub sort: Sort,
    #[command(flatten)]
    pub gap: GapArgs,
    /// Exit with 3 if a violation is among what is shown
    #[arg(long)]
    pub fail_on_violation: bool,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    #[command(flatten)]
    pub filter: RawFilter,
}

impl SummaryArgs {
    /// What is added up by.
    pub fn keys(&self) -> Keys {
        self.by.unwrap_or_else(|| match self.new_since {
            Some(_) => Keys::CONTACTS,
            None => Keys::default(),
        })
    }
}
