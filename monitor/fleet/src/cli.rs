//! The command line of geofenced-fleet: what each subcommand takes, and examples. It does nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Takes the ledgers of many stations to the ground, proves them, and makes one lake of them.
///
/// The daemon sends nothing. This program does, on stations as a user of its own that can read the ledger and
/// nothing else: leave it out, and nothing leaves.
#[derive(Debug, Parser)]
#[command(name = "geofenced-fleet", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Ship(Ship),
    Collect(Collect),
    Status(Status),
    Report(Report),
    Enrol(Enrol),
    /// Write the completion script of a shell to stdout
    #[command(after_help = "Examples:
  geofenced-fleet completions bash > /etc/bash_completion.d/geofenced-fleet")]
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into man1 of DIRECTORY
    #[command(after_help = "Examples:
  geofenced-fleet man /usr/share/man")]
    Man {
        directory: PathBuf,
    },
}

/// On a station: sends what the ledger holds, violations first.
///
/// Segments that have ended, leaves and checkpoints as they are signed, and blocks that tell of a violation within
/// seconds. It goes on where it was after a break, and sends nothing twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  geofenced-fleet ship --to /media/stick                  until you stop it
  geofenced-fleet ship --to /media/stick --once           all there is, and then it ends
  geofenced-fleet ship --to /mnt/ground --limit 20k       20,000 bytes a second at most")]
pub struct Ship {
    /// Where to: a directory that is there (a stick, a share)
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// The store of the daemon; only read
    #[arg(long, value_name = "DIR", default_value = "/var/lib/geofenced")]
    pub store: PathBuf,
    /// Where it keeps what it sent
    #[arg(long, value_name = "DIR", default_value = "/var/lib/geofenced-fleet")]
    pub state: PathBuf,
    /// Bytes a second at most: 20k, 64KiB, 1MiB
    #[arg(long, value_name = "RATE", value_parser = crate::ship::parse_rate)]
    pub limit: Option<u64>,
    /// Ends when there is nothing left to send
    #[arg(long)]
    pub once: bool,
    /// Says each thing that it sends
    #[arg(short, long)]
    pub verbose: bool,
}

/// On the ground: takes what arrived, proves it, and pours it into the lake.
///
/// Exit 0: all that came verified. Exit 4: something did not, or two ledgers were signed under one name; it says
/// what and why.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  geofenced-fleet collect --from /media/stick --lake /srv/lake --stations /srv/stations
  geofenced-fleet collect --from /srv/inbox --lake /srv/lake --stations /srv/stations --every 10")]
pub struct Collect {
    /// Where stations put it: a directory
    #[arg(long, value_name = "PLACE")]
    pub from: String,
    /// The lake, and the ledgers as they came
    #[arg(long, value_name = "DIR")]
    pub lake: PathBuf,
    /// Public keys of those who are enrolled, a file NAME.pub each
    #[arg(long, value_name = "DIR")]
    pub stations: PathBuf,
    /// The name by which it cosigns, as a witness
    #[arg(long, value_name = "NAME", default_value = "ground")]
    pub name: String,
    /// The secret by which it cosigns; made where there is none
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Looks again after so many seconds, until you stop it
    #[arg(long, value_name = "SECONDS")]
    pub every: Option<u64>,
    /// Removes where it came from what was taken
    #[arg(long)]
    pub remove: bool,
}

/// How the fleet is: what is proven of each station, what is missing, and who is silent.
///
/// Exit 4 where anything is missing, silent, or was signed twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  geofenced-fleet status --lake /srv/lake --stations /srv/stations
  geofenced-fleet status --lake /srv/lake --stations /srv/stations -o json")]
pub struct Status {
    #[arg(long, value_name = "DIR")]
    pub lake: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub stations: PathBuf,
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// A period of the whole fleet, from the lake: who watched, who is silent, what went where it must not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  geofenced-fleet report --lake /srv/lake --stations /srv/stations --since 30d
  geofenced-fleet report --lake /srv/lake --stations /srv/stations --since 2026-10-01 --until 2026-11-01 -o html > october.html")]
pub struct Report {
    #[arg(long, value_name = "DIR")]
    pub lake: PathBuf,
    #[arg(long, value_name = "DIR")]
    pub stations: PathBuf,
    /// From when on; dates are those of UTC
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
    /// Until when
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub until: String,
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For a terminal
    Text,
    /// One object
    Json,
    /// A page that asks for nothing
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// One object a line, each of one origin
    Json,
}

/// Tells the public key of a station, or enrols it by that.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  geofenced-fleet enrol --store /var/lib/geofenced --qr           on the station, for a camera
  geofenced-fleet enrol --store /var/lib/geofenced > uav-7.pub    on the station, as a file
  geofenced-fleet enrol --add uav-7.pub --stations /srv/stations  on the ground")]
pub struct Enrol {
    /// The store whose public key is told
    #[arg(long, value_name = "DIR", conflicts_with = "add", required_unless_present = "add")]
    pub store: Option<PathBuf>,
    /// Draws it as a code for a camera, too
    #[arg(long, requires = "store")]
    pub qr: bool,
    /// A station's public key, to be taken from here on
    #[arg(long, value_name = "FILE", requires = "stations")]
    pub add: Option<PathBuf>,
    /// Where those who are enrolled are kept
    #[arg(long, value_name = "DIR")]
    pub stations: Option<PathBuf>,
}
