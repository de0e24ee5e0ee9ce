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
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
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
    ([(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")], body.into()).into_response()
}
