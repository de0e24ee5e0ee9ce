//! The order of a list, and positions in it.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::stream::{Cursor, InvalidValue, Stream, StreamId};

/// Maximum number of bytes of a string that are compared and stored in a cursor.
const MAX_KEY_BYTES: usize = 64;

/// A field by which a list can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SortField {
    /// The id.
    #[default]
    Id,
    /// The protocol.
    Type,
    /// The status.
    Status,
    /// The ingest node; streams without a node come first.
    Node,
    /// The publisher's address.
    SourceAddr,
    /// When the stream was registered.
    CreatedAt,
    /// When the stream was last written.
    LastHeartbeat,
    /// Bit rate in bits per second.
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

pub(super) const NAMES: [(&str, SortField); 12] = [
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
    /// Returns all fields.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(_, field)| field)
    }

    /// Returns the name of the field in the record.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, field)| *field == self).map_or("id", |(name, _)| name)
    }
}

/// The order of a list. The default is by id, ascending.
///
/// Streams with the same value of the field are sorted by id. The string form is the name of the field, with a leading
/// `-` for descending:
///
/// ```
/// use stream_registry::query::{Order, SortField};
///
/// assert_eq!("-bitrate".parse::<Order>()?, Order::by(SortField::Bitrate).descending());
/// # Ok::<(), stream_registry::Error>(())
/// ```
///
/// Only the first 64 bytes of a string are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Order {
    /// The field to sort by.
    pub field: SortField,
    /// Whether the greatest value comes first.
    pub descending: bool,
}

impl FromStr for Order {
    type Err = InvalidValue;

    fn from_str(order: &str) -> Result<Self, InvalidValue> {
        let (name, descending) = order.strip_prefix('-').map_or((order, false), |name| (name, true));
        let field = NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
        let field = field.ok_or_else(|| {
            let known = NAMES.map(|(name, _)| name).join(", ");
            InvalidValue::new(format!(
                "invalid sort {order:?}; expected one of {known}, with a leading - for descending"
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

/// The value by which two streams are compared before their ids.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key<'a> {
    Number(i128),
    String(&'a str),
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::Number(one), Key::Number(other)) => one.cmp(other),
            // An empty string is compared by length only, because on some processors a comparison of bytes takes as
            // long as a load from memory. Empty strings are frequent, e.g. if most streams have no node.
            (Key::String(one), Key::String(other)) if one.is_empty() || other.is_empty() => one.len().cmp(&other.len()),
            (Key::String(one), Key::String(other)) => one.cmp(other),
            (Key::Number(_), Key::String(_)) => Ordering::Less,
            (Key::String(_), Key::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Order {
    /// Sorts by a field, ascending.
    pub fn by(field: SortField) -> Self {
        Self { field, descending: false }
    }

    /// Sorts in descending order: the greatest value comes first.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    fn key(self, stream: &Stream) -> Key<'_> {
        fn string(string: &str) -> Key<'_> {
            let end = (0..=string.len().min(MAX_KEY_BYTES)).rev().find(|end| string.is_char_boundary(*end));
            Key::String(&string[..end.unwrap_or(0)])
        }
        match self.field {
            SortField::Id => Key::Number(0),
            SortField::Type => string(stream.kind.as_str()),
            SortField::Status => string(stream.status.as_str()),
            SortField::Node => string(stream.node.as_deref().unwrap_or_default()),
            SortField::SourceAddr => string(&stream.source_addr),
            SortField::CreatedAt => Key::Number(stream.created_at.as_unix_nanos()),
            SortField::LastHeartbeat => Key::Number(stream.last_heartbeat.as_unix_nanos()),
            SortField::Bitrate => Key::Number(stream.bitrate.into()),
            SortField::BytesReceived => Key::Number(stream.bytes_received.into()),
            SortField::PacketsReceived => Key::Number(stream.packets_received.into()),
            SortField::PacketsLost => Key::Number(stream.packets_lost.into()),
            SortField::Viewers => Key::Number(stream.viewers.unwrap_or(0).into()),
        }
    }

    fn with_direction(self, ascending: Ordering) -> Ordering {
        if self.descending { ascending.reverse() } else { ascending }
    }

    /// Compares two streams in this order.
    pub fn compare(self, one: &Stream, other: &Stream) -> Ordering {
        self.compare_keys(one, other).then_with(|| self.with_direction(one.id.cmp(&other.id)))
    }

    /// Compares two streams by the sort field alone, not by id.
    pub(super) fn compare_keys(self, one: &Stream, other: &Stream) -> Ordering {
        self.with_direction(self.key(one).cmp(&self.key(other)))
    }

    /// Returns the position of a stream in this order.
    pub(crate) fn position(self, stream: &Stream) -> Position {
        let key = match self.key(stream) {
            Key::Number(number) => OwnedKey::Number(number),
            Key::String(string) => OwnedKey::String(string.to_owned()),
        };
        Position { order: self, key, id: stream.id.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedKey {
    Number(i128),
    String(String),
}

/// The position of a stream in an order. The stream may have ended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    order: Order,
    key: OwnedKey,
    id: StreamId,
}

impl Position {
    /// Returns the id of the stream at this position.
    pub(crate) fn id(&self) -> &StreamId {
        &self.id
    }

    /// Compares the key of a stream with the key of this position.
    pub(super) fn compare_key(&self, stream: &Stream) -> Ordering {
        let key = match &self.key {
            OwnedKey::Number(number) => Key::Number(*number),
            OwnedKey::String(string) => Key::String(string),
        };
        self.order.with_direction(self.order.key(stream).cmp(&key))
    }

    /// Reads the position from a cursor: `v`, the order, the key and the id, separated by dots.
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor is malformed or belongs to another order.
    pub(crate) fn read(cursor: &Cursor, order: Order) -> Result<Self> {
        let position = || {
            let mut parts = cursor.as_str().strip_prefix("v.")?.split('.');
            let (name, key, id) = (parts.next()?, parts.next()?, parts.next()?);
            let key = match key.split_at_checked(1)? {
                ("n", number) => OwnedKey::Number(number.parse().ok()?),
                ("t", string) => OwnedKey::String(from_hex(string)?),
                _ => return None,
            };
            let position = Self { order: name.parse().ok()?, key, id: from_hex(id)?.parse().ok()? };
            let is_key_of_field = match (order.field, &position.key) {
                (SortField::Id, key) => *key == OwnedKey::Number(0),
                (SortField::Type | SortField::Status | SortField::Node | SortField::SourceAddr, key) => {
                    matches!(key, OwnedKey::String(_))
                }
                (_, key) => matches!(key, OwnedKey::Number(_)),
            };
            // `parse` accepts several spellings of one number, e.g. with a sign. The comparison rejects each cursor
            // that `to_cursor` would spell differently.
            (is_key_of_field && position.order == order && position.to_cursor().ok()? == *cursor).then_some(position)
        };
        position().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidCursor,
                "the cursor does not belong to this list and sort; start again without one",
            )
        })
    }

    /// Writes the position as a cursor.
    pub(crate) fn to_cursor(&self) -> Result<Cursor> {
        let key = match &self.key {
            OwnedKey::Number(number) => format!("n{number}"),
            OwnedKey::String(string) => format!("t{}", to_hex(string)),
        };
        Ok(format!("v.{}.{key}.{}", self.order, to_hex(self.id.as_str())).parse()?)
    }
}

fn to_hex(string: &str) -> String {
    let mut hex = String::with_capacity(string.len() * 2);
    for byte in string.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn from_hex(hex: &str) -> Option<String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(hex.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamType;

    #[test]
    fn malformed_query_cursor_is_rejected() {
        let mut stream = Stream::new("aa".parse().unwrap(), StreamType::Srt, "a:1");
        stream.bitrate = 1;
        let order = Order::by(SortField::Bitrate);
        let cursor = order.position(&stream).to_cursor().unwrap();
        assert_eq!(cursor.as_str(), "v.bitrate.n1.6161");
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
    fn longest_sort_position_fits_into_a_cursor() {
        let mut stream = Stream::new("é".repeat(128).parse().unwrap(), StreamType::Srt, "a:1");
        stream.node = Some("é".repeat(512));
        assert!("-node".parse::<Order>().unwrap().position(&stream).to_cursor().is_ok());
        for bad in ["Bitrate", "--id", ""] {
            assert!(bad.parse::<Order>().is_err(), "{bad}");
        }
    }
}
