//! Two periods beside each other, as tables. Shows; decides nothing.

use maud::{Markup, html};

use super::{
    super::{
        comparison::{Compared, Comparison, Moved, Pair, Period, Which},
        grouped,
    },
    ROWS_MAX, country, left_out, plain,
    tables::framed,
    text::{shown, time},
    volume,
};
use crate::table::span;

pub(super) fn tables(found: &Comparison) -> Markup {
    let names = found.periods.each_ref().map(|it| it.name.as_str());
    let [first, second] = names;
    html! {
        p { "The period of this report, " q { (shown(first)) } ", beside " q { (shown(second)) } ". "
            "Packets that are seen in one alone are shown not to have left in the other only where all of that was \
             watched, and nothing of it is without the country, operator, destination or program that is asked for." }
        (periods(&found.periods))
        @if let Some(overlap) = found.overlap {
            p { "The two overlap, from " (time(overlap.from)) " to " (time(overlap.to))
                ": what left then is in both." }
        }
        @for period in found.periods.iter().filter(|it| it.divided > 0) {
            p { "Of what is told of " q { (shown(&period.name)) } ", " (grouped(period.divided))
                " bytes are of hours and spans that its bounds cut, and are divided evenly: they may have left \
                 outside of it." }
        }
        (compared(&found.countries, names, ["Both periods by country", "Country"], &country))
        (compared(&found.operators, names, ["Both periods by operator", "Operator"], &plain))
        (compared(&found.destinations, names, ["Both periods by destination", "Destination"], &plain))
        (compared(&found.programs, names, ["Both periods by program", "Program"], &plain))
    }
}

fn periods(periods: &[Period; 2]) -> Markup {
    let caption = "The two periods";
    let table = html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Period" } th scope="col" { "From" } th scope="col" { "To" }
                th scope="col" { "For" } th scope="col" { "Flows" } th scope="col" { "Violations" }
                th scope="col" { "Bytes sent" } th scope="col" { "Bytes received" } th scope="col" { "Watched" }
            } }
            tbody { @for period in periods { tr {
                th scope="row" { (shown(&period.name)) }
                td { (time(period.from)) }
                td { (time(period.to)) }
                td { (span(period.to.0.0.saturating_sub(period.from.0.0).div_ceil(1_000_000_000))) }
                td.number { (grouped(period.totals.flows)) }
                td.number { (grouped(period.totals.violations)) }
                td.number { (volume(period.totals.sent.bytes)) }
                td.number { (volume(period.totals.received.bytes)) }
                td { (shown(&period.coverage.sentence())) }
            } } }
        }
    };
    framed(caption, &table)
}

fn compared(
    found: &Compared,
    names: [&str; 2],
    [caption, key]: [&'static str; 2],
    name: &dyn Fn(&str) -> String,
) -> Markup {
    let table = html! {
        table.totals {
            caption { (caption) }
            thead {
                tr { th scope="col" rowspan="2" { (key) }
                    @for name in names { th scope="colgroup" colspan="4" { (shown(name)) } }
                    th scope="col" rowspan="2" { "Left in" } }
                tr { @for _ in names {
                    th scope="col" { "Flows" } th scope="col" { "Violations" }
                    th scope="col" { "Bytes sent" } th scope="col" { "Bytes received" }
                } }
            }
            tbody { @for pair in found.rows.iter().take(ROWS_MAX) { tr {
                th scope="row" { (shown(&name(&pair.key))) }
                (moved(&pair.first))
                (moved(&pair.second))
                td { (left_in(pair, names)) }
            } } }
        }
    };
    html! {
        @if found.rows.is_empty() { p { (caption) ": nothing is known of either." } }
        @else { (framed(caption, &table)) }
        @if found.rows.len() > ROWS_MAX { (left_out(found.rows.len() - ROWS_MAX)) }
        @for (name, unsure) in names.into_iter().zip(&found.unsure) {
            @if !unsure.is_empty() {
                p { "More may have left in " q { (shown(name)) } " than the table has rows for:" }
                ul { @for why in unsure { li { (shown(why)) } } }
            }
        }
    }
}

fn moved(moved: &Moved) -> Markup {
    html! {
        td.number { (grouped(moved.flows))
            @if moved.attempts > 0 { " " span.about { "and " (grouped(moved.attempts)) " attempted" } } }
        td class=(if moved.violations > 0 { "number warn" } else { "number" }) { (grouped(moved.violations)) }
        td.number { (volume(moved.sent.bytes)) }
        td.number { (volume(moved.received.bytes)) }
    }
}

fn left_in(pair: &Pair, [first, second]: [&str; 2]) -> Markup {
    let (one, other) = match pair.only_in {
        Some(Which::First) => (first, second),
        Some(Which::Second) => (second, first),
        None if pair.first.flows > 0 && pair.second.flows > 0 => return html! { "both" },
        None if pair.first.flows + pair.second.flows == 0 => return html! { "neither" },
        None => return html! { "not known" },
    };
    html! {
        q { (shown(one)) } " alone"
        @if pair.absence_shown == Some(false) {
            "; not known of " q { (shown(other)) }
        }
    }
}
