//! What `report` takes. Parsing only.

use clap::Args;

use crate::report::Claim;

#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
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
    /// Set another interval beside the period: what left in each, and what in one alone
    #[arg(long, value_name = "NAME")]
    pub compare: Option<String>,
    /// What the report is to say, if it can: "nothing", "nothing unapproved" or "nothing to CN,RU"
    /// (may be given several times)
    #[arg(long, value_name = "CLAIM", value_parser = Claim::parse)]
    pub claim: Vec<Claim>,
    /// Exit with 3 if there was a violation
    #[arg(long)]
    pub fail_on_violation: bool,
    /// Exit with 4 if part of the period, or of the one beside it, was not watched, or the ledger is not
    /// whole; a violation that was found counts more
    #[arg(long)]
    pub fail_on_gap: bool,
    /// Times that are typed are of UTC instead of local time; those of the report always are
    #[arg(long)]
    pub utc: bool,
}
