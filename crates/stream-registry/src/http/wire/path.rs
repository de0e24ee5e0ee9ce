//! Paths and percent-encoding.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::percent;

/// Characters that are percent-encoded: all except the unreserved characters of RFC 3986, section 2.3.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes a string for one segment of a path or a value of a query.
pub fn encode_segment(value: &str) -> String {
    utf8_percent_encode(value, SEGMENT).to_string()
}

/// Decodes a percent-encoded string. Returns `None` if an escape is malformed or the bytes are not UTF-8.
pub fn decode_percent(encoded: &str) -> Option<String> {
    percent::decode(encoded)
}

/// Returns the path and query of a stream, or of its heartbeat, status or statistics: `suffix` is empty, or begins with
/// `/`.
///
/// An id with a slash or backslash goes into the query, because some proxies decode `%2F` in a path, and some treat a
/// backslash as a slash. Proxies do not change the query.
pub fn stream_path(id: &str, suffix: &str) -> String {
    let encoded = encode_segment(id);
    if id.contains(['/', '\\']) {
        format!("/api/v1/stream{suffix}?id={encoded}")
    } else {
        format!("/api/v1/streams/{encoded}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_valid_id_fits_in_one_path_segment() {
        for id in ["a", "a b", "a/b", "%", "%2F", "*", "?", "#", "\"'\\", "é📺", "a+b", "...", "a;b=c&d"] {
            let segment = encode_segment(id);
            assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{segment}");
            assert_eq!(decode_percent(&segment).as_deref(), Some(id));
        }
    }

    #[test]
    fn id_with_a_slash_goes_into_the_query() {
        assert_eq!(stream_path("cam 1", ""), "/api/v1/streams/cam%201");
        assert_eq!(stream_path("cam1", "/stats"), "/api/v1/streams/cam1/stats");
        assert_eq!(stream_path("a/b&c", ""), "/api/v1/stream?id=a%2Fb%26c");
        assert_eq!(stream_path("a\\b", "/stats"), "/api/v1/stream/stats?id=a%5Cb");
    }

    #[test]
    fn path_segment_with_a_malformed_escape_is_rejected() {
        for encoded in ["%", "%2", "a%", "%zz", "%+1", "%ff", "%c3%28", "%é1"] {
            assert_eq!(decode_percent(encoded), None, "{encoded}");
        }
    }
}
