//! Between station and ground a real S3: `SeaweedFS` on loopback, with keys and signatures as anywhere.

mod weed;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use weed::{Programs, Weed};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_geofenced-fleet"))
}

#[test]
fn a_ledger_goes_through_a_bucket_and_the_cosignature_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let packages = binary().ancestors().nth(2).unwrap().join("tools/python");
    let weed = Weed::start(root, &Programs { fleet: binary().into(), packages });
    let station = binary().parent().unwrap().join("examples/station");
    let mut made = Command::new(station);
    made.arg(root.join("store")).args(["uav-1"]).arg(root.join("truth"));
    assert!(made.args(["records=3000", "segment=16384"]).status().unwrap().success());
    let enrolled =
        Command::new(binary()).arg("enrol").arg("--store").arg(root.join("store")).output();
    fs::write(root.join("stations/uav-1.pub"), enrolled.unwrap().stdout).unwrap();

    let good = |output: Output| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    good(weed.fleet(&["ship", "--to", "s3://fleet/field", "--once"], root));
    let said = good(weed.fleet(&["collect", "--from", "s3://fleet/field", "--remove"], root));
    assert!(said.contains("segments taken"), "{said}");
    // What was taken is gone there, and the station hears of it.
    let said = good(weed.fleet(&["ship", "--to", "s3://fleet/field", "--once", "-v"], root));
    assert!(said.contains("the ground has all below block"), "{said}");
    let cosigned = fs::read_to_string(root.join("state/uav-1.cosigned")).unwrap();
    assert!(cosigned.contains("\u{2014} ground "), "{cosigned}");
    let said = good(weed.fleet(&["collect", "--from", "s3://fleet/field"], root));
    assert!(!said.contains("refused"), "{said}");

    // Somebody else's secret opens nothing, and says so.
    let mut other = Command::new(binary());
    other.args(["ship", "--to", "s3://fleet/field", "--once", "--store"]).arg(root.join("store"));
    other.arg("--state").arg(root.join("other")).env("AWS_ENDPOINT", &weed.endpoint);
    other.envs([("AWS_ACCESS_KEY_ID", "field"), ("AWS_SECRET_ACCESS_KEY", "wrong")]);
    let refused = other.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("s3://fleet/"), "{refused:?}");
}
