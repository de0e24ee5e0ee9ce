//! Draws the state. Everything that other programs have stored is escaped before it gets here.

mod footer;
mod help;
mod title;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style as Look};

use super::layout::{areas, clamp};
use super::sheet::{Cell, Placed};
use super::state::{Pane, State};
use crate::cli::output::{Align, Style};
use crate::cli::terminal;

const BOLD: Look = Look::new().add_modifier(Modifier::BOLD);
const REVERSED: Look = Look::new().add_modifier(Modifier::REVERSED);

/// Draws the screen that [`State::layout`] has prepared for the same area.
pub(in crate::cli) fn draw(state: &State, screen: Rect, buffer: &mut Buffer) {
    let areas = areas(screen);
    title::title(state, areas.title, buffer);
    title::facets(state, areas.facets, buffer);
    headings(state, areas.headings, buffer);
    lines(state, areas.lines, buffer);
    footer::draw(state, areas.footer, buffer);
    footer::error(state, areas.lines, buffer);
    if state.help {
        help::draw(screen, buffer);
    }
}

fn headings(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    buffer.set_style(area, BOLD);
    for head in &state.sheet.heads {
        let mark = match head.column {
            Some(column) if column.name == state.sort.column.name && state.sort.descending => "▼",
            Some(column) if column.name == state.sort.column.name => "▲",
            _ => "",
        };
        put(buffer, area, head, &format!("{}{mark}", head.text), Look::new());
    }
}

fn lines(state: &State, area: Rect, buffer: &mut Buffer) {
    for (at, (row, line)) in area.rows().zip(&state.sheet.lines).enumerate() {
        for (head, cell) in state.sheet.heads.iter().zip(line) {
            put(buffer, row, head, &cell.text, look(cell, state.settings.colour));
        }
        if state.sheet.selected == Some(at) {
            buffer.set_style(row, REVERSED);
        }
    }
    if state.sheet.lines.is_empty() {
        text(buffer, area, 0, &empty(state), Look::new());
    }
}

/// Returns the text in place of an empty table.
fn empty(state: &State) -> String {
    let is_filtered = !state.filter.is_empty();
    match &state.pane {
        Pane::Ended => match &state.data.ended {
            None => "reading the ended streams …".to_owned(),
            Some(Err(error)) => terminal::escape(error).into_owned(),
            Some(Ok(_)) if is_filtered => {
                "no ended streams match; press Esc, then Esc again to remove the filter".to_owned()
            }
            Some(Ok(_)) => "no streams have ended".to_owned(),
        },
        _ if !state.data.ready => "loading …".to_owned(),
        _ if is_filtered => "no streams match; Esc removes the filter".to_owned(),
        _ if state.data.streams.is_empty() => "no live streams; try `streamreg demo`".to_owned(),
        _ => "no streams here; press 1 for all".to_owned(),
    }
}

/// Writes a text into a column of an area, on the column's side.
fn put(buffer: &mut Buffer, area: Rect, head: &Placed, value: &str, style: Look) {
    let padding = match head.align {
        Align::Left => 0,
        Align::Right => head.width.saturating_sub(terminal::width(value)),
    };
    let x = area.x.saturating_add(clamp(head.x + padding));
    if x < area.right() && area.height > 0 {
        let room = head.width.saturating_sub(padding).min(usize::from(area.right() - x));
        buffer.set_stringn(x, area.y, value, room, style);
    }
}

/// Writes a text at a column of an area, cut at its end. Returns the column after the text.
fn text(buffer: &mut Buffer, area: Rect, column: u16, value: &str, style: Look) -> u16 {
    if column >= area.width || area.height == 0 {
        return area.width;
    }
    let (end, _) = buffer.set_stringn(area.x + column, area.y, value, usize::from(area.width - column), style);
    end - area.x
}

/// Removes the text and the colours of an area.
fn blank(buffer: &mut Buffer, area: Rect) {
    for row in area.rows() {
        text(buffer, row, 0, &" ".repeat(row.width.into()), Look::new());
    }
    buffer.set_style(area, Look::reset());
}

fn look(cell: &Cell, colour: bool) -> Look {
    look_of(cell.style, colour)
}

/// Returns the attributes of a style. Without colours, only the brightness remains.
fn look_of(style: Style, colour: bool) -> Look {
    match style {
        Style::Dim => Look::new().add_modifier(Modifier::DIM),
        Style::Green if colour => Look::new().fg(Color::Green),
        Style::Yellow if colour => Look::new().fg(Color::Yellow),
        Style::Red if colour => Look::new().fg(Color::Red),
        _ => Look::new(),
    }
}
