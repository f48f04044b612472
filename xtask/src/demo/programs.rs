//! The programs of the demo: copies of the generator under names of their own, each with one kind
//! of egress.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Stop, tool, world::World};

/// Where TCP programs find someone listening.
const PORT: &str = "443";

/// A name, and the generator's words for what it does.
struct Program {
    name: &'static str,
    words: &'static str,
}

/// The policy of [`super::daemon`] says which country each of these addresses is in.
const PROGRAMS: [Program; 9] = [
    Program { name: "photo-sync", words: "tcp-connect-send --to 203.0.113.10:443 --bytes 48000" },
    Program { name: "chat-client", words: "tcp-connect-send --to [2001:db8:f::5]:443 --bytes 900" },
    Program { name: "backup", words: "sendfile --to 198.51.100.7:443 --bytes 200000" },
    Program { name: "old-library", words: "tcp-mapped --to 203.0.113.11:443 --bytes 500" },
    Program { name: "telemetry", words: "one-shot --to 203.0.113.77:8125 --bytes 120" },
    Program { name: "game", words: "io-uring-udp --to 203.0.113.50:3074 --bytes 64" },
    Program { name: "camera", words: "ping --to 203.0.113.1" },
    Program { name: "tunneller", words: "raw-protocol --to 2001:db8:f::9 --bytes 256" },
    Program { name: "resolver", words: "udp-connect-only --to 203.0.113.99:53" },
];

/// Each name, and the bytes of payload it sends.
pub fn sent() -> impl Iterator<Item = (&'static str, u64)> {
    PROGRAMS.iter().map(|Program { name, words }| {
        let bytes = words.split_whitespace().skip_while(|word| *word != "--bytes").nth(1);
        (*name, bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0))
    })
}

/// Runs each to its end, one after the other.
pub fn run_all(world: &World, generator: &Path, directory: &Path, stop: &Stop) -> Result<()> {
    let _listener = Listener::start(world, generator)?;
    for program in &PROGRAMS {
        stop.check()?;
        // A name of its own needs a file of its own.
        let path = directory.join(program.name);
        fs::copy(generator, &path)?;
        let path = path.to_str().context("the temporary directory is not UTF-8")?;
        tool(world.host.command(path).args(program.words.split_whitespace()))
            .with_context(|| program.name)?;
    }
    Ok(())
}

/// The generator as a server in the internet, for every program that speaks TCP.
struct Listener {
    child: Child,
    /// Open as long as it may print.
    output: BufReader<ChildStdout>,
}

impl Listener {
    fn start(world: &World, generator: &Path) -> Result<Listener> {
        let count = PROGRAMS.iter().filter(|program| program.words.contains(":443")).count();
        let path = generator.to_str().context("the checkout's path is not UTF-8")?;
        let mut command = world.internet.command(path);
        let listen = format!("[::]:{PORT}");
        command.args(["serve-tcp", "--listen", &listen, "--count", &count.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let Some(stdout) = child.stdout.take() else { bail!("the server has no output") };
        let mut listener = Listener { child, output: BufReader::new(stdout) };
        let mut line = String::new();
        listener.output.read_line(&mut line)?;
        ensure!(line.contains("listening"), "the server does not listen on {listen}: {line}");
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use super::*;

    #[test]
    fn every_program_sends_to_documentation_addresses_only() {
        for Program { name, words } in &PROGRAMS {
            let to = words.split_whitespace().skip_while(|word| *word != "--to").nth(1).unwrap();
            let address: IpAddr = to
                .parse::<std::net::SocketAddr>()
                .map(|to| to.ip())
                .or_else(|_| to.parse())
                .unwrap();
            let documentation = ["203.0.113.", "198.51.100.", "2001:db8:f::"];
            let known = documentation.iter().any(|net| address.to_string().starts_with(net));
            assert!(known, "{name} sends to {address}");
        }
    }

    #[test]
    fn what_is_sent_is_read_from_the_words() {
        assert!(sent().any(|it| it == ("backup", 200_000)));
        assert!(sent().any(|it| it == ("resolver", 0)));
    }

    #[test]
    fn names_are_distinct_and_fit_the_kernels_fifteen_bytes() {
        let names: BTreeSet<&str> = sent().map(|(name, _)| name).collect();
        assert_eq!(names.len(), PROGRAMS.len());
        assert!(names.iter().all(|name| name.len() <= 15));
    }
}
