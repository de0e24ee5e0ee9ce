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

/// Writes the table with its header.
pub(super) fn streams(streams: &[Stream], now: Timestamp) -> String {
    let header = COLUMNS.map(|(name, _)| name.to_owned());
    let rows: Vec<[String; 10]> =
        std::iter::once(header).chain(streams.iter().map(|stream| row(stream, now))).collect();
    let widths: [usize; 10] =
        std::array::from_fn(|at| rows.iter().map(|row| text::width(&row[at])).max().unwrap_or_default());
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, (_, align)), width) in row.iter().zip(COLUMNS).zip(widths) {
            if !line.is_empty() {
                line.push_str("  ");
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
    out
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
            streams(&[one, two], now),
            r"ID    TYPE  STATUS      SOURCE              NODE             CODEC  RESOLUTION     BITRATE    LOSS  HEARTBEAT
cam1  srt   active      203.0.113.7:40112   ingest-1         HEVC   1920x1080   5.0 Mbit/s  0.12 %         3s
東京  rtp   connecting  [2001:db8::1]:5004  \u{1b}[31mred\n  -      -              0 bit/s       -        now
"
        );
    }
}
