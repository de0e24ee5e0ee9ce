//! The index of all routes at `/api/v1`, answers to OPTIONS, and redirections of paths with a trailing slash.

use axum::Router;
use axum::http::header::{ALLOW, LOCATION};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;

use super::json;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

/// A path of the API with its methods. In the path, `{id}` stands for a percent-encoded stream id.
#[derive(Serialize)]
struct Route {
    path: &'static str,
    methods: &'static [&'static str],
}

const READ: &[&str] = &["GET", "HEAD"];

/// All routes of the API and the health checks.
const ROUTES: [Route; 18] = [
    Route { path: "/api/v1", methods: READ },
    Route { path: "/api/v1/streams", methods: &["GET", "HEAD", "POST"] },
    Route { path: "/api/v1/streams/{id}", methods: &["GET", "HEAD", "PUT", "PATCH", "DELETE"] },
    Route { path: "/api/v1/streams/{id}/heartbeat", methods: &["POST"] },
    Route { path: "/api/v1/streams/{id}/status", methods: &["PUT"] },
    Route { path: "/api/v1/streams/{id}/stats", methods: &["PUT"] },
    Route { path: "/api/v1/stream", methods: &["GET", "HEAD", "PUT", "PATCH", "DELETE"] },
    Route { path: "/api/v1/stream/heartbeat", methods: &["POST"] },
    Route { path: "/api/v1/stream/status", methods: &["PUT"] },
    Route { path: "/api/v1/stream/stats", methods: &["PUT"] },
    Route { path: "/api/v1/heartbeats", methods: &["POST"] },
    Route { path: "/api/v1/summary", methods: READ },
    Route { path: "/api/v1/snapshot", methods: READ },
    Route { path: "/api/v1/events", methods: READ },
    Route { path: "/api/v1/history", methods: READ },
    Route { path: "/api/v1/info", methods: READ },
    Route { path: "/healthz", methods: READ },
    Route { path: "/readyz", methods: READ },
];

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1", get(index).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

async fn index(uri: Uri) -> Result<Response> {
    Params::none(&uri)?;
    // Serialising strings cannot fail.
    Ok(json(serde_json::to_string(&serde_json::json!({ "routes": ROUTES })).unwrap_or_default()))
}

/// Redirects a path that is a route except for a trailing slash. Returns `None` for any other path.
///
/// Paths with an id are not redirected, because the slash can be the end of the id, which a proxy has decoded. The
/// location is relative, so that it is right behind a proxy with a base path too.
pub(in crate::server) fn without_slash(uri: &Uri) -> Option<Response> {
    let path = uri.path().strip_suffix('/')?;
    if !ROUTES.iter().any(|route| route.path == path) {
        return None;
    }
    let name = path.rsplit('/').next()?;
    let location = uri.query().map_or_else(|| format!("../{name}"), |query| format!("../{name}?{query}"));
    Some((StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response())
}

/// Returns the response to OPTIONS, made from that of a route to a method that it does not have.
pub(in crate::server) fn options(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let methods = response.headers().get(ALLOW).and_then(|allow| allow.to_str().ok());
    let allow = methods.and_then(|methods| HeaderValue::from_str(&format!("{methods}, OPTIONS")).ok());
    allow.map_or(response, |allow| (StatusCode::NO_CONTENT, [(ALLOW, allow)]).into_response())
}
