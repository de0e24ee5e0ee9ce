//! When memory is full, heartbeats still keep streams alive.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::AsyncCommands as _;
use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::{ErrorKind, RedisRegistry, Registry, StreamPatch};

use super::operations::{SOURCE, Verb};
use super::{INDEX, TIMEOUT, TestRedis, id, key, stream};

const TTL: Duration = Duration::from_secs(2);
const FOREIGN: &str = r#"{"x":[],"source_addr":"203.0.113.7:40112","type":"srt","status":"active"}"#;

/// Fills memory exactly to the limit, so that every command that needs memory is rejected.
pub(super) async fn fill(redis: &TestRedis) -> usize {
    redis.server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let info = redis.server.cli(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().to_owned();
    redis.server.cli(&["CONFIG", "SET", "maxmemory", &used]).await;
    let mut ballast = 0;
    top_up(redis, &mut ballast).await;
    ballast
}

async fn top_up(redis: &TestRedis, ballast: &mut usize) {
    while !redis.server.cli(&["SET", &format!("ballast{ballast}"), &"x".repeat(10_000)]).await.contains("OOM") {
        *ballast += 1;
        assert!(*ballast < 1_000, "cannot fill the memory");
    }
}

#[tokio::test]
async fn live_streams_stay_alive_while_memory_is_full() {
    // TTL before and after each change, in ms. Both are long, because a busy machine may need a while for one round.
    const SHORT_TTL: i64 = 120_000;
    const FULL_TTL: u64 = 300_000;
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let names: Vec<String> = (0..20).map(|at| format!("cam{at}")).collect();
    for (at, name) in names.iter().enumerate() {
        if at % 2 == 0 {
            store.register(&stream(name, SOURCE)).await.unwrap();
        } else {
            redis.put(name, FOREIGN, FULL_TTL).await;
        }
    }
    for at in 0..100 {
        store.register(&stream(&format!("ends{at}"), SOURCE)).await.unwrap();
    }
    let mut ballast = fill(&redis).await;

    for round in 0..3 {
        for name in &names {
            for verb in [Verb::Heartbeat, Verb::Status, Verb::Stats, Verb::AllStats, Verb::Batch] {
                let _: bool = redis.raw.clone().pexpire(key(name), SHORT_TTL).await.unwrap();
                verb.run(&store, name).await.unwrap_or_else(|error| panic!("{verb:?} of {name}: {error:?}"));
                let left = redis.pttl(name).await;
                assert!(left > SHORT_TTL, "{verb:?} of {name}: {left} ms left");
            }
        }
        for verb in [Verb::Register, Verb::TakeOver, Verb::Patch, Verb::Update] {
            let error = verb.run(&store, &names[round]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{verb:?}: {error}");
            assert!(error.is_retryable() && !error.may_have_applied() && error.message().contains("memory"));
        }
        assert_eq!(store.register(&stream("new", "h:9")).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(store.get(&id(&names[round])).await.is_ok());
        assert!(store.list().await.unwrap().len() >= names.len());
        assert!(store.list_page(None, NonZeroU32::new(500).unwrap()).await.unwrap().streams.len() >= names.len());
        if round == 0 {
            for at in 0..100 {
                store.unregister(&id(&format!("ends{at}"))).await.unwrap();
            }
            // A change restores the missing index entry, although a new entry needs memory.
            redis.server.cli(&["SREM", INDEX, "cam0", "cam1"]).await;
            Verb::Heartbeat.run(&store, "cam0").await.unwrap();
            Verb::Stats.run(&store, "cam1").await.unwrap();
            assert_eq!(store.list().await.unwrap().len(), names.len());
        }
        // Fill the memory that unregistered streams have freed.
        top_up(&redis, &mut ballast).await;
        // The streams must also stay alive after the script cache is flushed.
        redis.server.cli(&["SCRIPT", "FLUSH"]).await;
    }
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), names.len(), "all live streams are listed");
    redis.server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    store.register(&stream("new", "h:9")).await.unwrap();
    // Once memory is free again, `list` uses its cheapest strategy again.
    redis.server.cli(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(store.list().await.unwrap().len(), names.len() + 1);
    let stats = redis.server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_sort_ro:calls=1"), "{stats}");
}

#[tokio::test]
async fn reader_uses_the_cheapest_strategy_again_after_full_memory() {
    let redis = TestRedis::start().await;
    let owner = redis.store().await;
    owner.register(&stream("cam", SOURCE)).await.unwrap();
    redis.user("quick", "+@read +@connection +multi +exec +time allkeys").await;
    let reader = redis.store_as("quick").await;
    fill(&redis).await;
    assert_eq!(reader.list().await.unwrap().len(), 1);
    redis.server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    redis.server.cli(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(reader.list().await.unwrap().len(), 1);
    let stats = redis.server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_sort_ro:calls=1"), "{stats}");
}

#[tokio::test]
async fn lease_with_a_pending_patch_stays_alive_while_memory_is_full() {
    // A single write and a batch of several writes use different code paths.
    for count in [1, 3] {
        let redis = TestRedis::start().await;
        let store = Arc::new(RedisRegistry::connect(redis.options().ttl(TTL)).await.unwrap());
        let leases = Leases::new(store.clone(), LeaseOptions::default());
        let mut held = Vec::new();
        for at in 0..count {
            held.push(leases.acquire(stream(&format!("cam{at}"), SOURCE)).await.unwrap());
        }
        let mut ballast = fill(&redis).await;
        for lease in &held {
            lease.patch(StreamPatch::default().label("rack", "7")).unwrap();
        }
        let start = Instant::now();
        while start.elapsed() < TTL * 2 {
            assert_eq!(store.list().await.unwrap().len(), count, "{:?}", start.elapsed());
            assert!(held.iter().all(|lease| lease.state() == LeaseState::Held));
            top_up(&redis, &mut ballast).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = held[0].flush().await.unwrap_err();
        assert!(error.is_retryable() && error.message().contains("memory"), "{error}");
        redis.server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
        testkit::wait_until(TIMEOUT, async || {
            store.list().await.unwrap().iter().all(|stream| stream.labels.contains_key("rack"))
        })
        .await;
    }
}
