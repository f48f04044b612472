//! The page itself: that it asks for nothing, tells what the JSON tells, can be read aloud, and that no
//! name becomes markup.

use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::{
    coverage::Gap,
    event::{Process, Sender, Verdict},
    printable::is_unsafe,
    report::{
        Facts,
        tests::{AWS, To, blind, facts, flow},
    },
};

const HOSTILE: &str =
    "<script>alert(1)</script>\"'&<img src=x onerror=y>\u{202e}\0\u{1b}[2J\u{200b}-->]]>";

/// Some of everything.
fn some() -> Facts {
    let cn = To {
        address: "203.0.113.7:80",
        country: "CN",
        operator: "Example Cloud",
        led_from: "RU",
        verdict: Verdict::Unapproved,
        ..AWS
    };
    let gf = To { address: "203.0.113.9:443", country: "GF", verdict: Verdict::Unapproved, ..AWS };
    let records = [flow(0, &AWS), flow(1, &cn), flow(2, &cn), flow(3, &gf)];
    let mut facts = facts(&records, &[], &["nothing to CN", "nothing to KP"]);
    facts.coverage.gaps.push(blind());
    facts
}

/// What is between tags, in order.
fn texts(page: &str) -> Vec<&str> {
    let after = page.split('<').skip(1).filter_map(|part| part.split_once('>'));
    after.map(|(_, text)| text.trim()).filter(|text| !text.is_empty()).collect()
}

/// Each tag as it is written, its name first.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag).collect()
}

fn name(tag: &str) -> &str {
    tag.split_whitespace().next().unwrap_or_default()
}

#[test]
fn no_name_that_others_choose_becomes_markup_or_is_hidden() {
    let hostile: Arc<str> = HOSTILE.into();
    let mut record = flow(0, &To { verdict: Verdict::Unapproved, operator: HOSTILE, ..AWS });
    let findings = Arc::make_mut(&mut record.findings);
    findings.place.domain = Some(crate::event::Domain {
        name: Arc::clone(&hostile),
        source: crate::event::DomainSource::Dns,
        is_trusted: false,
    });
    findings.judgement.reason = crate::event::Reason::Rule(Arc::clone(&hostile));
    let Sender::Process { process, .. } = &mut findings.sender else { panic!("no process") };
    let Process { name, executable, executable_claimed, unit, container, user, .. } =
        Arc::make_mut(process);
    *name = Arc::clone(&hostile);
    for text in [executable, executable_claimed, unit, container, &mut user.name] {
        *text = Some(Arc::clone(&hostile));
    }
    let mut facts = facts(&[record], &[], &[]);
    let some = || Some(HOSTILE.to_owned());
    (facts.scope.host, facts.scope.kernel, facts.scope.tier) = (some(), some(), some());
    facts.scope.warnings = vec![HOSTILE.to_owned()];
    facts.scope.probes = vec![super::super::Probe { name: HOSTILE.to_owned(), attached: false }];
    let (stage, reason) = (HOSTILE.to_owned(), HOSTILE.to_owned());
    facts.coverage.gaps = vec![Gap { stage, reason, ..blind() }];
    facts.devices = facts.programs.clone();
    facts.devices[0].name = some();
    facts.policies.policies[0].text = some();
    facts.databases[0].name = HOSTILE.to_owned();
    facts.databases[0].date = some();
    let page = page(&Report::new(facts));
    let hidden: BTreeSet<char> = page.chars().filter(|c| is_unsafe(*c) && *c != '\n').collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    // As text it is there, again and again; as a tag or an attribute never.
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;'&amp;&lt;img src=x onerror=y&gt;\\u{202e}\\u{0}\\u{1b}[2J\\u{200b}--&gt;]]&gt;";
    assert!(page.matches(escaped).count() > 15, "{}", page.matches(escaped).count());
    for tag in tags(&page) {
        assert!(!["script", "img", "/script"].contains(&self::name(tag)), "{tag}");
        assert!(!tag.contains("onerror"), "{tag}");
    }
    assert!(!page.contains("<script") && !page.contains("<img"));
}

#[test]
fn the_page_has_no_script_and_asks_for_nothing() {
    let page = page(&Report::new(some()));
    for tag in tags(&page) {
        let banned =
            ["script", "link", "img", "iframe", "object", "embed", "use", "image", "base", "a"];
        assert!(!banned.contains(&name(tag)), "{tag}");
        for attribute in [" src=", " href=", " onload=", " onclick=", " style=", " action="] {
            assert!(!tag.contains(attribute), "{tag}");
        }
    }
    let style = page.split("<style>").nth(1).and_then(|it| it.split("</style>").next()).unwrap();
    assert!(!style.contains("http") && !style.contains("@import"));
    let urls = style.matches("url(").count();
    assert_eq!((urls, style.matches("url(#hatch)").count()), (1, 1), "of its own parts alone");
    assert!(page.len() < 150_000, "{} bytes", page.len());
}

/// The first text of each cell of each row of the table with this caption, numbers without commas.
fn cells(page: &str, caption: &str) -> Vec<Vec<String>> {
    let (_, table) = page.split_once(&format!("<caption>{caption}</caption>")).unwrap();
    let body = table.split("<tbody>").nth(1).and_then(|it| it.split("</tbody>").next()).unwrap();
    let row = |row: &str| {
        let cells = row.split("<td").map(|cell| format!("<td{cell}"));
        cells
            .map(|cell| texts(&cell).first().copied().unwrap_or_default().replace(',', ""))
            .collect()
    };
    body.split("<tr").skip(1).map(row).collect()
}

fn numbers(value: &serde_json::Value, pointers: &[&str]) -> Vec<String> {
    pointers.iter().map(|it| value.pointer(it).unwrap().to_string()).collect()
}

#[test]
fn the_page_tells_the_numbers_of_the_json() {
    let report = Report::new(some());
    let page = page(&report);
    let json = serde_json::to_value(&report).unwrap();
    let sums = ["/flows", "/attempts", "/violations", "/source/bytes", "/destination/bytes"];
    for (list, caption) in [
        ("countries", "By country of the address"),
        ("operators", "By operator of the address"),
        ("programs", "By program"),
    ] {
        let shown = cells(&page, caption);
        let rows = json[list].as_array().unwrap();
        assert_eq!(shown.len(), rows.len(), "{list}");
        for (cells, row) in shown.iter().zip(rows) {
            assert_eq!(cells[1..6], numbers(row, &sums), "{list}: {row}");
        }
    }
    let in_violation = &json["violations"]["total"]["flows"];
    assert_eq!(*in_violation, 3);
    assert_eq!(*in_violation, json["totals"]["violations"]);
    let groups = json["violations"]["groups"].as_array().unwrap();
    let shown = cells(&page, "Violations by program and destination");
    assert_eq!(shown.len(), groups.len());
    for (cells, group) in shown.iter().zip(groups) {
        let sums = ["/flows", "/sent/bytes", "/received/bytes"];
        assert_eq!(cells[7..10], numbers(group, &sums), "{group}");
        assert_eq!(cells[1], group["program"]["name"].as_str().unwrap());
        assert!(page.contains(group["destination"]["address"].as_str().unwrap()));
        assert!(page.contains(group["program"]["sha256"].as_str().unwrap()));
    }
    let listed = json["violations"]["listed"].as_array().unwrap();
    let shown = cells(&page, "Each flow in violation, in the order of their beginning");
    assert_eq!(shown.len(), listed.len());
    for (cells, flow) in shown.iter().zip(listed) {
        let group = flow["group"].as_u64().unwrap() + 1;
        assert_eq!(cells[2], group.to_string());
        assert_eq!(cells[3..6], numbers(flow, &["/pid", "/sent/bytes", "/received/bytes"]));
        assert_eq!(cells[7], flow["id"].as_str().unwrap());
    }
    for limit in json["limits"].as_array().unwrap() {
        assert!(page.contains(limit.as_str().unwrap()), "{limit}");
    }
}

#[test]
fn the_page_can_be_read_aloud() {
    let page = page(&Report::new(some()));
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    let mut level = 0;
    for tag in tags(&page) {
        let heading = tag.strip_prefix('h').and_then(|rest| rest.get(..1)?.parse::<u8>().ok());
        if let Some(next) = heading {
            assert!(next <= level + 1, "{tag} comes after h{level}");
            level = next;
        }
    }
    assert_eq!(page.matches("<h1>").count(), 1);
    let tables = page.split("<table").skip(1);
    assert!(page.matches("<table").count() >= 6);
    for table in tables {
        let table = table.split("</table>").next().unwrap();
        assert!(table.split_once('>').unwrap().1.starts_with("<caption>"), "{table}");
        for head in table.split("<th").skip(1).filter(|it| !it.starts_with("ead")) {
            assert!(head.starts_with(" scope="), "{head}");
        }
    }
    assert!(page.contains("role=\"img\" aria-labelledby=\"map-title map-text\""));
    assert!(page.contains("violations to CN (China), GF (French Guiana)"));
    let ids: Vec<&str> =
        page.split(" id=\"").skip(1).filter_map(|it| it.split('"').next()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are told apart");
    for section in page.split("aria-labelledby=\"").skip(1) {
        for id in section.split('"').next().unwrap().split(' ') {
            assert!(ids.contains(&id), "{id}");
        }
    }
}

#[test]
fn countries_are_on_the_map_and_those_that_are_not_drawn_are_named_below_it() {
    let page = page(&Report::new(some()));
    let path = |code: &str| {
        let from = page.find(&format!("<path id=\"map-{code}\"")).unwrap();
        page[from..].split("</path>").next().unwrap().to_owned()
    };
    assert!(path("CN").contains("class=\"bad\""));
    assert!(
        path("CN").ends_with(
            "<title>CN (China): 2 flows, 2,000 bytes (2.0 KiB) sent, 2 violations</title>"
        )
    );
    assert!(path("US").contains("class=\"s1\""));
    assert!(path("FR").ends_with("nothing seen</title>"));
    assert!(!page.contains("map-GF"));
    let below = page.split("Not on the map").nth(1).unwrap();
    assert!(below.split("</p>").next().unwrap().contains("GF (French Guiana): 1 flow"), "{below}");
}

#[test]
fn plain_http_is_shown_as_unencrypted() {
    let page = page(&Report::new(some()));
    assert!(page.contains("<span class=\"warn\">no, unencrypted</span> (HTTP)"));
    assert!(page.contains("<span>yes</span> (HTTPS)"));
}

#[test]
fn the_policy_is_in_sentences_and_one_that_is_not_understood_is_quoted() {
    let mut facts = some();
    let page_of = |facts| page(&Report::new(facts));
    let mut strange = facts.policies.policies[0].clone();
    strange.text = Some("geofenced policy 9\nfoo <bar>\n".into());
    facts.policies.policies.push(strange);
    let page = page_of(facts);
    assert!(
        page.contains(
            "Data may go to CA (Canada) and US (United States), and to no other country."
        ),
        "{page}"
    );
    assert!(page.contains("foo &lt;bar&gt;"));
    assert!(page.contains("can't be put into sentences"));
}
