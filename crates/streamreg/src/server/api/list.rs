//! Many streams at once: `/api/v1/streams` and `/api/v1/snapshot`.

use std::num::NonZeroU32;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{DEFAULT_LIMIT, MAX_LIMIT, page_body, snapshot_body};
use stream_registry::{Cursor, Error, ErrorKind, Operation};

use super::{json, register};
use crate::server::app::App;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/v1/streams",
            get(list).post(register::register).fallback(async || Failure::method_not_allowed("GET, HEAD, POST")),
        )
        .route("/api/v1/snapshot", get(snapshot).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn list(State(app): State<App>, uri: Uri) -> Result<Response> {
    let params = Params::read(&uri, &["limit", "cursor"])?;
    let limit = params.number("limit", 1..=u64::from(MAX_LIMIT))?.and_then(|limit| u32::try_from(limit).ok());
    let limit = NonZeroU32::new(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(NonZeroU32::MIN);
    let cursor = params.get("cursor").map(str::parse::<Cursor>).transpose().map_err(|fault| {
        Error::new(ErrorKind::InvalidCursor, "this cursor is none; begin again without one")
            .with_operation(Operation::ListPage)
            .with_source(fault)
    })?;
    Ok(json(page_body(&app.registry.list_page(cursor.as_ref(), limit).await?)))
}

async fn snapshot(State(app): State<App>, uri: Uri) -> Result<Response> {
    Params::none(&uri)?;
    Ok(json(snapshot_body(&app.registry.snapshot().await?)))
}
