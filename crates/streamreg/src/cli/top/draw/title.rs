//! The first lines: totals, the state of the connection, and the facets.

use std::time::Duration;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style as Look;

use super::{BOLD, REVERSED, look_of, text};
use crate::cli::output::{Style, units};
use crate::cli::top::filter;
use crate::cli::top::layout::clamp;
use crate::cli::top::recorder::total;
use crate::cli::top::spark::spark;
use crate::cli::top::state::State;
use crate::cli::{duration, terminal};

/// The view is confirmed at least every 10 s. A greater age means that the feed is interrupted.
const STALE: Duration = Duration::from_secs(15);
/// Number of bit rates in the title.
const SPARK: usize = 20;

/// Draws the totals, and the state of the connection at the right.
pub(super) fn title(state: &State, area: Rect, buffer: &mut Buffer) {
    let (connection, style) = connection(state);
    let room = usize::from(area.width);
    let connection = terminal::shorten(&connection, room * 2 / 3).into_owned();
    let left = room.saturating_sub(terminal::width(&connection));
    text(buffer, area, clamp(left), &connection, look_of(style, state.settings.colour).patch(BOLD));
    let totals = Rect { width: clamp(left.saturating_sub(1)), ..area };
    let bitrate = units::bitrate(total(&state.data.streams));
    let mut x = text(buffer, totals, 0, &format!("{} streams", state.data.streams.len()), BOLD);
    x = text(buffer, totals, x, &format!("  {bitrate} "), Look::new());
    x = text(buffer, totals, x, &spark(&state.data.bitrates, SPARK), Look::new());
    x = text(buffer, totals, x, "  ", Look::new());
    text(buffer, totals, x, &terminal::escape(&state.settings.store), Look::new());
}

/// Returns how current the data is.
fn connection(state: &State) -> (String, Style) {
    let frozen = if state.frozen { "FROZEN  " } else { "" };
    let age = state.age();
    let old = duration::short(age);
    if let Some(error) = &state.data.error {
        let error = terminal::escape(error);
        let text = if state.data.ready { format!("{old} old: {error}") } else { error.into_owned() };
        return (format!("{frozen}! {text}"), Style::Red);
    }
    if !state.data.ready {
        return ("loading".to_owned(), Style::Yellow);
    }
    if age > STALE {
        return (format!("{frozen}! {old} old"), Style::Yellow);
    }
    if state.frozen {
        return ("FROZEN".to_owned(), Style::Yellow);
    }
    ("live".to_owned(), Style::Green)
}

/// Draws the facets and the filter.
pub(super) fn facets(state: &State, area: Rect, buffer: &mut Buffer) {
    let mut x = 0;
    for (facet, label) in state.facet_texts() {
        let style = if facet == state.facet { REVERSED } else { Look::new() };
        x = text(buffer, area, x, &label, style).saturating_add(2);
    }
    if !state.filter.is_empty() {
        let label = format!("filter: {}", filter::format(&state.filter));
        x = text(buffer, area, x, &terminal::escape(&label), BOLD).saturating_add(2);
    }
    if state.data.unreadable > 0 {
        text(buffer, area, x, &format!("{} unreadable records", state.data.unreadable), Look::new());
    }
}
