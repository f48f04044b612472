//! `cargo xtask idle`: what the daemon costs where little happens. Passes on what is asked to the benchmark that
//! counts it.

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{apt, console::Console, host, paths};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Passed on; `--help` says what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    if !host::is_root() {
        bail!("attaching probes needs root; run: sudo env \"PATH=$PATH\" cargo xtask idle");
    }
    apt::install(
        console,
        &[
            ("iproute2", "ip: the namespaces that are sent in"),
            ("nftables", "nft: what arrives in them is counted"),
        ],
    )?;
    let mut cargo = host::cargo();
    cargo.args(["bench", "--locked", "--package", "monitor", "--bench", "idle", "--"]);
    cargo.args(&args.arguments).env("PATH", paths::search_path(&[]));
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "it was not counted: {status}");
    Ok(())
}
