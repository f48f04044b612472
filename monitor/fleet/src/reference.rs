//! Generated texts: manual pages and completions of shells, of the command line as it is defined. It knows nothing
//! else.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::cli::Cli;

const NAME: &str = "geofenced-fleet";

pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// A page for each command.
pub fn man(directory: &Path) -> Result<ExitCode> {
    let folder = directory.join("man1");
    let write = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        let mut root = Cli::command();
        root.build();
        let within = root.get_subcommands().filter(|it| it.get_name() != "help").cloned();
        for command in within.chain([root.clone()]) {
            clap_mangen::Man::new(command).date(date()).generate_to(&folder)?;
        }
        Ok(())
    };
    write().with_context(|| format!("cannot write manual pages into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Of the commit that this was built from, where the build was told; else pages have none.
fn date() -> String {
    let built = option_env!("SOURCE_DATE_EPOCH").and_then(|it| it.parse().ok());
    let built = built.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    built.map_or_else(String::new, |it| it.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_a_script_for_each_shell() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path()).unwrap();
        for page in ["geofenced-fleet.1", "geofenced-fleet-ship.1", "geofenced-fleet-collect.1"] {
            let page = fs::read_to_string(folder.path().join("man1").join(page)).unwrap();
            assert!(page.contains(".TH geofenced-fleet"), "{page}");
        }
        assert!(!folder.path().join("man1/geofenced-fleet-help.1").exists());
    }
}
