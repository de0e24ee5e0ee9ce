//! The last line: the most important keys of the pane, or the filter that is typed.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style as Look;

use super::{BOLD, REVERSED, blank, look_of, text};
use crate::cli::output::Style;
use crate::cli::terminal;
use crate::cli::top::layout::clamp;
use crate::cli::top::state::{Pane, State, Typing};

/// Key and effect.
type Key = (&'static str, &'static str);

const HELP: Key = ("?", "help");

/// Draws the keys that fit, or the filter that is typed.
pub(super) fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if let Some(typing) = &state.typing {
        return line(typing, area, buffer);
    }
    let mut x = 0;
    for (key, effect) in fitting(keys(state), usize::from(area.width)) {
        x = text(buffer, area, x, key, REVERSED);
        x = text(buffer, area, x, &format!(" {effect}  "), Look::new());
    }
}

/// Returns the keys of the pane, the most important first.
fn keys(state: &State) -> &'static [Key] {
    match state.pane {
        Pane::Streams => &[
            ("q", "quit"),
            ("/", "filter"),
            ("Enter", "details"),
            ("s", "sort"),
            ("g", "nodes"),
            ("e", "ended"),
            ("r", "reverse"),
            ("Space", "freeze"),
        ],
        Pane::Nodes => &[("q", "quit"), ("g", "back"), ("Enter", "streams"), ("/", "filter"), ("Space", "freeze")],
        Pane::Ended => &[("q", "quit"), ("e", "back"), ("Enter", "details"), ("/", "filter"), ("Space", "freeze")],
        Pane::Detail(_) | Pane::End(_) => &[("q", "quit"), ("Esc", "back"), ("↑↓", "scroll"), ("Space", "freeze")],
    }
}

/// Returns the help and the first of the other keys, as many as a width has room for.
fn fitting(keys: &'static [Key], width: usize) -> impl Iterator<Item = Key> {
    let mut used = 0;
    std::iter::once(HELP).chain(keys.iter().copied()).take_while(move |(key, effect)| {
        used += terminal::width(key) + 1 + terminal::width(effect);
        let fits = used <= width;
        used += 2;
        fits
    })
}

fn line(typing: &Typing, area: Rect, buffer: &mut Buffer) {
    let line = terminal::escape(&typing.line);
    // The end of the line is where the next character appears.
    let room = usize::from(area.width).saturating_sub(12);
    let skip = line.char_indices().map(|(at, _)| at).find(|at| terminal::width(&line[*at..]) <= room);
    let line = &line[skip.unwrap_or(line.len())..];
    let mut x = text(buffer, area, 0, "filter: ", BOLD);
    x = text(buffer, area, x, line, Look::new());
    text(buffer, area, x, "▏", Look::new());
}

/// Draws the error of the filter at the end of an area, over other lines.
pub(super) fn error(state: &State, area: Rect, buffer: &mut Buffer) {
    let Some(error) = state.typing.as_ref().and_then(|typing| typing.error.as_ref()) else { return };
    let parts = error.split("; ");
    let lines: Vec<_> = parts.flat_map(|part| terminal::wrap(&terminal::escape(part), area.width.into())).collect();
    let height = clamp(lines.len()).min(area.height);
    let area = Rect { y: area.bottom() - height, height, ..area };
    blank(buffer, area);
    for (row, line) in area.rows().zip(&lines) {
        text(buffer, row, 0, line, look_of(Style::Red, state.settings.colour));
    }
}
