//! The daemon in the foreground, for development: own policy, own store, nothing under /etc.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    console::{Console, say},
    host, paths,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Passed on to `geofenced run`
    #[arg(last = true)]
    args: Vec<String>,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let binary = build::daemon(console, Profile::Release)?;
    let directory = paths::target().join("run");
    let config = configuration(&directory)?;
    let mut command = as_root(&binary)?;
    command.arg("--config").arg(&config).arg("run").args(&args.args);
    say(format_args!("      configuration: {}", config.display()));
    say(format_args!(
        "      ask it from another terminal: {} --config {} events --follow",
        binary.display(),
        config.display()
    ));
    // Signals, terminal and exit code are the daemon's from here.
    Err(command.exec()).with_context(|| format!("cannot start {}", binary.display()))
}

/// The file the daemon is started with; written once, so that what you change in it stays.
fn configuration(directory: &Path) -> Result<PathBuf> {
    let file = directory.join("config.toml");
    fs::create_dir_all(directory)?;
    if !file.exists() {
        fs::write(&file, text(directory))?;
    }
    Ok(file)
}

fn text(directory: &Path) -> String {
    format!(
        "# Written by `cargo xtask run`, once. Change what you like.\n\
         [policy]\n\
         approved_countries = [\"US\", \"CA\"]\n\n\
         [store]\n\
         path = \"{0}/store\"\n\n\
         [api]\n\
         socket = \"{0}/geofenced.sock\"\n",
        directory.display()
    )
}

/// The program as root, by sudo where we aren't.
fn as_root(program: &Path) -> Result<Command> {
    if host::is_root() {
        return Ok(Command::new(program));
    }
    if paths::which("sudo").is_none() {
        bail!("attaching probes needs root, and there is no sudo: run this as root");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_was_changed_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = configuration(directory.path()).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("approved_countries"));
        fs::write(&file, "# mine").unwrap();
        configuration(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "# mine");
    }
}
