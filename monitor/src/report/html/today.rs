//! The page at the metrics' address: what is watched, and where data went today. It is given facts, reads
//! nothing, and shares map, tables and colours with the report.

use maud::{DOCTYPE, Markup, html};

use super::{
    country, head, map, plain, section,
    tables::{Head, framed, gaps, heads, rows},
    text::{shown, time},
};
use crate::{
    api::Status,
    coverage::Coverage,
    ecs::{Event, Time},
    report::grouped,
    summary::Row,
    table,
};

/// Rows of a table; the rest is one line.
const SHOWN: usize = 20;

/// What the page is made of; what could not be read says why.
#[derive(Debug)]
pub struct Today {
    pub host: String,
    pub status: Status,
    /// Midnight, UTC, and when it was asked.
    pub from: Time,
    pub now: Time,
    pub coverage: Result<Coverage, String>,
    pub countries: Result<Vec<Row>, String>,
    /// Of violations alone, by program.
    pub programs: Result<Vec<Row>, String>,
    /// The last violations, the newest first.
    pub latest: Result<Vec<Event<'static>>, String>,
}

/// The page.
pub fn today(facts: &Today) -> String {
    let title = format!("{}: geofenced", facts.host);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                header {
                    h1 { "What leaves " (shown(&facts.host)) }
                    p.period { "Today, from " (time(facts.from)) " to " (time(facts.now)) ". All times are UTC." }
                }
                main { (now(facts)) (whither(facts)) (violations(facts)) (watched(facts)) (more()) }
                footer { p { "geofenced " (shown(&facts.status.version)) ", read anew some seconds after it was asked last." } }
            }
        }
    };
    page.into_string()
}

fn problem(what: &str, why: &str) -> Markup {
    html! { p.warn { (what) " can't be told now: " (shown(why)) "." } }
}

fn now(facts: &Today) -> Markup {
    let status = &facts.status;
    let attached = status.probes.iter().filter(|it| it.attached).count();
    let lost: u64 = status.losses.iter().map(|loss| loss.count).sum();
    let class = |is_bad: bool| if is_bad { "bad" } else { "plain" };
    let figure = |text: &str, name: &str, class: &str| html! { div class=(class) { dt { (name) } dd { (text) } } };
    let rows = facts.countries.as_deref().unwrap_or_default();
    let violations: u64 = rows.iter().map(|row| row.violations).sum();
    let sent: u64 = rows.iter().map(|row| row.source.bytes).sum();
    let body = html! {
        dl.figures {
            @if facts.countries.is_ok() {
                (figure(&grouped(violations), "violations today", class(violations > 0)))
                (figure(&table::bytes(sent), "sent today", "plain"))
            }
            (figure(&grouped(status.flows), "flows open now", "plain"))
            (figure(&grouped(lost), "events lost since the start", class(lost > 0)))
        }
        dl.facts {
            dt { "State" }
            dd { @if status.ready { "watching" } @else { span.warn { "not ready" } } ", "
                (shown(&status.tier)) " tier, " (attached) " of " (status.probes.len()) " probes attached" }
            dt { "Watching since" }
            dd { @match status.coverage_since {
                Some(since) => { (time(since)) " without interruption" },
                None => span.warn { "nobody watches now" },
            } "; started " (time(status.started_at)) }
            dt { "Approved" }
            dd { @if status.policy.approved_countries.is_empty() { span.warn { "no country" } }
                @else { (shown(&status.policy.approved_countries.join(", "))) }
                "; " (grouped(status.policy.rules)) " rules; policy "
                code { (shown(status.policy.sha256.get(..12).unwrap_or_default())) } }
            @for warning in &status.warnings { dt { "Warning" } dd.warn { (shown(warning)) } }
        }
    };
    section("now", "Now", &body)
}

fn whither(facts: &Today) -> Markup {
    let body = match &facts.countries {
        Err(why) => problem("Where data went", why),
        Ok(found) => html! {
            (map::figure(found))
            (rows(found, Head { caption: "By country of the address", key: "Country" }, &country))
        },
    };
    section("whither", "Where data went today", &body)
}

fn violations(facts: &Today) -> Markup {
    let by_program = match &facts.programs {
        Err(why) => problem("Violations by program", why),
        Ok(found) if found.iter().all(|row| row.violations == 0) => {
            html! { p { "No flow of today is in violation of the policy." } }
        }
        Ok(found) => html! {
            (rows(&found[..found.len().min(SHOWN)], Head { caption: "Violations by program", key: "Program" }, &plain))
            @if found.len() > SHOWN { p { "And " (grouped((found.len() - SHOWN) as u64)) " programs more." } }
        },
    };
    let latest = match &facts.latest {
        Err(why) => problem("The last violations", why),
        Ok(found) if found.is_empty() => html! {},
        Ok(found) => latest(found),
    };
    section("violations", "Violations today", &html! { (by_program) (latest) })
}

fn latest(found: &[Event<'_>]) -> Markup {
    let caption = "The last violations";
    let table = html! {
        table {
            caption { (caption) }
            (heads(&["Began", "Program", "Unit", "User", "Destination", "Country", "Why", "Bytes sent"]))
            tbody { @for event in found { tr {
                th scope="row" { (time(event.timestamp)) }
                td { (shown(&program(event))) }
                td { @if let Some(unit) = &event.service { (shown(&unit.name)) } }
                td { @if let Some(user) = &event.user { (shown(user.name.as_deref().unwrap_or(&user.id))) } }
                td { (shown(&destination(event))) }
                td { @if let Some(geo) = &event.destination.geo { (shown(&country(&geo.country_iso_code))) } }
                td { (shown(&event.geofenced.reason)) }
                td.number { (grouped(event.source.bytes)) }
            } } }
        }
    };
    framed(caption, &table)
}

fn program(event: &Event<'_>) -> String {
    let process = event.process.as_ref();
    process.map_or_else(
        || format!("no process ({})", event.geofenced.origin),
        |it| it.executable.as_deref().unwrap_or(&it.name).to_owned(),
    )
}

fn destination(event: &Event<'_>) -> String {
    let to = &event.destination;
    let address = match (to.ip, to.port) {
        (Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
        (Some(ip), None) => ip.to_string(),
        (None, _) => "unknown".to_owned(),
    };
    to.domain.as_deref().map_or(address.clone(), |name| format!("{name} ({address})"))
}

fn watched(facts: &Today) -> Markup {
    let body = match &facts.coverage {
        Err(why) => problem("What was watched", why),
        Ok(found) => html! {
            p { "Of today " (shown(&found.sentence())) "." }
            @if found.gaps.is_empty() { p { "There is no gap." } } @else { (gaps(found)) }
        },
    };
    section("watched", "What was watched, and the gaps", &body)
}

fn more() -> Markup {
    let body = html! {
        ul {
            li { a href="metrics" { "/metrics" } " for Prometheus" }
            li { a href="healthz" { "/healthz" } ": the daemon answers" }
            li { a href="readyz" { "/readyz" } ": the probes are attached and the store can be written" }
        }
        p { "Everything is asked for on the host: " code { "geofenced events" } ", " code { "geofenced summary" }
            ", " code { "geofenced report" } ", and " code { "geofenced show ID" } " for one flow." }
    };
    section("more", "More", &body)
}
