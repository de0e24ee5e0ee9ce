//! Streams that have ended: `/api/v1/history`.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::history_body;

use super::json;
use crate::history::{DEFAULT_LIMIT, MAX_LIMIT, Which, read};
use crate::server::app::App;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/history", get(history).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn history(State(app): State<App>, uri: Uri) -> Result<Response> {
    let params = Params::read(&uri, &["limit", "id", "type", "node"])?;
    let limit = params.number("limit", 1..=MAX_LIMIT as u64)?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT);
    let which = Which {
        id: params.get("id").map(str::parse).transpose()?,
        kind: params.get("type").map(str::parse).transpose()?,
        node: params.get("node").map(str::to_owned),
    };
    // It follows the feed for a moment, from its beginning.
    let _place = app.event_readers.clone().try_acquire_owned().map_err(|_| Failure::too_many_readers())?;
    Ok(json(history_body(&read(&*app.registry, &which, limit).await?)))
}
