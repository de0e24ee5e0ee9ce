//! The selected line of a list, and the part of the list that is on the screen.

use std::ops::Range;

/// A position in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The selected line.
    pub(super) selected: usize,
    /// The first line on the screen.
    first: usize,
}

/// A movement of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Up(usize),
    Down(usize),
    PageUp,
    PageDown,
    Top,
    Bottom,
}

impl Cursor {
    /// Selects another line. `height` is the number of lines on the screen.
    pub(super) fn go(&mut self, to: Move, height: usize) {
        let page = height.saturating_sub(1).max(1);
        self.selected = match to {
            Move::Up(lines) => self.selected.saturating_sub(lines),
            Move::Down(lines) => self.selected.saturating_add(lines),
            Move::PageUp => self.selected.saturating_sub(page),
            Move::PageDown => self.selected.saturating_add(page),
            Move::Top => 0,
            Move::Bottom => usize::MAX,
        };
    }

    /// Returns the lines on the screen, after moving the cursor into a list of this length and the list around the
    /// cursor.
    pub(super) fn window(&mut self, length: usize, height: usize) -> Range<usize> {
        self.selected = self.selected.min(length.saturating_sub(1));
        let lowest = self.selected.saturating_sub(height.saturating_sub(1));
        self.first = self.first.clamp(lowest, self.selected).min(length.saturating_sub(height));
        self.first..length.min(self.first.saturating_add(height))
    }

    /// Returns the range of lines on the screen if lines cannot be selected. The cursor is the first line on the screen.
    pub(super) fn scrolled(&mut self, length: usize, height: usize) -> Range<usize> {
        self.selected = self.selected.min(length.saturating_sub(height));
        self.selected..length.min(self.selected.saturating_add(height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_contains_the_cursor_and_ends_at_the_end_of_the_list() {
        let mut cursor = Cursor::default();
        for (to, length, window, selected) in [
            (Move::Down(1), 100, 0..10, 1),
            (Move::PageDown, 100, 1..11, 10),
            (Move::Up(3), 100, 1..11, 7),
            (Move::Bottom, 100, 90..100, 99),
            (Move::PageUp, 100, 90..100, 90),
            (Move::Up(1), 100, 89..99, 89),
            // The list has become shorter.
            (Move::Up(0), 20, 10..20, 19),
            (Move::Up(0), 5, 0..5, 4),
            (Move::Down(1), 0, 0..0, 0),
            (Move::Top, 3, 0..3, 0),
        ] {
            cursor.go(to, 10);
            assert_eq!((cursor.window(length, 10), cursor.selected), (window, selected), "{to:?} in {length}");
        }
        for (to, scrolled) in
            [(Move::Top, 0..10), (Move::Down(1), 1..11), (Move::Bottom, 20..30), (Move::Up(1), 19..29)]
        {
            cursor.go(to, 10);
            assert_eq!(cursor.scrolled(30, 10), scrolled, "{to:?}");
        }
        cursor.go(Move::Bottom, 0);
        assert_eq!(cursor.window(7, 0), 6..6, "a list without room");
    }
}
