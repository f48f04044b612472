//! The period that a question is about, where filters are none. Parsing only.

use clap::Args;

use crate::filter::RawFilter;

#[derive(Clone, Debug, Args)]
pub struct PeriodArgs {
    /// From then on: a time (RFC 3339), or a span back from now [default: 24h, or the interval's beginning]
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before then [default: now, or the interval's end]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of an interval that was marked: the last of that name, or NAME#2 the second one. A flow is in it when
    /// any of its life is
    #[arg(long, value_name = "NAME")]
    pub interval: Option<String>,
}

impl PeriodArgs {
    /// With the defaults.
    pub fn typed(&self) -> RawFilter {
        let Self { since, until, interval } = self.clone();
        // An interval has a beginning of its own.
        let since = since.or_else(|| interval.is_none().then(|| "24h".to_owned()));
        RawFilter { since, until, interval, ..RawFilter::default() }
    }
}
