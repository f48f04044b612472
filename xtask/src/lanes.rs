//! Runs test binaries beside each other: most of them wait most of the time. Those that flood the machine run
//! alone, behind the others. What each says is shown when it has ended, whole. It judges nothing.

use std::{
    collections::VecDeque,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};

/// At a time. Each passes at a third of a processor, and two cores are what a small machine has. With three, what
/// they start fills the buffers of those that have small ones.
const LANES: usize = 2;
/// What makes as much as the machine can, counts what is late, or has a small buffer that the programs of others fill.
const ALONE: [&str; 10] =
    ["burst", "floods", "lag", "late", "memory", "mixed", "names", "reload", "short_runs", "small"];

/// A built test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    pub name: String,
    pub path: PathBuf,
}

/// Runs all of them; hands each line of their output to `line`, binary by binary. Returns the names of those
/// that ended badly.
pub fn run(
    binaries: Vec<Binary>,
    command: impl Fn(&Path) -> Command + Sync,
    mut line: impl FnMut(&str),
) -> Result<Vec<String>> {
    let (alone, beside): (Vec<_>, Vec<_>) =
        binaries.into_iter().partition(|binary| ALONE.contains(&binary.name.as_str()));
    let mut broken = Vec::new();
    for (binaries, lanes) in [(beside, LANES), (alone, 1)] {
        let todo = Mutex::new(VecDeque::from(binaries));
        let (told, ended) = mpsc::channel();
        thread::scope(|scope| -> Result<()> {
            for _ in 0..lanes {
                let (told, todo, command) = (told.clone(), &todo, &command);
                scope.spawn(move || {
                    while let Some(binary) = next(todo) {
                        let began = Instant::now();
                        let output = command(&binary.path).stdin(Stdio::null()).output();
                        if told.send((binary, began.elapsed(), output)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(told);
            for (binary, took, output) in ended {
                let output = output.with_context(|| format!("cannot start {}", binary.name))?;
                println!("     Ran {} in {:.1} s", binary.name, took.as_secs_f64());
                show(&output, &mut line)?;
                if !output.status.success() {
                    broken.push(format!("{} ({})", binary.name, output.status));
                }
            }
            Ok(())
        })?;
    }
    Ok(broken)
}

fn next(todo: &Mutex<VecDeque<Binary>>) -> Option<Binary> {
    todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn show(output: &Output, line: &mut impl FnMut(&str)) -> Result<()> {
    std::io::stderr().write_all(&output.stderr)?;
    for text in String::from_utf8_lossy(&output.stdout).lines() {
        println!("{text}");
        line(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(names: &[&str]) -> Vec<Binary> {
        let binary = |name: &&str| Binary { name: (*name).to_owned(), path: (*name).into() };
        names.iter().map(binary).collect()
    }

    #[test]
    fn the_output_of_one_is_not_torn_by_another_and_a_bad_end_is_named() {
        let mut lines = Vec::new();
        let command = |path: &Path| {
            let mut shell = Command::new("sh");
            let name = path.display();
            shell.arg("-c").arg(format!(
                "echo {name} 1; read line < /proc/uptime; echo {name} 2; test {name} != bad"
            ));
            shell
        };
        let broken = run(shell(&["one", "bad", "burst", "two"]), command, |line| {
            lines.push(line.to_owned());
        });
        assert_eq!(broken.unwrap(), ["bad (exit status: 1)"]);
        let pairs: Vec<_> =
            lines.chunks(2).map(|pair| (&pair[0][..pair[0].len() - 2], pair)).collect();
        assert!(pairs.iter().all(|(name, pair)| pair[1] == format!("{name} 2")), "{lines:?}");
        assert_eq!(pairs.last().unwrap().0, "burst", "alone, when the others have ended");
    }
}
