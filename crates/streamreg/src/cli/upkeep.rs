//! Steps of the tasks that keep a stream in the store. `bridge` has one such task per stream (`bridge/held.rs`), and
//! `hook` and `track` have one each (`background.rs`).

use std::time::Duration;

use adapters::reconcile::{Change, difference};
use futures_util::FutureExt as _;
use stream_registry::Stream;
use stream_registry::lease::{Lease, LeaseEnd};
use tokio::time::{Instant, sleep_until};

/// Interval at which statistics are written. It is shorter than usual, because people watch the statistics.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// Pause after the first failure of the store.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Pause before the next attempt if another holder has the stream, or if the store rejects the record.
pub(super) const RETRY_LATER: Duration = Duration::from_secs(10);

/// Waits until another client has ended the lease. Waits forever without a lease.
pub(super) async fn ended(lease: Option<&Lease>) -> LeaseEnd {
    match lease {
        Some(lease) => lease.ended().await,
        None => std::future::pending().await,
    }
}

/// Waits until a time. Waits forever without a time.
pub(super) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Passes the differences between two records to a lease, without waiting for the store. Returns whether the stream
/// must be registered again instead, because its type or address has changed.
pub(super) fn report(lease: &Lease, old: &Stream, new: &Stream) -> bool {
    let (status, stats, patch) = match difference(old, new) {
        Some(Change::Update { status, stats, patch, .. }) => (status, stats, patch),
        Some(_) => return true,
        None => return false,
    };
    lease.report(stats);
    let is_urgent = !patch.is_empty();
    if is_urgent {
        // The reconciler has checked the fields, so only a lease that has ended rejects the patch.
        let _ = lease.patch(patch);
    }
    // The changes are also written if these futures are dropped.
    if let Some(status) = status {
        let _ = lease.set_status(status).now_or_never();
    } else if is_urgent {
        let _ = lease.flush().now_or_never();
    }
    false
}

/// Returns whether two records have the same node and the same values of these labels.
pub(super) fn have_same_origin(a: &Stream, b: &Stream, labels: &[&str]) -> bool {
    a.node == b.node && labels.iter().all(|label| a.labels.get(*label) == b.labels.get(*label))
}
