//! Assembles the server's routes; decides nothing itself.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use stream_registry::Registry;
use tokio::sync::Semaphore;

use super::lists::Lists;
use super::options::ServeOptions;
use super::problem::Failure;
use super::{api, auth, descriptors, log};
use crate::dashboard;

/// What every handler has at hand.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// The store, with lists from a view.
    pub(super) registry: Arc<dyn Registry>,
    pub(super) options: Arc<ServeOptions>,
    /// Places for those who follow the events.
    pub(super) event_readers: Arc<Semaphore>,
}

/// Makes the whole server; needs a Tokio runtime.
pub(super) fn router(registry: Arc<dyn Registry>, options: ServeOptions) -> Router {
    let event_readers =
        Arc::new(Semaphore::new(descriptors::readers(options.event_readers).min(Semaphore::MAX_PERMITS)));
    let registry = Arc::new(Lists::new(registry, options.max_view_age));
    let app = App { registry, options: Arc::new(options), event_readers };
    Router::new()
        .merge(api::routes())
        .merge(dashboard::routes())
        .fallback(async || Failure::unknown_path())
        // For routes that do not say themselves what they answer: those of the page.
        .method_not_allowed_fallback(async || Failure::method_not_allowed("GET, HEAD"))
        .layer(from_fn_with_state(app.clone(), auth::check))
        .layer(from_fn(log::each))
        .with_state(app)
}
