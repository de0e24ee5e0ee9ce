//! The error for an invalid value.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of reading or checking a value.
pub(crate) type Result<T, E = InvalidValue> = std::result::Result<T, E>;

/// The error for a value that is malformed or outside its [`limits`](super::limits).
///
/// The operator `?` converts this error into an [`Error`](crate::Error). The kind of the `Error` is `Corrupt` if
/// the value is a record that a store holds, and `InvalidArgument` otherwise.
///
/// ```
/// use stream_registry::{Error, ErrorKind, StreamId};
///
/// let invalid = StreamId::new("active").unwrap_err();
/// assert!(invalid.message().contains("reserved"));
/// assert_eq!(Error::from(invalid).kind(), ErrorKind::InvalidArgument);
/// ```
#[derive(Clone)]
pub struct InvalidValue(Arc<Inner>);

struct Inner {
    message: String,
    /// `None` if a caller gave the value. `Some` if a store holds the value, with the id of the record if it is
    /// known.
    stored: Option<Option<Box<str>>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl InvalidValue {
    /// Creates the error for a value that a caller gave.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { message: message.into(), stored: None, source: None }))
    }

    /// Creates the error for an unknown word of an enum.
    pub(crate) fn unknown_name(subject: &str, name: &str) -> Self {
        Self::new(format!("unknown {subject} {name:?}"))
    }

    /// Creates the error for a value that a caller gave, with its cause.
    pub(super) fn with_source(message: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { message: message.into(), stored: None, source: Some(Box::new(source)) }))
    }

    /// Creates the error for a record that a store holds.
    pub(super) fn stored(
        id: Option<&str>,
        message: impl Into<String>,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { message: message.into(), stored: Some(id.map(Into::into)), source }))
    }

    /// Returns the message, which names the problem and the expected value.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns whether the value is a record from a store, not from a caller.
    pub fn is_stored(&self) -> bool {
        self.0.stored.is_some()
    }

    /// Returns the id of the stored record that cannot be decoded, if it is known.
    pub fn stream_id(&self) -> Option<&str> {
        self.0.stored.as_ref()?.as_deref()
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

/// Returns the message of a JSON error, cut to 200 bytes, because it can repeat a part of the input.
pub(crate) fn brief(error: &serde_json::Error) -> String {
    const MAX: usize = 200;
    let message = error.to_string();
    match message.char_indices().find(|(at, char)| at + char.len_utf8() > MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}
