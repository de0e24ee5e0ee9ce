//! Refuses the publisher of a stream that another node has, for `--duplicates refuse`.
//!
//! If the store gives no clear answer, the publisher is allowed.

use std::time::Duration;

use stream_registry::{ErrorKind, Stream, StreamId};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cli::bridge::config::Server;
use crate::cli::bridge::held::Store;
use crate::cli::bridge::repeats::Repeats;

/// Maximum time for which a publisher waits for the answer of the store.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

/// Asks the store whether another node has a stream.
pub(in crate::cli::bridge) struct Gate {
    /// `None` until the store was reached.
    store: watch::Receiver<Option<Store>>,
    outages: Repeats,
    refusals: Repeats,
}

impl Gate {
    pub(in crate::cli::bridge) fn new(store: watch::Receiver<Option<Store>>) -> Self {
        Self { store, outages: Repeats::default(), refusals: Repeats::default() }
    }

    /// Returns whether to refuse the publisher. Asks the store only for publish hooks.
    pub(super) async fn refuses(&self, server: &Server, body: &[u8]) -> bool {
        let Some(id) = server.kind.requested_stream(body).and_then(|name| server.id(&name)) else { return false };
        let Some(existing) = self.live(&id).await else { return false };
        // Only the media server itself can know whether its own stream still has a publisher.
        if server.owns(&existing) {
            return false;
        }
        let holder = existing.node.as_deref().unwrap_or("unknown");
        if self.refusals.admit(id.as_str()) {
            tracing::warn!(server = %server.name, stream = %id, holder, "refused a publisher, because another node has the stream");
        } else {
            tracing::debug!(server = %server.name, stream = %id, holder, "refused a publisher again");
        }
        true
    }

    /// Returns the live stream with this id; `None` if the id is free, or if the store gives no answer.
    async fn live(&self, id: &StreamId) -> Option<Stream> {
        // The borrow must end before the wait, because it blocks the sender.
        let registry = self.store.borrow().as_ref().map(|store| store.registry.clone());
        let fault = match registry {
            None => "it was not reached yet".to_owned(),
            Some(registry) => match timeout(STORE_TIMEOUT, registry.get(id)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} ms", STORE_TIMEOUT.as_millis()),
            },
        };
        if self.outages.admit("outage") {
            tracing::warn!(%fault, "cannot check for duplicates; allowing every publisher until the store answers");
        } else {
            tracing::debug!(%fault, "cannot check for duplicates");
        }
        None
    }
}
