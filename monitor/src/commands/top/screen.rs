//! The terminal: taken at the start and given back whatever happens, written to when something changed, and not
//! more often than it is worth. Shows what `frame` says.

use std::{
    io::stdin,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyEventKind},
};
use rustix::{
    event::{PollFd, PollFlags},
    time::Timespec,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    app::{App, Over, Todo},
    feed::{Feed, News},
    frame,
};
use crate::{api::client::Client, cli::Exit, commands::show};

/// How long a key may wait for who asks whether it is time to end.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is asked whether the terminal is there.
const LOOKS: Duration = Duration::from_secs(1);
/// In which the terminal is given back in the usual way.
const GRACE: Duration = Duration::from_secs(1);
/// A line that is slow is not given more frames than this.
const BETWEEN: Duration = Duration::from_millis(200);

/// Gives the terminal back, in whatever way this ends; a panic's own hook does it first.
struct Restores;

impl Drop for Restores {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Until somebody quits, or a signal says so.
pub(super) fn run(mut app: App, feed: &Feed, socket: &Path) -> anyhow::Result<()> {
    let is_over = on_signals()?;
    let client = Client::new(socket)?;
    let mut terminal = ratatui::try_init()?;
    let _restores = Restores;
    let shown = turn(&mut terminal, &mut app, feed, &client, &is_over);
    feed.end();
    shown
}

fn turn(
    terminal: &mut DefaultTerminal,
    app: &mut App,
    feed: &Feed,
    client: &Client,
    is_over: &AtomicBool,
) -> anyhow::Result<()> {
    let (mut is_new, mut drawn) = (true, None::<Instant>);
    let is_due = |drawn: Option<Instant>| drawn.is_none_or(|at| at.elapsed() >= BETWEEN);
    while !is_over.load(Ordering::Relaxed) {
        let height = usize::from(terminal.size()?.height);
        if event::poll(PAUSE)? {
            is_new = true;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    match app.press(key, frame::room(height).max(1)) {
                        Todo::Quit => return Ok(()),
                        Todo::Ask => feed.ask(app.ask.clone()),
                        Todo::Detail(id) => app.over = detail(client, &id, app.utc),
                        Todo::Nothing => {}
                    }
                }
                Event::Paste(text) => app.paste(&text),
                _ => {}
            }
            // All that was typed meanwhile is one frame.
            if event::poll(Duration::ZERO)? && !is_due(drawn) {
                continue;
            }
        }
        if !app.is_paused
            && let Some(news) = feed.take()
        {
            is_new = true;
            match news {
                News::Look(look) => app.board.take(*look),
                News::Gone(why) => app.board.lose(why),
            }
            app.follow(frame::room(height));
        }
        if is_new && is_due(drawn) {
            terminal.draw(|frame| draw(app, frame))?;
            (is_new, drawn) = (false, Some(Instant::now()));
        }
    }
    Ok(())
}

/// Line by line; what is as it was is not written again.
pub(super) fn draw(app: &App, to: &mut Frame<'_>) {
    let area = to.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let lines = frame::frame(app, width, height);
    let buffer = to.buffer_mut();
    for (y, (text, style)) in (area.y..).zip(lines) {
        let row = ratatui::layout::Rect { y, height: 1, ..area };
        buffer.set_stringn(area.x, y, text, width, style);
        buffer.set_style(row, style);
    }
}

fn detail(client: &Client, id: &str, utc: bool) -> Over {
    let text = match show::text(client, id, utc) {
        Ok(Some(text)) => text,
        Ok(None) => "nothing more is known of it".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    Over::Detail { lines: text.lines().map(ToOwned::to_owned).collect(), from: 0 }
}

/// Whether nobody is at the other end of the terminal any more (`POLLHUP`, poll(2)).
fn is_hung_up() -> bool {
    let input = stdin();
    let mut asked = [PollFd::new(&input, PollFlags::empty())];
    rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok()
        && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Set by a signal that asks for the end. A terminal that is gone asks, too: where it ends what is read, who waits
/// for a key reads nothing without end, so the process is ended from here.
fn on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let is_over = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _entered = runtime.enter();
        let all = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [a, b, c] = all.map(signal);
        (a?, b?, c?)
    };
    let told = Arc::clone(&is_over);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
                () = async { while !is_hung_up() { tokio::time::sleep(LOOKS).await } } => {}
            }
        });
        told.store(true, Ordering::Relaxed);
        thread::sleep(GRACE);
        ratatui::restore();
        process::exit(Exit::Fine as i32);
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(is_over)
}
