//! What each subcommand does, and how its end becomes an exit code. Answers go to stdout, messages to stderr.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use geofenced::fleet::{Timestamp, WitnessSigner, parse_time, printable, seed, shipped, span};

use crate::{
    cli::{self, Cli, Command},
    collect::{self, Collect, Round},
    depot, enrol, reference, report,
    ship::{Did, Limit, Ship, ShipError},
};

/// Something does not verify, or is not there.
const NOT_WHOLE: u8 = 4;
const USAGE: u8 = 2;
/// How often a station looks for what is new,
const LOOK_EACH: Duration = Duration::from_secs(1);
/// and how long it waits at most where it can't send.
const RETRY_MOST: Duration = Duration::from_mins(1);

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Ship(args) => ship(args),
        Command::Collect(args) => collect(args),
        Command::Status(args) => status(args),
        Command::Report(args) => report(args),
        Command::Enrol(args) => enrol(args),
        Command::Completions { shell } => reference::completions(*shell),
        Command::Man { directory } => reference::man(directory),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let is_closed = error.chain().any(|cause| {
                let cause = cause.downcast_ref::<io::Error>();
                cause.is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
            });
            if is_closed {
                return ExitCode::SUCCESS;
            }
            eprintln!("geofenced-fleet: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("geofenced-fleet: {}", printable(message));
    ExitCode::from(USAGE)
}

fn ship(args: &cli::Ship) -> Result<ExitCode> {
    let depot = match depot::open(&args.to) {
        Ok(depot) => depot,
        Err(message) => return Ok(usage(&message)),
    };
    let mut ship = Ship::open(&args.store, &args.state, depot, Limit::new(args.limit))?;
    if args.once {
        ship = ship.at_once();
    }
    let mut waits = LOOK_EACH;
    let mut failed: Option<String> = None;
    loop {
        match ship.step() {
            Ok(Did::Nothing) if args.once => return Ok(ExitCode::SUCCESS),
            Ok(did) => {
                waits = LOOK_EACH;
                if failed.take().is_some() {
                    eprintln!("geofenced-fleet: it goes on");
                }
                if args.verbose {
                    tell(&did);
                }
                let is_idle = did == Did::Nothing;
                thread::sleep(if is_idle { LOOK_EACH } else { ship.wait() });
            }
            Err(error) if args.once => return Err(error.into()),
            // A link that is gone for weeks fills no log.
            Err(error) => {
                let line = error.to_string();
                if failed.as_ref() != Some(&line) {
                    let full = matches!(&error, ShipError::Depot(error) if error.is_full());
                    let hint = if full { ": make room there" } else { "" };
                    eprintln!("geofenced-fleet: {}{hint}; it is tried again", printable(&line));
                    failed = Some(line);
                }
                thread::sleep(waits);
                waits = (waits * 2).min(RETRY_MOST);
            }
        }
    }
}

fn tell(did: &Did) {
    match did {
        Did::Urgent { blocks } => eprintln!("told of violations: {blocks} blocks"),
        Did::Proof { origin, blocks } => {
            eprintln!("proof of {blocks} blocks of {}", printable(origin));
        }
        Did::Piece { segment, is_last: true } => eprintln!("segment {segment}"),
        Did::Heard { taken, wanted, .. } => {
            eprintln!(
                "the ground has all below block {taken}, and asks for {wanted} segments again"
            );
        }
        Did::Piece { .. } | Did::Nothing => {}
    }
}

fn collect(args: &cli::Collect) -> Result<ExitCode> {
    let depot = match depot::open(&args.from) {
        Ok(depot) => depot,
        Err(message) => return Ok(usage(&message)),
    };
    let name = match collect::witness_name(&args.name) {
        Ok(name) => name,
        Err(message) => return Ok(usage(&format!("--name {}: {message}", args.name))),
    };
    shipped::make_directory(&args.lake)?;
    let key = args.key.clone().unwrap_or_else(|| args.lake.join("witness.key"));
    let witness = WitnessSigner::new(name, &seed(&key)?);
    let public = args.lake.join("witness.pub");
    geofenced::fleet::replace_file(&public, format!("{}\n", witness.public()).as_bytes())?;
    let (lake, removes) = (args.lake.clone(), args.remove);
    let stations = enrol::all(&args.stations)?;
    let mut collect = Collect { lake, depot, stations, witness, removes };
    loop {
        let (began, cpu) = (Instant::now(), cpu_s());
        let round = collect.round()?;
        let is_whole = told(&round, (began.elapsed(), cpu_s() - cpu));
        let Some(seconds) = args.every else {
            let code = if is_whole { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) };
            return Ok(code);
        };
        thread::sleep(Duration::from_secs(seconds.max(1)));
        collect.stations = enrol::all(&args.stations)?;
    }
}

/// Says what a round did and took, also of a core; whether all of it was as it should be.
fn told(round: &Round, (took, cpu): (Duration, f64)) -> bool {
    let Round { segments, rows, proven, refused, urgent, strangers, forked } = round;
    for (origin, block, lines) in urgent {
        eprintln!("violation at {}, block {block}, not signed yet", printable(origin));
        for line in lines {
            eprintln!("  {line}");
        }
    }
    for (origin, object, why) in refused {
        let line = format!("{origin}: {object}: {why}");
        eprintln!("refused: {}", printable(&line));
    }
    for origin in forked {
        eprintln!("{}: two ledgers are signed under this name", printable(origin));
    }
    for folder in strangers {
        eprintln!("{}: nobody of that name is enrolled: left where it is", printable(folder));
    }
    if *segments > 0 || *proven > 0 {
        let (seconds, most) = (took.as_secs_f64(), peak_kib() >> 10);
        let each = *rows as f64 / cpu.max(0.01);
        eprintln!(
            "{proven} blocks proven, {segments} segments taken, {rows} rows poured in {seconds:.1} s; {cpu:.1} s of a core, {each:.0} rows a second of it, {most} MiB at most"
        );
    }
    refused.is_empty() && forked.is_empty()
}

/// Seconds of a core that this process took so far.
fn cpu_s() -> f64 {
    let it = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    it.tv_sec as f64 + it.tv_nsec as f64 / 1e9
}

/// The most memory that this process had, as the kernel says; 0 where it does not.
fn peak_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn status(args: &cli::Status) -> Result<ExitCode> {
    let known = collect::known(&args.lake, &enrol::all(&args.stations)?)?;
    let mut out = io::stdout().lock();
    for it in &known {
        if args.output == cli::Output::Json {
            serde_json::to_writer(&mut out, it)?;
            writeln!(out)?;
            continue;
        }
        let watched = it.coverage.as_ref().map_or_else(String::new, |coverage| {
            let last = coverage
                .to
                .to_jiff()
                .map_or_else(String::new, |at| format!("{}", at.strftime("%F %T UTC")));
            let (watched, all) = (span(coverage.watched_seconds), span(coverage.seconds));
            format!("; watched {watched} of {all}, last word {last}")
        });
        let (held, signed) = (it.held, it.signed);
        let blocks = format!("{held} of {signed} signed blocks{watched}");
        let line = format!("{:<24} {:<12} {blocks}", it.origin, it.state);
        writeln!(out, "{}", printable(&line))?;
        if let Some(why) = &it.why {
            writeln!(out, "{:<24} {}", "", printable(why))?;
        }
        for (object, why) in &it.refused {
            writeln!(out, "{:<24} refused {}", "", printable(&format!("{object}: {why}")))?;
        }
    }
    let is_whole = known.iter().all(|it| it.state == "whole" && it.refused.is_empty());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) })
}

fn report(args: &cli::Report) -> Result<ExitCode> {
    let now = jiff::Timestamp::now().as_nanosecond();
    let now = Timestamp(u64::try_from(now).unwrap_or(0));
    let at = |text: &str| parse_time(text, now, &jiff::tz::TimeZone::UTC);
    let (from, to) = match (at(&args.since), at(&args.until)) {
        (Ok(from), Ok(to)) if from < to => (from, to),
        (Ok(_), Ok(_)) => return Ok(usage("--since must be before --until")),
        (Err(message), _) | (_, Err(message)) => return Ok(usage(&message)),
    };
    let known = collect::known(&args.lake, &enrol::all(&args.stations)?)?;
    let report = report::make(&args.lake, &known, (from, to))?;
    let text = match args.output {
        cli::Form::Text => report.text(),
        cli::Form::Json => serde_json::to_string_pretty(&report)? + "\n",
        cli::Form::Html => report.page(),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn enrol(args: &cli::Enrol) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    if let Some(store) = &args.store {
        let keys = shipped::published(store)?;
        let key = keys.first().context("no key signs this store yet: start the daemon first")?;
        for key in &keys {
            writeln!(out, "{key}")?;
        }
        if args.qr {
            let code = enrol::code(&key.to_string()).context("the name is too long for a code")?;
            eprintln!("{code}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(add), Some(stations)) = (&args.add, &args.stations) else {
        return Ok(usage("--add FILE goes with --stations DIR"));
    };
    let station = enrol::Station::read(add)?;
    let path = enrol::add(stations, &station)?;
    writeln!(out, "{} is enrolled: {}", printable(&station.name), path.display())?;
    Ok(ExitCode::SUCCESS)
}
