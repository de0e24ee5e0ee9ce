//! The table of live streams.

use stream_registry::{Stream, Timestamp};

use super::columns::{self, Align, GAP};
use super::units;
use crate::cli::terminal;

/// Maximum width of a cell. Ids are not truncated, because people copy them.
const MAX_CELL: usize = 47;

const COLUMNS: [(&str, Align); 10] = [
    ("ID", Align::Left),
    ("TYPE", Align::Left),
    ("STATUS", Align::Left),
    ("SOURCE", Align::Left),
    ("NODE", Align::Left),
    ("CODEC", Align::Left),
    ("RESOLUTION", Align::Left),
    ("BITRATE", Align::Right),
    ("LOSS", Align::Right),
    ("HEARTBEAT", Align::Right),
];

/// Columns to drop if the terminal is narrow, in this order.
const OPTIONAL: [&str; 5] = ["CODEC", "RESOLUTION", "SOURCE", "TYPE", "NODE"];

/// Formats the table with its header. Also returns the names of non-empty columns that were dropped to fit `max_width`.
/// If the table cannot be made to fit, no column is dropped.
pub(super) fn streams(streams: &[Stream], now: Timestamp, max_width: Option<usize>) -> (String, Vec<&'static str>) {
    let header = COLUMNS.map(|(name, _)| name.to_owned());
    let rows: Vec<[String; 10]> =
        std::iter::once(header).chain(streams.iter().map(|stream| row(stream, now))).collect();
    let empty: [bool; 10] = std::array::from_fn(|at| rows.iter().skip(1).all(|row| row[at] == "-"));
    let visible = fitting(&columns::widths(&rows), &empty, max_width);
    let table = columns::table(&rows, COLUMNS.map(|(_, align)| align), visible);
    let dropped = (0..COLUMNS.len()).filter(|at| !visible[*at] && !empty[*at]).map(|at| COLUMNS[at].0).collect();
    (table, dropped)
}

/// Decides which columns to show. Empty columns are dropped first.
fn fitting(widths: &[usize; 10], empty: &[bool; 10], max_width: Option<usize>) -> [bool; 10] {
    let all = [true; 10];
    let Some(max_width) = max_width else { return all };
    let mut visible = all;
    let fits = |visible: &[bool; 10]| {
        let used: usize =
            widths.iter().zip(visible).filter(|(_, visible)| **visible).map(|(width, _)| width + GAP.len()).sum();
        used <= max_width + GAP.len()
    };
    let index = |name: &&str| COLUMNS.iter().position(|(column, _)| column == name);
    let mut order: Vec<usize> = OPTIONAL.iter().filter_map(index).collect();
    order.sort_by_key(|at| !empty[*at]);
    for at in order {
        if fits(&visible) {
            return visible;
        }
        visible[at] = false;
    }
    if fits(&visible) { visible } else { all }
}

fn row(stream: &Stream, now: Timestamp) -> [String; 10] {
    [
        terminal::escape(stream.id.as_str()).into_owned(),
        cell(stream.kind.as_str()),
        cell(stream.status.as_str()),
        cell(&stream.source_addr),
        cell(stream.node.as_deref().unwrap_or_default()),
        cell(&stream.video_codec),
        cell(&stream.resolution),
        units::bitrate(stream.bitrate),
        units::loss(stream),
        units::age(stream.last_heartbeat, now),
    ]
}

fn cell(value: &str) -> String {
    if value.is_empty() {
        return "-".into();
    }
    terminal::shorten(&terminal::escape(value), MAX_CELL).into_owned()
}

#[cfg(test)]
mod tests {
    use stream_registry::{StreamStatus, StreamType};

    use super::*;

    #[test]
    fn stream_table_is_aligned_and_escaped() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        one.last_heartbeat = "2026-01-01T00:00:02Z".parse().unwrap();
        (one.bitrate, one.packets_received, one.packets_lost) = (5_000_000, 9_988, 12);
        one.set_status(StreamStatus::Active);
        (one.video_codec, one.resolution, one.node) = ("HEVC".into(), "1920x1080".into(), Some("ingest-1".into()));
        let mut two = Stream::new("東京".parse().unwrap(), StreamType::Rtp, "[2001:db8::1]:5004");
        two.last_heartbeat = now;
        two.node = Some("\u{1b}[31mred\n".into());
        assert_eq!(
            streams(&[one, two], now, None).0,
            r"ID    TYPE  STATUS      SOURCE              NODE             CODEC  RESOLUTION     BITRATE    LOSS  HEARTBEAT
cam1  srt   active      203.0.113.7:40112   ingest-1         HEVC   1920x1080   5.0 Mbit/s  0.12 %         3s
東京  rtp   connecting  [2001:db8::1]:5004  \u{1b}[31mred\n  -      -              0 bit/s       -        now
"
        );
    }

    #[test]
    fn table_reports_dropped_columns_when_terminal_is_narrow() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        (one.last_heartbeat, one.resolution, one.node) = (now, "1920x1080".into(), Some("ingest-1".into()));
        let layout = |max_width| {
            let (table, dropped) = streams(std::slice::from_ref(&one), now, max_width);
            let widest = table.lines().map(terminal::width).max().unwrap();
            assert!(max_width.is_none_or(|max| widest <= max) || dropped.is_empty(), "{table}");
            (widest, dropped)
        };
        let (whole, _) = layout(None);
        assert_eq!(layout(Some(whole)), (whole, vec![]));
        // The codec column is dropped but not reported, because the column is empty.
        assert_eq!(layout(Some(whole - 1)), (whole - 7, vec![]));
        assert_eq!(layout(Some(whole - 8)).1, ["RESOLUTION"]);
        assert_eq!(layout(Some(60)).1, ["SOURCE", "RESOLUTION"]);
        let least = "cam1  connecting  0 bit/s     -        now".len();
        assert_eq!(layout(Some(least)).1, ["TYPE", "SOURCE", "NODE", "RESOLUTION"]);
        // If lines would wrap even without the optional columns, all columns are shown.
        assert_eq!(layout(Some(10)), (whole, vec![]));
    }
}
