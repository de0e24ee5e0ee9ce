//! Strict parsing of ids in paths, query parameters and headers: a misspelt parameter is rejected, not ignored.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use stream_registry::http::wire::decode_percent;
use stream_registry::http::{sse, wire};
use stream_registry::stream::OperationId;
use stream_registry::{Epoch, Guard, Revision, StreamId};

use super::access::Caller;
use super::problem::{Failure, Result};

const STREAM_EPOCH: HeaderName = HeaderName::from_static(wire::STREAM_EPOCH);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static(sse::LAST_EVENT_ID);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(wire::IDEMPOTENCY_KEY);

/// Maximum number of events in a response that ends.
pub(super) const MAX_EVENTS: u64 = 100_000;
/// Maximum duration of a response with events that ends, in milliseconds: one hour.
pub(super) const MAX_WAIT_MS: u64 = 3_600_000;

/// The id of a stream in `/api/v1/streams/{id}…` or `/api/v1/stream…?id={id}`, percent-decoded.
pub(super) struct GivenId {
    pub(super) id: StreamId,
    /// Whether the id is the query parameter `id`.
    pub(super) in_query: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for GivenId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        // Use the raw path, in which an escaped slash remains part of the id.
        let in_path = parts.uri.path().strip_prefix("/api/v1/streams/");
        let id = match in_path {
            Some(rest) => decode_percent(rest.split_once('/').map_or(rest, |(id, _)| id))
                .ok_or_else(|| Failure::invalid("the id in the path is not percent-encoded UTF-8; write % as %25"))?,
            None => {
                let parameters: Result<Vec<_>> = pairs(&parts.uri).collect();
                let id = parameters?.into_iter().find(|(name, _)| name == "id");
                id.map(|(_, id)| id)
                    .ok_or_else(|| Failure::invalid("missing parameter id; send ?id= and the id of the stream"))?
            }
        };
        Ok(Self { id: id.parse::<StreamId>()?, in_query: in_path.is_none() })
    }
}

/// Decodes the parameters of a query string, in order.
fn pairs(uri: &Uri) -> impl Iterator<Item = Result<(String, String)>> {
    let decode = |encoded: &str| {
        decode_percent(&encoded.replace('+', " "))
            .ok_or_else(|| Failure::invalid("the query is not percent-encoded UTF-8; write % as %25"))
    };
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    })
}

/// The parameters of a query string.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses a query that may contain the `known` parameters, each at most once.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self> {
        Self::read_repeating(uri, known, &[])
    }

    /// Parses a query as [`read`](Self::read) does, except that each `repeating` parameter may occur several times.
    pub(super) fn read_repeating(uri: &Uri, known: &[&str], repeating: &[&str]) -> Result<Self> {
        let mut params: Vec<(String, String)> = Vec::new();
        for pair in pairs(uri) {
            let (name, value) = pair?;
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(64).collect();
                return Err(Failure::invalid(match known {
                    [] => format!("unknown query parameter {name:?}; this request has no parameters"),
                    known => format!("unknown query parameter {name:?}; expected {}", known.join(", ")),
                }));
            }
            if !repeating.contains(&name.as_str()) && params.iter().any(|(given, _)| *given == name) {
                return Err(Failure::invalid(format!("duplicate query parameter {name}; send it once")));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Rejects all parameters.
    pub(super) fn none(uri: &Uri) -> Result<()> {
        Self::read(uri, &[]).map(|_| ())
    }

    /// Returns the first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns all parameters in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Parses a flag: `true` or `false`. A missing flag is `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Failure::invalid(format!("{name} must be true or false"))),
        }
    }

    /// Parses a whole number within a range.
    pub(super) fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|number| digits && range.contains(number));
        number.map(Some).ok_or_else(|| {
            Failure::invalid(format!("{name} must be a whole number from {} to {}", range.start(), range.end()))
        })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(format!("duplicate header {name}; send it once")));
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| Failure::invalid(format!("the header {name} must consist of visible ASCII characters")))
}

/// Parses `Stream-Epoch`.
pub(super) fn epoch(headers: &HeaderMap) -> Result<Option<Epoch>> {
    Ok(header(headers, &STREAM_EPOCH)?.map(str::parse).transpose()?)
}

/// Parses `Last-Event-ID`, which browsers send when they reconnect. An empty value is ignored.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<Revision>> {
    Ok(header(headers, &LAST_EVENT_ID)?.filter(|value| !value.is_empty()).map(str::parse).transpose()?)
}

/// Parses `Idempotency-Key`. The keys of different tokens are different operations.
pub(super) fn operation(headers: &HeaderMap, caller: &Caller) -> Result<Option<OperationId>> {
    let key = header(headers, &IDEMPOTENCY_KEY)?.map(str::parse::<OperationId>).transpose()?;
    Ok(key.map(|key| caller.operation(&key)).transpose()?)
}

/// Parses the guard of a write from `Stream-Epoch` and `force`.
pub(super) fn guard(headers: &HeaderMap, params: &Params) -> Result<Guard> {
    match (epoch(headers)?, params.flag("force")?) {
        (Some(_), true) => {
            Err(Failure::invalid("Stream-Epoch and force=true are mutually exclusive; send one of them"))
        }
        (Some(epoch), false) => Ok(Guard::Holder(epoch)),
        (None, true) => Ok(Guard::Force),
        (None, false) => Ok(Guard::None),
    }
}

/// Returns whether `Prefer` (RFC 7240) contains a preference.
pub(super) fn prefers(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| preference.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(wanted))
}
