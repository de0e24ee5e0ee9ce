//! The one error type of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::stream::{InvalidValue, Stream, StreamId};

/// The result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation, as errors, logs and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a store.
    Connect,
    /// Registering, under a given or a generated id.
    Register,
    /// Unregistering.
    Unregister,
    /// A batch of writes.
    Write,
    /// A heartbeat.
    Heartbeat,
    /// A status.
    Status,
    /// Statistics.
    Stats,
    /// A patch of descriptive fields.
    Patch,
    /// Replacing the whole record.
    Update,
    /// Reading one stream.
    Get,
    /// Reading all streams at once.
    List,
    /// Reading a page.
    ListPage,
    /// Following changes.
    Watch,
    /// Asking for a sign of life.
    Ping,
    /// Closing.
    Close,
}

impl Operation {
    /// Returns the operation as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Write => "write",
            Self::Heartbeat => "heartbeat",
            Self::Status => "status",
            Self::Stats => "stats",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Get => "get",
            Self::List => "list",
            Self::ListPage => "list_page",
            Self::Watch => "watch",
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, as a caller tells cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside its limits; the same call fails again.
    InvalidArgument,
    /// A cursor that no store of this kind made.
    InvalidCursor,
    /// No live stream has this id. Never a failed store.
    NotFound,
    /// A live stream with this id is there, see [`Error::existing`].
    AlreadyExists,
    /// The stream is leased, and not by this caller.
    NotHolder,
    /// The store cannot be reached or refuses work for now.
    Unavailable,
    /// No answer in time. The call may have been applied.
    Timeout,
    /// The caller did not prove its identity: a token or password is missing or wrong.
    Unauthenticated,
    /// The store's or server's access rules refuse this caller.
    Denied,
    /// What is stored under this id cannot be read as a record.
    Corrupt,
    /// This store, or this build, cannot do that.
    Unsupported,
    /// [`Registry::close`](crate::Registry::close) was called before.
    Closed,
    /// A defect in this software or in the store.
    Internal,
}

impl ErrorKind {
    /// Returns the kind as a stable lower-case word, fit for a metric's label.
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

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of a registry: its kind, the operation, the stream, and the cause.
///
/// Cheap to clone, so that calls that were joined into one each get their own.
/// No message holds a password.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<Operation>,
    stream_id: Option<StreamId>,
    existing: Option<Box<Stream>>,
    may_have_applied: bool,
    answered: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error; `message` is one plain sentence that says what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            stream_id: None,
            existing: None,
            may_have_applied: kind == ErrorKind::Timeout,
            answered: false,
            source: None,
        }))
    }

    /// Creates the error for an argument outside its limits.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Creates the error for an id that no live stream has.
    pub fn not_found(id: &StreamId) -> Self {
        Self::new(ErrorKind::NotFound, "no live stream has this id").with_stream(id)
    }

    /// Creates the error for an id whose live stream stands in the way.
    pub fn already_exists(existing: Stream) -> Self {
        let id = existing.id.clone();
        let mut error = Self::new(
            ErrorKind::AlreadyExists,
            format!(
                "a live stream of {} already has this id",
                if existing.source_addr.is_empty() { "another publisher" } else { &existing.source_addr }
            ),
        );
        error.0.existing = Some(Box::new(existing));
        error.with_stream(&id)
    }

    /// Creates the error for a write to a stream that another holder has leased.
    pub fn not_holder(id: &StreamId) -> Self {
        Self::new(ErrorKind::NotHolder, "the stream is leased and this caller is not its holder").with_stream(id)
    }

    /// Creates the error for a holder whose stream belongs to the live record of another one.
    pub fn superseded(by: Stream) -> Self {
        let id = by.id.clone();
        Self::new(ErrorKind::NotHolder, "the stream belongs to another holder now").with_stream(&id).with_existing(by)
    }

    /// Creates the error for a record that cannot be read.
    pub fn corrupt(id: &StreamId, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("what is stored under this id is not a readable record: {why}"))
            .with_stream(id)
    }

    /// Creates the error for a call on a closed registry.
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the registry is closed; connect again")
    }

    /// Creates the error for what a store or build cannot do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Names the operation that failed, unless it is named already.
    #[must_use]
    pub fn with_operation(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the stream that the call was about.
    #[must_use]
    pub fn with_stream(mut self, id: &StreamId) -> Self {
        self.0.stream_id = Some(id.clone());
        self
    }

    /// Adds the live record that stands in the way of a registration.
    #[must_use]
    pub fn with_existing(mut self, existing: Stream) -> Self {
        self.0.existing = Some(Box::new(existing));
        self
    }

    /// Says whether the change may have been applied all the same.
    #[must_use]
    pub fn with_may_have_applied(mut self, may: bool) -> Self {
        self.0.may_have_applied = may;
        self
    }

    /// Says whether it is what the store answered, or the server before it.
    #[must_use]
    pub fn with_store_reply(mut self, answered: bool) -> Self {
        self.0.answered = answered;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the sentence, without operation and stream.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the operation that failed, where it is known.
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// Returns the stream that the call was about, where it was about one.
    pub fn stream_id(&self) -> Option<&StreamId> {
        self.0.stream_id.as_ref()
    }

    /// Returns whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
    }

    /// Returns whether the change may have been applied although the call failed.
    ///
    /// A time-out is not "not done".
    pub fn may_have_applied(&self) -> bool {
        self.0.may_have_applied
    }

    /// Returns whether it is what the store answered, or the server before it: out of memory, say. `false` where nothing
    /// answered, and where nothing was asked.
    pub fn is_store_reply(&self) -> bool {
        self.0.answered
    }

    /// Returns the live record that stands in the way, for [`ErrorKind::AlreadyExists`] and, where it is known,
    /// [`ErrorKind::NotHolder`].
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
            .field("answered", &self.0.answered)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
