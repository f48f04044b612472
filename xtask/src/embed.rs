//! `cargo xtask geodb` and `cargo xtask world`: passes them on to the program that makes what the daemon
//! embeds, which nobody else has to compile.

use std::ffi::OsString;

use anyhow::{Context as _, Result, ensure};

use crate::host;

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Passed on; `--help` says what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub fn run(command: &str, args: &Args) -> Result<()> {
    let mut cargo = host::cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "embed", "--", command]);
    let status = cargo.args(&args.arguments).status().context("cannot start cargo")?;
    ensure!(status.success(), "{command} failed");
    Ok(())
}
