//! The pager of a long table: a program of the user's choice that gets what would go to the terminal. It judges
//! neither width nor colour: those are the terminal's, which the pager hands through.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::cli::{Global, Output};

/// In this order; an empty one means none.
const CHOSEN_BY: [&str; 2] = ["GEOFENCED_PAGER", "PAGER"];
const DEFAULT: &str = "less";
/// Ends by itself where all fits on the screen, hands colours through, cuts no line.
const LESS: &str = "FRX";

#[derive(Debug)]
pub(in crate::commands) struct Pager {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Pager {
    /// `None`: nobody looks, nobody wants one, or there is none.
    pub(super) fn start(global: &Global) -> Option<Self> {
        let is_seen = io::stdout().is_terminal() && io::stdin().is_terminal();
        if !is_seen || global.no_pager || global.output != Output::Table {
            return None;
        }
        let chosen = CHOSEN_BY.iter().find_map(|name| env::var(name).ok());
        let line = chosen.unwrap_or_else(|| DEFAULT.to_owned());
        if line.trim().is_empty() || line.trim() == "cat" {
            return None;
        }
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {line}")]).stdin(Stdio::piped());
        if env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        // Where it is not installed the table goes to the terminal.
        let program = line.split_whitespace().next()?;
        is_installed(program).then_some(())?;
        let mut child = command.spawn().ok()?;
        let stdin = child.stdin.take();
        // An interrupt is for the pager, which stays until the user leaves it.
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        Some(Self { child, stdin })
    }
}

fn is_installed(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    program.contains('/') || env::split_paths(&paths).any(|it| it.join(program).is_file())
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stdin.as_mut().map_or(Ok(bytes.len()), |it| it.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Pager {
    /// The answer ends, and is read until the user leaves it.
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It has ended, or was never there to wait for.
        let _ = self.child.wait();
    }
}
