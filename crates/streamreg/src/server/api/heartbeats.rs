//! Batches of heartbeats and statistics: `POST /api/v1/heartbeats`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::post;
use stream_registry::http::wire::{
    HEARTBEATS, MAX_BATCH_BYTES, Rejected, RejectedKind, batch_response, is_refused_by_store, read_batch,
};
use stream_registry::registry::Operation;
use stream_registry::{ErrorKind, StreamId};

use super::json;
use crate::server::access::Caller;
use crate::server::body;
use crate::server::once_per_minute::OncePerMinute;
use crate::server::params::{Params, epoch};
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/heartbeats", post(heartbeats).fallback(async || Failure::method_not_allowed("POST")))
}

/// Applies all valid items in one call to the store, and returns the items that failed or were rejected.
async fn heartbeats(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    apply_batch(&app, &caller, &uri, &headers, body).await.map_err(|failure| failure.about(Operation::Write, None))
}

async fn apply_batch(app: &App, caller: &Caller, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response> {
    let force = Params::read(uri, &["force"])?.flag("force")?;
    if epoch(headers)?.is_some() {
        return Err(Failure::invalid("Stream-Epoch applies to a single stream; send epochs in the body"));
    }
    let batch = body::json_up_to(app, headers, body, MAX_BATCH_BYTES).await?;
    let batch = read_batch(&batch, force)?;
    for rejected in &batch.rejected {
        warn(app, rejected);
    }
    let results = app.writer(caller).write(&batch.writes).await?;
    let errors = || results.iter().filter_map(|result| result.as_ref().err());
    for error in errors() {
        app.refusal.record(error);
        // The response hides the details of an internal error, so log them.
        if error.kind() == ErrorKind::Internal {
            tracing::error!(?error, "a write of a batch failed");
        }
    }
    if let Some(error) = errors().find(|error| is_refused_by_store(error)) {
        tracing::warn!(%error, "the store refused writes of a batch");
    }
    Ok(json(batch_response(&batch, &results)))
}

/// Counts a rejected item, and logs it once per kind and minute. The reason is short and contains no input except a
/// field name.
fn warn(app: &App, rejected: &Rejected) {
    let Some(kind) = RejectedKind::ALL.iter().position(|kind| *kind == rejected.kind) else { return };
    app.metrics.count_rejected(kind);
    let Some(skipped) = app.rejected.get(kind).and_then(OncePerMinute::admit) else { return };
    let id = rejected.id.as_ref().map(StreamId::as_str);
    let reason = rejected.error.message();
    tracing::warn!(id, index = rejected.index, reason, skipped, "invalid item in POST {HEARTBEATS}");
}
