//! The daemon that is measured: example policy, temporary store, ready when it says so.

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::stop::Stop;

const PATIENCE: Duration = Duration::from_mins(1);
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(15);

/// The example policy. The documentation networks are given countries, so that the demo shows the
/// same everywhere.
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

pub struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it and waits until its probes are attached and its store is open.
    /// `record`: what is stored one by one, as in the configuration; `cgroup`: whose sockets are watched
    /// alone, or empty.
    pub fn start(
        geofenced: &Path,
        directory: &Path,
        (record, cgroup): (&str, &str),
        stop: &Stop,
    ) -> Result<Daemon> {
        let metrics = free_port()?;
        fs::write(
            directory.join("config.toml"),
            configuration(directory, record, cgroup, metrics),
        )?;
        let ready = UnixDatagram::bind(directory.join("notify"))?;
        ready.set_read_timeout(Some(Duration::from_millis(200)))?;
        let log = File::create(directory.join("log"))?;
        let child = Command::new(geofenced)
            .arg("--config")
            .arg(directory.join("config.toml"))
            .arg("run")
            .env("NOTIFY_SOCKET", directory.join("notify"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", geofenced.display()))?;
        let mut daemon = Daemon { child, directory: directory.to_path_buf() };
        daemon.wait_until_ready(&ready, stop)?;
        keep_listening(ready)?;
        Ok(daemon)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Asks it to end and waits for a good end.
    pub fn stop(mut self) -> Result<()> {
        let status = self.end()?;
        ensure!(status.success(), "the daemon ended with {status}; its log:\n{}", self.log());
        Ok(())
    }

    /// Ends it, by force where it does not listen.
    fn end(&mut self) -> Result<ExitStatus> {
        // Fails only when it has ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < GRACE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn wait_until_ready(&mut self, ready: &UnixDatagram, stop: &Stop) -> Result<()> {
        let started = Instant::now();
        let mut message = [0; 1024];
        while started.elapsed() < PATIENCE {
            stop.check()?;
            match ready.recv(&mut message) {
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
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nobody is left to tell if even that failed.
            let _ = self.end();
        }
    }
}

/// It goes on telling the service manager that it lives, and warns where nobody listens.
fn keep_listening(ready: UnixDatagram) -> Result<()> {
    ready.set_read_timeout(None)?;
    thread::spawn(move || while ready.recv(&mut [0; 1024]).is_ok() {});
    Ok(())
}

fn configuration(directory: &Path, record: &str, cgroup: &str, metrics: SocketAddr) -> String {
    format!(
        "{POLICY}\n\
         [store]\n\
         path = \"{0}/store\"\n\
         record = \"{record}\"\n\n\
         [capture]\n\
         cgroup = \"{cgroup}\"\n\n\
         [metrics]\n\
         listen = \"{metrics}\"\n\n\
         [api]\n\
         socket = \"{0}/geofenced.sock\"\n",
        directory.display()
    )
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What systemd is told: lines of NAME=value.
fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
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
        let text = configuration(Path::new("/tmp/demo"), "all", "", "127.0.0.1:1".parse().unwrap());
        assert!(text.contains("path = \"/tmp/demo/store\""));
        assert!(text.contains("socket = \"/tmp/demo/geofenced.sock\""));
        assert!(text.contains("listen = \"127.0.0.1:1\""));
    }
}
