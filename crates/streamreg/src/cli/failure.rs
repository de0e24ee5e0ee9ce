//! The exit status and the error message of a command.

use std::fmt::Display;
use std::io;

use stream_registry::stream::InvalidValue;
use stream_registry::{Error, ErrorKind};

use super::terminal;

/// The exit status of a command.
///
/// If several items fail, the first status in this order is used: store unreachable; not found; already exists or not
/// the holder; failure; usage error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: success.
    Done,
    /// 1: failure.
    Failed,
    /// 2: the command line is invalid.
    Usage,
    /// 3: at least one of the given ids has no live stream.
    NotFound,
    /// 4: the id is already in use, or another client holds the stream.
    Conflict,
    /// 5: the store is unreachable.
    Unreachable,
    /// 6: `doctor` has found reasons for warnings.
    Warnings,
    /// 7: `doctor` has found errors.
    Faults,
    /// The exit status of the command that `run` started.
    Command(u8),
}

impl Status {
    /// Returns the exit status as a number for the operating system.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unreachable => 5,
            Self::Warnings => 6,
            Self::Faults => 7,
            Self::Command(code) => code,
        }
    }

    /// Returns the more severe of two statuses.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Done => 0,
            Self::Usage => 1,
            Self::Failed | Self::Command(_) | Self::Warnings | Self::Faults => 2,
            Self::Conflict => 3,
            Self::NotFound => 4,
            Self::Unreachable => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// Returns the result for a command that has reported each failure separately.
    ///
    /// # Errors
    ///
    /// If the status is not [`Status::Done`], returns a failure with this status and without a message.
    pub fn into_result(self) -> Result {
        if self == Self::Done { Ok(()) } else { Err(Failure::reported(self)) }
    }
}

/// The reason why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub status: Status,
    /// The error message. `None` if no message needs to be printed.
    pub message: Option<String>,
}

/// The result of a command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Creates a failure. Escapes the message for a terminal.
    pub fn new(status: Status, message: impl Display) -> Self {
        Self { status, message: Some(terminal::escape(&message.to_string()).into_owned()) }
    }

    /// Creates a usage error.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Status::Usage, message)
    }

    /// Creates the failure of a command that has already reported the problem on standard error.
    pub fn reported(status: Status) -> Self {
        Self { status, message: None }
    }

    /// Converts an error from writing to standard output into a failure. If the pipe is closed, the command ends
    /// without a message.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::reported(Status::Done),
            _ => Self::new(Status::Failed, format_args!("cannot write to standard output: {error}")),
        }
    }

    /// Converts the library's error for an invalid argument into a usage error.
    pub fn argument(invalid: &InvalidValue) -> Self {
        Self::usage(invalid.message())
    }

    /// Converts an error from opening a store into a failure. `store` is the store's name without secrets.
    pub fn connect(error: &Error, store: &str) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument | ErrorKind::Unsupported => Self::usage(error.message()),
            _ => Self::store(error, store),
        }
    }

    /// Converts an error from a call to a store into a failure. `store` is the store's name without secrets.
    pub fn store(error: &Error, store: &str) -> Self {
        let mut failure = Self::explain(error, store);
        if let Some(message) = failure.message.as_mut().filter(|_| error.may_have_applied()) {
            message.push_str("; the change may have been applied");
        }
        failure
    }

    /// Chooses the status, the message and the remedy for a kind of error.
    fn explain(error: &Error, store: &str) -> Self {
        let message = error.message();
        let id = error.stream_id().map(|id| format!("{:?}", id.as_str()));
        // The error's message, preceded by the stream's id if the error names a stream.
        let described = id.as_ref().map_or_else(|| message.to_owned(), |id| format!("{id}: {message}"));
        let id = id.unwrap_or_else(|| "this stream".into());
        match error.kind() {
            ErrorKind::NotFound => {
                Self::new(Status::NotFound, format_args!("no live stream has the id {id}; see `streamreg list`"))
            }
            ErrorKind::AlreadyExists => {
                let of = error.existing().map_or_else(String::new, |stream| {
                    let node = stream.node.as_deref().map_or_else(String::new, |node| format!(", node {node}"));
                    format!(" of {} ({}{node})", or_unknown(&stream.source_addr), stream.kind)
                });
                Self::new(
                    Status::Conflict,
                    format_args!(
                        "{id} is already a live stream{of}; choose another --id, or replace it with --on-conflict take-over"
                    ),
                )
            }
            ErrorKind::NotHolder => Self::new(
                Status::Conflict,
                format_args!("{id} is leased by another process; use --force to write anyway"),
            ),
            ErrorKind::Unavailable | ErrorKind::Timeout if error.is_store_reply() => {
                Self::new(Status::Unreachable, format_args!("the store {store} cannot do this now: {message}"))
            }
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                let unreachable = format!("cannot reach the store {store}: ");
                // Most messages name the server, and end with a remedy of their own.
                let unreachable = if message.contains(store) { "" } else { &unreachable };
                let process = if is_http(store) { "`streamreg serve`" } else { "it" };
                let check = format!("; check that {process} is running");
                let remedy = if message.contains("; ") { "" } else { &check };
                let message = format!("{unreachable}{message}{remedy}, or select another store with --store");
                Self::new(Status::Unreachable, message)
            }
            // Another token does not help if a certificate is rejected, or if the server names the remedy itself.
            ErrorKind::Unauthenticated
                if is_http(store) && error.is_store_reply() && !message.contains("streamreg token new") =>
            {
                Self::new(Status::Failed, format_args!("{described}; pass the server's token with --token-file"))
            }
            _ => Self::new(Status::Failed, described),
        }
    }
}

/// Returns whether a store is a `streamreg` server.
fn is_http(store: &str) -> bool {
    store.starts_with("http://") || store.starts_with("https://")
}

fn or_unknown(source: &str) -> &str {
    if source.is_empty() { "an unknown publisher" } else { source }
}

#[cfg(test)]
mod tests {
    use stream_registry::{Stream, StreamType};

    use super::*;

    #[test]
    fn every_error_kind_has_a_status_and_a_message() {
        let id = "cam\u{1b}1".replace('\u{1b}', "/").parse().unwrap();
        let mut existing = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:1");
        existing.node = Some("n\u{1b}[2J".into());
        for (error, code, expected) in [
            (Error::not_found(&id), 3, "no live stream has the id \"cam/1\""),
            (Error::already_exists(existing), 4, "of 203.0.113.7:1 (srt, node n\\u{1b}[2J)"),
            (Error::not_holder(&id), 4, "--force"),
            (
                Error::new(ErrorKind::Unavailable, "connection refused"),
                5,
                "cannot reach the store http://127.0.0.1:8580: connection refused; check that `streamreg serve` is \
                 running, or select another store with --store",
            ),
            (
                Error::new(
                    ErrorKind::Unavailable,
                    "no server is running at http://127.0.0.1:8580; start one with `streamreg serve`",
                ),
                5,
                "no server is running at http://127.0.0.1:8580; start one with `streamreg serve`, or select another \
                 store with --store",
            ),
            (
                Error::new(ErrorKind::Timeout, "http://127.0.0.1:8580 gave no answer"),
                5,
                "check that `streamreg serve` is running",
            ),
            (
                Error::new(ErrorKind::Unavailable, "the store refused the server: wrong password")
                    .with_store_reply(true),
                5,
                "the store refused the server",
            ),
            (Error::new(ErrorKind::Timeout, "no answer in 2 s"), 5, "the change may have been applied"),
            (
                Error::new(ErrorKind::Internal, "no").with_may_have_applied(true),
                1,
                "no; the change may have been applied",
            ),
            (
                Error::new(ErrorKind::Unauthenticated, "writes need the server's token").with_store_reply(true),
                1,
                "--token-file",
            ),
            (Error::corrupt(&id, "x"), 1, "not a readable record"),
            (Error::invalid("too many labels"), 1, "too many labels"),
        ] {
            let failure = Failure::store(&error, "http://127.0.0.1:8580");
            let message = failure.message.unwrap();
            assert_eq!(failure.status.code(), code, "{message}");
            assert!(message.contains(expected), "{message}");
            assert!(message.matches("start").count() + message.matches("check").count() <= 1, "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
        assert_eq!(Failure::connect(&Error::unsupported("no"), "x").status, Status::Usage);
    }

    #[test]
    fn exit_status_is_the_worst_of_all_failures() {
        let order =
            [Status::Unreachable, Status::NotFound, Status::Conflict, Status::Failed, Status::Usage, Status::Done];
        for (at, worse) in order.iter().enumerate() {
            for better in &order[at..] {
                assert_eq!(worse.worst(*better), *worse);
                assert_eq!(better.worst(*worse), *worse);
            }
        }
    }

    #[test]
    fn closed_pipe_is_not_a_failure() {
        assert_eq!(Failure::output(&io::ErrorKind::BrokenPipe.into()), Failure::reported(Status::Done));
        assert_eq!(Failure::output(&io::ErrorKind::StorageFull.into()).status, Status::Failed);
    }
}
