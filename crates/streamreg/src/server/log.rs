//! The request log, with one line per request.

use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use axum::response::Response;
use stream_registry::http::wire::HEARTBEATS;

use super::problem::Cause;
use super::state::LastRefusal;

/// A received request.
pub(super) struct Received {
    at: Instant,
    method: Method,
    path: String,
}

impl Received {
    pub(super) fn now<B>(request: &Request<B>) -> Self {
        Self { at: Instant::now(), method: request.method().clone(), path: request.uri().path().to_owned() }
    }

    /// Returns the path of the request.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the time since the request was received.
    pub(super) fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// Logs method, path, status, duration and id of a request.
    ///
    /// Routine requests are logged at debug, changes and rejected requests at info, and failures at warn or error.
    /// Queries and headers are not logged because they may contain private data.
    ///
    /// Also records refusals of the store, for `/readyz`.
    pub(super) fn log(self, response: &Response, duration: Duration, request_id: &str, refusal: &LastRefusal) {
        let Self { method, path, .. } = self;
        let status = response.status().as_u16();
        let cause = response.extensions().get::<Cause>().map(|Cause(cause)| cause);
        // The readiness check repeats an earlier refusal, so its response must not renew the refusal.
        if let Some(cause) = cause.filter(|_| path != "/readyz") {
            refusal.record(cause);
        }
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match (status, cause) {
            (500, Some(cause)) => tracing::error!(%method, path, status, ms, request_id, ?cause, "request"),
            (500.., Some(cause)) => tracing::warn!(%method, path, status, ms, request_id, %cause, "request"),
            (500, None) => tracing::error!(%method, path, status, ms, request_id, "request"),
            // The server itself rejected the request, because its limit of such requests is reached.
            (501.., None) => {
                tracing::warn!(%method, path, status, ms, request_id, "request rejected; too many requests of this kind")
            }
            (400.., _) => tracing::info!(%method, path, status, ms, request_id, "request"),
            _ if is_routine(&method, &path) => tracing::debug!(%method, path, status, ms, request_id, "request"),
            _ => tracing::info!(%method, path, status, ms, request_id, "request"),
        }
    }
}

/// Returns whether a request is routine. Reads, heartbeats and statistics may arrive hundreds of times a second.
fn is_routine(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        || path.ends_with("/heartbeat")
        || path == HEARTBEATS
        || path.ends_with("/stats")
}
