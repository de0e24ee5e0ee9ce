//! The help, on top of the screen.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style as Look;

use super::{BOLD, blank, text};
use crate::cli::terminal;
use crate::cli::top::layout::clamp;

/// The keys, the most useful first. On a low screen, the last ones are not shown.
const KEYS: [(&str, &str); 13] = [
    ("q Ctrl-C", "quit"),
    ("↑ ↓  j k", "move; also PgUp PgDn Home End"),
    ("Enter", "details; in nodes: streams of the node"),
    ("Esc", "back; in streams: remove the filter"),
    ("/", "filter: status=error node=n1 -l k=v text"),
    ("1 … 5", "all, active, error, late, taken over"),
    ("s S", "sort by the next, previous column"),
    ("r", "reverse the order"),
    ("g", "nodes"),
    ("e", "ended streams"),
    ("Space", "freeze the screen, and thaw it"),
    ("click", "heading: sort; line: select, open"),
    ("Ctrl-L -Z", "draw again; suspend"),
];

/// Draws the keys in the middle of the screen, as many as fit.
pub(super) fn draw(screen: Rect, buffer: &mut Buffer) {
    let widest = KEYS.iter().map(|(_, what)| terminal::width(what)).max().unwrap_or_default();
    let (width, height) = (clamp(widest + 14).min(screen.width), clamp(KEYS.len() + 1).min(screen.height));
    let x = screen.x + (screen.width - width) / 2;
    let y = screen.y + (screen.height - height) / 2;
    let area = Rect { x, y, width, height };
    blank(buffer, area);
    let mut rows = area.rows();
    if let Some(row) = rows.next() {
        let hidden = KEYS.len().saturating_sub(usize::from(height).saturating_sub(1));
        let title = match hidden {
            0 => "KEYS  (any key closes)".to_owned(),
            _ => format!("KEYS  (any key closes; {hidden} not shown)"),
        };
        text(buffer, row, 1, &title, BOLD);
    }
    for (row, (keys, what)) in rows.zip(KEYS) {
        text(buffer, row, 1, keys, BOLD);
        text(buffer, row, 12, &terminal::shorten(what, usize::from(row.width).saturating_sub(12)), Look::new());
    }
}
