//! What may be typed after `geofenced policy`. Parsing only.

use clap::{Args, Subcommand};

use crate::filter::hash_digits;

#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// What it says: all that its hash is of, a line for each fact
    #[command(after_help = "\
Examples:
  geofenced policy show 3f9a1c0b")]
    Show {
        /// Its SHA-256, or at least 8 digits of its beginning
        #[arg(value_name = "HASH", value_parser = hash_digits)]
        hash: String,
    },
}
