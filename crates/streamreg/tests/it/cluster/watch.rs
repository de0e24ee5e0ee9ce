//! Watches and pages over all shards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{Registry as _, StreamId, StreamPatch};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::layout::{ids_in, shard_of};
use super::{TIMEOUT, connect, id, register_all, stream, three_primaries};

/// Returns the next event other than `alive`.
pub(super) async fn next(watch: &mut Watch) -> Event {
    loop {
        match timeout(TIMEOUT, watch.next()).await.expect("an event arrives").expect("the registry is open") {
            Event::Alive { .. } => {}
            event => return event,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_over_all_shards_resumes_from_any_revision_without_loss_under_load() {
    const CHANGES: usize = 120;
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    let names: Vec<String> = (0..16).flat_map(|shard| ids_in(shard, 1)).collect();
    register_all(&registry, names.clone()).await;
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let writers: Vec<_> = names
        .iter()
        .map(|name| {
            let (registry, name) = (Arc::clone(&registry), id(name));
            tokio::spawn(async move {
                for number in 0..CHANGES {
                    let patch = StreamPatch::default().label("n", number.to_string());
                    registry.patch(&name, &patch).await.unwrap();
                }
            })
        })
        .collect();
    let mut received: HashMap<StreamId, Vec<usize>> = HashMap::new();
    let mut total = 0;
    while total < CHANGES * names.len() {
        // The test repeatedly drops the watch, and starts another one from the last revision.
        let event = next(&mut watch).await;
        let stream = event.stream().unwrap_or_else(|| panic!("unexpected {event:?}"));
        received.entry(stream.id.clone()).or_default().push(stream.labels["n"].parse().unwrap());
        total += 1;
        if total % 97 == 0 {
            watch = registry.watch(WatchFrom::Revision(event.revision().clone())).await.unwrap();
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let all: Vec<usize> = (0..CHANGES).collect();
    for name in &names {
        assert_eq!(received[&id(name)], all, "{name}: lost, repeated or out of order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_from_the_first_page_misses_no_change_of_any_shard() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    register_all(&registry, (0..400).map(|n| format!("stays {n}"))).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Locked by the task that may change streams.
    let turn = Arc::new(Mutex::new(()));
    let churn = tokio::spawn({
        let (registry, stop, turn) = (Arc::clone(&registry), Arc::clone(&stop), Arc::clone(&turn));
        async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let _turn = turn.lock().await;
                registry.register(&stream(&format!("new {number}"))).await.unwrap();
                registry.unregister(&id(&format!("stays {}", number % 400))).await.ok();
                registry.register(&stream(&format!("stays {}", number % 400))).await.unwrap();
            }
        }
    });
    for size in [1, 7, 50, 1_000] {
        let mut live = BTreeMap::new();
        let (mut cursor, mut from) = (None, None);
        loop {
            let page = registry.list_page(cursor.as_ref(), NonZeroU32::new(size).unwrap()).await.unwrap();
            from = from.or(page.revision);
            assert!(page.total >= 399, "{}", page.total);
            live.extend(page.streams.into_iter().map(|stream| (stream.id.clone(), stream.created_at)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        // The events after the first page lead to the same state as the store.
        let mut watch = registry.watch(WatchFrom::Revision(from.unwrap())).await.unwrap();
        let _turn = turn.lock().await;
        let marker = format!("marker {size}");
        let markers: BTreeSet<StreamId> = (0..16).map(|shard| marker_in(shard, &marker)).collect();
        register_all(&registry, markers.iter().map(ToString::to_string)).await;
        let snapshot = registry.snapshot().await.unwrap();
        let mut left = markers;
        while !left.is_empty() {
            match next(&mut watch).await {
                Event::Changed { stream, .. } => {
                    left.remove(&stream.id);
                    live.insert(stream.id.clone(), stream.created_at);
                }
                Event::Ended { last, .. } => drop(live.remove(&last.id)),
                event => panic!("unexpected {event:?}"),
            }
        }
        let stored: BTreeMap<_, _> =
            snapshot.streams.into_iter().map(|stream| (stream.id, stream.created_at)).collect();
        assert_eq!(live, stored, "pages of {size}");
    }
    stop.store(true, Ordering::Relaxed);
    churn.await.unwrap();
}

fn marker_in(shard: usize, name: &str) -> StreamId {
    let mut candidates = (0..).map(|number| format!("{name} {number}"));
    id(&candidates.find(|name| shard_of(name) == shard).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_of_another_store_leads_to_one_resync_for_all_shards() {
    let cluster = three_primaries().await;
    let registry = connect(&cluster).await;
    register_all(&registry, (0..64).map(|n| format!("cam{n}"))).await;
    for foreign in ["1-0.2-0", "0123456789abcdef-1", "2_._._0.0"] {
        let mut watch = registry.watch(WatchFrom::Revision(foreign.parse().unwrap())).await.unwrap();
        let event = next(&mut watch).await;
        assert!(matches!(event, Event::Resync { .. }), "{event:?}");
        assert_eq!(Some(event.revision()), registry.snapshot().await.unwrap().revision.as_ref());
        registry.patch(&id("cam1"), &StreamPatch::default().label("from", foreign)).await.unwrap();
        let event = next(&mut watch).await;
        assert_eq!(event.as_str(), "patched");
    }
}
