//! One line for each request.

use std::time::Instant;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use stream_registry::http::wire::HEARTBEATS;

use super::problem::Cause;

/// Logs method, path, status and duration: what is routine at debug, changes of state and refusals at
/// info, failures at warn and error.
///
/// Queries and headers are left out: they may hold what is not for a log.
pub(super) async fn each(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match (status, response.extensions().get::<Cause>()) {
        (500, Some(Cause(cause))) => tracing::error!(%method, path, status, ms, ?cause, "request"),
        (500.., Some(Cause(cause))) => tracing::warn!(%method, path, status, ms, %cause, "request"),
        (500.., None) => tracing::error!(%method, path, status, ms, "request"),
        (400.., _) => tracing::info!(%method, path, status, ms, "request"),
        _ if is_routine(&method, &path) => tracing::debug!(%method, path, status, ms, "request"),
        _ => tracing::info!(%method, path, status, ms, "request"),
    }
    response
}

/// Reads, heartbeats and statistics come by the hundred each second.
fn is_routine(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        || path.ends_with("/heartbeat")
        || path == HEARTBEATS
        || path.ends_with("/stats")
}
