//! The order of a list, and the position at which a page begins.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::stream::{Cursor, InvalidValue, Stream, StreamId};

/// How many bytes of a string take part in the order; a cursor carries no more.
const MAX_KEY_BYTES: usize = 64;

/// A field of the record that lists can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SortField {
    /// The id.
    #[default]
    Id,
    /// The protocol.
    Type,
    /// The state.
    Status,
    /// The ingest node; streams without one come first.
    Node,
    /// The publisher's address.
    SourceAddr,
    /// When the stream was registered.
    CreatedAt,
    /// When the stream was last written.
    LastHeartbeat,
    /// Bits per second.
    Bitrate,
    /// Bytes received.
    BytesReceived,
    /// Packets received.
    PacketsReceived,
    /// Packets lost.
    PacketsLost,
    /// Viewers; an unknown number counts as 0.
    Viewers,
}

const NAMES: [(&str, SortField); 12] = [
    ("id", SortField::Id),
    ("type", SortField::Type),
    ("status", SortField::Status),
    ("node", SortField::Node),
    ("source_addr", SortField::SourceAddr),
    ("created_at", SortField::CreatedAt),
    ("last_heartbeat", SortField::LastHeartbeat),
    ("bitrate", SortField::Bitrate),
    ("bytes_received", SortField::BytesReceived),
    ("packets_received", SortField::PacketsReceived),
    ("packets_lost", SortField::PacketsLost),
    ("viewers", SortField::Viewers),
];

impl SortField {
    /// Returns the name of the field in the record.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, field)| *field == self).map_or("id", |(name, _)| name)
    }
}

/// The order of a list: by a field, then by id. The default is by id, ascending.
///
/// Its string form is the name of the field, with a leading `-` for descending:
///
/// ```
/// use stream_registry::query::{Order, SortField};
/// assert_eq!("-bitrate".parse::<Order>()?, Order::by(SortField::Bitrate).descending());
/// # Ok::<(), stream_registry::Error>(())
/// ```
///
/// Of strings, the first 64 bytes are compared; streams that agree in them are sorted by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Order {
    /// The field that decides first.
    pub field: SortField,
    /// Whether the greatest value comes first.
    pub descending: bool,
}

impl FromStr for Order {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let field = NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
        let field = field.ok_or_else(|| {
            let known = NAMES.map(|(name, _)| name).join(", ");
            InvalidValue::new(format!(
                "invalid sort {text:?}; expected one of {known}, with a leading - for descending"
            ))
        })?;
        Ok(Self { field, descending })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.descending {
            f.write_char('-')?;
        }
        f.write_str(self.field.as_str())
    }
}

/// The value that decides the order, of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Number(i128),
    Text(&'a str),
}

impl Order {
    /// Sorts by a field, ascending.
    pub fn by(field: SortField) -> Self {
        Self { field, descending: false }
    }

    /// Puts the greatest value first.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    fn key(self, stream: &Stream) -> Key<'_> {
        fn text(text: &str) -> Key<'_> {
            let end = (0..=text.len().min(MAX_KEY_BYTES)).rev().find(|at| text.is_char_boundary(*at));
            Key::Text(&text[..end.unwrap_or(0)])
        }
        match self.field {
            SortField::Id => Key::Number(0),
            SortField::Type => text(stream.kind.as_str()),
            SortField::Status => text(stream.status.as_str()),
            SortField::Node => text(stream.node.as_deref().unwrap_or_default()),
            SortField::SourceAddr => text(&stream.source_addr),
            SortField::CreatedAt => Key::Number(stream.created_at.as_unix_nanos()),
            SortField::LastHeartbeat => Key::Number(stream.last_heartbeat.as_unix_nanos()),
            SortField::Bitrate => Key::Number(stream.bitrate.into()),
            SortField::BytesReceived => Key::Number(stream.bytes_received.into()),
            SortField::PacketsReceived => Key::Number(stream.packets_received.into()),
            SortField::PacketsLost => Key::Number(stream.packets_lost.into()),
            SortField::Viewers => Key::Number(stream.viewers.unwrap_or(0).into()),
        }
    }

    fn direct(self, ascending: Ordering) -> Ordering {
        if self.descending { ascending.reverse() } else { ascending }
    }

    /// Compares two streams in this order.
    pub fn compare(self, one: &Stream, other: &Stream) -> Ordering {
        self.direct(self.key(one).cmp(&self.key(other)).then_with(|| one.id.cmp(&other.id)))
    }

    /// Returns the position of a stream in this order.
    pub(crate) fn position(self, stream: &Stream) -> Position {
        let key = match self.key(stream) {
            Key::Number(number) => OwnedKey::Number(number),
            Key::Text(text) => OwnedKey::Text(text.to_owned()),
        };
        Position { order: self, key, id: stream.id.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedKey {
    Number(i128),
    Text(String),
}

/// A position in an order: that of a stream, which need not be live any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    order: Order,
    key: OwnedKey,
    id: StreamId,
}

impl Position {
    /// Returns the id at this position.
    pub(crate) fn id(&self) -> &StreamId {
        &self.id
    }

    /// Returns whether a stream comes after this position.
    pub(crate) fn is_before(&self, stream: &Stream) -> bool {
        let key = match &self.key {
            OwnedKey::Number(number) => Key::Number(*number),
            OwnedKey::Text(text) => Key::Text(text),
        };
        let ascending = self.order.key(stream).cmp(&key).then_with(|| stream.id.cmp(&self.id));
        self.order.direct(ascending) == Ordering::Greater
    }

    /// Reads the position from a cursor, which is `v.`, the order, the key and the id, separated by dots.
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor has another form or belongs to another order.
    pub(crate) fn read(cursor: &Cursor, order: Order) -> Result<Self> {
        let position = || {
            let mut parts = cursor.as_str().strip_prefix("v.")?.split('.');
            let (name, key, id) = (parts.next()?, parts.next()?, parts.next()?);
            let key = match key.split_at_checked(1)? {
                ("n", number) => OwnedKey::Number(number.parse().ok()?),
                ("t", text) => OwnedKey::Text(from_hex(text)?),
                _ => return None,
            };
            let position = Self { order: name.parse().ok()?, key, id: from_hex(id)?.parse().ok()? };
            let fits = match (order.field, &position.key) {
                (SortField::Id, key) => *key == OwnedKey::Number(0),
                (SortField::Type | SortField::Status | SortField::Node | SortField::SourceAddr, key) => {
                    matches!(key, OwnedKey::Text(_))
                }
                (_, key) => matches!(key, OwnedKey::Number(_)),
            };
            // Written again and compared, because a number has several spellings.
            (fits && position.order == order && position.to_cursor().ok()? == *cursor).then_some(position)
        };
        position().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidCursor,
                "the cursor does not belong to this list and sort; start again without one",
            )
            .with_operation(Operation::ListPage)
        })
    }

    /// Writes the position as a cursor.
    pub(crate) fn to_cursor(&self) -> Result<Cursor> {
        let key = match &self.key {
            OwnedKey::Number(number) => format!("n{number}"),
            OwnedKey::Text(text) => format!("t{}", to_hex(text)),
        };
        Ok(format!("v.{}.{key}.{}", self.order, to_hex(self.id.as_str())).parse()?)
    }
}

fn to_hex(text: &str) -> String {
    let mut hex = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn from_hex(hex: &str) -> Option<String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(hex.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?).ok()
}

/// Selects the first streams after a position, without sorting the others.
pub(crate) struct Selector<'a, S> {
    order: Order,
    after: Option<&'a Position>,
    limit: usize,
    /// The selected streams; the last one in the order is at the top.
    selected: BinaryHeap<Ranked<S>>,
    total: u64,
    more: bool,
}

/// The first streams after a position.
#[derive(Debug)]
pub(crate) struct Selected<S> {
    /// The streams, in order.
    pub(crate) streams: Vec<S>,
    /// How many streams were added, before and after the position.
    pub(crate) total: u64,
    /// Whether others come after these.
    pub(crate) more: bool,
}

impl<'a, S: Borrow<Stream>> Selector<'a, S> {
    /// Selects at most `limit` streams that come after a position.
    pub(crate) fn new(order: Order, after: Option<&'a Position>, limit: usize) -> Self {
        Self { order, after, limit, selected: BinaryHeap::new(), total: 0, more: false }
    }

    /// Adds a stream; `keep` makes what is kept if the stream is selected.
    pub(crate) fn add(&mut self, stream: &Stream, keep: impl FnOnce() -> S) {
        self.total += 1;
        if self.after.is_some_and(|after| !after.is_before(stream)) {
            return;
        }
        if self.selected.len() >= self.limit {
            self.more = true;
            match self.selected.peek() {
                Some(last) if self.order.compare(stream, last.stream.borrow()) == Ordering::Less => {}
                _ => return,
            }
            self.selected.pop();
        }
        self.selected.push(Ranked { order: self.order, stream: keep() });
    }

    /// Returns the selected streams.
    pub(crate) fn finish(self) -> Selected<S> {
        let streams = self.selected.into_sorted_vec().into_iter().map(|ranked| ranked.stream).collect();
        Selected { streams, total: self.total, more: self.more }
    }
}

struct Ranked<S> {
    order: Order,
    stream: S,
}

impl<S: Borrow<Stream>> Ord for Ranked<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(self.stream.borrow(), other.stream.borrow())
    }
}

impl<S: Borrow<Stream>> PartialOrd for Ranked<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S: Borrow<Stream>> PartialEq for Ranked<S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<S: Borrow<Stream>> Eq for Ranked<S> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamType, Timestamp};

    fn streams() -> Vec<Stream> {
        (0..50_u64)
            .map(|n| {
                let mut stream = Stream::new(format!("cam{n:02}").parse().unwrap(), StreamType::Srt, "a:1");
                stream.bitrate = n % 7;
                // The same at each call.
                let time = Timestamp::from_unix_nanos(i128::from(n % 5) * 1_000);
                (stream.created_at, stream.last_heartbeat) = (time, time);
                stream.node = (n % 3 > 0).then(|| "é".repeat(40 + usize::try_from(n % 3).unwrap()));
                stream
            })
            .collect()
    }

    fn select(streams: &[Stream], order: Order, after: Option<&Position>, limit: usize) -> Selected<Stream> {
        let mut selector = Selector::new(order, after, limit);
        for stream in streams {
            selector.add(stream, || stream.clone());
        }
        selector.finish()
    }

    #[test]
    fn pages_hold_every_stream_once_in_every_order() {
        for name in NAMES.map(|(name, _)| name) {
            for sort in [name.to_owned(), format!("-{name}")] {
                let order: Order = sort.parse().unwrap();
                assert_eq!(order.to_string(), sort);
                let mut seen: Vec<String> = Vec::new();
                let mut after = None;
                loop {
                    let page = select(&streams(), order, after.as_ref(), 7);
                    assert_eq!(page.total, 50);
                    seen.extend(page.streams.iter().map(|stream| stream.id.to_string()));
                    if !page.more {
                        break;
                    }
                    let next = order.position(page.streams.last().unwrap());
                    after = Some(Position::read(&next.to_cursor().unwrap(), order).unwrap());
                    assert_eq!(after.as_ref(), Some(&next));
                }
                let mut whole = streams();
                whole.sort_by(|one, other| order.compare(one, other));
                let whole: Vec<_> = whole.iter().map(|stream| stream.id.to_string()).collect();
                assert_eq!(seen, whole, "{sort}");
            }
        }
        let by_bitrate = select(&streams(), Order::by(SortField::Bitrate).descending(), None, 50).streams;
        assert!(by_bitrate.is_sorted_by(|one, other| one.bitrate >= other.bitrate));
    }

    #[test]
    fn cursor_outlives_its_stream_and_belongs_to_one_order() {
        let order = Order::by(SortField::Bitrate);
        let page = select(&streams(), order, None, 10);
        let next = order.position(page.streams.last().unwrap());
        let mut fewer = streams();
        fewer.retain(|stream| stream.id != next.id);
        let rest = select(&fewer, order, Some(&next), 100);
        assert_eq!((rest.streams.len(), rest.total, rest.more), (40, 49, false));
        let cursor = next.to_cursor().unwrap();
        for other in ["-bitrate", "id"] {
            assert!(Position::read(&cursor, other.parse().unwrap()).is_err());
        }
        for bad in [
            "v.",
            "v.bitrate.n1.00",
            "v.bitrate.n+1.6161",
            "v.bitrate.n1.6",
            "v.bitrate.t31.6161",
            "v.bitrate.n1.6161.x",
            "m0000000000000001",
            &cursor.as_str().replace(".n", ".n0"),
        ] {
            assert!(Position::read(&bad.parse().unwrap(), order).is_err(), "{bad}");
        }
    }

    #[test]
    fn longest_position_fits_a_cursor() {
        let mut stream = Stream::new("é".repeat(128).parse().unwrap(), StreamType::Srt, "a:1");
        stream.node = Some("é".repeat(512));
        assert!("-node".parse::<Order>().unwrap().position(&stream).to_cursor().is_ok());
        for bad in ["Bitrate", "--id", ""] {
            assert!(bad.parse::<Order>().is_err(), "{bad}");
        }
    }
}
