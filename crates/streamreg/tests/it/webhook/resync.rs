//! Positions that the change feed no longer has.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry, connect};
use testkit::wait_until;

use super::kit::{Hooks, Receiver, webhook};
use crate::http::kit::{PATIENCE, stream};
use crate::redis::{FEED, TestRedis};

#[tokio::test]
async fn receiver_gets_one_resync_when_the_feed_was_trimmed() {
    let (dir, receiver, redis) = (tempfile::tempdir().unwrap(), Receiver::start().await, TestRedis::start().await);
    let registry = connect(&redis.server.url()).await.unwrap();
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("cam1")).await.unwrap();
    receiver.accepted_at_least(1).await;
    hooks.stop().await;
    for number in 2..5 {
        registry.register(&stream(&format!("cam{number}"))).await.unwrap();
    }
    redis.server.cli(&["XTRIM", FEED, "MAXLEN", "1"]).await;
    let _hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    receiver.accepted_at_least(2).await;
    registry.register(&stream("cam5")).await.unwrap();
    let deliveries = receiver.accepted_at_least(3).await;
    assert_eq!(deliveries[1].json()["type"], "feed.resync");
    assert_eq!(
        receiver.events()[1..],
        [("resync", ""), ("registered", "cam5")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
}

#[tokio::test]
async fn receiver_gets_a_resync_when_the_position_belongs_to_another_store() {
    let (dir, receiver, redis) = (tempfile::tempdir().unwrap(), Receiver::start().await, TestRedis::start().await);
    let memory: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let restarted: Arc<dyn Registry> = Arc::new(MemoryRegistry::new());
    let redis = connect(&redis.server.url()).await.unwrap();
    for (at, registry) in [memory, restarted, redis].into_iter().enumerate() {
        let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
        wait_until(PATIENCE, async || receiver.events().len() == at * 2).await;
        registry.register(&stream("cam1")).await.unwrap();
        receiver.accepted_at_least(at * 2 + 1).await;
        hooks.stop().await;
    }
    let words: Vec<_> = receiver.events().into_iter().map(|(event, _)| event).collect();
    assert_eq!(words, ["registered", "resync", "registered", "resync", "registered"]);
}

#[tokio::test]
async fn webhook_waits_for_a_store_that_is_down() {
    let (dir, receiver, mut redis) = (tempfile::tempdir().unwrap(), Receiver::start().await, TestRedis::start().await);
    let registry = connect(&redis.server.url()).await.unwrap();
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    registry.register(&stream("cam1")).await.unwrap();
    receiver.accepted_at_least(1).await;
    hooks.stop().await;
    registry.register(&stream("cam2")).await.unwrap();
    redis.server.cli(&["SAVE"]).await;
    redis.server.kill();
    let hooks = Hooks::start(dir.path(), &registry, vec![webhook("a", &receiver.url())]).await;
    redis.server.restart(testkit::Data::Kept).await;
    receiver.accepted_at_least(2).await;
    assert_eq!(receiver.events()[1], ("registered".to_owned(), "cam2".to_owned()));
    hooks.stop().await;
}
