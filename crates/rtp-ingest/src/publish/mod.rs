//! Keeps the registry in step with the table of sessions.
//!
//! Each session has a task that acquires a lease for it, reports to it and releases it. The leases do the rest: they write
//! all reports in one call, wait for a store that is away, and bring back what it has lost. Nothing here ever holds up the
//! receiving of packets.

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

use crate::table::{Ending, Table};
use outage::Outage;
use session::Session;

/// How often each stream is written.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often sessions are looked at: what a heartbeat writes is no older than this.
const LOOK: Duration = Duration::from_millis(100);
/// How many registrations or ends are under way at a time.
const PARALLEL: usize = 64;
/// How long last reports may take when the node stops, before all streams are ended with what is known.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// The table of sessions, shared by those who receive and those who publish.
#[derive(Debug)]
pub struct Shared {
    table: Mutex<Table>,
    news: watch::Sender<()>,
}

impl Shared {
    /// Shares a table.
    pub fn new(table: Table) -> Self {
        Self { table: Mutex::new(table), news: watch::Sender::new(()) }
    }

    /// Enters the table; held for a packet or a look, never across an await.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        // A panic under the lock cannot leave more than one packet half counted.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who publish that there is something to publish.
    pub fn notify(&self) {
        self.news.send_replace(());
    }

    fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}

/// An id that is not made up but given, for one session at a time.
#[derive(Debug)]
pub struct GivenId {
    id: StreamId,
    on_conflict: OnConflict,
    is_taken: AtomicBool,
}

impl GivenId {
    /// Names an id, and what happens where it is live.
    pub fn new(id: StreamId, on_conflict: OnConflict) -> Self {
        Self { id, on_conflict, is_taken: AtomicBool::new(false) }
    }
}

/// What the tasks of all sessions share.
#[derive(Debug)]
struct Publisher {
    shared: Arc<Shared>,
    leases: Leases,
    node: Option<String>,
    given: Option<GivenId>,
    places: Semaphore,
    outage: Outage,
    /// How many sessions lost their streams to somebody else.
    lost: AtomicU64,
}

/// Publishes the sessions of a table until `stop` completes, by when they must have ended, then ends all streams.
///
/// Ending takes about 7 seconds at most, unless a store hangs: give it a time-out.
pub async fn publish(
    shared: Arc<Shared>,
    registry: Arc<dyn Registry>,
    node: Option<String>,
    given: Option<GivenId>,
    stop: impl Future<Output = ()>,
) {
    let leases = Leases::new(registry, LeaseOptions::default().heartbeat(HEARTBEAT));
    let (places, outage) = (Semaphore::new(PARALLEL), Outage::default());
    let publisher = Arc::new(Publisher { shared, leases, node, given, places, outage, lost: AtomicU64::new(0) });
    let shared = &publisher.shared;
    let mut news = shared.news();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sessions = JoinSet::new();
    // A lease that is dropped is given up; those that are handed back are kept until all have ended.
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
            _ = news.changed() => {}
            _ = looks.tick() => shared.notify(),
            Some(done) = sessions.join_next() => held.extend(handed_back(done)),
        }
    }
    shared.notify();
    let last_reports = async {
        while let Some(done) = sessions.join_next().await {
            held.extend(handed_back(done));
        }
    };
    // Those that still wait for the store then have nothing to add.
    let _ = timeout(LAST_REPORTS, last_reports).await;
    let count = publisher.leases.len();
    let failed = publisher.leases.release_all_with(record::reason(&Ending::Shutdown)).await;
    for error in &failed {
        warn!(%error, "a stream could not be ended; it expires by itself");
    }
    info!(ended = count.saturating_sub(failed.len()), "the node's streams are ended");
}

fn handed_back(done: Result<Option<Lease>, JoinError>) -> Option<Lease> {
    done.unwrap_or_else(|fault| {
        error!(%fault, "the task of a session broke off; its stream expires by itself");
        None
    })
}
