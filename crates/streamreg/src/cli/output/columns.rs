//! Aligns the columns of tables.

use crate::cli::terminal;

/// Side to which the cells in a column are aligned.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
}

/// Separator between two columns.
pub(super) const GAP: &str = "  ";

/// Returns the width of each column, in character cells of the terminal.
pub(super) fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|at| rows.iter().map(|row| terminal::width(&row[at])).max().unwrap_or_default())
}

/// Formats rows as lines of aligned cells. Hidden columns are omitted.
pub(super) fn table<const N: usize>(rows: &[[String; N]], aligns: [Align; N], shown: [bool; N]) -> String {
    let widths = widths(rows);
    let mut table = String::new();
    for row in rows {
        let cells = (0..N).filter(|at| shown[*at]).map(|at| (row[at].as_str(), widths[at], aligns[at]));
        table.push_str(&line(cells));
        table.push('\n');
    }
    table
}

/// Formats one line of cells with the given widths. A cell that is wider than its column moves the rest of the line to
/// the right.
pub(super) fn line<'a>(cells: impl IntoIterator<Item = (&'a str, usize, Align)>) -> String {
    let mut line = String::new();
    for (at, (cell, width, align)) in cells.into_iter().enumerate() {
        if at > 0 {
            line.push_str(GAP);
        }
        let padding = " ".repeat(width.saturating_sub(terminal::width(cell)));
        match align {
            Align::Left => line.extend([cell, padding.as_str()]),
            Align::Right => line.extend([padding.as_str(), cell]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_aligns_columns_and_omits_hidden_columns() {
        let rows = [["a", "b", "1"], ["東京", "x", "10"]].map(|row| row.map(str::to_owned));
        let aligns = [Align::Left, Align::Left, Align::Right];
        assert_eq!(table(&rows, aligns, [true; 3]), "a     b   1\n東京  x  10\n");
        assert_eq!(table(&rows, aligns, [true, false, true]), "a      1\n東京  10\n");
        assert_eq!(table(&rows, aligns, [true, false, false]), "a\n東京\n");
    }
}
