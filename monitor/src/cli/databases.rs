//! What may be typed after `geofenced databases`. Parsing only.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Clone, Debug, Args)]
pub struct DatabasesArgs {
    #[command(subcommand)]
    pub command: Option<DatabasesCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum DatabasesCommand {
    /// Take newer ones from files: country.bin, operator.bin, or the location database of your distribution
    ///
    /// Each file is read to its end and checked before it takes the place of another, and nothing that is
    /// older does. Asks no network.
    #[command(after_help = "\
Examples:
  geofenced databases update
  geofenced databases update /media/usb/geofenced
  geofenced databases update --check /usr/share/libloc-location/location.db

A running daemon takes them at its next reload: systemctl reload geofenced. With --check it exits with 1 if
nothing is newer.")]
    Update(UpdateArgs),
}

#[derive(Clone, Debug, Args)]
pub struct UpdateArgs {
    /// Files, or folders with them [default: what `geo.update_from` of the configuration names]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only say what is newer
    #[arg(long)]
    pub check: bool,
}
