//! What may be typed after `geofenced patterns`. Parsing only.

use clap::Args;

use crate::filter::RawFilter;

#[derive(Clone, Debug, Args)]
pub struct PatternsArgs {
    /// From then on: a time (RFC 3339), or a span back from now
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
    /// Before then [default: now]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Registered domains instead, and how many distinct names of each were seen
    #[arg(long)]
    pub names: bool,
    /// Show at most so many rows, the most regular [default of a table: 50]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
}

impl PatternsArgs {
    pub fn typed(&self) -> RawFilter {
        let (since, until) = (Some(self.since.clone()), self.until.clone());
        RawFilter { since, until, ..RawFilter::default() }
    }
}
