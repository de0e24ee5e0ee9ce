//! The reconciliation of a view with its store.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout};

use super::shared::Shared;
use super::state::Reconciliation;
use crate::error::{ErrorKind, Result};
use crate::stream::{Stream, StreamId};
use crate::watch::Shard;

/// Maximum number of streams that are read in parallel because they were on no page.
const CONCURRENT_READS: usize = 64;

/// Maximum time to wait for events that may explain differences between the view and the store.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads one shard or the whole store page by page, and corrects the view where it differs. Returns how long the pages
/// were read.
///
/// Differences in one shard are not reported as corrections, because a shard is read alone only after its events were
/// lost.
pub(super) async fn reconcile(shared: &Shared, shard: Option<Shard>) -> Result<Duration> {
    let _guard = shared.reconciling.lock().await;
    let start = Instant::now();
    let reconciliation = shared.state.start_reconciliation(shard);
    let mut corrected = Vec::new();
    let mut unreadable = 0;
    let mut cursor = shard.map(Shard::pages);
    loop {
        let page = shared.registry.list_page(cursor.as_ref(), shared.schedule.page).await?;
        unreadable += page.unreadable;
        corrected.extend(shared.state.apply_page(reconciliation, page.streams)?);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        // This yield lets the task apply events between two pages.
        tokio::task::yield_now().await;
    }
    let read = start.elapsed();
    corrected.extend(check_missing(shared, reconciliation).await?);
    if shard.is_some() {
        corrected.clear();
    }
    corrected.sort_unstable();
    corrected.dedup();
    if !corrected.is_empty() {
        keep_unexplained(shared, &mut corrected).await?;
    }
    shared.state.finish_reconciliation(reconciliation, start, &corrected, unreadable)?;
    if !corrected.is_empty() {
        tracing::info!(streams = corrected.len(), "local view differed from the store; corrected");
    }
    Ok(read)
}

/// Keeps only the corrections that no event explains.
///
/// On a slow machine, the pages can contain changes whose events have not arrived yet. So this function first waits
/// until the view has received all events up to the present end of the feed. If the events do not arrive in time, it is
/// unknown which corrections they explain, so no correction is kept.
async fn keep_unexplained(shared: &Shared, corrected: &mut Vec<StreamId>) -> Result<()> {
    if !shared.state.metadata(|metadata| metadata.has_feed) {
        return Ok(());
    }
    let tail = match shared.registry.list_page(None, NonZeroU32::MIN).await {
        Ok(page) => page.revision,
        Err(closed) if closed.kind() == ErrorKind::Closed => return Err(closed),
        // The pages are already applied, and only the report of corrections needs the end of the feed.
        Err(_) => {
            corrected.clear();
            return Ok(());
        }
    };
    let Some(tail) = tail else { return Ok(()) };
    let started = shared.state.metadata(|metadata| metadata.started_load);
    let arrived = shared
        .until(|metadata| metadata.started_load > started || metadata.gap.is_some() || metadata.has_reached(&tail));
    match timeout(EVENTS_TIMEOUT, arrived).await {
        Ok(arrived) => arrived?,
        Err(_) => {
            tracing::debug!(streams = corrected.len(), "events are late; not reporting differences from the store");
            corrected.clear();
        }
    }
    shared.state.retain_without_event(corrected);
    Ok(())
}

/// Reads each stream that was on no page, because the pages may miss a stream that was registered again. Returns
/// the streams that differed.
async fn check_missing(shared: &Shared, reconciliation: Reconciliation) -> Result<Vec<StreamId>> {
    let check = async |id: StreamId| {
        let before = shared.state.get(&id);
        let now = shared.refresh(&id).await?;
        let created = |stream: &Arc<Stream>| stream.created_at;
        Ok((before.as_ref().map(created) != now.as_ref().map(created)).then_some(id))
    };
    let missing = shared.state.missing(reconciliation);
    let answers: Vec<Result<Option<StreamId>>> =
        stream::iter(missing).map(check).buffer_unordered(CONCURRENT_READS).collect().await;
    answers.into_iter().filter_map(Result::transpose).collect()
}
