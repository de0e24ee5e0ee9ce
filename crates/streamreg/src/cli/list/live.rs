//! `list --watch` on a terminal: one table that is updated in place.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::query::Query;
use stream_registry::view::{View, ViewOptions};
use stream_registry::{Registry, Result as StoreResult, Stream};
use terminal_size::terminal_size;
use tokio::time::{Instant, sleep};

use super::ListArgs;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Output, TableOptions, Zone};
use crate::cli::{outage, terminal};

/// Time between two looks at the view.
const CHECK: Duration = Duration::from_millis(500);
/// Time after which the shown streams are read again, because the change feed reports no statistics and heartbeats.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// Size of a terminal that does not report its size.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Moves the cursor up and erases everything below it (ECMA-48: CUU, ED), and controls the wrapping of long lines
/// (DECAWM).
const ERASE_BELOW: &str = "\u{1b}[J";
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
const WRAP_OFF: &str = "\u{1b}[?7l";
const WRAP_ON: &str = "\u{1b}[?7h";

/// Shows the table of the selected streams until `stop` completes. The last table stays on the terminal.
///
/// # Errors
///
/// Fails if the registry is closed, or if standard output cannot be written.
pub(in crate::cli) async fn run(
    registry: &Arc<dyn Registry>,
    args: &ListArgs,
    stop: impl Future,
    out: &mut Output<'_>,
) -> Result {
    let table = args.table(out)?;
    let view = View::new(Arc::clone(registry), ViewOptions::default());
    tokio::select! {
        _ = stop => Ok(()),
        done = follow(registry, &view, args, &table, out) => done,
    }
}

async fn follow(
    registry: &Arc<dyn Registry>,
    view: &View,
    args: &ListArgs,
    table: &TableOptions,
    out: &mut Output<'_>,
) -> Result {
    view.ready().await.map_err(|error| out.failure(&error))?;
    let mut screen = Screen::default();
    let zone = Zone::local();
    let mut answered = registry.now();
    loop {
        let revision = view.revision();
        let (width, height) = size();
        out.width = Some(width);
        // The last line of the terminal stays free for the cursor. One line has the headings, one line the total.
        let room = height.saturating_sub(3).max(1);
        let (shown, outage) = match read(registry, view, args, room).await {
            Ok(shown) => {
                answered = registry.now();
                (shown, None)
            }
            Err(error) => {
                let shown = last_known(view, args, room.saturating_sub(1).max(1));
                let outage = outage::describe(&error, Some(answered), &zone);
                (shown.map_err(|error| out.failure(&error))?, Some(outage))
            }
        };
        // The ages are those of the last answer.
        let (mut text, _) = out.table_of_streams(&shown.streams, answered, table);
        let total = total(&shown, &zone.time_of_day(answered));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", terminal::shorten(&total, width));
        if let Some(outage) = outage {
            let _ = writeln!(text, "{}", outage::fit(&outage, width));
        }
        screen.show(&text, (width, height), out)?;
        let due = Instant::now() + READ_AGAIN;
        sleep(CHECK).await;
        while view.revision() == revision && Instant::now() < due {
            sleep(CHECK).await;
        }
    }
}

/// The streams that fit on the terminal, and the number of all streams that match.
struct Shown {
    streams: Vec<Stream>,
    total: u64,
}

/// Returns the line below the table.
fn total(shown: &Shown, updated: &str) -> String {
    let matching = match shown.total {
        0 => "no streams match".to_owned(),
        1 => "1 stream matches".to_owned(),
        total => format!("{total} streams match"),
    };
    let first = match shown.streams.len() {
        all if all as u64 >= shown.total => String::new(),
        some => format!(", showing the first {some}"),
    };
    format!("{matching}{first}; updated {updated}")
}

fn query(args: &ListArgs, room: usize) -> Query {
    let room = u32::try_from(room).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let limit = args.limit.map_or(room, |limit| limit.min(room));
    Query::default().filter(args.filter.filter()).order(args.sort.unwrap_or_default()).limit(limit)
}

/// Reads the current records of the streams that fit on the terminal.
async fn read(registry: &Arc<dyn Registry>, view: &View, args: &ListArgs, room: usize) -> StoreResult<Shown> {
    if args.ids.is_empty() {
        let page = view.find_fresh(&query(args, room)).await?;
        return Ok(Shown { streams: page.streams, total: page.total });
    }
    let streams: Vec<_> = registry.get_many(&args.ids).await?.into_iter().flatten().collect();
    let total = streams.len() as u64;
    Ok(Shown { streams: streams.into_iter().take(room).collect(), total })
}

/// Returns the same streams as of the last answer of the store.
fn last_known(view: &View, args: &ListArgs, room: usize) -> StoreResult<Shown> {
    let (streams, total) = if args.ids.is_empty() {
        let found = view.find(&query(args, room))?;
        (found.streams, found.total)
    } else {
        let streams: Vec<_> = args.ids.iter().filter_map(|id| view.get(id)).collect();
        let total = streams.len() as u64;
        (streams.into_iter().take(room).collect(), total)
    };
    Ok(Shown { streams: streams.iter().map(|stream| Stream::clone(stream)).collect(), total })
}

fn size() -> (usize, usize) {
    match terminal_size() {
        Some((width, height)) if width.0 > 0 && height.0 > 0 => (width.0.into(), height.0.into()),
        _ => DEFAULT_SIZE,
    }
}

/// The lines that the last table occupies.
#[derive(Default)]
struct Screen {
    lines: usize,
    size: Option<(usize, usize)>,
}

impl Screen {
    /// Replaces the last table. After a change of its size, a terminal may have moved the old lines, so it is cleared.
    fn show(&mut self, text: &str, size: (usize, usize), out: &mut Output<'_>) -> Result {
        let start = match self.size {
            Some(last) if last != size => CLEAR.to_owned(),
            _ if self.lines > 0 => format!("\u{1b}[{}A\r{ERASE_BELOW}", self.lines),
            _ => String::new(),
        };
        self.lines = text.lines().count();
        self.size = Some(size);
        let frame = format!("{WRAP_OFF}{start}{text}{WRAP_ON}");
        out.stdout.write_all(frame.as_bytes()).map_err(|error| Failure::output(&error))?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_replaces_the_lines_of_the_last_one_until_the_size_changes() {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut out = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
            format: None,
            terminal: true,
            width: None,
            colour: false,
            logs_notes: false,
            store: "",
        };
        let mut screen = Screen::default();
        for (text, size) in [("a\nb\n", (80, 24)), ("c\n", (80, 24)), ("d\n", (40, 24))] {
            screen.show(text, size, &mut out).unwrap();
        }
        let expected = "\u{1b}[?7la\nb\n\u{1b}[?7h\
                        \u{1b}[?7l\u{1b}[2A\r\u{1b}[Jc\n\u{1b}[?7h\
                        \u{1b}[?7l\u{1b}[H\u{1b}[2Jd\n\u{1b}[?7h";
        assert_eq!(String::from_utf8(stdout).unwrap(), expected);
    }
}
