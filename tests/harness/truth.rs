//! What the generator said it did.

use std::net::IpAddr;

use serde::Deserialize;

/// One run of the generator: what must show up, and nothing else.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    pub kind: String,
    pub pid: u32,
    /// Who made the socket, if not the one who sent.
    pub creator: Option<u32>,
    pub executable: String,
    pub flows_made: u64,
    pub flows: Vec<TruthFlow>,
    /// Of peers.
    pub received_bytes: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TruthFlow {
    pub destination: IpAddr,
    pub port: u16,
    pub transport: String,
    pub phase: String,
    pub payload_bytes: u64,
    pub source_port: Option<u16>,
}

impl Truth {
    pub(crate) fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no truth: {error}: {line:?}"))
    }
}
