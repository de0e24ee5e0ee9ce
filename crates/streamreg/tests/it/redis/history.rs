//! The history of ended streams on a real server.

use std::num::NonZeroU32;

use stream_registry::query::Ended;
use stream_registry::{RedisRegistry, Registry, UnregisterOptions};

use super::operations::SOURCE;
use super::{FEED, TestRedis, id, permissions, stream};
use crate::http::kit::count;

async fn history(store: &dyn Registry, ended: &Ended, limit: u32) -> Vec<String> {
    let events = store.history(ended, NonZeroU32::new(limit).unwrap()).await.unwrap();
    events.iter().map(|event| event.stream().unwrap().id.to_string()).collect()
}

async fn end(store: &dyn Registry, name: &str) {
    store.register(&stream(name, SOURCE)).await.unwrap();
    store.unregister_with(&id(name), &UnregisterOptions::default()).await.unwrap();
}

#[tokio::test]
async fn history_reads_no_more_of_the_feed_than_its_limit_needs() {
    let redis = TestRedis::start().await;
    let writer = redis.store().await;
    for n in 0..1_200 {
        end(&writer, &format!("cam{n}")).await;
    }
    // The sweep of a writer reads the feed too.
    writer.close().await.unwrap();
    assert_eq!(redis.server.cli(&["CONFIG", "RESETSTAT"]).await, "OK");
    let store = RedisRegistry::connect(redis.options().read_only()).await.unwrap();
    let reads = async || (count(&redis.server, "xrevrange").await, count(&redis.server, "xread").await);
    assert_eq!(history(&store, &Ended::default(), 3).await, ["cam1199", "cam1198", "cam1197"]);
    assert_eq!(reads().await, (1, 0));
    // Each read requests twice as many entries as the one before, up to 500: 64, 128, 256, and then 500 four times.
    assert_eq!(history(&store, &Ended::default().id(id("cam0")), 10).await, ["cam0"]);
    assert_eq!(reads().await, (8, 0));
    let all: Vec<_> = (0..1_200).rev().map(|n| format!("cam{n}")).collect();
    assert_eq!(history(&store, &Ended::default(), 10_000).await, all);
}

#[tokio::test]
async fn undecodable_feed_entry_hides_no_end_from_the_history() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    end(&store, "a").await;
    for fields in [&["x", "y"][..], &["p", "no id", "w", "expired", "i", "bad"], &["w", "expired", "i", "\u{1}"]] {
        redis.server.cli(&[&["XADD", FEED, "*"][..], fields].concat()).await;
        end(&store, "b").await;
    }
    assert_eq!(history(&store, &Ended::default(), 10).await, ["b", "b", "b", "a"]);
    // If the key of the feed holds a value of another type, the history is empty. The next change replaces the value.
    redis.server.cli(&["SET", FEED, "x"]).await;
    assert_eq!(history(&store, &Ended::default(), 10).await, [""; 0]);
    end(&store, "c").await;
    assert_eq!(history(&store, &Ended::default(), 10).await, ["c"]);
}

#[tokio::test]
async fn history_works_without_the_permission_to_read_the_feed_backwards() {
    let redis = TestRedis::start().await;
    let rules = permissions::rules("server");
    let fewer: Vec<_> = rules.into_iter().filter(|rule| *rule != "+xrevrange").collect();
    redis.user("older", &fewer.join(" ")).await;
    let store = redis.store_as("older").await;
    for name in ["a", "b"] {
        end(&store, name).await;
    }
    assert_eq!(history(&store, &Ended::default(), 10).await, ["b", "a"]);
    assert_eq!(history(&store, &Ended::default().id(id("a")), 10).await, ["a"]);
}
