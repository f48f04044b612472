//! A fleet that is made up: its stations write real ledgers turn by turn, ship them over links that lose, hold back
//! and repeat, and the ground collects. What goes wrong, with whom and when, is decided here, and kept as the truth.

pub mod answers;
pub mod asked;
pub mod truth;
pub mod world;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use truth::Truth;
use world::START_S;

const DAY_S: u64 = 86_400;

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub stations: usize,
    /// Each ends with shipping and collecting.
    pub turns: u64,
    pub days_a_turn: u64,
    pub records_a_day: u64,
    pub segment_bytes: u64,
    pub seed: u64,
    /// One object in so many is lost, one held back, one repeated.
    pub one_in: u32,
    /// Of the flows that would violate one in so many does: 1 is every fourth flow of all.
    pub violating: u64,
    /// Stations that live at the same time.
    pub at_once: usize,
}

/// What happens to a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Plain,
    /// Its daemon is stopped some hours each third day; the second dies.
    Stopped,
    Dies,
    /// Nothing of it gets through before the last turn.
    Offline,
    /// A segment is lost on the way, and then on its disk.
    Loses,
    /// Somebody without its key sends a ledger in its name.
    Forged,
    /// Its ledger is cut back, and it notices.
    RolledBack,
    /// Its whole disk is put back, and it can't notice.
    PutBack,
    Cloned,
    SignsTwice,
    /// It gets another key.
    Rotates,
    /// It is enrolled, and never heard of.
    Silent,
}

pub const FATES: [Fate; 12] = [
    Fate::Plain,
    Fate::Stopped,
    Fate::Dies,
    Fate::Offline,
    Fate::Loses,
    Fate::Forged,
    Fate::RolledBack,
    Fate::PutBack,
    Fate::Cloned,
    Fate::SignsTwice,
    Fate::Rotates,
    Fate::Silent,
];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub fleet: PathBuf,
    pub station: PathBuf,
}

#[derive(Debug)]
pub struct Fleet {
    pub root: PathBuf,
    pub plan: Plan,
    pub programs: Programs,
    pub fates: BTreeMap<String, Fate>,
    /// Of all that the lake should hold.
    pub truth: Truth,
    /// States of flows that were lost for good, by station.
    pub lost: BTreeMap<String, u64>,
    rng: fastrand::Rng,
    /// Objects that were carried, with what they were then.
    carried: BTreeMap<PathBuf, (u64, u64)>,
    /// What it took to make, to ship and to collect, in seconds of the programs that did it.
    pub took: [f64; 3],
}

/// What a turn of a station left.
#[derive(Debug, Default)]
struct Lived {
    /// What it wrote, where that counts.
    truths: Vec<PathBuf>,
    made_s: f64,
    shipped_s: f64,
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy");
        }
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let Ok(entries) = fs::read_dir(root) else { return all };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("start a program");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|it| it == 0 || it == 4), "{command:?}: {text}");
    output
}

impl Fleet {
    pub fn new(root: &Path, plan: Plan, programs: Programs) -> Self {
        let fate = |number: usize| {
            let fate = FATES.get(number).copied().unwrap_or(Fate::Plain);
            // Of many some are away for long.
            if number >= FATES.len() && number.is_multiple_of(20) { Fate::Offline } else { fate }
        };
        let fates = (0..plan.stations).map(|it| (format!("uav-{it:03}"), fate(it))).collect();
        for folder in ["inbox", "stations", "lake"] {
            fs::create_dir_all(root.join(folder)).expect("make a directory");
        }
        Self {
            root: root.to_owned(),
            plan,
            programs,
            fates,
            truth: Truth::default(),
            lost: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(plan.seed),
            carried: BTreeMap::new(),
            took: [0.0; 3],
        }
    }

    fn folder(&self, station: &str) -> PathBuf {
        self.root.join("made").join(station)
    }

    /// Lets a store go on by some days; gives what it wrote, and the seconds that it took.
    fn write(&self, name: &str, store: &Path, turn: u64, more: &[String]) -> (PathBuf, f64) {
        let folder = self.folder(name);
        fs::create_dir_all(&folder).expect("make a directory");
        let of = store.file_name().expect("a name").to_string_lossy();
        let truth = folder.join(format!("truth-{of}-{turn}"));
        let first = turn * self.plan.days_a_turn;
        let shift = folder.join(format!("shift-{of}"));
        // What the store itself notes is of the time of its records.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs().cast_signed();
        let then = (START_S + first * DAY_S).cast_signed();
        fs::write(&shift, format!("{} trusted\n", then - now)).expect("write the shift");
        let number: u64 = name[4..].parse().expect("the number of a station");
        let mut command = Command::new(&self.programs.station);
        command.arg(store).arg(name).arg(&truth);
        command.arg(format!("seed={}", self.plan.seed * 1_000 + number));
        command.arg(format!("first={first}")).arg(format!("days={}", self.plan.days_a_turn));
        command.arg(format!("records={}", self.plan.records_a_day));
        command.arg(format!("violating={}", self.plan.violating));
        command.arg(format!("segment={}", self.plan.segment_bytes)).args(more);
        command.env("GEOFENCED_CLOCK_SHIFT", &shift);
        let credentials = folder.join("credentials");
        if credentials.is_dir() {
            command.env("CREDENTIALS_DIRECTORY", &credentials);
        }
        let began = Instant::now();
        run(&mut command);
        (truth, began.elapsed().as_secs_f64())
    }

    /// One turn of one station: it writes, and ships into a box of its own.
    fn turn(&self, name: &str, fate: Fate, turn: u64) -> Lived {
        let mut lived = Lived::default();
        let folder = self.folder(name);
        let (store, state) = (folder.join("store"), folder.join("state"));
        let (other, other_state) = (folder.join("other"), folder.join("other-state"));
        let is_last = turn + 1 == self.plan.turns;
        // All that it wrote can be shipped before it is cut or put back.
        let ends = is_last || fate == Fate::RolledBack || fate == Fate::PutBack && turn == 1;
        let mut words = vec![format!("ends={}", u8::from(ends))];
        match fate {
            Fate::Stopped => words.push("stopped=3".into()),
            Fate::Dies => words.extend(["stopped=2".into(), "dies=1".into()]),
            Fate::Rotates if turn == 1 => {
                fs::create_dir_all(folder.join("credentials")).expect("make a directory");
                fs::write(folder.join("credentials/geofenced.key"), [9; 32]).expect("write a key");
            }
            Fate::RolledBack if turn == 1 => copy_all(&store.join("ledger"), &folder.join("cut")),
            Fate::RolledBack if turn == 2 => {
                fs::remove_dir_all(store.join("ledger")).expect("remove");
                copy_all(&folder.join("cut"), &store.join("ledger"));
                words.push("boot=2".into());
            }
            Fate::PutBack | Fate::Cloned | Fate::SignsTwice if turn == 1 => {
                copy_all(&store, &other);
                copy_all(&state, &other_state);
            }
            _ => {}
        }
        let is_away = fate == Fate::PutBack && turn > 1;
        if !is_away {
            let (truth, took) = self.write(name, &store, turn, &words);
            lived.made_s += took;
            lived.truths.extend((fate != Fate::Silent).then_some(truth));
        }
        if turn == 0 {
            self.enrol(name, &store);
        }
        if fate == Fate::Silent {
            return lived;
        }
        lived.shipped_s += self.ship(&store, &state, &folder.join("outbox"));
        let goes_apart = match fate {
            Fate::Cloned | Fate::SignsTwice => turn > 0,
            Fate::PutBack => turn > 1,
            _ => false,
        };
        if goes_apart {
            let boot = if fate == Fate::SignsTwice { 1 } else { 2 };
            words.push(format!("boot={boot}"));
            words.push("records=700".into());
            self.write(name, &other, turn, &words);
            self.ship(&other, &other_state, &folder.join("other-outbox"));
        }
        if fate == Fate::Forged && turn == 1 {
            // Another key, the same name.
            self.write(name, &other, turn, &["ends=1".to_owned()]);
            self.ship(&other, &other_state, &folder.join("other-outbox"));
        }
        lived
    }

    /// A turn of all of them, some at a time; what they did is told in the order of their names.
    fn all_turn(&mut self, fates: &[(String, Fate)], turn: u64) {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let fleet = &*self;
        thread::scope(|scope| {
            for _ in 0..fleet.plan.at_once.max(1) {
                scope.spawn(|| {
                    while let Some((name, fate)) = fates.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let lived = fleet.turn(name, *fate, turn);
                        done.lock().expect("nobody panicked").insert(name.clone(), lived);
                    }
                });
            }
        });
        for (name, lived) in done.into_inner().expect("nobody panicked") {
            self.took[0] += lived.made_s;
            self.took[1] += lived.shipped_s;
            for truth in lived.truths {
                self.truth.read(&truth);
            }
            if self.fates.get(&name) == Some(&Fate::Loses) && turn == 1 {
                self.lose(&name, &self.folder(&name).join("store"));
            }
        }
    }

    fn enrol(&self, name: &str, store: &Path) {
        let key = self.folder(name).join("key.pub");
        let told = run(Command::new(&self.programs.fleet).arg("enrol").arg("--store").arg(store));
        fs::write(&key, told.stdout).expect("write a key");
        let stations = self.root.join("stations");
        let mut enrol = Command::new(&self.programs.fleet);
        run(enrol.arg("enrol").arg("--add").arg(&key).arg("--stations").arg(stations));
    }

    pub fn ship_command(&self, store: &Path, state: &Path, outbox: &Path) -> Command {
        let mut ship = Command::new(&self.programs.fleet);
        ship.arg("ship").arg("--store").arg(store).arg("--state").arg(state);
        ship.arg("--to").arg(outbox).arg("--once");
        ship
    }

    fn ship(&self, store: &Path, state: &Path, outbox: &Path) -> f64 {
        fs::create_dir_all(outbox).expect("make a directory");
        let mut ship = self.ship_command(store, state, outbox);
        let began = Instant::now();
        let output = run(&mut ship);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{ship:?}: {text}");
        began.elapsed().as_secs_f64()
    }

    /// A segment that has ended is lost on its way, and on the disk; the truth of the lake is without it.
    fn lose(&mut self, name: &str, store: &Path) {
        use geofenced::fleet::{Entry, shipped::Shipped};
        let entries_of = |segment: u32| -> Vec<Entry> {
            let bytes = fs::read(store.join(format!("ledger/{segment:08}.seg")));
            let bytes = bytes.expect("a segment that has ended");
            let read = Shipped::read(&bytes).expect("a segment");
            read.blocks.iter().flat_map(|it| it.entries(&bytes).expect("its entries")).collect()
        };
        let (before, gone, after) = (entries_of(1), entries_of(2), entries_of(3));
        let flows = |entries: &[Entry]| -> Vec<(u128, u32)> {
            let of = entries.iter().filter_map(|it| match it {
                Entry::Flow(it) => Some((it.egress.flow.0, it.egress.revision)),
                _ => None,
            });
            of.collect()
        };
        let (kept_before, kept_after) = (flows(&before), flows(&after));
        let mut states = 0;
        for entry in gone {
            let record = match entry {
                Entry::Flow(record) => record,
                Entry::Rollup(it) => {
                    self.truth.forget_rollup(name, it.hour.0);
                    continue;
                }
                _ => continue,
            };
            states += 1;
            let egress = &record.egress;
            let before = kept_before.contains(&(egress.flow.0, 0));
            let after = kept_after.contains(&(egress.flow.0, 1));
            assert!(
                !before && !after,
                "a flow lies across the end of a segment: choose another seed"
            );
            self.truth.forget(name, &record);
        }
        assert!(states > 0, "nothing is lost with it");
        fs::remove_file(store.join("ledger/00000002.seg")).expect("remove");
        self.lost.insert(name.to_owned(), states);
    }

    /// Carries what is new between boxes and ground: loses, holds back and repeats.
    fn carry(&mut self, name: &str, outbox: &str, is_reliable: bool) {
        use std::os::unix::fs::MetadataExt as _;
        let (from, to) = (self.folder(name).join(outbox), self.root.join("inbox"));
        let loses = self.fates.get(name) == Some(&Fate::Loses);
        let is_lost_for_good = |path: &Path| {
            loses
                && path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("00000002-"))
        };
        let mut paths = files(&from);
        self.rng.shuffle(&mut paths);
        for path in paths {
            let about = fs::metadata(&path).expect("an object");
            let now = (about.ino(), about.len());
            let within = path.strip_prefix(&from).expect("within the box").to_owned();
            if within.ends_with("answer.json") || is_lost_for_good(&path) {
                continue;
            }
            let is_new = self.carried.get(&path) != Some(&now);
            let is_repeated = self.rng.u32(..self.plan.one_in) == 0;
            if !is_new && !is_repeated {
                continue;
            }
            if is_new && !is_reliable {
                if self.rng.u32(..self.plan.one_in) == 0 {
                    // Nobody knows that it was lost.
                    self.carried.insert(path.clone(), now);
                    continue;
                }
                if self.rng.u32(..self.plan.one_in) == 0 {
                    continue;
                }
            }
            let target = to.join(&within);
            fs::create_dir_all(target.parent().expect("a folder")).expect("make a directory");
            // An object never changes: to link it is to copy it, at once and without room.
            let _ = fs::remove_file(&target);
            fs::hard_link(&path, &target).expect("carry");
            self.carried.insert(path, now);
        }
        for origin in [name.to_owned(), format!("{name}%2F2")] {
            let answer = to.join(&origin).join("answer.json");
            if answer.is_file() {
                let back = from.join(&origin);
                fs::create_dir_all(&back).expect("make a directory");
                fs::copy(&answer, back.join("answer.json")).expect("copy");
            }
        }
    }

    pub fn collect_command(&self, lake: &Path) -> Command {
        let mut collect = Command::new(&self.programs.fleet);
        collect.arg("collect").arg("--from").arg(self.root.join("inbox"));
        collect.arg("--lake").arg(lake).arg("--stations").arg(self.root.join("stations"));
        collect
    }

    pub fn collect(&mut self) -> Output {
        let began = Instant::now();
        let output = run(&mut self.collect_command(&self.lake()));
        self.took[2] += began.elapsed().as_secs_f64();
        output
    }

    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    /// All of it; `each` is told of each turn.
    pub fn live(&mut self, each: &mut dyn FnMut(u64)) {
        let fates: Vec<(String, Fate)> =
            self.fates.iter().map(|(name, fate)| (name.clone(), *fate)).collect();
        for turn in 0..self.plan.turns {
            self.all_turn(&fates, turn);
            for (name, fate) in &fates {
                let is_away = *fate == Fate::Offline && turn + 1 < self.plan.turns;
                // What they lose can't be sent again.
                let is_reliable = matches!(fate, Fate::RolledBack | Fate::PutBack);
                if *fate != Fate::Silent && !is_away {
                    self.carry(name, "outbox", is_reliable);
                }
            }
            self.collect();
            self.others(&fates);
            each(turn);
        }
        self.settle(&fates);
    }

    /// What others sent in their names comes after what they sent themselves.
    fn others(&mut self, fates: &[(String, Fate)]) {
        for (name, _) in fates {
            if self.folder(name).join("other-outbox").is_dir() {
                self.carry(name, "other-outbox", true);
            }
        }
        self.collect();
    }

    /// The link holds at last: what was lost goes once more.
    fn settle(&mut self, fates: &[(String, Fate)]) {
        for _ in 0..3 {
            for (name, fate) in fates {
                if *fate == Fate::Silent {
                    continue;
                }
                let folder = self.folder(name);
                self.carry(name, "outbox", true);
                self.took[1] +=
                    self.ship(&folder.join("store"), &folder.join("state"), &folder.join("outbox"));
                self.carry(name, "outbox", true);
            }
            self.collect();
            self.others(fates);
        }
    }

    /// What the ground says of each origin.
    pub fn status(&self) -> Vec<serde_json::Value> {
        let mut status = Command::new(&self.programs.fleet);
        status.arg("status").arg("--lake").arg(self.lake()).args(["-o", "json"]);
        let output = run(status.arg("--stations").arg(self.root.join("stations")));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }
}
