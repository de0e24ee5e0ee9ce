//! Names of all Redis keys.

use crate::stream::{OperationId, StreamId};

/// The control character that follows the prefix in every auxiliary key. Stream ids and prefixes contain no control
/// characters, so an auxiliary key is never the key of a record. A Redis permission for `<prefix>*` also covers the
/// auxiliary keys.
const AUXILIARY: char = '\u{1f}';

/// Builds the key names for one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    index: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), index: format!("{prefix}active") }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the key of the index, which is the set of active stream ids.
    pub(super) fn index(&self) -> &str {
        &self.index
    }

    /// Returns the key of a stream's record.
    pub(super) fn record(&self, id: &StreamId) -> String {
        let mut key = String::with_capacity(self.prefix.len() + id.as_str().len());
        key.push_str(&self.prefix);
        key.push_str(id.as_str());
        key
    }

    /// Returns the key of the record of an index member. A member can be any byte string.
    pub(super) fn record_bytes(&self, member: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), member].concat()
    }

    /// Returns the key of the stored answer to an operation. The answer is kept for 60 s in case the call is sent
    /// again.
    pub(super) fn operation(&self, operation: &OperationId) -> String {
        format!("{}{AUXILIARY}op:{operation}", self.prefix)
    }

    /// Returns the beginning of all auxiliary keys.
    pub(super) fn auxiliary(&self) -> String {
        format!("{}{AUXILIARY}", self.prefix)
    }

    /// Returns the key of the change feed.
    pub(super) fn feed(&self) -> String {
        format!("{}{AUXILIARY}feed", self.prefix)
    }

    /// Returns the key of the feed metadata, a hash. The hash also holds the state of the sweep for expired streams.
    pub(super) fn feed_metadata(&self) -> String {
        format!("{}{AUXILIARY}facts", self.prefix)
    }

    /// Returns the key of the sweep's schedule, a sorted set of stream ids. The score of an id is the time of its next
    /// check.
    pub(super) fn due(&self) -> String {
        format!("{}{AUXILIARY}due", self.prefix)
    }

    /// Returns the key of the copy that the sweep makes of a record before the record expires. The argument is a member
    /// of the index, which can be any byte string.
    pub(super) fn copy_bytes(&self, member: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), "\u{1f}last:".as_bytes(), member].concat()
    }

    /// Like [`copy_bytes`](Self::copy_bytes), but takes a stream id.
    pub(super) fn copy(&self, id: &StreamId) -> String {
        format!("{}{AUXILIARY}last:{id}", self.prefix)
    }

    /// Returns the key of a stream's tombstone. A tombstone is kept longer than the time to live of a stream.
    pub(super) fn tombstone(&self, id: &StreamId) -> String {
        format!("{}{AUXILIARY}end:{id}", self.prefix)
    }
}
