//! Files that are part of the program. A client that has a file already gets 304 without its content.

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use ring::digest::{Context, SHA256};

/// Number of bytes of the hash in a tag. 128 bits are enough, because an attacker cannot choose the contents.
const TAG_BYTES: usize = 16;

/// A file and the headers of its response.
#[derive(Clone, Debug)]
pub(crate) struct StaticFile {
    content: &'static str,
    headers: HeaderMap,
    /// A strong validator (RFC 9110, section 8.8). All servers of a version send the same.
    tag: HeaderValue,
}

impl StaticFile {
    pub(crate) fn new(content: &'static str, headers: impl IntoIterator<Item = (HeaderName, &'static str)>) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let tag = tag(content, &headers);
        Self { content, headers, tag }
    }

    /// Returns a route for GET and HEAD.
    pub(crate) fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        get(async move |request: HeaderMap| self.response(&request))
    }

    fn response(&self, request: &HeaderMap) -> Response {
        let mut headers = self.headers.clone();
        headers.insert(ETAG, self.tag.clone());
        if has(request, &self.tag) {
            headers.remove(CONTENT_TYPE);
            // The router would set the length 0, but only the length of the content is allowed (RFC 9110, section 8.6).
            headers.insert(CONTENT_LENGTH, self.content.len().into());
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.content).into_response()
    }
}

/// Returns a tag that changes with the content and with the headers, because a client keeps both.
fn tag(content: &str, headers: &HeaderMap) -> HeaderValue {
    let mut hash = Context::new(&SHA256);
    for (name, value) in headers {
        hash.update(name.as_ref());
        hash.update(value.as_bytes());
    }
    hash.update(content.as_bytes());
    let digits = hash.finish().as_ref().iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect::<String>();
    let tag = Bytes::from(format!("\"{digits}\""));
    HeaderValue::from_maybe_shared(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Returns whether a client has the content with a tag, by weak comparison (RFC 9110, sections 8.8.3.2 and 13.1.2).
///
/// A tag of another server can contain a comma, but no part of it is a whole tag in quotes.
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let values = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_found_in_lists_and_only_as_a_whole() {
        let tag = HeaderValue::from_static("\"ab\"");
        for (values, expected) in [
            (&["\"ab\""][..], true),
            (&["W/\"ab\""], true),
            (&["*"], true),
            (&["\"x\", \"ab\""], true),
            (&["\"x\",W/\"ab\",\"y\""], true),
            (&["\"x\"", "\"ab\""], true),
            (&[], false),
            (&[""], false),
            (&["ab"], false),
            (&["\"AB\""], false),
            (&["w/\"ab\""], false),
            (&["\"abc\""], false),
            (&["\"x,ab\""], false),
            (&["\"*\""], false),
        ] {
            let values = values.iter().map(|value| (IF_NONE_MATCH, HeaderValue::from_static(value)));
            let mut request = HeaderMap::new();
            values.for_each(|(name, value)| {
                request.append(name, value);
            });
            assert_eq!(has(&request, &tag), expected, "{request:?}");
        }
    }

    #[test]
    fn tag_changes_with_content_and_headers() {
        let file = |content, policy| StaticFile::new(content, [(HeaderName::from_static("policy"), policy)]).tag;
        let tag = file("a", "p");
        assert_eq!(tag.len(), 2 * TAG_BYTES + 2);
        assert_eq!(tag, file("a", "p"));
        assert_ne!(tag, file("b", "p"));
        assert_ne!(tag, file("a", "q"));
    }
}
