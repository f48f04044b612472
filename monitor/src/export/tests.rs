//! Which file a record goes into, and what becomes of files that are not finished.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use serde_json::Value;

use super::*;
use crate::{
    ecs::tests::{bare_record, full_record},
    event::{Country, Host, Record, Rollup, Timestamp, Traffic, Verdict},
};

const DAY: u64 = 86_400_000_000_000;

fn on(day: u64, host: &str) -> Record {
    let mut record = full_record();
    record.egress.started_at = Timestamp(1_800_000_000_000_000_000 + day * DAY);
    record.egress.last_at = record.egress.started_at;
    let mut provenance = record.provenance.as_deref().cloned().unwrap();
    provenance.host = Some(Arc::new(Host { name: host.into(), id: None }));
    record.provenance = Some(Arc::new(provenance));
    record
}

fn exported(form: Form, records: &[Record], root: &Path) -> Vec<(String, u64)> {
    let mut export = Export::new(Folder::new(root).unwrap(), form);
    for record in records {
        export.flow(record, &Intervals::default()).unwrap();
    }
    let folder = export.finish().unwrap();
    let mut files: Vec<(String, u64)> =
        folder.written().iter().map(|it| (it.path.clone(), it.records.unwrap())).collect();
    files.sort();
    folder.name("").unwrap();
    for (path, _) in &files {
        assert!(root.join(path).is_file(), "{path}");
    }
    files
}

#[test]
fn each_day_and_host_has_a_folder_and_who_comes_again_a_further_part() {
    let directory = tempfile::tempdir().unwrap();
    let many: Vec<Record> =
        (0..6).map(|day| on(day, "a")).chain([on(0, "a"), on(0, "b")]).collect();
    for form in [Form::Ndjson, Form::Ocsf, Form::Parquet] {
        let root = directory.path().join(form.extension()).join(format!("{form:?}"));
        fs::create_dir_all(root.parent().unwrap()).unwrap();
        let files = exported(form, &many, &root);
        assert_eq!(files.len(), 8, "{files:?}");
        assert!(files.iter().all(|(_, records)| *records == 1), "{files:?}");
        let first = format!("day=2027-01-15/{}=a/part-00000.{}", form.host_key(), form.extension());
        let again = first.replace("00000", "00001");
        let paths: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert!(paths.contains(&*first) && paths.contains(&*again), "{paths:?}");
    }
}

#[test]
fn the_reference_names_every_column() {
    let page = include_str!("../../../docs/export.md");
    let rollup = Rollup {
        hour: Timestamp(0),
        program: "/bin/x".into(),
        user: None,
        country: Country::Unlocated,
        verdict: Verdict::Approved,
        provenance: None,
        flows: 1,
        traffic: Traffic::default(),
    };
    let mut all = [columns::Columns::default(), columns::Columns::default()];
    rows::flow(&Event::from(&full_record()), &mut all[0]);
    rows::rollup(&RollupEvent::from(&rollup), &mut all[1]);
    // Whatever is there or not, a row has the same columns.
    rows::flow(&Event::from(&bare_record()), &mut all[0]);
    for column in all.iter().flat_map(|it| &it.all) {
        assert!(
            page.contains(&format!("`{}`", column.name)),
            "docs/export.md lacks {}",
            column.name
        );
    }
    assert_eq!(all[0].rows(), 2);
}

#[test]
fn a_hosts_name_is_one_folder_whatever_it_is() {
    assert_eq!(encoded("uav-7.example"), "uav-7.example");
    assert_eq!(encoded("../a/b"), "..%2Fa%2Fb");
    assert_eq!(encoded("Fähre"), "F%C3%A4hre");
    assert!(encoded(&"ä".repeat(120)).len() <= HOST_BYTES);
}

#[test]
fn what_is_not_finished_is_gone_and_what_was_there_before_is_not() {
    let directory = tempfile::tempdir().unwrap();
    for root in [directory.path().to_owned(), directory.path().join("new")] {
        let mut export = Export::new(Folder::new(&root).unwrap(), Form::Ndjson);
        export.flow(&on(0, "a"), &Intervals::default()).unwrap();
        export.flow(&bare_record(), &Intervals::default()).unwrap();
        assert!(root.join("day=2027-01-15/host_name=a/part-00000.ndjson.part").is_file());
        drop(export);
        assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
        assert!(directory.path().is_dir());
    }
    fs::write(directory.path().join("mine"), "").unwrap();
    let refused = Folder::new(directory.path()).unwrap_err();
    assert!(matches!(refused, ExportError::NotEmpty { .. }), "{refused}");
}

#[test]
fn every_field_of_an_event_has_a_place_in_ocsf_or_is_unmapped() {
    let mut record = full_record();
    record.egress.passage.is_malformed = true;
    let event = Event::from(&record);
    let value = ocsf::row(Row::Flow(&event)).unwrap();
    assert_eq!(value["type_uid"], 400_106);
    assert_eq!(value["device"]["hostname"], "uav-7");
    assert_eq!(value["cumulative_traffic"]["bytes_out"], 1500);
    assert_eq!(value["dst_endpoint"]["autonomous_system"]["number"], 64_500);
    assert_eq!(value["actor"]["process"]["file"]["hashes"][0]["algorithm_id"], 3);
    assert_eq!(value["severity_id"], 3, "a violation");
    let text = value.to_string();
    assert!(!text.contains("null") && !text.contains("{}") && !text.contains("[]"), "{text}");
    // Each text of the record is somewhere in the event.
    let source = serde_json::to_value(&event).unwrap();
    let mut todo = vec![&source];
    while let Some(next) = todo.pop() {
        match next {
            Value::Object(members) => {
                let told = |name: &str| ["@timestamp", "start", "end", "last_seen"].contains(&name);
                todo.extend(members.iter().filter(|(name, _)| !told(name)).map(|(_, it)| it));
            }
            Value::Array(items) => todo.extend(items),
            Value::String(word)
                if ["event", "network", "connection", "egress", "ipv4"]
                    .contains(&word.as_str()) => {}
            Value::String(word) => assert!(text.contains(word.as_str()), "{word}: {text}"),
            _ => {}
        }
    }
}
