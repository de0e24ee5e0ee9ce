//! Ended streams: `/api/v1/history`.

use std::num::NonZeroU32;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{DEFAULT_HISTORY, MAX_LIMIT, history_body};
use stream_registry::query::Ended;

use super::json;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/history", get(history).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn history(State(app): State<App>, uri: Uri) -> Result<Response> {
    let params = Params::read(&uri, &["limit", "id", "type", "node"])?;
    let limit = params.number("limit", 1..=u64::from(MAX_LIMIT))?.and_then(|limit| u32::try_from(limit).ok());
    let limit = NonZeroU32::new(limit.unwrap_or(DEFAULT_HISTORY)).unwrap_or(NonZeroU32::MIN);
    let mut ended = Ended::default();
    ended.id = params.get("id").map(str::parse).transpose()?;
    ended.kind = params.get("type").map(str::parse).transpose()?;
    ended.node = params.get("node").map(str::to_owned);
    // This request makes the store read the whole change feed, so the request counts as an event reader.
    let _permit = app.event_readers.clone().try_acquire_owned().map_err(|_| Failure::too_many_readers())?;
    Ok(json(history_body(&app.registry.history(&ended, limit).await?)))
}
