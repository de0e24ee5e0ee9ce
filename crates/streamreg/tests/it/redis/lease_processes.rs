//! Tests holders in separate processes. The processes are stopped, continued and killed.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::redis::RedisOptions;
use stream_registry::watch::{ChangeKind, Ending, Event, WatchFrom};
use stream_registry::{
    ErrorKind, Guard, OnConflict, RedisRegistry, RegisterOptions, Registry, Stream, StreamStats, StreamStatus,
    UnregisterOptions,
};
use testkit::wait_until;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::{Dump, INDEX, TIMEOUT, TestRedis, assert_untouched, id, stream, workers};
use crate::cli::Running;

const WORKER: &str = "redis::lease_processes::superseded_holder_ends_and_writes_nothing";
const MINE: &str = "203.0.113.7:40112";
const THEIRS: &str = "198.51.100.9:5000";

async fn store(redis: &TestRedis, ttl: Duration) -> Arc<RedisRegistry> {
    Arc::new(RedisRegistry::connect(redis.options().ttl(ttl)).await.unwrap())
}

/// Keeps reporting and setting statuses until the lease has ended. Returns why it ended.
async fn write_until_ended(lease: &Lease) -> LeaseEnd {
    let started = Instant::now();
    let mut round = 0;
    while !matches!(lease.state(), LeaseState::Ended(_)) {
        assert!(started.elapsed() < TIMEOUT * 3, "the lease did not end");
        round += 1;
        lease.report(StreamStats { bytes_received: Some(666 + round), ..StreamStats::default() });
        let status = if round % 2 == 0 { StreamStatus::Active } else { StreamStatus::Paused };
        if let Err(error) = lease.set_status(status).await {
            // A call that was in flight while the process was stopped may fail with a retryable error.
            assert!(error.kind() == ErrorKind::NotHolder || error.is_retryable(), "{error:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Calls on a lease that has ended fail.
    lease.set_status(StreamStatus::Error).await.unwrap_err();
    lease.release().await.unwrap_err();
    lease.ended().await
}

/// In a worker process, this test holds streams. Otherwise, it checks that a superseded holder in this process writes
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn superseded_holder_ends_and_writes_nothing() {
    let Some(task) = workers::job() else {
        let redis = TestRedis::start().await;
        let (holders, others) = (store(&redis, TIMEOUT).await, store(&redis, TIMEOUT).await);
        let lease = Leases::new(holders, LeaseOptions::default()).acquire(stream("cam0", MINE)).await.unwrap();
        let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver).lease();
        let theirs = stream("cam0", THEIRS);
        // The holder writes so often that all attempts of one take-over call may conflict.
        let takeover = async {
            loop {
                match others.register_with(&theirs, &take_over).await {
                    Err(error) if error.is_retryable() => {}
                    result => break result,
                }
            }
        };
        let (end, taken) = tokio::join!(write_until_ended(&lease), takeover);
        assert_eq!(end, LeaseEnd::Superseded { by: Some(THEIRS.into()) });
        let last = others.get(&id("cam0")).await.unwrap();
        return assert_eq!(last, taken.unwrap().stream, "the superseded holder wrote something");
    };
    let args: Vec<&str> = task.split('|').collect();
    let [url, ttl, streams] = args[..] else { panic!("{task}") };
    let ttl = Duration::from_millis(ttl.parse().unwrap());
    let store = Arc::new(RedisRegistry::connect(url.parse::<RedisOptions>().unwrap().ttl(ttl)).await.unwrap());
    let leases = Leases::new(store, LeaseOptions::default());
    let mut held = Vec::new();
    for at in 0..streams.parse().unwrap() {
        let lease = leases.acquire(stream(&format!("cam{at}"), MINE)).await.unwrap();
        lease.report(StreamStats { bytes_received: Some(at + 1), ..StreamStats::default() });
        lease.flush().await.unwrap();
        held.push(lease);
    }
    println!("held");
    let end = write_until_ended(&held[0]).await;
    println!("ended: {end:?}");
}

/// A holder in a child process.
struct Holder {
    process: Child,
    output: BufReader<tokio::process::ChildStdout>,
}

impl Holder {
    async fn start(redis: &TestRedis, ttl: Duration, streams: u64) -> Self {
        let task = format!("{}|{}|{streams}", redis.server.url(), ttl.as_millis());
        let mut process = workers::start(WORKER, &task);
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with("held\n") {
            assert_ne!(output.read_line(&mut line).await.unwrap(), 0, "the holder ended: {line}");
        }
        Self { process, output }
    }

    async fn ended(mut self) -> String {
        let mut output = String::new();
        let end = async {
            self.output.read_to_string(&mut output).await.unwrap();
            self.process.wait().await.unwrap()
        };
        let status = tokio::time::timeout(TIMEOUT, end).await.unwrap();
        let mut errors = String::new();
        if !status.success() {
            self.process.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
        }
        assert!(status.success() && output.contains("1 passed"), "{output}{errors}");
        output
    }
}

fn signal(process: u32, name: &str) {
    let done = std::process::Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(done.success());
}

/// An action by another publisher while the holder is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Register,
    RegisterAndUnregister,
}

/// Waits until the stopped holder's stream has expired and then acts as another publisher. Returns a dump of the
/// server.
async fn act_after_expiry(redis: &TestRedis, name: &str, action: Action) -> Dump {
    let others = store(redis, TIMEOUT * 6).await;
    wait_until(TIMEOUT, async || redis.raw_json(name).await.is_none()).await;
    // No heartbeats follow this registration. If the server's data changes later, the stopped holder has changed it.
    let leased = RegisterOptions::default().lease();
    let theirs = others.register_with(&stream(name, THEIRS), &leased).await.unwrap();
    if action == Action::RegisterAndUnregister {
        others
            .unregister_with(&id(name), &UnregisterOptions::default().guard(Guard::Holder(theirs.epoch.unwrap())))
            .await
            .unwrap();
    }
    redis.dump().await
}

/// Returns the events of a stream in the feed, without status changes.
async fn feed_events(redis: &TestRedis, name: &str) -> Vec<String> {
    let store = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    let tail = store.snapshot().await.unwrap().revision.unwrap();
    let mut watch = store.watch(WatchFrom::Oldest).await.unwrap();
    let mut events = Vec::new();
    loop {
        let event = tokio::time::timeout(TIMEOUT, watch.next()).await.unwrap().unwrap();
        let status = matches!(event, Event::Changed { kind: ChangeKind::Status, .. });
        if let Some(stream) = event.stream().filter(|stream| stream.id.as_str() == name && !status) {
            events.push(format!("{} {}", event.as_str(), stream.source_addr));
        }
        if *event.revision() == tail {
            return events;
        }
    }
}

/// Checks the events of the stream. The expiry event is missing if the other publisher registered before an expiry
/// sweep.
fn assert_feed_events(events: &[String], action: Action) {
    let mut expected = vec![format!("registered {MINE}"), format!("registered {THEIRS}")];
    // The expiry event contains the last record if a sweep ran during the last fifth of the time to live.
    let expired = [format!("expired {MINE}"), "expired ".to_owned()];
    if let Some(second) = events.get(1).filter(|second| expired.contains(second)) {
        expected.insert(1, second.clone());
    }
    if action == Action::RegisterAndUnregister {
        expected.push(format!("unregistered {THEIRS}"));
    }
    assert_eq!(events, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_stopped_past_its_ttl_ends_and_writes_nothing() {
    for action in [Action::Register, Action::RegisterAndUnregister] {
        let redis = TestRedis::start().await;
        let observer = redis.observe().await;
        let holder = Holder::start(&redis, Duration::from_secs(1), 1).await;
        let process = holder.process.id().unwrap();
        // Waits until the holder has started to write.
        wait_until(TIMEOUT, async || {
            String::from_utf8(redis.raw_json("cam0").await.unwrap()).unwrap().contains("active")
        })
        .await;
        signal(process, "STOP");
        let before = act_after_expiry(&redis, "cam0", action).await;
        signal(process, "CONT");
        let output = holder.ended().await;
        let by = if action == Action::Register { format!("Some({THEIRS:?})") } else { "None".to_owned() };
        assert!(output.contains(&format!("ended: Superseded {{ by: {by} }}")), "{action:?}: {output}");
        assert_untouched(&before, &redis.dump().await, &format!("{action:?}"));
        assert_feed_events(&feed_events(&redis, "cam0").await, action);
        let _sweeping = store(&redis, TIMEOUT * 6).await;
        observer.wait_until_consistent(&redis, &format!("{action:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn register_hold_exits_with_4_when_stopped_past_its_ttl() {
    for action in [Action::Register, Action::RegisterAndUnregister] {
        let redis = TestRedis::start().await;
        let observer = redis.observe().await;
        let url = redis.server.url();
        let args = ["register", "--hold", "--ttl", "1s", "--store", &url, "--id", "cam0", "--type", "srt", "--source"];
        let mut holder = Running::start(&[&args[..], &[MINE]].concat());
        holder.line_with("is held");
        holder.signal("STOP");
        let before = act_after_expiry(&redis, "cam0", action).await;
        holder.signal("CONT");
        let by = if action == Action::Register { THEIRS } else { "another holder" };
        holder.line_with(&format!("\"cam0\" was taken over by {by}"));
        assert_eq!(holder.ended(), Some(4));
        assert_untouched(&before, &redis.dump().await, &format!("{action:?}"));
        assert_feed_events(&feed_events(&redis, "cam0").await, action);
        let _sweeping = store(&redis, TIMEOUT * 6).await;
        observer.wait_until_consistent(&redis, &format!("{action:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_killed_holder_expire_once_with_their_last_records() {
    const STREAMS: u64 = 50;
    const TTL: Duration = Duration::from_secs(3);
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let sweepers = [store(&redis, TTL).await, store(&redis, TTL).await, store(&redis, TTL).await];
    let mut watch = sweepers[0].watch(WatchFrom::Now).await.unwrap();
    let mut holder = Holder::start(&redis, TTL, STREAMS).await;
    // One time to live passes. The heartbeats must have kept all streams alive.
    tokio::time::sleep(TTL).await;
    assert_eq!(sweepers[0].list().await.unwrap().len() as u64, STREAMS);
    signal(holder.process.id().unwrap(), "KILL");
    holder.process.wait().await.unwrap();
    let mut last: BTreeMap<String, (Stream, Instant)> = BTreeMap::new();
    for stream in sweepers[0].list().await.unwrap() {
        let left = u64::try_from(redis.pttl(stream.id.as_str()).await).unwrap();
        last.insert(stream.id.to_string(), (stream, Instant::now() + Duration::from_millis(left)));
    }
    assert_eq!(last.len() as u64, STREAMS);
    // Another program removes entries from the index before the sweeps do.
    let mut raw = redis.raw.clone();
    let pruner = tokio::spawn(async move {
        loop {
            let name = format!("cam{}", fastrand::u64(..STREAMS));
            let _: i64 = ::redis::cmd("SREM").arg(INDEX).arg(name).query_async(&mut raw).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut expired = 0;
    let expiries = async {
        let mut expiries: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let event = watch.next().await.unwrap();
            match event {
                Event::Ended { reason: Ending::Expired, last: record, .. } => {
                    expired += 1;
                    let (written, deadline) = &last[record.id.as_str()];
                    assert_eq!(&*record, written, "the last record");
                    let late = Instant::now().saturating_duration_since(*deadline);
                    assert!(late < Duration::from_secs(2), "{}: {late:?} late", record.id);
                    assert!(Instant::now() + Duration::from_millis(100) > *deadline, "{}: too early", record.id);
                    assert!(
                        expiries.insert(record.id.to_string(), Instant::now()).is_none(),
                        "{} expired twice",
                        record.id
                    );
                }
                Event::Changed { stream, .. } if stream.id.as_str() == "end" => return expiries,
                Event::Changed { kind: ChangeKind::Registered | ChangeKind::Status, .. } | Event::Alive { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let closing = async {
        let none_due = async || redis.server.cli(&["ZCARD", super::DUE]).await == "0";
        wait_until(TTL + TIMEOUT, none_due).await;
        // Sweeps run every eighth of the time to live. After a quarter of it, each store has swept once more.
        let swept = async || redis.server.cli(&["HGET", super::FEED_METADATA, "swept"]).await.parse::<u128>().unwrap();
        let since = swept().await;
        wait_until(TIMEOUT, async || swept().await > since + (TTL / 4).as_millis()).await;
        sweepers[0].register(&stream("end", THEIRS)).await.unwrap();
    };
    let (expiries, ()) = tokio::join!(expiries, closing);
    pruner.abort();
    assert_eq!((expiries.len(), expired), (last.len(), last.len()), "each stream expires once");
    observer.wait_until_consistent(&redis, "all have expired").await;
}
