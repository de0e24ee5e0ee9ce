//! What a command ends with: an exit status, and one sentence where it failed.

use std::fmt::Display;
use std::io;

use stream_registry::stream::InvalidValue;
use stream_registry::{Error, ErrorKind};

use super::terminal;

/// The exit status of a command.
///
/// Of several failures the first in this order decides: store unreachable, not found, already
/// exists or not the holder, failed, usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: what was given on the command line cannot be used.
    Usage,
    /// 3: no live stream has the id, or one of the ids.
    NotFound,
    /// 4: the id is another stream's, or the stream is another holder's.
    Conflict,
    /// 5: the store cannot be reached.
    Unreachable,
    /// What the command that was run ended with.
    Command(u8),
}

impl Status {
    /// Returns the number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unreachable => 5,
            Self::Command(code) => code,
        }
    }

    /// Returns the one of two that decides.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Done => 0,
            Self::Usage => 1,
            Self::Failed | Self::Command(_) => 2,
            Self::Conflict => 3,
            Self::NotFound => 4,
            Self::Unreachable => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// Why a command ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub status: Status,
    /// The sentence; `None` where it was said already, or nothing is to be said.
    pub message: Option<String>,
}

/// The result of a command.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Makes a failure with its sentence, in which nothing can drive a terminal.
    pub fn new(status: Status, message: impl Display) -> Self {
        Self { status, message: Some(terminal::escape(&message.to_string()).into_owned()) }
    }

    /// Makes the failure for something on the command line.
    pub fn usage(message: impl Display) -> Self {
        Self::new(Status::Usage, message)
    }

    /// Makes the failure of a command that has said on standard error what went wrong.
    pub fn reported(status: Status) -> Self {
        Self { status, message: None }
    }

    /// Makes the failure of writing to standard output: a reader that has gone ends the command quietly.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::reported(Status::Done),
            _ => Self::new(Status::Failed, format_args!("cannot write to standard output: {error}")),
        }
    }

    /// Makes the failure for an argument that the library refuses.
    pub fn argument(invalid: &InvalidValue) -> Self {
        Self::usage(invalid.message())
    }

    /// Makes the failure of opening a store; `store` is its name without secrets.
    pub fn connect(error: &Error, store: &str) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument | ErrorKind::Unsupported => Self::usage(error.message()),
            _ => Self::store(error, store),
        }
    }

    /// Makes the failure of a call on a store; `store` is its name without secrets.
    pub fn store(error: &Error, store: &str) -> Self {
        let mut failure = Self::of_call(error, store);
        if let Some(message) = failure.message.as_mut().filter(|_| error.may_have_applied()) {
            message.push_str("; it may have been done all the same");
        }
        failure
    }

    fn of_call(error: &Error, store: &str) -> Self {
        let message = error.message();
        let id = error.stream_id().map(|id| format!("{:?}", id.as_str()));
        // An error's own text, after the stream that it is about.
        let about = id.as_ref().map_or_else(|| message.to_owned(), |id| format!("{id}: {message}"));
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
                        "{id} is already a live stream{of}; give another --id, or --on-conflict take-over to replace it"
                    ),
                )
            }
            ErrorKind::NotHolder => Self::new(
                Status::Conflict,
                format_args!("{id} is leased by another process, which must be asked; --force writes all the same"),
            ),
            ErrorKind::Unavailable | ErrorKind::Timeout if error.is_store_reply() => {
                Self::new(Status::Unreachable, format_args!("the store {store} cannot do this now: {message}"))
            }
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                // Some stores name themselves and the remedy.
                if message.contains(store) {
                    let told = !store.starts_with("http") || message.contains("streamreg serve");
                    let remedy = if told { "" } else { "; see whether `streamreg serve` runs there" };
                    let sentence = format_args!("{message}{remedy}; --store names another");
                    return Self::new(Status::Unreachable, sentence);
                }
                let remedy = if store.starts_with("http") {
                    "start it with `streamreg serve`, or name another with --store"
                } else {
                    "start it, or name another with --store"
                };
                Self::new(Status::Unreachable, format_args!("the store {store} does not answer ({message}); {remedy}"))
            }
            // The server wants another token, or one at all; whatever else is refused, no token changes.
            ErrorKind::Denied if error.is_store_reply() && message.contains("token") => Self::new(
                Status::Failed,
                format_args!("{about}; give the server's token with --token-file if you have not"),
            ),
            _ => Self::new(Status::Failed, about),
        }
    }
}

fn or_unknown(source: &str) -> &str {
    if source.is_empty() { "an unknown publisher" } else { source }
}

#[cfg(test)]
mod tests {
    use stream_registry::{Stream, StreamType};

    use super::*;

    #[test]
    fn every_kind_has_its_status_and_a_sentence() {
        let id = "cam\u{1b}1".replace('\u{1b}', "/").parse().unwrap();
        let mut there = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "203.0.113.7:1");
        there.node = Some("n\u{1b}[2J".into());
        for (error, code, says) in [
            (Error::not_found(&id), 3, "no live stream has the id \"cam/1\""),
            (Error::already_exists(there), 4, "of 203.0.113.7:1 (srt, node n\\u{1b}[2J)"),
            (Error::not_holder(&id), 4, "--force"),
            (Error::new(ErrorKind::Unavailable, "connection refused"), 5, "`streamreg serve`"),
            (
                Error::new(ErrorKind::Timeout, "http://127.0.0.1:8580 gave no answer"),
                5,
                "whether `streamreg serve` runs",
            ),
            (Error::new(ErrorKind::Timeout, "no answer in 2 s"), 5, "it may have been done"),
            (
                Error::new(ErrorKind::Internal, "no").with_may_have_applied(true),
                1,
                "no; it may have been done all the same",
            ),
            (Error::new(ErrorKind::Denied, "writes need the server's token").with_store_reply(true), 1, "--token-file"),
            (Error::corrupt(&id, "x"), 1, "not a readable record"),
            (Error::invalid("too many labels"), 1, "too many labels"),
        ] {
            let failure = Failure::store(&error, "http://127.0.0.1:8580");
            let message = failure.message.unwrap();
            assert_eq!(failure.status.code(), code, "{message}");
            assert!(message.contains(says), "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
        assert_eq!(Failure::connect(&Error::unsupported("no"), "x").status, Status::Usage);
    }

    #[test]
    fn the_worst_of_several_decides() {
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
    fn a_reader_that_has_gone_is_no_failure() {
        assert_eq!(Failure::output(&io::ErrorKind::BrokenPipe.into()), Failure::reported(Status::Done));
        assert_eq!(Failure::output(&io::ErrorKind::StorageFull.into()).status, Status::Failed);
    }
}
