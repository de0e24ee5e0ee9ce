//! The change feed of the in-memory store.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::Duration;

use stream_registry::mock::MockRegistry;
use stream_registry::watch::{ChangeKind, Ending, Event, Watch, WatchFrom};
use stream_registry::{
    MemoryRegistry, OnConflict, RegisterOptions, Registry, Revision, Stream, StreamPatch, StreamStats, StreamStatus,
    StreamType, UnregisterOptions,
};

fn stream(id: &str) -> Stream {
    Stream::new(id.parse().unwrap(), StreamType::Srt, "203.0.113.7:40112")
}

async fn next(watch: &mut Watch) -> Event {
    tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap().unwrap()
}

fn changed(event: Event) -> (ChangeKind, Stream, Revision) {
    match event {
        Event::Changed { revision, kind, stream } => (kind, (*stream).clone(), revision),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_state_change_emits_one_event_with_the_new_record() {
    let registry = MemoryRegistry::new();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let id = "a".parse().unwrap();
    registry.register(&stream("a")).await.unwrap();
    registry.register(&stream("a")).await.unwrap();
    registry.update_heartbeat(&id).await.unwrap();
    registry.update_stats(&id, &StreamStats { bytes_received: Some(7), ..StreamStats::default() }).await.unwrap();
    registry.update_status(&id, StreamStatus::Active).await.unwrap();
    registry.update_status(&id, StreamStatus::Active).await.unwrap();
    registry.patch(&id, &StreamPatch { video_codec: Some("AV1".into()), ..StreamPatch::default() }).await.unwrap();
    registry.update(&stream("a")).await.unwrap();
    let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    registry.register_with(&stream("a"), &take_over).await.unwrap();
    registry.unregister_with(&id, &UnregisterOptions::default().reason("done".parse().unwrap())).await.unwrap();
    let mut changes = Vec::new();
    for _ in 0..6 {
        changes.push(changed(next(&mut watch).await));
    }
    let kinds: Vec<_> = changes.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(
        kinds,
        [
            ChangeKind::Registered,
            ChangeKind::Updated,
            ChangeKind::Status,
            ChangeKind::Patched,
            ChangeKind::Updated,
            ChangeKind::TakenOver
        ]
    );
    assert_eq!((changes[2].1.status.clone(), changes[2].1.bytes_received), (StreamStatus::Active, 7));
    assert_eq!(changes[3].1.video_codec, "AV1");
    let Event::Ended { reason: Ending::Unregistered(reason), last, .. } = next(&mut watch).await else {
        panic!("expected an unregistered event")
    };
    assert_eq!((reason.as_str(), last.end_reason.as_deref()), (Some("done"), Some("done")));
    assert_eq!(registry.snapshot().await.unwrap().streams, []);
}

#[tokio::test]
async fn watch_resumes_after_any_revision() {
    let registry = MemoryRegistry::new();
    let before = registry.snapshot().await.unwrap().revision.unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    for n in 0..10 {
        registry.register(&stream(&format!("s{n}"))).await.unwrap();
    }
    let mut revisions = vec![before];
    for _ in 0..10 {
        revisions.push(changed(next(&mut watch).await).2);
    }
    assert_eq!(registry.snapshot().await.unwrap().revision.as_ref(), revisions.last());
    for (index, revision) in revisions[..10].iter().enumerate() {
        let mut resumed = registry.watch(WatchFrom::Revision(revision.clone())).await.unwrap();
        for n in index..10 {
            assert_eq!(changed(next(&mut resumed).await).1.id.as_str(), format!("s{n}"));
        }
    }
}

#[tokio::test]
async fn watch_from_a_missing_revision_starts_with_a_resync() {
    let registry = MemoryRegistry::new();
    let other = MemoryRegistry::new().snapshot().await.unwrap().revision.unwrap();
    let tail = registry.snapshot().await.unwrap().revision.unwrap();
    let beyond = format!("{}9", tail.as_str()).parse().unwrap();
    for from in [other, beyond] {
        let mut watch = registry.watch(WatchFrom::Revision(from)).await.unwrap();
        let Event::Resync { revision, shard: None } = next(&mut watch).await else { panic!("expected a resync event") };
        assert_eq!(registry.snapshot().await.unwrap().revision, Some(revision));
    }
    for n in 0..100_001 {
        registry.register(&stream(&format!("s{}", n % 10))).await.unwrap();
    }
    let mut trimmed = registry.watch(WatchFrom::Revision(tail)).await.unwrap();
    assert!(matches!(next(&mut trimmed).await, Event::Resync { .. }));
    registry.register(&stream("after")).await.unwrap();
    assert_eq!(changed(next(&mut trimmed).await).1.id.as_str(), "after");
}

#[tokio::test]
async fn expiry_is_emitted_without_any_call_to_the_registry() {
    let registry = MemoryRegistry::with_ttl(Duration::from_secs(1)).unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    registry.register(&stream("a")).await.unwrap();
    let (_, registered, _) = changed(next(&mut watch).await);
    let Event::Ended { reason: Ending::Expired, last, as_of, .. } = next(&mut watch).await else {
        panic!("expected an expired event")
    };
    assert_eq!(*last, registered);
    let late = as_of.unwrap().since(registered.last_heartbeat);
    assert!(late >= Duration::from_secs(1) && late < Duration::from_secs(2), "{late:?}");
}

#[tokio::test]
async fn advancing_the_mock_clock_wakes_a_waiting_watch() {
    let registry = MockRegistry::new();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    registry.register(&stream("a")).await.unwrap();
    changed(next(&mut watch).await);
    let waiting = tokio::spawn(async move { (watch.next().await, watch) });
    registry.advance(Duration::from_secs(301));
    let (event, mut watch) = waiting.await.unwrap();
    assert!(matches!(event, Some(Event::Ended { reason: Ending::Expired, .. })));
    registry.close().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn idle_watch_emits_alive_every_ten_seconds() {
    let registry = MemoryRegistry::new();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        assert!(matches!(watch.next().await, Some(Event::Alive { .. })));
    }
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn cancelling_watch_next_loses_no_event() {
    let registry = MemoryRegistry::new();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let mut received = 0;
    for n in 0..1_000 {
        registry.register(&stream(&format!("s{n}"))).await.unwrap();
        tokio::select! {
            biased;
            () = tokio::task::yield_now(), if n % 3 == 0 => {}
            event = watch.next() => {
                assert_eq!(changed(event.unwrap()).1.id.as_str(), format!("s{received}"));
                received += 1;
            }
        }
    }
    while received < 1_000 {
        assert_eq!(changed(next(&mut watch).await).1.id.as_str(), format!("s{received}"));
        received += 1;
    }
}
