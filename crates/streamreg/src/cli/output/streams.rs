//! The columns of the table of live streams.

use stream_registry::{Stream, Timestamp};

use super::columns::Align;
use super::style::Style;
use super::units;

/// A column of the table of live streams. Its heading is its name in capital letters.
#[derive(Debug)]
pub struct Column {
    /// The name of the column, as `--columns` accepts it.
    pub name: &'static str,
    /// Maximum width of a cell on a terminal, except with `--output wide`.
    pub(super) width: usize,
    pub(super) align: Align,
    pub(super) shown: Shown,
    /// Returns the value, which may contain any characters. An empty value is shown as `-`.
    pub(super) value: fn(&Stream, Timestamp) -> String,
    pub(super) style: fn(&Stream) -> Style,
}

/// The tables that contain a column by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Every table.
    Always,
    /// Every table that has room for it. Columns with smaller numbers are dropped first.
    IfRoom(u8),
    /// Only the table of `--output wide`.
    Wide,
}

use Align::{Left, Right};
use Shown::{Always, IfRoom, Wide};

/// All columns, in the order of `--output wide`.
#[rustfmt::skip]
pub(super) static COLUMNS: [Column; 16] = [
    column("id",         40, Left,  Always,    |stream, _| stream.id.to_string()),
    column("type",       16, Left,  IfRoom(4), |stream, _| stream.kind.to_string()),
    Column {
        style: |stream| Style::of(&stream.status),
        ..column("status", 16, Left, Always,   |stream, _| stream.status.to_string())
    },
    column("source",     47, Left,  IfRoom(3), |stream, _| stream.source_addr.clone()),
    column("node",       32, Left,  IfRoom(5), |stream, _| stream.node.clone().unwrap_or_default()),
    column("codec",      16, Left,  IfRoom(1), |stream, _| stream.video_codec.clone()),
    column("resolution", 16, Left,  IfRoom(2), |stream, _| stream.resolution.clone()),
    column("fps",        16, Right, Wide,      |stream, _| frame_rate(stream.frame_rate)),
    column("bitrate",    16, Right, Always,    |stream, _| units::bitrate(stream.bitrate)),
    column("loss",       16, Right, Always,    |stream, _| units::loss(stream)),
    column("received",   16, Right, Wide,      |stream, _| units::bytes(stream.bytes_received)),
    column("rtt",        16, Right, Wide,      |stream, _| optional(stream.rtt_ms, " ms")),
    column("viewers",    16, Right, Wide,      |stream, _| optional(stream.viewers, "")),
    column("heartbeat",  16, Right, Always,    |stream, now| units::age(stream.last_heartbeat, now)),
    column("age",        16, Left,  Always,    |stream, now| units::age(stream.created_at, now)),
    column("labels",     47, Left,  Wide,      |stream, _| labels(stream)),
];

const fn column(
    name: &'static str,
    width: usize,
    align: Align,
    shown: Shown,
    value: fn(&Stream, Timestamp) -> String,
) -> Column {
    Column { name, width, align, shown, value, style: |_| Style::Plain }
}

impl Column {
    /// The names of all columns.
    pub fn names() -> impl Iterator<Item = &'static str> {
        COLUMNS.iter().map(|column| column.name)
    }

    /// Returns the column with a name.
    pub fn with_name(name: &str) -> Option<&'static Self> {
        COLUMNS.iter().find(|column| column.name == name)
    }
}

fn optional(value: Option<impl ToString>, unit: &str) -> String {
    value.map(|value| value.to_string() + unit).unwrap_or_default()
}

/// Formats a frame rate. Zero means that the rate is unknown.
fn frame_rate(rate: f64) -> String {
    if rate == 0.0 { String::new() } else { rate.to_string() }
}

fn labels(stream: &Stream) -> String {
    let labels: Vec<_> = stream.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.join(",")
}
