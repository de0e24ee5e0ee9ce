//! Follows the change feed, so that a holder learns within a second that it has lost a stream.
//!
//! Events are only hints: an event makes a lease write early, and the store decides whether that write is accepted.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::stream::Epoch;
use crate::watch::{Event, WatchFrom};

/// Pause before the watch starts. If all leases end within this pause, no watch is needed.
const START_DELAY: Duration = Duration::from_millis(20);

/// Watches the feed until the registry is closed. Stops if the store has no feed or the user may not read the feed;
/// the heartbeats then detect the loss.
pub(super) async fn follow(shared: Arc<Shared>) {
    tokio::time::sleep(START_DELAY).await;
    let mut failures = 0;
    loop {
        match shared.registry.watch(WatchFrom::Now).await {
            Ok(mut watch) => {
                // A lease may have been lost between its registration and the start of the watch.
                shared.recheck_all();
                while let Some(event) = watch.next().await {
                    recheck_stream(&shared, &event);
                }
                // The registry was closed. The next write of each lease detects that.
                return shared.recheck_all();
            }
            Err(error) if error.is_retryable() => {
                failures += 1;
                tokio::time::sleep(shared.schedule().backoff(failures)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "leases cannot follow the change feed; heartbeats detect lost streams");
                return;
            }
        }
    }
}

/// Makes the lease of a stream write now if the event may mean that the lease has lost the stream.
fn recheck_stream(shared: &Shared, event: &Event) {
    match event {
        Event::Changed { stream, .. } => shared.recheck(&stream.id, |mine| is_later(stream.epoch(), mine)),
        Event::Ended { last, .. } => {
            shared.recheck(&last.id, |mine| last.epoch() == Some(mine) || is_later(last.epoch(), mine));
        }
        // After a `Resync`, the regular heartbeats detect what the missing events would have reported.
        _ => {}
    }
}

/// Returns whether a record without this lease's epoch may be later than the lease. Events about earlier holders of the
/// same id have smaller epochs, and say nothing about this lease.
fn is_later(epoch: Option<&Epoch>, mine: &Epoch) -> bool {
    epoch.is_none_or(|epoch| epoch > mine)
}
