//! A small fleet in which everything goes wrong once: what was made is what is in the lake, but for what is named
//! as missing; who forged, who was rolled back and who was cloned is named; and others' engines answer as it was.

mod simulation;

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use simulation::{Fate, Fleet, Plan, Programs, answers::Rows, asked::Engines};

const PLAN: Plan = Plan {
    stations: 14,
    turns: 3,
    days_a_turn: 2,
    records_a_day: 1_400,
    segment_bytes: 16 << 10,
    seed: 11,
    one_in: 12,
    violating: 1,
    at_once: 2,
};

/// The one that all tests here look at: it is made once.
fn fleet() -> &'static Mutex<Fleet> {
    static FLEET: OnceLock<Mutex<Fleet>> = OnceLock::new();
    FLEET.get_or_init(|| {
        // In memory, where there is some: a fleet syncs a great many small files.
        let memory = Path::new("/dev/shm");
        let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let root = tempfile::tempdir_in(within).unwrap().keep();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_geofenced-fleet"));
        let station = binary.parent().unwrap().join("examples/station");
        let mut fleet = Fleet::new(&root, PLAN, Programs { fleet: binary, station });
        fleet.live(&mut |_| {});
        Mutex::new(fleet)
    })
}

fn with<T>(look: impl FnOnce(&Fleet) -> T) -> T {
    look(&fleet().lock().unwrap_or_else(PoisonError::into_inner))
}

fn engines() -> Engines {
    let binary = Path::new(env!("CARGO_BIN_EXE_geofenced-fleet"));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    Engines {
        packages: binary.ancestors().nth(2).unwrap().join("tools/python"),
        repository: repository.to_owned(),
    }
}

fn compare(engine: &str) {
    with(|fleet| {
        engines().compare(engine, fleet);
    });
}

#[test]
fn duckdb_answers_twenty_questions_as_it_was() {
    compare("duckdb");
}

#[test]
fn clickhouse_answers_twenty_questions_as_it_was() {
    compare("clickhouse");
}

#[test]
fn clickhouse_answers_twenty_questions_of_the_files_as_it_was() {
    compare("clickhouse-files");
}

#[test]
fn each_record_is_in_the_lake_once_and_what_is_not_is_named() {
    with(|fleet| {
        let sql = "select host_name, count(*), count(distinct (ledger_origin, ledger_block, ledger_entry)), \
                   count(distinct (event_id, geofenced_revision)) from states group by 1 order by 1";
        let told = engines().rows(&fleet.lake(), sql);
        let mut seen = 0;
        for row in &told {
            let counts: Vec<u64> = row[1..].iter().map(|it| it.parse().unwrap()).collect();
            // What was lost for good is no longer among them.
            let made = fleet.truth.states(&row[0]);
            assert_eq!(counts, [made; 3], "{}: made {made}", row[0]);
            seen += 1;
        }
        assert_eq!(seen, PLAN.stations - 1, "all but the silent one");
        assert!(fleet.lost.values().all(|states| *states > 0) && fleet.lost.len() == 1);
        for status in fleet.status() {
            let number = |key: &str| status[key].as_u64().unwrap();
            let missing = status["missing"].as_array().unwrap().iter();
            let missing: u64 =
                missing.map(|it| it[1].as_u64().unwrap() - it[0].as_u64().unwrap()).sum();
            assert_eq!(number("signed"), number("held") + missing, "{status}");
        }
    });
}

#[test]
fn a_report_tells_of_each_station_and_of_each_flow_that_went_where_it_must_not() {
    with(|fleet| {
        let report = |form: &str| {
            let mut report = std::process::Command::new(env!("CARGO_BIN_EXE_geofenced-fleet"));
            report.arg("report").arg("--lake").arg(fleet.lake()).args(["-o", form]);
            report.arg("--stations").arg(fleet.root.join("stations"));
            report.args(["--since", "2026-10-01", "--until", "2026-10-07"]);
            let output = report.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let told: serde_json::Value = serde_json::from_str(&report("json")).unwrap();
        let flows: u64 = told["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it[1]["flows"].as_u64().unwrap())
            .sum();
        assert_eq!(flows, fleet.truth.sums.values().map(|it| it.violations).sum::<u64>());
        for station in told["stations"].as_array().unwrap() {
            let name = station["station"].as_str().unwrap();
            let fate = fleet.fates[name];
            if fate == Fate::Silent {
                assert!(station["watched_seconds"].is_null(), "{station}");
            } else if simulation::answers::is_simple(fate) {
                let watched = 6 * 86_400 - fleet.truth.unwatched_s(name);
                assert_eq!(station["watched_seconds"], watched, "{name}");
            }
        }
        let page = report("html");
        assert!(page.contains("signs-twice") && page.contains("PJSC Rostelecom"), "{page}");
        assert!(report("text").contains("what is not there proves nothing"));
    });
}

fn state<'s>(all: &'s [serde_json::Value], origin: &str) -> &'s serde_json::Value {
    all.iter().find(|it| it["origin"] == origin).unwrap_or_else(|| panic!("{origin}"))
}

#[test]
fn who_forged_was_cloned_signed_twice_was_put_back_or_rolled_back_is_named() {
    with(|fleet| {
        let all = fleet.status();
        for (fate, word) in [
            (Fate::Plain, "whole"),
            (Fate::Offline, "whole"),
            (Fate::Rotates, "whole"),
            (Fate::Forged, "whole"),
            (Fate::Loses, "missing"),
            (Fate::RolledBack, "rolled-back"),
            (Fate::PutBack, "put-back"),
            (Fate::Cloned, "cloned"),
            (Fate::SignsTwice, "signs-twice"),
            (Fate::Silent, "silent"),
        ] {
            let station = state(&all, &of(fleet, fate));
            assert_eq!(station["state"], word, "{fate:?}: {station:#}");
        }
        let next = format!("{}/2", of(fleet, Fate::RolledBack));
        assert_eq!(state(&all, &next)["state"], "whole");
        let forged = state(&all, &of(fleet, Fate::Forged));
        let reasons: Vec<String> = forged["refused"]
            .as_object()
            .unwrap()
            .values()
            .map(|it| it.as_str().unwrap().split(':').next().unwrap().to_owned())
            .collect();
        assert!(reasons.contains(&"unknown-key".to_owned()), "{reasons:?}");
        assert!(reasons.contains(&"altered-block".to_owned()), "{reasons:?}");
        for (name, fate) in &fleet.fates {
            let refused = state(&all, name)["refused"].as_object().unwrap();
            let is_clean =
                !matches!(fate, Fate::Forged | Fate::PutBack | Fate::Cloned | Fate::SignsTwice);
            assert_eq!(refused.is_empty(), is_clean, "{name} {fate:?}: {refused:?}");
        }
    });
}

#[test]
fn a_collector_that_is_killed_anywhere_goes_on_and_holds_each_record_once() {
    with(|fleet| {
        let tries: u32 =
            std::env::var("FLEET_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(10);
        let lake = fleet.root.join("killed");
        std::fs::create_dir_all(&lake).unwrap();
        let mut rng = fastrand::Rng::with_seed(u64::from(tries));
        for _ in 0..tries {
            let mut collect = fleet.collect_command(&lake);
            let child = collect.stderr(Stdio::null()).spawn().unwrap();
            // Where it is then is as it comes: the sooner ends are in the middle of things.
            std::thread::sleep(Duration::from_millis(rng.u64(5..400)));
            kill(child);
        }
        let ended = fleet.collect_command(&lake).output().unwrap();
        assert!(ended.status.code().is_some_and(|it| it == 0 || it == 4), "{ended:?}");
        let sql = "select ledger_origin, count(*), count(distinct (ledger_block, ledger_entry)), \
                   sum(hash(event_id, source_bytes, ledger_block, ledger_entry)) \
                   from states group by 1 order by 1";
        let unforked = |mut rows: Rows| {
            // Which of two ledgers is believed is a matter of which came first: here both are there.
            let twice = [Fate::PutBack, Fate::Cloned, Fate::SignsTwice].map(|it| of(fleet, it));
            rows.retain(|row| !twice.contains(&row[0]));
            rows
        };
        let killed = unforked(engines().rows(&lake, sql));
        let whole = unforked(engines().rows(&fleet.lake(), sql));
        assert_eq!(killed, whole);
        assert!(killed.iter().all(|row| row[1] == row[2]), "{killed:?}");
    });
}

/// A station that this happens to.
fn of(fleet: &Fleet, fate: Fate) -> String {
    let found = fleet.fates.iter().find(|(_, it)| **it == fate);
    found.expect("a station of that fate").0.clone()
}

/// Ends a collector wherever it is.
fn kill(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().expect("it ends");
}
