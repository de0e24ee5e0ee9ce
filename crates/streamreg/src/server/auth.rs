//! Who may write.

use std::hint::black_box;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::problem::{Failure, Result};

/// Lets reads through, and writes of those who may.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && let Err(refusal) = may_write(request.headers(), app.options.token.as_deref()) {
        return refusal.into_response();
    }
    next.run(request).await
}

fn may_write(headers: &HeaderMap, token: Option<&str>) -> Result<()> {
    match token {
        Some(token) => match bearer(headers) {
            Some(given) if same(given, token.as_bytes()) => Ok(()),
            _ => Err(Failure::unauthorized()),
        },
        // Without a token whoever reaches the loopback interface may write, but a web page that this
        // machine's browser shows must not: browsers send its origin with every write.
        None => match headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_local)) {
            true => Ok(()),
            false => Err(Failure::foreign_origin()),
        },
    }
}

/// Returns the token of the request, where it carries exactly one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
}

/// Compares in a time that tells nothing but the length.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0_u8, |differ, (a, b)| black_box(differ | (a ^ b)));
    (a.len() == b.len()) & (black_box(differ) == 0)
}

/// Whether an origin (RFC 6454) is a page of this machine.
fn is_local(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    if uri.scheme().is_none() {
        return false;
    }
    let Some(host) = uri.host() else { return false };
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_of_this_machine() {
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
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in ["", "secre", "secrets", "Secret"] {
            assert!(!same(other.as_bytes(), b"secret"), "{other}");
        }
    }
}
