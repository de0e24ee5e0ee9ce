//! Concurrent registrations and removals, which share calls to Redis.

use std::sync::Arc;

use futures_util::future::join_all;
use stream_registry::stream::OperationId;
use stream_registry::{ErrorKind, Guard, OnConflict, RegisterOptions, Registry, UnregisterOptions};

use super::operations::SOURCE;
use super::{TestRedis, id, stream};

const PRIVATE: &str = "mirror:streams:\u{1f}";

/// Damages the tombstone of one stream, and runs calls about many streams at once.
#[tokio::test]
async fn tombstone_of_another_type_fails_no_call() {
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    redis.server.cli(&["SADD", &format!("{PRIVATE}end:s7"), "x"]).await;
    let ids: Vec<_> = (0..80).map(|n| format!("s{n}")).collect();
    let registered = join_all(ids.iter().map(|name| {
        let store = Arc::clone(&store);
        async move {
            let options = RegisterOptions::default().lease();
            store.register_with(&stream(name, SOURCE), &options).await.unwrap_or_else(|error| panic!("{name}: {error}"))
        }
    }))
    .await;
    redis.server.cli(&["DEL", &format!("{PRIVATE}end:s9")]).await;
    redis.server.cli(&["SADD", &format!("{PRIVATE}end:s9"), "x"]).await;
    join_all(registered.into_iter().map(|registered| {
        let store = Arc::clone(&store);
        async move {
            let options = UnregisterOptions::default().guard(Guard::Holder(registered.epoch.unwrap()));
            let last = store.unregister_with(&registered.stream.id, &options).await;
            last.unwrap_or_else(|error| panic!("{}: {error}", registered.stream.id));
        }
    }))
    .await;
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn stored_result_of_another_type_fails_no_call() {
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    let damaged = OperationId::generate();
    redis.server.cli(&["SADD", &format!("{PRIVATE}op:{damaged}"), "x"]).await;
    join_all((0..40).map(|n| {
        let (store, damaged) = (Arc::clone(&store), damaged.clone());
        async move {
            let options = RegisterOptions::default();
            let options = if n == 7 { options.operation(damaged) } else { options };
            let name = format!("s{n}");
            store
                .register_with(&stream(&name, SOURCE), &options)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"))
        }
    }))
    .await;
    assert_eq!(store.list().await.unwrap().len(), 40);
}

#[tokio::test]
async fn unreadable_tombstone_does_not_prevent_a_lease() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let (some_tildes, most_tildes) = ("~".repeat(90), "~".repeat(128));
    for (name, tombstone) in [("a", "x y"), ("b", "é"), ("c", ""), ("d", " "), ("e", &some_tildes), ("f", &most_tildes)]
    {
        redis.server.cli(&["SET", &format!("{PRIVATE}end:{name}"), tombstone, "PX", "60000"]).await;
        let leased = RegisterOptions::default().lease();
        let registered = store.register_with(&stream(name, SOURCE), &leased).await.unwrap();
        let epoch = registered.epoch.unwrap();
        assert_eq!(store.get(&id(name)).await.unwrap().epoch(), Some(&epoch));
        // The removal replaces the tombstone, so the holder cannot register the stream again.
        store.unregister_with(&id(name), &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
        let error = store.register_with(&stream(name, SOURCE), &leased.recover(epoch)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_take_overs_of_one_stream_all_succeed() {
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    for lease in [false, true] {
        let calls = (0..60).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
                options.lease = lease;
                store.register_with(&stream("cam1", &format!("203.0.113.7:{n}")), &options).await
            })
        });
        for (n, call) in join_all(calls).await.into_iter().enumerate() {
            call.unwrap().unwrap_or_else(|error| panic!("lease {lease}, call {n}: {error}"));
        }
    }
}
