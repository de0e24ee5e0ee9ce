//! Percent-decoding (RFC 3986, section 2.1), shared by URLs and requests.

use percent_encoding::percent_decode_str;

/// Decodes a percent-encoded string; `None` if an escape is malformed or the bytes are not UTF-8.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    if !encoded.contains('%') {
        return Some(encoded.to_owned());
    }
    let mut rest = encoded;
    while let Some(at) = rest.find('%') {
        let digits = rest.as_bytes().get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    percent_decode_str(encoded).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
