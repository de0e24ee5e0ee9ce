//! Webhooks: sends events of the change feed to receivers, as signed POST requests (Standard Webhooks 1.0.0).
//!
//! Each webhook has one task (`deliver`). It reads the change feed (`feed`) into a bounded `queue`, and sends the events
//! of different streams at the same time, but those of one stream in order. `retry` decides when a failed delivery is
//! repeated. `position` stores which events were delivered, in a directory that `state_dir` locks. `message` has the
//! body and the id of a delivery, `secret` signs them, and `figures` counts for `/metrics`.

mod deliver;
mod feed;
mod figures;
mod kinds;
mod message;
mod position;
mod queue;
mod retry;
mod secret;
mod state_dir;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::Registry;
use stream_registry::http::post::Poster;
use stream_registry::query::Filter;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use figures::Figures;
pub use kinds::Kinds;
pub use retry::Retry;
pub use secret::Secrets;

use deliver::Delivery;
use feed::Feed;
use state_dir::StateDir;

/// A receiver, and the events that it gets.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The name in logs and metrics, which is a part of a file name.
    pub name: String,
    /// Sends requests to the receiver.
    pub poster: Poster,
    /// Sign each request.
    pub secrets: Secrets,
    /// The kinds of events that the receiver gets.
    pub kinds: Kinds,
    /// The streams whose events the receiver gets.
    pub filter: Filter,
}

/// The tasks that deliver the events of webhooks. Dropping this value aborts them.
#[derive(Debug)]
pub struct Webhooks {
    tasks: JoinSet<()>,
    figures: Vec<Arc<Figures>>,
    /// The lock on the directory.
    _state_dir: Option<StateDir>,
}

impl Webhooks {
    /// Starts webhooks, until `stopped` becomes true. Each one continues where it stopped, or begins with the next
    /// event. If there are no webhooks, the directory is not used.
    ///
    /// When they stop, requests in flight may take up to `grace` to finish.
    ///
    /// # Errors
    ///
    /// Returns a message if the directory or a file in it cannot be used, or if the store does not allow watches.
    pub async fn start(
        webhooks: Vec<Webhook>,
        state_dir: &Path,
        registry: &Arc<dyn Registry>,
        retry: Retry,
        grace: Duration,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Self, String> {
        let mut started = Self { tasks: JoinSet::new(), figures: Vec::new(), _state_dir: None };
        if webhooks.is_empty() {
            return Ok(started);
        }
        let dir = StateDir::open(state_dir)?;
        for webhook in webhooks {
            let file = dir.position_file(&webhook.name);
            let position = position::read(&file)?;
            let feed = Feed::open(Arc::clone(registry), position.as_ref().map(|position| &position.revision)).await;
            let feed = feed.map_err(|error| format!("webhook {:?} cannot watch the store: {error}", webhook.name))?;
            let mut delivery = Delivery::new(webhook, feed, position, file, retry);
            // A new webhook stores where it begins. If that fails, the directory or the disk must be repaired first.
            delivery.save().await.map_err(|(file, error)| format!("cannot write {}: {error}", file.display()))?;
            started.figures.push(delivery.figures());
            started.tasks.spawn(delivery.run(stopped.clone(), grace));
        }
        started._state_dir = Some(dir);
        Ok(started)
    }

    /// Returns the figures of each webhook.
    pub fn figures(&self) -> Vec<Arc<Figures>> {
        self.figures.clone()
    }

    /// Waits until all webhooks have stopped and stored their positions.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the webhooks.
    pub async fn finished(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
