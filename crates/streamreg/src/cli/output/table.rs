//! The table of live streams.

use stream_registry::{Stream, Timestamp};

use super::{text, units};

/// The widest a cell gets, the id's excepted, which people copy.
const MAX_CELL: usize = 47;

/// How a column's cells stand.
#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

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

/// The columns that a narrow terminal can do without, the first to go first.
const DISPENSABLE: [&str; 5] = ["CODEC", "RESOLUTION", "SOURCE", "TYPE", "NODE"];
/// What stands between two columns.
const GAP: &str = "  ";

/// Writes the table with its header, and names the columns with values that were left out to keep
/// within `room`. Where even that is not enough, nothing is left out.
pub(super) fn streams(streams: &[Stream], now: Timestamp, room: Option<usize>) -> (String, Vec<&'static str>) {
    let header = COLUMNS.map(|(name, _)| name.to_owned());
    let rows: Vec<[String; 10]> =
        std::iter::once(header).chain(streams.iter().map(|stream| row(stream, now))).collect();
    let widths: [usize; 10] =
        std::array::from_fn(|at| rows.iter().map(|row| text::width(&row[at])).max().unwrap_or_default());
    let empty: [bool; 10] = std::array::from_fn(|at| rows.iter().skip(1).all(|row| row[at] == "-"));
    let shown = fitting(&widths, &empty, room);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (((cell, (_, align)), width), _) in
            row.iter().zip(COLUMNS).zip(widths).zip(shown).filter(|(_, shown)| *shown)
        {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let room = " ".repeat(width.saturating_sub(text::width(cell)));
            match align {
                Align::Left => line.extend([cell.as_str(), room.as_str()]),
                Align::Right => line.extend([room.as_str(), cell.as_str()]),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let left_out = (0..COLUMNS.len()).filter(|at| !shown[*at] && !empty[*at]).map(|at| COLUMNS[at].0).collect();
    (out, left_out)
}

/// Decides which columns are shown: those without any value go first.
fn fitting(widths: &[usize; 10], empty: &[bool; 10], room: Option<usize>) -> [bool; 10] {
    let all = [true; 10];
    let Some(room) = room else { return all };
    let mut shown = all;
    let fits = |shown: &[bool; 10]| {
        let taken: usize =
            widths.iter().zip(shown).filter(|(_, shown)| **shown).map(|(width, _)| width + GAP.len()).sum();
        taken <= room + GAP.len()
    };
    let place = |name: &&str| COLUMNS.iter().position(|(column, _)| column == name);
    let mut order: Vec<usize> = DISPENSABLE.iter().filter_map(place).collect();
    order.sort_by_key(|at| !empty[*at]);
    for at in order {
        if fits(&shown) {
            return shown;
        }
        shown[at] = false;
    }
    if fits(&shown) { shown } else { all }
}

fn row(stream: &Stream, now: Timestamp) -> [String; 10] {
    [
        text::escape(stream.id.as_str()).into_owned(),
        cell(stream.kind.as_str()),
        cell(stream.status.as_str()),
        cell(&stream.source_addr),
        cell(stream.node.as_deref().unwrap_or_default()),
        cell(&stream.video_codec),
        cell(&stream.resolution),
        units::bitrate(stream.bitrate),
        units::loss(stream),
        units::ago(stream.last_heartbeat, now),
    ]
}

fn cell(value: &str) -> String {
    if value.is_empty() {
        return "-".into();
    }
    text::shorten(&text::escape(value), MAX_CELL).into_owned()
}

#[cfg(test)]
mod tests {
    use stream_registry::{StreamStatus, StreamType};

    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_hostile_gets_through() {
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
    fn a_narrow_terminal_gets_whole_lines_and_is_told_what_they_lack() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let mut one = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        (one.last_heartbeat, one.resolution, one.node) = (now, "1920x1080".into(), Some("ingest-1".into()));
        let lines = |room| {
            let (table, left_out) = streams(std::slice::from_ref(&one), now, room);
            let widest = table.lines().map(text::width).max().unwrap();
            assert!(room.is_none_or(|room| widest <= room) || left_out.is_empty(), "{table}");
            (widest, left_out)
        };
        let (whole, _) = lines(None);
        assert_eq!(lines(Some(whole)), (whole, vec![]));
        // No stream has a codec: its column goes without a word.
        assert_eq!(lines(Some(whole - 1)), (whole - 7, vec![]));
        assert_eq!(lines(Some(whole - 8)).1, ["RESOLUTION"]);
        assert_eq!(lines(Some(60)).1, ["SOURCE", "RESOLUTION"]);
        let least = "cam1  connecting  0 bit/s     -        now".len();
        assert_eq!(lines(Some(least)).1, ["TYPE", "SOURCE", "NODE", "RESOLUTION"]);
        // Lines that break anyway lack nothing.
        assert_eq!(lines(Some(10)), (whole, vec![]));
    }
}
