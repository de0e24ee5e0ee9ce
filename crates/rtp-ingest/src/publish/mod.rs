//! Registers, updates and unregisters the streams of all sessions.
//!
//! Each session has a task. The task acquires a lease on the session's stream, reports statistics to the lease, and
//! releases the lease at the end. The leases write the reports of all sessions in one call. They retry while the store
//! is unreachable, and restore streams that the store has lost. Publishing never delays the reception of packets.

mod outage;
mod record;
mod session;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stream_registry::lease::{Lease, LeaseOptions, Leases};
use stream_registry::{OnConflict, Registry, StreamId};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use crate::table::{EndCause, Table};
use outage::Outage;
use session::Session;

/// Interval between two writes of each stream.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Interval at which sessions report statistics to their leases. A heartbeat writes statistics that are at most this
/// old.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of registrations and removals in progress at once.
const MAX_IN_FLIGHT: usize = 64;
/// Time limit for the last reports when the node stops. All streams are unregistered afterwards.
const LAST_REPORTS_LIMIT: Duration = Duration::from_secs(2);

/// The table of sessions, shared by the receiver and the publisher.
#[derive(Debug)]
pub struct Shared {
    table: Mutex<Table>,
    changes: watch::Sender<()>,
}

impl Shared {
    /// Wraps a table for sharing.
    pub fn new(table: Table) -> Self {
        Self { table: Mutex::new(table), changes: watch::Sender::new(()) }
    }

    /// Locks the table. Callers hold the lock for one packet or one query, never across an await.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        // The table stays usable after a thread has panicked while it held the lock: at most one packet is partly
        // counted.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies the publisher that sessions have changed.
    pub fn notify(&self) {
        self.changes.send_replace(());
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// A stream id chosen by the user. One session at a time can have it.
#[derive(Debug)]
pub struct GivenId {
    id: StreamId,
    on_conflict: OnConflict,
    is_taken: AtomicBool,
}

impl GivenId {
    /// Sets the id. `on_conflict` applies if a stream with this id is already live.
    pub fn new(id: StreamId, on_conflict: OnConflict) -> Self {
        Self { id, on_conflict, is_taken: AtomicBool::new(false) }
    }
}

/// State shared by the tasks of all sessions.
#[derive(Debug)]
struct Publisher {
    shared: Arc<Shared>,
    leases: Leases,
    node: Option<String>,
    given: Option<GivenId>,
    permits: Semaphore,
    outage: Outage,
    /// Number of sessions that have lost their stream.
    lost: AtomicU64,
}

/// Publishes the sessions of a table until `stop` completes, then unregisters all streams.
///
/// The caller must end all sessions of the table before `stop` completes. Unregistering usually takes at most about 7
/// seconds. It takes longer if the store hangs, so callers should set a time-out.
pub async fn publish(
    shared: Arc<Shared>,
    registry: Arc<dyn Registry>,
    node: Option<String>,
    given: Option<GivenId>,
    stop: impl Future<Output = ()>,
) {
    let leases = Leases::new(registry, LeaseOptions::default().heartbeat(HEARTBEAT));
    let (permits, outage) = (Semaphore::new(MAX_IN_FLIGHT), Outage::default());
    let publisher = Arc::new(Publisher { shared, leases, node, given, permits, outage, lost: AtomicU64::new(0) });
    let shared = &publisher.shared;
    let mut changes = shared.changes();
    let mut reports = interval(REPORT_INTERVAL);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sessions = JoinSet::new();
    // Dropping a lease abandons its stream. The returned leases are therefore kept here until all leases are released.
    let mut held = Vec::new();
    let mut next = 0;
    let mut stop = pin!(stop);
    loop {
        for number in shared.table().numbers_from(next) {
            sessions.spawn(Session::new(&publisher, number).run());
            next = number + 1;
        }
        tokio::select! {
            () = &mut stop => break,
            _ = changes.changed() => {}
            _ = reports.tick() => shared.notify(),
            Some(done) = sessions.join_next() => held.extend(returned_lease(done)),
        }
    }
    shared.notify();
    let last_reports = async {
        while let Some(done) = sessions.join_next().await {
            held.extend(returned_lease(done));
        }
    };
    // A session that is still waiting for the store after this time limit has not been registered.
    let _ = timeout(LAST_REPORTS_LIMIT, last_reports).await;
    let count = publisher.leases.len();
    let failed = publisher.leases.release_all_with(record::reason(&EndCause::Shutdown)).await;
    for error in &failed {
        warn!(%error, "cannot unregister a stream; it will expire");
    }
    info!(count = count.saturating_sub(failed.len()), "streams unregistered");
}

fn returned_lease(done: Result<Option<Lease>, JoinError>) -> Option<Lease> {
    done.unwrap_or_else(|error| {
        error!(%error, "the task of a session panicked; the session's stream will expire");
        None
    })
}
