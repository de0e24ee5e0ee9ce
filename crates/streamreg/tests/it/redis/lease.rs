//! Leases on a real Redis server that is killed, flushed or disconnected, and leases of several holders on one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::AsyncCommands as _;
use stream_registry::lease::{Lease, LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::redis::RedisOptions;
use stream_registry::watch::{ChangeKind, Event, WatchFrom};
use stream_registry::{
    ErrorKind, Guard, OnConflict, RedisRegistry, Registry, StreamStats, StreamStatus, UnregisterOptions,
};
use testkit::{Data, FaultProxy, wait_until};

use super::operations::totals;
use super::{INDEX, TIMEOUT, TestRedis, id, key, stream};

const TTL: Duration = Duration::from_secs(5);
/// The default interval, a fifth of the time to live.
const HEARTBEAT: Duration = Duration::from_secs(1);
const MINE: &str = "203.0.113.7:40112";
const THEIRS: &str = "198.51.100.9:5000";

async fn store(options: RedisOptions, ttl: Duration) -> Arc<RedisRegistry> {
    Arc::new(RedisRegistry::connect(options.ttl(ttl)).await.unwrap())
}

impl TestRedis {
    async fn leases(&self, ttl: Duration) -> Leases {
        Leases::new(store(self.options(), ttl).await, LeaseOptions::default())
    }

    /// Returns leases that reach the server through a fault proxy.
    async fn leases_through_proxy(&self) -> (Leases, FaultProxy) {
        let proxy = FaultProxy::start(self.server.addr()).await;
        let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
        (Leases::new(store(options, TTL).await, LeaseOptions::default()), proxy)
    }

    async fn exists(&self, name: &str) -> bool {
        self.raw.clone().exists(key(name)).await.unwrap()
    }

    /// Returns how often clients and scripts have called a command.
    async fn calls(&self, command: &str) -> u64 {
        let info = self.server.cli(&["INFO", "commandstats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

async fn acquire_many(leases: &Leases, count: usize) -> Vec<Lease> {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..count {
        let leases = leases.clone();
        tasks.spawn(async move { leases.acquire(stream(&format!("cam{at}"), MINE)).await.unwrap() });
    }
    tasks.join_all().await
}

fn bytes(bytes_received: u64) -> StreamStats {
    totals(bytes_received)
}

fn is_held(lease: &Lease) -> bool {
    lease.state() == LeaseState::Held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_streams_recover_when_redis_restarts_empty() {
    let mut redis = TestRedis::start().await;
    let ttl = Duration::from_secs(10);
    let observer = redis.observe().await;
    let leases = redis.leases(ttl).await;
    let held = acquire_many(&leases, 1_000).await;
    for (lease, at) in held.iter().zip(1..) {
        lease.report(bytes(at));
    }
    let before: Vec<_> = held.iter().map(Lease::stream).collect();
    redis.server.kill();
    // The server stays down for a moment.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    redis.server.restart(Data::Empty).await;
    let restarted = Instant::now();
    let redis = TestRedis::of(redis.server).await;
    let raw = redis.raw.clone();
    wait_until(ttl / 5 + Duration::from_secs(2), async || {
        let listed: usize = raw.clone().scard(INDEX).await.unwrap();
        listed == held.len() && held.iter().all(is_held)
    })
    .await;
    println!("1 000 leases recovered within {:?} of the restart", restarted.elapsed());
    let reader = store(redis.options(), ttl).await;
    for (lease, before) in held.iter().zip(&before) {
        let stored = reader.get(lease.id()).await.unwrap();
        assert_eq!((stored.created_at, stored.epoch()), (before.created_at, Some(lease.epoch())));
        assert_eq!(stored.bytes_received, before.bytes_received);
    }
    observer.wait_until_consistent(&redis, "all have recovered").await;
    assert!(leases.release_all().await.is_empty());
    assert!(redis.index().await.is_empty());
    // After the release, the store contains only tombstones and stored replies. Each of them has a time to live.
    observer.wait_until_consistent(&redis, "all are released").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnected_holder_does_not_restore_a_stream_that_its_successor_released() {
    for fault in ["refuse", "stall"] {
        let redis = TestRedis::start().await;
        let observer = redis.observe().await;
        let (cut_off, proxy) = redis.leases_through_proxy().await;
        let lease = cut_off.acquire(stream("cam1", MINE)).await.unwrap();
        if fault == "refuse" {
            proxy.refuse().await;
        } else {
            proxy.stall();
        }
        lease.report(bytes(666));
        let others = redis.leases(TTL).await;
        let other = others.acquire_with(stream("cam1", THEIRS), OnConflict::TakeOver).await.unwrap();
        // Waits until the first holder notices that the time to live of its stream has passed.
        wait_until(TTL * 2, async || matches!(lease.state(), LeaseState::Recovering { .. })).await;
        assert!(is_held(&other));
        observer.wait_until_consistent(&redis, fault).await;
        assert_eq!(other.release().await.unwrap().bytes_received, 0, "{fault}");
        proxy.resume().await;
        let end = tokio::time::timeout(TIMEOUT, lease.ended()).await.unwrap();
        assert_eq!(end, LeaseEnd::Superseded { by: None }, "{fault}");
        assert!(!redis.exists("cam1").await, "{fault}: the stream was registered again");
        // Every write calls MGET and every registration calls TYPE. Expiry sweeps call neither command.
        let write_calls = async || redis.calls("mget").await + redis.calls("type").await;
        let calls = write_calls().await;
        tokio::time::sleep(HEARTBEAT * 3).await;
        assert_eq!(write_calls().await, calls, "{fault}: the ended lease wrote something");
        assert!(!redis.exists("cam1").await, "{fault}: the stream was registered again later");
        observer.wait_until_consistent(&redis, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_stays_unregistered_after_an_operator_removes_it() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let (leases, proxy) = redis.leases_through_proxy().await;
    let (connected, disconnected) =
        (leases.acquire(stream("cam1", MINE)).await.unwrap(), leases.acquire(stream("cam2", MINE)).await.unwrap());
    let operator = store(redis.options(), TTL).await;
    let force = UnregisterOptions::default().guard(Guard::Force);
    operator.unregister_with(connected.id(), &force).await.unwrap();
    assert_eq!(tokio::time::timeout(TIMEOUT, connected.ended()).await.unwrap(), LeaseEnd::Removed);
    assert!(is_held(&disconnected));
    observer.wait_until_consistent(&redis, "one stream is unregistered").await;
    // The second stream is unregistered while its holder is disconnected.
    proxy.refuse().await;
    operator.unregister_with(disconnected.id(), &force).await.unwrap();
    wait_until(TTL * 2, async || !is_held(&disconnected)).await;
    proxy.resume().await;
    assert_eq!(tokio::time::timeout(TIMEOUT, disconnected.ended()).await.unwrap(), LeaseEnd::Removed);
    assert!(leases.is_empty() && redis.index().await.is_empty());
    observer.wait_until_consistent(&redis, "both streams are unregistered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_holder_wins_after_a_flush_in_either_reconnect_order() {
    for first_reconnected in ["earlier", "later"] {
        let redis = TestRedis::start().await;
        let observer = redis.observe().await;
        let (earlier, earlier_proxy) = redis.leases_through_proxy().await;
        let (later, later_proxy) = redis.leases_through_proxy().await;
        let old = earlier.acquire(stream("cam1", MINE)).await.unwrap();
        earlier_proxy.refuse().await;
        let new = later.acquire_with(stream("cam1", THEIRS), OnConflict::TakeOver).await.unwrap();
        later_proxy.refuse().await;
        // The flush also deletes the tombstones.
        redis.flush().await;
        let order = [(&earlier_proxy, &old), (&later_proxy, &new)];
        let (first, second) = if first_reconnected == "earlier" { (order[0], order[1]) } else { (order[1], order[0]) };
        first.0.resume().await;
        wait_until(TIMEOUT, async || redis.exists("cam1").await && is_held(first.1)).await;
        second.0.resume().await;
        let end = tokio::time::timeout(TIMEOUT, old.ended()).await.unwrap();
        assert_eq!(end, LeaseEnd::Superseded { by: Some(THEIRS.into()) }, "{first_reconnected}");
        wait_until(TIMEOUT, async || is_held(&new)).await;
        new.flush().await.unwrap();
        let stored = store(redis.options(), TTL).await.get(&id("cam1")).await.unwrap();
        assert_eq!(
            (stored.epoch(), stored.created_at),
            (Some(new.epoch()), new.stream().created_at),
            "{first_reconnected}"
        );
        observer.wait_until_consistent(&redis, first_reconnected).await;
        new.release().await.unwrap();
        observer.wait_until_consistent(&redis, first_reconnected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_of_heartbeats_is_one_script_call() {
    const ROUNDS: u32 = 5;
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let leases = redis.leases(TTL).await;
    let held = acquire_many(&leases, 1_000).await;
    redis.server.cli(&["CONFIG", "RESETSTAT"]).await;
    let started = Instant::now();
    while started.elapsed() < HEARTBEAT * ROUNDS {
        for lease in &held {
            lease.report(bytes(u64::try_from(started.elapsed().as_millis()).unwrap()));
        }
        tokio::time::sleep(HEARTBEAT / 4).await;
    }
    // Each batch calls MGET once. Expiry sweeps do not call MGET.
    let calls = redis.calls("mget").await;
    // Four full batches per interval would be enough. At first, however, the leases are due at different times, so
    // there are more batches. A busy machine adds some. Single writes would be 5 000 calls.
    let max = u64::from(ROUNDS + 1) * 16;
    assert!((u64::from(ROUNDS - 1) * 4..=max).contains(&calls), "{calls} script calls in {ROUNDS} rounds of 1 000");
    println!("{calls} script calls in {ROUNDS} intervals of 1 000 leases");
    let stored = store(redis.options(), TTL).await.list().await.unwrap();
    assert_eq!(stored.len(), 1_000);
    assert!(
        stored.iter().all(|stream| stream.bytes_received > 1_500),
        "some streams were not written in the later rounds"
    );
    assert!(held.iter().all(is_held));
    observer.wait_until_consistent(&redis, "batches are written").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_restores_an_epoch_that_another_program_removed() {
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let leases = redis.leases(TTL).await;
    let lease = leases.acquire(stream("cam1", MINE)).await.unwrap();
    let theirs = format!(r#"{{"status":"paused","source_addr":"{MINE}","theirs":[1],"id":"cam1","type":"srt"}}"#);
    redis.put("cam1", theirs, 60_000).await;
    let reader = store(redis.options(), TTL).await;
    wait_until(TIMEOUT, async || {
        reader.get(&id("cam1")).await.is_ok_and(|stored| stored.epoch() == Some(lease.epoch()))
    })
    .await;
    let stored = reader.get(&id("cam1")).await.unwrap();
    assert_eq!(stored.status, StreamStatus::Paused);
    assert!(stored.to_json().contains(r#""theirs":[1]"#), "{}", stored.to_json());
    observer.wait_until_consistent(&redis, "the epoch is restored").await;
    lease.release().await.unwrap();
    observer.wait_until_consistent(&redis, "the lease is released").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_succeeds_when_its_reply_is_lost() {
    let redis = TestRedis::start().await;
    let (leases, proxy) = redis.leases_through_proxy().await;
    // This first release loads the scripts. Otherwise the lost reply would be a NOSCRIPT error.
    leases.acquire(stream("cam0", MINE)).await.unwrap().release().await.unwrap();
    let lease = Arc::new(leases.acquire(stream("cam1", MINE)).await.unwrap());
    lease.report(bytes(7));
    lease.flush().await.unwrap();
    proxy.drop_replies();
    let release = tokio::spawn({
        let lease = Arc::clone(&lease);
        async move { lease.release_with("over".parse().unwrap()).await }
    });
    wait_until(TIMEOUT, async || !redis.exists("cam1").await).await;
    proxy.cut();
    proxy.resume().await;
    let last = release.await.unwrap().unwrap();
    assert_eq!((last.bytes_received, last.end_reason.as_deref()), (7, Some("over")));
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));
    assert!(!redis.exists("cam1").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_is_acquired_once_when_the_reply_is_lost() {
    let redis = TestRedis::start().await;
    let (leases, proxy) = redis.leases_through_proxy().await;
    let store = store(redis.options(), TTL).await;
    // This first lease loads the scripts. Otherwise the lost reply would be a NOSCRIPT error.
    leases.acquire(stream("cam0", MINE)).await.unwrap().release().await.unwrap();
    for (name, is_ended) in [("cam1", false), ("cam2", true)] {
        let mut watch = store.watch(WatchFrom::Now).await.unwrap();
        proxy.drop_replies();
        let acquire = tokio::spawn({
            let leases = leases.clone();
            // A repeated take-over would take the stream over from itself, and a repeated creation would be rejected.
            async move { leases.acquire_with(stream(name, ""), OnConflict::TakeOver).await }
        });
        wait_until(TIMEOUT, async || redis.exists(name).await).await;
        let first = store.get(&id(name)).await.unwrap();
        if is_ended {
            store.unregister_with(&id(name), &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
        }
        proxy.cut();
        proxy.resume().await;
        let lease = acquire.await.unwrap().unwrap();
        assert_eq!(Some(lease.epoch()), first.epoch(), "{name}");
        if is_ended {
            assert_eq!(lease.ended().await, LeaseEnd::Removed);
        } else {
            lease.release().await.unwrap();
        }
        let mut changes = Vec::new();
        loop {
            match watch.next().await.unwrap() {
                Event::Changed { kind, .. } => changes.push(kind),
                Event::Ended { .. } => break,
                _ => {}
            }
        }
        assert_eq!(changes, [ChangeKind::Registered], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_without_a_reply_counts_as_possibly_applied() {
    let redis = TestRedis::start().await;
    let (leases, proxy) = redis.leases_through_proxy().await;
    leases.acquire(stream("cam0", MINE)).await.unwrap().release().await.unwrap();
    // Neither the registration nor its repetition is answered, and no new connection can be opened.
    proxy.drop_replies();
    let began = Instant::now();
    let error = leases.acquire(stream("cam1", MINE)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(error.may_have_applied() && error.is_retryable(), "{error:?}");
    assert!(redis.exists("cam1").await);
    proxy.resume().await;
    // The same publisher gets its stream.
    leases.acquire(stream("cam1", MINE)).await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_store_agree_when_futures_are_dropped_at_random() {
    const TASKS: u64 = 4;
    const CALLS: usize = 300;
    let seed = fastrand::u64(..);
    let redis = TestRedis::start().await;
    let observer = redis.observe().await;
    let leases = redis.leases(TTL).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let leases = leases.clone();
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed.wrapping_add(task));
            let name = format!("cam{task}");
            let mut held: Option<Lease> = None;
            let mut dropped = 0;
            for call in 0..CALLS {
                let timeout = Duration::from_micros(random.u64(0..1_500));
                let kind = random.usize(0..6);
                let Some(lease) = &held else {
                    match tokio::time::timeout(timeout, leases.acquire(stream(&name, MINE))).await {
                        Ok(lease) => held = Some(lease.unwrap()),
                        Err(_) => dropped += 1,
                    }
                    continue;
                };
                lease.report(bytes(u64::try_from(call).unwrap()));
                let called = async {
                    match kind {
                        0 => lease.release().await.map(|_| true),
                        1 | 2 => lease.set_status(StreamStatus::Active).await.map(|()| false),
                        _ => lease.flush().await.map(|()| false),
                    }
                };
                match tokio::time::timeout(timeout, called).await {
                    Err(_) => dropped += 1,
                    // A dropped release may have been applied. Sooner or later, the lease notices the removal.
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::NotFound, "seed {seed}: {error:?}"),
                    Ok(Ok(_)) => {}
                }
                if matches!(lease.state(), LeaseState::Ended(_)) {
                    held = None;
                }
            }
            (held, dropped)
        });
    }
    let (held, dropped): (Vec<_>, Vec<usize>) = tasks.join_all().await.into_iter().unzip();
    assert!(dropped.iter().sum::<usize>() > 50, "seed {seed}: too few futures were dropped: {dropped:?}");
    let reader = store(redis.options(), TTL).await;
    for lease in held.iter().flatten() {
        // If a dropped release was applied, the flush makes the lease notice the removal.
        let flushed = lease.flush().await;
        let stored = reader.get(lease.id()).await;
        match lease.state() {
            LeaseState::Held => {
                let stored = stored
                    .unwrap_or_else(|error| panic!("seed {seed}: flush returned {flushed:?}, get returned {error:?}"));
                assert_eq!(stored.epoch(), Some(lease.epoch()), "seed {seed}");
            }
            LeaseState::Ended(LeaseEnd::Released) => assert!(stored.is_err(), "seed {seed}: {stored:?}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    // A dropped call of `acquire` may have left a stream. The same publisher can acquire that stream again.
    for task in 0..TASKS {
        let lease = leases.acquire(stream(&format!("cam{task}"), MINE)).await.unwrap();
        lease.release().await.unwrap();
    }
    assert!(leases.is_empty() && redis.index().await.is_empty(), "seed {seed}");
    observer.wait_until_consistent(&redis, &format!("seed {seed}")).await;
}
