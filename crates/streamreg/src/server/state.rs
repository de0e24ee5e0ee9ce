//! State that all handlers share.

use std::sync::Arc;

use stream_registry::Registry;
use stream_registry::http::wire::RejectedKind;
use tokio::sync::Semaphore;

use super::log::OncePerMinute;
use super::options::ServeOptions;

/// State that all handlers share.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// The store. Its lists come from a view.
    pub(super) registry: Arc<dyn Registry>,
    pub(super) options: Arc<ServeOptions>,
    /// Permits that limit the number of event readers.
    pub(super) event_readers: Arc<Semaphore>,
    /// Limits of the warnings about rejected items of batches, one per kind.
    pub(super) rejected: Arc<[OncePerMinute; RejectedKind::ALL.len()]>,
}
