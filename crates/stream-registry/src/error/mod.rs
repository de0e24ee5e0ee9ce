//! The error type of this crate.

mod operation;

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) use operation::OPERATIONS;
pub use operation::Operation;

use crate::stream::{InvalidValue, Stream, StreamId};

/// The result of the fallible functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error. Callers decide by the kind how to react.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is malformed or outside its limits. The same call always fails.
    InvalidArgument,
    /// The cursor is malformed or belongs to another kind of store or another order. Start again without a cursor.
    InvalidCursor,
    /// No live stream has this id. A failure of the store is never reported as this kind.
    NotFound,
    /// A live stream has this id already; see [`Error::existing`].
    AlreadyExists,
    /// The stream is leased, and this caller is not its holder.
    NotHolder,
    /// The store is unreachable or temporarily rejects work. Retry later.
    Unavailable,
    /// The store did not reply in time. The change may have been applied.
    Timeout,
    /// The store or the server requires a token, password or client certificate, and it is missing or wrong. Or the
    /// certificate of the store is not trusted.
    Unauthenticated,
    /// The caller does not have permission for this call, or the registry is read-only.
    Denied,
    /// The value stored under this id cannot be decoded as a record.
    Corrupt,
    /// This store or this build does not support the call.
    Unsupported,
    /// The registry was closed with [`Registry::close`](crate::Registry::close).
    Closed,
    /// A defect in this software or in the store.
    Internal,
}

impl ErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::InvalidArgument,
        Self::InvalidCursor,
        Self::NotFound,
        Self::AlreadyExists,
        Self::NotHolder,
        Self::Unavailable,
        Self::Timeout,
        Self::Unauthenticated,
        Self::Denied,
        Self::Corrupt,
        Self::Unsupported,
        Self::Closed,
        Self::Internal,
    ];

    /// Returns the kind as a stable lower-case word, e.g. for a metric label.
    ///
    /// An HTTP server uses the same word as the `code` of a problem document. Parsing the word returns the kind.
    ///
    /// ```
    /// use stream_registry::ErrorKind;
    ///
    /// assert_eq!(ErrorKind::NotFound.as_str(), "not_found");
    /// assert_eq!("not_found".parse::<ErrorKind>()?, ErrorKind::NotFound);
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid",
            Self::InvalidCursor => "invalid_cursor",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::NotHolder => "not_holder",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }
}

impl FromStr for ErrorKind {
    type Err = InvalidValue;

    fn from_str(word: &str) -> Result<Self, InvalidValue> {
        ErrorKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| InvalidValue::unknown_name("error kind", word))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of a registry: its kind, the operation, the stream, and the cause.
///
/// In code, use [`kind`](Self::kind), [`is_retryable`](Self::is_retryable) and
/// [`may_have_applied`](Self::may_have_applied), not the message. No message contains a password or token.
///
/// A clone shares its data with the original, so cloning is cheap.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::{ErrorKind, MemoryRegistry, Registry, Stream, StreamType};
///
/// let registry = MemoryRegistry::new();
/// let error = registry.get(&"cam1".parse()?).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), r#"get "cam1": no live stream has this id"#);
/// assert!(!error.is_retryable());
///
/// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
/// let error = registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.8:9000")).await.unwrap_err();
/// match error.kind() {
///     ErrorKind::AlreadyExists => assert_eq!(error.existing().unwrap().source_addr, "203.0.113.7:40112"),
///     _ if error.is_retryable() => println!("try again later: {error}"),
///     _ => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<Operation>,
    stream_id: Option<StreamId>,
    existing: Option<Box<Stream>>,
    may_have_applied: bool,
    is_store_reply: bool,
    is_partial: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error. The message says what is wrong and what to do, in lower case.
    ///
    /// [`may_have_applied`](Self::may_have_applied) is `true` for the kind `Timeout` and `false` for every other
    /// kind. To change it, call [`with_may_have_applied`](Self::with_may_have_applied).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            stream_id: None,
            existing: None,
            may_have_applied: kind == ErrorKind::Timeout,
            is_store_reply: false,
            is_partial: false,
            source: None,
        }))
    }

    /// Creates the error for an invalid argument.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Creates the error for an id that no live stream has.
    pub fn not_found(id: &StreamId) -> Self {
        Self::new(ErrorKind::NotFound, "no live stream has this id").with_stream(id)
    }

    /// Creates the error for a registration whose id another live stream already has.
    pub fn already_exists(existing: Stream) -> Self {
        let id = existing.id.clone();
        let publisher = if existing.source_addr.is_empty() { "another publisher" } else { &existing.source_addr };
        let message = format!("a live stream of {publisher} already has this id");
        Self::new(ErrorKind::AlreadyExists, message).with_stream(&id).with_existing(existing)
    }

    /// Creates the error for a write to a stream that another holder has leased.
    pub fn not_holder(id: &StreamId) -> Self {
        Self::new(ErrorKind::NotHolder, "the stream is leased and this caller is not its holder").with_stream(id)
    }

    /// Creates the error for a holder after another holder has taken over the stream; `by` is the new record.
    pub fn superseded(by: Stream) -> Self {
        let id = by.id.clone();
        Self::new(ErrorKind::NotHolder, "the stream belongs to another holder now").with_stream(&id).with_existing(by)
    }

    /// Creates the error for a stored value that cannot be decoded as a record.
    pub fn corrupt(id: &StreamId, reason: impl fmt::Display) -> Self {
        let message = format!("the value stored under this id is not a readable record: {reason}");
        Self::new(ErrorKind::Corrupt, message).with_stream(id)
    }

    /// Creates the error for a call on a closed registry.
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the registry is closed; connect again")
    }

    /// Creates the error for a call that a store or build does not support.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    fn edit(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// Sets which part of the store the error concerns. The message then begins with this part.
    #[cfg(feature = "redis")]
    #[must_use]
    pub(crate) fn with_part(mut self, part: impl fmt::Display) -> Self {
        let inner = self.edit();
        inner.message = format!("{part}: {}", inner.message);
        inner.is_partial = true;
        self
    }

    /// Sets whether the error concerns only a part of the store.
    #[cfg(any(feature = "redis", feature = "http", test))]
    #[must_use]
    pub(crate) fn with_partial(mut self, is_partial: bool) -> Self {
        self.edit().is_partial = is_partial;
        self
    }

    /// Sets the operation that failed, unless the error already names an operation.
    #[must_use]
    pub fn with_operation(mut self, operation: Operation) -> Self {
        if self.0.operation.is_none() {
            self.edit().operation = Some(operation);
        }
        self
    }

    /// Replaces the operation in the error by the operation that the caller used. For example, if `find` fails
    /// because of `list_page`, the error must name `find`.
    #[must_use]
    pub(crate) fn with_outer_operation(mut self, operation: Operation) -> Self {
        self.edit().operation = Some(operation);
        self
    }

    /// Sets the stream that the call was about.
    #[must_use]
    pub fn with_stream(mut self, id: &StreamId) -> Self {
        if self.0.stream_id.as_ref() != Some(id) {
            self.edit().stream_id = Some(id.clone());
        }
        self
    }

    /// Sets the live record that caused the error.
    #[must_use]
    pub fn with_existing(mut self, existing: Stream) -> Self {
        self.edit().existing = Some(Box::new(existing));
        self
    }

    /// Sets whether the change may have been applied although the call failed.
    #[must_use]
    pub fn with_may_have_applied(mut self, may_have_applied: bool) -> Self {
        self.edit().may_have_applied = may_have_applied;
        self
    }

    /// Sets whether the error is a reply of the store or of the HTTP server in front of the store.
    #[must_use]
    pub fn with_store_reply(mut self, is_store_reply: bool) -> Self {
        self.edit().is_store_reply = is_store_reply;
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit().source = Some(Arc::new(source));
        self
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message without the operation and the stream.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the operation that failed, if it is known.
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// Returns the stream that the call was about; `None` if the call was not about one stream.
    pub fn stream_id(&self) -> Option<&StreamId> {
        self.0.stream_id.as_ref()
    }

    /// Returns whether the same call, without any change, may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
    }

    /// Returns whether the change may have been applied although the call failed.
    ///
    /// For example, after a timeout the store may still apply the change.
    pub fn may_have_applied(&self) -> bool {
        self.0.may_have_applied
    }

    /// Returns whether the error is a reply of the store or of the HTTP server in front of the store.
    ///
    /// For example, a store that is out of memory replies with an error. Returns `false` if no reply arrived or if
    /// no request was sent.
    pub fn is_store_reply(&self) -> bool {
        self.0.is_store_reply
    }

    /// Returns whether the error concerns only a part of the store, e.g. the shards on one node of a Redis Cluster. Calls
    /// about streams in other parts may succeed.
    pub fn is_partial(&self) -> bool {
        self.0.is_partial
    }

    /// Returns the live record that caused the error.
    ///
    /// The record is set for [`ErrorKind::AlreadyExists`]. For [`ErrorKind::NotHolder`], it is set if the record is
    /// known.
    pub fn existing(&self) -> Option<&Stream> {
        self.0.existing.as_deref()
    }
}

impl From<InvalidValue> for Error {
    fn from(invalid: InvalidValue) -> Self {
        let kind = if invalid.is_stored() { ErrorKind::Corrupt } else { ErrorKind::InvalidArgument };
        let error = Self::new(kind, invalid.message());
        let error = match invalid.stream_id().and_then(|id| StreamId::new(id).ok()) {
            Some(id) => error.with_stream(&id),
            None => error,
        };
        if invalid.source().is_some() { error.with_source(invalid) } else { error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}")?;
            if let Some(id) = &self.0.stream_id {
                write!(f, " {:?}", id.as_str())?;
            }
            f.write_str(": ")?;
        } else if let Some(id) = &self.0.stream_id {
            write!(f, "{:?}: ", id.as_str())?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("stream_id", &self.0.stream_id)
            .field("message", &self.0.message)
            .field("retryable", &self.is_retryable())
            .field("may_have_applied", &self.0.may_have_applied)
            .field("is_store_reply", &self.0.is_store_reply)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_a_cloned_error_does_not_change_the_original() {
        let error = Error::new(ErrorKind::Unavailable, "the store is unreachable");
        let named = error.clone().with_operation(Operation::Get).with_operation(Operation::List);
        assert_eq!((error.operation(), named.operation()), (None, Some(Operation::Get)));
    }

    #[test]
    fn error_kind_parses_only_from_its_own_name() {
        for kind in ErrorKind::ALL {
            assert_eq!(kind.as_str().parse::<ErrorKind>().unwrap(), kind);
        }
        // `Internal` is the last variant, so this assertion fails if a kind is missing from the list.
        assert_eq!(ErrorKind::ALL.len(), ErrorKind::Internal as usize + 1);
        for word in ["", "NotFound", "not_found ", "too_large"] {
            assert!(word.parse::<ErrorKind>().is_err(), "{word:?}");
        }
    }
}
