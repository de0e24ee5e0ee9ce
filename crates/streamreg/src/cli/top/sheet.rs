//! The lines of a pane, and the columns that fit the screen.

use std::cmp::Reverse;

use ratatui_core::layout::Rect;

use super::rows::Facet;
use crate::cli::output::{Align, Column, Style};
use crate::cli::terminal;

/// Space between two columns.
const GAP: usize = 2;
/// Width to which the flexible column can shrink before another column is dropped.
const MIN_FLEXIBLE: usize = 20;
/// Columns with this rank or a greater one are dropped only after all empty columns.
pub(super) const ESSENTIAL: u16 = 100;

/// A column before it is placed.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) text: String,
    pub(super) align: Align,
    /// Maximum width; the flexible column has none.
    pub(super) max: usize,
    /// Columns with smaller ranks are dropped first. An empty column with rank 0 is never shown.
    pub(super) rank: u16,
    /// Whether the column takes the space that the others leave.
    pub(super) flexible: bool,
    /// The column by which a click sorts.
    pub(super) column: Option<&'static Column>,
}

/// A cell. Its text is safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, style: Style::Plain }
    }
}

/// A column on the screen.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) text: String,
    pub(super) align: Align,
    pub(super) x: usize,
    pub(super) width: usize,
    pub(super) column: Option<&'static Column>,
}

/// An area of the screen that reacts to a click.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Facet(Facet),
    Column(&'static Column),
    /// A line of the table.
    Row(usize),
}

/// The widest cell of each column so far. Columns that only grow do not jump when the table scrolls.
#[derive(Clone, Debug, Default)]
pub(super) struct Widths(Vec<usize>);

/// The lines on the screen.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    /// The columns; their texts are the headings.
    pub(super) heads: Vec<Placed>,
    /// Cells of these columns, which fit them.
    pub(super) lines: Vec<Vec<Cell>>,
    /// The line under the cursor.
    pub(super) selected: Option<usize>,
    /// The areas that react to a click.
    pub(super) targets: Vec<(Rect, Target)>,
}

impl Sheet {
    /// Places the columns that fit a width.
    pub(super) fn new(heads: Vec<Head>, lines: Vec<Vec<Cell>>, widths: &mut Widths, width: usize) -> Self {
        let placed = place(&heads, &lines, widths, width);
        let lines = lines
            .into_iter()
            .map(|line| {
                let mut cells: Vec<_> = line.into_iter().map(Some).collect();
                let fitting = placed.iter().map(|(at, head)| {
                    let cell = cells[*at].take().unwrap_or_else(|| String::new().into());
                    Cell { text: terminal::shorten(&cell.text, head.width).into_owned(), ..cell }
                });
                fitting.collect()
            })
            .collect();
        let heads = placed.into_iter().map(|(_, head)| head).collect();
        Self { heads, lines, selected: None, targets: Vec::new() }
    }

    /// Returns the columns on the screen by which streams can be sorted.
    pub(super) fn columns(&self) -> impl Iterator<Item = &'static Column> {
        self.heads.iter().filter_map(|head| head.column)
    }
}

/// Returns the columns that fit, each with its index among all columns.
fn place(heads: &[Head], lines: &[Vec<Cell>], widths: &mut Widths, width: usize) -> Vec<(usize, Placed)> {
    widths.0.resize(heads.len(), 0);
    let mut wanted = Vec::with_capacity(heads.len());
    for (at, head) in heads.iter().enumerate() {
        let filled = lines.iter().map(|line| &line[at].text).filter(|text| *text != "-");
        let widest = filled.map(|text| terminal::width(text)).max().unwrap_or_default();
        widths.0[at] = widths.0[at].max(if head.flexible { widest } else { widest.min(head.max) });
        // A heading has room for the mark of the order.
        let heading = if head.text.is_empty() { 0 } else { terminal::width(&head.text) + 1 };
        wanted.push(widths.0[at].max(heading));
    }
    let is_empty = |at: usize| widths.0[at] == 0;
    let least = |at: usize| if heads[at].flexible { wanted[at].min(MIN_FLEXIBLE) } else { wanted[at] };
    let mut visible: Vec<usize> = (0..heads.len()).filter(|at| heads[*at].rank > 0 || !is_empty(*at)).collect();
    let mut order = visible.clone();
    order.sort_unstable_by_key(|at| {
        let rank = heads[*at].rank;
        (rank >= ESSENTIAL || !is_empty(*at), rank, Reverse(*at))
    });
    let used = |visible: &[usize]| visible.iter().map(|at| least(*at) + GAP).sum::<usize>().saturating_sub(GAP);
    let mut order = order.into_iter();
    while visible.len() > 1 && used(&visible) > width {
        let dropped = order.next();
        visible.retain(|at| Some(*at) != dropped);
    }
    let left = width.saturating_sub(used(&visible));
    let mut x = 0;
    let mut placed = Vec::with_capacity(visible.len());
    for at in visible {
        let head = &heads[at];
        let column = if head.flexible { wanted[at].min(least(at) + left) } else { wanted[at] }.min(width);
        placed.push((at, Placed { text: head.text.clone(), align: head.align, x, width: column, column: head.column }));
        x += column + GAP;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, rank: u16) -> Head {
        let flexible = rank == u16::MAX;
        Head { text: text.into(), align: Align::Left, max: 10, rank, flexible, column: None }
    }

    /// Returns the headings and widths of the columns that fit.
    fn fitting(cells: [&str; 4], width: usize, widths: &mut Widths) -> String {
        let heads = vec![head("ID", u16::MAX), head("NODE", 5), head("RTT", 0), head("AGE", ESSENTIAL)];
        let lines = vec![cells.map(|text| Cell::from(text.to_owned())).to_vec()];
        let sheet = Sheet::new(heads, lines, widths, width);
        let widest = sheet.heads.last().map_or(0, |head| head.x + head.width);
        assert!(widest <= width, "{widest} > {width}");
        sheet
            .heads
            .iter()
            .map(|head| format!("{}:{} ", head.text, head.width))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }

    #[test]
    fn columns_are_dropped_by_rank_and_the_id_takes_the_rest() {
        let long = "x".repeat(60);
        let cells = [&*long, "ingest-1", "7 ms", "5s"];
        for (width, expected) in [
            (200, "ID:60 NODE:8 RTT:4 AGE:4"),
            (50, "ID:28 NODE:8 RTT:4 AGE:4"),
            (42, "ID:20 NODE:8 RTT:4 AGE:4"),
            (41, "ID:25 NODE:8 AGE:4"),
            (35, "ID:29 AGE:4"),
            (25, "ID:25"),
            (3, "ID:3"),
            (0, "ID:0"),
        ] {
            assert_eq!(fitting(cells, width, &mut Widths::default()), expected, "{width}");
        }
    }

    #[test]
    fn empty_columns_are_dropped_first_unless_they_are_essential() {
        assert_eq!(fitting(["a", "-", "-", "-"], 80, &mut Widths::default()), "ID:3 NODE:5 AGE:4");
        assert_eq!(fitting(["a", "-", "7 ms", "-"], 15, &mut Widths::default()), "ID:3 RTT:4 AGE:4");
    }

    #[test]
    fn columns_keep_their_width_when_their_cells_become_shorter() {
        let mut widths = Widths::default();
        assert_eq!(fitting(["abcdef", "n", "-", "5s"], 80, &mut widths), "ID:6 NODE:5 AGE:4");
        assert_eq!(fitting(["a", "n", "-", "5s"], 80, &mut widths), "ID:6 NODE:5 AGE:4");
    }
}
