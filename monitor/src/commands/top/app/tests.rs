//! Keys, what they choose, and what is typed.

use std::time::Instant;

use super::*;
use crate::commands::top::board::tests::{flow, look};

const PAGE: usize = 24;

fn app(flows: u64) -> App {
    let mut app = App::new(Ask::default(), Order::Rate);
    let records: Vec<_> = (0..flows).map(|it| flow(it, 1000 - it, false)).collect();
    app.board.take(look(Instant::now(), 0, &records, 7));
    app
}

fn press(app: &mut App, code: KeyCode) -> Todo {
    app.press(KeyEvent::new(code, KeyModifiers::NONE), PAGE)
}

fn typed(app: &mut App, text: &str) -> Todo {
    for c in text.chars() {
        assert_eq!(press(app, KeyCode::Char(c)), Todo::Nothing);
    }
    press(app, KeyCode::Enter)
}

#[test]
fn what_is_chosen_stays_chosen_when_the_order_changes_and_is_always_on_the_screen() {
    let mut app = app(100);
    for _ in 0..30 {
        press(&mut app, KeyCode::Down);
    }
    let chosen = app.chosen.clone().unwrap();
    let at = |app: &App| app.selected(&app.lines()).unwrap();
    assert_eq!(at(&app), 30);
    press(&mut app, KeyCode::Char('r'));
    app.follow(PAGE);
    assert_eq!(app.chosen.as_ref(), Some(&chosen));
    assert_eq!(at(&app), 69);
    assert!((app.first..app.first + PAGE).contains(&at(&app)));
    press(&mut app, KeyCode::End);
    assert_eq!(at(&app), 99);
    press(&mut app, KeyCode::Home);
    assert_eq!((at(&app), app.first), (0, 0));
    let first = app.lines()[0].key.clone();
    assert_eq!(press(&mut app, KeyCode::Enter), Todo::Detail(first));
}

#[test]
fn a_filter_is_typed_as_the_options_are_called_and_what_is_wrong_is_said() {
    let mut app = app(3);
    press(&mut app, KeyCode::Char('/'));
    assert_eq!(typed(&mut app, "country=CN --process=curl QuX"), Todo::Ask);
    assert_eq!(app.ask.filter.country.as_deref(), Some("CN"));
    assert_eq!(app.ask.filter.process.as_deref(), Some("curl"));
    assert_eq!(app.words, ["qux"]);
    assert!(app.lines().is_empty(), "no line has that word");
    for (wrong, says) in [
        ("country=China", "two-letter"),
        ("contry=CN", "contry"),
        ("since=1h", "of the past"),
        ("verdict=bad", "none of"),
    ] {
        app.prompt(Asks::Filter, String::new());
        assert_eq!(typed(&mut app, wrong), Todo::Nothing);
        let problem = app.prompt.as_ref().unwrap().problem.clone().unwrap();
        assert!(problem.contains(says), "{problem}");
        assert_eq!(app.ask.filter.country.as_deref(), Some("CN"), "it stays as it was");
        press(&mut app, KeyCode::Esc);
    }
    app.prompt(Asks::Filter, String::new());
    assert_eq!(typed(&mut app, ""), Todo::Ask);
    assert_eq!((app.ask.filter.clone(), app.lines().len()), (RawFilter::default(), 3));
}

#[test]
fn what_the_command_line_said_holds_whatever_is_typed() {
    let given = RawFilter { user: Some("ana".into()), ..RawFilter::default() };
    let mut app = App::new(Ask { filter: given, ..Ask::default() }, Order::Rate);
    app.filter("country=CN").unwrap();
    assert_eq!(app.ask.filter.user.as_deref(), Some("ana"));
    app.filter("").unwrap();
    assert_eq!(app.ask.filter.user.as_deref(), Some("ana"));
}

#[test]
fn groups_are_typed_as_summary_has_them() {
    let mut app = app(1);
    press(&mut app, KeyCode::Char('g'));
    assert_eq!(typed(&mut app, "process,country"), Todo::Ask);
    assert_eq!(app.ask.by, Some(Keys::parse("process,country").unwrap()));
    app.prompt(Asks::Group, String::new());
    assert_eq!(typed(&mut app, "colour"), Todo::Nothing);
    assert!(app.prompt.as_ref().unwrap().problem.as_ref().unwrap().contains("none of country"));
}

#[test]
fn control_c_quits_from_everywhere_and_q_is_a_letter_where_something_is_typed() {
    let mut app = app(1);
    press(&mut app, KeyCode::Char('/'));
    assert_eq!(press(&mut app, KeyCode::Char('q')), Todo::Nothing);
    let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.press(quit, PAGE), Todo::Quit);
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('?'));
    assert_eq!(app.over, Over::Help);
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.over, Over::Nothing);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Todo::Quit);
}

#[test]
fn a_list_without_a_line_takes_every_key() {
    let mut app = App::new(Ask::default(), Order::Rate);
    for code in [KeyCode::Down, KeyCode::Up, KeyCode::PageDown, KeyCode::End, KeyCode::Enter] {
        assert_eq!(press(&mut app, code), Todo::Nothing);
    }
    press(&mut app, KeyCode::Char('t'));
    press(&mut app, KeyCode::Down);
}

#[test]
fn an_escape_with_a_key_right_behind_it_is_both() {
    let mut app = app(1);
    press(&mut app, KeyCode::Char('/'));
    press(&mut app, KeyCode::Char('x'));
    let cleared = KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL);
    app.press(cleared, PAGE);
    assert_eq!(app.prompt.as_ref().unwrap().text, "");
    let both = KeyEvent::new(KeyCode::Char('t'), KeyModifiers::ALT);
    assert_eq!(app.press(both, PAGE), Todo::Nothing);
    assert!(app.prompt.is_none());
    assert_eq!(app.view, View::Tree);
}
