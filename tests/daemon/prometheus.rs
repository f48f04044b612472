//! The metrics as Prometheus itself sees them: its checker, and a real server that scrapes.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use geofenced::inside::{
    metrics::{KnownLabels, Metrics, serve},
    shutdown::{self, Trigger},
};

const MISSING: &str = "install the Debian package `prometheus`; `cargo xtask test` does";

/// The real endpoint over the given metrics, until dropped.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    ready: serve::Readiness,
    trigger: Trigger,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.trigger.request();
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the endpoint ended in disorder");
    }
}

fn endpoint(metrics: Metrics) -> Endpoint {
    endpoint_and(metrics, axum::Router::new())
}

/// The same, and what else it serves.
pub(crate) fn endpoint_and(metrics: Metrics, more: axum::Router) -> Endpoint {
    let (trigger, shutdown) = shutdown::channel();
    let ready = serve::Readiness::default();
    let (is_bound, bound) = std::sync::mpsc::channel();
    let readiness = ready.clone();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            is_bound.send(listener.local_addr().unwrap()).unwrap();
            let (metrics, ended) = (Arc::new(metrics), shutdown.requested());
            serve::serve(listener, metrics, readiness, more, serve::BOUNDS, ended).await;
        });
    });
    Endpoint { address: bound.recv().unwrap(), ready, trigger, thread: Some(thread) }
}

pub(crate) fn get(address: SocketAddr, path: &str, accept: &str) -> std::io::Result<String> {
    get_as("127.0.0.1", address, path, accept)
}

/// Asks for it by this name.
pub(crate) fn get_as(
    host: &str,
    address: SocketAddr,
    path: &str,
    accept: &str,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Metrics after some life, one awkward label value among them.
fn lived() -> Metrics {
    let known = KnownLabels {
        verdicts: vec!["approved".into(), "local".into()],
        transports: vec!["tcp".into(), "udp".into()],
        violations: vec![("CN".into(), "country".into()), ("RU".into(), "country".into())],
        losses: vec![("store".into(), "queue-full".into())],
        queues: vec![("store".into(), 65_536)],
        ..KnownLabels::default()
    };
    let metrics = Metrics::new(&known).unwrap();
    metrics.violations_total.with_label_values(&["CN", "country"]).inc_by(3);
    metrics.violations_total.with_label_values(&["RU", "rule:a\"b\\c"]).inc_by(2);
    metrics.event_latency_seconds.observe(0.003);
    metrics.build_info.with_label_values(&["0.1.0", "abc"]).set(1);
    metrics.set_policy("00ff");
    metrics
}

#[test]
fn promtool_finds_nothing_to_say() {
    let endpoint = endpoint(lived());
    let answer = get(endpoint.address, "/metrics", "text/plain").unwrap();
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(MISSING);
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn health_is_always_and_readiness_when_it_is() {
    let endpoint = endpoint(lived());
    let status = |path| get(endpoint.address, path, "*/*").unwrap()[9..12].to_owned();
    assert_eq!((status("/healthz"), status("/readyz")), ("200".into(), "503".into()));
    endpoint.ready.set(true);
    assert_eq!(status("/readyz"), "200");
}

#[test]
fn a_scraper_that_stops_in_its_request_does_not_keep_the_daemon_from_ending() {
    let endpoint = endpoint(lived());
    let mut halted = TcpStream::connect(endpoint.address).unwrap();
    halted.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    halted.write_all(b"GET /metrics HTT").unwrap();
    get(endpoint.address, "/healthz", "*/*").unwrap();
    drop(endpoint);
    assert_eq!(halted.read(&mut [0]).unwrap(), 0, "the connection is closed");
}

#[test]
fn a_scraper_that_reads_gzip_is_sent_less_and_another_gets_text() {
    let endpoint = endpoint(lived());
    let ask = |encoding: &str| {
        let mut stream = TcpStream::connect(endpoint.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let words = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept-encoding:";
        write!(stream, "{words} {encoding}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        (head, answer[end + 4..].to_vec())
    };
    let (plain_head, plain) = ask("identity");
    assert!(!plain_head.contains("content-encoding"), "{plain_head}");
    let (head, compressed) = ask("gzip");
    assert!(head.contains("content-encoding: gzip") && head.contains("vary:"), "{head}");
    assert!(compressed.len() < plain.len() / 3, "{} of {}", compressed.len(), plain.len());
    // By a program that is not ours.
    let mut gunzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gunzip.stdin.take().unwrap().write_all(&compressed).unwrap();
    assert_eq!(gunzip.wait_with_output().unwrap().stdout, plain);
}

/// Ended when dropped, whatever the test says.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_violations_and_answers_for_them() {
    let endpoint = endpoint(lived());
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    fs::write(
        &config,
        format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: geofenced\n    \
             static_configs:\n      - targets: ['{}']\n",
            endpoint.address
        ),
    )
    .unwrap();
    // Free a moment ago; should somebody take it meanwhile, the test fails and says so.
    let web = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = fs::File::create(directory.path().join("log")).unwrap();
    let _prometheus = Prometheus(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={web}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect(MISSING),
    );
    let query = "/api/v1/query?query=geofenced_violations_total";
    let mut last = String::new();
    for _ in 0..120 {
        last = get(web, query, "*/*").unwrap_or_else(|error| error.to_string());
        if ["\"3\"]", "\"2\"]", "\"0\"]", "rule:a\\\"b\\\\c"].iter().all(|part| last.contains(part))
        {
            return;
        }
        thread::sleep(Duration::from_millis(500));
    }
    let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    panic!("no answer: {last}\n{log}");
}
