//! The detail pane: the fields of one stream, charts of its statistics and its last events.

use stream_registry::watch::Event;
use stream_registry::{Stream, StreamId};

use super::charts;
use super::data::{Detail, Note};
use super::sheet::Cell;
use super::state::State;
use crate::cli::output::{Style, end, fields, lived, units};
use crate::cli::terminal;

/// Returns the lines about a stream that was live when the pane was opened, wrapped at a width.
pub(super) fn lines(state: &State, id: &StreamId, width: usize) -> Vec<Cell> {
    let mut lines = Vec::new();
    if !is_live(state, id) {
        lines.push(cell("This stream has ended. Its last known record:", Style::Red));
    }
    if let Some(stream) = &state.shown {
        if !charts(state, stream, width, &mut lines) && recorded(state, id).is_some() {
            lines.push(cell("no statistics recorded since the start of top", Style::Dim));
            lines.push(cell("", Style::Plain));
        }
        record(state, stream, &mut lines);
    }
    notes(state, id, &mut lines);
    wrapped(&lines, width)
}

/// Returns the lines about a stream of the list of ended streams, wrapped at a width.
pub(super) fn end_lines(state: &State, event: &Event, width: usize) -> Vec<Cell> {
    let (Some(last), Some(end)) = (event.stream(), end(event, state.now())) else { return Vec::new() };
    let mut lines = vec![cell(&format!("This stream has ended: {}", terminal::escape(&end)), Style::Red)];
    if is_live(state, &last.id) {
        lines.push(cell("A live stream has the same id. Its events are below too.", Style::Yellow));
    }
    if matches!(event, Event::Ended { as_of: None, .. }) {
        lines.push(cell("Its last record is unknown.", Style::Plain));
        lines.push(cell("", Style::Plain));
    } else {
        let lived = lived(event);
        let (received, loss) = (units::bytes(last.bytes_received), units::loss(last));
        lines.push(cell(&format!("lived {lived}, received {received}, average loss {loss}"), Style::Plain));
        lines.push(cell("", Style::Plain));
        charts(state, last, width, &mut lines);
        record(state, last, &mut lines);
    }
    notes(state, &last.id, &mut lines);
    wrapped(&lines, width)
}

fn is_live(state: &State, id: &StreamId) -> bool {
    state.data.streams.iter().any(|stream| stream.id == *id)
}

/// Returns what was recorded about a stream. Just after the pane was opened, this is not known yet.
fn recorded<'a>(state: &'a State, id: &StreamId) -> Option<&'a Detail> {
    state.data.detail.as_ref().filter(|detail| detail.id == *id)
}

/// Adds what was recorded about a stream, but nothing of another stream that had the same id. Returns whether anything
/// was recorded.
fn charts(state: &State, stream: &Stream, width: usize, lines: &mut Vec<Cell>) -> bool {
    let mut runs = recorded(state, &stream.id).into_iter().flat_map(|detail| &detail.runs);
    let Some(run) = runs.find(|run| run.created_at == stream.created_at) else { return false };
    for (at, line) in charts::lines(run, stream, width).iter().enumerate() {
        lines.push(cell(line, if at == 0 { Style::Dim } else { Style::Plain }));
    }
    lines.push(cell("", Style::Plain));
    true
}

fn record(state: &State, stream: &Stream, lines: &mut Vec<Cell>) {
    for line in fields(stream, state.now()).lines() {
        let style = if line.starts_with("status ") { Style::of(&stream.status) } else { Style::Plain };
        lines.push(cell(line, style));
    }
    lines.push(cell("", Style::Plain));
}

fn notes(state: &State, id: &StreamId, lines: &mut Vec<Cell>) {
    let Some(Detail { notes, .. }) = recorded(state, id) else { return };
    if notes.is_empty() {
        lines.push(cell("no events since the start of top", Style::Dim));
    } else {
        lines.push(cell("last events:", Style::Plain));
    }
    lines.extend(notes.iter().rev().map(|note| cell(&line(note, state), Style::of(&note.status))));
}

fn line(note: &Note, state: &State) -> String {
    let at = note.at.map_or_else(|| "-".to_owned(), |at| units::ago(at, state.now()));
    let remark = if note.remark.is_empty() { String::new() } else { format!("  ({})", terminal::escape(&note.remark)) };
    format!("{at:>12}  {:<14}  {}{remark}", note.word, terminal::escape(note.status.as_str()))
}

fn cell(text: &str, style: Style) -> Cell {
    Cell { text: text.to_owned(), style }
}

fn wrapped(lines: &[Cell], width: usize) -> Vec<Cell> {
    let mut all = Vec::with_capacity(lines.len());
    for Cell { text, style } in lines {
        all.extend(terminal::wrap(text, width).into_iter().map(|text| Cell { text, style: *style }));
    }
    all
}
