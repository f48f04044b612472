//! A report in a real browser: it loads without a word on the console and without a request, fits its window,
//! follows light and dark, and can be printed. Not one name in it is without ill will.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use geofenced::inside::event::{Domain, DomainSource, Reason, Record, Sender, Verdict};
use tempfile::TempDir;

use crate::{
    page::{self, of_now},
    prometheus,
    report::{Ledger, WINDOW, flow},
    rig::{Daemon, Events},
};

const BROWSERS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];
const MISSING: &str =
    "install the Debian package `chromium-headless-shell`; `cargo xtask test` does";

/// A page on disk, and a browser that has nothing of its own.
struct Browser {
    directory: TempDir,
    program: PathBuf,
}

impl Browser {
    fn new() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = BROWSERS.iter().find_map(|name| {
            std::env::split_paths(&path).map(|it| it.join(name)).find(|it| it.is_file())
        });
        Self { directory: tempfile::tempdir().unwrap(), program: found.expect(MISSING) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens the page; no name leads anywhere.
    fn open(&self, page: &str, arguments: &[&str]) -> Output {
        fs::write(self.file("page.html"), page).unwrap();
        self.visit(&format!("file://{}", self.file("page.html").display()), arguments)
    }

    /// Goes to where a page is served.
    fn visit(&self, url: &str, arguments: &[&str]) -> Output {
        let output = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"])
            .args([
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--enable-logging=stderr",
            ])
            .arg(format!("--user-data-dir={}", self.file("profile").display()))
            .arg(format!("--log-net-log={}", self.file("net.json").display()))
            .args(arguments)
            .arg(url)
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What was said on the console, and what was asked for.
    fn heard(&self, output: &Output) -> (Vec<String>, Vec<String>) {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let console = said.lines().filter(|line| line.contains("CONSOLE"));
        let log = fs::read_to_string(self.file("net.json")).unwrap();
        let asked = log.split("\"url\":\"").skip(1).filter_map(|it| it.split('"').next());
        let asked = asked.filter(|url| !url.starts_with("file:"));
        (console.map(ToOwned::to_owned).collect(), asked.map(ToOwned::to_owned).collect())
    }

    /// What a script at the end of the page finds out; the page's own policy would not let it run.
    fn measured(&self, page: &str, expression: &str, arguments: &[&str]) -> String {
        let (before, after) = page.split_once("<meta http-equiv=").unwrap();
        let (_, after) = after.split_once('>').unwrap();
        let script =
            format!("<script>document.title = 'measured ' + ({expression})</script></body>");
        let page = format!("{before}{after}").replace("</body>", &script);
        let output = self.open(&page, &[arguments, &["--dump-dom"]].concat());
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, title) = dom.split_once("<title>measured ").unwrap_or_else(|| panic!("{dom}"));
        title.split("</title>").next().unwrap_or_default().to_owned()
    }
}

const DARK: &str = "--blink-settings=preferredColorScheme=0";
const LIGHT: &str = "--blink-settings=preferredColorScheme=1";
const WIDE: &str = "--window-size=1280,1700";
const NARROW: &str = "--window-size=500,900";

/// By a program of a unit, to a destination with a name.
fn named(mut record: Record, program: &str, domain: &str) -> Record {
    if let Sender::Process { process, .. } = &mut record.sender {
        let process = Arc::make_mut(process);
        process.name = program.rsplit('/').next().unwrap_or(program).into();
        process.executable = Some(program.into());
        process.file.sha256 = Some([program.len() as u8; 32]);
        process.unit = Some("uplink.service".into());
    }
    let source = DomainSource::Dns;
    record.place.domain = Some(Domain { name: domain.into(), source, is_trusted: true });
    record
}

/// A day in the field: each flow's number, address, country, operator and the country that leads it, program
/// and name.
const DAY: [(u64, &str, &str, &str, &str, &str, &str); 9] = [
    (0, "192.0.2.10:443", "US", "Example Cloud", "US", "/usr/bin/mapper", "tiles.example.com"),
    (1, "203.0.113.7:80", "CN", "Example Telemetry", "CN", "/opt/pilot/uplink", "stat.example"),
    (2, "203.0.113.7:80", "CN", "Example Telemetry", "CN", "/opt/pilot/uplink", "stat.example"),
    (3, "198.51.100.9:443", "US", "Example Edge", "CN", "/opt/pilot/uplink", "edge-us.example.net"),
    (4, "198.51.100.30:8883", "HK", "Example Relay", "HK", "/usr/bin/relay", "hk.example.org"),
    (5, "198.51.100.40:443", "GF", "Example Guyane", "FR", "/usr/bin/relay", "gf.example.org"),
    (40, "192.0.2.77:443", "DE", "Example Hosting", "DE", "/usr/bin/apt", "deb.example.org"),
    (90, "192.0.2.99:123", "BR", "Example Sul", "BR", "/usr/sbin/chronyd", "ntp.example.br"),
    (300, "192.0.2.80:443", "CA", "Example North", "CA", "/usr/bin/backup", "backup.example.ca"),
];

const HOSTILE: &str = "<script>console.log('heard')</script><img src=http://192.0.2.1/x onerror=alert(1)>\u{202e}\0\"'";

/// That day, and at its end somebody who chooses names.
fn flows() -> Vec<Record> {
    let approved = ["US", "CA", "DE"];
    let mut flows: Vec<Record> = DAY
        .into_iter()
        .map(|(number, address, country, operator, led_from, program, domain)| {
            let is_approved = [country, led_from].iter().all(|code| approved.contains(code));
            let verdict = if is_approved { Verdict::Approved } else { Verdict::Unapproved };
            named(flow(number, (address, country), (operator, led_from), verdict), program, domain)
        })
        .collect();
    let telemetry = flows[1].place.operator.clone();
    flows[2].place.operator = telemetry;
    let to = ("203.0.113.66:4444", "RU");
    let record = flow(6, to, (HOSTILE, "RU"), Verdict::Unapproved);
    let mut record = named(record, &format!("/tmp/{HOSTILE}"), HOSTILE);
    record.judgement.reason = Reason::Rule(HOSTILE.into());
    flows.push(record);
    flows
}

fn page() -> String {
    let ledger = Ledger::of(&flows(), &[]);
    let claims = ["--claim", "nothing to KP", "--claim", "nothing to CN"];
    let output = ledger.run(&[&["report"][..], &WINDOW, &claims].concat());
    String::from_utf8(output.stdout).unwrap()
}

/// What the test would say of a page that does ask and speak.
#[test]
fn a_page_that_speaks_and_asks_is_heard() {
    let browser = Browser::new();
    let page =
        "<!DOCTYPE html><img src=\"http://192.0.2.1/x.png\"><script>console.log('heard')</script>";
    let output = browser.open(page, &["--dump-dom"]);
    let (console, asked) = browser.heard(&output);
    assert!(console.iter().any(|line| line.contains("heard")), "{console:?}");
    assert!(asked.iter().any(|url| url == "http://192.0.2.1/x.png"), "{asked:?}");
}

#[test]
fn a_report_is_silent_asks_for_nothing_and_is_drawn_in_light_and_dark() {
    let browser = Browser::new();
    let page = page();
    for (scheme, ground) in [(LIGHT, "rgb(255, 255, 255)"), (DARK, "rgb(17, 21, 26)")] {
        let picture = browser.file("picture.png");
        let to = format!("--screenshot={}", picture.display());
        let output = browser.open(&page, &[scheme, WIDE, &to]);
        assert_eq!(browser.heard(&output), (vec![], vec![]));
        assert!(fs::metadata(&picture).unwrap().len() > 50_000, "a picture with a map");
        keep(&browser.file("page.html"), "page.html");
        keep(&picture, if scheme == DARK { "dark.png" } else { "light.png" });
        let colour = "getComputedStyle(document.body).backgroundColor";
        assert_eq!(browser.measured(&page, colour, &[scheme, WIDE]), ground);
    }
}

#[test]
fn a_report_fits_a_narrow_window_and_its_wide_tables_move_in_their_frames() {
    let browser = Browser::new();
    let page = page();
    for window in [WIDE, NARROW] {
        let overhang = "document.documentElement.scrollWidth - innerWidth";
        assert_eq!(browser.measured(&page, overhang, &[window]), "0", "{window}");
    }
    // The map is drawn: a path that was not understood has no extent.
    let drawn = "[...document.querySelectorAll('.world path')].filter(it => it.getBBox().width > 0).length \
                 / document.querySelectorAll('.world path').length";
    assert_eq!(browser.measured(&page, drawn, &[WIDE]), "1");
    // What others chose is text: it makes no element.
    let elements = "document.querySelectorAll('img, script').length";
    assert_eq!(browser.measured(&page, elements, &[WIDE]), "1", "the one that measures");
}

#[test]
fn a_report_can_be_printed() {
    let browser = Browser::new();
    let paper = browser.file("paper.pdf");
    let to = format!("--print-to-pdf={}", paper.display());
    let output = browser.open(&page(), &["--no-pdf-header-footer", &to]);
    assert_eq!(browser.heard(&output), (vec![], vec![]));
    let paper_bytes = fs::read(&paper).unwrap();
    assert!(paper_bytes.starts_with(b"%PDF-"));
    let text = String::from_utf8_lossy(&paper_bytes);
    let pages = text.matches("/Type /Page\n").count();
    // A4 landscape, in points.
    assert!(
        text.contains("/MediaBox [0 0 842") || text.contains("/MediaBox [0 0 841"),
        "{pages} pages"
    );
    assert!((2..=12).contains(&pages), "{pages} pages");
    keep(&paper, "paper.pdf");
}

#[test]
fn the_page_of_the_daemon_is_silent_asks_for_nothing_else_and_is_drawn_with_its_map() {
    let browser = Browser::new();
    let daemon = Daemon::with(Events {
        records: flows().into_iter().map(of_now).collect(),
        ..Events::default()
    });
    let endpoint = page::endpoint(&daemon);
    let url = format!("http://{}/", endpoint.address);
    for (scheme, name) in [(LIGHT, "today-light.png"), (DARK, "today-dark.png")] {
        let picture = browser.file("picture.png");
        let to = format!("--screenshot={}", picture.display());
        let output = browser.visit(&url, &[scheme, WIDE, &to]);
        let (console, asked) = browser.heard(&output);
        assert_eq!(console, Vec::<String>::new());
        assert!(asked.iter().all(|it| *it == url), "{asked:?}");
        assert!(asked.contains(&url), "the log of what was asked for is no more what it was");
        assert!(fs::metadata(&picture).unwrap().len() > 50_000, "a picture with a map");
        keep(&picture, name);
    }
    let answer = prometheus::get(endpoint.address, "/", "text/html").unwrap();
    let (_, page) = answer.split_once("\r\n\r\n").unwrap();
    for window in [WIDE, NARROW] {
        let overhang = "document.documentElement.scrollWidth - innerWidth";
        assert_eq!(browser.measured(page, overhang, &[window]), "0", "{window}");
    }
    let red = "[...document.querySelectorAll('.world .bad')].map(it => it.id).sort().join(' ')";
    assert_eq!(browser.measured(page, red, &[WIDE]), "map-BR map-CN map-HK map-RU map-US");
    let elements = "document.querySelectorAll('img, script').length";
    assert_eq!(browser.measured(page, elements, &[WIDE]), "1", "the one that measures");
}

/// For whoever wants to see it: `GEOFENCED_PICTURES` names a folder.
fn keep(file: &Path, name: &str) {
    if let Some(folder) = std::env::var_os("GEOFENCED_PICTURES") {
        fs::copy(file, Path::new(&folder).join(name)).unwrap();
    }
}
