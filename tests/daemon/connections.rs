//! Somebody holds more connections than the daemon has descriptors. The test starts this very
//! executable again as a process with few of them.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    connections::{self, refused},
    event::Entry,
    metrics::{KnownLabels, Metrics, serve},
    shutdown,
    store::{Options, Store},
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    records::violation,
    rig::{Daemon, Events, geofenced},
};

/// Where the process with few descriptors is to work; unset in the test itself.
const CHILD: &str = "GEOFENCED_TEST_CONNECTIONS";
const DESCRIPTORS: u64 = 192;
const HELD: usize = 300;
const SEGMENTS: u64 = 5;
const PATIENCE: Duration = Duration::from_mins(1);

/// Serves both endpoints; keeps a store once it is told to.
fn child(directory: &Path) {
    let few = Rlimit { current: Some(DESCRIPTORS / 2), maximum: Some(DESCRIPTORS) };
    setrlimit(Resource::Nofile, few).unwrap();
    let descriptors = connections::descriptors();
    assert_eq!(descriptors, DESCRIPTORS, "it asks for all that it may have");
    let daemon = Daemon::with(Events { records: vec![violation(0)], ..Events::default() });
    let (trigger, shutdown) = shutdown::channel();
    let (is_bound, bound) = std::sync::mpsc::channel();
    let served = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            is_bound.send(listener.local_addr().unwrap()).unwrap();
            let metrics = Arc::new(Metrics::new(&KnownLabels::default()).unwrap());
            let bounds = serve::BOUNDS.within(descriptors);
            serve::serve(
                listener,
                metrics,
                serve::Readiness::default(),
                axum::Router::new(),
                bounds,
                shutdown.requested(),
            )
            .await;
        });
    });
    println!("at {} {}", bound.recv().unwrap(), daemon.socket().display());
    let mut asked = String::new();
    while std::io::stdin().read_line(&mut asked).unwrap() > 0 {
        println!("segments {}", fill(&directory.join("store")));
    }
    trigger.request();
    served.join().unwrap();
}

/// Opens a store and writes until it has several segments.
fn fill(path: &Path) -> u64 {
    let config = StoreConfig {
        path: path.to_owned(),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365),
        max_bytes: 64 << 20,
        sync: Duration::from_secs(10),
        shipping: None,
    };
    let mut store =
        Store::open_with(&config, Options { segment_bytes: 4096, ..Options::of(&config) }).unwrap();
    let mut number = 0;
    loop {
        let segments = store.reader().stats().unwrap().segments;
        if segments >= SEGMENTS {
            return segments;
        }
        for _ in 0..100 {
            store.append(&Entry::Flow(violation(number))).unwrap();
            number += 1;
        }
        store.sync().unwrap();
    }
}

/// Ended when dropped, whatever the test says.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line of the child that begins so, after libtest's own.
fn line(lines: &mut BufReader<ChildStdout>, begins: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no line `{begins}`");
        if let Some((_, rest)) = line.split_once(begins) {
            return rest.trim().to_owned();
        }
    }
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn idle_connections_leave_descriptors_for_newcomers_and_for_the_store() {
    if let Some(directory) = env::var_os(CHILD) {
        return child(Path::new(&directory));
    }
    connections::descriptors();
    let directory = tempfile::tempdir().unwrap();
    let name = "connections::idle_connections_leave_descriptors_for_newcomers_and_for_the_store";
    let mut served = Served(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(served.0.stdout.take().unwrap());
    let places = line(&mut lines, "at ");
    let (address, socket) = places.split_once(' ').unwrap();
    let held: Vec<TcpStream> = (0..HELD).map(|_| TcpStream::connect(address).unwrap()).collect();
    let asked: Vec<UnixStream> = (0..HELD).map(|_| UnixStream::connect(socket).unwrap()).collect();

    let answer = scrape(address);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let displaced = format!(
        "geofenced_connections_refused_total{{listener=\"metrics\",reason=\"{}\"}}",
        refused::DISPLACED
    );
    assert!(answer.contains(&displaced), "{answer}");
    let events = geofenced(&["events", "-o", "json", "--socket", socket]).output().unwrap();
    assert!(events.status.success(), "{events:?}");
    assert_eq!(String::from_utf8(events.stdout).unwrap().lines().count(), 1);
    writeln!(served.0.stdin.as_mut().unwrap(), "go").unwrap();
    assert_eq!(line(&mut lines, "segments "), SEGMENTS.to_string());
    drop((held, asked));
}
