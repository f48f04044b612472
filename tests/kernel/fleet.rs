//! A fleet of two hosts, looked after as deploy/ and docs/fleet.md say: one sends by an agent, one is scraped
//! through a proxy with TLS and a password; both have the same address. Needs root.

#[path = "fleet/picture.rs"]
mod picture;
#[path = "fleet/stack.rs"]
mod stack;

use std::{fs, net::SocketAddr, path::Path, process::Command};

use harness::{Lab, Site};
use serde_json::Value;
use stack::{OnCall, Server, deployed, free, get, query, with};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";
/// As it is on each host where nobody changed the scrape's address.
const INSTANCE: &str = "127.0.0.1:9871";

/// A host with its daemon's configuration.
fn host(lab: &Lab, name: &str) -> Site {
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let rule = "[[policy.rule]]\nname = \"no-discard\"\nallow = false\nport = 9\n";
    site.drop_in("fleet", &format!("[host]\nname = \"{name}\"\n"));
    site.drop_in("rule", rule);
    let listen = site.metrics_address();
    site.drop_in("top", &format!("[metrics]\nlisten = \"{listen}\"\ntop = 5\n"));
    site
}

/// Everything beside the daemons; what is declared first ends first.
struct Fleet {
    servers: Vec<Server>,
    central: SocketAddr,
    agent: SocketAddr,
    on_call: OnCall,
    _folder: TempDir,
}

impl Fleet {
    /// The first is sent by an agent, the second scraped.
    fn of(sent: &Site, scraped: &Site) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let on_call = OnCall::listen();
        let [central, alertmanager, agent, proxy] = std::array::from_fn(|_| free());
        let path = folder.path();
        let servers = vec![
            alerts(path, alertmanager, on_call.address),
            tls(path, proxy, scraped),
            looks_after(path, central, alertmanager, proxy),
            sends(path, agent, central, sent),
        ];
        let fleet = Self { servers, central, agent, on_call, _folder: folder };
        for name in ["uav-1", "uav-2"] {
            let up = format!("up{{host=\"{name}\"}} == 1");
            let is_up = || query(fleet.central, &up, None).ok().filter(|series| series.len() == 1);
            assert!(
                harness::eventually(is_up).is_some(),
                "{name} is not heard of\n{}",
                fleet.logs()
            );
        }
        fleet
    }

    fn logs(&self) -> String {
        self.servers.iter().map(Server::log).collect()
    }

    fn hears(&self, name: &str, labels: &[(&str, &str)]) -> Value {
        let alert = self.on_call.hears(name, labels);
        alert.unwrap_or_else(|| {
            panic!("no {name} {labels:?}: {:#?}\n{}", self.on_call.all(), self.logs())
        })
    }
}

fn alerts(folder: &Path, at: SocketAddr, on_call: SocketAddr) -> Server {
    let config = format!(
        "route:\n  receiver: test\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 1s\nreceivers:\n  \
         - name: test\n    webhook_configs:\n      - url: http://{on_call}/\n"
    );
    fs::write(folder.join("alertmanager.yml"), config).expect("write a file");
    let arguments = [
        "--config.file=alertmanager.yml".to_owned(),
        format!("--storage.path={}", folder.join("alertmanager").display()),
        format!("--web.listen-address={at}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let server = Server::start(folder, "prometheus-alertmanager", &arguments);
    let is_ready = harness::eventually(|| get(at, "/-/ready"));
    assert!(is_ready.is_some(), "{}", server.log());
    server
}

/// deploy/nginx/geofenced-metrics.conf before a daemon.
fn tls(folder: &Path, at: SocketAddr, site: &Site) -> Server {
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl").args(words).current_dir(folder).output();
        let output = output.expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let name = "subjectAltName=IP:127.0.0.1";
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let what = ["-subj", "/CN=board", "-addext", name, "-keyout", "host.key", "-out", "host.crt"];
    openssl(&[&["req", "-x509"], &key[..], &what[..]].concat());
    let users = format!("fleet:{}\n", openssl(&["passwd", "-6", PASSWORD]));
    fs::write(folder.join("users"), users).expect("write a file");
    let inside = |file: &str| folder.join(file).display().to_string();
    let server = with(
        &deployed("nginx/geofenced-metrics.conf"),
        &[
            ("listen 9872 ssl", &format!("listen {at} ssl")),
            ("/etc/nginx/geofenced.crt;", &format!("{};", inside("host.crt"))),
            ("/etc/nginx/geofenced.key;", &format!("{};", inside("host.key"))),
            ("/etc/nginx/geofenced.users;", &format!("{};", inside("users"))),
            ("http://127.0.0.1:9871;", &format!("http://{};", site.metrics_address())),
        ],
    );
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = folders.map(|of| format!("{of}_temp_path {};", inside(of))).join(" ");
    let whole = format!(
        "user root; daemon off; worker_processes 1; pid {}; events {{}} http {{ {temporary} {server} }}",
        inside("pid")
    );
    fs::write(folder.join("nginx.conf"), whole).expect("write a file");
    let arguments =
        ["-p", &inside(""), "-c", &inside("nginx.conf"), "-e", "stderr"].map(str::to_owned);
    Server::start(folder, "nginx", &arguments)
}

/// deploy/prometheus/central.yml with rules.yml, quicker.
fn looks_after(
    folder: &Path,
    at: SocketAddr,
    alertmanager: SocketAddr,
    proxy: SocketAddr,
) -> Server {
    let hosts = format!(
        "- targets: [\"{proxy}\"]\n  labels:\n    host: uav-2\n    instance: \"{INSTANCE}\"\n"
    );
    fs::write(folder.join("hosts.yml"), hosts).expect("write a file");
    fs::write(folder.join("password"), PASSWORD).expect("write a file");
    let rules = deployed("prometheus/rules.yml");
    let waits = rules.lines().filter(|line| line.trim().starts_with("for: "));
    let rules = waits.fold(rules.clone(), |rules, line| rules.replace(line, "        for: 1s"));
    fs::write(folder.join("rules.yml"), rules).expect("write a file");
    let config = with(
        &deployed("prometheus/central.yml"),
        &[
            ("_interval: 1m", "_interval: 1s"),
            ("/etc/prometheus/geofenced/rules.yml", "rules.yml"),
            ("127.0.0.1:9093", &alertmanager.to_string()),
            ("/etc/prometheus/geofenced/ca.crt", "host.crt"),
            ("/etc/prometheus/geofenced/password", "password"),
            ("/etc/prometheus/geofenced/hosts/*.yml", "hosts.yml"),
        ],
    );
    fs::write(folder.join("central.yml"), config).expect("write a file");
    let arguments = [
        "--config.file=central.yml".to_owned(),
        format!("--storage.tsdb.path={}", folder.join("central").display()),
        format!("--web.listen-address={at}"),
        "--web.enable-remote-write-receiver".to_owned(),
    ];
    Server::start(folder, "prometheus", &arguments)
}

/// deploy/prometheus/agent.yml beside a daemon, quicker.
fn sends(folder: &Path, at: SocketAddr, central: SocketAddr, site: &Site) -> Server {
    let target = format!("- targets: [\"{}\"]", site.metrics_address());
    let target = format!("{target}\n        labels:\n          instance: \"{INSTANCE}\"");
    let config = with(
        &deployed("prometheus/agent.yml"),
        &[
            ("_interval: 1m", "_interval: 1s"),
            ("host: CHANGE-ME", "host: uav-1"),
            ("- targets: [\"127.0.0.1:9871\"]", &target),
            ("https://prometheus.example", &format!("http://{central}")),
            ("/etc/prometheus/fleet.password", "password"),
        ],
    );
    fs::write(folder.join("agent.yml"), config).expect("write a file");
    let arguments = [
        "--config.file=agent.yml".to_owned(),
        "--enable-feature=agent".to_owned(),
        format!("--storage.agent.path={}", folder.join("agent").display()),
        format!("--web.listen-address={at}"),
    ];
    Server::start(folder, "prometheus", &arguments)
}

/// Until the daemon has counted a violation.
fn counted(site: &Site) {
    let violations = || site.metrics().sum("geofenced_violations_total", &[]) > 0.0;
    let counted = harness::eventually(|| violations().then_some(()));
    assert!(counted.is_some(), "no violation is counted\n{}", site.log());
}

#[test]
fn what_happens_on_two_hosts_with_one_address_reaches_who_is_on_call_under_their_names() {
    let labs = [Lab::new(), Lab::new()];
    let sites = [host(&labs[0], "uav-1"), host(&labs[1], "uav-2")];
    let [first, second] = [sites[0].start(), sites[1].start()];
    // Before anybody scrapes.
    labs[0].egress("udp-sendto --to 203.0.113.7:5000");
    counted(&sites[0]);
    let fleet = Fleet::of(&sites[0], &sites[1]);
    let country = [("country", "CN"), ("reason", "country")];
    let told = fleet.hears("GeofencedViolation", &[&[("host", "uav-1")], &country[..]].concat());
    assert_eq!(told["labels"]["instance"], INSTANCE, "{told}");
    let summary = told["annotations"]["summary"].as_str();
    assert_eq!(summary, Some("uav-1 sent data to CN (country)"), "{told}");
    let runbook = told["annotations"]["runbook_url"].as_str().unwrap_or_default();
    assert!(runbook.ends_with("docs/runbook.md#geofencedviolation"), "{told}");

    // Of a rule that names no country: its series begins with this.
    labs[1].egress("udp-sendto --to 198.51.100.7:9");
    let rule = [("host", "uav-2"), ("country", "US"), ("reason", "rule:no-discard")];
    fleet.hears("GeofencedViolation", &rule);
    let wrong = fleet.on_call.all().into_iter().find(|alert| {
        let labels = &alert["labels"];
        labels["alertname"] == "GeofencedViolation"
            && (labels["host"] == "uav-1") != (labels["country"] == "CN")
    });
    assert_eq!(wrong, None, "an alert under another's name");

    first.kill9();
    let first = sites[0].start();
    fleet.hears("GeofencedUncleanStop", &[("host", "uav-1"), ("instance", INSTANCE)]);
    let unclean = |site: &Site| site.metrics().sum("geofenced_gap_before_start_seconds", &[]);
    assert!(unclean(&sites[0]) >= 1.0, "{}", sites[0].log());
    assert!(unclean(&sites[1]) < 1.0, "the first of a ledger has nothing before it");
    assert_eq!(second.stop(), Some(0), "{}", sites[1].log());
    fleet.hears("GeofencedDown", &[("host", "uav-2"), ("instance", INSTANCE)]);
    let of_first = |alert: &Value| {
        alert["labels"]["alertname"] == "GeofencedDown"
            && alert["labels"]["host"] == "uav-1"
            && alert["status"] == "firing"
    };
    // It was away for a moment, which a slow machine may have scraped.
    let is_over = harness::eventually(|| {
        let last = fleet.on_call.all().into_iter().rfind(|alert| {
            alert["labels"]["alertname"] == "GeofencedDown" && alert["labels"]["host"] == "uav-1"
        });
        (!last.as_ref().is_some_and(of_first)).then_some(())
    });
    assert!(is_over.is_some(), "uav-1 is taken for uav-2: {:#?}", fleet.on_call.all());
    assert_eq!(first.stop(), Some(0), "{}", sites[0].log());
}

/// Panels that show nothing here, and why.
const EMPTY: [(&str, &str); 2] =
    [("Lost", "nothing is lost"), ("Probes that are not attached", "all are")];

#[test]
fn each_query_of_the_dashboard_is_answered_for_a_fleet_that_lives() {
    let labs = [Lab::new(), Lab::new()];
    let sites = [host(&labs[0], "uav-1"), host(&labs[1], "uav-2")];
    let daemons = [sites[0].start(), sites[1].start()];
    let fleet = Fleet::of(&sites[0], &sites[1]);
    // Some of it after the series of its country began: `rate` sees what grows.
    let words = ["udp-sendto --to 203.0.113.7:5000", "udp-sendto --to 198.51.100.7:5000"];
    let flows = "sum by (host) (rate(geofenced_egress_flows_total[20s])) > 0";
    let seen = || {
        for lab in &labs {
            for words in words {
                lab.egress(words);
            }
        }
        query(fleet.central, flows, None).ok().filter(|series| series.len() == 2)
    };
    assert!(harness::eventually(seen).is_some(), "no traffic is heard of\n{}", fleet.logs());

    let dashboard = deployed("grafana/dashboards/geofenced.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    for variable in ["host", "instance"] {
        let values = get(fleet.central, &format!("/api/v1/label/{variable}/values"));
        let values = values.unwrap_or_default();
        assert!(values.contains("uav-1") || values.contains(INSTANCE), "{variable}: {values}");
    }
    let watched = "sum by (host) (geofenced_coverage_seconds{extent=\"watched\"}) > 0";
    let watched = || query(fleet.central, watched, None).ok().filter(|series| series.len() == 2);
    assert!(harness::eventually(watched).is_some(), "nothing is watched\n{}", fleet.logs());
    if picture::is_wanted() {
        live_on(&fleet, &labs, &sites);
    }
    let now = query(fleet.central, "time()", None).expect("an answer");
    let now = now.first().and_then(Value::as_f64).expect("a time");
    let span = if picture::is_wanted() { 45.0 } else { 20.0 };
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut drawn = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let may_be_empty = EMPTY.iter().any(|(name, _)| *name == title);
        let targets = panel["targets"].as_array().into_iter().flatten();
        assert_eq!(panel["targets"].is_array(), panel["type"] != "row", "{title}");
        let mut answers = Vec::new();
        for target in targets {
            let expression = expression(target);
            let range = (target["range"] == true).then_some((now - span, now, 1.0));
            let series = query(fleet.central, &expression, range);
            let series = series.unwrap_or_else(|error| panic!("{title}: {error}: {expression}"));
            let has_data = series.iter().any(picture::has_data);
            assert!(may_be_empty || has_data, "{title}: nothing: {expression}: {series:?}");
            answers.push((target.clone(), series));
        }
        drawn.push((panel.clone(), answers));
    }
    assert!(drawn.len() > 30, "{}", drawn.len());
    picture::draw(&drawn);
    for (daemon, site) in daemons.into_iter().zip(&sites) {
        assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    }
}

/// Long enough for a picture, and what a scrape takes.
fn live_on(fleet: &Fleet, labs: &[Lab; 2], sites: &[Site; 2]) {
    for round in 0..90_u32 {
        for (lab, each) in labs.iter().zip([3, 7]) {
            let words = "udp-sendto --to 198.51.100.7:5000";
            (0..=round % each).for_each(|_| drop(lab.egress(words)));
            if round % 20 == each {
                drop(lab.egress("udp-sendto --to 203.0.113.7:5000"));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    for encoding in ["identity", "gzip"] {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{size_download}", "-H"]);
        curl.arg(format!("Accept-Encoding: {encoding}"));
        let output = curl.arg(format!("http://{}/metrics", sites[0].metrics_address())).output();
        let size = String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned();
        println!("a scrape, {encoding}: {size} bytes");
    }
    let sent = get(fleet.agent, "/metrics").unwrap_or_default();
    for line in sent.lines().filter(|line| line.starts_with("prometheus_remote_storage_")) {
        if line.contains("_bytes_total") || line.contains("_samples_total") {
            println!("{line}");
        }
    }
}

/// As Grafana asks it, with everything chosen; no variable is left.
fn expression(target: &Value) -> String {
    let expression = target["expr"].as_str().expect("an expression");
    let asked = [
        ("$__rate_interval", "10s"),
        ("$__range", "30s"),
        ("\"$host\"", "\".*\""),
        ("\"$instance\"", "\".*\""),
    ];
    let asked = asked.iter().fold(expression.to_owned(), |it, (from, to)| it.replace(from, to));
    assert!(!asked.contains('$'), "{asked}");
    asked
}
