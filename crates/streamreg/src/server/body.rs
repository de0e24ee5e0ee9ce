//! Reads request bodies, with limits on size and time.

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use stream_registry::http::wire::{JSON, MAX_BODY_BYTES, MERGE_PATCH_JSON};
use tokio::time::timeout;

use super::problem::{Failure, Result};
use super::state::App;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

async fn bytes(app: &App, body: Body, limit: usize) -> Result<Bytes> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let collected = timeout(app.options.body_timeout, Limited::new(body, limit).collect());
    match collected.await {
        Err(_) => Err(Failure::slow_body()),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => Err(Failure::too_large(limit)),
        Ok(Err(_)) => Err(Failure::invalid("the body is incomplete or malformed; send it again")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// Reads a UTF-8 body, without its byte order mark: RFC 8259, section 8.1, allows parsers to ignore it.
async fn string(app: &App, body: Body, limit: usize) -> Result<String> {
    let bytes = bytes(app, body, limit).await?;
    let bytes = if bytes.starts_with(BYTE_ORDER_MARK) { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes };
    String::from_utf8(bytes.into()).map_err(|_| Failure::invalid("the body is not UTF-8"))
}

/// Reads and discards a body that the request does not need. The limits on size and time apply.
pub(super) async fn ignore(app: &App, body: Body) -> Result<()> {
    bytes(app, body, MAX_BODY_BYTES).await.map(|_| ())
}

/// Reads a JSON body.
pub(super) async fn json(app: &App, headers: &HeaderMap, body: Body) -> Result<String> {
    json_up_to(app, headers, body, MAX_BODY_BYTES).await
}

/// Reads a JSON body, with a custom size limit.
pub(super) async fn json_up_to(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<String> {
    require_media_type(headers, &[JSON])?;
    string(app, body, limit).await
}

/// Reads a merge patch. Plain `application/json` is accepted as well.
pub(super) async fn merge_patch(app: &App, headers: &HeaderMap, body: Body) -> Result<String> {
    require_media_type(headers, &[MERGE_PATCH_JSON, JSON])?;
    string(app, body, MAX_BODY_BYTES).await
}

fn require_media_type(headers: &HeaderMap, accepted: &[&'static str]) -> Result<()> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let given = given.split(';').next().unwrap_or("").trim();
    if accepted.iter().any(|accepted| given.eq_ignore_ascii_case(accepted)) {
        return Ok(());
    }
    Err(Failure::media_type(accepted.first().copied().unwrap_or(JSON)))
}
