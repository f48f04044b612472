//! What may be typed after `geofenced suggest`. Parsing only.

use clap::Args;

use super::PeriodArgs;

#[derive(Clone, Debug, Args)]
pub struct SuggestArgs {
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Times without a zone are UTC instead of local time
    #[arg(long)]
    pub utc: bool,
}
