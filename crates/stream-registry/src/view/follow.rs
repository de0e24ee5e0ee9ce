//! The task that keeps a view current: it loads all streams, follows the feed, and reconciles at intervals.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::counts::count_event;
use super::load::load;
use super::options::Schedule;
use super::reconcile::reconcile;
use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Revision;
use crate::watch::{Event, Shard, Watch, WatchFrom};

/// The reason why the task stopped following a watch.
enum Outcome {
    /// Events before the start of this watch may be missing. The view loads all streams again.
    Resync { watch: StartedWatch, received_events: bool },
    /// The watch ended, because the registry was closed or the connection was lost.
    Ended { received_events: bool },
}

/// A watch that continues a load, or that was started before the next load.
struct StartedWatch {
    watch: Watch,
    start: Option<Revision>,
}

/// Counts consecutive failures and logs the first of them.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    /// Waits before the next attempt. Returns the error if the registry is closed.
    async fn back_off(&mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::Closed {
            return Err(error);
        }
        if self.0 == 0 {
            tracing::warn!(%error, "cannot update the local view; serving the last state and retrying");
        }
        self.0 = self.0.saturating_add(1);
        sleep(Schedule::backoff(self.0)).await;
        Ok(())
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.0) > 0 {
            tracing::info!("local view is current again");
        }
    }
}

/// Closes the view when the task ends for any reason, so that no caller waits for ever.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.state.change_metadata(|metadata| metadata.closed = true);
        self.0.notify();
    }
}

/// Keeps the view current until the registry is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let _close = CloseOnDrop(&shared);
    let Err(error) = keep_current(&shared).await;
    tracing::debug!(%error, "local view stopped");
}

async fn keep_current(shared: &Shared) -> Result<Infallible> {
    let mut failures = Failures::default();
    // A watch that continues the state of the view, or that was started before the next load.
    let mut started: Option<StartedWatch> = None;
    let mut is_loaded = false;
    // Number of consecutive rounds without an event. A round is a load or a watch.
    let mut idle_rounds: u32 = 0;
    loop {
        if !is_loaded {
            match install(shared, &mut started).await {
                Ok(()) => is_loaded = true,
                Err(error) => {
                    failures.back_off(error).await?;
                    continue;
                }
            }
        }
        let watch = match started.take() {
            Some(started) => started.watch,
            None => {
                let from = shared.state.metadata(|metadata| metadata.revision.clone());
                let has_start = from.is_some();
                match shared.registry.watch(from.map_or(WatchFrom::Now, WatchFrom::Revision)).await {
                    Ok(watch) if has_start => watch,
                    Ok(watch) => {
                        // Events between the load and the start of this watch may be missing. The next load includes
                        // them.
                        started = Some(StartedWatch { start: watch.start().cloned(), watch });
                        is_loaded = false;
                        continue;
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Denied) => {
                        tracing::debug!(%error, "no change feed; local view is updated by reconciliation only");
                        failures.reset();
                        return poll(shared, &mut failures).await;
                    }
                    Err(error) => {
                        failures.back_off(error).await?;
                        continue;
                    }
                }
            }
        };
        failures.reset();
        let (immediate, received_events) = match follow(shared, watch).await {
            Outcome::Resync { watch, received_events } => {
                (started, is_loaded) = (Some(watch), false);
                // The first load after a resync starts without a pause. Each further consecutive load waits.
                (1, received_events)
            }
            Outcome::Ended { received_events } => (0, received_events),
        };
        idle_rounds = if received_events { 1 } else { idle_rounds.saturating_add(1) };
        if idle_rounds > immediate {
            sleep(Schedule::backoff(idle_rounds - immediate)).await;
        }
    }
}

/// Loads all streams, and replaces the state of the view. Afterwards, `started` is the watch that continues this state.
///
/// If the load has no position in the feed, the earlier watch in `started` continues the state, because it was started
/// before the load.
async fn install(shared: &Shared, started: &mut Option<StartedWatch>) -> Result<()> {
    let number = shared.state.start_load();
    let loaded = load(shared).await?;
    if let Some((revision, watch)) = loaded.followed {
        *started = Some(StartedWatch { watch, start: Some(revision) });
    }
    let revision = started.as_ref().and_then(|started| started.start.clone());
    shared.state.install(number, loaded.streams, revision, loaded.unreadable);
    shared.notify();
    Ok(())
}

type Reconciling<'a> = Pin<Box<dyn Future<Output = Result<Duration>> + Send + 'a>>;

/// Applies the events of a watch until the watch ends or loses events. Also reconciles at intervals.
///
/// If events of one shard were lost, reconciles this shard at once, and applies the events of the other shards in the
/// meantime.
async fn follow(shared: &Shared, mut watch: Watch) -> Outcome {
    shared.state.change_metadata(|metadata| {
        metadata.has_feed = true;
        metadata.gap = None;
    });
    let mut reconciling: Option<Reconciling<'_>> = None;
    // The shards whose events were lost. The first one is being read again.
    let mut lost: VecDeque<Shard> = VecDeque::new();
    let mut received_events = false;
    let mut due = Instant::now() + shared.schedule.next();
    loop {
        if let (None, Some(shard)) = (&reconciling, lost.front()) {
            reconciling = Some(Box::pin(reconcile(shared, Some(*shard))));
        }
        let idle = reconciling.is_none();
        let reconciled = async {
            match &mut reconciling {
                Some(reconciling) => reconciling.await,
                None => pending().await,
            }
        };
        tokio::select! {
            event = watch.next() => {
                if let Some(event) = &event {
                    shared.state.change_metadata(|metadata| count_event(&mut metadata.events, event));
                }
                match event {
                    Some(Event::Changed { revision, stream, .. }) => {
                        shared.state.apply(revision, &stream.id, Some(Arc::clone(&stream)));
                    }
                    Some(Event::Ended { revision, last, .. }) => shared.state.apply(revision, &last.id, None),
                    Some(Event::Alive { revision }) => shared.state.confirm(revision),
                    Some(Event::Resync { revision, shard: Some(shard) }) => {
                        shared.state.change_metadata(|metadata| metadata.open_gap(revision));
                        if !lost.contains(&shard) {
                            lost.push_back(shard);
                        }
                        // The pages that have been read may be older than the lost events. A reconciliation of all
                        // streams would take too long, so it is started again later.
                        if lost.front() == Some(&shard) {
                            reconciling = None;
                        }
                    }
                    Some(Event::Resync { revision, shard: None }) => {
                        let watch = StartedWatch { watch, start: Some(revision) };
                        return Outcome::Resync { watch, received_events };
                    }
                    None => return Outcome::Ended { received_events },
                }
                received_events = true;
                shared.notify();
            }
            result = reconciled => {
                reconciling = None;
                if let Some(shard) = lost.pop_front() {
                    if let Err(error) = result {
                        tracing::debug!(%error, ?shard, "cannot read one shard again; loading all streams");
                        let start = shared.state.metadata(|metadata| metadata.gap.as_ref().map(|gap| gap.reached.clone()));
                        return Outcome::Resync { watch: StartedWatch { watch, start }, received_events };
                    }
                    shared.state.change_metadata(|metadata| {
                        metadata.shard_loads += 1;
                        if lost.is_empty() {
                            metadata.close_gap();
                        }
                    });
                    shared.notify();
                    continue;
                }
                let pause = match result {
                    Ok(read) => {
                        shared.notify();
                        shared.schedule.after(read)
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot reconcile the local view with the store; retrying");
                        shared.schedule.next()
                    }
                };
                due = Instant::now() + pause;
            }
            () = sleep_until(due), if idle => reconciling = Some(Box::pin(reconcile(shared, None))),
        }
    }
}

/// Keeps a view current by reconciliation only, because the store has no feed.
async fn poll(shared: &Shared, failures: &mut Failures) -> Result<Infallible> {
    shared.state.change_metadata(|metadata| metadata.has_feed = false);
    let mut pause = shared.schedule.next();
    loop {
        sleep(pause).await;
        let number = shared.state.start_load();
        match reconcile(shared, None).await {
            Ok(_) => {
                failures.reset();
                // Without a feed, only reconciliations change the view, so each one counts as a load.
                shared.state.change_metadata(|metadata| metadata.installed_load = number);
                shared.notify();
                pause = shared.schedule.next();
            }
            Err(error) => {
                failures.back_off(error).await?;
                pause = Duration::ZERO;
            }
        }
    }
}
