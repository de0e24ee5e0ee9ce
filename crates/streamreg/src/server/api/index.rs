//! The index of all routes at `/api/v1`, answers to OPTIONS, and redirections of paths with a trailing slash.

use super::json;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::routes::{ROUTES, paths};
use crate::server::state::App;
use axum::Router;
use axum::http::header::{ALLOW, LOCATION};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

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
    let path = uri.path().strip_suffix('/').filter(|path| *path != "/")?;
    if !paths().any(|known| known == path) {
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
