//! Ground truth: what was really sent, by whom, as one line of JSON. It measures nothing itself.

use std::{borrow::Cow, io::Write, net::SocketAddr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Kind;

/// One flow as the contract should tell it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// Canonical: a v4-mapped address is written as IPv4.
    pub destination: String,
    /// 0 where the transport has none.
    pub port: u16,
    /// The contract's `network.transport`.
    pub transport: Cow<'static, str>,
    /// `attempt` or `sent`.
    pub phase: Cow<'static, str>,
    pub payload_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
}

impl Flow {
    pub(crate) fn sent(to: SocketAddr, transport: &'static str, payload_bytes: usize) -> Self {
        Self {
            destination: to.ip().to_canonical().to_string(),
            port: to.port(),
            transport: transport.into(),
            phase: "sent".into(),
            payload_bytes: payload_bytes as u64,
            source_port: None,
        }
    }

    pub(crate) fn from(self, local: SocketAddr) -> Self {
        Self { source_port: Some(local.port()), ..self }
    }

    pub(crate) fn attempt(self) -> Self {
        Self { phase: "attempt".into(), payload_bytes: 0, ..self }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// Who sent.
    pub pid: u32,
    /// Who made the socket, if not the one who sent.
    pub creator: Option<u32>,
    /// The flows, unless there are too many to tell.
    pub flows: Vec<Flow>,
    pub flows_made: u64,
    /// What a peer received.
    pub received_bytes: Option<u64>,
}

impl Truth {
    pub(crate) fn of(flows: Vec<Flow>) -> Self {
        let flows_made = flows.len() as u64;
        Self { pid: std::process::id(), creator: None, flows, flows_made, received_bytes: None }
    }

    pub(crate) fn made(flows_made: u64) -> Self {
        Self { flows_made, ..Self::of(Vec::new()) }
    }

    pub(crate) fn received(bytes: u64) -> Self {
        Self { received_bytes: Some(bytes), ..Self::of(Vec::new()) }
    }

    pub(crate) fn print(&self, kind: Kind) {
        let executable = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        let mut line = serde_json::json!({
            "kind": name(kind),
            "pid": self.pid,
            "executable": executable.to_string_lossy(),
            "flows_made": self.flows_made,
            "flows": self.flows,
        });
        if let Some(creator) = self.creator {
            line["creator"] = creator.into();
        }
        if let Some(bytes) = self.received_bytes {
            line["received_bytes"] = bytes.into();
        }
        say(&line);
    }
}

/// Tells the one who waits for it where a server listens.
pub(crate) fn listening(at: SocketAddr) {
    say(&serde_json::json!({ "listening": at.to_string() }));
}

/// Every socket is open, and not used yet.
pub(crate) fn holding() {
    say(&serde_json::json!({ "holding": true }));
}

pub(crate) fn name(kind: Kind) -> String {
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        eprintln!("egress: can't print the truth: {error}");
        std::process::exit(1);
    }
}
