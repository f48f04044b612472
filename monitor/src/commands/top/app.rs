//! What is asked for, chosen and typed, and what each key does about it. Draws nothing and asks nobody: it says
//! what is to be asked.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier, Style};
use serde_json::{Map, Value};

use super::{board::Board, feed::Ask, line::Line, tree};
use crate::{cli::Order, event::Timestamp, filter::RawFilter, summary::Keys};

/// Characters of a prompt.
const TYPED_MAX: usize = 200;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    List,
    Tree,
}

/// What lies over the list.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Over {
    #[default]
    Nothing,
    Help,
    Detail {
        lines: Vec<String>,
        from: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Filter,
    Group,
}

impl Asks {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Group => "add up by",
        }
    }
}

#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) asks: Asks,
    pub(super) text: String,
    pub(super) problem: Option<String>,
}

/// What is to be done beyond the screen.
#[derive(Debug, PartialEq)]
pub(super) enum Todo {
    Nothing,
    Quit,
    /// Something else is asked for.
    Ask,
    /// Everything of this flow.
    Detail(String),
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) board: Board,
    pub(super) ask: Ask,
    /// Of the command line; what is typed adds to it.
    given: RawFilter,
    pub(super) typed: String,
    pub(super) words: Vec<String>,
    pub(super) order: Order,
    pub(super) is_reversed: bool,
    pub(super) view: View,
    pub(super) over: Over,
    pub(super) prompt: Option<Prompt>,
    pub(super) is_paused: bool,
    /// By its key, so that it stays with its line.
    chosen: Option<String>,
    /// First line that is shown.
    pub(super) first: usize,
    pub(super) utc: bool,
    pub(super) color: bool,
    pub(super) is_ascii: bool,
    pub(super) is_interactive: bool,
}

impl App {
    pub(super) fn new(ask: Ask, order: Order) -> Self {
        Self {
            board: Board::default(),
            given: ask.filter.clone(),
            ask,
            typed: String::new(),
            words: Vec::new(),
            order,
            is_reversed: false,
            view: View::List,
            over: Over::Nothing,
            prompt: None,
            is_paused: false,
            chosen: None,
            first: 0,
            utc: false,
            color: false,
            is_ascii: false,
            is_interactive: true,
        }
    }

    pub(super) fn bad(&self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.color { style.fg(Color::Red) } else { style }
    }

    pub(super) fn lines(&self) -> Vec<&Line> {
        self.board.sorted(self.order, self.is_reversed, &self.words)
    }

    /// Which of these is chosen: the first, if none is or it is gone.
    pub(super) fn selected(&self, lines: &[&Line]) -> Option<usize> {
        let chosen = self.chosen.as_deref();
        let found = lines.iter().position(|line| Some(&*line.key) == chosen);
        found.or((!lines.is_empty()).then_some(0))
    }

    pub(super) fn paste(&mut self, text: &str) {
        if let Some(prompt) = &mut self.prompt {
            let room = TYPED_MAX.saturating_sub(prompt.text.chars().count());
            prompt.text.extend(text.chars().filter(|c| !c.is_control()).take(room));
        }
    }

    /// `height`: of the screen.
    pub(super) fn press(&mut self, key: KeyEvent, page: usize) -> Todo {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Todo::Quit;
        }
        // An escape and what was typed right after it come as one.
        if key.modifiers.contains(KeyModifiers::ALT) {
            let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
            self.press(plain(KeyCode::Esc), page);
            return self.press(plain(key.code), page);
        }
        if self.prompt.is_some() {
            return if is_control { self.edit(key.code) } else { self.type_key(key.code) };
        }
        match key.code {
            KeyCode::Char('q') => return Todo::Quit,
            KeyCode::Esc | KeyCode::Backspace => self.over = Over::Nothing,
            KeyCode::Char('?') | KeyCode::F(1) => {
                self.over = if self.over == Over::Help { Over::Nothing } else { Over::Help };
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, page),
            KeyCode::Down | KeyCode::Char('j') => self.step(1, page),
            KeyCode::PageUp => self.step(-(page.cast_signed()), page),
            KeyCode::PageDown => self.step(page.cast_signed(), page),
            KeyCode::Home => self.step(isize::MIN / 2, page),
            KeyCode::End => self.step(isize::MAX / 2, page),
            _ if self.over != Over::Nothing => {}
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('s') => self.turn(1),
            KeyCode::Char('S') => self.turn(Order::ALL.len() - 1),
            KeyCode::Char('t') => {
                self.view = if self.view == View::Tree { View::List } else { View::Tree };
                self.first = 0;
            }
            KeyCode::Char('/') => self.prompt(Asks::Filter, self.typed.clone()),
            KeyCode::Char('g') => {
                let by = self.ask.by.map(|by| by.to_string()).unwrap_or_default();
                self.prompt(Asks::Group, by);
            }
            KeyCode::Enter => {
                let lines = self.lines();
                let line = self.selected(&lines).map(|at| lines[at]);
                if let Some(line) = line.filter(|line| line.is_flow && self.view == View::List) {
                    return Todo::Detail(line.key.clone());
                }
            }
            _ => {}
        }
        Todo::Nothing
    }

    fn turn(&mut self, by: usize) {
        let at = Order::ALL.iter().position(|it| *it == self.order).unwrap_or(0);
        self.order = Order::ALL[(at + by) % Order::ALL.len()];
    }

    fn prompt(&mut self, asks: Asks, text: String) {
        self.prompt = Some(Prompt { asks, text, problem: None });
    }

    fn step(&mut self, by: isize, page: usize) {
        if let Over::Detail { lines, from } = &mut self.over {
            *from = from.saturating_add_signed(by).min(lines.len().saturating_sub(1));
            return;
        }
        let lines = self.lines();
        if self.view == View::Tree {
            let last = tree::tree(&lines).len().saturating_sub(page);
            self.first = self.first.saturating_add_signed(by).min(last);
            return;
        }
        let Some(at) = self.selected(&lines) else { return };
        let at = at.saturating_add_signed(by).min(lines.len() - 1);
        self.chosen = Some(lines[at].key.clone());
        self.follow(page);
    }

    /// Shows the line that is chosen.
    pub(super) fn follow(&mut self, page: usize) {
        if self.view == View::Tree {
            return;
        }
        let lines = self.lines();
        let at = self.selected(&lines).unwrap_or(0);
        let first = self.first.min(at).max((at + 1).saturating_sub(page));
        self.first = first;
    }

    /// As a shell does.
    fn edit(&mut self, code: KeyCode) -> Todo {
        if let Some(prompt) = &mut self.prompt {
            match code {
                KeyCode::Char('u') => prompt.text.clear(),
                KeyCode::Char('h') => drop(prompt.text.pop()),
                _ => {}
            }
        }
        Todo::Nothing
    }

    fn type_key(&mut self, code: KeyCode) -> Todo {
        let Some(prompt) = &mut self.prompt else { return Todo::Nothing };
        match code {
            KeyCode::Esc => self.prompt = None,
            KeyCode::Backspace => {
                prompt.text.pop();
            }
            KeyCode::Char(c) if !c.is_control() && prompt.text.chars().count() < TYPED_MAX => {
                prompt.text.push(c);
            }
            KeyCode::Enter => {
                let (asks, text) = (prompt.asks, prompt.text.trim().to_owned());
                let taken = match asks {
                    Asks::Filter => self.filter(&text),
                    Asks::Group => self.group(&text),
                };
                match taken {
                    Ok(()) => {
                        self.prompt = None;
                        (self.chosen, self.first) = (None, 0);
                        return Todo::Ask;
                    }
                    Err(problem) => {
                        self.prompt = Some(Prompt { asks, text, problem: Some(problem) });
                    }
                }
            }
            _ => {}
        }
        Todo::Nothing
    }

    fn group(&mut self, text: &str) -> Result<(), String> {
        self.ask.by = if text.is_empty() { None } else { Some(Keys::parse(text)?) };
        self.view = View::List;
        Ok(())
    }

    /// `name=value` as the options of `events` are called; everything else is a word of the line.
    pub(super) fn filter(&mut self, text: &str) -> Result<(), String> {
        let given = serde_json::to_value(&self.given).map_err(|error| error.to_string())?;
        let mut all: Map<String, Value> = given.as_object().cloned().unwrap_or_default();
        let mut words = Vec::new();
        for part in text.split_whitespace() {
            match part.trim_start_matches("--").split_once('=') {
                Some((name, value)) => {
                    if let Some(problem) = refused(name) {
                        return Err(problem);
                    }
                    all.insert(name.to_owned(), value.into());
                }
                None => words.push(part.to_lowercase()),
            }
        }
        let filter: RawFilter =
            serde_json::from_value(all.into()).map_err(|error| error.to_string())?;
        // What the daemon would refuse, here already.
        filter.parse(Timestamp::from_secs(0)).map_err(|error| error.to_string())?;
        (self.ask.filter, self.words, self.typed) = (filter, words, text.to_owned());
        Ok(())
    }
}

/// Filters that make no sense of what is live.
pub(super) fn refused(name: &str) -> Option<String> {
    let is_refused = matches!(name, "since" | "until" | "interval" | "limit" | "reverse");
    is_refused.then(|| format!("`{name}` is of the past; ask `geofenced events` or `summary`"))
}

#[cfg(test)]
mod tests;
