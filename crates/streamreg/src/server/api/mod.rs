//! The API, with one file per resource.

mod compress;
mod discovery;
mod document;
mod events;
mod heartbeats;
mod history;
pub(super) mod index;
mod list;
mod metrics;
mod register;
mod service;
mod stream;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use stream_registry::http::wire::JSON;

use super::state::App;

/// Returns all routes of the API.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .merge(list::routes())
        .merge(events::routes())
        .merge(history::routes())
        .merge(index::routes())
        .merge(document::routes())
        .merge(stream::routes())
        .merge(heartbeats::routes())
        .merge(service::routes())
        .merge(metrics::routes())
        .merge(discovery::routes())
}

/// Creates a 200 response from encoded JSON.
fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
