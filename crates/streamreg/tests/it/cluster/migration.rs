//! Slots that move to another node while they are used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use stream_registry::query::Query;
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{ErrorKind, Registry as _, StreamPatch};
use testkit::wait_until;
use tokio::time::timeout;

use super::layout::{ids_in, prefix_of};
use super::{PREFIX, TIMEOUT, connect, id, register_all, three_primaries};

#[tokio::test(flavor = "multi_thread")]
async fn shard_that_moves_to_another_node_loses_no_change_and_no_event() {
    const SHARD: usize = 4;
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let names = ids_in(SHARD, 300);
    let others: Vec<_> = (0..16).filter(|shard| *shard != SHARD).flat_map(|shard| ids_in(shard, 2)).collect();
    register_all(&registry, names.iter().chain(&others).cloned()).await;
    let all = names.len() + others.len();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();

    // One writer changes the streams one after the other until the shard has moved there and back.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (registry, names, stop) = (Arc::clone(&registry), names.clone(), Arc::clone(&stop));
        async move {
            let mut applied = Vec::new();
            for number in 0_usize.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let name = id(&names[number % names.len()]);
                let patch = StreamPatch::default().label("n", number.to_string());
                match registry.patch(&name, &patch).await {
                    Ok(()) => applied.push(number),
                    Err(error) => assert!(error.is_retryable() && !error.may_have_applied(), "{error:?}"),
                }
            }
            applied
        }
    });
    // Lists and pages either contain all streams or fail.
    let rounds = Arc::new(AtomicUsize::new(0));
    let reader = tokio::spawn({
        let (registry, rounds, stop) = (Arc::clone(&registry), Arc::clone(&rounds), Arc::clone(&stop));
        async move {
            let mut failed = 0;
            while !stop.load(Ordering::Relaxed) {
                let list = registry.list().await.map(|list| list.len());
                let found = registry.find(&Query::default()).await.map(|page| page.streams.len());
                for count in [list, found] {
                    match count {
                        Ok(count) => assert_eq!(count, all, "a list is incomplete"),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                            failed += 1;
                        }
                    }
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            failed
        }
    });
    let key = prefix_of(PREFIX, SHARD);
    let (slot, from) = (cluster.slot_of(&key).await, cluster.primary_of(&key).await);
    let to = (from + 1) % 3;
    for (from, to) in [(from, to), (to, from)] {
        cluster.begin_migration(slot, from, to).await;
        while cluster.move_keys(slot, from, to, 150).await > 0 {
            // Each step is visible to whole lists.
            let before = rounds.load(Ordering::Relaxed);
            wait_until(TIMEOUT, async || reader.is_finished() || rounds.load(Ordering::Relaxed) > before + 1).await;
        }
        cluster.end_migration(slot, from, to).await;
    }
    stop.store(true, Ordering::Relaxed);
    let applied = writer.await.unwrap();
    assert!(reader.await.unwrap() > 0, "the lists of half a shard must fail");
    assert!(applied.len() > 10, "{} changes were applied", applied.len());

    let mut received = Vec::new();
    while received.last() != applied.last() {
        match timeout(TIMEOUT, watch.next()).await.expect("an event arrives").unwrap() {
            Event::Changed { stream, .. } => received.push(stream.labels["n"].parse::<usize>().unwrap()),
            Event::Alive { .. } => {}
            event => panic!("unexpected {event:?}"),
        }
    }
    assert_eq!(received, applied);
    assert_eq!(registry.list().await.unwrap().len(), all);
}
