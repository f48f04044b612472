//! What `report` takes. Parsing only.

use clap::Args;

use super::PeriodArgs;
use crate::report::Claim;

#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub period: PeriodArgs,
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
