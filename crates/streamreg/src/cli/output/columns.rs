//! Aligns the columns of tables.

use super::style::Style;
use crate::cli::terminal;

/// Side to which the cells in a column are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    Left,
    Right,
}

/// A cell of a table. Its string is already safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Creates a cell with a colour.
    pub(super) fn styled(text: String, style: Style) -> Self {
        Self { text, style }
    }

    /// Returns the string without its colour.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), style: Style::Plain }
    }
}

/// Separator between two columns.
pub(super) const GAP: &str = "  ";

/// Returns the width of each column, in character cells of the terminal. All rows have the same number of cells.
pub(super) fn widths(rows: &[Vec<Cell>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|at| rows.iter().map(|row| terminal::width(&row[at].text)).max().unwrap_or_default()).collect()
}

/// Formats rows as lines of aligned cells.
pub(super) fn table(rows: &[Vec<Cell>], aligns: &[Align]) -> String {
    let widths = widths(rows);
    let mut table = String::new();
    for row in rows {
        table.push_str(&line(row.iter().zip(&widths).zip(aligns).map(|((cell, width), align)| (cell, *width, *align))));
        table.push('\n');
    }
    table
}

/// Formats one line of cells with the given widths. A cell that is wider than its column moves the rest of the line to
/// the right.
pub(super) fn line<'a>(cells: impl IntoIterator<Item = (&'a Cell, usize, Align)>) -> String {
    let mut line = String::new();
    for (at, (cell, width, align)) in cells.into_iter().enumerate() {
        if at > 0 {
            line.push_str(GAP);
        }
        let padding = " ".repeat(width.saturating_sub(terminal::width(&cell.text)));
        let painted = cell.style.paint(&cell.text);
        match align {
            Align::Left => line.extend([painted.as_str(), &padding]),
            Align::Right => line.extend([padding.as_str(), &painted]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_aligns_columns_by_their_width_without_colours() {
        let mut rows: Vec<Vec<Cell>> =
            [["a", "b", "1"], ["東京", "x", "10"]].map(|row| row.map(Cell::from).to_vec()).to_vec();
        let aligns = [Align::Left, Align::Left, Align::Right];
        assert_eq!(table(&rows, &aligns), "a     b   1\n東京  x  10\n");
        rows[0][0] = Cell::styled("a".into(), Style::Red);
        assert_eq!(table(&rows, &aligns), "\u{1b}[31ma\u{1b}[0m     b   1\n東京  x  10\n");
    }
}
