//! The message of a display that keeps its last data while the store does not answer.

use std::error::Error as StdError;
use std::io;

use stream_registry::{Error, ErrorKind, Timestamp};

use super::output::Zone;
use super::terminal;

/// The end of the message, which is omitted if it does not fit.
const RETRYING: &str = "; retrying";

/// Describes an outage in one line, e.g. `store unreachable since 14:05:10Z: connection refused; retrying`. `answered` is
/// the time of the last good answer, if there was one. The result may contain any characters.
pub(super) fn describe(error: &Error, answered: Option<Timestamp>, zone: &Zone) -> String {
    let is_unreachable = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) && !error.is_store_reply();
    let state = if is_unreachable { "store unreachable" } else { "store fails" };
    let since = answered.map_or_else(String::new, |at| format!(" since {}{}", zone.time_of_day(at), zone.mark()));
    format!("{state}{since}: {}{RETRYING}", cause(error))
}

/// Returns the message of [`describe`] in one line of a terminal.
pub(super) fn fit(message: &str, width: usize) -> String {
    let message = terminal::escape(message);
    let short = message.strip_suffix(RETRYING).filter(|_| terminal::width(&message) > width);
    terminal::shorten(short.unwrap_or(&message), width).into_owned()
}

/// Returns the cause without the operation, the URL and the remedy, which the message of the error may contain.
fn cause(error: &Error) -> String {
    let (mut io, mut next) = (None, error.source());
    while let Some(cause) = next {
        io = cause.downcast_ref::<io::Error>().or(io);
        next = cause.source();
    }
    match io.map(io::Error::kind) {
        Some(kind) if kind != io::ErrorKind::Other => kind.to_string(),
        _ if error.kind() == ErrorKind::Timeout => "no answer in time".to_owned(),
        _ => error.message().split("; ").next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use stream_registry::StreamId;

    use super::*;

    #[test]
    fn outage_names_its_start_and_its_cause_but_no_call() {
        let id: StreamId = "cam1".parse().unwrap();
        let refused = Error::new(ErrorKind::Unavailable, "no server is running at http://h; start one")
            .with_source(io::Error::from(io::ErrorKind::ConnectionRefused));
        let unnamed = Error::new(ErrorKind::Unavailable, "the connection to Redis was lost; try again")
            .with_source(io::Error::other("x"));
        let denied = Error::new(ErrorKind::Denied, "reads need a token; pass one").with_store_reply(true);
        let loading = Error::new(ErrorKind::Unavailable, "Redis is loading its data").with_store_reply(true);
        let at: Timestamp = "2026-01-01T14:05:10.9Z".parse().unwrap();
        for (error, answered, expected) in [
            (refused, Some(at), "store unreachable since 14:05:10Z: connection refused; retrying"),
            (unnamed, None, "store unreachable: the connection to Redis was lost; retrying"),
            (
                Error::new(ErrorKind::Timeout, "http://h did not respond within 5s"),
                Some(at),
                "store unreachable since 14:05:10Z: no answer in time; retrying",
            ),
            (denied, Some(at), "store fails since 14:05:10Z: reads need a token; retrying"),
            (loading, Some(at), "store fails since 14:05:10Z: Redis is loading its data; retrying"),
        ] {
            assert_eq!(describe(&error.with_stream(&id), answered, &Zone::utc()), expected);
        }
        for (width, fitted) in [(20, "a\\u{1b}: b; retrying"), (19, "a\\u{1b}: b"), (5, "a\\u{…")] {
            assert_eq!(fit("a\u{1b}: b; retrying", width), fitted);
        }
    }
}
