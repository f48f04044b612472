//! `cargo xtask bench`: what watching costs, measured here and shown; `--write` puts the tables into
//! docs/performance.md, between two marks.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{
    console::{Console, say, stream},
    host, paths, probes,
};

const BEGIN: &str = "<!-- Made by `cargo xtask bench --write`; don't edit. -->\n";
const END: &str = "<!-- The end of what is made. -->\n";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Turns of each operation
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Puts the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    if !host::is_root() {
        bail!("it makes network namespaces and loads the probes: run it as root");
    }
    probes::ensure_built(console)?;
    let empty = probes::empty_programs(console)?;
    let mut cargo = host::cargo();
    cargo.args(["bench", "--locked", "--package", "monitor", "--bench", "cost", "--"]);
    cargo.arg(args.rounds.to_string());
    cargo.env("GEOFENCED_EMPTY", empty).env("PATH", paths::search_path(&[]));
    let mut tables = String::new();
    let ended = stream("measure", &mut cargo, |line| {
        tables.push_str(line);
        tables.push('\n');
    })?;
    if !ended.success() {
        bail!("it was not measured: {ended}");
    }
    println!("{tables}");
    if args.write {
        let page = paths::root().join("docs/performance.md");
        let old = fs::read_to_string(&page).context("no docs/performance.md")?;
        fs::write(&page, put(&old, &tables)?)
            .with_context(|| format!("cannot write {}", page.display()))?;
        say(format_args!("      {}", page.display()));
    }
    Ok(())
}

/// The page with these tables in place of those between the marks.
fn put(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("no mark where the tables begin")?;
    let (_, after) = rest.split_once(END).context("no mark where the tables end")?;
    Ok(format!("{before}{BEGIN}{tables}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_around_the_tables_stays() {
        let page = format!("above\n{BEGIN}old\n{END}below\n");
        assert_eq!(put(&page, "new\n").unwrap(), format!("above\n{BEGIN}new\n{END}below\n"));
        assert!(put("no marks", "new\n").is_err());
    }
}
