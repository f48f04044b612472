//! Lines at every width, with and without colour, and the names that others chose.

use std::{sync::Arc, time::Instant};

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::{Buffer, Cell},
};

use super::*;
use crate::{
    cli::Order,
    commands::top::{
        app::Asks,
        board::tests::{flow, look},
        feed::Ask,
        screen,
    },
    event::{Reason, Record, Sender},
    printable::is_unsafe,
};

const WIDTHS: [u16; 4] = [60, 80, 120, 200];

fn violation(number: u64, sent: u64) -> Record {
    let mut record = flow(number, sent, false);
    record.egress.remote = "203.113.250.204:65535".parse().ok();
    record.place.domain = None;
    record.place.server_name = None;
    record.judgement.reason = Reason::Country;
    record
}

fn app(records: &[Record]) -> App {
    let mut app = App::new(Ask::default(), Order::Rate);
    let begin = Instant::now();
    app.board.take(look(begin, 0, &[], 0));
    app.board.take(look(begin, 1, records, 4_000_000));
    app.utc = true;
    app
}

fn drawn(app: &App, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<&str> = buffer.content().iter().map(Cell::symbol).collect();
    symbols.chunks(width).map(<[&str]>::concat).collect()
}

#[test]
fn at_every_width_rate_reason_and_a_whole_address_are_there_and_the_keys() {
    let app = app(&[violation(1_000_000_000, 2048)]);
    for width in WIDTHS {
        let rows = rows(&drawn(&app, width, 24));
        assert!(rows[0].contains("watched since 2027-01-15"), "{width}: {rows:#?}");
        assert!(
            rows[1].starts_with("violations 1 | unapproved 3.8 MiB/s, 3.8 MiB | all "),
            "{width}: {rows:#?}"
        );
        assert!(rows[2].trim_end().ends_with("peak 3.8 MiB/s"), "{width}: {rows:#?}");
        for head in ["RATE", "CC", "PROGRAM", "DESTINATION", "REASON"] {
            assert!(rows[3].contains(head), "{width} {head}: {rows:#?}");
        }
        for part in ["! ", "2.0 KiB/s", "203.113.250.204:65535", "country"] {
            assert!(rows[4].contains(part), "{width} {part}: {rows:#?}");
        }
        assert!(rows[23].starts_with("rate | q quit ? keys"), "{width}: {rows:#?}");
        assert_eq!(rows[3].contains("SENT"), width >= 80);
        assert_eq!(rows[3].contains("USER"), width >= 120);
        assert_eq!(rows[3].contains("UNIT"), width >= 200);
    }
}

#[test]
fn no_name_moves_the_cursor_or_hides_another_line() {
    const EVIL: &str = "a\u{1b}[2J\u{1b}[H\n\r\u{8}\u{202e}\u{200b}\u{9b}5A";
    let mut record = violation(1, 1);
    if let Sender::Process { process, .. } = &mut record.sender {
        let process = Arc::make_mut(process);
        process.name = EVIL.into();
        process.unit = Some(EVIL.into());
        process.user.name = Some(EVIL.into());
    }
    record.judgement.reason = Reason::Rule(EVIL.into());
    let mut app = app(&[record]);
    app.typed = EVIL.into();
    for over in [
        Over::Nothing,
        Over::Help,
        Over::Detail { lines: vec![EVIL.into(), EVIL.repeat(100)], from: 0 },
    ] {
        app.over = over;
        for view in [View::List, View::Tree] {
            app.view = view;
            for (text, _) in frame(&app, 200, 40) {
                assert!(!text.contains(is_unsafe), "{text:?}");
            }
            let buffer = drawn(&app, 200, 40);
            assert!(buffer.content().iter().all(|cell| !cell.symbol().contains(is_unsafe)));
        }
    }
}

#[test]
fn what_is_in_violation_or_has_ended_is_told_without_colour() {
    let mut ended = violation(2, 7);
    ended.egress.ended_at = Some(ended.egress.started_at);
    let app = app(&[violation(1, 5), ended]);
    let buffer = drawn(&app, 80, 24);
    let text = rows(&buffer);
    assert!(text[4..6].iter().any(|row| row.starts_with("! ")), "{text:#?}");
    assert!(text[4..6].iter().any(|row| row.starts_with("x ") && row.contains("ended")));
    let colours = buffer.content().iter().filter(|cell| cell.fg != Color::Reset);
    assert_eq!(colours.count(), 0);
    let mut colored = app;
    colored.color = true;
    let red = drawn(&colored, 80, 24).content().iter().filter(|it| it.fg == Color::Red).count();
    assert!(red > 0);
}

#[test]
fn a_terminal_of_any_size_is_drawn_and_one_that_knows_ascii_alone_gets_no_more() {
    let records: Vec<Record> = (0..40).map(|it| violation(it, it)).collect();
    let mut app = app(&records);
    app.is_ascii = true;
    app.prompt = Some(crate::commands::top::app::Prompt {
        asks: Asks::Filter,
        text: "é".repeat(50),
        problem: Some("wrong".into()),
    });
    for (width, height) in [(1, 1), (3, 2), (10, 4), (60, 5), (300, 100)] {
        for view in [View::List, View::Tree] {
            app.view = view;
            let rows = rows(&drawn(&app, width, height));
            assert_eq!(rows.len(), usize::from(height));
            assert!(rows.iter().all(|row| row.is_ascii()), "{rows:?}");
        }
    }
}

#[test]
fn a_daemon_that_is_gone_is_said_and_so_is_what_it_lost() {
    let mut app = app(&[violation(1, 1)]);
    let status = app.board.status.as_mut().unwrap();
    status.losses = vec![crate::api::status::Loss {
        stage: "store".into(),
        reason: "disk-full".into(),
        count: 42,
    }];
    assert!(rows(&drawn(&app, 80, 24))[0].contains("lost 42"));
    app.board.status.as_mut().unwrap().coverage_since = None;
    assert!(rows(&drawn(&app, 80, 24))[0].contains("NOT WATCHED"));
    app.board.lose("no daemon answers at /run/x".into());
    let rows = rows(&drawn(&app, 80, 24));
    assert!(rows[0].starts_with("no answer, waiting: no daemon answers at /run/x"), "{rows:#?}");
}

#[test]
fn programs_stand_below_who_started_them() {
    let mut app = app(&[violation(1_000_000_000, 2048)]);
    app.view = View::Tree;
    let rows = rows(&drawn(&app, 120, 24));
    let list: Vec<&String> = rows[4..23].iter().filter(|row| !row.trim().is_empty()).collect();
    assert!(list.len() >= 2, "{rows:#?}");
    let last = list.last().unwrap();
    assert!(last.contains("> 203.113.250.204:65535") && last.starts_with('!'), "{rows:#?}");
    let indent = |row: &str| row[28..].len() - row[28..].trim_start().len();
    assert!(indent(list[0]) < indent(last), "{rows:#?}");
}
