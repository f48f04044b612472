//! A generator that is still at work: a server that says where it listens, and later the truth.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::Truth;

/// Bytes as the generator takes them.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[derive(Debug)]
pub struct Running {
    child: Child,
    /// What a generator that holds sockets waits for; the others don't read it.
    words: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("can't run {command:?}: {error}; `cargo build -p monitor --example egress`?")
        });
        let lines = BufReader::new(child.stdout.take().expect("a piped stdout"));
        Self { words: child.stdin.take(), child, lines }
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

    /// Waits until every socket that it is to hold is open.
    pub fn holding(&mut self) {
        let line = self.line();
        assert!(line.contains("holding"), "it holds no sockets: {line:?}");
    }

    /// Has it use the sockets that it holds.
    pub fn send(&mut self) {
        let words = self.words.as_mut().expect("a piped stdin");
        words.write_all(b"\n").expect("write to the generator");
    }

    /// Has one that sends what stands in files send this one, to its end.
    pub fn give(&mut self, file: &Path) {
        let words = self.words.as_mut().expect("a piped stdin");
        writeln!(words, "{}", file.display()).expect("write to the generator");
        self.holding();
    }

    /// Waits for the end of one that tells no truth, which must be a good one.
    pub fn end(mut self) {
        drop(self.words.take());
        let status = self.child.wait().expect("wait for the program");
        assert!(status.success(), "the program failed: {status}");
    }

    /// Waits for the end, which must be a good one.
    pub fn finish(mut self) -> Truth {
        drop(self.words.take());
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
