//! The first lines: totals, the state of the connection, and the facets.

use std::time::Duration;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style as Look;

use super::{BOLD, REVERSED, look_of, text};
use crate::cli::outage;
use crate::cli::output::{Style, units};
use crate::cli::top::filter;
use crate::cli::top::layout::clamp;
use crate::cli::top::spark::spark;
use crate::cli::top::state::State;
use crate::cli::{duration, terminal};

/// The view is confirmed at least every 10 s. A greater age means that the feed is interrupted.
const STALE: Duration = Duration::from_secs(15);
/// Number of bit rates in the title.
const SPARK: usize = 20;
/// Space between two totals.
const GAP: usize = 2;
/// The least width of a name that is cut.
const MIN_NAME: usize = 12;

/// Draws the state of the connection at the right, and the totals in the rest of the line.
pub(super) fn title(state: &State, area: Rect, buffer: &mut Buffer) {
    let (connection, style) = connection(state);
    let connection = outage::fit(&connection, area.width.into());
    let left = usize::from(area.width).saturating_sub(terminal::width(&connection));
    text(buffer, area, clamp(left), &connection, look_of(style, state.settings.colour).patch(BOLD));
    let (totals, name) = totals(state);
    let mut x = 0;
    for (total, look) in totals {
        // A number that is cut would be another number.
        if usize::from(x) + terminal::width(&total) > left.saturating_sub(1) {
            return;
        }
        x = text(buffer, area, x, &total, look).saturating_add(clamp(GAP));
    }
    let room = left.saturating_sub(GAP).saturating_sub(x.into());
    if terminal::width(&name) <= room || room >= MIN_NAME {
        text(buffer, area, x, &terminal::shorten(&name, room), Look::new());
    }
}

/// Returns the totals of the streams that match the filter, and the filter. Without a filter, returns the totals of all
/// streams and the name of the store.
fn totals(state: &State) -> ([(String, Look); 2], String) {
    let (all, bitrate) = (state.data.streams.len(), units::bitrate(state.rows.bitrate));
    let (count, bitrate, name) = if state.filter.is_empty() {
        let bitrates = spark(&state.data.bitrates, SPARK);
        let noun = if all == 1 { "stream" } else { "streams" };
        (format!("{all} {noun}"), format!("{bitrate} {bitrates}"), state.settings.store.clone())
    } else {
        let filter = format!("filter: {}", filter::format(&state.filter));
        (format!("{} of {all} streams", state.rows.counts[0]), bitrate, filter)
    };
    ([(count, BOLD), (bitrate, Look::new())], terminal::escape(&name).into_owned())
}

/// Returns how current the data is.
fn connection(state: &State) -> (String, Style) {
    let frozen = if state.frozen { "FROZEN  " } else { "" };
    if let Some(outage) = &state.data.outage {
        return (format!("{frozen}! {outage}"), Style::Red);
    }
    if !state.data.ready {
        return ("loading".to_owned(), Style::Yellow);
    }
    let age = state.age();
    if age > STALE {
        return (format!("{frozen}! {} old", duration::short(age)), Style::Yellow);
    }
    if state.frozen {
        return ("FROZEN".to_owned(), Style::Yellow);
    }
    ("live".to_owned(), Style::Green)
}

/// Draws the facets that fit.
pub(super) fn facets(state: &State, area: Rect, buffer: &mut Buffer) {
    let mut x = 0;
    for (facet, label) in state.facet_texts() {
        // A number that is cut would be another number.
        if usize::from(x) + terminal::width(label.trim_end()) > area.width.into() {
            return;
        }
        x = text(buffer, area, x, &label, if facet == state.facet { REVERSED } else { Look::new() });
    }
    if state.data.unreadable > 0 {
        text(buffer, area, x + 1, &format!("{} unreadable records", state.data.unreadable), Look::new());
    }
}
