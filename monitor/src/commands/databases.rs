//! `databases`: what addresses are looked up in, and newer editions of it. Judges nothing, asks no network.

use std::io::Write;

use anyhow::Context as _;
use serde::Serialize;

use super::{Failure, Outcome, load, out};
use crate::{
    cli::{DatabasesArgs, DatabasesCommand, Exit, Global, Output, UpdateArgs},
    ecs::{Time, hex},
    locate::{Database, update},
    table::{Times, printable, small},
};

const HEAD: [&str; 6] = ["DATABASE", "NAME", "DATE", "AGE", "FROM", "SHA-256"];
const CSV_HEAD: [&str; 6] = ["label", "name", "built_at", "freshness", "path", "sha256"];
/// Digits of a hash in a table.
const HASH_DIGITS: usize = 16;

#[derive(Serialize)]
struct Shown<'a> {
    label: &'a str,
    name: &'a str,
    built_at: Time,
    freshness: &'a str,
    /// Absent: inside the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    sha256: String,
}

#[derive(Serialize)]
struct Newer<'a> {
    label: &'a str,
    name: &'a str,
    built_at: Time,
    from: String,
    /// Absent: it was only looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    installed: Option<String>,
}

pub(super) fn run(global: &Global, args: &DatabasesArgs) -> Outcome {
    match &args.command {
        None => list(global),
        Some(DatabasesCommand::Update(args)) => update(global, args),
    }
}

fn list(global: &Global) -> Outcome {
    let config = load::config(global)?;
    let locator = load::locator(&config)?;
    let shown: Vec<Shown<'_>> = locator.databases().iter().map(shown).collect();
    let mut out = out::stdout();
    match global.output {
        Output::Json => shown.iter().try_for_each(|it| out::json_line(&mut out, it))?,
        Output::Csv => {
            out::csv_head(&mut out, CSV_HEAD)?;
            for it in &shown {
                let built_at = serde_json::to_value(it.built_at)?;
                let built_at = built_at.as_str().unwrap_or_default();
                let path = it.path.as_deref().unwrap_or_default();
                let cells = [it.label, it.name, built_at, it.freshness, path, &it.sha256];
                out::csv_line(&mut out, cells)?;
            }
        }
        Output::Table => {
            let days = locator.databases().iter().map(|it| it.days(load::now()));
            let lines = shown.iter().zip(days).map(|(it, days)| line(it, days));
            out::table(&mut out, &small(&HEAD, lines))?;
        }
    }
    out.flush()?;
    if global.output == Output::Table && global.quiet == 0 {
        load::warn_of_age(&locator);
    }
    Ok(Exit::Fine)
}

fn shown(database: &Database) -> Shown<'_> {
    Shown {
        label: database.label,
        name: &database.name,
        built_at: Time(database.built_at),
        freshness: database.freshness(load::now()).word(),
        path: database.path.as_ref().map(|path| path.display().to_string()),
        sha256: hex(&database.sha256),
    }
}

fn line(it: &Shown<'_>, days: u64) -> Vec<String> {
    let age = if it.freshness == "fresh" {
        format!("{days} d")
    } else {
        format!("{days} d, {}", it.freshness)
    };
    vec![
        it.label.to_owned(),
        printable(it.name).into_owned(),
        Times::new(true).date(it.built_at),
        age,
        it.path.as_deref().map_or("the program".into(), |path| printable(path).into_owned()),
        it.sha256[..HASH_DIGITS].to_owned(),
    ]
}

fn update(global: &Global, args: &UpdateArgs) -> Outcome {
    let config = load::config(global)?;
    let Some(folder) = config.geo.folders.first() else {
        return Err(Failure::usage(anyhow::anyhow!(
            "geo.folders names none: there is no place to put newer databases"
        )));
    };
    if let Some(path) = args.paths.iter().find(|path| !path.exists()) {
        return Err(Failure::usage(anyhow::anyhow!("there is nothing at {}", path.display())));
    }
    let paths = if args.paths.is_empty() { &config.geo.update_from } else { &args.paths };
    let found = update::newer(paths, &config.geo.folders, load::now());
    for refused in &found.refused {
        eprintln!("{}", printable(refused));
    }
    let mut out = out::stdout();
    if global.output == Output::Csv {
        out::csv_head(&mut out, ["label", "name", "from", "installed"])?;
    }
    for it in &found.newer {
        let installed = if args.check {
            None
        } else {
            let at = it.install(folder);
            let at = at.with_context(|| format!("can't put it into {}", folder.display()))?;
            Some(at.display().to_string())
        };
        let from = it.from.display().to_string();
        match global.output {
            Output::Json => {
                let (label, name, built_at) = (it.label, &it.source, Time(it.dated));
                out::json_line(&mut out, &Newer { label, name, built_at, from, installed })?;
            }
            Output::Csv => {
                let installed = installed.as_deref().unwrap_or_default();
                out::csv_line(&mut out, [it.label, &it.source, &from, installed])?;
            }
            Output::Table => {
                let date = Times::new(true).date(Time(it.dated));
                let text = format!("{}: {}, {date}, in {from}", it.label, it.source);
                writeln!(out, "{}", printable(&text))?;
                if let Some(at) = installed {
                    writeln!(out, "  now at {}", printable(&at))?;
                }
            }
        }
    }
    out.flush()?;
    let is_nothing = found.newer.is_empty();
    if global.quiet == 0 {
        say(args, &found, paths);
    }
    Ok(match (found.refused.is_empty(), is_nothing && args.check) {
        // Of what is broken whoever only asks is told as of what is newer: it is to be looked at.
        (false, _) if args.check => Exit::Fine,
        (false, _) | (true, true) => Exit::Error,
        (true, false) => Exit::Fine,
    })
}

fn say(args: &UpdateArgs, found: &update::Found, paths: &[std::path::PathBuf]) {
    if !found.newer.is_empty() {
        if !args.check {
            eprintln!("a running daemon takes it at its next reload: systemctl reload geofenced");
        }
        return;
    }
    let all = |paths: &[std::path::PathBuf]| {
        let paths = paths.iter().map(|path| path.display().to_string());
        printable(&paths.collect::<Vec<_>>().join(", ")).into_owned()
    };
    if !found.known.is_empty() {
        eprintln!("nothing is newer in {}", all(&found.known));
    } else if found.refused.is_empty() {
        eprintln!("there is no database in {}", all(paths));
    }
}
