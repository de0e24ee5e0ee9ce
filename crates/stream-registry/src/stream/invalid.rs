//! The error of values that a record cannot hold.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::StreamId;

/// The result of reading or checking a value.
pub(crate) type Result<T, E = InvalidValue> = std::result::Result<T, E>;

/// A value that a stream record cannot hold.
///
/// Converts into [`Error`](crate::Error) by `?`: its kind is `Corrupt` if the value is a record that a store holds, and
/// `InvalidArgument` otherwise.
///
/// ```
/// use stream_registry::StreamId;
/// let invalid = StreamId::new("active").unwrap_err();
/// assert!(invalid.message().contains("reserved"));
/// ```
#[derive(Clone)]
pub struct InvalidValue(Arc<Inner>);

struct Inner {
    message: String,
    /// The stream whose stored record cannot be decoded; `None` if a caller gave the value.
    stored: Option<Option<StreamId>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl InvalidValue {
    /// Creates the error of a value that a caller gave.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { message: message.into(), stored: None, source: None }))
    }

    /// Creates the error of a word that is not one of those that an enum knows.
    pub(crate) fn unknown_word(what: &str, word: &str) -> Self {
        Self::new(format!("unknown {what} {word:?}"))
    }

    /// As [`new`](Self::new), with its cause.
    pub(super) fn with_source(message: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { message: message.into(), stored: None, source: Some(Box::new(source)) }))
    }

    /// Creates the error of a record that a store holds.
    pub(super) fn stored(
        id: Option<&StreamId>,
        message: impl Into<String>,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { message: message.into(), stored: Some(id.cloned()), source }))
    }

    /// Returns what is wrong and what to give instead.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns whether the value is a record that a store holds.
    pub fn is_stored(&self) -> bool {
        self.0.stored.is_some()
    }

    /// Returns the stream whose stored record cannot be decoded, if it is known.
    pub fn stream_id(&self) -> Option<&StreamId> {
        self.0.stored.as_ref()?.as_ref()
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidValue")
            .field("message", &self.0.message)
            .field("stored", &self.0.stored)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for InvalidValue {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
