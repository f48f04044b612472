//! What a fleet is looked after with, started as deploy/ says: Prometheus, an agent, Alertmanager, and a proxy
//! with TLS and a password. Each ends with the test; nothing listens but on loopback.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

/// A file under deploy/.
pub(crate) fn deployed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands in deploy/, with other words in some places; each must be there.
pub(crate) fn with(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replace(from, to)
    })
}

/// Free a moment ago; should somebody take it meanwhile, the test fails and says so.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the free port")
}

/// A server that is not ours.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    pub(crate) fn start(folder: &Path, program: &str, arguments: &[String]) -> Self {
        let log = folder
            .join(format!("{program}-{}.log", fs::read_dir(folder).map_or(0, Iterator::count)));
        let file = File::create(&log).expect("make a log");
        let mut command = unpacked(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("the log, twice")).stderr(file);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| {
            panic!(
                "{program}: {error}; `cargo xtask test` unpacks it, or install its Debian package"
            )
        });
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program by its name. One that was only unpacked sees its package's /usr/share in place of the system's:
/// Alertmanager wants its templates there.
fn unpacked(program: &str) -> Command {
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&folders).map(|folder| folder.join(program));
    let found = files.find(|path| path.is_file());
    let share = found.as_deref().and_then(|it| Some(it.parent()?.parent()?.join("share")));
    match (found, share) {
        (Some(path), Some(share)) if !path.starts_with("/usr") && share.is_dir() => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /usr/share && exec \"$@\""]);
            command.arg(share).arg(path);
            command
        }
        _ => Command::new(program),
    }
}

/// What an HTTP server answers with 200; `None` while it does not.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1)? == "200").then(|| body.to_owned())
}

/// What an expression comes to: series with values. `range`: from, to and step in seconds.
pub(crate) fn query(
    prometheus: SocketAddr,
    expression: &str,
    range: Option<(f64, f64, f64)>,
) -> Result<Vec<Value>, String> {
    let query = expression.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    });
    let path = match range {
        None => format!("/api/v1/query?query={query}"),
        Some((start, end, step)) => {
            format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}")
        }
    };
    let answer = get(prometheus, &path).ok_or("it is refused")?;
    let mut answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
    match answer["data"]["result"].take() {
        Value::Array(series) => Ok(series),
        other => Err(format!("no series: {other}")),
    }
}

/// Who is on call: what Alertmanager tells a webhook.
#[derive(Clone)]
pub(crate) struct OnCall {
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Vec<Value>>>,
}

impl OnCall {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a webhook");
        let address = listener.local_addr().expect("its address");
        let told = Arc::new(Mutex::new(Vec::new()));
        let tells = Arc::clone(&told);
        // It ends with the process: nobody calls once Alertmanager is gone.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(alerts) = receive(&stream) else { continue };
                tells.lock().expect("the list").extend(alerts);
            }
        });
        Self { address, told }
    }

    /// Waits until an alert of this name comes with these labels, and gives it.
    pub(crate) fn hears(&self, name: &str, labels: &[(&str, &str)]) -> Option<Value> {
        let is_it = |alert: &Value| {
            alert["status"] == "firing"
                && alert["labels"]["alertname"] == name
                && labels.iter().all(|(label, value)| alert["labels"][*label] == *value)
        };
        harness::eventually(|| self.all().into_iter().find(|alert| is_it(alert)))
    }

    pub(crate) fn all(&self) -> Vec<Value> {
        self.told.lock().expect("the list").clone()
    }
}

fn receive(stream: &TcpStream) -> Option<Vec<Value>> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    let message: Value = serde_json::from_slice(&body).ok()?;
    message["alerts"].as_array().cloned()
}
