//! Prepares the lines on the screen: which streams, which columns, and where a click has an effect.

use ratatui_core::layout::Rect;

use super::detail;
use super::rows::Facet;
use super::sheet::{Cell, ESSENTIAL, Head, Sheet, Target};
use super::state::{Pane, State};
use crate::cli::output::{Align, COLUMNS, Column, ENDED_HEADINGS, Shown, Style, ended_cells, units};
use crate::cli::terminal;

/// The areas of the screen. An area without room has no height.
#[derive(Clone, Copy, Debug)]
pub(super) struct Areas {
    /// The totals, and the state of the connection.
    pub(super) title: Rect,
    pub(super) facets: Rect,
    pub(super) headings: Rect,
    pub(super) lines: Rect,
    pub(super) footer: Rect,
}

/// Divides the screen. On a low screen, the table stays and the rest is dropped.
pub(super) fn areas(screen: Rect) -> Areas {
    let mut left = screen;
    let mut take = |least: u16, from_top: bool| {
        let height = u16::from(left.height >= least);
        let y = if from_top { left.y } else { left.bottom().saturating_sub(height) };
        let area = Rect { y, height, ..left };
        left.height -= height;
        left.y += if from_top { height } else { 0 };
        area
    };
    let title = take(4, true);
    let footer = take(5, false);
    let facets = take(5, true);
    let headings = take(2, true);
    Areas { title, facets, headings, lines: left, footer }
}

impl State {
    /// Prepares the screen for drawing.
    pub(in crate::cli) fn layout(&mut self, screen: Rect) {
        let areas = areas(screen);
        let width = usize::from(areas.lines.width);
        self.height = areas.lines.height.into();
        self.sheet = match self.pane.clone() {
            Pane::Streams => self.streams_sheet(width),
            Pane::Nodes => self.nodes_sheet(width),
            Pane::Ended => self.ended_sheet(width),
            Pane::Detail(id) => self.text_sheet(detail::lines(self, &id, width), width),
            Pane::End(event) => self.text_sheet(detail::end_lines(self, &event, width), width),
        };
        let first = match self.pane {
            Pane::Streams => self.streams_cursor.selected,
            _ => self.cursor.selected,
        };
        let selected = self.sheet.selected.unwrap_or_default();
        for (line, y) in areas.lines.rows().enumerate().take(self.sheet.lines.len()) {
            if self.sheet.selected.is_some() {
                self.sheet.targets.push((y, Target::Row((first + line).saturating_sub(selected))));
            }
        }
        for head in &self.sheet.heads {
            if let Some(column) = head.column {
                let (x, width) = (areas.headings.x + clamp(head.x), clamp(head.width));
                self.sheet.targets.push((Rect { x, width, ..areas.headings }, Target::Column(column)));
            }
        }
        let mut x = areas.facets.x;
        for (facet, text) in self.facet_texts().collect::<Vec<_>>() {
            let width = clamp(terminal::width(&text));
            let area = Rect { x, width, ..areas.facets }.intersection(areas.facets);
            self.sheet.targets.push((area, Target::Facet(facet)));
            x = x.saturating_add(width);
        }
        self.drawn();
    }

    /// Returns the facets with their numbers of streams.
    pub(super) fn facet_texts(&self) -> impl Iterator<Item = (Facet, String)> {
        let (counts, is_filtered) = (self.rows.counts, !self.filter.is_empty());
        Facet::ALL.into_iter().zip(counts).enumerate().map(move |(at, ((facet, name), count))| {
            let name = if is_filtered && facet == Facet::All { "matching" } else { name };
            let open = if facet == self.facet { ("[", "]") } else { (" ", " ") };
            (facet, format!("{}{} {name} {count}{}", open.0, at + 1, open.1))
        })
    }

    fn streams_sheet(&mut self, width: usize) -> Sheet {
        let window = self.streams_cursor.window(self.rows.streams.len(), self.height);
        let now = self.now();
        let shown = &self.rows.streams[window.clone()];
        self.visible = shown.iter().map(|stream| stream.id.clone()).collect();
        let cell = |column: &Column, stream| Cell { text: column.text(stream, now), style: (column.style)(stream) };
        let lines = shown.iter().map(|stream| COLUMNS.iter().map(|column| cell(column, stream)).collect()).collect();
        let heads = COLUMNS.iter().enumerate().map(|(at, column)| Head {
            text: column.heading(),
            align: column.align,
            max: column.width,
            rank: match column.shown {
                // The order is visible at every width.
                _ if column.name == self.sort.column.name => 2 * ESSENTIAL,
                Shown::Wide => 0,
                Shown::IfRoom(rank) => rank.into(),
                // The last of these columns are dropped first.
                Shown::Always => ESSENTIAL + clamp(COLUMNS.len() - at),
            },
            flexible: at == 0,
            column: Some(column),
        });
        let mut sheet = Sheet::new(heads.collect(), lines, &mut self.widths, width);
        sheet.selected = (!window.is_empty()).then(|| self.streams_cursor.selected - window.start);
        sheet
    }

    /// Returns the lines of a text that fit the screen.
    fn text_sheet(&mut self, lines: Vec<Cell>, width: usize) -> Sheet {
        let window = self.cursor.scrolled(lines.len(), self.height);
        let lines = lines.into_iter().skip(window.start).take(window.len()).map(|line| vec![line]).collect();
        Sheet::new(vec![head("", Align::Left, u16::MAX)], lines, &mut self.widths, width)
    }

    fn nodes_sheet(&mut self, width: usize) -> Sheet {
        let window = self.cursor.window(self.nodes.len(), self.height);
        let now = self.now();
        let lines = self.nodes[window.clone()].iter().map(|(name, node)| {
            let name = if name.is_empty() { "-".to_owned() } else { terminal::escape(name).into_owned() };
            let (state, style) = if node.is_silent { ("silent", Style::Red) } else { ("sending", Style::Green) };
            vec![
                name.into(),
                Cell { text: state.to_owned(), style },
                node.streams.to_string().into(),
                Cell { text: node.errors.to_string(), style: if node.errors > 0 { Style::Red } else { Style::Plain } },
                units::bitrate(node.bitrate).into(),
                units::percent(units::lost(node.packets_received, node.packets_lost)).into(),
                Cell {
                    text: units::age(node.last_heartbeat, now),
                    style: if node.is_silent { style } else { Style::Plain },
                },
            ]
        });
        let heads = [
            head("NODE", Align::Left, u16::MAX),
            head("STATE", Align::Left, 106),
            head("STREAMS", Align::Right, 105),
            head("ERRORS", Align::Right, 104),
            head("BITRATE", Align::Right, 103),
            head("LOSS", Align::Right, 102),
            head("HEARTBEAT", Align::Right, 101),
        ];
        let mut sheet = Sheet::new(heads.to_vec(), lines.collect(), &mut self.widths, width);
        sheet.selected = (!window.is_empty()).then(|| self.cursor.selected - window.start);
        sheet
    }

    fn ended_sheet(&mut self, width: usize) -> Sheet {
        let window = self.cursor.window(self.ended().len(), self.height);
        let events = &self.ended()[window.clone()];
        let now = self.now();
        let lines = events.iter().filter_map(|event| ended_cells(event, now));
        let lines = lines.map(|cells| cells.map(Cell::from).to_vec()).collect();
        let heads = ENDED_HEADINGS.into_iter().zip([104, u16::MAX, 4, 3, 5, 102, 1, 101, 103]);
        let heads = heads.map(|(name, rank)| head(name, Align::Left, rank)).collect();
        let mut sheet = Sheet::new(heads, lines, &mut self.widths, width);
        sheet.selected = (!window.is_empty()).then(|| self.cursor.selected - window.start);
        sheet
    }
}

/// Returns a column by which nothing can be sorted. The one with the greatest rank is flexible.
fn head(text: &str, align: Align, rank: u16) -> Head {
    Head { text: text.to_owned(), align, max: 47, rank, flexible: rank == u16::MAX, column: None }
}

/// Converts a length on the screen.
pub(super) fn clamp(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
