//! What `geofenced run` may be told.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Keep in FILE the configuration that is in force, and start with that one where the present one is broken
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub last_good: Option<PathBuf>,
    /// Writes every sample and counter to FILE, for `--replay`
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "replay")]
    pub record_samples: Option<PathBuf>,
    /// Takes samples and counters from FILE instead of the kernel, and ends with it
    #[arg(long, hide = true, value_name = "FILE")]
    pub replay: Option<PathBuf>,
}
