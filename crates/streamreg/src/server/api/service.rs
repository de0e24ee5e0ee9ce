//! Requests about the server: `/api/v1/info`, `/healthz` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{Info, millis};
use stream_registry::{Error, ErrorKind};

use super::json;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

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
        warning: store.warning,
    };
    let body = serde_json::to_string(&info).map_err(|fault| {
        Error::new(ErrorKind::Internal, "cannot encode the description of the server").with_source(fault)
    })?;
    Ok(json(body))
}

/// Reports that the process is running, regardless of the store. Any query is accepted, because a health probe may add
/// a query.
async fn alive() -> Response {
    json("{\"status\":\"ok\"}".to_owned())
}

/// Reports whether the store responds, and has refused no recent call of this server. The response contains the warning
/// of the store or about a changed file, if there is one. If only a part of the store is down, the server is ready for
/// all other streams, and the warning names the part.
async fn ready(State(app): State<App>) -> Result<Response> {
    let down = match app.registry.ping().await {
        Err(error) if error.is_partial() => Some(error.message().to_owned()),
        answer => answer.map(|()| None)?,
    };
    if let Some(refusal) = app.refusal.recent() {
        // This request needs no token.
        return Err(Failure::from(refusal).without_stream());
    }
    let outdated = || {
        let file = app.outdated_files().next()?;
        Some(format!("the changed {file} is unusable, so its earlier content still applies; see the server log"))
    };
    let Some(warning) = down.or_else(|| app.registry.info().warning).or_else(outdated) else {
        return Ok(json("{\"status\":\"ok\"}".to_owned()));
    };
    Ok(json(serde_json::json!({ "status": "ok", "warning": warning }).to_string()))
}
