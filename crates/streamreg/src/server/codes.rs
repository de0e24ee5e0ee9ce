//! The codes of problem documents, with their HTTP status, meaning and remedy.
//!
//! The OpenAPI document lists these codes, and the page `/docs` has a heading for each, to which the `type` of a problem
//! leads. docs/http.md has the same texts.

/// A code of problem documents.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) name: &'static str,
    pub(super) status: u16,
    /// What is wrong. Names of fields and headers are between backticks.
    pub(super) meaning: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

pub(super) const INVALID: Code = Code {
    name: "invalid",
    status: 400,
    meaning: "A part of the request is missing, unknown, malformed or outside its limits.",
    remedy: "Correct the part that `detail` names.",
};
pub(super) const INVALID_CURSOR: Code = Code {
    name: "invalid_cursor",
    status: 400,
    meaning: "The cursor is malformed, or belongs to another list, order or store.",
    remedy: "Read the list again from its first page, without a cursor.",
};
pub(super) const UNSUPPORTED: Code = Code {
    name: "unsupported",
    status: 400,
    meaning: "The store or this version of the server cannot do this.",
    remedy: "Use the alternative that `detail` names, or another store.",
};
pub(super) const TLS_REQUIRED: Code = Code {
    name: "tls_required",
    status: 400,
    meaning: "The request is plain HTTP, but this port accepts only HTTPS.",
    remedy: "Use `https://` in the URL.",
};
pub(super) const UNAUTHENTICATED: Code = Code {
    name: "unauthenticated",
    status: 401,
    meaning: "The request needs a token, and its token is missing, unknown or expired.",
    remedy: "Send `Authorization: Bearer TOKEN` with a valid token.",
};
pub(super) const DENIED: Code = Code {
    name: "denied",
    status: 403,
    meaning: "The token lacks a scope or may not write this stream, the server is read-only, or the request comes from a web page of another host.",
    remedy: "Use a token with the right that `detail` names, or a server that accepts writes.",
};
pub(super) const NOT_FOUND: Code = Code {
    name: "not_found",
    status: 404,
    meaning: "No live stream has this id. It has ended, or was never registered.",
    remedy: "Register the stream.",
};
pub(super) const UNKNOWN_PATH: Code = Code {
    name: "unknown_path",
    status: 404,
    meaning: "The server has no such path.",
    remedy: "Correct the path. If a proxy decodes `%2F`, send the id in the query.",
};
pub(super) const METHOD_NOT_ALLOWED: Code = Code {
    name: "method_not_allowed",
    status: 405,
    meaning: "The path does not have this method.",
    remedy: "Use a method that the header `Allow` lists.",
};
pub(super) const REQUEST_TIMEOUT: Code = Code {
    name: "request_timeout",
    status: 408,
    meaning: "The body arrived too slowly.",
    remedy: "Send the request again, faster.",
};
pub(super) const ALREADY_EXISTS: Code = Code {
    name: "already_exists",
    status: 409,
    meaning: "Another publisher has a live stream with this id. `existing` is its record.",
    remedy: "Use another id, or take the stream over with `on_conflict`.",
};
pub(super) const NOT_HOLDER: Code = Code {
    name: "not_holder",
    status: 409,
    meaning: "The stream is leased, and the epoch of the request is missing or no longer valid.",
    remedy: "Stop writing: another holder may have the stream. To write anyway, send `force=true`.",
};
pub(super) const TOO_LARGE: Code = Code {
    name: "too_large",
    status: 413,
    meaning: "The body is too large.",
    remedy: "Send at most as many bytes as `detail` says. Split a batch.",
};
pub(super) const UNSUPPORTED_TYPE: Code = Code {
    name: "unsupported_type",
    status: 415,
    meaning: "The header `Content-Type` is missing or wrong.",
    remedy: "Send the `Content-Type` that `detail` names.",
};
pub(super) const HOST_NOT_ALLOWED: Code = Code {
    name: "host_not_allowed",
    status: 421,
    meaning: "The server does not accept the name in the header `Host` or in `:authority`.",
    remedy: "Start the server with `--allowed-host NAME`.",
};
pub(super) const CORRUPT: Code = Code {
    name: "corrupt",
    status: 422,
    meaning: "The stored value cannot be decoded as a record.",
    remedy: "Register the stream again, or remove it with `force=true`.",
};
pub(super) const INTERNAL: Code = Code {
    name: "internal",
    status: 500,
    meaning: "A defect in the server or in the store.",
    remedy: "Find the `request_id` in the log of the server, and report the defect.",
};
pub(super) const UNAVAILABLE: Code = Code {
    name: "unavailable",
    status: 503,
    meaning: "The store cannot be reached or refuses the server, or too many requests of this kind are in progress.",
    remedy: "Try again after the time in the header `Retry-After`.",
};
pub(super) const TIMEOUT: Code = Code {
    name: "timeout",
    status: 503,
    meaning: "The store did not respond in time. The change may have been applied.",
    remedy: "Try again. For a registration or removal, send the same `Idempotency-Key`.",
};
pub(super) const CLOSED: Code = Code {
    name: "closed",
    status: 503,
    meaning: "The server is shutting down.",
    remedy: "Try again, or use another server.",
};

/// All codes, by status.
pub(super) const ALL: [Code; 20] = [
    INVALID,
    INVALID_CURSOR,
    UNSUPPORTED,
    TLS_REQUIRED,
    UNAUTHENTICATED,
    DENIED,
    NOT_FOUND,
    UNKNOWN_PATH,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    ALREADY_EXISTS,
    NOT_HOLDER,
    TOO_LARGE,
    UNSUPPORTED_TYPE,
    HOST_NOT_ALLOWED,
    CORRUPT,
    INTERNAL,
    UNAVAILABLE,
    TIMEOUT,
    CLOSED,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stream_registry::http::wire::Problem;
    use stream_registry::{Error, ErrorKind};

    use super::*;

    #[test]
    fn every_error_of_the_registry_has_a_code_with_its_status() {
        for kind in ErrorKind::ALL {
            let problem = Problem::from_error(&Error::new(kind, "fault"));
            // The own credentials of the server concern the operator. Clients see them as an unavailable store.
            let name = if kind == ErrorKind::Unauthenticated { "unavailable" } else { kind.as_str() };
            let code = ALL.iter().find(|code| code.name == name).unwrap();
            assert_eq!((problem.code.as_str(), problem.status), (code.name, code.status));
        }
    }

    #[test]
    fn page_about_the_api_has_a_row_for_each_code() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5")).collect();
        let expected =
            ALL.map(|Code { name, status, meaning, remedy }| format!("| {status} | `{name}` | {meaning} | {remedy} |"));
        assert_eq!(rows, expected);
    }

    #[test]
    fn codes_are_unique_and_sorted_by_status() {
        assert!(ALL.is_sorted_by_key(|code| code.status));
        assert_eq!(ALL.iter().map(|code| code.name).collect::<BTreeSet<_>>().len(), ALL.len());
    }
}
