//! How long each question of an investigation takes where the incident lies among millions of records: the commands of
//! `tests/fixtures/questions.md`, typed on a host whose daemon may take 64 MiB. As they stand there, over three days, and
//! over thirty. `cargo bench -p monitor --bench questions [-- RECORDS] [512MiB]` as root; of so much memory instead.
//! It asserts nothing about time, and compares no answer.

#[path = "../../tests/generator/incident/cast.rs"]
mod cast;
#[path = "store/generator.rs"]
mod generator;
#[path = "store/host.rs"]
mod host;
#[path = "../../tests/generator/incident/plan.rs"]
mod plan;
#[path = "../../tests/generator/incident/source.rs"]
mod source;
#[path = "../../tests/daemon/questions/typed.rs"]
mod typed;
#[path = "../../tests/generator/incident/write.rs"]
mod write;

use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use geofenced::inside::event::{Entry, Lookup, Notice, Record, Timestamp, Transport};
use harness::{Lab, Memory, Site};

use generator::{Generator, HOUR};

const BINARY: &str = env!("CARGO_BIN_EXE_geofenced");
const DAYS: u64 = 30;
/// 2026-11-20T00:00:00Z, where the incident's ledger ends.
const END: u64 = 1_795_132_800_000_000_000;
const MOST: u64 = 64 << 20;
const TURNS: usize = 3;
/// That are indexed at once.
const GROUP_BLOCKS: u64 = 256;
const LOOKUP_EVERY: usize = 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, records, path] = &words[..]
        && word == "write"
    {
        return write::write(Path::new(path), among(records.parse().expect("how many")));
    }
    let records = words.iter().find_map(|it| it.parse().ok()).unwrap_or(10_000_000);
    let mib = words.iter().find_map(|it| it.strip_suffix("MiB")?.parse::<u64>().ok());
    let lab = Lab::new();
    let site = Site::new(BINARY);
    configure(&site, lab.cgroup.path());
    let begun = Instant::now();
    // In a process of its own, so that what it took is not counted as the commands'.
    let mut writer = Command::new(std::env::current_exe().expect("this program"));
    let is_written = writer.args(["write", &records.to_string()]).arg(site.store()).status();
    assert!(is_written.is_ok_and(|status| status.success()), "the store was not written");
    println!("{records} records and the incident written in {:.0?}", begun.elapsed());
    // Whoever starts without one builds it.
    fs::remove_dir_all(site.store().join("index")).expect("the index of who wrote");
    let memory = Memory::at_most(mib.map_or(MOST, |mib| mib << 20));
    let mut command = Command::new("sh");
    let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", memory.members().display());
    command.args(["-c", &script, BINARY, "run", "--config"]).arg(site.config());
    let begun = Instant::now();
    let daemon = site.start_as(command.stdin(Stdio::null()));
    while let Some(behind) = behind(&site) {
        println!(
            "{:.0?} after the start the index is {behind}; {:?} kB; {}",
            begun.elapsed(),
            resident(daemon.pid()),
            memory.account()
        );
        std::thread::sleep(Duration::from_secs(5));
    }
    let (now, most) = resident(daemon.pid());
    println!(
        "the index is whole {:.0?} after the start; resident {now} kB, at most {most} kB",
        begun.elapsed()
    );
    let key = fs::copy(site.store().join("key.pub"), site.path().join("key.pub"));
    key.expect("its public key");
    ask(&site, daemon.pid());
    println!("killed for want of memory: {}; {}", memory.killed(), memory.account());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

fn configure(site: &Site, cgroup: &Path) {
    let (at, metrics) = (site.path().display(), site.metrics_address());
    let policy = fs::read_to_string("../tests/fixtures/incident.toml").expect("the fixture");
    let text = format!(
        "{policy}\n[store]\npath = \"{at}/store\"\nrecord = \"all\"\nretention = \"36500d\"\nmax_size = \"2GiB\"\n\
         [metrics]\nlisten = \"{metrics}\"\n[api]\nsocket = \"{at}/geofenced.sock\"\n"
    );
    fs::write(site.config(), text).expect("write the configuration");
    site.watch_only(cgroup);
}

/// The incident, and so much else, in the order in which a daemon would have written it.
fn among(records: usize) -> impl Iterator<Item = Entry> {
    let from = END - DAYS * 24 * HOUR;
    let mut generator = host::of_a_host(Generator::new(records, DAYS), from);
    let others = (0..records).flat_map(move |number| {
        let record = generator.next_state();
        let lookup = (number.is_multiple_of(LOOKUP_EVERY)).then(|| Entry::Lookup(lookup(&record)));
        [Some(Entry::Flow(record)), lookup].into_iter().flatten()
    });
    let incident = write::planned();
    // What watched before the incident's ledger begins says so each minute, too.
    let first = written_at(&incident[0]).0;
    let alive = (from..first)
        .step_by(60_000_000_000)
        .map(|at| Entry::Notice { at: Timestamp(at), notice: Notice::Alive });
    let (mut others, mut rest) = (others.peekable(), alive.chain(incident).peekable());
    std::iter::from_fn(move || {
        let at = |entry: Option<&Entry>| entry.map_or(u64::MAX, |it| written_at(it).0);
        if at(rest.peek()) < at(others.peek()) { rest.next() } else { others.next() }
    })
}

/// By which the flow's sender came to its destination.
fn lookup(record: &Record) -> Lookup {
    Lookup {
        at: record.egress.last_at,
        sender: record.sender.clone(),
        server: "192.0.2.53:53".parse().expect("an address"),
        transport: Transport::UDP,
        name: record
            .place
            .domain
            .as_ref()
            .map_or_else(|| "unnamed.example".into(), |it| it.name.clone()),
        kind: "A".into(),
        answer: Some(record.egress.remote.iter().map(SocketAddr::ip).collect()),
        host: None,
    }
}

fn written_at(entry: &Entry) -> Timestamp {
    match entry {
        Entry::Flow(record) => record.egress.last_at,
        Entry::Notice { at, .. } => *at,
        Entry::Lookup(lookup) => lookup.at,
        Entry::Rollup(rollup) => rollup.hour,
    }
}

/// How many blocks the index lacks; `None`: fewer than it would go on for.
fn behind(site: &Site) -> Option<u64> {
    let asked = site.ask(&["status", "-o", "json"]);
    assert_eq!(asked.code, Some(0), "{asked:?} {}", site.log());
    let status: serde_json::Value = serde_json::from_str(&asked.stdout).expect("its status");
    let index = status["store"]["index"].as_str().unwrap_or_else(|| panic!("no index: {status}"));
    let behind = index.split(' ').next().and_then(|it| it.parse().ok())?;
    (behind >= GROUP_BLOCKS).then_some(behind)
}

fn ask(site: &Site, daemon: u32) {
    let page = fs::read_to_string("../tests/fixtures/questions.md").expect("the questions");
    println!(
        "| question | three days, ms | thirty days, ms | daemon, kB | command, kB |\n|---|---|---|---|---|"
    );
    for typed in typed::of(&page) {
        let command = typed.command.trim_end_matches(typed::ONLY_SAID);
        let wide = command.replace("--since 2026-11-17 ", "--since 2026-10-21 ");
        let mut cells = Vec::new();
        let mut most = (0, 0);
        for command in [command, &wide] {
            if cells.len() == 1 && command == typed.command {
                cells.push(String::from("-"));
                continue;
            }
            let mut times = Vec::new();
            for _ in 0..TURNS {
                // The peak counts from here on.
                fs::write(format!("/proc/{daemon}/clear_refs"), "5").expect("root");
                let (took, kb, said) = timed(site, command);
                times.push(took);
                most = (most.0.max(resident(daemon).1), most.1.max(kb));
                if let Some(said) = said {
                    cells.push(said);
                    break;
                }
            }
            times.sort_unstable();
            cells.push(format!("{:.0}", times[times.len() / 2].as_secs_f64() * 1e3));
        }
        let (line, cells) = (typed.line, cells.join(" | "));
        println!("| `{command}` (line {line}) | {cells} | {} | {} |", most.0, most.1);
    }
}

/// With the most that it was resident with, and what it said if it failed.
fn timed(site: &Site, command: &str) -> (Duration, u64, Option<String>) {
    let words = typed::words(
        &command.replace("incident/key.pub", "key.pub").replace("verify incident", "verify"),
    );
    let begun = Instant::now();
    #[expect(clippy::zombie_processes, reason = "`ended` waits for it")]
    let mut child = Command::new(BINARY)
        .args(&words[1..])
        .current_dir(site.path())
        .env("GEOFENCED_CONFIG", site.config())
        .stdin(Stdio::null())
        .stdout(fs::File::create(site.path().join("answer")).expect("a file for the answer"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("ask");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("what it says");
    let (status, kb) = ended(&child);
    let is_answer = matches!(status, 0 | 3 | 4);
    (begun.elapsed(), kb, (!is_answer).then(|| format!("{status}: {}", said.trim())))
}

/// Exit code, and the most kB it was resident with.
fn ended(child: &Child) -> (i32, u64) {
    let mut status = 0;
    // SAFETY: all zeroes are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one status and one usage.
    let ended =
        unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    assert_eq!(ended, child.id().cast_signed(), "nobody else waits for it");
    (libc::WEXITSTATUS(status), usage.ru_maxrss.cast_unsigned())
}

/// Now, and at most, kB.
fn resident(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon's status");
    let of = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (of("VmRSS:"), of("VmHWM:"))
}
