//! A steady load before, during and after a failover, and the promises that must hold afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{Lease, LeaseOptions, LeaseState, Leases};
use stream_registry::{ConnectOptions, Epoch, ErrorKind, Registry, Stream, StreamId, Timestamp, connect_with};
use testkit::wait_until;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::watcher::Watcher;
use crate::redis::stream;

/// Number of streams whose leases are held throughout.
const LEASES: usize = 1_000;
/// Number of tasks that register and unregister streams without leases.
const WRITERS: usize = 4;
/// Number of tasks that repeatedly acquire and release one stream.
const CONTENDERS: usize = 4;
/// Pause between two calls of a task.
const PAUSE: Duration = Duration::from_millis(5);
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);
/// Additional time for process scheduling on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
/// Maximum duration of a call about one stream.
const MAX_CALL: Duration = Duration::from_millis(2_400);
const LIMIT: Duration = Duration::from_secs(30);

/// The record of one task's calls.
#[derive(Default)]
struct Calls {
    /// Streams without a lease whose registration was acknowledged as the last call.
    registered: BTreeSet<StreamId>,
    /// Streams without a lease whose removal was acknowledged as the last call.
    removed: BTreeSet<StreamId>,
    /// Epochs in the order in which they were acknowledged.
    epochs: Vec<Epoch>,
    /// Leases that were acquired while the load ran.
    leases: Vec<Lease>,
    failures: usize,
    longest: Duration,
}

pub(super) struct Load {
    registry: Arc<dyn Registry>,
    leases: Vec<Lease>,
    watcher: Watcher,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Calls>,
    /// Keeps the leases' task.
    _all: Arc<Leases>,
}

/// The result of a failover under load.
pub(super) struct Report {
    /// Time until another server was the primary.
    pub(super) failover: Duration,
    /// Time until every leased stream had been written after the failover.
    pub(super) healed: Duration,
    /// Acknowledged registrations without a lease that the failover has lost.
    pub(super) lost_registrations: usize,
    /// Acknowledged removals that the failover has lost.
    pub(super) lost_removals: usize,
    pub(super) failed_calls: usize,
    pub(super) longest_call: Duration,
    pub(super) resyncs: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "failover {:.1?}, healed after {:.1?}, lost {} registrations and {} removals, {} calls failed, \
             longest call {:.2?}, {} resyncs",
            self.failover,
            self.healed,
            self.lost_registrations,
            self.lost_removals,
            self.failed_calls,
            self.longest_call,
            self.resyncs
        )
    }
}

async fn open(url: &str) -> Arc<dyn Registry> {
    connect_with(url, &ConnectOptions::default()).await.unwrap()
}

impl Load {
    pub(super) async fn start(url: &str) -> Self {
        let registry = open(url).await;
        let all = Arc::new(Leases::new(open(url).await, LeaseOptions::default().heartbeat(HEARTBEAT)));
        let mut acquiring = JoinSet::new();
        for n in 0..LEASES {
            let all = Arc::clone(&all);
            acquiring.spawn(async move { all.acquire(stream(&format!("cam{n}"), "203.0.113.7:1")).await.unwrap() });
        }
        let leases = acquiring.join_all().await;
        let watcher = Watcher::start(open(url).await).await;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for n in 0..WRITERS {
            tasks.spawn(write(Arc::clone(&registry), n, stopped.clone()));
        }
        for n in 0..CONTENDERS {
            tasks.spawn(contend(open(url).await, n, stopped.clone()));
        }
        tasks.spawn(acquire(Arc::clone(&all), stopped));
        // The failover happens in the middle of the load.
        sleep(Duration::from_millis(500)).await;
        Self { registry, leases, watcher, stop, tasks, _all: all }
    }

    /// Waits until the registry has healed after a failover that began at `began` and was complete at `complete`, and
    /// checks the promises.
    pub(super) async fn finish(mut self, began: Instant, complete: Instant) -> Report {
        let complete_at = Timestamp::now();
        let ids: BTreeSet<StreamId> = self.leases.iter().map(|lease| lease.id().clone()).collect();
        let written_since = async || {
            let Ok(live) = self.registry.list().await else { return false };
            let written = live.iter().filter(|stream| stream.last_heartbeat >= complete_at && ids.contains(&stream.id));
            written.count() == ids.len()
        };
        wait_until(LIMIT, written_since).await;
        let healed = began.elapsed();
        assert!(healed <= complete.duration_since(began) + HEARTBEAT + SLACK, "healed only after {healed:?}");
        // The load goes on, so that the changes after the failover are watched too.
        sleep(Duration::from_millis(500)).await;
        self.stop.send(true).unwrap();
        let mut total = Calls::default();
        for calls in self.tasks.join_all().await {
            let increasing = calls.epochs.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(increasing, "an epoch was given twice, or a later epoch is not greater: {:?}", calls.epochs);
            total.registered.extend(calls.registered);
            total.removed.extend(calls.removed);
            total.leases.extend(calls.leases);
            total.failures += calls.failures;
            total.longest = total.longest.max(calls.longest);
        }
        assert!(total.longest <= MAX_CALL, "a call took {:?}", total.longest);
        self.leases.append(&mut total.leases);
        assert_held(&self.leases, &*self.registry).await;
        let live = live(&*self.registry).await;
        let lost = total.registered.iter().filter(|id| !live.contains_key(*id)).cloned().collect::<BTreeSet<_>>();
        let report = Report {
            failover: complete.duration_since(began),
            healed,
            lost_registrations: lost.len(),
            lost_removals: total.removed.iter().filter(|id| live.contains_key(*id)).count(),
            failed_calls: total.failures,
            longest_call: total.longest,
            resyncs: self.watcher.seen().resyncs,
        };
        // The watcher ends with the same streams, and has seen every stream whose registration the failover has kept.
        let deadline = Instant::now() + LIMIT;
        loop {
            let live = self::live(&*self.registry).await;
            let differences = differences(&self.watcher.seen().live, &live);
            if differences.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "the watcher differs from the store after {report}: {differences:#?}");
            sleep(Duration::from_millis(50)).await;
        }
        let seen = self.watcher.seen();
        let missed: Vec<_> = total.registered.difference(&lost).filter(|id| !seen.ever.contains(*id)).collect();
        assert!(missed.is_empty(), "the watcher has missed registrations: {missed:?}");
        if !lost.is_empty() && lost.iter().any(|id| seen.ever.contains(id)) {
            assert!(seen.resyncs > 0, "the watcher has seen a change that was lost, and got no Resync");
        }
        drop(seen);
        report
    }
}

/// Asserts that every lease is held, and that the store has its record with its epoch.
async fn assert_held(leases: &[Lease], registry: &dyn Registry) {
    wait_until(LIMIT, async || {
        let Ok(live) = registry.list().await else { return false };
        let live: BTreeMap<StreamId, Stream> = live.into_iter().map(|stream| (stream.id.clone(), stream)).collect();
        leases.iter().all(|lease| {
            let epoch = live.get(lease.id()).and_then(|stream| stream.epoch());
            lease.state() == LeaseState::Held && epoch == Some(lease.epoch())
        })
    })
    .await;
}

/// Returns the streams that only one of two lists has, or whose publishers differ.
fn differences(seen: &BTreeMap<StreamId, String>, live: &BTreeMap<StreamId, String>) -> Vec<String> {
    let ids: BTreeSet<_> = seen.keys().chain(live.keys()).collect();
    let differing = ids.into_iter().filter(|id| seen.get(*id) != live.get(*id));
    differing.map(|id| format!("{id}: seen {:?}, live {:?}", seen.get(id), live.get(id))).collect()
}

async fn live(registry: &dyn Registry) -> BTreeMap<StreamId, String> {
    registry.list().await.unwrap().into_iter().map(|stream| (stream.id, stream.source_addr)).collect()
}

impl Calls {
    /// Makes a call and notes its duration.
    async fn timed<T>(&mut self, call: impl Future<Output = stream_registry::Result<T>>) -> stream_registry::Result<T> {
        let started = Instant::now();
        let result = call.await;
        self.longest = self.longest.max(started.elapsed());
        self.failures += usize::from(result.is_err());
        result
    }
}

/// Registers new streams, and unregisters every second one.
async fn write(registry: Arc<dyn Registry>, task: usize, stopped: watch::Receiver<bool>) -> Calls {
    let mut calls = Calls::default();
    for n in 0.. {
        if *stopped.borrow() {
            break;
        }
        let new = stream(&format!("load-{task}-{n}"), "203.0.113.7:2");
        if calls.timed(registry.register(&new)).await.is_ok() {
            calls.registered.insert(new.id.clone());
            if n % 2 == 0 {
                calls.registered.remove(&new.id);
                if calls.timed(registry.unregister(&new.id)).await.is_ok() {
                    calls.removed.insert(new.id);
                }
            }
        }
        sleep(PAUSE).await;
    }
    calls
}

/// Acquires and releases one stream.
async fn contend(registry: Arc<dyn Registry>, task: usize, stopped: watch::Receiver<bool>) -> Calls {
    let leases = Leases::new(registry, LeaseOptions::default().heartbeat(HEARTBEAT));
    let mut calls = Calls::default();
    while !*stopped.borrow() {
        if let Ok(lease) = calls.timed(leases.acquire(stream(&format!("contended-{task}"), "203.0.113.7:3"))).await {
            calls.epochs.push(lease.epoch().clone());
            // A release is retried for some seconds, so its time is not noted.
            calls.failures += usize::from(lease.release().await.is_err());
        }
        sleep(PAUSE).await;
    }
    leases.release_all().await;
    calls
}

/// Acquires further leases, and keeps them.
async fn acquire(leases: Arc<Leases>, stopped: watch::Receiver<bool>) -> Calls {
    let mut calls = Calls::default();
    for n in 0.. {
        if *stopped.borrow() {
            break;
        }
        match calls.timed(leases.acquire(stream(&format!("late-{n}"), "203.0.113.7:4"))).await {
            Ok(lease) => calls.leases.push(lease),
            Err(error) => assert_ne!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
        sleep(PAUSE).await;
    }
    calls
}
