//! The detail pane: all fields of one stream, its bit rates and its last events.

use std::time::Duration;

use stream_registry::StreamId;

use super::data::Note;
use super::sheet::Cell;
use super::spark::spark;
use super::state::State;
use crate::cli::output::{Style, fields, units};
use crate::cli::{duration, terminal};

/// Returns the lines of the detail pane, wrapped at a width.
pub(super) fn lines(state: &State, id: &StreamId, width: usize) -> Vec<Cell> {
    let is_live = state.data.streams.iter().any(|stream| stream.id == *id);
    let mut lines = Vec::new();
    let mut add = |text: &str, style| {
        lines.extend(terminal::wrap(text, width).into_iter().map(|text| Cell { text, style }));
    };
    let recorded = state.data.detail.as_ref().filter(|detail| detail.id == *id);
    if !is_live {
        add("This stream has ended. Its last known record:", Style::Red);
    }
    if let Some(stream) = &state.shown {
        let bitrates = recorded.map_or(&[][..], |detail| &detail.bitrates);
        let rates = spark(bitrates, width.saturating_sub(40).clamp(8, 60));
        let span = span(state.data.span, state.data.bitrates.len(), bitrates.len());
        let highest = bitrates.iter().copied().max().unwrap_or_default().max(stream.bitrate);
        let text = format!("{} {rates} at most {} in {span}", units::bitrate(stream.bitrate), units::bitrate(highest));
        add(&text, if is_live { Style::of(&stream.status) } else { Style::Dim });
        add("", Style::Plain);
        fields(stream, state.now()).lines().for_each(|line| add(line, Style::Plain));
        add("", Style::Plain);
    }
    let notes = recorded.map_or(&[][..], |detail| &detail.notes);
    if notes.is_empty() {
        add("no events since the start of top", Style::Dim);
    } else {
        add("last events:", Style::Plain);
    }
    for note in notes.iter().rev() {
        add(&line(note, state), Style::of(&note.status));
    }
    lines
}

/// Returns the time that the last bit rates of a stream cover, as text.
fn span(all: Duration, readings: usize, of_stream: usize) -> String {
    let steps = u32::try_from(readings.saturating_sub(1)).unwrap_or(u32::MAX);
    let own = u32::try_from(of_stream.saturating_sub(1)).unwrap_or(u32::MAX);
    duration::short(all.checked_div(steps).unwrap_or_default().saturating_mul(own))
}

fn line(note: &Note, state: &State) -> String {
    let at = note.at.map_or_else(|| "-".to_owned(), |at| units::ago(at, state.now()));
    let remark = if note.remark.is_empty() { String::new() } else { format!("  ({})", terminal::escape(&note.remark)) };
    format!("{at:>12}  {:<12}  {}{remark}", note.word, terminal::escape(note.status.as_str()))
}
