//! What `mark` takes: a name, a note, and what is declared as shared, several times over. Parsing only.

use clap::{Arg, ArgMatches, Args, FromArgMatches, Subcommand, error::ErrorKind};

#[derive(Clone, Debug, Args)]
pub struct MarkArgs {
    #[command(subcommand)]
    pub command: MarkCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum MarkCommand {
    /// An interval begins now; returns once that is safe on the disk
    #[command(after_help = "\
Examples:
  geofenced mark start \"LDM on\" --note \"flight 12, pilot Bo\"
  geofenced mark start survey --share tiles.example.org --purpose maps --until 2h
  geofenced mark start update --share 203.0.113.0/24 --purpose firmware --share 198.51.100.7 --purpose logs

What is declared is marked on records (geofenced.declared) that go there and then. It is a claim: no
verdict becomes milder, and what is outside is told as ever.")]
    Start {
        /// One line of at most 128 bytes
        #[arg(value_name = "NAME")]
        name: String,
        /// What else is to be remembered
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        shares: TypedShares,
    },
    /// It ends now
    #[command(after_help = "\
Examples:
  geofenced mark stop \"LDM on\"")]
    Stop {
        #[arg(value_name = "NAME")]
        name: String,
        /// What else is to be remembered
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// The intervals of the ledger
    #[command(after_help = "\
Examples:
  geofenced mark list
  geofenced mark list -o json")]
    List {
        /// Times in UTC instead of local time
        #[arg(long)]
        utc: bool,
    },
}

/// `--share` with its `--purpose` and `--until`, in the order they were typed.
#[derive(Clone, Debug, Default)]
pub struct TypedShares(pub Vec<TypedShare>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypedShare {
    pub destination: String,
    pub purpose: String,
    pub until: Option<String>,
}

const OPTIONS: [(&str, &str, &str); 3] = [
    (
        "share",
        "IP|CIDR|DOMAIN",
        "Something is shared on purpose: with whom; may be given several times",
    ),
    ("purpose", "TEXT", "What for; belongs to the --share before it"),
    (
        "until",
        "TIME",
        "Until when, if before the interval ends: a time, or a span from now on (2h)",
    ),
];

impl Args for TypedShares {
    fn augment_args(command: clap::Command) -> clap::Command {
        OPTIONS.iter().fold(command, |command, (name, value, help)| {
            let option = Arg::new(*name).long(*name).value_name(*value).help(*help);
            command.arg(option.action(clap::ArgAction::Append))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TypedShares {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed: Vec<(usize, &str, String)> = Vec::new();
        for (name, ..) in OPTIONS {
            let values = matches.get_many::<String>(name).into_iter().flatten().cloned();
            let places = matches.indices_of(name).into_iter().flatten();
            typed.extend(places.zip(values).map(|(place, value)| (place, name, value)));
        }
        typed.sort();
        let wrong = |problem: String| clap::Error::raw(ErrorKind::ValueValidation, problem + "\n");
        let mut shares: Vec<(TypedShare, bool)> = Vec::new();
        for (_, name, value) in typed {
            if name == "share" {
                let share = TypedShare { destination: value, ..TypedShare::default() };
                shares.push((share, false));
                continue;
            }
            let Some((share, has_purpose)) = shares.last_mut() else {
                return Err(wrong(format!("--{name} belongs behind the --share that it is of")));
            };
            let is_twice = if name == "purpose" {
                share.purpose = value;
                std::mem::replace(has_purpose, true)
            } else {
                share.until.replace(value).is_some()
            };
            if is_twice {
                return Err(wrong(format!("--{name} is given twice for one --share")));
            }
        }
        if let Some((share, _)) = shares.iter().find(|(_, has_purpose)| !has_purpose) {
            return Err(wrong(format!("--share {} needs a --purpose", share.destination)));
        }
        Ok(Self(shares.into_iter().map(|(share, _)| share).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn shares(words: &str) -> Result<Vec<TypedShare>, String> {
        let line = format!("geofenced mark start x {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|it| it.to_string())?;
        let Command::Mark(MarkArgs { command: MarkCommand::Start { shares, .. } }) = cli.command
        else {
            panic!("not mark start")
        };
        Ok(shares.0)
    }

    #[test]
    fn each_purpose_and_end_is_of_the_destination_before_it() {
        let share = |destination: &str, purpose: &str, until: Option<&str>| TypedShare {
            destination: destination.into(),
            purpose: purpose.into(),
            until: until.map(Into::into),
        };
        let told = shares("--share a.org --purpose maps --share b.org --until 2h --purpose logs");
        let expected = [share("a.org", "maps", None), share("b.org", "logs", Some("2h"))];
        assert_eq!(told.unwrap(), expected);
        assert_eq!(shares("").unwrap(), []);
    }

    #[test]
    fn what_belongs_to_nothing_or_is_not_whole_is_refused() {
        assert!(shares("--purpose maps").unwrap_err().contains("behind the --share"));
        assert!(shares("--share a.org").unwrap_err().contains("--share a.org needs a --purpose"));
        let twice = shares("--share a.org --purpose x --purpose y").unwrap_err();
        assert!(twice.contains("twice"), "{twice}");
    }
}
