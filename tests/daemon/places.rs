//! Published addresses of clouds, resolvers, content networks and vendors: each is where, and in
//! whose hands, `tests/fixtures/places.csv` says, and gets the verdict that follows from it.
//!
//! `location` is what the embedded country database says, `operator` the country of control. Where
//! that is not what is published, `why` begins its remark with "doubtful". A row changes only when
//! the data or the list of operators does: look at it then, and at what is published.

use std::{collections::HashMap, net::SocketAddr, path::Path};

use geofenced::inside::{
    config::{Config, Policy},
    judge::judge_address,
    locate::Locator,
};

const FIXTURE: &str = include_str!("../fixtures/places.csv");
const HEAD: [&str; 10] = [
    "address",
    "what",
    "policy",
    "location",
    "operator",
    "anycast",
    "verdict",
    "reason",
    "certainty",
    "why",
];

fn rows() -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_reader(FIXTURE.as_bytes());
    assert_eq!(reader.headers().unwrap(), &HEAD[..]);
    reader.deserialize().map(Result::unwrap).collect()
}

fn policy(name: &str) -> Policy {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies");
    Config::load(&Path::new(folder).join(format!("{name}.toml"))).unwrap().policy
}

#[test]
fn every_published_address_gets_the_verdict_that_its_place_and_its_operator_ask_for() {
    let locator = Locator::open(&Config::builtin().geo, &[]).unwrap();
    let policies: HashMap<_, _> =
        ["eu-only", "five-eyes", "ndaa-848"].map(|name| (name, policy(name))).into();
    let mut wrong = Vec::new();
    for row in rows() {
        let cell = |name: &str| row[name].as_str();
        let address = cell("address").parse().unwrap();
        let place = locator.locate(address);
        let judged = judge_address(&policies[cell("policy")], SocketAddr::new(address, 0), &place);
        let operator = place.operator.as_deref();
        let text = |code: Option<geofenced::inside::event::CountryCode>| {
            code.map(|code| code.to_string()).unwrap_or_default()
        };
        let found = [
            text(place.country.code()),
            text(operator.and_then(|it| it.country)),
            if operator.is_some_and(|it| it.is_anycast) { "yes" } else { "" }.to_owned(),
            judged.verdict.to_string(),
            judged.reason.to_string(),
            judged.certainty.to_string(),
        ];
        let expected = HEAD[3..9].iter().map(|name| cell(name));
        if !expected.clone().eq(found.iter().map(String::as_str)) {
            let expected: Vec<_> = expected.collect();
            wrong.push(format!(
                "{address} {} ({}): expected {expected:?}, found {found:?}, second {:?}, {:?}",
                cell("what"),
                cell("why"),
                place.second,
                operator.and_then(|it| it.asn),
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows\n{}", wrong.len(), rows().len(), wrong.join("\n"));
}

#[test]
fn there_are_200_rows_and_each_says_why() {
    let rows = rows();
    assert!(rows.len() >= 200, "{}", rows.len());
    assert!(rows.iter().all(|row| row["why"].len() > 5));
    let of = |verdict: &str, reason: &str| {
        rows.iter().filter(|row| row["verdict"] == verdict && row["reason"] == reason).count()
    };
    // The case that a country database alone does not see.
    assert!(of("unapproved", "operator") > 40, "{}", of("unapproved", "operator"));
    assert!(of("unapproved", "country") > 40 && of("approved", "operator") > 20);
}
