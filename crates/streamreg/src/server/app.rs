//! Assembles the routes, the middleware and the state.

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use stream_registry::Registry;
use tokio::sync::Semaphore;

use super::lists::Lists;
use super::options::ServeOptions;
use super::problem::Failure;
use super::state::{App, LastRefusal};
use super::{api, auth, descriptors, host, log};
use crate::dashboard;

/// Maximum number of histories that are read at the same time. Each one occupies a thread for a part of the time, so a
/// greater number would delay all other requests.
const CONCURRENT_HISTORIES: usize = 4;

/// Maximum number of event readers in the queue of the runtime.
const CONCURRENT_TURNS: usize = 4;

/// Creates the router for the whole server. Must be called within a Tokio runtime.
pub(super) fn router(registry: Arc<dyn Registry>, options: ServeOptions) -> Router {
    let event_readers =
        Arc::new(Semaphore::new(descriptors::reader_limit(options.event_readers).min(Semaphore::MAX_PERMITS)));
    let registry = Arc::new(Lists::new(registry, options.max_view_age));
    let event_turns = Arc::new(Semaphore::new(CONCURRENT_TURNS));
    let histories = Arc::new(Semaphore::new(CONCURRENT_HISTORIES));
    let app = App {
        registry,
        options: Arc::new(options),
        event_readers,
        event_turns,
        histories,
        rejected: Arc::default(),
        refusal: LastRefusal::default(),
    };
    Router::new()
        .merge(api::routes())
        .merge(dashboard::routes())
        .fallback(async |uri: Uri| Failure::unknown_path(uri.path()))
        // API routes have their own fallbacks. This fallback is for the dashboard.
        .method_not_allowed_fallback(async || Failure::method_not_allowed("GET, HEAD"))
        .layer(from_fn_with_state(app.clone(), auth::check))
        .layer(from_fn_with_state(app.clone(), host::check))
        .layer(from_fn_with_state(app.clone(), log::each))
        .with_state(app)
}
