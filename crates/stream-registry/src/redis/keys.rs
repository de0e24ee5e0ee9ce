//! The names of all keys.

use crate::stream::{OperationId, StreamId};

/// Stands before the names of auxiliary keys. Neither a stream id nor a prefix holds a control
/// character, so no stream of any prefix has such a key; and a user's right to `<prefix>*` covers them.
const AUXILIARY: char = '\u{1f}';

/// Makes key names for one prefix.
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

    /// The set of active ids.
    pub(super) fn index(&self) -> &str {
        &self.index
    }

    /// The record of a stream.
    pub(super) fn record(&self, id: &StreamId) -> String {
        let mut key = String::with_capacity(self.prefix.len() + id.as_str().len());
        key.push_str(&self.prefix);
        key.push_str(id.as_str());
        key
    }

    /// The key under a member of the index, which may be anything.
    pub(super) fn record_bytes(&self, member: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), member].concat()
    }

    /// The answer to a registration, for when it is sent again; lives 60 s.
    pub(super) fn operation(&self, operation: &OperationId) -> String {
        format!("{}{AUXILIARY}op:{operation}", self.prefix)
    }

    /// The change feed.
    pub(super) fn feed(&self) -> String {
        format!("{}{AUXILIARY}feed", self.prefix)
    }

    /// What is known of the feed and the sweeps.
    pub(super) fn facts(&self) -> String {
        format!("{}{AUXILIARY}facts", self.prefix)
    }

    /// The ids in the order of lower bounds of their deadlines.
    pub(super) fn due(&self) -> String {
        format!("{}{AUXILIARY}due", self.prefix)
    }

    /// A copy of a record whose time is nearly over; `member` is of the index, which may be anything.
    pub(super) fn copy_bytes(&self, member: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), "\u{1f}last:".as_bytes(), member].concat()
    }

    /// As [`copy_bytes`](Self::copy_bytes), of a stream.
    pub(super) fn copy(&self, id: &StreamId) -> String {
        format!("{}{AUXILIARY}last:{id}", self.prefix)
    }

    /// The mark of an ended stream; outlives the time to live.
    pub(super) fn end_mark(&self, id: &StreamId) -> String {
        format!("{}{AUXILIARY}end:{id}", self.prefix)
    }
}
