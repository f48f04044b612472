//! How xtask talks: one line a step with its time, a tool's output only when it failed or with -v.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::paths;

/// How often a step that isn't shown on a terminal says that it is still at work.
const STILL: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(100);
/// How much of a failed tool's output is shown; the rest is in its log.
const SHOWN_LINES: usize = 120;

#[derive(Debug)]
pub struct Console {
    verbose: bool,
    terminal: bool,
}

impl Console {
    pub fn new(verbose: bool) -> Console {
        Console { verbose, terminal: std::io::stderr().is_terminal() }
    }

    /// Runs a tool as the step `name`. Its output goes to `target/xtask/<name>.log`.
    pub fn step(&self, name: &str, command: &mut Command) -> Result<()> {
        let started = Instant::now();
        if self.verbose {
            eprintln!("      {name}: {command:?}");
            let status = command.status().with_context(|| cannot_start(command))?;
            return self.finish(name, started, status, None);
        }
        let log = paths::target().join("xtask").join(format!("{}.log", slug(name)));
        fs::create_dir_all(paths::target().join("xtask"))?;
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| cannot_start(command))?;
        let status = self.wait(name, started, &mut child)?;
        let output = fs::read(&log).unwrap_or_default();
        self.finish(name, started, status, Some((&log.display(), &output)))
    }

    fn wait(&self, name: &str, started: Instant, child: &mut Child) -> Result<ExitStatus> {
        let mut said = started;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if self.terminal && started.elapsed() > TICK {
                eprint!("\r  ..  {name} ({})", elapsed(started));
                std::io::stderr().flush()?;
            } else if said.elapsed() >= STILL {
                eprintln!("  ..  {name} ({})", elapsed(started));
                said = Instant::now();
            }
            thread::sleep(TICK);
        }
    }

    fn finish(
        &self,
        name: &str,
        started: Instant,
        status: ExitStatus,
        log: Option<(&dyn Display, &[u8])>,
    ) -> Result<()> {
        // "\r" and the erasing sequence take the place of the line that showed the time running.
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{erase}{}  {name} ({})", word(status.success()), elapsed(started));
        if status.success() {
            return Ok(());
        }
        if let Some((path, output)) = log {
            let text = String::from_utf8_lossy(output);
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
                eprintln!("      | {line}");
            }
            eprintln!("      the whole output: {path}");
        }
        bail!("{name} failed: {status}")
    }
}

pub fn say(message: impl Display) {
    eprintln!("{message}");
}

/// Runs a tool whose output people want to see; hands each line of its stdout to `line` too.
pub fn stream(name: &str, command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    let started = Instant::now();
    eprintln!("  ..  {name}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| cannot_start(command))?;
    if let Some(stdout) = child.stdout.take() {
        for bytes in BufReader::new(stdout).split(b'\n') {
            let text = String::from_utf8_lossy(&bytes?).into_owned();
            println!("{text}");
            line(&text);
        }
    }
    let status = child.wait()?;
    eprintln!("{}  {name} ({})", word(status.success()), elapsed(started));
    Ok(status)
}

/// Runs our own work as a step.
pub fn own<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let done = work();
    eprintln!("{}  {name} ({})", word(done.is_ok()), elapsed(started));
    done
}

/// A tool's stdout, for one that answers a question; `None` when it can't be asked.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn word(good: bool) -> &'static str {
    if good { "  ok" } else { "FAIL" }
}

fn elapsed(started: Instant) -> String {
    let time = started.elapsed();
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", command.get_program().to_string_lossy())
}

fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_named_after_its_step_without_surprises() {
        assert_eq!(slug("apt-get install llvm-22-dev"), "apt-get-install-llvm-22-dev");
        assert_eq!(slug("../x"), "---x");
    }

    #[test]
    fn a_tool_that_fails_or_does_not_exist_answers_nothing() {
        assert_eq!(ask(&mut Command::new("false")), None);
        assert_eq!(ask(&mut Command::new("/nonexistent/tool")), None);
    }
}
