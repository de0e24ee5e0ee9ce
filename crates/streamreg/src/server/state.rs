//! State that all handlers share.

use std::sync::Arc;

use stream_registry::Registry;
use tokio::sync::Semaphore;

use super::options::ServeOptions;

/// State that all handlers share.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// The store. Its lists come from a view.
    pub(super) registry: Arc<dyn Registry>,
    pub(super) options: Arc<ServeOptions>,
    /// Permits that limit the number of event readers.
    pub(super) event_readers: Arc<Semaphore>,
    /// Permits that limit the number of histories that are read at the same time.
    pub(super) histories: Arc<Semaphore>,
}
