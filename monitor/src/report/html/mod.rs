//! A report as one page: no script, no request, light and dark, and made to be printed and to be read aloud.
//! `text` escapes what others chose; this shows and decides nothing.

mod comparison;
mod map;
mod tables;
mod text;
pub mod today;
mod watching;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::{
    tables::{Head, databases, each_flow, gaps, rows, violations},
    text::{plain_time, shown, time},
    watching::watching,
};
use super::{Decided, LEARNING, Report, Standing, flows, grouped, sentences};
use crate::{
    locate::codes,
    summary::{NO_PROCESS, OTHERS, ROLLED_UP, THIS_HOST},
    table,
};

/// What a page may load and do: nothing.
pub const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("style.css");
/// Rows of a table of totals; the rest is one line.
const ROWS_MAX: usize = 250;

/// Of each page: nothing is loaded, and nobody is told where it was read.
fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="no-referrer";
            title { (shown(title)) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

/// The page.
pub fn page(report: &Report) -> String {
    let title = title(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                header {
                    h1 { (shown(&title)) }
                    p.period { @if let Some(name) = &report.interval { "Interval " q { (shown(name)) } ". " }
                        "From " (time(report.from)) " to " (time(report.to)) ". All times are UTC." }
                }
                main {
                    (in_short(report))
                    (scope(report))
                    (watched(report))
                    (policy(report))
                    (whither(report))
                    @if let Some(found) = &report.comparison {
                        (section("comparison", "Compared with another period", &comparison::tables(found)))
                    }
                    (in_violation(report))
                    (declared(report))
                    (section("databases", "Databases", &databases(report)))
                    (limits(report))
                    (signature(report))
                    (appendix(report))
                }
                footer { p { "Made by geofenced " (shown(&report.scope.version)) " on " (time(report.made_at)) "." } }
            }
        }
    };
    page.into_string()
}

fn title(report: &Report) -> String {
    match &report.scope.host {
        Some(host) => format!("What left {host}"),
        None => "What left this host".to_owned(),
    }
}

fn section(id: &str, head: &str, body: &Markup) -> Markup {
    let label = format!("{id}-head");
    html! { section id=(id) aria-labelledby=(label) { h2 id=(label) { (head) } (body) } }
}

fn in_short(report: &Report) -> Markup {
    let totals = &report.totals;
    let figure = |number: u64, name: &str, class: &str| {
        html! { div class=(class) { dt { (name) } dd { (grouped(number)) } } }
    };
    let class = if totals.violations > 0 { "bad" } else { "plain" };
    let body = html! {
        @for claim in &report.claims { (self::claim(claim)) }
        @if report.learning {
            div.claim.not-shown { p { strong { "The policy only learned. " } (LEARNING)
                " Unapproved flows of that time: " (grouped(totals.unraised)) "." } }
        }
        dl.figures {
            (figure(totals.flows, "flows sent", "plain"))
            (figure(totals.violations, "violations", class))
            (figure(totals.sent.bytes, "bytes sent", "plain"))
            (figure(totals.received.bytes, "bytes received", "plain"))
        }
        p { "Flows by verdict: "
            (grouped(totals.verdicts.approved)) " approved, "
            (grouped(totals.verdicts.unapproved)) " unapproved, "
            (grouped(totals.verdicts.unknown)) " unknown, "
            (grouped(totals.verdicts.local)) " within local networks. "
            (shown(&in_words(report))) "."
        }
    };
    section("in-short", "In short", &body)
}

fn claim(claim: &Decided) -> Markup {
    let (class, word) = match claim.standing {
        Standing::Holds => ("holds", "Holds"),
        Standing::Refuted => ("refuted", "Refuted"),
        Standing::NotShown => ("not-shown", "Not shown"),
    };
    html! {
        div class=(format!("claim {class}")) {
            p { strong { (word) ". " } (shown(&claim.sentence)) }
            p.asked { "Asked: " q { (shown(&claim.asked)) } }
            @if !claim.because.is_empty() {
                ul { @for why in &claim.because { li { (shown(why)) } } }
            }
        }
    }
}

fn scope(report: &Report) -> Markup {
    let scope = &report.scope;
    let source = match scope.source.as_str() {
        "daemon" => "the running daemon, from its ledger and what it had counted since",
        _ => "the ledger on disk; no daemon was asked",
    };
    let attached = scope.probes.iter().filter(|it| it.attached).count();
    let missing: Vec<&str> =
        scope.probes.iter().filter(|it| !it.attached).map(|it| it.name.as_str()).collect();
    let body = html! {
        dl.facts {
            @if let Some(host) = &scope.host { dt { "Host" } dd { (shown(host)) } }
            @if let Some(kernel) = &scope.kernel { dt { "Kernel" } dd { (shown(kernel)) } }
            dt { "Program" } dd { "geofenced " (shown(&scope.version)) " (commit " (shown(&scope.commit)) ")" }
            dt { "Answered by" } dd { (source) }
            @if let Some(tier) = &scope.tier { dt { "Capture" } dd { (shown(tier)) " tier" } }
            @if !scope.probes.is_empty() {
                dt { "Probes" }
                dd { (attached) " of " (scope.probes.len()) " attached when the report was made"
                    @if !missing.is_empty() { "; not: " (shown(&missing.join(", "))) }
                }
            }
            @if let Some(trusted) = scope.clock_trusted {
                dt { "Clock" }
                dd { @if trusted { "synchronised when the report was made" }
                    @else { "not synchronised when the report was made: times may be wrong" } }
            }
            @for warning in &scope.warnings { dt { "Warning" } dd { (shown(warning)) } }
        }
        p { "Programs in the kernel of the host see each packet that a program sends or that the host forwards, \
             with the process it is of, and each interface by which packets leave. A flow is what one socket sends \
             to one address and port; it counts as sent once a packet was seen to leave." }
    };
    section("scope", "Scope and method", &body)
}

/// The line about coverage as a sentence.
fn in_words(report: &Report) -> String {
    let sentence = report.coverage.sentence();
    match sentence.strip_prefix("watched") {
        Some(rest) => format!("Watched{rest}"),
        None => sentence,
    }
}

fn watched(report: &Report) -> Markup {
    let coverage = &report.coverage;
    let body = html! {
        p { (shown(&in_words(report))) "." }
        (watching(&coverage.watching))
        @if coverage.gaps.is_empty() {
            p { "There is no gap: nobody stopped watching, and nothing is known to have been lost." }
        } @else {
            (gaps(coverage))
        }
    };
    section("watched", "What was watched, and the gaps", &body)
}

fn policy(report: &Report) -> Markup {
    let body = html! {
        @if report.policies.is_empty() {
            p { "The ledger does not say which policy was in force." }
        }
        @for policy in &report.policies {
            h3 { "Noted in force on " (time(policy.noted_at)) }
            @if let Some(sentences) = sentences(policy) {
                ul { @for sentence in &sentences { li { (shown(sentence)) } } }
            } @else if let Some(text) = &policy.text {
                p { "Its text is of a form that this version does not put into sentences:" }
                pre tabindex="0" { @for line in text.lines() { (shown(line)) "\n" } }
            } @else {
                p { "Its text is not kept." }
            }
            p.hash { "SHA-256 " code { (shown(&policy.sha256)) } }
        }
        @if report.untold_policies > 0 {
            p { "It changed " (grouped(report.untold_policies)) " times more." }
        }
    };
    section("policy", "The policy", &body)
}

fn whither(report: &Report) -> Markup {
    let body = html! {
        (map::figure(&report.countries))
        (rows(&report.countries, Head { caption: "By country of the address", key: "Country" }, &country))
        (rows(&report.operators, Head { caption: "By operator of the address", key: "Operator" }, &plain))
        (rows(&report.programs, Head { caption: "By program", key: "Program" }, &plain))
        @if !report.devices.is_empty() {
            (rows(&report.devices, Head { caption: "By device that this host forwards for", key: "Device" }, &plain))
        }
    };
    section("whither", "Where data went", &body)
}

/// `CN` by its name; what is no code as it is.
fn country(key: &str) -> String {
    match (key, crate::event::CountryCode::new(key)) {
        ("local", _) => "local networks".to_owned(),
        ("unlocated", _) => "not known".to_owned(),
        (_, Some(code)) if codes::is_assigned(code) => codes::named(code),
        _ => key.to_owned(),
    }
}

/// A key of totals as it is, or what a row without one is of.
fn plain(key: &str) -> String {
    let meant = match key {
        ROLLED_UP => "only added up by hour, and not kept",
        OTHERS => "all others",
        NO_PROCESS => "no process of this host",
        THIS_HOST => "this host itself",
        _ => key,
    };
    meant.to_owned()
}

fn in_violation(report: &Report) -> Markup {
    let found = &report.violations;
    let added_up = report.added_up.as_ref().map_or(0, |row| row.violations);
    let body = html! {
        @if report.totals.violations == 0 && found.total.flows == 0 {
            p { "No flow of the period is recorded as a violation of the policy of its time."
                @if report.learning { " " (LEARNING) } }
        } @else {
            p { (flows(found.total.flows)) " in violation of the policy of their time, with "
                (grouped(found.total.sent.bytes)) " bytes sent in all their life, by program and destination. "
                "What is said to be encrypted is said by the port alone." }
            (violations(found))
        }
        @if added_up > 0 {
            p { "Violations that are only added up, by country and program, and in no table here: "
                (grouped(added_up)) "." }
        }
        @if found.ungrouped.flows > 0 {
            p { "Beyond the programs and destinations that are told apart: " (flows(found.ungrouped.flows))
                " with " (grouped(found.ungrouped.sent.bytes)) " bytes sent." }
        }
    };
    section("violations", "Violations", &body)
}

fn declared(report: &Report) -> Markup {
    let found = &report.declared;
    let body = html! {
        p { (found.sentence()) }
        @if !found.shares.is_empty() {
            table {
                caption { "What was declared, in UTC" }
                thead { tr {
                    th scope="col" { "Interval" } th scope="col" { "With whom" }
                    th scope="col" { "What for" } th scope="col" { "From" } th scope="col" { "Until" }
                } }
                tbody { @for share in &found.shares { tr {
                    th scope="row" { (shown(&share.interval)) }
                    td { (shown(&share.destination)) } td { (shown(&share.purpose)) }
                    td { (time(share.from)) }
                    td { @match share.until { Some(until) => (time(until)), None => "it goes on" } }
                } } }
            }
        }
    };
    section("declared", "Shared by declaration", &body)
}

fn limits(report: &Report) -> Markup {
    let body = html! { ul { @for limit in &report.limits { li { (shown(limit)) } } } };
    section("limits", "What this report does not say", &body)
}

fn signature(report: &Report) -> Markup {
    let body =
        html! { @for text in report.signature.paragraphs(plain_time) { p { (shown(&text)) } } };
    section("signature", "Signature, and how to check", &body)
}

fn appendix(report: &Report) -> Markup {
    let found = &report.violations;
    let body = html! {
        @if found.listed.is_empty() {
            p { "There is none." }
        } @else {
            (each_flow(found))
        }
        @if found.unlisted > 0 {
            p { "Too many to be listed one by one, and in the table by program and destination: "
                (flows(found.unlisted)) "." }
        }
    };
    section("each-flow", "Appendix: each flow in violation", &body)
}

/// How many rows a table leaves out.
fn left_out(count: usize) -> Markup {
    html! { p { "The table shows the " (ROWS_MAX) " with most bytes sent; left out: " (count) "." } }
}

/// For cells of numbers that people compare.
fn volume(count: u64) -> Markup {
    html! { span.exact { (grouped(count)) } @if count >= 1024 { " " span.about { (table::bytes(count)) } } }
}

#[cfg(test)]
mod tests;
