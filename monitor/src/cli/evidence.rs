//! What may be typed about evidence: `verify`, `prove` and `witness`. Parsing only.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    event::FlowId,
    evidence::{Fault, KeyName},
    filter::hash_digits,
};

#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// A store's directory, an export's, or a file `*.tlog-proof` with its block beside it [default: the
    /// configuration's store]
    pub path: Option<PathBuf>,
    /// Who may have signed: lines `NAME+ID+KEY`, as the daemon writes them to `key.pub` in its store. Take
    /// it from where whoever holds the store could not write [default: the store's own, with a warning]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A witness: its key, a file of keys, or a file of what it saw. More than once: several
    #[arg(long, value_name = "KEY|FILE")]
    pub witness: Vec<String>,
    /// Of an export: the SHA-256 of its manifest as `export` printed it, or at least 8 digits of its beginning
    #[arg(long, value_name = "HASH", value_parser = hash_digits)]
    pub manifest: Option<String>,
    /// Exit with 4 also if part of the time was not watched, or is kept no more
    #[arg(long)]
    pub fail_on_gap: bool,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ProveArgs {
    /// `event.id` of the record
    #[arg(value_name = "EVENT-ID", value_parser = FlowId::parse)]
    pub id: FlowId,
    /// Write FILE.tlog-proof and FILE.block [default: the id]
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct WitnessArgs {
    #[command(subcommand)]
    pub command: WitnessCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum WitnessCommand {
    /// Sign for all that is stored, and write what a witness is asked (the body of C2SP's add-checkpoint)
    #[command(after_help = "\
Examples:
  geofenced witness request --write request
  geofenced witness request --old 1204 | ssh station geofenced witness sign /dev/stdin --key k --state s")]
    Request {
        /// Blocks that this witness saw last [default: as many as one that was added]
        #[arg(long, value_name = "BLOCKS")]
        old: Option<u64>,
        /// Where to [default: stdout]
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },
    /// As a witness, on another machine: sign what goes on from all that was seen before
    #[command(after_help = "\
Examples:
  geofenced witness sign request --key station.key --state station.seen --log field-7.pub > cosignature
  geofenced witness sign request --key station.key --state station.seen > cosignature")]
    Sign(WitnessSignArgs),
    /// Add what a witness signed to the store
    #[command(after_help = "\
Examples:
  geofenced witness add cosignature --witness station.pub")]
    Add(WitnessAddArgs),
}

#[derive(Clone, Debug, Args)]
pub struct WitnessSignArgs {
    /// What `witness request` wrote
    pub request: PathBuf,
    /// The witness's own secret, made at the first use; its public half is written beside it, to `*.pub`
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// What the witness saw of each log, kept from one time to the next
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// The key of the log, the first time that it is seen
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The witness's name, at the first use [default: this host's]
    #[arg(long, value_name = "NAME", value_parser = key_name)]
    pub name: Option<KeyName>,
    /// Where to [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct WitnessAddArgs {
    /// What `witness sign` wrote
    pub cosignature: PathBuf,
    /// The witness's key, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    pub witness: String,
}

fn key_name(name: &str) -> Result<KeyName, Fault> {
    KeyName::parse(name)
}
