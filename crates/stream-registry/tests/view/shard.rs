//! Views that read one shard again, because its events were lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stream_registry::watch::Shard;
use stream_registry::{Registry, Stream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::faulty::Faulty;
use super::{churn, contents, frequent, id, never, stream, to_json, until, view, wait_for_tail};

/// Ids of streams that are in the shard.
const INSIDE: [&str; 3] = ["a", "c", "e"];
/// Ids of streams that are in the other shard.
const OUTSIDE: [&str; 3] = ["b", "d", "f"];

fn shard() -> Shard {
    let shard = Shard::new(1, 2).unwrap();
    assert!(INSIDE.iter().all(|name| shard.contains(&id(name))));
    assert!(!OUTSIDE.iter().any(|name| shard.contains(&id(name))));
    shard
}

async fn registry_with(streams: &[&str]) -> Arc<Faulty> {
    let registry = Arc::new(Faulty { shard: Some(shard()), ..Faulty::default() });
    for name in streams {
        registry.register(&stream(name)).await.unwrap();
    }
    registry
}

/// Makes the store pause after it has read the next page.
fn hold_next_page(registry: &Faulty) -> Arc<(Notify, Notify)> {
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_pages.lock().unwrap() = Some(Arc::clone(&hold));
    hold
}

/// Unregisters a stream of the shard. The event is lost.
async fn lose_end(registry: &Faulty, name: &str) {
    registry.drop_event.store(true, Ordering::SeqCst);
    registry.unregister(&id(name)).await.unwrap();
}

#[tokio::test]
async fn view_applies_events_of_other_shards_while_it_reads_one_shard_again() {
    let registry = registry_with(&["a", "c", "b", "d"]).await;
    let view = view(&registry, never()).await;
    let hold = hold_next_page(&registry);
    let before = view.revision();
    lose_end(&registry, "a").await;
    hold.0.notified().await;

    registry.unregister(&id("b")).await.unwrap();
    registry.register(&stream("f")).await.unwrap();
    registry.register(&stream("e")).await.unwrap();
    until(|| view.get(&id("e")).is_some()).await;
    assert!(view.get(&id("b")).is_none() && view.get(&id("f")).is_some());
    // The view does not claim to show the lost event.
    assert!(view.get(&id("a")).is_some());
    assert_eq!(view.revision(), before);

    hold.1.notify_one();
    wait_for_tail(&view, &*registry).await;
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
    assert_eq!(view.all().len(), 4);
    let reads =
        [&registry.shard_pages, &registry.gets, &registry.first_pages].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(reads, [1, 1, 1], "the shard, the ended stream that was on no page, and the first load");
    assert_eq!(registry.watches.load(Ordering::SeqCst), 1);
    assert_eq!((view.corrections().count, view.metrics().resyncs), (0, 1));
}

#[tokio::test]
async fn shard_is_read_from_the_start_when_it_loses_events_while_it_is_read() {
    let registry = registry_with(&["a", "c", "b"]).await;
    let view = view(&registry, never()).await;
    let hold = hold_next_page(&registry);
    lose_end(&registry, "a").await;
    hold.0.notified().await;
    // The page that the store has read contains this stream.
    lose_end(&registry, "c").await;
    wait_for_tail(&view, &*registry).await;
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
    assert_eq!(registry.shard_pages.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn shard_is_read_at_once_when_it_loses_events_during_a_reconciliation() {
    let registry = registry_with(&["a", "b"]).await;
    let view = view(&registry, frequent()).await;
    // This page is never released.
    let hold = hold_next_page(&registry);
    hold.0.notified().await;
    lose_end(&registry, "a").await;
    until(|| view.get(&id("a")).is_none()).await;
    let before = view.corrections();
    until(|| view.corrections().reconciliations > before.reconciliations).await;
    assert_eq!((registry.shard_pages.load(Ordering::SeqCst), view.corrections().count), (1, 0));
}

/// No reconciliation of all streams takes place, so it cannot hide a difference.
#[tokio::test(flavor = "multi_thread")]
async fn view_holds_the_streams_of_the_store_after_a_shard_has_lost_many_events() {
    let registry = Arc::new(Faulty { shard: Some(shard()), resync_every: Some(20), ..Faulty::default() });
    let view = view(&registry, never()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for seed in 0..8 {
        tasks.spawn(churn(Arc::clone(&registry) as Arc<dyn Registry>, seed, Arc::clone(&stop)));
    }
    until(|| registry.shard_pages.load(Ordering::SeqCst) > 50).await;
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    // Statistics cause no events, so they can differ.
    let state = |stream: &Stream| (stream.id.clone(), stream.created_at, stream.status.clone(), stream.node.clone());
    let stored: BTreeSet<_> = registry.list().await.unwrap().iter().map(state).collect();
    until(|| view.all().iter().map(|stream| state(stream)).collect::<BTreeSet<_>>() == stored).await;
    wait_for_tail(&view, &*registry).await;
    assert_eq!(registry.first_pages.load(Ordering::SeqCst), 1);
}

/// A server that is used over HTTP rejects the cursor.
#[tokio::test]
async fn view_loads_all_streams_when_the_store_cannot_list_one_shard() {
    let registry = Arc::new(Faulty { shard: Some(shard()), rejects_shard: true, ..Faulty::default() });
    for name in ["a", "b"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let view = view(&registry, never()).await;
    lose_end(&registry, "a").await;
    until(|| view.get(&id("a")).is_none()).await;
    registry.register(&stream("c")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
    let reads = [&registry.shard_pages, &registry.first_pages].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(reads, [0, 2], "the first load and the second one");
    assert_eq!(view.metrics().resyncs, 1);
}
