//! The local view over the stores in memory.
// All of it is tests, helpers between them too; clippy knows only functions with `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod disturbed;

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
    ErrorKind, MemoryRegistry, Registry, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, StreamType,
};
use tokio::sync::Notify;

use disturbed::Disturbed;

const PATIENCE: Duration = Duration::from_secs(20);

fn id(text: &str) -> StreamId {
    text.parse().unwrap()
}

fn stream(text: &str) -> Stream {
    Stream::new(id(text), StreamType::Srt, "203.0.113.7:40112")
}

/// Compares by chance every 50 ms or so.
fn often() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_millis(50)).page(NonZeroU32::new(7).unwrap())
}

/// Compares in an hour.
fn never() -> ViewOptions {
    ViewOptions::default().reconcile_every(Duration::from_secs(3_600))
}

async fn view(registry: &Arc<impl Registry>, options: ViewOptions) -> View {
    let view = View::new(Arc::clone(registry) as Arc<dyn Registry>, options);
    tokio::time::timeout(PATIENCE, view.ready()).await.unwrap().unwrap();
    view
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{caller}: it does not come to hold");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn texts<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> BTreeMap<String, String> {
    streams.into_iter().map(|stream| (stream.id.to_string(), stream.to_json())).collect()
}

fn seen(view: &View) -> BTreeMap<String, String> {
    texts(view.all().iter().map(|stream| &**stream))
}

async fn reached(view: &View, registry: &dyn Registry) {
    let tail = registry.snapshot().await.unwrap().revision.unwrap();
    tokio::time::timeout(PATIENCE, view.reached(&tail)).await.unwrap().unwrap();
}

/// The counts are those of what is there.
fn assert_counted(view: &View) {
    let (counts, all) = (view.counts(), view.all());
    assert_eq!(counts.total as usize, all.len());
    let mut status = BTreeMap::new();
    let mut node = BTreeMap::new();
    for stream in &all {
        *status.entry(stream.status.clone()).or_insert(0) += 1;
        *node.entry(stream.node.clone()).or_insert(0) += 1;
    }
    assert_eq!((&counts.by_status, &counts.by_node), (&status, &node));
    assert_eq!(counts.by_type.values().sum::<u64>(), counts.total);
}

/// Changes streams by chance, until it is told to stop.
async fn churn(registry: Arc<dyn Registry>, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let cam = format!("cam{}", rng.usize(..60));
        // What is not there, or is another's, is no fault here.
        let _ = match rng.u8(..7) {
            0 | 1 => registry.register(&stream(&cam)).await.map(|_| ()),
            2 => registry.unregister(&id(&cam)).await.map(|_| ()),
            3 => registry.update_status(&id(&cam), StreamStatus::Active).await,
            4 => registry.update_heartbeat(&id(&cam)).await,
            5 => {
                let stats = StreamStats { bytes_received: rng.u64(..1 << 40), ..StreamStats::default() };
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

async fn equal_after_churn(registry: Arc<impl Registry>, options: ViewOptions) {
    let view = view(&registry, options).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|seed| tokio::spawn(churn(Arc::clone(&registry) as Arc<dyn Registry>, seed, Arc::clone(&stop))))
        .collect();
    let busy = Instant::now() + Duration::from_millis(600);
    while Instant::now() < busy {
        assert_counted_soon(&view);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let store = texts(&registry.list().await.unwrap());
    assert!(!store.is_empty());
    until(|| seen(&view) == store).await;
    assert_counted(&view);
}

/// While streams come and go: what is listed is never of two moments.
fn assert_counted_soon(view: &View) {
    let all = view.all();
    let mut ids: Vec<_> = all.iter().map(|stream| &stream.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "a stream twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_changes_it_equals_the_store() {
    equal_after_churn(Arc::new(MemoryRegistry::new()), often()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_changes_and_resyncs_it_equals_the_store() {
    let registry = Arc::new(Disturbed { resync_every: Some(50), ..Disturbed::default() });
    equal_after_churn(Arc::clone(&registry), often()).await;
    assert!(registry.snapshots.load(Ordering::SeqCst) > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_feed_is_followed_by_compares() {
    let registry = Arc::new(Disturbed { deaf: true, ..Disturbed::default() });
    equal_after_churn(Arc::clone(&registry), often()).await;
    // One for the view, one to compare with.
    assert_eq!(registry.snapshots.load(Ordering::SeqCst), 2);
    // A place is reached by the next whole look.
    let view = view(&registry, often()).await;
    registry.register(&stream("late")).await.unwrap();
    reached(&view, &*registry).await;
    assert!(view.get(&id("late")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_may_not_be_followed_is_compared() {
    let registry = Arc::new(Disturbed { refuses: Some(ErrorKind::Denied), ..Disturbed::default() });
    equal_after_churn(registry, often()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_without_a_place_are_followed_from_before_them() {
    let registry = Arc::new(Disturbed { placeless: true, ..Disturbed::default() });
    let view = view(&registry, never()).await;
    for name in ["a", "b"] {
        registry.register(&stream(name)).await.unwrap();
        until(|| view.get(&id(name)).is_some()).await;
        let tail = registry.inner.snapshot().await.unwrap().revision;
        until(|| view.revision() == tail).await;
        registry.tears.store(true, Ordering::SeqCst);
    }
    drop(view);
    let registry = Arc::new(Disturbed { placeless: true, resync_every: Some(50), ..Disturbed::default() });
    equal_after_churn(registry, often()).await;
}

#[tokio::test]
async fn snapshots_in_a_row_are_taken_with_pauses() {
    for placeless in [false, true] {
        let registry = Arc::new(Disturbed { torn: true, placeless, ..Disturbed::default() });
        let began = Instant::now();
        let view = view(&registry, never()).await;
        if placeless {
            // Its watch goes on after the snapshot: there is nothing to take another one for.
            registry.register(&stream("a")).await.unwrap();
            until(|| view.get(&id("a")).is_some()).await;
            assert!(registry.snapshots.load(Ordering::SeqCst) <= 3);
        } else {
            until(|| registry.snapshots.load(Ordering::SeqCst) >= 7).await;
            // The shortest that the first five of them can be: the first snapshot again comes at once.
            assert!(began.elapsed() >= Duration::from_millis(10 + 20 + 40 + 80), "{:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn no_interval_is_too_long() {
    let registry = Arc::new(MemoryRegistry::new());
    let view = view(&registry, ViewOptions::default().reconcile_every(Duration::MAX)).await;
    registry.register(&stream("a")).await.unwrap();
    until(|| view.get(&id("a")).is_some()).await;
}

#[tokio::test]
async fn it_finds_counts_and_knows_its_place() {
    let registry = Arc::new(MemoryRegistry::new());
    registry.register(&stream("a")).await.unwrap();
    let view = view(&registry, never()).await;
    assert_eq!(view.revision(), registry.snapshot().await.unwrap().revision);
    let mut rtp = Stream::new(id("b"), StreamType::Rtp, "203.0.113.8:5004");
    rtp.node = Some("n1".into());
    registry.register(&rtp).await.unwrap();
    registry.update_status(&id("b"), StreamStatus::Active).await.unwrap();
    reached(&view, &*registry).await;
    assert_eq!(view.revision(), registry.snapshot().await.unwrap().revision);
    assert!(view.age() < PATIENCE);
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
    reached(&view, &*registry).await;
    assert!(view.get(&id("a")).is_none());
    assert_eq!(view.counts().by_node, BTreeMap::from([(Some("n1".to_owned()), 1)]));
}

#[tokio::test]
async fn expired_streams_leave() {
    let registry = Arc::new(MockRegistry::with_ttl(Duration::from_secs(60)).unwrap());
    registry.register(&stream("a")).await.unwrap();
    let view = view(&registry, never()).await;
    assert_eq!(view.counts().total, 1);
    registry.advance(Duration::from_secs(61));
    until(|| view.get(&id("a")).is_none()).await;
    assert_eq!(view.counts(), stream_registry::view::Counts::default());
}

#[tokio::test]
async fn where_events_were_lost_it_begins_anew() {
    let registry = Arc::new(Disturbed::default());
    registry.register(&stream("a")).await.unwrap();
    let view = view(&registry, never()).await;
    registry.tears.store(true, Ordering::SeqCst);
    // The event of this one is lost.
    registry.register(&stream("b")).await.unwrap();
    until(|| view.get(&id("b")).is_some()).await;
    assert_eq!(registry.snapshots.load(Ordering::SeqCst), 2);
    registry.register(&stream("c")).await.unwrap();
    reached(&view, &*registry).await;
    assert_eq!(seen(&view), texts(&registry.list().await.unwrap()));
    assert_eq!(view.corrections().count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_complete_states_only() {
    let registry = Arc::new(Disturbed { resync_every: Some(3), ..Disturbed::default() });
    for n in 0..200 {
        registry.register(&stream(&format!("fixed{n}"))).await.unwrap();
    }
    registry.register(&stream("even")).await.unwrap();
    let view = view(&registry, often()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (view, stop) = (view.clone(), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let (even, odd) = (id("even"), id("odd"));
                let pair = view.all().iter().filter(|stream| stream.id == even || stream.id == odd).count();
                assert!(pair == 1 || pair == 2, "the streams of two moments: {pair}");
                let total = view.counts().total;
                assert!(total == 201 || total == 202, "{total}");
                assert!(view.get(&id("fixed7")).is_some());
                reads += 1;
            }
            reads
        })
    };
    for _ in 0..500 {
        // The one is registered before the other one is ended.
        registry.register(&stream("odd")).await.unwrap();
        registry.unregister(&id("even")).await.unwrap();
        registry.register(&stream("even")).await.unwrap();
        registry.unregister(&id("odd")).await.unwrap();
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 10);
    assert!(registry.snapshots.load(Ordering::SeqCst) > 50);
}

#[tokio::test]
async fn the_compare_takes_in_what_no_event_tells_and_reports_it() {
    let registry = Arc::new(MockRegistry::new());
    registry.register(&stream("cam")).await.unwrap();
    let view = view(&registry, often()).await;
    // Statistics are no event, and no correction.
    let stats = StreamStats { bytes_received: 7, ..StreamStats::default() };
    registry.update_stats(&id("cam"), &stats).await.unwrap();
    until(|| view.get(&id("cam")).unwrap().bytes_received == 7).await;
    assert_eq!((view.corrections().count, view.corrections().last), (0, Vec::new()));
    // Another program adds one, and changes one.
    registry.put_stored(&id("foreign"), r#"{"type":"srt","status":"active"}"#).unwrap();
    until(|| view.corrections().count == 1).await;
    assert_eq!(view.get(&id("foreign")).unwrap().status, StreamStatus::Active);
    registry.put_stored(&id("foreign"), r#"{"type":"srt","status":"paused"}"#).unwrap();
    until(|| view.corrections().count == 2).await;
    assert_eq!(view.get(&id("foreign")).unwrap().status, StreamStatus::Paused);
    assert_eq!(view.corrections().last, [id("foreign")]);
    assert_counted(&view);
    let compares = view.corrections().compares;
    until(|| view.corrections().compares > compares + 2).await;
    assert_eq!(view.corrections().count, 2);
}

#[tokio::test]
async fn an_event_wins_over_an_older_page() {
    let registry = Arc::new(Disturbed::default());
    for name in ["gone", "changed"] {
        registry.register(&stream(name)).await.unwrap();
    }
    let view = view(&registry, ViewOptions::default().reconcile_every(Duration::from_millis(50))).await;
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_pages.lock().unwrap() = Some(Arc::clone(&hold));
    hold.0.notified().await;
    let compares = view.corrections().compares;
    // The page shows what was before this.
    registry.unregister(&id("gone")).await.unwrap();
    registry.update_status(&id("changed"), StreamStatus::Error).await.unwrap();
    registry.register(&stream("new")).await.unwrap();
    reached(&view, &*registry).await;
    hold.1.notify_one();
    until(|| view.corrections().compares > compares).await;
    assert_eq!(view.corrections().count, 0, "{:?}", view.corrections());
    assert_eq!(seen(&view), texts(&registry.list().await.unwrap()));
}

#[tokio::test]
async fn an_event_wins_over_an_older_answer() {
    let registry = Arc::new(Disturbed::default());
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
    reached(&view, &*registry).await;
    hold.1.notify_one();
    assert_eq!(refresh.await.unwrap().unwrap(), None);
    assert!(view.get(&id("gone")).is_none());
    // And one that came and went while it was asked for.
    let hold = Arc::new((Notify::new(), Notify::new()));
    registry.register(&stream("brief")).await.unwrap();
    reached(&view, &*registry).await;
    registry.unregister(&id("brief")).await.unwrap();
    reached(&view, &*registry).await;
    registry.register(&stream("brief")).await.unwrap();
    *registry.hold_gets.lock().unwrap() = Some(Arc::clone(&hold));
    let refresh = tokio::spawn({
        let view = view.clone();
        async move { view.refresh(&id("brief")).await }
    });
    hold.0.notified().await;
    registry.unregister(&id("brief")).await.unwrap();
    reached(&view, &*registry).await;
    hold.1.notify_one();
    assert_eq!(refresh.await.unwrap().unwrap(), None);
    assert!(view.get(&id("brief")).is_none());
}

#[tokio::test]
async fn a_compare_that_a_snapshot_overtook_says_so_and_puts_nothing_old() {
    let registry = Arc::new(Disturbed::default());
    registry.register(&stream("gone")).await.unwrap();
    let view = view(&registry, never()).await;
    let hold = Arc::new((Notify::new(), Notify::new()));
    *registry.hold_pages.lock().unwrap() = Some(Arc::clone(&hold));
    let compare = tokio::spawn({
        let view = view.clone();
        async move { view.reconcile().await }
    });
    hold.0.notified().await;
    registry.tears.store(true, Ordering::SeqCst);
    registry.unregister(&id("gone")).await.unwrap();
    until(|| view.get(&id("gone")).is_none()).await;
    hold.1.notify_one();
    assert_eq!(compare.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(view.get(&id("gone")).is_none());
    view.reconcile().await.unwrap();
    assert_eq!((view.all().len(), view.corrections().count), (0, 0));
}

#[tokio::test]
async fn refresh_shows_what_the_store_has_now() {
    let registry = Arc::new(MockRegistry::new());
    let view = view(&registry, never()).await;
    registry.put_stored(&id("foreign"), r#"{"type":"srt"}"#).unwrap();
    assert!(view.get(&id("foreign")).is_none());
    assert!(view.refresh(&id("foreign")).await.unwrap().is_some());
    assert!(view.get(&id("foreign")).is_some());
    assert_eq!(view.refresh(&id("nobody")).await.unwrap(), None);
    registry.fail_next(Operation::Get, ErrorKind::Unavailable);
    assert_eq!(view.refresh(&id("foreign")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(view.get(&id("foreign")).is_some(), "a failed look changes nothing");
}

#[tokio::test]
async fn transient_errors_are_tried_again_and_it_serves_on() {
    let registry = Arc::new(MockRegistry::new());
    registry.register(&stream("a")).await.unwrap();
    for _ in 0..3 {
        registry.fail_next(Operation::List, ErrorKind::Unavailable);
        registry.fail_next(Operation::Watch, ErrorKind::Timeout);
    }
    let view = View::new(Arc::clone(&registry) as Arc<dyn Registry>, often());
    assert!(!view.is_ready());
    assert_eq!(view.age(), Duration::MAX);
    tokio::time::timeout(PATIENCE, view.ready()).await.unwrap().unwrap();
    registry.register(&stream("b")).await.unwrap();
    reached(&view, &*registry).await;
    let compares = view.corrections().compares;
    for _ in 0..3 {
        registry.fail_next(Operation::ListPage, ErrorKind::Unavailable);
    }
    until(|| view.corrections().compares > compares + 1).await;
    assert_eq!(view.all().len(), 2);
}

#[tokio::test]
async fn a_closed_registry_ends_the_waiting_and_the_last_clone_the_task() {
    let registry = Arc::new(MockRegistry::new());
    let view = view(&registry, often()).await;
    let other = view.clone();
    drop(view);
    registry.register(&stream("a")).await.unwrap();
    reached(&other, &*registry).await;
    drop(other);
    until(|| Arc::strong_count(&registry) == 1).await;
    let view = self::view(&registry, never()).await;
    let never_there = "x-1".parse().unwrap();
    let waiting = tokio::spawn({
        let view = view.clone();
        async move { view.reached(&never_there).await }
    });
    registry.close().await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
    assert!(view.get(&id("a")).is_some(), "it serves what it has");
    let late = View::new(Arc::clone(&registry) as Arc<dyn Registry>, never());
    assert_eq!(late.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn dropped_futures_change_nothing() {
    let registry = Arc::new(MockRegistry::new());
    let view = view(&registry, often()).await;
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
    reached(&view, &*registry).await;
    assert_eq!(seen(&view), texts(&registry.list().await.unwrap()));
    assert_counted(&view);
}
