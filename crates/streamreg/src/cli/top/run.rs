//! The loop of `top`: waits for keys, data and time, and draws at most ten times a second.

use std::io::{self, BufWriter};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ratatui_core::layout::Rect;
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::event::{self, Event};
use stream_registry::Registry;
use stream_registry::query::Filter;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::draw::draw;
use super::rows::Sort;
use super::screen::{self, Screen};
use super::source::Source;
use super::state::{Request, Settings, State};
use crate::cli::failure::{Failure, Result, Status};
use crate::cli::signal::{self, Signals};

/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Time to draw the last frame after a signal. If the terminal accepts no output, the program exits after this time.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of keys that wait while a frame is drawn.
const KEYS: usize = 256;

/// Shows the registry until the user quits or a signal arrives.
///
/// # Errors
///
/// Fails if the terminal cannot be used.
pub(super) async fn run(registry: Arc<dyn Registry>, settings: Settings, filter: Filter, sort: Sort) -> Result {
    let mut stop = pin!(signal::stop_requested_or(Some(LAST_WRITE_TIMEOUT), screen::give_up));
    let mut continued = Signals::unless_ignored(&[signal::CONTINUE]);
    let start = Instant::now();
    let mut source = Source::start(registry, start);
    let data = Arc::clone(&source.data.borrow_and_update());
    let mut state = State::new(settings, filter, sort, data);
    let screen = Screen::enter().map_err(|error| failure(&error))?;
    let backend = CrosstermBackend::new(BufWriter::new(screen::Terminal));
    let mut terminal = Terminal::new(backend).map_err(|error| failure(&error))?;
    let mut events = events();
    let mut frame_due = start;
    loop {
        if state.is_dirty() && Instant::now() >= frame_due {
            let drawn = terminal.draw(|frame| {
                state.layout(frame.area());
                draw(&state, frame.area(), frame.buffer_mut());
            });
            drawn.map_err(|error| failure(&error))?;
            // The pause begins after the frame: a slow terminal gets the newest frame and no queue of old ones.
            frame_due = Instant::now() + FRAME;
            let wants = state.wants();
            source.wants.send_if_modified(|present| {
                let differs = *present != wants;
                *present = wants;
                differs
            });
        }
        let next_second = start + Duration::from_secs(start.elapsed().as_secs() + 1);
        tokio::select! {
            _ = &mut stop => return Ok(()),
            _ = continued.next() => {
                screen.resume().and_then(|()| clear(&mut terminal)).map_err(|error| failure(&error))?;
                state.touch();
            }
            event = events.recv() => {
                let mut next = event;
                while let Some(event) = next {
                    state.event(&event.map_err(|error| failure(&error))?);
                    next = events.try_recv().ok();
                }
            }
            changed = source.data.changed() => {
                // The sender ends with the source, which lives as long as this loop.
                if changed.is_ok() {
                    state.data(Arc::clone(&source.data.borrow_and_update()));
                }
            }
            () = sleep_until(next_second) => {}
            () = sleep_until(frame_due), if state.is_dirty() => {}
        }
        state.tick(start.elapsed());
        match state.take_request() {
            Some(Request::Quit) => return Ok(()),
            Some(Request::Suspend) => {
                screen.suspend().and_then(|()| clear(&mut terminal)).map_err(|error| failure(&error))?;
                state.touch();
            }
            Some(Request::Redraw) => clear(&mut terminal).map_err(|error| failure(&error))?,
            None => {}
        }
    }
}

/// Clears the screen, so that the next frame draws all of it. `Terminal::clear` would ask the terminal for the position of
/// the cursor, and the thread that reads events would take the answer.
fn clear(terminal: &mut Terminal<CrosstermBackend<BufWriter<screen::Terminal>>>) -> io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(Rect::new(0, 0, size.width, size.height))
}

/// Reads the events of the terminal in a thread of its own, because reading blocks.
fn events() -> mpsc::Receiver<io::Result<Event>> {
    let (send, events) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if send.blocking_send(event).is_err() || failed {
                return;
            }
        }
    });
    events
}

fn failure(error: &io::Error) -> Failure {
    Failure::new(Status::Failed, format_args!("cannot use the terminal: {error}"))
}
