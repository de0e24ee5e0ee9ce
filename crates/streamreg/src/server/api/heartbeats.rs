//! Batches of heartbeats and statistics: `POST /api/v1/heartbeats`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::post;
use stream_registry::ErrorKind;
use stream_registry::http::wire::{MAX_BATCH_BYTES, batch_response, read_batch};
use stream_registry::registry::Operation;

use super::json;
use crate::server::body;
use crate::server::params::{Params, epoch};
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/heartbeats", post(heartbeats).fallback(async || Failure::method_not_allowed("POST")))
}

/// Applies all writes in one call to the store, and returns the ids whose writes failed.
async fn heartbeats(State(app): State<App>, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response> {
    apply_batch(&app, &uri, &headers, body).await.map_err(|failure| failure.about(Operation::Write, None))
}

async fn apply_batch(app: &App, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response> {
    let force = Params::read(uri, &["force"])?.flag("force")?;
    if epoch(headers)?.is_some() {
        return Err(Failure::invalid("Stream-Epoch applies to a single stream; send epochs in the body"));
    }
    let batch = body::json_up_to(app, headers, body, MAX_BATCH_BYTES).await?;
    let writes = read_batch(&batch, force)?;
    let results = app.registry.write(&writes).await?;
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        // The response hides the details of an internal error, so log them.
        if error.kind() == ErrorKind::Internal {
            tracing::error!(?error, "a write of a batch failed");
        }
    }
    Ok(json(batch_response(&writes, &results)))
}
