//! Compression of large responses, for clients that accept gzip.

use std::io::{self, Write as _};

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use stream_registry::{Error, ErrorKind};

use crate::server::problem::Result;
use crate::server::state::App;

/// Maximum size, in bytes, of a body that is not compressed. Such a body fits into one packet anyway.
const MAX_PLAIN: usize = 1024;

/// Creates a 200 response from encoded JSON. Compresses the JSON if it is large and the client accepts gzip.
///
/// # Errors
///
/// Returns a failure if too many large responses are not read yet.
pub(super) async fn json(app: &App, request: &HeaderMap, body: String) -> Result<Response> {
    let memory = app.bodies.reserve(&body)?;
    let mut response = if body.len() > MAX_PLAIN && accepts_gzip(request) {
        // A large list takes many milliseconds, which would delay the other requests of this thread.
        let compressed = tokio::task::spawn_blocking(move || gzip(body.as_bytes())).await;
        let compressed = compressed
            .map_err(io::Error::from)
            .and_then(|compressed| compressed)
            .map_err(|fault| Error::new(ErrorKind::Internal, "cannot compress the response").with_source(fault))?;
        let mut response = super::json(memory.body(compressed));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        super::json(memory.body(body))
    };
    // A cache must not send a compressed response to a client that does not accept it.
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// Compresses a body at the fastest level, which needs about 1 ms for 1 000 streams and makes the list nine times
/// smaller. The default level needs five times as long, to make it thirteen times smaller.
fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// Returns whether a client accepts gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let is_accepted = weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0));
        if name.eq_ignore_ascii_case("gzip") {
            return is_accepted;
        }
        any |= name == "*" && is_accepted;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_if_the_client_accepts_it() {
        for (value, expected) in [
            ("gzip", true),
            ("GZip", true),
            ("br, gzip;q=0.5", true),
            ("deflate, gzip, br, zstd", true),
            ("*", true),
            ("br;q=1, *;q=0.1", true),
            ("", false),
            ("identity", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("*, gzip;q=0", false),
            ("*;q=0", false),
            ("gzip;q=x", false),
            ("gzipped", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
