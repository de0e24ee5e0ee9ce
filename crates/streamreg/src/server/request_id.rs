//! Ids of requests, which connect a response, the log of the server and the logs of proxies.

use axum::http::{HeaderName, HeaderValue, Request};

/// The header that contains the id, in requests and in responses. Many proxies use this name.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of an id that is accepted from a client, in bytes.
const MAX_LEN: usize = 128;

/// The id of a request.
///
/// A new id is stored without an allocation, because each request with a token copies its id.
#[derive(Clone, Debug)]
pub(super) enum RequestId {
    /// The valid id in the header of the request.
    Given(HeaderValue),
    /// 16 random hexadecimal digits. They tell requests apart, but are no secret.
    Random([u8; 16]),
}

impl RequestId {
    /// Returns the id in the header of a request. Unless the request has exactly one valid id, returns a new id.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut values = request.headers().get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_valid(value.as_bytes()) => Self::Given(value.clone()),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        // This runs for every request. `format!` would take as long as finding the route.
        let number = fastrand::u64(..);
        Self::Random(std::array::from_fn(|at| b"0123456789abcdef"[(number >> (4 * at)) as usize & 0xf]))
    }

    pub(super) fn as_str(&self) -> &str {
        // Every id is ASCII.
        match self {
            Self::Given(value) => value.to_str().unwrap_or_default(),
            Self::Random(digits) => std::str::from_utf8(digits).unwrap_or_default(),
        }
    }

    pub(super) fn into_header(self) -> HeaderValue {
        match self {
            Self::Given(value) => value,
            Self::Random(digits) => HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("-")),
        }
    }
}

/// Returns whether an id has a reasonable length, and only characters that need no escape in a log or in JSON.
fn is_valid(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MAX_LEN).contains(&id.len()) && id.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(values: &[&str]) -> String {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let id = RequestId::of(&request);
        let text = id.as_str().to_owned();
        assert_eq!(id.into_header(), text);
        text
    }

    #[test]
    fn valid_id_of_the_client_is_kept() {
        let longest = "a".repeat(MAX_LEN);
        for given in ["a", "7b0e5c7e-1f3a-4d6f-9d2b-0c7c4b0f2d11", "Root=1-67891233-abcdef", &longest] {
            assert_eq!(id(&[given]), given);
        }
    }

    #[test]
    fn missing_or_invalid_id_is_replaced() {
        let too_long = "a".repeat(MAX_LEN + 1);
        for given in [&[][..], &[""], &["a b"], &["\"x\""], &["é"], &["a", "a"], &[&too_long]] {
            let new = id(given);
            assert!(new.len() == 16 && new.bytes().all(|byte| byte.is_ascii_hexdigit()), "{given:?}: {new}");
        }
        assert_ne!(id(&[]), id(&[]));
    }
}
