//! The command line: what may be typed, and the exit codes. Parsing only; `commands` does the work.

mod answers;
mod databases;
mod demo;
mod evidence;
mod export;
mod mark;
mod patterns;
mod period;
mod policy;
mod report;
mod run;
mod suggest;
mod top;

use std::{
    io::{IsTerminal, stdout},
    net::IpAddr,
    path::PathBuf,
};

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use databases::{DatabasesArgs, DatabasesCommand, UpdateArgs};
pub use demo::DemoArgs;
pub use evidence::{
    ProveArgs, VerifyArgs, WitnessAddArgs, WitnessArgs, WitnessCommand, WitnessSignArgs,
};

use crate::filter::RawFilter;
pub use answers::{EventsArgs, ShowArgs, SummaryArgs};
pub use export::ExportArgs;
pub use mark::{MarkArgs, MarkCommand, TypedShare};
pub use patterns::PatternsArgs;
pub use period::PeriodArgs;
pub use policy::{PolicyArgs, PolicyCommand};
pub use report::ReportArgs;
pub use run::RunArgs;
pub use suggest::SuggestArgs;
pub use top::{Order, TopArgs};

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit it was built from; `unknown` outside of `cargo xtask build`.
pub const COMMIT: &str = match option_env!("GEOFENCED_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The contract's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Fine = 0,
    Error = 1,
    /// Bad usage or bad configuration; clap's own for usage.
    Usage = 2,
    /// Violations were found, where that was asked.
    Violations = 3,
    /// Integrity is broken, or coverage has gaps.
    Integrity = 4,
    /// This kernel or host can't be monitored.
    Unsupported = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A geofence for your data: names every egress of this host by process, country and operator.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "geofenced",
    version = VERSION,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Examples:
  geofenced events --since 1h --verdict unapproved
  geofenced events --follow
  geofenced summary --by country --since 24h
  geofenced locate 203.0.113.7

Exit codes: 0 fine, 1 error, 2 bad usage or configuration, 3 violations found (where asked),
4 integrity broken or coverage has gaps, 5 this kernel or host can't be monitored."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: /etc/geofenced/config.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "GEOFENCED_CONFIG")]
    pub config: Option<PathBuf>,
    /// The daemon's socket [default: from the configuration]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Read this store itself, such as a copy of another host's, and ask no daemon
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "socket")]
    pub store: Option<PathBuf>,
    /// Form of the answer; json is one object a line
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value_t)]
    pub output: Output,
    /// No colours; `NO_COLOR` in the environment does the same
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Do not hand long tables to a pager; by default `GEOFENCED_PAGER`, `PAGER` or less shows them on a terminal
    #[arg(long, global = true)]
    pub no_pager: bool,
    /// Say more; twice: still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say less; twice: nothing
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
}

impl Global {
    /// For `logging`: 0 is the default.
    pub fn verbosity(&self) -> i16 {
        i16::from(self.verbose) - i16::from(self.quiet)
    }

    /// Whether colours are wanted at all; who writes asks its own stream whether it is a terminal.
    pub fn color(&self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.no_color && !set("NO_COLOR") && !is_dumb
    }

    pub fn color_on_stdout(&self) -> bool {
        self.color() && stdout().is_terminal()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
    Csv,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch this host: the daemon, in the foreground
    #[command(after_help = "\
Examples:
  geofenced run
  geofenced run --config ./config.toml -v
  geofenced run --last-good /var/lib/geofenced/last-good.json")]
    Run(RunArgs),
    /// Read configuration, policy and country database, and say what they mean
    #[command(after_help = "\
Examples:
  geofenced check
  geofenced check --config ./config.toml")]
    Check,
    /// Show it at work: a daemon, programs that send, and what it says of them; nothing leaves the machine
    #[command(after_help = "\
Examples:
  geofenced demo")]
    Demo(DemoArgs),
    /// Say what this kernel and host allow, probe by probe
    #[command(after_help = "\
Examples:
  geofenced doctor
  geofenced doctor -o json")]
    Doctor(DoctorArgs),
    /// Say what the running daemon is doing
    #[command(after_help = "\
Examples:
  geofenced status
  geofenced status -o json")]
    Status,
    /// Say what of a period was watched, and where and why it was not
    #[command(after_help = "\
Examples:
  geofenced coverage --since 7d
  geofenced coverage --since 2026-11-24T08:00:00Z --until 2026-11-24T09:00:00Z -o json
  geofenced coverage --interval \"LDM on\" --fail-on-gap")]
    Coverage(CoverageArgs),
    /// Name a stretch of time in the ledger, and say what is shared in it on purpose
    #[command(after_help = "\
Examples:
  geofenced mark start \"LDM on\"
  geofenced mark stop \"LDM on\"
  geofenced mark list
  geofenced summary --by operator --interval \"LDM on\"")]
    Mark(MarkArgs),
    /// Check, offline, that a store, an export or a record's proof is what it was
    ///
    /// Hashes every content again, holds it against its leaf, and the leaves against what was signed and
    /// witnessed. Names what was altered, removed, doubled, swapped or cut, and when that was. Of an export it
    /// hashes each file again and holds it against the manifest. With broken integrity it exits with 4.
    #[command(after_help = "\
Examples:
  geofenced verify --key field-7.pub
  geofenced verify /mnt/evidence/geofenced --key field-7.pub --fail-on-gap
  geofenced verify /mnt/evidence/geofenced --key field-7.pub --witness station.pub -o json
  geofenced verify /mnt/case-12 --key field-7.pub --manifest 3f9a1c0b
  geofenced verify 1a2b3c.tlog-proof --key field-7.pub")]
    Verify(VerifyArgs),
    /// Write one record's block, and the proof that it is in what was signed
    #[command(after_help = "\
Examples:
  geofenced prove 187d0b40f05ac5e0c3a1f2e4b5968778
  geofenced prove 187d0b40f05ac5e0c3a1f2e4b5968778 --write case-12")]
    Prove(ProveArgs),
    /// Have another machine see what was signed, by files alone
    #[command(after_help = "\
Examples:
  geofenced witness request --write request
  geofenced witness sign request --key station.key --state station.seen --log field-7.pub > cosignature
  geofenced witness add cosignature --witness station.pub")]
    Witness(WitnessArgs),
    /// Show a policy by the hash by which records name it
    #[command(after_help = "\
Examples:
  geofenced policy show 3f9a1c0b
  geofenced policy show 3f9a1c0b -o json")]
    Policy(PolicyArgs),
    /// Show stored egress records, or follow live ones
    #[command(after_help = "\
Examples:
  geofenced events --since 15m
  geofenced events --follow --verdict unapproved,unknown
  geofenced events --country CN,RU --process curl -o json
  geofenced events --destination 203.0.113.0/24 --since 2026-11-24T08:00:00Z -o csv
  geofenced events --since 24h --verdict unapproved --fail-on-violation
  geofenced events --tree 4711 --since 1h
  geofenced events --store /mnt/evidence/geofenced --min-bytes 1MiB
  geofenced events --lookups --process curl --destination example.org

In tables a question mark stands before what is only claimed: a program of which no more is known than its
name, and a destination's name that the program itself did not ask a resolver for.")]
    Events(EventsArgs),
    /// Show everything of one record: its states over time, why the verdict, and what could be wrong
    #[command(after_help = "\
Examples:
  geofenced show 187d0b40f05ac5e0c3a1f2e4b5968778
  geofenced show 187d0b40f05ac5e0 -o json

With -o csv a line for each state.")]
    Show(ShowArgs),
    /// Show totals over a period
    #[command(after_help = "\
Examples:
  geofenced summary --by country --since 24h
  geofenced summary --by process,user,country --sort last --since 1h
  geofenced summary --by process --country CN --limit 10
  geofenced summary --by script,country --since 24h --per 1h
  geofenced summary --by verdict --since 7d --fail-on-violation")]
    Summary(SummaryArgs),
    /// Show what is regular or slow: by program, operator and port, when it was in contact, and how evenly
    ///
    /// Facts and no score: what updates itself beats as evenly as what should not. Attempts and local networks are left
    /// out. Reads the ledger itself, read-only, the whole period once.
    #[command(after_help = "\
Examples:
  geofenced patterns --since 30d
  geofenced patterns --since 7d -o json
  geofenced patterns --names --since 24h")]
    Patterns(PatternsArgs),
    /// Write a policy that allows what was seen, and nothing else, for you to read and put in force
    ///
    /// As TOML to stdout: a rule for each program and where it sent to, as narrow as what is proven of both,
    /// with counts as comments. Reads the ledger itself, read-only. What a program only says of itself makes
    /// no rule. `[policy] mode = "learn"` keeps what it needs.
    #[command(after_help = "\
Examples:
  geofenced suggest --since 24h > policy.toml
  geofenced check --config policy.toml
  geofenced replay --policy policy.toml --since 24h --fail-on-violation")]
    Suggest(SuggestArgs),
    /// Watch what leaves, live: who sends how much where to, and why that is approved or not
    #[command(after_help = "\
Examples:
  geofenced top
  geofenced top --verdict unapproved,unknown
  geofenced top --by process,country
  geofenced top --once
  geofenced top --once -o json

`?` shows the keys. What is only added up by the hour, as approved flows are by default, stands in one
line for each program and country.")]
    Top(TopArgs),
    /// Write a period as a document: coverage, policy, where data went, violations, limits
    ///
    /// One HTML page to stdout, self-contained and printable, or the same as JSON.
    #[command(after_help = "\
Examples:
  geofenced report --since 30d > report.html
  geofenced report --since 2026-11-01 --until 2026-12-01 --claim 'nothing to CN,RU' > november.html
  geofenced report --since 24h --fail-on-violation --fail-on-gap -o json
  geofenced report --interval \"LDM on\" --compare \"LDM off\" --claim nothing > ldm.html

A claim that flows refute ends with exit code 3, one that can't be shown with 4: part of the period
was not watched, or something is not known that could refute it.")]
    Report(ReportArgs),
    /// Write the records of a period as files for other programs, with a manifest of who, why and of what
    ///
    /// Reads the ledger itself, read-only; a daemon that runs is asked to write what it holds. A flow is in it
    /// when any of its life is in the period, once, with the totals of its latest state there; what is only
    /// added up by hour is in rollups/. DIR is new or empty, and holds nothing until all of it is whole.
    #[command(after_help = "\
Examples:
  geofenced export --format parquet /mnt/case-12 --since 30d --reason \"request of 2026-11-28\"
  geofenced export --format ocsf ./ocsf --interval \"LDM on\" --verdict unapproved
  geofenced export --format ndjson ./week --since 7d --fail-on-gap
  duckdb -c \"select destination_geo_country_iso_code, sum(source_bytes)
    from read_parquet('/mnt/case-12/day=*/host=*/*.parquet') group by all\"")]
    Export(ExportArgs),
    /// Say where an address is, whose it is, and what the policy says of it
    #[command(after_help = "\
Examples:
  geofenced locate 203.0.113.7
  geofenced locate 2001:db8::1 198.51.100.9 -o json")]
    Locate(LocateArgs),
    /// List the databases that addresses are looked up in, or take newer ones from files
    #[command(after_help = "\
Examples:
  geofenced databases
  geofenced databases update /media/usb/geofenced")]
    Databases(DatabasesArgs),
    /// Judge stored records again, by another policy or database, and say what would change
    ///
    /// Reads the ledger itself, read-only, whether a daemon runs or not. Alters nothing.
    #[command(after_help = "\
Examples:
  geofenced replay --policy deploy/policies/eu-only.toml --since 30d
  geofenced replay --database /var/lib/GeoIP/GeoLite2-Country.mmdb --since 7d
  geofenced replay --policy new.toml --since 24h --fail-on-violation -o json")]
    Replay(ReplayArgs),
    /// Write the completion script of a shell to stdout
    #[command(after_help = "\
Examples:
  geofenced completions bash > /etc/bash_completion.d/geofenced
  geofenced completions zsh > /usr/share/zsh/site-functions/_geofenced")]
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into man1, man5 and man8 of DIRECTORY, or the main one to stdout
    #[command(after_help = "\
Examples:
  geofenced man | man -l -
  geofenced man /usr/share/man")]
    Man { directory: Option<PathBuf> },
    /// Write a generated page of docs/ to stdout
    #[command(
        hide = true,
        after_help = "\
Examples:
  geofenced reference metrics > docs/metrics.md"
    )]
    Reference {
        #[arg(value_enum)]
        page: Page,
    },
}

/// The pages of `docs/` that are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    Cli,
    Metrics,
}

#[derive(Clone, Debug, Args)]
pub struct CoverageArgs {
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Exit with 4 if there is a gap, or the ledger is not whole
    #[arg(long)]
    pub fail_on_gap: bool,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
}

/// What an answer says of its own worth.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct GapArgs {
    /// With `-o json`: end with an object that tells what of the period was watched
    #[arg(long)]
    pub coverage: bool,
    /// Exit with 4 if part of the period was not watched, or the ledger is not whole; a violation
    /// that was found counts more
    #[arg(long)]
    pub fail_on_gap: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Judge by the `[policy]` of this configuration file, not by the configuration's own
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Look places up again in this country database, or in the `embedded` one; otherwise places
    /// are taken as they were stored
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// The same for operators
    #[arg(long, value_name = "FILE")]
    pub operator_database: Option<PathBuf>,
    /// Exit with 3 if there would be new violations
    #[arg(long)]
    pub fail_on_violation: bool,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    #[command(flatten)]
    pub filter: RawFilter,
}

/// Options for those who work on geofenced itself.
#[derive(Clone, Copy, Debug, Args)]
pub struct DoctorArgs {
    /// Tries the class tables at N bounds of ranges and N addresses all over, of each family
    #[arg(long, hide = true, value_name = "N", default_value_t = 5_000)]
    pub addresses: usize,
}

#[derive(Clone, Debug, Args)]
pub struct LocateArgs {
    /// Addresses, IPv4 or IPv6
    #[arg(required = true, value_name = "IP")]
    pub addresses: Vec<IpAddr>,
}

/// The command with `notice`, the licence line of the embedded country database, in its version.
pub fn command(notice: &str) -> clap::Command {
    // Once a process, and it must live as long: clap keeps static texts only.
    let version: &'static str =
        Box::leak(format!("{VERSION} (commit {COMMIT})\n{notice}").trim_end().into());
    Cli::command().version(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command("notice").debug_assert();
    }

    #[test]
    fn every_help_shows_an_example() {
        let mut root = command("notice");
        let names: Vec<String> =
            root.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        assert!(root.render_long_help().to_string().contains("Examples:\n  geofenced "));
        for name in names {
            let help = root.find_subcommand_mut(&name).unwrap().render_long_help().to_string();
            assert!(help.contains(&format!("Examples:\n  geofenced {name}")), "{name}");
        }
    }

    #[test]
    fn global_options_are_understood_after_the_command() {
        let line =
            ["geofenced", "events", "-o", "json", "--socket", "/s", "-vv", "--country", "CN"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.global.output, Output::Json);
        assert_eq!(cli.global.verbosity(), 2);
        let Command::Events(events) = cli.command else { panic!("not events") };
        assert_eq!(events.filter.country.as_deref(), Some("CN"));
    }

    #[test]
    fn following_and_looking_back_exclude_each_other() {
        assert!(Cli::try_parse_from(["geofenced", "events", "-f", "--since", "1h"]).is_err());
    }
}
