//! What each subcommand does, and how its end becomes an exit code. Query output goes to stdout and
//! nothing else does; messages go to stderr.

mod check;
mod coverage;
mod databases;
mod demo;
mod doctor;
mod events;
mod export;
mod hints;
mod learning;
mod load;
mod locate;
mod lookups;
mod manual;
mod mark;
mod out;
mod patterns;
mod policy;
mod prove;
mod reference;
mod replay;
mod report;
mod run;
mod show;
mod status;
mod suggest;
mod summary;
mod timelines;
mod top;
mod totals;
mod verify;
mod witness;

use std::{io, process::ExitCode};

use clap::FromArgMatches;

use crate::{
    cli::{Cli, Command, Exit, command},
    locate::NOTICES,
    logging,
};

/// Why a command ended without its answer: one line, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl Failure {
    /// Bad usage or bad configuration.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }

    /// Whoever read our output has enough: `| head`.
    fn is_closed_pipe(&self) -> bool {
        let io_errors = self.error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        io_errors.into_iter().any(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Error, error: error.into() }
    }
}

pub type Outcome = Result<Exit, Failure>;

/// Parses the command line, does what it says, and says why not.
pub fn main() -> ExitCode {
    let matches = command(&NOTICES.join("\n")).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // A daemon tells how it is; a query tells only what is wrong.
    let quieter = i16::from(!matches!(cli.command, Command::Run(_)));
    logging::init(cli.global.verbosity() - quieter, cli.global.color());
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_closed_pipe() => Exit::Fine.into(),
        Err(failure) => {
            logging::failed(&one_line(&failure.error));
            failure.exit.into()
        }
    }
}

/// An error with its causes, each once: many say their cause themselves.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn dispatch(cli: &Cli) -> Outcome {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Demo(args) => demo::run(global, args),
        Command::Doctor(args) => doctor::run(global, *args),
        Command::Check => check::run(global),
        Command::Locate(args) => locate::run(global, args),
        Command::Databases(args) => databases::run(global, args),
        Command::Status => status::run(global),
        Command::Coverage(args) => coverage::run(global, args),
        Command::Mark(args) => mark::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Prove(args) => prove::run(global, args),
        Command::Witness(args) => witness::run(global, args),
        Command::Policy(args) => policy::run(global, args),
        Command::Events(args) => events::run(global, args),
        Command::Show(args) => show::run(global, *args),
        Command::Summary(args) => summary::run(global, args),
        Command::Patterns(args) => patterns::run(global, args),
        Command::Suggest(args) => suggest::run(global, args),
        Command::Top(args) => top::run(global, args),
        Command::Report(args) => report::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Replay(args) => replay::run(global, args),
        Command::Completions { shell } => reference::completions(*shell),
        Command::Man { directory } => manual::man(directory.as_deref()),
        Command::Reference { page } => reference::page(*page),
    }
}
