//! Single programs on the ground of the tests of who sent, and the record of one destination.

use std::process::Command;

use harness::{Programs, Running, Side, text};
use serde_json::Value;

use crate::ground::Ground;

impl Ground {
    /// Does it while the daemon watches.
    pub(crate) fn watched(&self, test: impl FnOnce()) {
        self.watched_by(&mut self.site.command(&["run"]), test);
    }

    /// Runs a program to its end; gives back its pid.
    pub(crate) fn run(&self, program: &str, words: &str) -> u64 {
        Programs::run(&self.lab, program, words).into()
    }

    /// Starts a program.
    pub(crate) fn start(&self, program: &str, words: &str) -> Running {
        Running::start(&mut Programs::command(&self.lab, program, words))
    }

    /// Starts a program in the internet.
    pub(crate) fn start_outside(&self, program: &str, words: &str) -> Running {
        let mut command = Command::new(program);
        command.args(words.split_whitespace());
        Running::start(self.lab.internet.admit(&mut command))
    }

    /// A TCP server in the internet that reads `count` connections, and its port.
    pub(crate) fn sink(&self, count: usize) -> (Running, u16) {
        let words = format!("serve-tcp --listen [::]:0 --count {count}");
        let mut sink = self.lab.start(Side::Internet, &words);
        let port = sink.listening().port();
        (sink, port)
    }

    /// The record of one destination, once it tells of a packet.
    pub(crate) fn told(&self, to: &str) -> Value {
        let (address, port) = to.rsplit_once(':').expect("an address and a port");
        let ask = || self.site.events(&["--destination", address, "--port", port]);
        let told = harness::eventually(|| {
            ask().into_iter().find(|event| text(event, "/geofenced/phase") == "sent")
        });
        told.unwrap_or_else(|| panic!("nothing to {to}: {:?}\n{}", ask(), self.site.log()))
    }
}
