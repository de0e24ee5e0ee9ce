//! Ended streams: `/api/v1/history`.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{DEFAULT_HISTORY, MAX_LIMIT, history_body};
use stream_registry::query::Ended;
use stream_registry::{Error, ErrorKind};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::compress;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

/// Maximum time that a request waits until other requests have finished reading the history. Together with the time of
/// the reading itself, this is less than the timeout of the HTTP client.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/history", get(history).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn history(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    let params = Params::read(&uri, &["limit", "id", "type", "node"])?;
    let limit = params.number("limit", 1..=u64::from(MAX_LIMIT))?.and_then(|limit| u32::try_from(limit).ok());
    let limit = NonZeroU32::new(limit.unwrap_or(DEFAULT_HISTORY)).unwrap_or(NonZeroU32::MIN);
    let mut ended = Ended::default();
    ended.id = params.get("id").map(str::parse).transpose()?;
    ended.kind = params.get("type").map(str::parse).transpose()?;
    ended.node = params.get("node").map(str::to_owned);
    // A history can read the whole change feed, so only a few are read at the same time. The others wait in a queue.
    let permit = timeout(QUEUE_TIMEOUT, app.histories.clone().acquire_owned()).await;
    let permit = permit.ok().and_then(Result::ok).ok_or_else(Failure::too_many_histories)?;
    let events = app.registry.history(&ended, limit).await?;
    // Encoding thousands of records on a thread of the runtime would delay all other requests on this thread.
    let encoded = spawn_blocking(move || {
        let body = history_body(&events);
        drop(permit);
        body
    });
    let body = encoded
        .await
        .map_err(|fault| Error::new(ErrorKind::Internal, "encoding the history panicked").with_source(fault))?;
    compress::json(&app, &headers, body).await
}
