//! Problem documents (RFC 9457) and what they say of an [`Error`].

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind};
use crate::stream::decode;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem document. Its `code` is stable; the texts are for people.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Problem {
    /// `about:blank`: the code says more than a URI would.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, as programs tell cases apart.
    pub code: String,
    /// What went wrong and what to do, in one plain sentence.
    #[serde(default)]
    pub detail: String,
    /// The operation that failed, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The stream that the request was about, where it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// Whether the change may have been applied although the request failed.
    #[serde(default)]
    pub may_have_applied: bool,
    /// The live record that stands in the way of a registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Box<RawValue>>,
}

/// Returns the HTTP status and the code of an error: the one place where they are assigned.
pub fn status_and_code(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::InvalidArgument => (400, "invalid"),
        ErrorKind::InvalidCursor => (400, "invalid_cursor"),
        // Asked for, but not what this version does: the request has to change, the server is well.
        ErrorKind::Unsupported => (400, "unsupported"),
        ErrorKind::Unauthenticated => (401, "unauthenticated"),
        ErrorKind::Denied => (403, "forbidden"),
        ErrorKind::NotFound => (404, "not_found"),
        ErrorKind::AlreadyExists => (409, "already_exists"),
        ErrorKind::NotHolder => (409, "not_holder"),
        ErrorKind::Corrupt => (422, "corrupt"),
        ErrorKind::Internal => (500, "internal"),
        // A server whose store was closed is going down.
        ErrorKind::Unavailable | ErrorKind::Closed => (503, "unavailable"),
        ErrorKind::Timeout => (503, "timeout"),
    }
}

/// Returns the kind of error that a code stands for.
pub fn kind_of(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "invalid" | "too_large" | "unsupported_type" => ErrorKind::InvalidArgument,
        "invalid_cursor" => ErrorKind::InvalidCursor,
        "unsupported" | "unknown_path" | "method_not_allowed" => ErrorKind::Unsupported,
        "unauthorized" | "forbidden" => ErrorKind::Denied,
        "not_found" => ErrorKind::NotFound,
        "already_exists" => ErrorKind::AlreadyExists,
        "not_holder" => ErrorKind::NotHolder,
        "corrupt" => ErrorKind::Corrupt,
        "internal" => ErrorKind::Internal,
        "unavailable" | "request_timeout" => ErrorKind::Unavailable,
        "timeout" => ErrorKind::Timeout,
        _ => return None,
    })
}

impl Problem {
    /// Makes a problem that no error of a registry stands behind.
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
            existing: None,
        }
    }

    /// Makes the problem of an error; `title` is its status in words.
    pub fn from_error(error: &Error, title: &str) -> Self {
        let (status, code) = status_and_code(error.kind());
        // What went wrong inside is for the server's log; a defect's text may say anything.
        let detail = match error.kind() {
            ErrorKind::Internal => "the server failed; see its log",
            ErrorKind::Closed => "the server is going down; try again",
            _ => error.message(),
        };
        Self {
            operation: error.operation().map(|operation| operation.as_str().to_owned()),
            stream_id: error.stream_id().map(|id| id.as_str().to_owned()),
            retryable: error.is_retryable() || error.kind() == ErrorKind::Closed,
            may_have_applied: error.may_have_applied(),
            existing: error.existing().and_then(|stream| RawValue::from_string(stream.to_json()).ok()),
            ..Self::new(status, code, title, detail)
        }
    }

    /// Rebuilds the error; operation and stream are the caller's to name, who knows what it asked for.
    pub fn into_error(self) -> Error {
        let by_status = match self.status {
            401 | 403 => ErrorKind::Denied,
            502..=504 => ErrorKind::Unavailable,
            400..=499 => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        };
        let error = Error::new(kind_of(&self.code).unwrap_or(by_status), self.detail)
            .with_may_have_applied(self.may_have_applied)
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
    fn an_error_comes_back_as_it_was() {
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
            Error::new(ErrorKind::Unavailable, "away").with_may_have_applied(true),
        ] {
            let text = serde_json::to_string(&Problem::from_error(&error, "")).unwrap();
            let back = serde_json::from_str::<Problem>(&text).unwrap().into_error();
            assert_eq!(back.kind(), error.kind(), "{text}");
            assert_eq!(back.message(), error.message());
            assert_eq!(back.may_have_applied(), error.may_have_applied());
            assert_eq!(back.existing(), error.existing());
            assert!(back.is_store_reply());
        }
    }

    #[test]
    fn a_defect_shows_nothing_of_the_inside() {
        let error = Error::new(ErrorKind::Internal, "redis://user:secret@host");
        let problem = Problem::from_error(&error, "");
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }
}
