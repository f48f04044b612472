//! The daemon of the demo: an example policy, a store that goes when the demo ends, ready when it says so.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_mins(1);
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(50);

/// The documentation networks are given countries, so that the demo shows the same everywhere.
const POLICY: &str = r#"
[policy]
approved_countries = ["US", "CA"]

[[geo.override]]
network = "203.0.113.0/24"
country = "CN"
operator = "Example Cloud"
asn = 64500

[[geo.override]]
network = "198.51.100.0/24"
country = "US"
operator = "Example Hosting"
asn = 64501

[[geo.override]]
network = "2001:db8:f::/48"
country = "RU"
operator = "Example Telecom"
asn = 64502
"#;

pub(super) struct Daemon {
    child: Child,
    directory: PathBuf,
    metrics: SocketAddr,
    /// It tells the service manager that it lives, and warns where nobody listens.
    ready: UnixDatagram,
}

impl Daemon {
    /// Starts it and waits until its probes are attached and its store is open.
    pub(super) fn start(directory: &Path) -> Result<Daemon> {
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(directory.join("config.toml"), configuration(directory, metrics))?;
        let ready = UnixDatagram::bind(directory.join("notify"))?;
        ready.set_read_timeout(Some(TICK))?;
        let log = File::create(directory.join("log"))?;
        let child = command(directory)?
            .arg("run")
            .env("NOTIFY_SOCKET", directory.join("notify"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the daemon can't be started")?;
        let mut daemon = Daemon { child, directory: directory.to_path_buf(), metrics, ready };
        daemon.wait_until_ready()?;
        daemon.listen_on()?;
        Ok(daemon)
    }

    /// A question to it on the command line.
    pub(super) fn ask(&self, question: &str) -> io::Result<Command> {
        let mut command = command(&self.directory)?;
        command.args(question.split_whitespace());
        Ok(command)
    }

    pub(super) fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    pub(super) fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "no metrics: {answer}");
        Ok(answer)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Asks it to end and waits for a good end.
    pub(super) fn stop(mut self) -> Result<()> {
        let status = self.end()?;
        ensure!(status.success(), "the daemon ended with {status}; its log:\n{}", self.log());
        Ok(())
    }

    fn end(&mut self) -> Result<std::process::ExitStatus> {
        // Fails only when it has ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < GRACE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(TICK);
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut message = [0; 1024];
        while started.elapsed() < PATIENCE {
            match self.ready.recv(&mut message) {
                Ok(length) if says_ready(&message[..length]) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon ended with {status}; its log:\n{}", self.log());
            }
        }
        bail!("the daemon is not ready after {} s; its log:\n{}", PATIENCE.as_secs(), self.log())
    }

    fn listen_on(&self) -> Result<()> {
        let ready = self.ready.try_clone()?;
        ready.set_read_timeout(None)?;
        thread::spawn(move || while ready.recv(&mut [0; 1024]).is_ok() {});
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nobody is left to tell if even that failed.
            let _ = self.end();
        }
    }
}

/// This program again, with the demo's configuration.
fn command(directory: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(directory.join("config.toml"));
    Ok(command)
}

fn configuration(directory: &Path, metrics: SocketAddr) -> String {
    format!(
        "{POLICY}\n\
         [store]\n\
         path = \"{0}/store\"\n\
         record = \"all\"\n\n\
         [metrics]\n\
         listen = \"{metrics}\"\n\n\
         [api]\n\
         socket = \"{0}/geofenced.sock\"\n",
        directory.display()
    )
}

/// What a service manager is told (`sd_notify(3)`): lines of NAME=value.
fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

fn is_timeout(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(kind, WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_line_of_its_own() {
        assert!(says_ready(b"STATUS=attached\nREADY=1"));
        assert!(!says_ready(b"STATUS=not READY=1 yet"));
        assert!(!says_ready(b""));
    }

    #[test]
    fn everything_of_the_demo_lies_in_its_own_directory() {
        let text = configuration(Path::new("/run/demo"), "127.0.0.1:1".parse().unwrap());
        assert!(text.contains("path = \"/run/demo/store\""));
        assert!(text.contains("socket = \"/run/demo/geofenced.sock\""));
        assert!(text.contains("listen = \"127.0.0.1:1\""));
    }
}
