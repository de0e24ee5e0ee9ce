//! Authorisation of writes.

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, Method, Request, Uri};
use stream_registry::Secret;
use subtle::ConstantTimeEq as _;

use super::host::Host;
use super::problem::{Failure, Result};

/// Checks that a request reads, or is an authorised write.
pub(super) fn check<B>(request: &Request<B>, token: Option<&Secret>) -> Result<()> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if reads { Ok(()) } else { authorise(request.headers(), token) }
}

fn authorise(headers: &HeaderMap, token: Option<&Secret>) -> Result<()> {
    match token {
        Some(token) => match bearer(headers) {
            // The comparison time depends only on the length of the token.
            Some(given) if bool::from(given.ct_eq(token.reveal().as_bytes())) => Ok(()),
            _ => Err(Failure::unauthenticated()),
        },
        // Without a token, every local program may write. Web pages from other hosts must not write through a local
        // browser. Browsers send the page's origin with every write, so the origin shows where the page comes from.
        None => match headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_local)) {
            true => Ok(()),
            false => Err(Failure::foreign_origin()),
        },
    }
}

/// Returns the bearer token if the request has exactly one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
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
    fn token_must_match_completely() {
        let authorised = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {given}").parse().unwrap());
            authorise(&headers, Some(&"secret".into())).is_ok()
        };
        assert!(authorised("secret"));
        for other in ["", "secre", "secrets", "Secret"] {
            assert!(!authorised(other), "{other}");
        }
    }
}
