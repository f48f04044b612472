//! The pages that are generated, and the API documentation. A link to something that no longer
//! exists is an error there, so prose in the code can't outlive it unnoticed.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    build::{self, Profile},
    console::{Console, ask, say},
    host, paths,
};

/// Pages of `docs/` that the binary writes about itself. Its unit tests compare them.
const PAGES: [&str; 2] = ["cli", "metrics"];

pub fn run(console: &Console) -> Result<()> {
    let geofenced = build::daemon(console, Profile::Debug)?;
    for page in PAGES {
        let file = paths::root().join("docs").join(page).with_extension("md");
        let text = ask(Command::new(&geofenced).args(["reference", page]))
            .with_context(|| format!("geofenced reference {page} failed"))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        say(format_args!("      {}", file.display()));
    }
    check(console)?;
    say(format_args!("      {}", paths::target().join("doc/geofenced").display()));
    Ok(())
}

/// The documentation of the API, for its links. What is private is in it, and may be linked to.
pub fn check(console: &Console) -> Result<()> {
    let mut cargo = host::cargo();
    cargo
        .args(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links");
    console.step("docs", &mut cargo)
}
