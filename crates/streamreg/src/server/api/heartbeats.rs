//! Heartbeats and statistics of many streams: `POST /api/v1/heartbeats`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::post;
use stream_registry::ErrorKind;
use stream_registry::http::wire::{MAX_BATCH_BYTES, batch_answer_body, read_batch};
use stream_registry::registry::Operation;

use super::json;
use crate::server::app::App;
use crate::server::body;
use crate::server::params::{Params, epoch};
use crate::server::problem::{Failure, Result};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/heartbeats", post(heartbeats).fallback(async || Failure::method_not_allowed("POST")))
}

/// Does all writes in one call of the store and answers those that failed, each by its id.
async fn heartbeats(State(app): State<App>, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response> {
    do_batch(&app, &uri, &headers, body).await.map_err(|failure| failure.about(Operation::Write, None))
}

async fn do_batch(app: &App, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response> {
    let force = Params::read(uri, &["force"])?.flag("force")?;
    if epoch(headers)?.is_some() {
        return Err(Failure::invalid("Stream-Epoch is for one stream; give each stream its epoch in the body"));
    }
    let text = body::json_up_to(app, headers, body, MAX_BATCH_BYTES).await?;
    let writes = read_batch(&text, force)?;
    let answers = app.registry.write(&writes).await?;
    for defect in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        // The client is told of it without its inside.
        if defect.kind() == ErrorKind::Internal {
            tracing::error!(?defect, "a write of a batch");
        }
    }
    Ok(json(batch_answer_body(&writes, &answers)))
}
