//! A question to a resolver, or its answer, in Elastic Common Schema names.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Container, HostFields, ProcessFields, Service, Text, Time, UserFields,
    columns::cell,
    record::{of_host, process_fields, text},
};
use crate::event::{Lookup, Process};

/// One lookup as one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupEvent<'a> {
    #[serde(rename = "@timestamp")]
    pub timestamp: Time,
    pub event: LookupMeta<'a>,
    pub dns: Dns<'a>,
    pub network: LookupNetwork<'a>,
    /// The resolver.
    pub destination: Resolver,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserFields<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geofenced: Option<Asker<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostFields<'a>>,
}

/// What is known of the program besides its path, as in [`super::Geofenced`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_claimed: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable_of_host: Option<bool>,
}

fn asker(process: &Process) -> Option<Asker<'_>> {
    let executable_claimed = text(process.executable_claimed.as_ref());
    let executable_of_host = of_host(process);
    (executable_claimed.is_some() || executable_of_host.is_some())
        .then_some(Asker { executable_claimed, executable_of_host })
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupMeta<'a> {
    pub kind: Text<'a>,
    pub category: Vec<Text<'a>>,
    pub r#type: Vec<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns<'a> {
    /// `query` or `answer`.
    pub r#type: Text<'a>,
    pub question: Question<'a>,
    /// Of an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_ip: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question<'a> {
    pub name: Text<'a>,
    pub r#type: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupNetwork<'a> {
    pub transport: Text<'a>,
    pub protocol: Text<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    pub ip: IpAddr,
    pub port: u16,
}

impl<'a> From<&'a Lookup> for LookupEvent<'a> {
    fn from(lookup: &'a Lookup) -> Self {
        let process = lookup.sender.process();
        Self {
            timestamp: Time(lookup.at),
            event: LookupMeta {
                kind: "event".into(),
                category: vec!["network".into()],
                r#type: vec!["protocol".into(), "info".into()],
            },
            dns: Dns {
                r#type: if lookup.answer.is_some() { "answer" } else { "query" }.into(),
                question: Question {
                    name: lookup.name.as_ref().into(),
                    r#type: lookup.kind.as_ref().into(),
                },
                resolved_ip: lookup.answer.clone().unwrap_or_default(),
            },
            network: LookupNetwork {
                transport: lookup.transport.to_string().into(),
                protocol: "dns".into(),
            },
            destination: Resolver { ip: lookup.server.ip(), port: lookup.server.port() },
            process: process.map(process_fields),
            user: process.map(|it| UserFields {
                id: it.user.id.to_string().into(),
                name: text(it.user.name.as_ref()),
            }),
            container: process
                .and_then(|it| text(it.container.as_ref()))
                .map(|id| Container { id }),
            service: process.and_then(|it| text(it.unit.as_ref())).map(|name| Service { name }),
            geofenced: process.and_then(asker),
            host: lookup.host.as_deref().map(HostFields::from),
        }
    }
}

/// The columns of the CSV form, each the dotted name of a field.
pub const LOOKUP_COLUMNS: [&str; 20] = [
    "@timestamp",
    "dns.type",
    "dns.question.name",
    "dns.question.type",
    "dns.resolved_ip",
    "network.transport",
    "destination.ip",
    "destination.port",
    "process.pid",
    "process.name",
    "process.executable",
    "user.id",
    "user.name",
    "container.id",
    "service.name",
    "process.hash.sha256",
    "geofenced.executable_claimed",
    "geofenced.executable_of_host",
    "host.name",
    "host.id",
];

/// The values of [`LOOKUP_COLUMNS`]; absent ones are empty, lists joined by spaces.
pub fn lookup_row(event: &LookupEvent<'_>) -> Result<Vec<String>, serde_json::Error> {
    let value: Value = serde_json::to_value(event)?;
    Ok(LOOKUP_COLUMNS.iter().map(|column| cell(&value, column)).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::full_record, *};
    use crate::event::{Timestamp, Transport};

    fn lookup() -> Lookup {
        Lookup {
            at: Timestamp::from_secs(1_800_000_000),
            sender: full_record().sender.clone(),
            server: "192.0.2.53:53".parse().unwrap(),
            transport: Transport::UDP,
            name: "example.org".into(),
            kind: "A".into(),
            answer: Some(vec!["203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap()]),
            host: full_record().provenance.as_ref().unwrap().host.clone(),
        }
    }

    #[test]
    fn a_question_and_its_answer_are_told_apart_and_read_back_as_written() {
        let answer = lookup();
        let question = Lookup { answer: None, ..lookup() };
        for (lookup, kind) in [(&answer, "answer"), (&question, "query")] {
            let text = serde_json::to_string(&LookupEvent::from(lookup)).unwrap();
            assert!(text.contains(&format!(r#""dns":{{"type":"{kind}""#)), "{text}");
            assert!(!text.contains("null"), "{text}");
            let back: LookupEvent<'static> = serde_json::from_str(&text).unwrap();
            assert_eq!(back, LookupEvent::from(lookup));
        }
    }

    #[test]
    fn every_column_has_its_field() {
        let row = lookup_row(&LookupEvent::from(&lookup())).unwrap();
        for (column, value) in LOOKUP_COLUMNS.iter().zip(&row) {
            assert!(!value.is_empty(), "{column}");
        }
        assert_eq!(row[4], "203.0.113.1 203.0.113.2");
    }
}
