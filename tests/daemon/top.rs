//! `top` on a real terminal, that of tmux: what stands on it, what keys do, and that it is given back.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
};

use geofenced::inside::event::{Record, Sender};
use harness::eventually;
use tempfile::TempDir;

use crate::{
    page::of_now,
    records::violation,
    rig::{Daemon, Events, geofenced},
};

const MISSING: &str = "install the Debian package `tmux`; `cargo xtask test` does";

/// A terminal in which the command runs, and a shell after it.
struct Screen {
    directory: TempDir,
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

impl Screen {
    fn of(socket: &str, (width, height): (u16, u16), arguments: &str) -> Self {
        let screen = Self { directory: tempfile::tempdir().unwrap() };
        let [width, height] = [width, height].map(|it| it.to_string());
        let binary = env!("CARGO_BIN_EXE_geofenced");
        let line = format!(
            "stty -g > before; TZ=UTC LC_ALL=C.UTF-8 {binary} top --socket {socket} {arguments}; \
             echo ended $?; stty -g | cmp - before && echo restored; read -r line"
        );
        let begun = screen.tmux(&["new-session", "-d", "-x", &width, "-y", &height, &line]);
        assert!(begun.status.success(), "{begun:?}");
        screen
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let socket: PathBuf = self.directory.path().join("tmux");
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(socket).args(["-f", "/dev/null"]).args(words);
        tmux.current_dir(self.directory.path()).output().expect(MISSING)
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn rows(&self) -> Vec<String> {
        let shown = self.tmux(&["capture-pane", "-p"]).stdout;
        String::from_utf8(shown).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// Waits until all of these stand on the screen.
    fn shows(&self, parts: &[&str]) -> Vec<String> {
        let found = eventually(|| {
            let rows = self.rows();
            parts.iter().all(|part| rows.iter().any(|row| row.contains(part))).then_some(rows)
        });
        found.unwrap_or_else(|| panic!("{parts:?}: {:#?}", self.rows()))
    }
}

fn with(records: impl IntoIterator<Item = Record>) -> Daemon {
    let records = records.into_iter().map(of_now).collect();
    Daemon::with(Events { records, ..Events::default() })
}

fn path(daemon: &Daemon) -> String {
    daemon.socket().to_str().unwrap().to_owned()
}

#[test]
fn it_shows_who_sends_where_and_takes_keys_at_every_size() {
    let daemon = with((0..3).map(violation));
    for size in [(80, 24), (200, 50)] {
        let screen = Screen::of(&path(&daemon), size, "");
        let rows = screen.shows(&["203.0.113.7:443", "tier full", "violations 3", "country"]);
        assert!(rows[4].starts_with('!'), "{rows:#?}");
        assert!(rows.iter().all(|row| row.chars().count() <= usize::from(size.0)));
        assert!(rows.last().unwrap().contains("q quit ? keys"), "{rows:#?}");
        screen.keys(&["?"]);
        screen.shows(&["process tree, and back"]);
        screen.keys(&["Escape", "t"]);
        screen.shows(&["> 203.0.113.7:443"]);
        screen.keys(&["t", "Enter"]);
        screen.shows(&["began", "arguments", "curl https://example.org", "esc back"]);
        screen.keys(&["Escape", "/", "country=US", "Enter"]);
        screen.shows(&["nothing leaves that matches", "filter country=US"]);
        screen.keys(&["/"]);
        screen.keys(&["C-c"]);
        screen.shows(&["ended 0", "restored"]);
    }
}

#[test]
fn groups_are_those_of_summary() {
    let daemon = with((0..3).map(violation));
    let screen = Screen::of(&path(&daemon), (80, 24), "--by process,country");
    screen.shows(&["/usr/bin/curl, CN", "4.5 KiB"]);
    screen.keys(&["g", "C-u", "colour", "Enter"]);
    screen.shows(&["none of country"]);
    screen.keys(&["Escape", "q"]);
    screen.shows(&["ended 0", "restored"]);
}

#[test]
fn a_signal_that_asks_for_the_end_gives_the_terminal_back() {
    let daemon = with([violation(0)]);
    let screen = Screen::of(&path(&daemon), (80, 24), "");
    screen.shows(&["203.0.113.7:443"]);
    let panes = screen.tmux(&["list-panes", "-F", "#{pane_pid}"]).stdout;
    let shell = String::from_utf8(panes).unwrap().trim().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    let top = children.split_whitespace().next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(top).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    screen.shows(&["ended 0", "restored"]);
}

#[test]
fn a_daemon_that_goes_away_is_said_and_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("geofenced.sock");
    let events = || Events { records: vec![of_now(violation(0))], ..Events::default() };
    let first = Daemon::at(tempfile::tempdir().unwrap(), socket.clone(), events());
    let screen = Screen::of(socket.to_str().unwrap(), (80, 24), "");
    screen.shows(&["203.0.113.7:443", "tier full"]);
    drop(first);
    screen.shows(&["no answer, waiting", "203.0.113.7:443"]);
    let _second = Daemon::at(tempfile::tempdir().unwrap(), socket, events());
    screen.shows(&["tier full"]);
    screen.keys(&["q"]);
    screen.shows(&["ended 0", "restored"]);
}

#[test]
fn a_name_with_commands_for_a_terminal_leaves_it_as_it_is() {
    let mut record = violation(0);
    if let Sender::Process { process, .. } = &mut record.sender {
        let process = Arc::make_mut(process);
        process.name = "\u{1b}[2J\u{1b}[1;1Hgone".into();
        process.command_line = Some("\u{1b}]0;title\u{7}\u{1b}[?1049l\u{1b}[2J".into());
    }
    let daemon = with([record]);
    let screen = Screen::of(&path(&daemon), (200, 50), "");
    let rows = screen.shows(&["203.0.113.7:443", "1Hgone", "q quit"]);
    assert!(rows[0].starts_with("geofenced: watched since"), "{rows:#?}");
    screen.keys(&["Enter"]);
    let rows = screen.shows(&["arguments", "title"]);
    assert!(rows[0].starts_with("geofenced: watched since"), "{rows:#?}");
    screen.keys(&["q"]);
    screen.shows(&["ended 0", "restored"]);
}

#[test]
fn one_frame_is_printed_for_programs_and_nothing_else_without_a_terminal() {
    let daemon = with((0..3).map(violation));
    let once = daemon.run(&["top", "--once"]);
    assert!(once.status.success(), "{once:?}");
    let text = String::from_utf8(once.stdout).unwrap();
    assert_eq!(text.matches("203.0.113.7:443").count(), 3, "{text}");
    assert!(!text.contains(['\u{1b}', '\r']), "{text:?}");
    let json = daemon.run(&["top", "--once", "-o", "json"]);
    let rows = String::from_utf8(json.stdout).unwrap();
    let rows: Vec<serde_json::Value> =
        rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0]["sent"], &rows[0]["country"]), (&1536.into(), &"CN".into()));
    for (arguments, says) in [
        (&["top"][..], "needs a terminal"),
        (&["top", "-o", "json"], "--once"),
        (&["top", "--once", "--until", "1h"], "of the past"),
        (&["top", "--once", "-o", "csv"], "no CSV"),
    ] {
        let refused = daemon.run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(says), "{refused:?}");
    }
    let nobody = geofenced(&["top", "--once", "--socket", "/nonexistent/s"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no daemon answers"), "{nobody:?}");
}

/// Processes whose command line names the socket.
fn naming(socket: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|it| it.path().join("cmdline"));
    let lines = all.filter_map(|path| std::fs::read(path).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(socket) && line.contains(" top ")).collect()
}

#[test]
fn a_top_whose_terminal_is_gone_ends() {
    let daemon = Daemon::with(Events { records: vec![violation(0)], ..Events::default() });
    let socket = daemon.socket().display().to_string();
    let screen = Screen::of(&socket, (80, 24), "");
    screen.shows(&["tier full"]);
    assert!(!naming(&socket).is_empty());
    drop(screen);
    let is_over = eventually(|| naming(&socket).is_empty().then_some(()));
    assert!(is_over.is_some(), "{:?}", naming(&socket));
}
