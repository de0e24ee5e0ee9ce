//! Web pages of other origins: which of them may read (CORS, Fetch Standard, section 3.2), and that none may write
//! without a token.

use std::str::FromStr;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::host::Host;
use crate::server::problem::{Failure, Result};

/// Request headers that a page of an allowed origin may send.
const REQUEST_HEADERS: &str =
    "authorization, content-type, idempotency-key, last-event-id, prefer, stream-epoch, x-request-id";
/// Response headers that a page of an allowed origin may read, in addition to those that every page may read.
const RESPONSE_HEADERS: &str = "date, location, retry-after, x-request-id";
/// Time in seconds for which a browser may keep the answer to a preflight request.
const MAX_AGE: &str = "600";

/// An origin whose pages may read from the server: `https://dashboard.example.com`, or `*` for all origins.
///
/// ```
/// use streamreg::server::AllowedOrigin;
///
/// assert!("https://dashboard.example.com:8443".parse::<AllowedOrigin>().is_ok());
/// assert!("https://dashboard.example.com/".parse::<AllowedOrigin>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(HeaderValue);

impl AllowedOrigin {
    fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(origin: &str) -> Result<Self, String> {
        let invalid =
            || "expected an origin as browsers send it, such as https://dashboard.example.com, or *".to_owned();
        let (scheme, host) = origin.split_once("://").unwrap_or_default();
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ if origin == "*" => return Ok(Self(HeaderValue::from_static("*"))),
            _ => return Err(invalid()),
        };
        let uri: Uri = origin.parse().map_err(|_| invalid())?;
        let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
        let is_plain = uri.authority().is_some_and(|authority| authority.as_str() == host);
        if !is_plain || host.ends_with(default_port) || !host.bytes().all(is_legal) {
            return Err(invalid());
        }
        HeaderValue::from_str(origin).map(Self).map_err(|_| invalid())
    }
}

/// The origins whose pages may read.
#[derive(Debug)]
pub(super) struct Origins(Vec<AllowedOrigin>);

impl Origins {
    pub(super) fn new(allowed: Vec<AllowedOrigin>) -> Self {
        Self(allowed)
    }

    /// Returns the value of `Access-Control-Allow-Origin` for a request, if its page may read the response.
    pub(super) fn granted(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        let given = headers.get(ORIGIN)?;
        self.0.iter().find(|allowed| allowed.is_any() || allowed.0 == *given).map(|allowed| allowed.0.clone())
    }

    /// Returns the response to a preflight request of an allowed origin. A browser sends this request without the
    /// token, before it sends a request with an `Authorization` header.
    pub(super) fn preflight<B>(&self, request: &Request<B>, may_write: bool) -> Option<Response> {
        let headers = request.headers();
        if request.method() != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        self.granted(headers)?;
        let methods = if may_write { "GET, HEAD, POST, PUT, PATCH, DELETE" } else { "GET, HEAD" };
        let headers = [
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        Some((StatusCode::NO_CONTENT, headers).into_response())
    }

    /// Adds the headers with which a browser decides whether a page may read the response.
    pub(super) fn mark(&self, granted: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.0.iter().any(|allowed| !allowed.is_any()) {
            // The response differs by origin, so a cache must not use it for another origin.
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(granted) = granted {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, granted);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
        }
    }
}

/// Checks that a write without a token does not come from a web page of another host.
///
/// Every local program may write to a server without tokens. Web pages must not write through a local browser. Browsers
/// send the page's origin with every write, so the origin shows where the page comes from.
pub(super) fn check_local(headers: &HeaderMap) -> Result<()> {
    let is_local = |origin: &HeaderValue| origin.to_str().is_ok_and(is_local);
    if headers.get_all(ORIGIN).iter().all(is_local) { Ok(()) } else { Err(Failure::foreign_origin()) }
}

/// Returns whether an origin (RFC 6454) belongs to a page served by this machine.
fn is_local(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    // Origins of other schemes belong to browser extensions and apps, which can choose the host in the origin freely.
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return false;
    }
    match uri.host().map(Host::parse) {
        Some(Host::Local) => true,
        Some(Host::Address(address)) => address.to_canonical().is_loopback(),
        Some(Host::Name(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_origins_are_local() {
        for local in ["http://localhost:8580", "http://127.0.0.1", "https://[::1]:1", "http://a.localhost"] {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "null",
            "",
            "localhost",
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://notlocalhost",
            "http://192.0.2.1",
            "http://localhost@example.com",
            "chrome-extension://localhost",
            "ws://localhost",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_origins_that_browsers_can_send_are_accepted() {
        for valid in
            ["*", "http://a", "https://a.example:8443", "http://127.0.0.1:3000", "http://[::1]:1", "http://a:443"]
        {
            assert!(valid.parse::<AllowedOrigin>().is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "null",
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://a.example?x",
            "https://A.example",
            "https://u@a.example",
            "https://a.example:443",
            "http://a.example:80",
            "ftp://a.example",
            "https://*.example",
            "https://a b",
            "https://a,https://b",
        ] {
            assert!(invalid.parse::<AllowedOrigin>().is_err(), "{invalid}");
        }
    }
}
