//! Errors as problem documents (RFC 9457).

use axum::body::Body;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use stream_registry::http::wire::{PROBLEM_JSON, Problem};
use stream_registry::registry::Operation;
use stream_registry::stream::InvalidValue;
use stream_registry::{Error, StreamId};

use super::codes::{self, Code};

/// The error response for a failed request.
#[derive(Debug)]
pub(super) struct Failure {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, &'static str)>,
    /// The error with all details, for the log.
    cause: Option<Error>,
}

/// Maximum length of a host name in a message. DNS allows no longer names.
const MAX_NAME: usize = 253;

/// Maximum number of folders in a path for which the reference to the documentation is relative.
const MAX_FOLDERS: usize = 8;

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The error that caused a response. The request log reads this value from the response's extensions.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) Error);

fn title(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

impl Failure {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        let problem = Problem::new(code.status, code.name, title(code.status), detail);
        Self { problem: Box::new(problem), headers: Vec::new(), cause: None }
    }

    /// Creates the failure for an invalid request.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(codes::INVALID, detail)
    }

    pub(super) fn unauthenticated() -> Self {
        let detail = "missing or wrong token; send Authorization: Bearer TOKEN";
        Self { headers: vec![(WWW_AUTHENTICATE, "Bearer")], ..Self::new(codes::UNAUTHENTICATED, detail) }
    }

    pub(super) fn expired_token(name: &str) -> Self {
        let detail = format!("the token {name} has expired; use a new one from `streamreg token new`");
        Self { headers: vec![(WWW_AUTHENTICATE, "Bearer")], ..Self::new(codes::UNAUTHENTICATED, detail) }
    }

    pub(super) fn missing_scope(name: &str, scope: &str) -> Self {
        let detail =
            format!("the token {name} needs the scope {scope}; add it in the access file, or use another token");
        Self::new(codes::DENIED, detail)
    }

    pub(super) fn foreign_origin() -> Self {
        let detail = "writes from web pages of other hosts are not allowed; start the server with a token";
        Self::new(codes::DENIED, detail)
    }

    pub(super) fn host_not_allowed(host: &str) -> Self {
        let host: String = host.chars().take(MAX_NAME).collect();
        let detail = format!("the host name {host} is not allowed; start the server with --allowed-host {host}");
        Self::new(codes::HOST_NOT_ALLOWED, detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(codes::TOO_LARGE, format!("body too large; send at most {} KiB", limit / 1024))
    }

    pub(super) fn media_type(expected: &str) -> Self {
        let detail = format!("unsupported media type; send Content-Type: {expected}");
        Self::new(codes::UNSUPPORTED_TYPE, detail)
    }

    pub(super) fn slow_body() -> Self {
        let detail = "timed out reading the body; send it faster";
        Self::new(codes::REQUEST_TIMEOUT, detail)
    }

    pub(super) fn too_many_readers() -> Self {
        Self::too_busy("too many event readers; try again later or use another server")
    }

    pub(super) fn too_many_bodies() -> Self {
        Self::too_busy("too many large responses that are not read yet; try again later or request smaller pages")
    }

    pub(super) fn too_many_histories() -> Self {
        Self::too_busy("too many requests for the history; try again later or use another server")
    }

    fn too_busy(detail: &str) -> Self {
        let mut failure = Self {
            // A rejected client must not keep its connection open until it retries. With HTTP/2, other requests share
            // the connection, and the HTTP library omits this header.
            headers: vec![(RETRY_AFTER, "5"), (CONNECTION, "close")],
            ..Self::new(codes::UNAVAILABLE, detail)
        };
        failure.problem.retryable = true;
        failure
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        let detail = if path.starts_with("/api/v1/streams/") {
            "unknown path; an id with / needs %2F in the path, or /api/v1/stream?id=… if a proxy decodes %2F"
        } else {
            "unknown path; the streams are at /api/v1/streams"
        };
        Self::new(codes::UNKNOWN_PATH, detail)
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("method not allowed; use {allowed}");
        Self { headers: vec![(ALLOW, allowed)], ..Self::new(codes::METHOD_NOT_ALLOWED, detail) }
    }

    /// Removes the stream, for a response to clients that may not read streams.
    pub(super) fn without_stream(mut self) -> Self {
        self.problem.stream_id = None;
        self
    }

    /// Adds the operation and the stream if the error does not contain them yet.
    pub(super) fn about(mut self, operation: Operation, id: Option<&StreamId>) -> Self {
        self.problem.operation.get_or_insert_with(|| operation.as_str().to_owned());
        if let Some(id) = id {
            self.problem.stream_id.get_or_insert_with(|| id.as_str().to_owned());
        }
        self
    }
}

impl From<InvalidValue> for Failure {
    fn from(invalid: InvalidValue) -> Self {
        Error::from(invalid).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut problem = Box::new(Problem::from_error(&error));
        problem.title = title(problem.status).to_owned();
        let headers = (problem.status == 503).then_some((RETRY_AFTER, "1")).into_iter().collect();
        Self { problem, headers, cause: Some(error) }
    }
}

impl IntoResponse for Failure {
    /// Returns the response without its body, which [`describe`] adds.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON), (CACHE_CONTROL, "no-store")]).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response.extensions_mut().insert(self.problem);
        response
    }
}

/// Adds the problem document to the response for a failure, with the id and the path of the request. Other responses stay
/// as they are.
pub(super) fn describe(response: &mut Response, request_id: &str, path: &str) {
    let Some(mut problem) = response.extensions_mut().remove::<Box<Problem>>() else { return };
    problem.kind = format!("{}#problem-{}", documentation(path), problem.code);
    problem.request_id = Some(request_id.to_owned());
    // Serialising strings and raw JSON cannot fail.
    let body = serde_json::to_string(&problem).unwrap_or_default();
    // The router has set the length of the empty body.
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
}

/// Returns a reference to the page of the API, relative to the path of a request. Such a reference stays valid behind a
/// proxy that adds a prefix to the path.
fn documentation(path: &str) -> String {
    let folders = path.matches('/').count().saturating_sub(1);
    // Only unknown paths are so deep. Without a limit, a long path would get a response that is three times as long.
    if folders > MAX_FOLDERS { "/docs".to_owned() } else { format!("{}docs", "../".repeat(folders)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_to_the_documentation_is_relative_to_the_path_of_the_request() {
        for (path, expected) in [
            ("/", "docs"),
            ("/healthz", "docs"),
            ("/api/v1", "../docs"),
            ("/api/v1/streams", "../../docs"),
            ("/api/v1/streams/a%2Fb", "../../../docs"),
            ("/api/v1/streams/a/heartbeat", "../../../../docs"),
            ("*", "docs"),
            (&"/a".repeat(10_000), "/docs"),
        ] {
            assert_eq!(documentation(path), expected, "{path}");
        }
    }
}
