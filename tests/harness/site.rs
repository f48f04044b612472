//! One installation of geofenced in a directory of its own: configuration, store and socket, the
//! daemon that runs on it, and the questions that a user asks of it through the command line.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Metrics, Namespace};

#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    binary: PathBuf,
    metrics: SocketAddr,
    /// Where the daemon runs, if not where the test does.
    namespace: Option<Namespace>,
}

/// How a command ended that was not meant to go on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon<'s> {
    child: Child,
    site: &'s Site,
}

impl Site {
    /// `binary`: `env!("CARGO_BIN_EXE_geofenced")` of the test.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let directory = tempfile::Builder::new().prefix("geofenced-test-").tempdir();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let site = Self {
            directory: directory.expect("a temporary directory"),
            binary: binary.into(),
            metrics: listener.local_addr().expect("the free port"),
            namespace: None,
        };
        let text = include_str!("config.toml")
            .replace("{directory}", &site.path().display().to_string())
            .replace("{metrics}", &site.metrics.to_string());
        fs::write(site.config(), text).expect("write the configuration");
        site
    }

    /// The same, with a daemon that runs in this network namespace.
    pub fn inside(namespace: &Namespace, binary: impl Into<PathBuf>) -> Self {
        Self { namespace: Some(namespace.clone()), ..Self::new(binary) }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
    pub fn config(&self) -> PathBuf {
        self.path().join("config.toml")
    }
    pub fn socket(&self) -> PathBuf {
        self.path().join("geofenced.sock")
    }
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// Adds `config.d/<name>.toml`.
    pub fn drop_in(&self, name: &str, text: &str) {
        let directory = self.path().join("config.d");
        fs::create_dir_all(&directory).expect("make config.d");
        fs::write(directory.join(name).with_extension("toml"), text).expect("write a drop-in");
    }

    /// Watches the members of one cgroup instead of the whole machine, nor the machine's interfaces: what
    /// passes them is none of a test's.
    pub fn watch_only(&self, cgroup: &Path) {
        let interfaces = if self.namespace.is_none() { "interfaces = []\n" } else { "" };
        let cgroup = cgroup.display().to_string();
        self.drop_in("capture", &format!("[capture]\n{interfaces}cgroup = {cgroup:?}\n"));
    }

    /// `geofenced <words>` on this site, not yet started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--config").arg(self.config()).env_remove("GEOFENCED_CONFIG");
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        crate::tied(&mut command);
        command
    }

    /// Runs a command of the command line to its end.
    pub fn ask(&self, words: &[&str]) -> Outcome {
        outcome(&mut self.command(words))
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> Daemon<'_> {
        let mut command = self.command(&["run"]);
        if let Some(namespace) = &self.namespace {
            namespace.admit(&mut command);
        }
        self.start_as(&mut command)
    }

    /// The same with a command that was changed before (other rights, other namespaces).
    pub fn start_as(&self, command: &mut Command) -> Daemon<'_> {
        let log = self.log_file();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("start the daemon");
        let mut daemon = Daemon { child, site: self };
        let ready = crate::eventually(|| {
            let ended = daemon.child.try_wait().expect("look for the daemon");
            assert!(ended.is_none(), "the daemon ended at once: {ended:?}\n{}", self.log());
            self.get("/readyz").filter(|(status, _)| *status == 200)
        });
        assert!(ready.is_some(), "the daemon never became ready\n{}", self.log());
        daemon
    }

    /// Starts a daemon that is expected to refuse: waits for its end, and kills one that stays.
    pub fn start_refused(&self, command: &mut Command) -> Outcome {
        let log = self.log_file();
        let spawned = command.stdout(Stdio::null()).stderr(log).spawn();
        let mut child = spawned.expect("start the daemon");
        let ended = crate::eventually(|| child.try_wait().expect("look for the daemon"));
        if ended.is_none() {
            child.kill().expect("kill the daemon");
            child.wait().expect("wait for the daemon");
            panic!("the daemon runs where it should refuse\n{}", self.log());
        }
        let code = ended.and_then(|status| status.code());
        Outcome { code, stdout: String::new(), stderr: self.log() }
    }

    fn log_file(&self) -> File {
        File::create(self.path().join("daemon.log")).expect("make the daemon's log")
    }

    /// What the last daemon wrote to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("daemon.log")).unwrap_or_default()
    }

    /// Stored records as the contract's JSON; `words` are filters of `events`.
    pub fn events(&self, words: &[&str]) -> Vec<Value> {
        self.events_by(&[&["events", "-o", "json"], words].concat())
    }

    /// The same from the ledger alone, past a running daemon: only what is already written.
    pub fn events_in_ledger(&self, words: &[&str]) -> Vec<Value> {
        let nobody = self.path().join("nobody.sock").display().to_string();
        self.events_by(&[&["events", "-o", "json", "--socket", &nobody], words].concat())
    }

    fn events_by(&self, words: &[&str]) -> Vec<Value> {
        let Outcome { code, stdout, stderr } = self.ask(words);
        let log = self.log();
        assert_eq!(code, Some(0), "geofenced {}: {stderr}\ndaemon: {log}", words.join(" "));
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"))
        };
        stdout.lines().map(parse).collect()
    }

    /// Events of one process.
    pub fn events_of(&self, pid: u32) -> Vec<Value> {
        self.events(&["--pid", &pid.to_string()])
    }

    /// Scrapes the daemon.
    pub fn metrics(&self) -> Metrics {
        let (status, body) = self.get("/metrics").expect("the metrics endpoint does not answer");
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// The daemon's numbers once those of these names stand still: the same in three scrapes, a second
    /// apart.
    pub fn settled(&self, names: &[&str]) -> Metrics {
        let mut last = (self.metrics(), 0);
        for _ in 0..600 {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.metrics();
            let same = names.iter().all(|name| now.nonzero(name) == last.0.nonzero(name));
            last = (now, if same { last.1 + 1 } else { 0 });
            if last.1 == 2 {
                return last.0;
            }
        }
        let numbers: Vec<_> = names.iter().map(|name| last.0.nonzero(name)).collect();
        panic!("the daemon still counts: {numbers:?}");
    }

    /// Status and body of an HTTP request to the metrics endpoint; `None` while nobody listens.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let connect = || TcpStream::connect(self.metrics).ok();
        let mut stream = match &self.namespace {
            Some(namespace) => namespace.within(connect)?,
            None => connect()?,
        };
        stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

impl Daemon<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits for its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let look = || self.child.try_wait().expect("look for the daemon");
        // Its last fdatasync waits for whatever else the disk is busy with.
        let ended = crate::eventually(look);
        let threads = || threads_of(self.child.id());
        assert!(ended.is_some(), "the daemon does not end\n{}{}", threads(), self.site.log());
        ended.and_then(|status| status.code())
    }

    /// Ends it as a power cut would, but for what the kernel still holds.
    pub fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("wait for the daemon");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("signal the daemon");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where each thread of a process waits, to see why it hangs.
fn threads_of(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let line = |task: fs::DirEntry| {
        format!("{}: {}\n", read(task.path().join("comm")), read(task.path().join("wchan")))
    };
    tasks.map(line).collect()
}

fn outcome(command: &mut Command) -> Outcome {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
    Outcome {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
