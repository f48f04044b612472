//! Programs that send one datagram and end at once, many times in each way of being executed: none
//! is told as another, and where the kernel tells which file was executed, none without it.
//! `GEOFENCED_SHORT_RUNS` is how many of each way. Needs root.

#[path = "identity/ground.rs"]
mod ground;

use ground::{Ground, Run, Tally, tally};
use harness::Programs;

/// Of each way.
const RUNS: usize = 1_000;
/// Hides the kernel's type information from the daemon.
const WITHOUT_BTF: (&str, &str) = ("GEOFENCED_WITHOUT_BTF", "1");

/// A way of being executed.
struct Way {
    name: &'static str,
    /// What comes before all runs, and what each run does.
    before: String,
    words: String,
    /// What was executed; `{run}` is the number of the run.
    executable: String,
    /// There is a file on the host, and a rule that allows it.
    allowed: bool,
}

/// The files that the ways execute.
struct Files {
    one: String,
    other: String,
    directory: String,
    link: String,
    script: String,
    many: String,
}

impl Files {
    fn new(programs: &Programs) -> Self {
        let one = programs.copy("short/one");
        let link = programs.path("short/link");
        std::os::unix::fs::symlink("one", &link).expect("a symlink");
        Self {
            other: programs.copy("other/one"),
            directory: programs.directory("short"),
            script: programs.script("short/script", &one),
            many: programs.directory("many"),
            link,
            one,
        }
    }

    fn ways(&self) -> Vec<Way> {
        let Self { one, other, directory, link, script, many } = self;
        let send = "udp sendto {to}";
        let way = |name, before: &str, words: String| Way {
            name,
            before: before.into(),
            words,
            executable: one.clone(),
            allowed: true,
        };
        vec![
            way("absolute path", "", format!("exec {one} {send}")),
            way("symlink", "", format!("exec {link} {send}")),
            way("relative path", &format!("cd {directory}"), format!("exec ./one {send}")),
            way("fexecve", &format!("open {one}"), format!("fexec {send}")),
            Way {
                executable: "/memfd:hidden".into(),
                allowed: false,
                ..way("memfd", &format!("memfd {one} hidden"), format!("fexec {send}"))
            },
            way("renamed by prctl", "", format!("exec {one} name other {send}")),
            way("script", "", format!("exec {script} {send}")),
            // Another name of the same file, so the rule is for it too.
            Way {
                executable: format!("{many}/{{run}}"),
                ..way(
                    "deleted while it runs",
                    "",
                    format!(
                        "link {one} {many}/{{run}} exec {many}/{{run}} unlink {many}/{{run}} {send}"
                    ),
                )
            },
            way(
                "own user and mount namespace",
                "",
                format!("uid 1001 own-namespaces exec {one} {send}"),
            ),
            way("exec after send", "", format!("exec {one} {send} exec {other}")),
        ]
    }
}

fn runs() -> usize {
    let asked = std::env::var("GEOFENCED_SHORT_RUNS").ok();
    asked.map_or(RUNS, |runs| runs.parse().expect("GEOFENCED_SHORT_RUNS is a number"))
}

/// What was told of each way, by a daemon with this variable in its environment.
fn told(variable: Option<(&str, &str)>) -> Vec<(Way, Tally)> {
    let ground = Ground::new();
    let files = Files::new(&ground.programs);
    ground.allow("short", &files.one);
    let mut daemon = ground.site.command(&["run"]);
    daemon.envs(variable);
    let mut all = Vec::new();
    ground.watched_by(&mut daemon, || {
        for (number, way) in files.ways().into_iter().enumerate() {
            let address = format!("203.0.113.{}", 100 + number);
            let runs = ground.spawn(&files.other, &way.before, runs(), &address, &way.words);
            let records = ground.told_at(&address, runs.len());
            let right = |run: &Run| way.executable.replace("{run}", &run.number.to_string());
            let tally = tally(&runs, &records, right);
            println!(
                "{:29} {:5} told, {:5} with a wrong executable, {:5} with a wrong pid, {:5} without \
                 an executable ({} only claimed), {:5} approved {:?}",
                way.name,
                tally.told,
                tally.wrong,
                tally.wrong_pid,
                tally.without,
                tally.only_claimed,
                tally.approved,
                tally.such_as.first(),
            );
            all.push((way, tally));
        }
    });
    all
}

#[test]
fn no_run_is_too_short_to_be_told_with_the_file_that_was_executed() {
    for (way, tally) in told(None) {
        let wrong = (tally.wrong, tally.wrong_pid, tally.without);
        assert_eq!(wrong, (0, 0, 0), "{}: {tally:?}", way.name);
        if way.allowed {
            assert_eq!(tally.approved, tally.told, "false violations: {}", way.name);
        }
    }
}

#[test]
fn without_the_kernels_types_no_short_run_is_told_as_another_program() {
    let all = told(Some(WITHOUT_BTF));
    let sum = |count: fn(&Tally) -> usize| all.iter().map(|(_, tally)| count(tally)).sum::<usize>();
    let told = sum(|tally| tally.told);
    println!(
        "of {told}: {} without an executable, of which {} only claimed",
        sum(|tally| tally.without),
        sum(|tally| tally.only_claimed)
    );
    for (way, tally) in &all {
        assert_eq!((tally.wrong, tally.wrong_pid), (0, 0), "{}: {tally:?}", way.name);
        if !way.allowed {
            assert_eq!(tally.approved, 0, "approved by a rule for another: {}", way.name);
        }
    }
}
