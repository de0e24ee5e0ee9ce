//! Tests of the local view on in-memory stores.
// Clippy allows `unwrap` and `expect` only in functions with `#[test]`, not in helpers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faulty;
mod shard;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stream_registry::mock::MockRegistry;
use stream_registry::query::{Filter, Query};
use stream_registry::registry::Operation;
use stream_registry::view::{View, ViewOptions};
use stream_registry::{
    Change, ErrorKind, MemoryRegistry, Registry, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, StreamType,
    Write,
};
use tokio::sync::Notify;

use faulty::Faulty;

const TIMEOUT: Duration = Duration::from_secs(20);

fn id(id: &str) -> StreamId {
    id.parse().unwrap()
}

fn stream(name: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, "203.0.113.7:40112")
}

/// Returns options of a view that reconciles about every 50 ms.
fn frequent() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_millis(50)).page(NonZeroU32::new(7).unwrap())
}

/// Returns options of a view that does not reconcile during a test, because its interval is an hour.
fn never() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_secs(3_600))
}

async fn view(registry: &Arc<impl Registry>, options: ViewOptions) -> View {
    let view = View::new(Arc::clone(registry) as Arc<dyn Registry>, options);
    tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    view
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + TIMEOUT;
        while !holds() {
            assert!(Instant::now() < deadline, "{caller}: condition not met in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn to_json<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> BTreeMap<String, String> {
    streams.into_iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect()
}

fn contents(view: &View) -> BTreeMap<String, String> {
    to_json(view.all().iter().map(|stream| &**stream))
}

async fn wait_for_tail(view: &View, registry: &dyn Registry) {
    let tail = registry.snapshot().await.unwrap().revision.unwrap();
    tokio::time::timeout(TIMEOUT, view.reached(&tail)).await.unwrap().unwrap();
}

/// Returns whether the counts of a view match its streams. They are read one after the other, so they may differ while
/// the view still follows changes.
fn counts_match(view: &View) -> bool {
    let (counts, all) = (view.counts(), view.all());
    let mut status = BTreeMap::new();
    let mut node = BTreeMap::new();
    for stream in &all {
        *status.entry(stream.status.clone()).or_insert(0) += 1;
        *node.entry(stream.node.clone()).or_insert(0) += 1;
    }
    counts.total as usize == all.len()
        && (&counts.by_status, &counts.by_node) == (&status, &node)
        && counts.by_type.values().sum::<u64>() == counts.total
}

/// Makes random changes to a store until `stop` is set.
async fn churn(registry: Arc<dyn Registry>, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let cam = format!("cam{}", rng.usize(..60));
        // A random call may fail with `NotFound` or `AlreadyExists`.
        let _ = match rng.u8(..7) {
            0 | 1 => registry.register(&stream(&cam)).await.map(|_| ()),
            2 => registry.unregister(&id(&cam)).await.map(|_| ()),
            3 => registry.update_status(&id(&cam), StreamStatus::Active).await,
            4 => registry.update_heartbeat(&id(&cam)).await,
            5 => {
                let stats = StreamStats { bytes_received: Some(rng.u64(..1 << 40)), ..StreamStats::default() };
                registry.update_stats(&id(&cam), &stats).await
            }
            _ => {
                let node = Some(format!("node{}", rng.u8(..4)));
                registry.patch(&id(&cam), &StreamPatch { node, ..StreamPatch::default() }).await
            }
        };
        tokio::task::yield_now().await;
    }
}

async fn assert_equal_after_churn(registry: Arc<impl Registry>, options: ViewOptions) {
    let view = view(&registry, options).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|seed| tokio::spawn(churn(Arc::clone(&registry) as Arc<dyn Registry>, seed, Arc::clone(&stop))))
        .collect();
    let churn_end = Instant::now() + Duration::from_millis(600);
    while Instant::now() < churn_end {
        assert_unique(&view);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let store = to_json(&registry.list().await.unwrap());
    assert!(!store.is_empty());
    until(|| contents(&view) == store && counts_match(&view)).await;
}

/// Asserts that no stream is listed twice while streams come and go.
fn assert_unique(view: &View) {
    let all = view.all();
    let mut ids: Vec<_> = all.iter().map(|stream| &stream.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "a stream is listed twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn view_equals_store_after_random_changes() {
    assert_equal_after_churn(Arc::new(MemoryRegistry::new()), frequent()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_equals_store_after_random_changes_and_resyncs() {
    let registry = Arc::new(Faulty { resync_every: Some(50), ..Faulty::default() });
    assert_equal_after_churn(Arc::clone(&registry), frequent()).await;
    assert!(registry.watches.load(Ordering::SeqCst) > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn view_of_store_without_feed_is_updated_by_reconciliation() {
    let registry = Arc::new(Faulty { without_feed: true, ..Faulty::default() });
    assert_equal_after_churn(Arc::clone(&registry), frequent()).await;
    // Without a feed, the view reaches the revision of this registration with its next reconciliation.
    let view = view(&registry, frequent()).await;
    registry.register(&stream("late")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    assert!(view.get(&id("late")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn view_is_updated_by_reconciliation_when_watch_is_denied() {
    let registry = Arc::new(Faulty { watch_error: Some(ErrorKind::Denied), ..Faulty::default() });
    assert_equal_after_churn(registry, frequent()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_misses_no_event_when_pages_have_no_revision() {
    let registry = Arc::new(Faulty { without_revision: true, ..Faulty::default() });
    let view = view(&registry, never()).await;
    for name in ["a", "b"] {
        registry.register(&stream(name)).await.unwrap();
        until(|| view.get(&id(name)).is_some()).await;
        let tail = registry.inner.snapshot().await.unwrap().revision;
        until(|| view.revision() == tail).await;
        registry.drop_event.store(true, Ordering::SeqCst);
    }
    drop(view);
    let registry = Arc::new(Faulty { without_revision: true, resync_every: Some(50), ..Faulty::default() });
    assert_equal_after_churn(registry, frequent()).await;
}

#[tokio::test]
async fn view_pauses_between_consecutive_loads() {
    for without_revision in [false, true] {
        let registry = Arc::new(Faulty { always_resyncs: true, without_revision, ..Faulty::default() });
        let start = Instant::now();
        let view = view(&registry, never()).await;
        if without_revision {
            // The watch continues after the first loads, so the view needs no further load.
            registry.register(&stream("a")).await.unwrap();
            until(|| view.get(&id("a")).is_some()).await;
            assert!(registry.first_pages.load(Ordering::SeqCst) <= 3);
        } else {
            until(|| registry.first_pages.load(Ordering::SeqCst) >= 7).await;
            // These are the shortest pauses between loads. The first load after a resync has no pause before it.
            assert!(start.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80), "{:?}", start.elapsed());
        }
    }
}

#[tokio::test]
async fn view_follows_the_feed_with_the_maximum_reconcile_interval() {
    let registry = Arc::new(MemoryRegistry::new());
    let view = view(&registry, ViewOptions::default().reconcile_every(Duration::MAX)).await;
    registry.register(&stream("a")).await.unwrap();
    until(|| view.get(&id("a")).is_some()).await;
}

#[tokio::test]
async fn view_finds_and_counts_streams_and_reports_its_revision() {
    let registry = Arc::new(MemoryRegistry::new());
    registry.register(&stream("a")).await.unwrap();
    let view = view(&registry, never()).await;
    assert_eq!(view.revision(), registry.snapshot().await.unwrap().revision);
    let mut rtp = Stream::new(id("b"), StreamType::Rtp, "203.0.113.8:5004");
    rtp.node = Some("n1".into());
    registry.register(&rtp).await.unwrap();
    registry.update_status(&id("b"), StreamStatus::Active).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    assert_eq!(view.revision(), registry.snapshot().await.unwrap().revision);
    assert!(view.age() < TIMEOUT);
    assert_eq!(*view.get(&id("b")).unwrap(), registry.get(&id("b")).await.unwrap());
    assert!(view.get(&id("c")).is_none());
    let active = view.find(&Query::default().filter(Filter::default().status(StreamStatus::Active))).unwrap();
    assert_eq!(active.streams.iter().map(|stream| stream.id.as_str()).collect::<Vec<_>>(), ["b"]);
    let counts = view.counts();
    assert_eq!(counts.total, 2);
    assert_eq!(counts.by_node, BTreeMap::from([(None, 1), (Some("n1".to_owned()), 1)]));
    assert_eq!(counts.by_type, BTreeMap::from([(StreamType::Srt, 1), (StreamType::Rtp, 1)]));
    assert_eq!(counts.by_status, BTreeMap::from([(StreamStatus::Connecting, 1), (StreamStatus::Active, 1)]));
    registry.unregister(&id("a")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    assert!(view.get(&id("a")).is_none());
    assert_eq!(view.counts().by_node, BTreeMap::from([(Some("n1".to_owned()), 1)]));
}

#[tokio::test]
async fn view_removes_expired_streams() {
    let registry = Arc::new(MockRegistry::with_ttl(Duration::from_secs(60)).unwrap());
    registry.register(&stream("a")).await.unwrap();
    let view = view(&registry, never()).await;
    assert_eq!(view.counts().total, 1);
    registry.advance(Duration::from_secs(61));
    until(|| view.get(&id("a")).is_none()).await;
    assert_eq!(view.counts(), stream_registry::view::Counts::default());
}

#[tokio::test]
async fn view_is_loaded_again_when_events_were_lost() {
    let registry = Arc::new(Faulty::default());
    registry.register(&stream("a")).await.unwrap();
    let view = view(&registry, never()).await;
    registry.drop_event.store(true, Ordering::SeqCst);
    // The event of this registration is lost.
    registry.register(&stream("b")).await.unwrap();
    until(|| view.get(&id("b")).is_some()).await;
    assert_eq!(registry.first_pages.load(Ordering::SeqCst), 2);
    registry.register(&stream("c")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
    assert_eq!(view.corrections().count, 0);
}

#[tokio::test]
async fn view_is_ready_only_with_the_changes_that_happened_while_pages_were_read() {
    let registry = Arc::new(Faulty::default());
    for name in ["ends", "changes", "stays"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_pages.lock().unwrap() = Some(Arc::clone(&hold));
    let view = View::new(Arc::clone(&registry) as Arc<dyn Registry>, never());
    // The page has been read, and does not include these changes.
    hold.0.notified().await;
    registry.unregister(&id("ends")).await.unwrap();
    registry.update_status(&id("changes"), StreamStatus::Active).await.unwrap();
    registry.register(&stream("begins")).await.unwrap();
    assert!(!view.is_ready());
    hold.1.notify_one();
    tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
    assert_eq!(view.revision(), registry.snapshot().await.unwrap().revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_view_never_see_a_partial_change() {
    let registry = Arc::new(Faulty { resync_every: Some(3), ..Faulty::default() });
    for n in 0..200 {
        registry.register(&stream(&format!("fixed{n}"))).await.unwrap();
    }
    registry.register(&stream("even")).await.unwrap();
    let view = view(&registry, frequent()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (view, stop) = (view.clone(), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let (even, odd) = (id("even"), id("odd"));
                let pair = view.all().iter().filter(|stream| stream.id == even || stream.id == odd).count();
                assert!(pair == 1 || pair == 2, "the list mixes the streams of two moments: {pair}");
                let total = view.counts().total;
                assert!(total == 201 || total == 202, "{total}");
                assert!(view.get(&id("fixed7")).is_some());
                reads += 1;
            }
            reads
        })
    };
    for _ in 0..500 {
        // `odd` is registered before `even` is unregistered, and `even` before `odd` is.
        registry.register(&stream("odd")).await.unwrap();
        registry.unregister(&id("even")).await.unwrap();
        registry.register(&stream("even")).await.unwrap();
        registry.unregister(&id("odd")).await.unwrap();
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 10);
    assert!(registry.watches.load(Ordering::SeqCst) > 50);
}

#[tokio::test]
async fn reconciliation_applies_and_counts_changes_that_had_no_event() {
    let registry = Arc::new(MockRegistry::new());
    registry.register(&stream("cam")).await.unwrap();
    let view = view(&registry, frequent()).await;
    // New statistics emit no event and do not count as a correction.
    let stats = StreamStats { bytes_received: Some(7), ..StreamStats::default() };
    registry.update_stats(&id("cam"), &stats).await.unwrap();
    until(|| view.get(&id("cam")).unwrap().bytes_received == 7).await;
    assert_eq!((view.corrections().count, view.corrections().last), (0, Vec::new()));
    // Another program adds a record, then changes it.
    registry.put_stored(&id("foreign"), r#"{"type":"srt","status":"active"}"#).unwrap();
    until(|| view.corrections().count == 1).await;
    assert_eq!(view.get(&id("foreign")).unwrap().status, StreamStatus::Active);
    registry.put_stored(&id("foreign"), r#"{"type":"srt","status":"paused"}"#).unwrap();
    until(|| view.corrections().count == 2).await;
    assert_eq!(view.get(&id("foreign")).unwrap().status, StreamStatus::Paused);
    assert_eq!(view.corrections().last, [id("foreign")]);
    assert!(counts_match(&view), "{:?}", view.counts());
    let before = view.corrections().reconciliations;
    until(|| view.corrections().reconciliations > before + 2).await;
    assert_eq!(view.corrections().count, 2);
}

#[tokio::test]
async fn change_whose_event_is_late_is_not_a_correction() {
    let registry = Arc::new(Faulty::default());
    for name in ["gone", "changed"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let view = view(&registry, frequent()).await;
    registry.holds_events.send_replace(true);
    registry.unregister(&id("gone")).await.unwrap();
    registry.update_status(&id("changed"), StreamStatus::Error).await.unwrap();
    registry.register(&stream("new")).await.unwrap();
    // A reconciliation reads the changes before their events arrive.
    until(|| contents(&view).len() == 2 && view.get(&id("gone")).is_none() && view.get(&id("new")).is_some()).await;
    let before = view.corrections().reconciliations;
    registry.holds_events.send_replace(false);
    until(|| view.corrections().reconciliations > before).await;
    assert_eq!(view.corrections().count, 0, "{:?}", view.corrections());
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
}

#[tokio::test]
async fn older_page_does_not_overwrite_a_newer_event() {
    let registry = Arc::new(Faulty::default());
    for name in ["gone", "changed"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let view = view(&registry, ViewOptions::default().reconcile_every(Duration::from_millis(50))).await;
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_pages.lock().unwrap() = Some(Arc::clone(&hold));
    hold.0.notified().await;
    let before = view.corrections().reconciliations;
    // The store read the page before these changes.
    registry.unregister(&id("gone")).await.unwrap();
    registry.update_status(&id("changed"), StreamStatus::Error).await.unwrap();
    registry.register(&stream("new")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    hold.1.notify_one();
    until(|| view.corrections().reconciliations > before).await;
    assert_eq!(view.corrections().count, 0, "{:?}", view.corrections());
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
}

#[tokio::test]
async fn older_read_does_not_overwrite_a_newer_event() {
    let registry = Arc::new(Faulty::default());
    registry.register(&stream("gone")).await.unwrap();
    let view = view(&registry, never()).await;
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_gets.lock().unwrap() = Some(Arc::clone(&hold));
    let refresh = tokio::spawn({
        let view = view.clone();
        async move { view.refresh(&id("gone")).await }
    });
    hold.0.notified().await;
    registry.unregister(&id("gone")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    hold.1.notify_one();
    assert_eq!(refresh.await.unwrap().unwrap(), None);
    assert!(view.get(&id("gone")).is_none());
    // The stream `brief` is registered just before the read and unregistered during the read.
    let hold = Arc::new((Notify::new(), Notify::new()));
    registry.register(&stream("brief")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    registry.unregister(&id("brief")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    registry.register(&stream("brief")).await.unwrap();
    *registry.hold_gets.lock().unwrap() = Some(Arc::clone(&hold));
    let refresh = tokio::spawn({
        let view = view.clone();
        async move { view.refresh(&id("brief")).await }
    });
    hold.0.notified().await;
    registry.unregister(&id("brief")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    hold.1.notify_one();
    assert_eq!(refresh.await.unwrap().unwrap(), None);
    assert!(view.get(&id("brief")).is_none());
}

#[tokio::test]
async fn reconciliation_fails_when_a_snapshot_replaces_the_view() {
    let registry = Arc::new(Faulty::default());
    registry.register(&stream("gone")).await.unwrap();
    let view = view(&registry, never()).await;
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_pages.lock().unwrap() = Some(Arc::clone(&hold));
    let reconcile = tokio::spawn({
        let view = view.clone();
        async move { view.reconcile().await }
    });
    hold.0.notified().await;
    registry.drop_event.store(true, Ordering::SeqCst);
    registry.unregister(&id("gone")).await.unwrap();
    until(|| view.get(&id("gone")).is_none()).await;
    hold.1.notify_one();
    assert_eq!(reconcile.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(view.get(&id("gone")).is_none());
    view.reconcile().await.unwrap();
    assert_eq!((view.all().len(), view.corrections().count), (0, 0));
}

#[tokio::test]
async fn refresh_applies_the_current_record_of_the_store() {
    let registry = Arc::new(MockRegistry::new());
    let view = view(&registry, never()).await;
    registry.put_stored(&id("foreign"), r#"{"type":"srt"}"#).unwrap();
    assert!(view.get(&id("foreign")).is_none());
    assert!(view.refresh(&id("foreign")).await.unwrap().is_some());
    assert!(view.get(&id("foreign")).is_some());
    assert_eq!(view.refresh(&id("absent")).await.unwrap(), None);
    registry.fail_next(Operation::Get, ErrorKind::Unavailable);
    assert_eq!(view.refresh(&id("foreign")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(view.get(&id("foreign")).is_some(), "a failed read changes nothing");
}

#[tokio::test]
async fn refresh_many_reads_the_statistics_of_the_given_streams_only() {
    let registry = Arc::new(MockRegistry::new());
    for cam in ["cam", "other"] {
        registry.register(&stream(cam)).await.unwrap();
    }
    let view = view(&registry, never()).await;
    registry.advance(Duration::from_secs(1));
    let stats = StreamStats { bytes_received: Some(7), ..StreamStats::default() };
    for cam in ["cam", "other"] {
        registry.update_stats(&id(cam), &stats).await.unwrap();
    }
    let ids = ["cam", "absent"].map(id);
    let bytes = |cam| view.get(&id(cam)).map(|stream| stream.bytes_received);
    registry.fail_next(Operation::Get, ErrorKind::Unavailable);
    assert_eq!(view.refresh_many(&ids).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bytes("cam"), Some(0), "a failed read changes nothing");
    view.refresh_many(&ids).await.unwrap();
    assert_eq!((bytes("cam"), bytes("other"), bytes("absent")), (Some(7), Some(0), None));
}

#[tokio::test]
async fn confirm_writes_restores_statistics_that_a_late_event_replaced() {
    let registry = Arc::new(MockRegistry::new());
    registry.register(&stream("cam")).await.unwrap();
    let view = view(&registry, never()).await;
    let stats = StreamStats { bytes_received: Some(7), ..StreamStats::default() };
    // The view receives the events of these two changes after the statistics.
    registry.update_status(&id("cam"), StreamStatus::Active).await.unwrap();
    registry.register(&stream("new")).await.unwrap();
    for cam in ["cam", "new"] {
        let sent = view.moment();
        registry.update_stats(&id(cam), &stats).await.unwrap();
        view.apply_write(&Write::new(&id(cam), Change::Stats(Box::new(stats.clone()))), sent);
    }
    assert_eq!(view.get(&id("cam")).unwrap().bytes_received, 7);
    assert!(view.get(&id("new")).is_none(), "the event has already arrived");
    wait_for_tail(&view, &*registry).await;
    for cam in ["cam", "new"] {
        assert_eq!(view.get(&id(cam)).unwrap().bytes_received, 0, "{cam}: no event replaced the statistics");
    }
    registry.fail_next(Operation::Get, ErrorKind::Unavailable);
    assert_eq!(view.confirm_writes().await.unwrap_err().kind(), ErrorKind::Unavailable);
    view.confirm_writes().await.unwrap();
    for cam in ["cam", "new"] {
        assert_eq!(view.get(&id(cam)).unwrap().bytes_received, 7, "{cam}");
    }
    registry.clear_calls();
    view.confirm_writes().await.unwrap();
    assert!(registry.calls().is_empty(), "{:?}", registry.calls());
    assert!(counts_match(&view), "{:?}", view.counts());
}

#[tokio::test]
async fn view_metrics_count_streams_and_events() {
    let registry = Arc::new(MockRegistry::with_ttl(Duration::from_secs(60)).unwrap());
    let view = view(&registry, never()).await;
    for cam in ["a", "b", "c"] {
        registry.register(&stream(cam)).await.unwrap();
    }
    registry.update_status(&id("a"), StreamStatus::Active).await.unwrap();
    registry.unregister(&id("b")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    let metrics = view.metrics();
    let counts: Vec<_> =
        metrics.streams.iter().map(|stream| (stream.status.as_str(), stream.kind.as_str(), stream.count)).collect();
    assert_eq!(counts, [("connecting", "srt", 1), ("active", "srt", 1)]);
    assert_eq!((metrics.events.registered, metrics.events.status, metrics.events.unregistered), (3, 1, 1));
    assert!(metrics.age.is_some_and(|age| age < TIMEOUT) && metrics.resyncs == 0, "{metrics:?}");

    registry.advance(Duration::from_secs(60));
    wait_for_tail(&view, &*registry).await;
    let metrics = view.metrics();
    assert_eq!((metrics.events.expired, metrics.streams.len()), (2, 0));
}

#[tokio::test]
async fn view_retries_after_transient_errors() {
    let registry = Arc::new(MockRegistry::new());
    registry.register(&stream("a")).await.unwrap();
    for _ in 0..3 {
        registry.fail_next(Operation::ListPage, ErrorKind::Unavailable);
        registry.fail_next(Operation::Watch, ErrorKind::Timeout);
    }
    let view = View::new(Arc::clone(&registry) as Arc<dyn Registry>, frequent());
    assert!(!view.is_ready());
    assert_eq!(view.age(), Duration::MAX);
    tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    registry.register(&stream("b")).await.unwrap();
    wait_for_tail(&view, &*registry).await;
    let before = view.corrections().reconciliations;
    for _ in 0..3 {
        registry.fail_next(Operation::ListPage, ErrorKind::Unavailable);
    }
    until(|| view.corrections().reconciliations > before + 1).await;
    assert_eq!(view.all().len(), 2);
}

#[tokio::test]
async fn view_ends_with_its_last_clone_or_its_registry() {
    let registry = Arc::new(MockRegistry::new());
    let view = view(&registry, frequent()).await;
    let other = view.clone();
    drop(view);
    registry.register(&stream("a")).await.unwrap();
    wait_for_tail(&other, &*registry).await;
    drop(other);
    until(|| Arc::strong_count(&registry) == 1).await;
    let view = self::view(&registry, never()).await;
    let unknown = "x-1".parse().unwrap();
    let waiting = tokio::spawn({
        let view = view.clone();
        async move { view.reached(&unknown).await }
    });
    registry.close().await.unwrap();
    let ended = tokio::time::timeout(TIMEOUT, waiting).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
    assert!(view.get(&id("a")).is_some(), "the view keeps its last state");
    let late = View::new(Arc::clone(&registry) as Arc<dyn Registry>, never());
    assert_eq!(late.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn view_stays_correct_when_its_futures_are_cancelled() {
    let registry = Arc::new(MockRegistry::new());
    let view = view(&registry, frequent()).await;
    for n in 0..300_u32 {
        let name = format!("cam{}", n % 20);
        let _ = registry.register(&stream(&name)).await;
        if n % 3 == 0 {
            registry.unregister(&id(&name)).await.unwrap();
        }
        let tail = registry.snapshot().await.unwrap().revision.unwrap();
        let target = id(&name);
        let work = async {
            view.refresh(&target).await.unwrap();
            view.reached(&tail).await.unwrap();
        };
        let mut polls = n % 5;
        tokio::select! {
            biased;
            () = std::future::poll_fn(|context| {
                if polls == 0 { return std::task::Poll::Ready(()) }
                polls -= 1;
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            }) => {}
            () = work => {}
        }
    }
    wait_for_tail(&view, &*registry).await;
    assert_eq!(contents(&view), to_json(&registry.list().await.unwrap()));
    assert!(counts_match(&view), "{:?}", view.counts());
}
