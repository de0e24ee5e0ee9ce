//! The server itself: `/api/v1/info`, `/healthz`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{Info, millis};
use stream_registry::{Error, ErrorKind};

use super::json;
use crate::server::app::App;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/info", get(info).fallback(async || Failure::method_not_allowed("GET, HEAD")))
        .route("/healthz", get(alive).fallback(async || Failure::method_not_allowed("GET, HEAD")))
        .route("/readyz", get(ready).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn info(State(app): State<App>, uri: Uri) -> Result<Response> {
    Params::none(&uri)?;
    let store = app.registry.info();
    let info = Info {
        name: "streamreg".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: store.kind.to_owned(),
        ttl_ms: millis(store.ttl),
        read_only: store.read_only,
    };
    let body = serde_json::to_string(&info).map_err(|fault| {
        Error::new(ErrorKind::Internal, "the server's description cannot be written").with_source(fault)
    })?;
    Ok(json(body))
}

/// The process answers; says nothing of the store. Probes may add any query.
async fn alive() -> Response {
    json("{\"status\":\"ok\"}".to_owned())
}

/// The store answers as well.
async fn ready(State(app): State<App>) -> Result<Response> {
    app.registry.ping().await?;
    Ok(json("{\"status\":\"ok\"}".to_owned()))
}
