//! The table of live streams.

use stream_registry::{Stream, Timestamp};

use super::columns::{self, Align, Cell, GAP};
use super::streams::{COLUMNS, Column, Shown};
use super::style::Style;
use crate::cli::terminal;

/// The columns of a table, and whether it has headings.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// The columns to show, in this order. If empty, the format and the width of the terminal select the columns.
    pub columns: Vec<&'static Column>,
    /// Whether the first line has the headings.
    pub headings: Headings,
}

/// Whether the first line of a table has the headings of its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headings {
    /// The table has headings.
    #[default]
    Shown,
    /// The table has no headings.
    Hidden,
}

/// How a table is shown.
#[derive(Default)]
pub(super) struct Layout<'a> {
    /// Whether all columns are shown, with cells of any length.
    pub(super) wide: bool,
    /// Whether long cells are cut to the width of their column.
    pub(super) cut: bool,
    pub(super) colour: bool,
    /// Maximum width of the table.
    pub(super) width: Option<usize>,
    pub(super) columns: &'a [&'static Column],
    pub(super) headings: Headings,
}

/// Formats a table of streams. Also returns the headings of non-empty columns that were dropped to fit the width. If
/// the table cannot be made to fit, no column is dropped.
pub(super) fn streams(streams: &[Stream], now: Timestamp, layout: &Layout<'_>) -> (String, Vec<String>) {
    let columns: Vec<&'static Column> = if layout.columns.is_empty() {
        COLUMNS.iter().filter(|column| layout.wide || column.shown != Shown::Wide).collect()
    } else {
        layout.columns.to_vec()
    };
    let mut rows = Vec::with_capacity(streams.len() + 1);
    if layout.headings == Headings::Shown {
        rows.push(columns.iter().map(|column| column.heading().into()).collect());
    }
    rows.extend(streams.iter().map(|stream| columns.iter().map(|column| cell(column, stream, now, layout)).collect()));
    let first = rows.len() - streams.len();
    let empty: Vec<bool> =
        (0..columns.len()).map(|at| rows[first..].iter().all(|row: &Vec<Cell>| row[at].text() == "-")).collect();
    let mut visible = vec![true; columns.len()];
    if let (Some(width), true) = (layout.width, layout.columns.is_empty() && !layout.wide) {
        visible = fitting(&columns, &columns::widths(&rows), &empty, width);
    }
    let keep = |at: &usize| visible[*at];
    let aligns: Vec<Align> = (0..columns.len()).filter(keep).map(|at| columns[at].align).collect();
    for row in &mut rows {
        let mut at = 0..;
        row.retain(|_| at.next().is_some_and(|at| visible[at]));
    }
    let dropped =
        (0..columns.len()).filter(|at| !visible[*at] && !empty[*at]).map(|at| columns[at].heading()).collect();
    (columns::table(&rows, &aligns), dropped)
}

/// Decides which columns to show. Empty columns are dropped first. On a very narrow terminal, only the id and the status
/// stay.
fn fitting(columns: &[&Column], widths: &[usize], empty: &[bool], max_width: usize) -> Vec<bool> {
    let all = vec![true; columns.len()];
    let mut visible = all.clone();
    let fits = |visible: &[bool]| {
        let used: usize =
            widths.iter().zip(visible).filter(|(_, visible)| **visible).map(|(width, _)| width + GAP.len()).sum();
        used <= max_width + GAP.len()
    };
    let mut order: Vec<(bool, u8, usize)> = (columns.iter().enumerate())
        .filter_map(|(at, column)| match column.shown {
            Shown::IfRoom(rank) => Some((!empty[at], rank, at)),
            Shown::Always | Shown::Wide => None,
        })
        .collect();
    order.sort_unstable();
    let essential = |column: &Column| matches!(column.name, "id" | "status");
    let others = (0..columns.len()).rev();
    let others = others.filter(|at| columns[*at].shown == Shown::Always && !essential(columns[*at]));
    for at in order.into_iter().map(|(_, _, at)| at).chain(others) {
        if fits(&visible) {
            return visible;
        }
        visible[at] = false;
    }
    if fits(&visible) { visible } else { all }
}

fn cell(column: &Column, stream: &Stream, now: Timestamp, layout: &Layout<'_>) -> Cell {
    let mut text = column.text(stream, now);
    if layout.cut {
        text = terminal::shorten(&text, column.width).into_owned();
    }
    let style = if layout.colour { (column.style)(stream) } else { Style::Plain };
    Cell::styled(text, style)
}

#[cfg(test)]
mod tests {
    use stream_registry::{StreamStatus, StreamType};

    use super::*;

    fn two_streams() -> [Stream; 2] {
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        one.created_at = "2026-01-01T00:00:00Z".parse().unwrap();
        one.last_heartbeat = "2026-01-01T00:00:02Z".parse().unwrap();
        (one.bitrate, one.packets_received, one.packets_lost) = (5_000_000, 9_988, 12);
        one.set_status(StreamStatus::Active);
        (one.video_codec, one.resolution, one.node) = ("HEVC".into(), "1920x1080".into(), Some("ingest-1".into()));
        let mut two = Stream::new("東京".parse().unwrap(), StreamType::Rtp, "[2001:db8::1]:5004");
        (two.created_at, two.last_heartbeat) = (now(), now());
        two.node = Some("\u{1b}[31mred\n".into());
        [one, two]
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:05Z".parse().unwrap()
    }

    #[test]
    fn stream_table_is_aligned_and_escaped() {
        assert_eq!(
            streams(&two_streams(), now(), &Layout::default()).0,
            r"ID    TYPE  STATUS      SOURCE              NODE             CODEC  RESOLUTION     BITRATE    LOSS  HEARTBEAT  AGE
cam1  srt   active      203.0.113.7:40112   ingest-1         HEVC   1920x1080   5.0 Mbit/s  0.12 %         3s  5s
東京  rtp   connecting  [2001:db8::1]:5004  \u{1b}[31mred\n  -      -              0 bit/s       -        now  now
"
        );
    }

    #[test]
    fn table_shows_the_requested_columns_in_their_order_without_headings() {
        let columns: Vec<_> = ["bitrate", "id", "labels"].map(|name| Column::with_name(name).unwrap()).to_vec();
        let mut layout = Layout { columns: &columns, width: Some(5), ..Layout::default() };
        let mut all = two_streams();
        all[0].labels = [("a", "b"), ("c", "\u{9b}")].map(|(name, value)| (name.into(), value.into())).into();
        let body = "5.0 Mbit/s  cam1  a=b,c=\\u{9b}\n   0 bit/s  東京  -\n";
        assert_eq!(streams(&all, now(), &layout).0, format!("   BITRATE  ID    LABELS\n{body}"));
        layout.headings = Headings::Hidden;
        assert_eq!(streams(&all, now(), &layout).0, body);
    }

    #[test]
    fn wide_table_has_all_columns_and_drops_none() {
        let layout = Layout { wide: true, width: Some(10), ..Layout::default() };
        let (table, dropped) = streams(&two_streams(), now(), &layout);
        let headings: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(headings, Column::names().map(str::to_uppercase).collect::<Vec<_>>());
        assert_eq!(dropped, [""; 0]);
    }

    #[test]
    fn long_id_is_cut_only_when_cells_are_cut() {
        let long = "x".repeat(100);
        let stream = Stream::new(long.parse().unwrap(), StreamType::Srt, "");
        let id = [Column::with_name("id").unwrap()];
        let table = |cut| {
            let layout = Layout { columns: &id, headings: Headings::Hidden, cut, ..Layout::default() };
            streams(std::slice::from_ref(&stream), now(), &layout).0
        };
        assert_eq!(table(true), format!("{}…\n", "x".repeat(39)));
        assert_eq!(table(false), format!("{long}\n"));
    }

    #[test]
    fn status_is_coloured_without_changing_the_alignment() {
        let columns: Vec<_> = ["status", "id"].map(|name| Column::with_name(name).unwrap()).to_vec();
        let layout = Layout { columns: &columns, colour: true, ..Layout::default() };
        let expected = "STATUS      ID\n\u{1b}[32mactive\u{1b}[0m      cam1\n\u{1b}[33mconnecting\u{1b}[0m  東京\n";
        assert_eq!(streams(&two_streams(), now(), &layout).0, expected);
    }

    #[test]
    fn table_reports_dropped_columns_when_terminal_is_narrow() {
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        (one.created_at, one.last_heartbeat) = (now(), now());
        (one.resolution, one.node) = ("1920x1080".into(), Some("ingest-1".into()));
        let layout = |width| {
            let (table, dropped) = streams(std::slice::from_ref(&one), now(), &Layout { width, ..Layout::default() });
            let widest = table.lines().map(terminal::width).max().unwrap();
            assert!(width.is_none_or(|max| widest <= max) || dropped.is_empty(), "{table}");
            (widest, dropped.join(" "))
        };
        let (whole, _) = layout(None);
        assert_eq!(layout(Some(whole)), (whole, String::new()));
        // The codec column is dropped but not reported, because the column is empty.
        assert_eq!(layout(Some(whole - 1)), (whole - 7, String::new()));
        assert_eq!(layout(Some(whole - 8)).1, "RESOLUTION");
        assert_eq!(layout(Some(65)).1, "SOURCE RESOLUTION");
        let least = "cam1  connecting  0 bit/s     -        now  now".len();
        assert_eq!(layout(Some(least)).1, "TYPE SOURCE NODE RESOLUTION");
        assert_eq!(layout(Some(least - 1)).1, "TYPE SOURCE NODE RESOLUTION AGE");
        assert_eq!(layout(Some(16)).1, "TYPE SOURCE NODE RESOLUTION BITRATE HEARTBEAT AGE");
        // If lines would wrap even with the id and the status alone, all columns are shown.
        assert_eq!(layout(Some(10)), (whole, String::new()));
    }
}
