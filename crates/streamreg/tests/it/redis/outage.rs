//! Tests outages: the server is killed, stopped or restarted, or the network fails in several ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::redis::RedisOptions;
use stream_registry::watch::{ChangeKind, Event, WatchFrom};
use stream_registry::{ErrorKind, RedisRegistry, Registry, Result};
use testkit::{Data, FaultProxy, wait_until};

use super::operations::{SOURCE, Verb};
use super::{FEED_METADATA, TIMEOUT, TestRedis, id, stream};

/// Maximum duration of a call.
const MAX_CALL_TIME: Duration = Duration::from_secs(2);
/// Time after an outage within which calls must succeed again.
const MAX_RECOVERY: Duration = Duration::from_secs(1);
/// Delay that a busy machine may add to a measured duration.
const SLACK: Duration = Duration::from_millis(400);
const CALLERS: usize = 32;

/// A finished call.
struct Call {
    started: Instant,
    finished: Instant,
    name: &'static str,
    error: Option<stream_registry::Error>,
}

/// Tasks that keep calling the store, even if calls fail.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<Vec<Call>>,
}

async fn one_call(store: &RedisRegistry, caller: usize, round: usize) -> (&'static str, Result<()>) {
    let name = format!("cam{caller}");
    match (caller % 4, round % 4) {
        (0, 0) => ("list", store.list().await.map(|_| ())),
        (0, 1) => ("list_page", store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ())),
        (0, _) | (1, 0) => ("get", store.get(&id(&name)).await.map(|_| ())),
        (1, _) => ("heartbeat", Verb::Heartbeat.run(store, &name).await),
        (2, 0) => ("register", Verb::Register.run(store, &name).await),
        (2, 1) => ("unregister", Verb::Unregister.run(store, &format!("{name}x")).await),
        (2, _) => ("register", Verb::Register.run(store, &format!("{name}x")).await),
        (_, 0) => ("patch", Verb::Patch.run(store, &name).await),
        (_, 1) => ("update", Verb::Update.run(store, &name).await),
        (_, 2) => ("batch", Verb::Batch.run(store, &name).await),
        _ => ("stats", Verb::AllStats.run(store, &name).await),
    }
}

impl Callers {
    fn start(store: &Arc<RedisRegistry>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut calls = Vec::new();
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let started = Instant::now();
                    let (name, result) = one_call(&store, caller, round).await;
                    let error = result.err();
                    let failed = error.is_some();
                    calls.push(Call { started, finished: Instant::now(), name, error });
                    // This pause gives the server processor time.
                    tokio::time::sleep(Duration::from_millis(if failed { 20 } else { 5 })).await;
                }
                calls
            });
        }
        Self { stop, tasks }
    }

    async fn stop(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// Checks that calls failed only from `down` until [`MAX_RECOVERY`] after `up`. Also checks that no call took too long.
fn check(calls: &[Call], down: Instant, up: Instant, context: &str) {
    let longest = calls.iter().max_by_key(|call| call.finished - call.started).unwrap();
    let took = longest.finished - longest.started;
    assert!(took <= MAX_CALL_TIME + SLACK, "{context}: {} took {took:?}: {:?}", longest.name, longest.error);
    let mut failed = 0;
    for call in calls {
        let Some(error) = &call.error else { continue };
        if error.kind() == ErrorKind::NotFound && call.name == "unregister" {
            continue;
        }
        let at = call.started.saturating_duration_since(down);
        assert!(call.finished >= down, "{context}: {} failed before the outage: {error:?}", call.name);
        assert!(
            call.started <= up + MAX_RECOVERY,
            "{context}: {} started {:?} after the outage and failed: {error:?}",
            call.name,
            call.started - up
        );
        let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout];
        assert!(kinds.contains(&error.kind()), "{context}: {} at {at:?}: {error:?}", call.name);
        assert!(error.is_retryable());
        failed += 1;
    }
    assert!(failed > 0, "{context}: no call failed during the outage");
    let succeeded = calls.iter().filter(|call| call.started > up + MAX_RECOVERY && call.error.is_none()).count();
    assert!(succeeded > CALLERS, "{context}: only {succeeded} calls succeeded after the outage");
}

/// Returns options with which a list times out like any other call.
fn options(url: &str) -> RedisOptions {
    url.parse::<RedisOptions>().unwrap().list_timeout(MAX_CALL_TIME)
}

async fn prepare(store: &RedisRegistry) {
    for caller in 0..CALLERS {
        store.register(&stream(&format!("cam{caller}"), SOURCE)).await.unwrap();
    }
    store.list().await.unwrap();
}

/// Waits for a fixed time while the callers continue. There is no condition to wait for.
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_recover_after_the_server_is_killed_and_restarted() {
    let mut redis = TestRedis::start().await;
    let store = Arc::new(RedisRegistry::connect(options(&redis.server.url())).await.unwrap());
    prepare(&store).await;
    let callers = Callers::start(&store);
    wait(Duration::from_millis(300)).await;
    redis.server.cli(&["SAVE"]).await;
    let down = Instant::now();
    redis.server.kill();
    wait(Duration::from_millis(1_500)).await;
    let error = store.get(&id("cam1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = Verb::Heartbeat.run(&store, "cam1").await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Unavailable, false), "{error:?}");
    redis.server.restart(Data::Kept).await;
    let up = Instant::now();
    wait(Duration::from_secs(2)).await;
    check(&callers.stop().await, down, up, "kill and restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_recover_after_the_server_is_stopped_for_five_seconds() {
    let redis = TestRedis::start().await;
    let store = Arc::new(RedisRegistry::connect(options(&redis.server.url())).await.unwrap());
    prepare(&store).await;
    let callers = Callers::start(&store);
    wait(Duration::from_millis(300)).await;
    let down = Instant::now();
    redis.server.pause();
    wait(Duration::from_secs(5)).await;
    redis.server.resume();
    let up = Instant::now();
    wait(Duration::from_secs(2)).await;
    check(&callers.stop().await, down, up, "SIGSTOP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_recover_after_each_kind_of_network_fault() {
    let redis = TestRedis::start().await;
    let proxy = FaultProxy::start(redis.server.addr()).await;
    let store = Arc::new(RedisRegistry::connect(options(&format!("redis://{}", proxy.addr()))).await.unwrap());
    prepare(&store).await;
    for fault in ["stall", "swallow", "cut", "cut mid-reply", "refuse"] {
        let callers = Callers::start(&store);
        wait(Duration::from_millis(200)).await;
        let down = Instant::now();
        match fault {
            "stall" => proxy.stall(),
            "swallow" => proxy.drop_replies(),
            "cut" => proxy.cut(),
            "cut mid-reply" => proxy.cut_replies_after(777),
            _ => proxy.refuse().await,
        }
        if fault == "cut" {
            // A cut affects only calls in flight. Possibly no call is in flight at that moment, so the cut is repeated.
            for _ in 0..10 {
                wait(Duration::from_millis(5)).await;
                proxy.cut();
            }
        } else {
            wait(Duration::from_millis(1_300)).await;
        }
        if fault == "swallow" {
            // A TCP connection cannot continue after a part of a reply was lost, so the proxy closes the connection.
            proxy.cut();
        }
        proxy.resume().await;
        let up = Instant::now();
        wait(MAX_RECOVERY + Duration::from_millis(400)).await;
        check(&callers.stop().await, down, up, fault);
        redis.assert_consistent(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_call_after_a_restart_succeeds_on_an_idle_connection() {
    let mut redis = TestRedis::start().await;
    for unix in [false, true] {
        let url = if unix { redis.server.unix_url() } else { redis.server.url() };
        let store = RedisRegistry::connect(url.parse().unwrap()).await.unwrap();
        for round in 0..4_u8 {
            store.register(&stream("cam1", SOURCE)).await.unwrap();
            store.list().await.unwrap();
            redis.server.restart(Data::Kept).await;
            // In each round, the first call is of a different kind.
            let result = match round {
                0 => store.get(&id("cam1")).await.map(|_| ()),
                1 => store.update_heartbeat(&id("cam1")).await,
                2 => store.list().await.map(|_| ()),
                _ => store.unregister(&id("cam1")).await.map(|_| ()),
            };
            result.unwrap_or_else(|error| panic!("unix {unix}, round {round}: {error:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_streams_with_a_short_ttl_do_not_expire_in_an_outage_of_seconds() {
    const TTL: Duration = Duration::from_secs(4);
    const LEASES: usize = 60;
    let redis = TestRedis::start().await;
    // The longer TTL gives the leases enough time to return, even on a busy machine.
    let other = RedisRegistry::connect(redis.options().ttl(Duration::from_secs(60))).await.unwrap();
    let store = Arc::new(RedisRegistry::connect(redis.options().ttl(TTL)).await.unwrap());
    let leases = Leases::new(store.clone(), LeaseOptions::default());
    let mut held = Vec::new();
    for n in 0..LEASES {
        held.push(leases.acquire(stream(&format!("cam{n}"), SOURCE)).await.unwrap());
    }
    let metadata = async |name| redis.server.cli(&["HGET", FEED_METADATA, name]).await.parse::<u64>().unwrap_or(0);
    wait_until(TIMEOUT, async || metadata("brief").await == 4_000 && metadata("ttl").await == 60_000).await;
    let mut watch = other.watch(WatchFrom::Now).await.unwrap();
    redis.server.pause();
    // All streams expire during the outage, so every lease has to recover its stream.
    wait(TTL + Duration::from_millis(500)).await;
    redis.server.resume();
    let mut recovered = std::collections::BTreeSet::new();
    while recovered.len() < LEASES {
        match tokio::time::timeout(TIMEOUT * 3, watch.next()).await.unwrap().unwrap() {
            Event::Changed { kind: ChangeKind::Registered, stream, .. } => {
                recovered.insert(stream.id.clone());
            }
            Event::Alive { .. } => {}
            other => panic!("after {} recoveries: {other:?}", recovered.len()),
        }
    }
    wait_until(TIMEOUT, async || held.iter().all(|lease| lease.state() == LeaseState::Held)).await;
}

#[tokio::test]
async fn list_and_list_page_time_out_when_the_server_is_stopped() {
    let redis = TestRedis::start().await;
    for connected in [true, false] {
        let store = RedisRegistry::connect(options(&redis.server.url())).await.unwrap();
        store.register(&stream("cam1", SOURCE)).await.unwrap();
        if connected {
            store.list().await.unwrap();
        }
        redis.server.pause();
        for round in 0..2 {
            for name in ["list", "list_page"] {
                let started = Instant::now();
                let error = match name {
                    "list" => store.list().await.map(|_| ()).unwrap_err(),
                    _ => store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ()).unwrap_err(),
                };
                let took = started.elapsed();
                assert!(
                    took <= MAX_CALL_TIME + SLACK,
                    "{name}, connected {connected}, round {round}: {took:?}: {error:?}"
                );
                assert!(error.is_retryable() && !error.may_have_applied(), "{name}: {error:?}");
            }
        }
        redis.server.resume();
        store.list().await.unwrap();
    }
}

/// Returns the ids of the other clients that are connected to the server.
async fn client_ids(redis: &TestRedis) -> Vec<String> {
    let list = redis.server.cli(&["CLIENT", "LIST", "TYPE", "normal"]).await;
    let others = list.lines().filter(|line| !line.contains("cmd=client|list"));
    others.filter_map(|line| Some(line.strip_prefix("id=")?.split_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn list_waits_until_a_busy_server_responds_and_keeps_the_other_connection() {
    // Longer than the timeouts of a single call and of a connection attempt together.
    const BUSY: Duration = Duration::from_secs(5);
    let redis = TestRedis::start().await;
    for list_in_flight in [false, true] {
        let options = redis.options().read_only().list_timeout(Duration::from_secs(120));
        let before = client_ids(&redis).await;
        let store = Arc::new(RedisRegistry::connect(options).await.unwrap());
        store.ping().await.unwrap();
        let mut own = client_ids(&redis).await;
        own.retain(|id| !before.contains(id));
        redis.put("cam1", stream("cam1", SOURCE).to_json(), 600_000).await;
        store.list().await.unwrap();
        let listing = Arc::clone(&store);
        let list = if list_in_flight {
            // The server stops while it works on lists.
            let list = tokio::spawn(async move {
                let started = Instant::now();
                while started.elapsed() < BUSY {
                    listing.list().await?;
                }
                Ok(())
            });
            wait(Duration::from_millis(50)).await;
            redis.server.pause();
            list
        } else {
            redis.server.pause();
            tokio::spawn(async move { listing.list().await.map(|_| ()) })
        };
        wait(BUSY).await;
        redis.server.resume();
        let listed: Result<()> = list.await.unwrap();
        listed.unwrap_or_else(|error| panic!("list in flight {list_in_flight}: {error:?}"));
        let after = client_ids(&redis).await;
        assert!(own.iter().all(|id| after.contains(id)), "{own:?} is not kept: {after:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn list_reconnects_when_its_idle_connection_no_longer_answers() {
    let redis = TestRedis::start().await;
    let proxy = FaultProxy::start(redis.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let store = RedisRegistry::connect(options.read_only().list_timeout(Duration::from_secs(120))).await.unwrap();
    store.list().await.unwrap();
    // Replies on the old connection are lost, and a new connection works.
    proxy.drop_replies();
    let (listed, ()) = tokio::join!(store.list(), async {
        wait(Duration::from_millis(100)).await;
        proxy.resume().await;
    });
    listed.unwrap();
}

#[tokio::test]
async fn every_call_returns_closed_after_close() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    for verb in super::operations::ALL {
        let error = verb.run(&store, "cam1").await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Closed, false), "{verb:?}: {error:?}");
    }
    assert_eq!(store.get(&id("cam1")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(store.list().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn list_keeps_its_strategy_while_the_server_cannot_read() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.register(&stream("cam1", "h:1")).await.unwrap();
    // The server accepts commands but rejects reads, as it does while it loads its data.
    redis.server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    redis.server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for _ in 0..3 {
        let error = store.list().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error:?}");
        assert!(error.message().contains("has lost its primary"), "{error}");
    }
    redis.server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    redis.server.cli(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(store.list().await.unwrap().len(), 1);
    let stats = redis.server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_sort_ro:calls=1"), "{stats}");
}
