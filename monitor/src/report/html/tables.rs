//! The tables of a page: each with its caption, and heads that say of what they are. Shows; decides nothing.

use maud::{Markup, html};

use super::{
    super::{
        Report, grouped,
        ports::{ByPort, Encrypted},
        violations::{Destination, Group, Listed, Program, Violations},
    },
    ROWS_MAX, country, left_out,
    text::{shown, time},
    volume,
};
use crate::{
    coverage::{Coverage, Extent},
    summary::Row,
    table::span,
};

/// What a table of totals is called, and its first column.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) caption: &'static str,
    pub(super) key: &'static str,
}

/// A table that is wider than a small screen is moved within its own frame, also by keyboard.
pub(super) fn framed(caption: &str, table: &Markup) -> Markup {
    html! { div.frame role="region" tabindex="0" aria-label=(caption) { (table) } }
}

pub(super) fn heads(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

/// Totals, most bytes sent first.
pub(super) fn rows(rows: &[Row], head: Head, name: &dyn Fn(&str) -> String) -> Markup {
    let columns = [
        head.key,
        "Flows",
        "Attempts",
        "Violations",
        "Bytes sent",
        "Bytes received",
        "First seen",
        "Last seen",
    ];
    let table = html! {
        table.totals {
            caption { (head.caption) }
            (heads(&columns))
            tbody {
                @for row in rows.iter().take(ROWS_MAX) {
                    tr class=[(row.violations > 0).then_some("bad")] {
                        th scope="row" { (shown(&name(&row.key)))
                            @if let Some(called) = &row.name { " " span.about { (shown(called)) } }
                        }
                        td.number { (grouped(row.flows)) }
                        td.number { (grouped(row.attempts)) }
                        td.number { (grouped(row.violations)) }
                        td.number { (volume(row.source.bytes)) }
                        td.number { (volume(row.destination.bytes)) }
                        td { (time(row.first_seen)) }
                        td { (time(row.last_seen)) }
                    }
                }
            }
        }
    };
    html! {
        @if rows.is_empty() {
            p { (head.caption) ": nothing." }
        } @else {
            (framed(head.caption, &table))
        }
        @if rows.len() > ROWS_MAX { (left_out(rows.len() - ROWS_MAX)) }
    }
}

pub(super) fn gaps(coverage: &Coverage) -> Markup {
    let caption = "Gaps: times of which silence proves nothing, or less";
    let word = |extent| match extent {
        Extent::Blind => "blind: nobody looked",
        Extent::Degraded => "degraded: something was missed, or may have been",
        Extent::Removed => "removed: seen, and no longer kept",
    };
    let table = html! {
        table {
            caption { (caption) }
            (heads(&["From", "To", "For", "How far", "Where and why", "Lost"]))
            tbody {
                @for gap in &coverage.gaps {
                    tr {
                        th scope="row" { (time(gap.from)) }
                        td { (time(gap.to)) }
                        td { (span(gap.to.0.0.saturating_sub(gap.from.0.0).div_ceil(1_000_000_000))) }
                        td { (word(gap.extent)) }
                        td { (shown(&gap.stage)) ": " (shown(&gap.reason)) }
                        td.number { @if let Some(count) = gap.count { (grouped(count)) } @else { "not known" } }
                    }
                }
            }
        }
    };
    framed(caption, &table)
}

pub(super) fn violations(found: &Violations) -> Markup {
    let caption = "Violations by program and destination";
    let columns = [
        "No.",
        "Program",
        "Destination",
        "Country",
        "Operator",
        "Encrypted, by port",
        "Why",
        "Flows",
        "Bytes sent",
        "Bytes received",
        "First and last seen",
    ];
    let table = html! {
        table.violations {
            caption { (caption) }
            (heads(&columns))
            tbody {
                @for (index, group) in found.groups.iter().enumerate() {
                    (of_group(index + 1, group))
                }
            }
        }
    };
    framed(caption, &table)
}

fn of_group(number: usize, group: &Group) -> Markup {
    let to = &group.destination;
    html! {
        tr {
            th scope="row" { (number) }
            td { (program(&group.program)) }
            td { (destination(to)) }
            td { (place(to)) }
            td { (operator(to)) }
            td.port { (encrypted(group.by_port, to.server_name.is_some())) }
            td.why {
                @for (index, reason) in group.reasons.iter().enumerate() {
                    @if index > 0 { ", " } (shown(reason))
                }
                @if group.disputed { " (disputed: only the second database objects)" }
            }
            td.number { (grouped(group.sum.flows)) }
            td.number { (volume(group.sum.sent.bytes)) }
            td.number { (volume(group.sum.received.bytes)) }
            td { (time(group.first_seen)) br; (time(group.last_seen)) }
        }
    }
}

fn program(program: &Program) -> Markup {
    let user = match (&program.user_name, &program.user_id) {
        (Some(name), Some(id)) => Some(format!("{name} ({id})")),
        (name, id) => name.clone().or_else(|| id.clone()),
    };
    html! {
        ul.parts {
            @if let Some(name) = &program.name { li { b { (shown(name)) } } }
            @else { li { b { "no process of this host" } " (" (shown(&program.origin)) ")" } }
            @if let Some(path) = &program.executable { li { code { (shown(path)) } } }
            @if let Some(claimed) = &program.claimed {
                li { code { (shown(claimed)) } " (only claimed)" }
            }
            @if let Some(hash) = &program.sha256 { li { "SHA-256 " code.hash { (shown(hash)) } } }
            @if let Some(unit) = &program.unit { li { "unit " (shown(unit)) } }
            @if let Some(user) = user { li { "user " (shown(&user)) } }
            @if let Some(container) = &program.container { li { "container " (shown(container)) } }
            @if let Some(device) = &program.device { li { "device " (shown(device)) } }
        }
    }
}

fn destination(to: &Destination) -> Markup {
    let port = to.port.map(|port| format!(" port {port}")).unwrap_or_default();
    html! {
        ul.parts {
            @if let Some(name) = &to.name { li { b { (shown(name)) } } }
            @if let Some(name) = to.server_name.as_ref().filter(|it| to.name.as_ref() != Some(*it)) {
                li { "says " (shown(name)) }
            }
            li {
                @if let Some(address) = to.address { (address.to_string()) } @else { "address not known" }
                @if let Some(transport) = &to.transport { ", " (shown(transport)) (port) }
            }
            @if let Some(ethertype) = &to.ethertype { li { "frame of type " (shown(ethertype)) } }
            @if let Some(via) = to.via { li { "by way of " (via.to_string()) } }
        }
    }
}

fn place(to: &Destination) -> Markup {
    html! {
        ul.parts {
            li { @if let Some(code) = &to.country { (shown(&country(code))) } @else { "not known" } }
            @if let Some(second) = to.second_country.as_ref().filter(|it| to.country.as_ref() != Some(*it)) {
                li { "second database: " (shown(&country(second))) }
            }
            @if to.anycast { li { "anycast: announced from many places" } }
            @if let Some(via) = &to.via_country { li { "by way of " (shown(&country(via))) } }
        }
    }
}

fn operator(to: &Destination) -> Markup {
    html! {
        ul.parts {
            @if to.operator.is_none() && to.asn.is_none() { li { "not known" } }
            @if let Some(name) = &to.operator { li { b { (shown(name)) } } }
            @if let Some(asn) = to.asn { li { "AS" (asn) } }
            @if let Some(code) = &to.operator_country { li { "led from " (shown(&country(code))) } }
        }
    }
}

fn encrypted(by: ByPort, has_hello: bool) -> Markup {
    let word = match by.encrypted {
        Encrypted::Yes => "yes",
        Encrypted::No => "no, unencrypted",
        Encrypted::Unknown => "not known",
    };
    html! {
        span class=[(by.encrypted == Encrypted::No).then_some("warn")] { (word) }
        @if let Some(usually) = by.usually { " (" (usually) ")" }
        @if has_hello { "; a TLS hello was seen" }
    }
}

pub(super) fn each_flow(found: &Violations) -> Markup {
    let caption = "Each flow in violation, in the order of their beginning";
    let columns = [
        "Began",
        "Last seen",
        "Of no.",
        "Process id",
        "Bytes sent",
        "Bytes received",
        "Why",
        "Record",
    ];
    let table = html! {
        table.flows {
            caption { (caption) }
            (heads(&columns))
            tbody { @for listed in &found.listed { (of_flow(listed)) } }
        }
    };
    framed(caption, &table)
}

fn of_flow(listed: &Listed) -> Markup {
    html! {
        tr {
            th scope="row" { (time(listed.first_seen))
                @if listed.untrusted_clock { " (clock not trusted)" } }
            td { (time(listed.last_seen)) }
            td.number { @if let Some(group) = listed.group { (group + 1) } @else { "none" } }
            td.number { @if let Some(pid) = listed.pid { (pid) } @else { "none" } }
            td.number { (grouped(listed.sent.bytes)) }
            td.number { (grouped(listed.received.bytes)) }
            td { (shown(&listed.reason)) ", " (shown(&listed.certainty))
                @if let Some(now) = &listed.verdict_now { "; by a later policy " (shown(now)) }
                @for declared in &listed.declared {
                    "; declared in " q { (shown(&declared.interval)) } " for " q { (shown(&declared.purpose)) }
                } }
            td { code.hash { (shown(&listed.id)) } }
        }
    }
}

pub(super) fn databases(report: &Report) -> Markup {
    let caption = "Databases that verdicts rest on";
    let table = html! {
        table {
            caption { (caption) }
            (heads(&["For", "Name", "Data of", "Named by", "SHA-256"]))
            tbody {
                @for database in &report.databases {
                    tr {
                        th scope="row" { (shown(&database.label)) }
                        td { (shown(&database.name)) }
                        td { @if let Some(date) = &database.date { span.exact { (shown(date)) } } @else { "not known" } }
                        td { @if database.named_by_records { "records of this period" }
                            @else { "what is in force as the report is made" } }
                        td { code.hash { (shown(&database.sha256)) } }
                    }
                }
            }
        }
    };
    html! {
        @if report.databases.is_empty() { p { "No database is known to have been used." } }
        @else { (framed(caption, &table)) }
        @for notice in &report.notices { p.licence { (shown(notice)) } }
        p.licence { "Map: made with Natural Earth, public domain. A database that was brought along has the                      licence of who made it." }
    }
}
