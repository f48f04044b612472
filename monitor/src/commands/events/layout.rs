//! Which columns events have at which width, and what stands in them. Lays out; reads nothing.

use anstyle::Style;

use crate::{
    ecs::Event,
    event::{Certainty, DomainSource, Origin, Phase, Transport},
    table::{self, Column, Times, WIDTH_UNKNOWN, bytes, printable, verdict_style},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// Of the day alone.
    Clock,
    /// Without the year.
    ShortTime,
    Time,
    State,
    Verdict,
    Country,
    Process,
    Destination,
    Protocol,
    Sent,
    Origin,
    Reason,
    Id,
}

/// The columns of one listing.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    fields: Vec<Field>,
    /// Names stand with their addresses.
    is_wide: bool,
    clock: Times,
}

/// Narrowest width from which on these fields are shown, most first. At each the reason stays: without it a
/// verdict is nothing that anybody can follow.
const LAYOUTS: [(usize, &[Field]); 4] = [
    (
        124,
        &[
            Field::Time,
            Field::Verdict,
            Field::Country,
            Field::Process,
            Field::Destination,
            Field::Protocol,
            Field::Sent,
            Field::Origin,
            Field::Reason,
        ],
    ),
    (
        92,
        &[
            Field::ShortTime,
            Field::Verdict,
            Field::Country,
            Field::Process,
            Field::Destination,
            Field::Sent,
            Field::Reason,
        ],
    ),
    (
        78,
        &[
            Field::ShortTime,
            Field::Verdict,
            Field::Country,
            Field::Process,
            Field::Destination,
            Field::Reason,
        ],
    ),
    (0, &[Field::Clock, Field::Verdict, Field::Process, Field::Destination, Field::Reason]),
];

/// What the state of a flow takes of the width, where it is told.
const STATE_WIDTH: usize = 6;

impl Layout {
    /// `width` `None`: nothing is shortened. `is_wide`: that was asked for, and so the ids.
    pub(super) fn new(width: Option<usize>, is_live: bool, is_wide: bool, clock: Times) -> Self {
        let state = if is_live { STATE_WIDTH } else { 0 };
        let room = width.unwrap_or(WIDTH_UNKNOWN.max(LAYOUTS[0].0 + state)).saturating_sub(state);
        let (_, fields) = LAYOUTS.iter().find(|(least, _)| *least <= room).unwrap_or(&LAYOUTS[3]);
        let mut fields = fields.to_vec();
        if is_live && fields[0] == Field::Clock {
            // It is now.
            fields[0] = Field::State;
        } else if is_live {
            fields.insert(1, Field::State);
        }
        if is_wide {
            fields.push(Field::Id);
        }
        Self { fields, is_wide: width.is_none(), clock }
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        let is_narrow = self.fields.len() == LAYOUTS[3].1.len();
        self.fields.iter().map(|field| column(*field, is_narrow)).collect()
    }

    pub(super) fn cells(&self, event: &Event<'_>) -> Vec<(String, Style)> {
        self.fields.iter().map(|field| self.cell(*field, event)).collect()
    }

    fn cell(&self, field: Field, event: &Event<'_>) -> (String, Style) {
        let told = &event.geofenced;
        let text = match field {
            Field::Clock => self.clock.format_clock(event.timestamp),
            Field::ShortTime => self.clock.format_short(event.timestamp),
            Field::Time => self.clock.format(event.timestamp),
            Field::State => state(event).to_owned(),
            Field::Verdict => {
                let verdict = printable(&told.verdict).into_owned();
                return (verdict, verdict_style(&told.verdict));
            }
            Field::Country => country(event),
            Field::Process => process(event),
            Field::Destination => destination(event, self.is_wide),
            Field::Protocol => {
                event.network.transport.as_deref().map_or_else(|| "-".to_owned(), protocol)
            }
            Field::Sent if told.phase == Phase::Attempt.word() => Phase::Attempt.to_string(),
            Field::Sent => bytes(event.source.bytes),
            Field::Origin => printable(&told.origin).into_owned(),
            Field::Reason => reason(event),
            Field::Id => printable(&event.event.id).into_owned(),
        };
        (text, Style::new())
    }
}

fn column(field: Field, is_narrow: bool) -> Column {
    let of = |head, least, share| Column { head, least, share, is_number: false };
    match field {
        Field::Clock => of("TIME", 8, 0),
        Field::ShortTime => of("TIME", 14, 0),
        Field::Time => of("TIME", 20, 0),
        Field::State => of("NOW", 4, 0),
        Field::Verdict => of("VERDICT", 10, 0),
        Field::Country => of("CC", 2, 0),
        Field::Process => of("PROCESS", if is_narrow { 6 } else { 10 }, 2),
        // So that an IPv4 address with its port fits.
        Field::Destination => of("DESTINATION", 21, 3),
        Field::Protocol => of("PROTO", 5, 0),
        Field::Sent => Column { is_number: true, ..of("SENT", 10, 0) },
        Field::Origin => of("ORIGIN", 13, 0),
        Field::Reason => of("REASON", if is_narrow { 7 } else { 9 }, 1),
        Field::Id => of("ID", 32, 0),
    }
}

/// Whether it is the first that is told of a flow, more of it, or its end.
pub(super) fn state(event: &Event<'_>) -> &'static str {
    match (event.geofenced.revision, event.event.end) {
        (_, Some(_)) => "end",
        (0, None) => "new",
        (_, None) => "more",
    }
}

/// With a mark where only the second database objects, or where later rules object no more.
fn reason(event: &Event<'_>) -> String {
    let reason = printable(&event.geofenced.reason);
    let is_disputed = event.geofenced.certainty == Certainty::Disputed.word();
    let disputed = if is_disputed { ", disputed" } else { "" };
    let now = event.geofenced.verdict_now.as_deref();
    let now = now.map(|verdict| format!(", now {}", printable(verdict))).unwrap_or_default();
    format!("{reason}{disputed}{now}")
}

fn country(event: &Event<'_>) -> String {
    let code = event.destination.geo.as_ref().map(|geo| printable(&geo.country_iso_code));
    code.map_or_else(|| "-".to_owned(), std::borrow::Cow::into_owned)
}

/// By script and program, with a mark where it is only a claim.
pub(in crate::commands) fn process(event: &Event<'_>) -> String {
    let script = event.geofenced.script.as_deref();
    match &event.process {
        Some(it) if script.is_some() => {
            let interpreter = it.executable.as_deref().unwrap_or(&it.name);
            let name = table::script(script.unwrap_or_default(), interpreter);
            table::process(&name, it.pid, it.executable.is_some())
        }
        Some(it) => table::process(&it.name, it.pid, it.executable.is_some()),
        None if event.geofenced.origin == Origin::Process.word() => "(unknown)".to_owned(),
        None => match (&event.source.ip, &event.geofenced.origin) {
            (Some(device), origin) if *origin == Origin::Forwarded.word() => format!("({device})"),
            (_, origin) => format!("({})", printable(origin)),
        },
    }
}

/// By its name where one is known; `is_wide`: with its address.
pub(in crate::commands) fn destination(event: &Event<'_>, is_wide: bool) -> String {
    let to = &event.destination;
    let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
    let Some(ip) = to.ip else { return "(unknown)".to_owned() };
    // What the process itself asked a resolver for; else others did, or it is what it wrote to the other side.
    let is_asked = event.geofenced.domain_source.as_deref() == Some(DomainSource::Dns.word());
    let mark = if is_asked { "" } else { "?" };
    match &to.domain {
        Some(domain) if is_wide => format!("{mark}{}{port} ({ip})", printable(domain)),
        Some(domain) => format!("{mark}{}{port}", printable(domain)),
        None if ip.is_ipv6() && to.port.is_some() => format!("[{ip}]{port}"),
        None => format!("{ip}{port}"),
    }
}

fn protocol(transport: &str) -> String {
    if Transport::parse(transport) == Some(Transport::ICMPV6) {
        return "icmp6".to_owned();
    }
    printable(transport).into_owned()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::{
        ecs::tests::{bare_record, full_record},
        event::{Domain, Reason},
        table::Listing,
    };

    const WIDTHS: [usize; 5] = [60, 80, 100, 120, 200];

    fn listing(width: usize, is_live: bool) -> (Layout, Listing) {
        let layout = Layout::new(Some(width), is_live, false, Times::new(true));
        let listing = Listing::new(layout.columns(), Some(width));
        (layout, listing)
    }

    #[test]
    fn at_every_width_lines_fit_the_reason_stays_and_an_address_is_whole() {
        let mut by_address = full_record();
        by_address.place.domain = None;
        by_address.place.server_name = None;
        by_address.egress.remote = "203.113.250.204:65535".parse().ok();
        by_address.judgement.reason = Reason::Country;
        for (width, is_live) in WIDTHS.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let (layout, listing) = listing(width, is_live);
            let head = listing.head();
            assert!(head.contains("REASON") && head.width() <= width, "{width}: {head}");
            assert_eq!(head.contains("NOW"), is_live, "{head}");
            for record in [&by_address, &full_record(), &bare_record()] {
                let line = listing.row(&layout.cells(&Event::from(record)), false);
                let is_v6 = record.egress.remote.is_some_and(|it| it.is_ipv6());
                assert!(line.width() <= width || is_v6, "{width}: {line}");
            }
            let line = listing.row(&layout.cells(&Event::from(&by_address)), false);
            assert!(line.contains("203.113.250.204:65535"), "{width}: {line}");
            assert!(line.ends_with("country"), "{width}: {line}");
        }
    }

    #[test]
    fn a_name_that_the_program_itself_did_not_ask_for_is_marked() {
        let mut record = full_record();
        let cell = |record: &_| destination(&Event::from(record), false);
        record.place.server_name = None;
        for (source, shown) in
            [(DomainSource::Dns, "example.org:80"), (DomainSource::DnsHost, "?example.org:80")]
        {
            record.place.domain = record.place.domain.take().map(|it| Domain { source, ..it });
            assert_eq!(cell(&record), shown);
        }
    }

    #[test]
    fn there_are_no_columns_of_blanks_between_short_cells_at_120() {
        let (layout, listing) = listing(120, false);
        let line = listing.row(&layout.cells(&Event::from(&full_record())), false);
        assert!(!line.contains(&" ".repeat(40)), "{line}");
    }

    #[test]
    fn a_cell_that_takes_more_room_gives_it_back_so_that_what_follows_stands_below_its_head() {
        let layout = Layout::new(None, false, true, Times::new(true));
        let listing = Listing::new(layout.columns(), None);
        let mut record = full_record();
        record.egress.remote = "[2001:db8:1234:5678:9abc:def0:1234:5678]:443".parse().ok();
        record.place.domain = None;
        record.place.server_name = None;
        let line = listing.row(&layout.cells(&Event::from(&record)), false);
        assert!(line.ends_with("00000000000000000000000000000abc"), "{line}");
        assert!(listing.head().ends_with("ID"), "{}", listing.head());
    }

    #[test]
    fn a_state_is_the_first_more_or_the_end() {
        let mut record = full_record();
        assert_eq!(state(&Event::from(&record)), "end");
        record.egress.ended_at = None;
        assert_eq!(state(&Event::from(&record)), "more");
        record.egress.revision = 0;
        assert_eq!(state(&Event::from(&record)), "new");
    }
}
