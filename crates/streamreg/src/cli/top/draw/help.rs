//! The help, on top of the screen.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style as Look;

use super::{BOLD, text};
use crate::cli::terminal;
use crate::cli::top::layout::clamp;

const KEYS: [(&str, &str); 17] = [
    ("↑ ↓  j k", "move"),
    ("PgUp PgDn", "move by a page"),
    ("Home End", "first, last"),
    ("Enter", "detail; in nodes: streams of the node"),
    ("Esc", "back; in streams: remove the filter"),
    ("1 … 5", "all, active, error, late, taken over"),
    ("/", "filter: status=error node=n1 -l k=v text"),
    ("s S", "sort by the next, previous column"),
    ("r", "reverse the order"),
    ("g", "nodes"),
    ("e", "ended streams"),
    ("Space", "freeze the table"),
    ("click", "heading: sort; line: select, open"),
    ("Ctrl-L", "draw again"),
    ("Ctrl-Z", "suspend"),
    ("q Ctrl-C", "quit"),
    ("?", "help; any key closes it"),
];

/// Draws the keys in the middle of the screen, as many as fit.
pub(super) fn draw(screen: Rect, buffer: &mut Buffer) {
    let widest = KEYS.iter().map(|(_, what)| terminal::width(what)).max().unwrap_or_default();
    let (width, height) = (clamp(widest + 15).min(screen.width), clamp(KEYS.len() + 2).min(screen.height));
    let x = screen.x + (screen.width - width) / 2;
    let y = screen.y + (screen.height - height) / 2;
    let area = Rect { x, y, width, height };
    for row in area.rows() {
        text(buffer, row, 0, &" ".repeat(width.into()), Look::new());
    }
    buffer.set_style(area, Look::reset());
    let mut rows = area.rows();
    if let Some(row) = rows.next() {
        text(buffer, row, 1, "KEYS", BOLD);
    }
    for (row, (keys, what)) in rows.zip(KEYS) {
        text(buffer, row, 1, keys, BOLD);
        text(buffer, row, 12, what, Look::new());
    }
}
