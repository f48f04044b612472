//! A generator that is still at work: a server that says where it listens, and later the truth.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::Truth;

#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("can't run {command:?}: {error}; `cargo build -p monitor --example egress`?")
        });
        let lines = BufReader::new(child.stdout.take().expect("a piped stdout"));
        Self { child, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("read from the generator");
        line
    }

    /// Waits until a server listens.
    pub fn listening(&mut self) -> SocketAddr {
        let line = self.line();
        let word = serde_json::from_str::<serde_json::Value>(&line).ok();
        let at = word.as_ref().and_then(|word| word["listening"].as_str()?.parse().ok());
        at.unwrap_or_else(|| panic!("the server does not listen: {line:?}"))
    }

    /// Waits for the end, which must be a good one.
    pub fn finish(mut self) -> Truth {
        let line = self.line();
        let status = self.child.wait().expect("wait for the generator");
        assert!(status.success(), "the generator failed: {status}, after {line:?}");
        Truth::parse(&line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
