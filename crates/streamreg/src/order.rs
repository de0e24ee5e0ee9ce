//! In which order streams are listed, and where a page begins.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::str::FromStr;

use stream_registry::{Cursor, Error, ErrorKind, Operation, Stream, StreamId};

/// How many bytes of a text decide; a cursor carries no more.
const TEXT: usize = 64;

/// What streams are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Id,
    Type,
    Status,
    Node,
    Source,
    CreatedAt,
    LastHeartbeat,
    Bitrate,
    BytesReceived,
    PacketsReceived,
    PacketsLost,
    Viewers,
}

const NAMES: [(&str, By); 12] = [
    ("id", By::Id),
    ("type", By::Type),
    ("status", By::Status),
    ("node", By::Node),
    ("source_addr", By::Source),
    ("created_at", By::CreatedAt),
    ("last_heartbeat", By::LastHeartbeat),
    ("bitrate", By::Bitrate),
    ("bytes_received", By::BytesReceived),
    ("packets_received", By::PacketsReceived),
    ("packets_lost", By::PacketsLost),
    ("viewers", By::Viewers),
];

/// The order of a list: a field, and then the id. The default is by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    by: By,
    descending: bool,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let by = NAMES.iter().find(|(known, _)| *known == name).map(|(_, by)| *by);
        let by = by.ok_or_else(|| {
            let known = NAMES.map(|(name, _)| name).join(", ");
            format!("sort must be one of {known}, with - before it for descending")
        })?;
        Ok(Self { by, descending })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i128),
    Text(String),
}

/// The place of a stream in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    order: Order,
    key: Key,
    id: StreamId,
}

/// Some of the streams that are meant, in order.
#[derive(Debug)]
pub struct Part<S> {
    /// The streams.
    pub streams: Vec<S>,
    /// Where the next part begins; `None` after the last.
    pub next: Option<Position>,
    /// How many are meant in all.
    pub total: u64,
}

impl Order {
    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, by)| *by == self.by).map_or("id", |(name, _)| name)
    }

    fn key(self, stream: &Stream) -> Key {
        let text = |text: &str| {
            let end = (0..=text.len().min(TEXT)).rev().find(|at| text.is_char_boundary(*at));
            Key::Text(text[..end.unwrap_or(0)].to_owned())
        };
        match self.by {
            By::Id => Key::Number(0),
            By::Type => text(stream.kind.as_str()),
            By::Status => text(stream.status.as_str()),
            By::Node => text(stream.node.as_deref().unwrap_or_default()),
            By::Source => text(&stream.source_addr),
            By::CreatedAt => Key::Number(stream.created_at.as_unix_nanos()),
            By::LastHeartbeat => Key::Number(stream.last_heartbeat.as_unix_nanos()),
            By::Bitrate => Key::Number(stream.bitrate.into()),
            By::BytesReceived => Key::Number(stream.bytes_received.into()),
            By::PacketsReceived => Key::Number(stream.packets_received.into()),
            By::PacketsLost => Key::Number(stream.packets_lost.into()),
            By::Viewers => Key::Number(stream.viewers.unwrap_or(0).into()),
        }
    }

    fn compare(self, one: (&Key, &StreamId), other: (&Key, &StreamId)) -> Ordering {
        let ascending = one.cmp(&other);
        if self.descending { ascending.reverse() } else { ascending }
    }

    /// Sorts streams.
    pub fn sort<S: Borrow<Stream>>(self, streams: Vec<S>) -> Vec<S> {
        self.keyed(streams).into_iter().map(|(_, stream)| stream).collect()
    }

    fn keyed<S: Borrow<Stream>>(self, streams: Vec<S>) -> Vec<(Key, S)> {
        let mut keyed: Vec<_> = streams.into_iter().map(|stream| (self.key(stream.borrow()), stream)).collect();
        keyed.sort_unstable_by(|(a, one), (b, other)| self.compare((a, &one.borrow().id), (b, &other.borrow().id)));
        keyed
    }

    /// Takes the part of streams that comes after a place.
    pub fn part<S: Borrow<Stream>>(self, streams: Vec<S>, after: Option<&Position>, limit: usize) -> Part<S> {
        let mut keyed = self.keyed(streams);
        let total = keyed.len() as u64;
        let first = after.map_or(0, |after| {
            keyed.partition_point(|(key, stream)| {
                self.compare((key, &stream.borrow().id), (&after.key, &after.id)) != Ordering::Greater
            })
        });
        keyed.drain(..first);
        let more = keyed.len() > limit;
        keyed.truncate(limit);
        let streams: Vec<_> = keyed.into_iter().map(|(_, stream)| stream).collect();
        let next = if more { streams.last().map(|stream| self.position(stream.borrow())) } else { None };
        Part { streams, next, total }
    }

    fn position(self, stream: &Stream) -> Position {
        Position { order: self, key: self.key(stream), id: stream.id.clone() }
    }
}

impl<S: Borrow<Stream>> Part<S> {
    /// Keeps the first of the streams; the others are for the next part.
    pub fn cut(&mut self, order: Order, limit: usize) {
        if self.streams.len() > limit {
            self.streams.truncate(limit);
            self.next = self.streams.last().map(|stream| order.position(stream.borrow()));
        }
    }
}

impl Position {
    /// Reads a cursor.
    ///
    /// # Errors
    ///
    /// `InvalidCursor` for one that [`to_cursor`](Self::to_cursor) did not make, or made for another order.
    pub fn read(cursor: &str, order: Order) -> Result<Self, Error> {
        let position = || {
            let rest = cursor.strip_prefix("v.")?;
            let mut parts = rest.split('.');
            let (name, key, id) = (parts.next()?, parts.next()?, parts.next()?);
            let key = match (key.strip_prefix('n'), key.strip_prefix('t')) {
                (Some(number), _) => Key::Number(number.parse().ok()?),
                (None, Some(text)) => Key::Text(text_of(text)?),
                (None, None) => return None,
            };
            let read = Self { order: name.parse().ok()?, key, id: text_of(id)?.parse().ok()? };
            // Made again, since there are several spellings of a number.
            (read.order == order && read.text() == cursor).then_some(read)
        };
        position().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidCursor,
                "this cursor is not one of this list and sort; begin again without one",
            )
            .with_operation(Operation::ListPage)
        })
    }

    fn text(&self) -> String {
        let sign = if self.order.descending { "-" } else { "" };
        let key = match &self.key {
            Key::Number(number) => format!("n{number}"),
            Key::Text(text) => format!("t{}", hex(text)),
        };
        let mut text = format!("v.{sign}{}.{key}.{}", self.order.name(), hex(self.id.as_str()));
        let check = check(&text);
        // Writing to a string cannot fail.
        let _ = write!(text, ".{check:08x}");
        text
    }

    /// Writes the place as a cursor.
    ///
    /// # Errors
    ///
    /// None: it is short enough for every id.
    pub fn to_cursor(&self) -> Result<Cursor, Error> {
        self.text().parse()
    }
}

fn hex(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn text_of(hex: &str) -> Option<String> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(digits.map(byte).collect::<Option<_>>()?).ok()
}

/// FNV-1a, 32 bits: tells a made cursor from a guess, not from a forgery.
fn check(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use stream_registry::{StreamType, Timestamp};

    use super::*;

    fn streams() -> Vec<Stream> {
        (0..50_u64)
            .map(|n| {
                let mut stream = Stream::new(format!("cam{n:02}").parse().unwrap(), StreamType::Srt, "a:1");
                stream.bitrate = n % 7;
                // The same whenever it is made.
                let time = Timestamp::from_unix_nanos(i128::from(n % 5) * 1_000);
                (stream.created_at, stream.last_heartbeat) = (time, time);
                stream.node = (n % 3 > 0).then(|| "é".repeat(40 + usize::try_from(n % 3).unwrap()));
                stream
            })
            .collect()
    }

    #[test]
    fn pages_have_every_stream_once_in_every_order() {
        for name in NAMES.map(|(name, _)| name) {
            for sort in [name.to_owned(), format!("-{name}")] {
                let order: Order = sort.parse().unwrap();
                let mut seen: Vec<String> = Vec::new();
                let mut after = None;
                loop {
                    let part = order.part(streams(), after.as_ref(), 7);
                    assert_eq!(part.total, 50);
                    seen.extend(part.streams.iter().map(|stream| stream.id.to_string()));
                    let Some(next) = part.next else { break };
                    let cursor = next.to_cursor().unwrap();
                    after = Some(Position::read(cursor.as_str(), order).unwrap());
                    assert_eq!(after.as_ref(), Some(&next));
                }
                let whole: Vec<_> = order.sort(streams()).iter().map(|stream| stream.id.to_string()).collect();
                assert_eq!(seen, whole, "{sort}");
                assert_eq!(seen.len(), 50);
            }
        }
        let by_bitrate = "-bitrate".parse::<Order>().unwrap().sort(streams());
        assert!(by_bitrate.is_sorted_by(|one, other| one.bitrate >= other.bitrate));
    }

    #[test]
    fn a_cursor_stays_good_when_its_stream_is_gone_and_serves_its_order_only() {
        let order: Order = "bitrate".parse().unwrap();
        let next = order.part(streams(), None, 10).next.unwrap();
        let mut fewer = streams();
        fewer.retain(|stream| stream.id != next.id);
        let rest = order.part(fewer, Some(&next), 100);
        assert_eq!((rest.streams.len(), rest.total), (40, 49));
        let cursor = next.to_cursor().unwrap();
        for other in ["-bitrate", "id"] {
            assert!(Position::read(cursor.as_str(), other.parse().unwrap()).is_err());
        }
        for bad in
            ["v.", "v.bitrate.n1.00.00000000", "v.bitrate.n+1.6161.00000000", &cursor.as_str().replace(".n", ".n0")]
        {
            assert!(Position::read(bad, order).is_err(), "{bad}");
        }
        assert!(Position::read("m0000000000000001deadbeef", order).is_err());
    }

    #[test]
    fn the_longest_cursor_is_one() {
        let mut stream = Stream::new("é".repeat(128).parse().unwrap(), StreamType::Srt, "a:1");
        stream.node = Some("é".repeat(512));
        let order: Order = "-node".parse().unwrap();
        let next = order.part(vec![stream.clone(), stream], None, 1).next.unwrap();
        assert!(next.to_cursor().is_ok());
        assert!(
            "Bitrate".parse::<Order>().is_err() && "--id".parse::<Order>().is_err() && "".parse::<Order>().is_err()
        );
    }
}
