//! Keys and clicks.

use std::sync::Arc;

use ratatui_core::layout::Position;
use ratatui_crossterm::crossterm::event::{
    Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use stream_registry::query::Filter;
use stream_registry::watch::Event;

use super::cursor::{Cursor, Move};
use super::filter;
use super::rows::{Facet, Sort};
use super::sheet::{Target, Widths};
use super::state::{Pane, Request, State, Typing};

/// Number of lines that a turn of the mouse wheel moves.
const WHEEL: usize = 3;
/// Maximum number of bytes of a typed filter.
const MAX_LINE: usize = 4_096;

impl State {
    /// Applies an event of the terminal.
    pub(in crate::cli) fn event(&mut self, event: &Input) {
        match event {
            Input::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            Input::Mouse(mouse) => self.mouse(*mouse),
            Input::Resize(..) => {
                self.widths = Widths::default();
                self.touch();
            }
            _ => {}
        }
    }

    fn key(&mut self, key: KeyEvent) {
        self.touch();
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => self.request = Some(Request::Quit),
                KeyCode::Char('z') => self.request = Some(Request::Suspend),
                KeyCode::Char('l') => self.request = Some(Request::Redraw),
                KeyCode::Char('u') if self.typing.is_some() => self.edit(|line| line.clear()),
                _ => {}
            }
            return;
        }
        if self.typing.is_some() {
            return self.type_key(key.code);
        }
        if self.help {
            // Any key closes the help.
            self.help = false;
            return;
        }
        if let Some(to) = movement(key.code) {
            return self.go(to);
        }
        match key.code {
            KeyCode::Char('q') => self.request = Some(Request::Quit),
            KeyCode::Char('?') => self.help = true,
            // The next copy of the data arrives within two seconds.
            KeyCode::Char(' ') => self.frozen = !self.frozen,
            KeyCode::Char('/') => {
                if matches!(self.pane, Pane::Detail(_) | Pane::End(_)) {
                    self.open(Pane::Streams);
                }
                let line = filter::format(&self.filter);
                let line = if line.is_empty() { line } else { line + " " };
                self.typing = Some(Typing { line, error: None, before: self.filter.clone() });
            }
            KeyCode::Char('g') => self.toggle(Pane::Nodes),
            KeyCode::Char('e') => self.toggle(Pane::Ended),
            KeyCode::Char(digit @ '1'..='5') => {
                let at = digit as usize - '1' as usize;
                self.facet(Facet::ALL[at].0);
            }
            KeyCode::Char('s') if self.pane == Pane::Streams => self.sort_by_next(1),
            KeyCode::Char('S') if self.pane == Pane::Streams => self.sort_by_next(-1),
            KeyCode::Char('r') if self.pane == Pane::Streams => {
                self.sort.descending = !self.sort.descending;
                self.select();
            }
            KeyCode::Enter => self.enter(),
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            _ => {}
        }
    }

    fn type_key(&mut self, key: KeyCode) {
        match key {
            // An invalid line stays open with its error.
            KeyCode::Enter if self.typing.as_ref().is_some_and(|typing| typing.error.is_none()) => self.typing = None,
            KeyCode::Esc => {
                if let Some(typing) = self.typing.take() {
                    self.set_filter(typing.before);
                }
            }
            KeyCode::Backspace => self.edit(|line| {
                line.pop();
            }),
            KeyCode::Char(c) if !c.is_control() => self.edit(|line| {
                if line.len() < MAX_LINE {
                    line.push(c);
                }
            }),
            _ => {}
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut String)) {
        if let Some(typing) = &mut self.typing {
            change(&mut typing.line);
        }
        self.typed();
    }

    fn go(&mut self, to: Move) {
        if self.pane == Pane::Streams {
            self.streams_cursor.go(to, self.height);
            self.streams_cursor.window(self.rows.streams.len(), self.height);
            self.follows = self.selected().map(|stream| stream.id.clone());
        } else {
            self.cursor.go(to, self.height);
        }
    }

    fn toggle(&mut self, pane: Pane) {
        let pane = if self.pane == pane { Pane::Streams } else { pane };
        self.open(pane);
    }

    fn facet(&mut self, facet: Facet) {
        self.facet = facet;
        self.follows = None;
        self.streams_cursor = Cursor::default();
        self.open(Pane::Streams);
    }

    fn enter(&mut self) {
        match &self.pane {
            Pane::Streams => {
                if let Some(stream) = self.selected() {
                    let id = stream.id.clone();
                    self.follows = Some(id.clone());
                    self.open(Pane::Detail(id));
                }
            }
            Pane::Nodes => {
                if let Some((name, _)) = self.nodes.get(self.cursor.selected) {
                    let filter = self.filter.clone().node(name);
                    self.open(Pane::Streams);
                    self.set_filter(filter);
                }
            }
            Pane::Ended => {
                if let Some(event) = self.ended().get(self.cursor.selected) {
                    let event = Arc::new(Event::clone(event));
                    self.open(Pane::End(event));
                }
            }
            Pane::Detail(_) | Pane::End(_) => self.back(),
        }
    }

    /// Returns to the list, or removes the filter.
    fn back(&mut self) {
        match self.pane.clone() {
            Pane::Streams => self.set_filter(Filter::default()),
            Pane::End(event) => {
                self.open(Pane::Ended);
                self.cursor.selected = self.ended().iter().position(|other| **other == *event).unwrap_or_default();
            }
            _ => self.open(Pane::Streams),
        }
    }

    /// Sorts by another column on the screen.
    fn sort_by_next(&mut self, step: isize) {
        let columns: Vec<_> = self.sheet.columns().collect();
        if columns.is_empty() {
            return;
        }
        let at = columns.iter().position(|column| column.name == self.sort.column.name);
        let next = at.map_or(0, |at| at.saturating_add_signed(step.rem_euclid(columns.len() as isize)) % columns.len());
        self.sort_by(Sort::by(columns[next], self.data.streams.first().map(|stream| &**stream)));
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.select();
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        match mouse.kind {
            MouseEventKind::ScrollUp => self.go(Move::Up(WHEEL)),
            MouseEventKind::ScrollDown => self.go(Move::Down(WHEEL)),
            MouseEventKind::Down(MouseButton::Left) => self.click(Position::new(mouse.column, mouse.row)),
            _ => return,
        }
        self.touch();
    }

    fn click(&mut self, at: Position) {
        if self.help {
            self.help = false;
            return;
        }
        let target = self.sheet.targets.iter().find(|(area, _)| area.contains(at)).map(|(_, target)| *target);
        match target {
            Some(Target::Facet(facet)) => self.facet(facet),
            Some(Target::Column(column)) if column.name == self.sort.column.name => {
                self.sort_by(Sort { descending: !self.sort.descending, ..self.sort });
            }
            Some(Target::Column(column)) => {
                self.sort_by(Sort::by(column, self.data.streams.first().map(|stream| &**stream)));
            }
            Some(Target::Row(row)) => {
                let cursor = if self.pane == Pane::Streams { &mut self.streams_cursor } else { &mut self.cursor };
                // A click on the selected line opens it.
                if cursor.selected == row {
                    return self.enter();
                }
                cursor.selected = row;
                self.go(Move::Up(0));
            }
            None => {}
        }
    }
}

fn movement(key: KeyCode) -> Option<Move> {
    Some(match key {
        KeyCode::Up | KeyCode::Char('k') => Move::Up(1),
        KeyCode::Down | KeyCode::Char('j') => Move::Down(1),
        KeyCode::PageUp => Move::PageUp,
        KeyCode::PageDown => Move::PageDown,
        KeyCode::Home => Move::Top,
        KeyCode::End | KeyCode::Char('G') => Move::Bottom,
        _ => return None,
    })
}
