//! The columns of the table of live streams.

use std::borrow::Cow;

use stream_registry::{Stream, Timestamp};

use super::columns::Align;
use super::style::Style;
use super::units;
use crate::cli::terminal;

/// A column of the table of live streams. Its heading is its name in capital letters.
#[derive(Debug)]
pub struct Column {
    /// The name of the column, as `--columns` accepts it.
    pub name: &'static str,
    /// Maximum width of a cell on a terminal, except with `--output wide`.
    pub(in crate::cli) width: usize,
    pub(in crate::cli) align: Align,
    pub(in crate::cli) shown: Shown,
    /// Returns the value, which may contain any characters. An empty value is shown as `-`.
    value: fn(&Stream, Timestamp) -> String,
    /// Returns the value by which streams are sorted.
    pub(in crate::cli) key: fn(&Stream) -> Key<'_>,
    pub(in crate::cli) style: fn(&Stream) -> Style,
}

/// The value of a column by which streams are sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Key<'a> {
    Number(i128),
    Text(Cow<'a, str>),
}

/// The tables that contain a column by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Shown {
    /// Every table.
    Always,
    /// Every table that has room for it. Columns with smaller numbers are dropped first.
    IfRoom(u8),
    /// Only the table of `--output wide`.
    Wide,
}

use Align::{Left, Right};
use Key::{Number, Text};
use Shown::{Always, IfRoom, Wide};

/// All columns, in the order of `--output wide`.
#[rustfmt::skip]
pub(in crate::cli) static COLUMNS: [Column; 16] = [
    column("id",         40, Left,  Always,    |stream, _| stream.id.to_string(),                     |stream| text(stream.id.as_str())),
    column("type",       16, Left,  IfRoom(4), |stream, _| stream.kind.to_string(),                   |stream| text(stream.kind.as_str())),
    Column {
        style: |stream| Style::of(&stream.status),
        ..column("status", 16, Left, Always,   |stream, _| stream.status.to_string(),                 |stream| text(stream.status.as_str()))
    },
    column("source",     47, Left,  IfRoom(3), |stream, _| stream.source_addr.clone(),                |stream| text(&stream.source_addr)),
    column("node",       32, Left,  IfRoom(5), |stream, _| stream.node.clone().unwrap_or_default(),   |stream| text(stream.node.as_deref().unwrap_or_default())),
    column("codec",      16, Left,  IfRoom(1), |stream, _| stream.video_codec.clone(),                |stream| text(&stream.video_codec)),
    column("resolution", 16, Left,  IfRoom(2), |stream, _| stream.resolution.clone(),                 |stream| Number(pixels(&stream.resolution))),
    column("fps",        16, Right, Wide,      |stream, _| frame_rate(stream.frame_rate),             |stream| Number(millionths(stream.frame_rate))),
    column("bitrate",    16, Right, Always,    |stream, _| units::bitrate(stream.bitrate),            |stream| Number(stream.bitrate.into())),
    column("loss",       16, Right, Always,    |stream, _| units::loss(stream),                       |stream| Number(loss(stream))),
    column("received",   16, Right, Wide,      |stream, _| units::bytes(stream.bytes_received),       |stream| Number(stream.bytes_received.into())),
    column("rtt",        16, Right, Wide,      |stream, _| optional(stream.rtt_ms, " ms"),            |stream| Number(stream.rtt_ms.map_or(-1, millionths))),
    column("viewers",    16, Right, Wide,      |stream, _| optional(stream.viewers, ""),              |stream| Number(stream.viewers.map_or(-1, i128::from))),
    column("heartbeat",  16, Right, Always,    |stream, now| units::age(stream.last_heartbeat, now),  |stream| Number(-stream.last_heartbeat.as_unix_nanos())),
    column("age",        16, Left,  Always,    |stream, now| units::age(stream.created_at, now),      |stream| Number(-stream.created_at.as_unix_nanos())),
    column("labels",     47, Left,  Wide,      |stream, _| labels(stream),                            |stream| Text(labels(stream).into())),
];

const fn column(
    name: &'static str,
    width: usize,
    align: Align,
    shown: Shown,
    value: fn(&Stream, Timestamp) -> String,
    key: fn(&Stream) -> Key<'_>,
) -> Column {
    Column { name, width, align, shown, value, key, style: |_| Style::Plain }
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

    /// Returns the heading.
    pub(in crate::cli) fn heading(&self) -> String {
        self.name.to_uppercase()
    }

    /// Returns the text of a cell, which is safe for a terminal.
    pub(in crate::cli) fn text(&self, stream: &Stream, now: Timestamp) -> String {
        match (self.value)(stream, now) {
            value if value.is_empty() => "-".to_owned(),
            value => terminal::escape(&value).into_owned(),
        }
    }
}

fn text(value: &str) -> Key<'_> {
    Text(value.into())
}

/// Returns a number in millionths, rounded. Out of range, the cast saturates.
fn millionths(value: f64) -> i128 {
    (value * 1e6) as i128
}

/// Returns the share of lost packets, in units far smaller than the one shown; -1 if no packets were sent.
fn loss(stream: &Stream) -> i128 {
    let (received, lost) = (i128::from(stream.packets_received), i128::from(stream.packets_lost));
    if received + lost == 0 { -1 } else { lost * 1_000_000_000 / (received + lost) }
}

/// Returns the number of pixels of a resolution such as `1920x1080`; -1 for any other string.
fn pixels(resolution: &str) -> i128 {
    let sides = resolution.split_once('x').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
    sides.map_or(-1, |(width, height)| i128::from(width) * i128::from(height))
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
