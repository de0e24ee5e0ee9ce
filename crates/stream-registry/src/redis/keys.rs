//! Names of all Redis keys.

use crate::stream::{OperationId, StreamId};

/// First character of the suffix of every auxiliary key. Neither stream ids nor prefixes contain control characters,
/// so no record has such a key. A permission for `<prefix>*` covers these keys too.
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

    /// Returns the key of the index, the set of active ids.
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

    /// Returns the key of the record of an index member, which can be any bytes.
    pub(super) fn record_bytes(&self, member: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), member].concat()
    }

    /// Returns the key of the stored answer to an operation, which is kept for 60 s in case the call is sent again.
    pub(super) fn operation(&self, operation: &OperationId) -> String {
        format!("{}{AUXILIARY}op:{operation}", self.prefix)
    }

    /// Returns the key of the change feed.
    pub(super) fn feed(&self) -> String {
        format!("{}{AUXILIARY}feed", self.prefix)
    }

    /// Returns the key of the feed metadata, a hash that also holds the state of the sweeps.
    pub(super) fn feed_metadata(&self) -> String {
        format!("{}{AUXILIARY}facts", self.prefix)
    }

    /// Returns the key of the schedule, a sorted set of ids by the time when the sweep checks them next.
    pub(super) fn due(&self) -> String {
        format!("{}{AUXILIARY}due", self.prefix)
    }

    /// Returns the key of the copy of a record that expires soon. The argument is an index member, which can be any
    /// bytes.
    pub(super) fn copy_bytes(&self, member: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), "\u{1f}last:".as_bytes(), member].concat()
    }

    /// Like [`copy_bytes`](Self::copy_bytes), for a stream id.
    pub(super) fn copy(&self, id: &StreamId) -> String {
        format!("{}{AUXILIARY}last:{id}", self.prefix)
    }

    /// Returns the key of a stream's tombstone, which is kept longer than the time to live.
    pub(super) fn tombstone(&self, id: &StreamId) -> String {
        format!("{}{AUXILIARY}end:{id}", self.prefix)
    }
}
