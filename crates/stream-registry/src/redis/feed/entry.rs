//! Entries of the change feed.

use std::sync::Arc;

use redis::Value;

use super::position::{EntryId, entry_id};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::{record, reply};
use crate::registry::rules;
use crate::stream::{EndReason, Revision, Stream, StreamId, StreamStatus, Timestamp};
use crate::watch::{Ending, Event};

/// An entry of the change feed. The fields of an entry are described in `lua/feed.lua`.
pub(in crate::redis) struct Entry {
    pub(in crate::redis) id: EntryId,
    /// The id of the previous entry, which shows whether entries are missing. `None` if the entry does not contain a
    /// valid id, because another program has added the entry.
    pub(super) previous: Option<EntryId>,
    pub(in crate::redis) stream_id: Vec<u8>,
    kind: Vec<u8>,
    record: Vec<u8>,
    /// The new status, as the content of a JSON string, if `record` is the record before a status change. Otherwise
    /// empty.
    status: Vec<u8>,
    /// The time of the status change, as stored in `last_heartbeat`, if `record` is the record before a status change.
    /// Otherwise empty.
    changed_at: Vec<u8>,
    reason: Vec<u8>,
    /// When the sweep read the record of an expired stream, in Unix milliseconds.
    read_at: Vec<u8>,
}

/// Parses the reply to an `XREAD` of one feed. The reply is a map, an array with one pair, or nil.
pub(super) fn parse(answer: Value) -> Result<Vec<Entry>> {
    let list = match answer {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(mut feeds) => feeds.pop().map_or(Value::Array(Vec::new()), |(_, entries)| entries),
        other => match reply::array(other)?.pop() {
            Some(feed) => reply::array(feed)?.pop().unwrap_or(Value::Nil),
            None => return Ok(Vec::new()),
        },
    };
    reply::array(list)?.into_iter().map(parse_entry).collect()
}

/// Returns the id of an unparsed entry.
pub(in crate::redis) fn id_of(value: &Value) -> Option<EntryId> {
    match value {
        Value::Array(parts) => match parts.first()? {
            Value::BulkString(id) => entry_id(id),
            _ => None,
        },
        _ => None,
    }
}

pub(in crate::redis) fn parse_entry(value: Value) -> Result<Entry> {
    let mut parts = reply::array(value)?.into_iter();
    let id = reply::bytes(parts.next().unwrap_or(Value::Nil))?;
    let mut fields = reply::array(parts.next().unwrap_or(Value::Nil))?.into_iter();
    let invalid = || Error::new(ErrorKind::Internal, "invalid entry id in the change feed");
    let mut entry = Entry {
        id: entry_id(&id).ok_or_else(invalid)?,
        previous: None,
        stream_id: Vec::new(),
        kind: Vec::new(),
        record: Vec::new(),
        status: Vec::new(),
        changed_at: Vec::new(),
        reason: Vec::new(),
        read_at: Vec::new(),
    };
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let value = reply::bytes(value)?;
        match &*reply::bytes(name)? {
            b"p" => entry.previous = entry_id(&value),
            b"i" => entry.stream_id = value,
            b"w" => entry.kind = value,
            b"r" => entry.record = value,
            b"s" => entry.status = value,
            b"n" => entry.changed_at = value,
            b"c" => entry.reason = value,
            b"t" => entry.read_at = value,
            _ => {}
        }
    }
    Ok(entry)
}

impl Entry {
    /// Returns the size of the record, in bytes.
    pub(super) fn size(&self) -> usize {
        self.record.len()
    }

    /// Returns whether this software has added the entry.
    pub(in crate::redis) fn is_event(&self) -> bool {
        self.previous.is_some()
    }

    /// Returns whether this entry is the end of a stream.
    pub(in crate::redis) fn is_end(&self) -> bool {
        matches!(&*self.kind, b"unregistered" | b"expired")
    }

    /// Returns the event of this entry. Returns `None` if the entry cannot be decoded, for example because its kind is
    /// unknown.
    pub(in crate::redis) fn event(&self, id: &StreamId, revision: Revision) -> Option<Event> {
        let decoded = record::decode(id, &self.record);
        let is_known = decoded.is_ok();
        let mut stream = decoded.unwrap_or_else(|_| record::placeholder(id));
        if !self.changed_at.is_empty() {
            let status = format!("\"{}\"", std::str::from_utf8(&self.status).ok()?);
            stream.status = StreamStatus::stored(&serde_json::from_str::<String>(&status).ok()?);
            stream.last_heartbeat = std::str::from_utf8(&self.changed_at).ok()?.parse().ok()?;
        }
        let kind = std::str::from_utf8(&self.kind).ok()?;
        let appended_at = Timestamp::from_unix_nanos(i128::from(self.id.0) * 1_000_000);
        let event = match kind {
            "unregistered" => {
                let reason: EndReason = std::str::from_utf8(&self.reason).ok()?.parse().unwrap_or_default();
                let last: Stream = rules::with_end_reason(stream, &reason);
                Event::Ended {
                    revision,
                    reason: Ending::Unregistered(reason),
                    last: Arc::new(last),
                    as_of: is_known.then_some(appended_at),
                }
            }
            "expired" => {
                let read_at = std::str::from_utf8(&self.read_at).ok().and_then(|millis| millis.parse::<i128>().ok());
                let as_of = read_at.map(|millis| Timestamp::from_unix_nanos(millis * 1_000_000));
                let as_of = as_of.filter(|_| is_known);
                Event::Ended { revision, reason: Ending::Expired, last: Arc::new(stream), as_of }
            }
            other => Event::Changed { revision, kind: other.parse().ok()?, stream: Arc::new(stream) },
        };
        Some(event)
    }
}
