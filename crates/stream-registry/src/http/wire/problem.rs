//! Problem documents (RFC 9457): errors as JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind};
use crate::stream::decode;

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem document. Programs can rely on `code`; `title` and `detail` are for people.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Problem {
    /// URI reference of the documentation of `code`, relative to the URL of the request. `about:blank` if the server has
    /// no such page. Clients ignore it, because `code` identifies the problem.
    #[serde(rename = "type", skip_deserializing)]
    pub kind: String,
    /// Reason phrase of the HTTP status, such as `Not Found`.
    #[serde(default)]
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// The error's [`kind`](ErrorKind::as_str), or a code of the HTTP layer such as `too_large`.
    pub code: String,
    /// Description of the problem and its remedy.
    #[serde(default)]
    pub detail: String,
    /// The operation that failed, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Id of the stream that the request concerns, if there is exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// Whether the change may have been applied although the request failed.
    #[serde(default)]
    pub may_have_applied: bool,
    /// Whether the problem concerns only a part of the store. Missing if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Id of the request, which the server also logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The live record that conflicts with a registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Box<RawValue>>,
}

/// Returns the HTTP status for a kind of error. The `code` of the problem is [`ErrorKind::as_str`].
pub(super) fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        // An unsupported operation is an error of the client, because the server itself works.
        ErrorKind::InvalidArgument | ErrorKind::InvalidCursor | ErrorKind::Unsupported => 400,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::Denied => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::AlreadyExists | ErrorKind::NotHolder => 409,
        ErrorKind::Corrupt => 422,
        ErrorKind::Internal => 500,
        // The server closes its store when it shuts down, so the client may try again.
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Closed => 503,
    }
}

/// Returns whether the store refused the credentials of the process that uses it: the user name, the password or a
/// permission. A registry that was opened read-only rejects writes by itself, which does not count.
pub fn is_refused_by_store(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unauthenticated => true,
        // Some rejections of Redis do not count as replies of the store, but they have a source.
        ErrorKind::Denied => error.is_store_reply() || std::error::Error::source(error).is_some(),
        _ => false,
    }
}

/// Returns the error for a write to a read-only server.
pub fn read_only_server() -> Error {
    Error::new(ErrorKind::Denied, "the server is read-only (started with --read-only); send writes to another server")
}

/// Returns the kind of error that a client reports for the `code` of a problem.
pub(super) fn kind_of(code: &str) -> Option<ErrorKind> {
    match code {
        "too_large" | "unsupported_type" => Some(ErrorKind::InvalidArgument),
        "host_not_allowed" => Some(ErrorKind::Denied),
        "unknown_path" | "method_not_allowed" | "tls_required" => Some(ErrorKind::Unsupported),
        // The code `closed` means that the server's store is closed. The client itself is still open and may retry.
        "request_timeout" | "closed" => Some(ErrorKind::Unavailable),
        word => word.parse().ok(),
    }
}

/// Creates the error for a response that did not come from a streamreg server.
pub(super) fn unexpected_response(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "unexpected response, not from a streamreg server; check the store URL")
        .with_source(source)
}

impl Problem {
    /// Creates a problem of the HTTP layer, with the type `about:blank`.
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            operation: None,
            stream_id: None,
            retryable: false,
            may_have_applied: false,
            partial: false,
            request_id: None,
            existing: None,
        }
    }

    /// Creates the problem document for an error of a server's store. The caller adds the title.
    pub fn from_error(error: &Error) -> Self {
        let is_refused = is_refused_by_store(error);
        // The client's own credentials are not at fault, and the client may try again after an operator has acted.
        let kind = if is_refused { ErrorKind::Unavailable } else { error.kind() };
        // Messages of internal errors may contain secrets, so only the server log shows them.
        let detail = match error.kind() {
            ErrorKind::Internal => "internal server error; see the server log".to_owned(),
            ErrorKind::Closed => "the server is shutting down; try again".to_owned(),
            _ if is_refused => format!("the store refused the server: {}", error.message()),
            _ => error.message().to_owned(),
        };
        Self {
            operation: error.operation().map(|operation| operation.as_str().to_owned()),
            stream_id: error.stream_id().map(|id| id.as_str().to_owned()),
            retryable: is_refused || error.is_retryable() || error.kind() == ErrorKind::Closed,
            may_have_applied: error.may_have_applied(),
            partial: error.is_partial(),
            existing: error.existing().and_then(|stream| RawValue::from_string(stream.to_json()).ok()),
            ..Self::new(status_of(kind), kind.as_str(), "", detail)
        }
    }

    /// Converts the problem to an error. The caller adds the operation and the stream id.
    pub fn into_error(self) -> Error {
        let by_status = match self.status {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::Denied,
            502..=504 => ErrorKind::Unavailable,
            400..=499 => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        };
        let kind = kind_of(&self.code).unwrap_or(by_status);
        let message = match self.request_id {
            // Only the server log has the details of an internal error.
            Some(id) if kind == ErrorKind::Internal => format!("{} for request {id}", self.detail),
            _ => self.detail,
        };
        let error = Error::new(kind, message)
            .with_may_have_applied(self.may_have_applied)
            .with_partial(self.partial)
            .with_store_reply(true);
        match self.existing.and_then(|raw| decode::decode_listed(raw.get()).ok()) {
            Some(existing) => error.with_existing(existing),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use crate::stream::{Stream, StreamType};

    #[test]
    fn error_survives_a_round_trip_as_problem_json() {
        let existing = Stream::new("a".parse().unwrap(), StreamType::Rtp, "h:1");
        for error in [
            Error::already_exists(existing).with_operation(Operation::Register),
            Error::invalid("no"),
            Error::not_found(&"b".parse().unwrap()),
            Error::not_holder(&"b".parse().unwrap()),
            Error::corrupt(&"b".parse().unwrap(), "x"),
            Error::unsupported("no"),
            Error::new(ErrorKind::InvalidCursor, "no"),
            Error::new(ErrorKind::Denied, "no"),
            Error::new(ErrorKind::Timeout, "late"),
            Error::new(ErrorKind::Unavailable, "down").with_may_have_applied(true),
            Error::new(ErrorKind::Unavailable, "down").with_partial(true),
        ] {
            let json = serde_json::to_string(&Problem::from_error(&error)).unwrap();
            let back = serde_json::from_str::<Problem>(&json).unwrap().into_error();
            assert_eq!(back.kind(), error.kind(), "{json}");
            assert_eq!(back.message(), error.message());
            assert_eq!(back.may_have_applied(), error.may_have_applied());
            assert_eq!(back.is_partial(), error.is_partial());
            assert_eq!(back.existing(), error.existing());
            assert!(back.is_store_reply());
        }
    }

    #[test]
    fn client_accepts_any_type_of_a_problem() {
        for kind in ["", r#""type":"about:blank","#, r#""type":"../../docs#problem-not_found","#, r#""type":null,"#] {
            let json = format!(r#"{{{kind}"status":404,"code":"not_found","detail":"no such stream"}}"#);
            let error = serde_json::from_str::<Problem>(&json).unwrap().into_error();
            assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "no such stream"), "{json}");
        }
    }

    #[test]
    fn refused_credentials_of_a_server_are_reported_as_unavailable() {
        let denied = || Error::new(ErrorKind::Denied, "no right to GET");
        for error in [
            Error::new(ErrorKind::Unauthenticated, "wrong password"),
            denied().with_store_reply(true),
            // Redis sends no code with some rejections, so these do not count as replies of the store.
            denied().with_source(std::io::Error::other("no permission")),
        ] {
            let problem = Problem::from_error(&error);
            assert_eq!((problem.status, problem.code.as_str(), problem.retryable), (503, "unavailable", true));
            assert!(problem.detail.ends_with(error.message()), "{}", problem.detail);
            assert_eq!(problem.into_error().kind(), ErrorKind::Unavailable);
        }
        let problem = Problem::from_error(&denied());
        assert_eq!((problem.status, problem.code.as_str(), problem.retryable), (403, "denied", false));
    }

    #[test]
    fn closed_store_of_a_server_is_reported_as_retryable() {
        let problem = Problem::from_error(&Error::closed());
        assert_eq!((problem.status, problem.code.as_str(), problem.retryable), (503, "closed", true));
        assert_eq!(problem.into_error().kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn problem_response_hides_the_message_of_an_internal_error() {
        let error = Error::new(ErrorKind::Internal, "redis://user:secret@host");
        let problem = Problem::from_error(&error);
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }
}
