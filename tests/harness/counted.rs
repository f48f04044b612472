//! What the kernel counts of a process and its threads, and how large a store is. Reads `/proc` and
//! starts nothing.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    fs,
    path::Path,
    time::Duration,
};

/// At one moment.
#[derive(Debug)]
pub struct Counted {
    threads: BTreeMap<u32, Thread>,
    /// The kernel's count of what the process wrote to disks: whole pages, without their journal.
    written: u64,
    ledger: u64,
    index: u64,
    resident_kib: u64,
    /// Processes and threads that the whole machine made.
    forks: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Thread {
    name: String,
    /// Times it waited for something, and so was woken.
    waits: u64,
    runtime_ns: u64,
}

impl Counted {
    pub fn now(pid: u32, store: &Path) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| {
            let read = fs::read_to_string(process.join(name));
            read.unwrap_or_else(|error| panic!("{name} of {pid}: {error}"))
        };
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(process.join("task")).expect("its threads") {
            let path = entry.expect("a thread").path();
            let Some(id) = path.file_name().and_then(|it| it.to_str()?.parse().ok()) else {
                continue;
            };
            // One that ended meanwhile.
            let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
            let schedule = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            threads.insert(id, Thread::parse(&status, &schedule));
        }
        let machine = fs::read_to_string("/proc/stat").expect("/proc/stat");
        Self {
            threads,
            written: number(&read("io"), "write_bytes:"),
            ledger: bytes_below(&store.join("ledger")),
            index: bytes_below(&store.join("index")),
            resident_kib: number(&read("status"), "VmRSS:"),
            forks: number(&machine, "processes"),
        }
    }

    pub fn since<'a>(&'a self, before: &'a Self, span: Duration) -> impl Display {
        Since { before, after: self, span: span.as_secs_f64() }
    }
}

impl Thread {
    fn parse(status: &str, schedule: &str) -> Self {
        let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
        let runtime = schedule.split_whitespace().next().and_then(|it| it.parse().ok());
        Self {
            name: name.unwrap_or_default().trim().to_owned(),
            waits: number(status, "voluntary_ctxt_switches:"),
            runtime_ns: runtime.unwrap_or(0),
        }
    }
}

struct Since<'a> {
    before: &'a Counted,
    after: &'a Counted,
    span: f64,
}

impl Display for Since<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut waits, mut runtime) = (0, 0);
        writeln!(f, "{:<16} {:>10} {:>12}", "thread", "wake-ups/s", "% of a core")?;
        let none = Thread::default();
        for (id, thread) in &self.after.threads {
            let before = self.before.threads.get(id).unwrap_or(&none);
            let (woken, ran) = (thread.waits - before.waits, thread.runtime_ns - before.runtime_ns);
            self.line(f, &thread.name, woken, ran)?;
            (waits, runtime) = (waits + woken, runtime + ran);
        }
        self.line(f, "all", waits, runtime)?;
        let grown = |of: fn(&Counted) -> u64| of(self.after).saturating_sub(of(self.before));
        let seconds = self.span;
        let forks = grown(|it| it.forks) as f64 / seconds;
        writeln!(f, "in {seconds:.0} s; the whole machine made {forks:.0} processes a second")?;
        writeln!(
            f,
            "written to disk: {} bytes; the ledger grew by {}, the index by {}",
            grown(|it| it.written),
            grown(|it| it.ledger),
            grown(|it| it.index)
        )?;
        write!(f, "resident: {} KiB", self.after.resident_kib)
    }
}

impl Since<'_> {
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str, woken: u64, ran: u64) -> fmt::Result {
        let (rate, share) = (woken as f64 / self.span, ran as f64 / self.span / 1e7);
        writeln!(f, "{name:<16} {rate:>10.2} {share:>12.4}")
    }
}

/// The number behind this word at the begin of a line; 0 if there is none.
fn number(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let first = line.and_then(|rest| rest.split_whitespace().next());
    first.and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(it) if it.is_dir() => bytes_below(&entry.path()),
            Ok(it) => it.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_counted_by_its_own_waits_and_not_by_being_interrupted() {
        let status = "Name:\tpipeline\nState:\tS\nvoluntary_ctxt_switches:\t41\n\
                      nonvoluntary_ctxt_switches:\t7\n";
        let thread = Thread::parse(status, "5000 200 3\n");
        assert_eq!(thread, Thread { name: "pipeline".into(), waits: 41, runtime_ns: 5000 });
    }

    #[test]
    fn what_came_between_is_told_by_the_second() {
        let thread = |waits, runtime_ns| Thread { name: "ring".into(), waits, runtime_ns };
        let at = |it, written| Counted {
            threads: [(7, it)].into(),
            written,
            ledger: 0,
            index: 0,
            resident_kib: 1,
            forks: written,
        };
        let (before, after) = (at(thread(10, 0), 100), at(thread(30, 10_000_000), 300));
        let told = after.since(&before, Duration::from_secs(10)).to_string();
        assert!(told.contains("ring                   2.00       0.1000"), "{told}");
        assert!(told.contains("written to disk: 200 bytes") && told.contains(" 20 processes"));
    }
}
