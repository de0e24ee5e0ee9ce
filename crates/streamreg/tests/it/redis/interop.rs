//! Leased streams whose keys are also written by programs that do not know leases, as docs/interop.md describes.

use std::sync::Arc;
use std::time::Duration;

use ::redis::AsyncCommands as _;
use stream_registry::lease::{LeaseEnd, LeaseOptions, Leases};
use stream_registry::stream::generate_stream_id;
use stream_registry::{
    ErrorKind, Guard, OnConflict, Outcome, RedisRegistry, RegisterOptions, Registry, StreamType, UnregisterOptions,
};
use testkit::wait_until;

use super::{INDEX, TIMEOUT, TestRedis, id, key, stream};

/// The heartbeat interval is a fifth of the time to live.
const TTL: Duration = Duration::from_secs(5);
const OURS: &str = "203.0.113.7:40112";

impl TestRedis {
    async fn has_key(&self, name: &str) -> bool {
        self.raw.clone().exists(key(name)).await.unwrap()
    }

    /// Ends a stream with the commands of docs/interop.md.
    async fn end_without_leases(&self, name: &str) {
        let mut commands = ::redis::pipe();
        commands.atomic().del(key(name)).srem(INDEX, name);
        let _: (i64, i64) = commands.query_async(&mut self.raw.clone()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_undoes_the_removal_by_a_program_without_leases() {
    let redis = TestRedis::start().await;
    let store = Arc::new(RedisRegistry::connect(redis.options().ttl(TTL)).await.unwrap());
    let lease = Leases::new(store.clone(), LeaseOptions::default()).acquire(stream("cam1", OURS)).await.unwrap();
    let epoch = lease.epoch().clone();
    redis.end_without_leases("cam1").await;
    wait_until(TIMEOUT, async || store.get(&id("cam1")).await.is_ok_and(|again| again.epoch() == Some(&epoch))).await;
    assert!(redis.index().await.contains("cam1".as_bytes()));
    // A removal through the registry is final.
    let force = UnregisterOptions::default().guard(Guard::Force);
    store.unregister_with(&id("cam1"), &force).await.unwrap();
    assert_eq!(tokio::time::timeout(TIMEOUT, lease.ended()).await.unwrap(), LeaseEnd::Removed);
    assert!(!redis.has_key("cam1").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_of_another_publisher_ends_the_lease_of_the_stream() {
    let redis = TestRedis::start().await;
    let store = Arc::new(RedisRegistry::connect(redis.options().ttl(TTL)).await.unwrap());
    let lease = Leases::new(store.clone(), LeaseOptions::default()).acquire(stream("cam1", OURS)).await.unwrap();
    redis.put("cam1", r#"{"id":"cam1","type":"srt","source_addr":"198.51.100.9:5000"}"#, 60_000).await;
    let ended = tokio::time::timeout(TIMEOUT, lease.ended()).await.unwrap();
    assert!(matches!(ended, LeaseEnd::Superseded { .. }), "{ended:?}");
    assert_eq!(store.get(&id("cam1")).await.unwrap().source_addr, "198.51.100.9:5000");
}

#[tokio::test]
async fn stream_without_lease_stays_ended_after_removal_by_another_program() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.register(&stream("cam1", OURS)).await.unwrap();
    redis.end_without_leases("cam1").await;
    assert_eq!(store.update_heartbeat(&id("cam1")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.list().await.unwrap().is_empty() && !redis.has_key("cam1").await);
}

#[tokio::test]
async fn generated_ids_never_replace_streams_of_other_programs() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let json = r#"{"type":"srt","source_addr":"198.51.100.9:5000"}"#;
    let policies = [OnConflict::Reject, OnConflict::CreateOnly, OnConflict::TakeOver];
    let (mut held, mut skipped) = (Vec::new(), 0);
    for policy in policies.into_iter().cycle().take(60) {
        // Another program holds the id that is generated next, unless another test generates it first.
        let generated = generate_stream_id(&StreamType::Srt, "");
        let (prefix, counter) = generated.as_str().rsplit_once('_').unwrap();
        let counter: u64 = counter.parse().unwrap();
        let next = format!("{prefix}_{:03}", counter + 1);
        redis.put(&next, json, 0).await;
        let options = RegisterOptions::default().on_conflict(policy);
        let registered = store.register_new(&stream("template", OURS), &options).await.unwrap();
        assert_eq!(registered.outcome, Outcome::Created);
        assert_ne!(registered.stream.id.as_str(), next);
        assert_eq!(registered.stream.kind, StreamType::Srt);
        skipped += u32::from(registered.stream.id.as_str() == format!("{prefix}_{:03}", counter + 2));
        held.push(key(&next));
    }
    assert!(skipped > 0, "no generated id was held");
    let after: Vec<String> = redis.raw.clone().mget(&held).await.unwrap();
    assert!(after.iter().all(|record| record == json));
}
