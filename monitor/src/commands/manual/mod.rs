//! Manual pages by section: the commands (1) from the command line's definition, the configuration (5) and the
//! daemon (8) from the same pages that docs/ has. Writes files; what roff is, `roff` knows.

mod roff;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;

use super::Outcome;
use crate::cli::{Exit, VERSION, command};

/// Pages of `docs/` that are manual pages too: file, section, what NAME says.
const PAGES: [(&str, u8, &str, &str); 2] = [
    (
        "geofenced-config",
        5,
        "configuration of geofenced",
        include_str!("../../../../docs/configuration.md"),
    ),
    (
        "geofenced",
        8,
        "the daemon that names every egress of this host",
        include_str!("../../../../docs/service.md"),
    ),
];

pub(super) fn man(directory: Option<&Path>) -> Outcome {
    // Its version stands in the page's title, which is one line.
    let root = command("");
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(root).date(date()).render(&mut page)?;
        io::stdout().write_all(&page)?;
        return Ok(Exit::Fine);
    };
    let commands = directory.join("man1");
    fs::create_dir_all(&commands)
        .and_then(|()| write_commands(root, &commands))
        .and_then(|()| write_pages(directory))
        .with_context(|| format!("can't write manual pages into {}", directory.display()))?;
    Ok(Exit::Fine)
}

/// Of the commit that this was built from, where the build was told; else pages have none.
fn date() -> String {
    let built = option_env!("SOURCE_DATE_EPOCH").and_then(|it| it.parse().ok());
    let built = built.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    built.map_or_else(String::new, |it| it.strftime("%Y-%m-%d").to_string())
}

/// One for each command, and for those within it.
fn write_commands(mut root: clap::Command, folder: &Path) -> io::Result<()> {
    root.build();
    let mut left = vec![root];
    while let Some(command) = left.pop() {
        let within =
            command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
        left.extend(within.cloned());
        let man = clap_mangen::Man::new(command).date(date());
        man.generate_to(folder)?;
    }
    Ok(())
}

fn write_pages(directory: &Path) -> io::Result<()> {
    for (name, section, about, text) in PAGES {
        let folder = directory.join(format!("man{section}"));
        fs::create_dir_all(&folder)?;
        let head = format!(
            ".TH {name} {section} \"{}\" \"geofenced {VERSION}\"\n.SH NAME\n{name} \\- {about}\n",
            date()
        );
        fs::write(folder.join(format!("{name}.{section}")), head + &roff::of_markdown(text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_in_the_folder_of_its_section() {
        let folder = tempfile::tempdir().unwrap();
        man(Some(folder.path())).map_err(|failure| failure.error).unwrap();
        for path in [
            "man1/geofenced.1",
            "man1/geofenced-events.1",
            "man5/geofenced-config.5",
            "man8/geofenced.8",
        ] {
            let page = fs::read_to_string(folder.path().join(path)).unwrap();
            assert!(page.contains(".TH geofenced"), "{path}");
        }
        let page = fs::read_to_string(folder.path().join("man5/geofenced-config.5")).unwrap();
        assert!(page.contains("\\fBapproved_countries\\fR"), "{page}");
    }
}
