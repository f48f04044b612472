//! What may be typed to watch live. Parsing only.

use clap::{Args, ValueEnum};

use crate::{filter::RawFilter, summary::Keys};

#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Add up by these, up to three, as `summary` does, in place of each flow by itself
    #[arg(long, value_name = "KEY,...", value_parser = Keys::parse)]
    pub by: Option<Keys>,
    /// What comes first
    #[arg(long, value_name = "BY", value_enum, default_value_t)]
    pub sort: Order,
    /// Seconds between two looks, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub every: u64,
    /// Look twice, write one frame as plain text, and end; with `-o json` an object a row
    #[arg(long)]
    pub once: bool,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    #[command(flatten)]
    pub filter: RawFilter,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Most bytes a second
    #[default]
    Rate,
    /// Most bytes sent
    Sent,
    /// Most bytes that came back
    Received,
    /// Violations first
    Verdict,
    /// The newest first
    Since,
    /// By program
    Program,
}

impl Order {
    pub const ALL: [Self; 6] =
        [Self::Rate, Self::Sent, Self::Received, Self::Verdict, Self::Since, Self::Program];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Verdict => "verdict",
            Self::Since => "since",
            Self::Program => "program",
        }
    }
}
