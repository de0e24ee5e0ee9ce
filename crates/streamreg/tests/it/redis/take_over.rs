//! Two processes repeatedly take a stream over from each other while both keep writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::redis::AsyncCommands as _;
use ::redis::aio::MultiplexedConnection;
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::watch::{ChangeKind, Ending, Event, WatchFrom};
use stream_registry::{
    Change, ErrorKind, Guard, OnConflict, RedisRegistry, Registry, Stream, StreamPatch, StreamStats, StreamStatus,
    UnregisterOptions, Write,
};
use testkit::wait_until;

use super::operations::totals;
use super::{TIMEOUT, TestRedis, id, stream, workers};

const WORKER: &str = "redis::take_over::one_holder_remains_after_take_overs_within_one_process";
const TTL: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Number of other leases that each side keeps alive.
const LOAD: usize = 20;
/// Number of tasks of each side that change other streams.
const CHANGERS: usize = 2;

/// Number of take-overs per side. At first the two sides take turns; later they do not coordinate.
#[derive(Clone, Copy)]
struct Rounds {
    alternating: usize,
    uncoordinated: usize,
}

impl Rounds {
    fn per_side(self) -> usize {
        self.alternating + self.uncoordinated
    }
}

/// Message queues between the sides and the referee: Redis lists in a separate database.
struct Channel(MultiplexedConnection);

impl Channel {
    async fn connect(url: &str) -> Self {
        let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT * 8));
        let client = ::redis::Client::open(format!("{url}/1")).unwrap();
        Self(client.get_multiplexed_async_connection_with_config(&config).await.unwrap())
    }

    async fn send(&mut self, queue: &str, message: &str) {
        let () = self.0.rpush(queue, message).await.unwrap();
    }

    async fn receive(&mut self, queue: &str) -> String {
        let message: Option<(String, String)> = self.0.blpop(queue, 60.0).await.unwrap();
        message.unwrap_or_else(|| panic!("no message in {queue}")).1
    }
}

/// Returns the source address of a holder. It contains the holder's side and round, as do its statuses and statistics.
fn source(side: usize, round: usize) -> String {
    format!("10.0.{side}.1:{round}")
}

fn status(side: usize, round: usize) -> StreamStatus {
    format!("side{side}-round{round}").parse().unwrap()
}

fn bytes(side: usize, round: usize) -> StreamStats {
    totals(u64::try_from(side * 1_000_000 + round + 1).unwrap())
}

/// Checks that all fields of a record come from the same holder.
fn assert_one_holder(record: &Stream) {
    let (side, round) = record.source_addr.strip_prefix("10.0.").unwrap().split_once(".1:").unwrap();
    let (side, round) = (side.parse().unwrap(), round.parse().unwrap());
    assert!([StreamStatus::Connecting, status(side, round)].contains(&record.status), "{}", record.to_json());
    assert!(
        [Some(0), bytes(side, round).bytes_received].contains(&Some(record.bytes_received)),
        "{}",
        record.to_json()
    );
}

/// Takes the stream over. Retries if the store reports that the record changes too fast.
async fn take_over(leases: &Leases, source: &str) -> Lease {
    let started = Instant::now();
    loop {
        match leases.acquire_with(stream("cam1", source), OnConflict::TakeOver).await {
            Ok(lease) => return lease,
            Err(error) => assert!(error.is_retryable() && started.elapsed() < TIMEOUT, "{error:?}"),
        }
    }
}

/// Checks that the store rejects every call with the epoch of a lost lease.
async fn assert_store_rejects(store: &RedisRegistry, old: &Lease) {
    let guard = Guard::Holder(old.epoch().clone());
    let late = totals(666_666);
    let changes = [Change::Heartbeat, Change::Stats(Box::new(late)), Change::Status("late".parse().unwrap())];
    let writes = changes.map(|change| Write { id: old.id().clone(), guard: guard.clone(), change });
    for answer in store.write(&writes).await.unwrap() {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotHolder);
    }
    let error = store.unregister_with(old.id(), &UnregisterOptions::default().guard(guard)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder);
    assert_one_holder(&store.get(old.id()).await.unwrap());
}

/// Checks that the handle of a lost lease reports the new holder.
async fn assert_superseded(old: &Lease, winner: usize) {
    assert_eq!(old.set_status("late".parse().unwrap()).await.unwrap_err().kind(), ErrorKind::NotHolder);
    let LeaseState::Ended(LeaseEnd::Superseded { by: Some(by) }) = old.state() else { panic!("{:?}", old.state()) };
    assert!(by.starts_with(&format!("10.0.{winner}.1:")), "taken over by {by}");
    assert_eq!(old.release().await.unwrap_err().kind(), ErrorKind::NotHolder);
}

/// Changes streams without a lease until `stop` is set. Returns the number of changes.
async fn change_others(store: Arc<RedisRegistry>, name: String, stop: Arc<AtomicBool>) -> usize {
    let (other, mut done) = (id(&name), 0);
    while !stop.load(Ordering::Relaxed) {
        store.register(&stream(&name, "h:1")).await.unwrap();
        store.update_status(&other, StreamStatus::Active).await.unwrap();
        let patch = StreamPatch { resolution: Some(done.to_string()), ..StreamPatch::default() };
        store.patch(&other, &patch).await.unwrap();
        store.unregister(&other).await.unwrap();
        done += 4;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    done
}

/// Runs one side from its first take-over until it has released all its leases.
async fn run_side(url: String, side: usize, rounds: Rounds) {
    let mut channel = Channel::connect(&url).await;
    let store = Arc::new(
        RedisRegistry::connect(url.parse::<stream_registry::redis::RedisOptions>().unwrap().ttl(TTL)).await.unwrap(),
    );
    let leases = Leases::new(store.clone(), LeaseOptions::default().heartbeat(HEARTBEAT));
    let mut load = Vec::new();
    for at in 0..LOAD {
        load.push(leases.acquire(stream(&format!("load{side}-{at}"), "h:1")).await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let changers: Vec<_> = (0..CHANGERS)
        .map(|at| tokio::spawn(change_others(Arc::clone(&store), format!("other{side}-{at}"), Arc::clone(&stop))))
        .collect();
    let (mine, theirs) = (format!("go{side}"), format!("go{}", 1 - side));
    let mut all: Vec<Lease> = Vec::new();
    for round in 0..rounds.per_side() {
        let alternating = round < rounds.alternating;
        if alternating || round == rounds.alternating {
            channel.receive(&mine).await;
        }
        if let Some(old) = all.last().filter(|_| alternating) {
            // The other process holds the stream and keeps writing. At the same time, this process sends late calls
            // with its old epoch.
            assert_store_rejects(&store, old).await;
            assert_superseded(old, 1 - side).await;
        }
        let lease = take_over(&leases, &source(side, round)).await;
        if let Some(old) = all.last().filter(|_| !alternating) {
            assert_store_rejects(&store, old).await;
        }
        if alternating || round == rounds.alternating {
            channel.send(&theirs, "continue").await;
        }
        // If the other side takes the stream over at this moment, the status is rejected.
        lease.report(bytes(side, round));
        if let Err(error) = lease.set_status(status(side, round)).await {
            assert_eq!(error.kind(), ErrorKind::NotHolder, "{error:?}");
        }
        all.push(lease);
    }
    stop.store(true, Ordering::Relaxed);
    for changer in changers {
        assert!(changer.await.unwrap() > 0);
    }
    channel.send("done", "").await;
    channel.receive(&format!("settle{side}")).await;
    // Waits for a heartbeat. Either the heartbeat is written, or the lease learns that it is superseded.
    let last = all.last().unwrap();
    let now = store.get(last.id()).await.unwrap().last_heartbeat;
    wait_until(TIMEOUT, async || {
        let stored = store.get(last.id()).await.unwrap();
        last.state() != LeaseState::Held || stored.epoch() == Some(last.epoch()) && stored.last_heartbeat > now
    })
    .await;
    let held: Vec<_> = all.iter().filter(|lease| lease.state() == LeaseState::Held).collect();
    let held_leases: Vec<_> =
        held.iter().map(|lease| format!("{} {}", lease.epoch(), lease.stream().source_addr)).collect();
    channel.send("held", &held_leases.join(",")).await;
    channel.receive(&format!("end{side}")).await;
    assert!(load.iter().all(|lease| lease.state() == LeaseState::Held), "another lease was lost");
    assert!(leases.release_all().await.is_empty());
}

/// Returns the events of the stream in the feed, up to its removal.
async fn feed_events(store: Arc<RedisRegistry>) -> Vec<Event> {
    let mut watch = store.watch(WatchFrom::Oldest).await.unwrap();
    let mut events = Vec::new();
    loop {
        let event = watch.next().await.unwrap();
        assert!(!matches!(event, Event::Resync { .. }));
        if event.stream().is_some_and(|stream| stream.id.as_str() == "cam1") {
            let is_last = matches!(event, Event::Ended { .. });
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
}

/// Checks that each take-over has one event and a greater epoch. Also checks that only the holder changed the stream
/// between two take-overs.
fn assert_events(events: &[Event], rounds: Rounds, last: &Stream) {
    let Some((Event::Ended { reason: Ending::Unregistered(_), last: end, .. }, changes)) = events.split_last() else {
        panic!("{:?}", events.last())
    };
    assert_eq!((end.epoch(), &end.source_addr), (last.epoch(), &last.source_addr), "the last holder released it");
    let mut holder: Option<&Stream> = None;
    let (mut take_overs, mut from_other_side) = (0, 0);
    for event in changes {
        let Event::Changed { kind, stream, .. } = event else { panic!("{event:?}") };
        assert_one_holder(stream);
        match kind {
            ChangeKind::Registered => assert!(holder.is_none(), "the stream was registered twice"),
            ChangeKind::TakenOver => {
                let before = holder.unwrap();
                assert!(stream.epoch() > before.epoch(), "{event:?}");
                assert_ne!(stream.source_addr, before.source_addr);
                from_other_side += usize::from(stream.source_addr[..6] != before.source_addr[..6]);
                take_overs += 1;
            }
            ChangeKind::Status => {
                let holder = holder.unwrap();
                assert_eq!((stream.epoch(), &stream.source_addr), (holder.epoch(), &holder.source_addr), "{event:?}");
            }
            _ => panic!("{event:?}"),
        }
        if *kind != ChangeKind::Status {
            holder = Some(stream);
        }
    }
    assert_eq!(take_overs, rounds.per_side() * 2 - 1, "every call except the first took the stream over");
    assert!(from_other_side >= rounds.alternating * 2 - 1, "{from_other_side} take-overs were from the other process");
}

/// Signals two sides to start and to stop, and checks the result. The sides run in other tasks or processes.
async fn referee(redis: &TestRedis, rounds: Rounds) {
    let observer = redis.observe().await;
    let store = Arc::new(RedisRegistry::connect(redis.options().ttl(TTL)).await.unwrap());
    let events = tokio::spawn(feed_events(Arc::clone(&store)));
    let mut channel = Channel::connect(&redis.server.url()).await;
    let started = Instant::now();
    channel.send("go0", "start").await;
    for _ in 0..2 {
        channel.receive("done").await;
    }
    println!("{} take-overs in {:?}", rounds.per_side() * 2, started.elapsed());
    let mut held_leases = String::new();
    for side in 0..2 {
        channel.send(&format!("settle{side}"), "").await;
    }
    for _ in 0..2 {
        held_leases.push_str(&channel.receive("held").await);
    }
    let stored = store.get(&id("cam1")).await.unwrap();
    assert_eq!(held_leases, format!("{} {}", stored.epoch().unwrap(), stored.source_addr), "exactly one lease is held");
    assert_one_holder(&stored);
    assert!(stored.bytes_received > 0 && stored.status != StreamStatus::Connecting, "{}", stored.to_json());
    observer.wait_until_consistent(redis, "one lease is held").await;
    for side in 0..2 {
        channel.send(&format!("end{side}"), "").await;
    }
    let events = tokio::time::timeout(TIMEOUT, events).await.unwrap().unwrap();
    assert_events(&events, rounds, &stored);
    wait_until(TIMEOUT, async || redis.index().await.is_empty()).await;
    observer.wait_until_consistent(redis, "all leases are released").await;
}

/// In a worker process, this test runs one side. Otherwise, it runs both sides in this process, for a few rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_holder_remains_after_take_overs_within_one_process() {
    if let Some(task) = workers::job() {
        let args: Vec<&str> = task.split('|').collect();
        let [url, side, alternating, uncoordinated] = args[..] else { panic!("{task}") };
        let rounds =
            Rounds { alternating: alternating.parse().unwrap(), uncoordinated: uncoordinated.parse().unwrap() };
        return run_side(url.to_owned(), side.parse().unwrap(), rounds).await;
    }
    let redis = TestRedis::start().await;
    let rounds = Rounds { alternating: 20, uncoordinated: 20 };
    let run = |side| run_side(redis.server.url(), side, rounds);
    tokio::join!(run(0), run(1), referee(&redis, rounds));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_holder_remains_after_1050_take_overs_between_two_processes() {
    let redis = TestRedis::start().await;
    let (url, rounds) = (redis.server.url(), Rounds { alternating: 500, uncoordinated: 25 });
    // If a worker process fails, this test fails and shows the output of the worker.
    let run = |side: usize| {
        workers::wait(workers::start(WORKER, &format!("{url}|{side}|{}|{}", rounds.alternating, rounds.uncoordinated)))
    };
    tokio::join!(run(0), run(1), referee(&redis, rounds));
}
