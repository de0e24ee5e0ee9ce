//! Tests the index of ids: missing ids are restored, stale ids are removed, and arbitrary members are tolerated.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stream_registry::{Change, ErrorKind, Guard, RedisRegistry, Registry, StreamId, Write};

use super::operations::{ALL, SOURCE, Verb, all_stats};
use super::{INDEX, TestRedis, id, stream};

const FOREIGN: &str = r#"{"x":[],"source_addr":"203.0.113.7:40112","type":"srt","status":"active"}"#;

async fn pages(store: &RedisRegistry, count: u32) -> Vec<StreamId> {
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list_page(cursor.as_ref(), NonZeroU32::new(count).unwrap()).await.unwrap();
        seen.extend(page.streams.into_iter().map(|stream| stream.id));
        cursor = page.next;
        if cursor.is_none() {
            return seen;
        }
    }
}

#[tokio::test]
async fn every_write_restores_a_missing_id_in_the_index() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for foreign in [false, true] {
        for verb in ALL.into_iter().filter(|verb| !verb.ends()) {
            redis.flush().await;
            if foreign {
                redis.put("cam1", FOREIGN, 60_000).await;
            } else {
                store.register(&stream("cam1", SOURCE)).await.unwrap();
            }
            // The test removes either the whole index or only this id.
            for last in [true, false] {
                if !last {
                    redis.server.cli(&["SADD", INDEX, "another"]).await;
                }
                redis.server.cli(&["SREM", INDEX, "cam1"]).await;
                assert_eq!(store.list().await.unwrap().len(), 0);
                verb.run(&store, "cam1").await.unwrap_or_else(|error| panic!("{verb:?}, {foreign}: {error}"));
                assert!(redis.index().await.contains(&b"cam1"[..]), "{verb:?}, foreign record {foreign}, last {last}");
                assert_eq!(store.list().await.unwrap().len(), 1, "{verb:?}");
            }
        }
    }
}

#[tokio::test]
async fn batch_restores_all_missing_ids_in_the_index() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let names: Vec<String> = (0..600).map(|at| format!("cam{at}")).collect();
    for (at, name) in names.iter().enumerate() {
        if at % 7 == 0 {
            redis.put(name, FOREIGN, 60_000).await;
        } else if at % 11 != 0 {
            store.register(&stream(name, SOURCE)).await.unwrap();
        }
    }
    redis.server.cli(&["DEL", INDEX]).await;
    let writes: Vec<Write> = names
        .iter()
        .enumerate()
        .map(|(at, name)| Write {
            id: id(name),
            guard: Guard::None,
            change: if at % 2 == 0 { Change::Heartbeat } else { Change::Stats(Box::new(all_stats())) },
        })
        .collect();
    let answers = store.write(&writes).await.unwrap();
    for (at, answer) in answers.iter().enumerate() {
        let absent = at % 7 != 0 && at % 11 == 0;
        assert_eq!(
            answer.as_ref().err().map(stream_registry::Error::kind),
            absent.then_some(ErrorKind::NotFound),
            "{at}"
        );
    }
    redis.assert_consistent("after a batch").await;
    assert_eq!(redis.index().await.len(), answers.iter().filter(|answer| answer.is_ok()).count());
}

#[tokio::test]
async fn list_and_pages_remove_ids_without_a_record_from_the_index() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for paged in [false, true] {
        redis.flush().await;
        store.register(&stream("cam1", SOURCE)).await.unwrap();
        redis.server.cli(&["HSET", "mirror:streams:wrong", "a", "b"]).await;
        redis.server.cli(&["SADD", INDEX, "wrong"]).await;
        let mut raw = redis.raw.clone();
        let mut add = ::redis::cmd("SADD");
        add.arg(INDEX);
        for at in 0..1_200 {
            add.arg(format!("gone{at}"));
        }
        // Invalid ids without records are removed like any other stale id.
        let illegal: [&[u8]; 6] = [b"", b"\xff\x00", b"a\nb", b"..", b" a", &[b'x'; 400]];
        for member in illegal {
            add.arg(member);
        }
        let _: i64 = add.query_async(&mut raw).await.unwrap();
        // One member names the index key itself, and one has a record whose id is invalid.
        let _: i64 = ::redis::cmd("SADD").arg(INDEX).arg("active").arg("c\nd").query_async(&mut raw).await.unwrap();
        redis.put_unindexed("c\nd", FOREIGN, 60_000).await;
        let pruned = store.counters().pruned;
        if paged {
            assert_eq!(pages(&store, 100).await, [id("cam1")]);
        } else {
            let snapshot = store.snapshot().await.unwrap();
            assert_eq!((snapshot.streams.len(), snapshot.unreadable), (1, 3), "wrong, active and c\\nd");
        }
        let left = redis.index().await;
        let expected: BTreeSet<Vec<u8>> = [&b"cam1"[..], b"wrong", b"active", b"c\nd"].map(<[u8]>::to_vec).into();
        assert_eq!(left, expected, "paged {paged}");
        assert_eq!(store.counters().pruned - pruned, 1_206);
        assert_eq!(store.counters().prune_failures, 0);
        assert_eq!(redis.server.cli(&["TYPE", "mirror:streams:wrong"]).await, "hash");
        for verb in ALL {
            let error = verb.run(&store, "wrong").await.expect_err("the key holds a hash");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{verb:?}: {error}");
        }
        assert_eq!(store.get(&id("wrong")).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(redis.server.cli(&["HGET", "mirror:streams:wrong", "a"]).await, "b");
    }
}

#[tokio::test]
async fn list_keeps_an_id_that_is_registered_concurrently() {
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    let stop = Arc::new(AtomicBool::new(false));
    let lister = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::Relaxed) {
                store.list().await.unwrap();
                pages(&store, 10).await;
            }
        }
    });
    for round in 0..300 {
        let name = format!("cam{}", round % 5);
        // The record is deleted, but its id stays in the index. The stream is then registered again during a list.
        redis.server.client();
        let _: i64 = ::redis::cmd("DEL").arg(super::key(&name)).query_async(&mut redis.raw.clone()).await.unwrap();
        Verb::Register.run(&store, &name).await.unwrap();
        assert!(redis.index().await.contains(name.as_bytes()), "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    lister.await.unwrap();
    redis.assert_consistent("after the lists").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_contain_every_stable_stream_while_others_come_and_go() {
    let redis = TestRedis::start().await;
    let store = Arc::new(redis.store().await);
    let mut pipe = ::redis::pipe();
    let steady: BTreeSet<StreamId> = (0..10_000).map(|at| id(&format!("steady{at}"))).collect();
    for name in &steady {
        pipe.cmd("SET").arg(format!("mirror:streams:{name}")).arg(FOREIGN).arg("PX").arg(300_000).ignore();
        pipe.cmd("SADD").arg(INDEX).arg(name.as_str()).ignore();
    }
    let () = pipe.query_async(&mut redis.raw.clone()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let churn = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut round: usize = 0;
            while !stop.load(Ordering::Relaxed) {
                let calls = (0..64).map(|at| {
                    let (store, name) = (Arc::clone(&store), format!("churn{}", round * 64 + at));
                    async move {
                        store.register(&stream(&name, SOURCE)).await.unwrap();
                        if at % 4 != 0 {
                            store.unregister(&id(&name)).await.unwrap();
                        }
                    }
                });
                futures_util::future::join_all(calls).await;
                round += 1;
            }
            round
        }
    });
    for count in [100, 1_000, 10_000] {
        let seen: BTreeSet<StreamId> = pages(&store, count).await.into_iter().collect();
        let missing = steady.difference(&seen).count();
        assert_eq!(missing, 0, "pages of {count}");
    }
    let listed: BTreeSet<StreamId> = store.list().await.unwrap().into_iter().map(|stream| stream.id).collect();
    assert_eq!(steady.difference(&listed).count(), 0);
    stop.store(true, Ordering::Relaxed);
    assert!(churn.await.unwrap() > 0);
    redis.assert_consistent("after the churn").await;
}
