//! Recovery: lost streams are registered again unless they were unregistered or taken over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::registry::Operation;
use stream_registry::{
    Change, Guard, OnConflict, Registry, StreamPatch, StreamStats, StreamStatus, UnregisterOptions, Write,
};

use super::{HEARTBEAT, ROUND, TTL, id, is_recovering, setup, setup_without_feed, stream};

#[tokio::test(start_paused = true)]
async fn thousand_lost_streams_recover_within_one_interval() {
    let setup = setup();
    let mut held = Vec::new();
    for at in 0..1_000_u64 {
        let lease = setup.acquire(&format!("cam{at}")).await;
        lease.report(StreamStats { bytes_received: Some(at), ..Default::default() });
        held.push(lease);
    }
    setup.advance(ROUND).await;
    let before: Vec<_> = held.iter().map(stream_registry::lease::Lease::stream).collect();
    setup.mock.delay(Operation::Register, Duration::from_millis(20));
    setup.mock.advance(TTL);
    assert!(setup.mock.list().await.unwrap().is_empty());
    setup.advance(HEARTBEAT + Duration::from_secs(2)).await;
    for (lease, before) in held.iter().zip(&before) {
        assert_eq!(lease.state(), LeaseState::Held);
        let stored = setup.mock.get(lease.id()).await.unwrap();
        assert_eq!(stored.epoch(), Some(lease.epoch()));
        assert_eq!((stored.created_at, stored.bytes_received), (before.created_at, before.bytes_received));
    }
    let max = setup.store.max_registrations.load(Ordering::SeqCst);
    assert!((32..=64).contains(&max), "{max} registrations at once");
}

#[tokio::test(start_paused = true)]
async fn all_leases_recover_together_after_the_store_lost_all_streams() {
    let setup = setup();
    let mut held = Vec::new();
    // The heartbeats of the leases are due at different times in the interval.
    for at in 0..200 {
        held.push(setup.acquire(&format!("cam{at}")).await);
        setup.advance(Duration::from_millis(100)).await;
    }
    for _ in 0..5 {
        setup.advance(ROUND).await;
        setup.mock.advance(TTL);
        assert!(setup.mock.list().await.unwrap().is_empty());
        let mut first = None;
        while setup.mock.list().await.unwrap().len() < held.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if !setup.mock.list().await.unwrap().is_empty() {
                first.get_or_insert_with(tokio::time::Instant::now);
            }
        }
        let took = first.unwrap().elapsed();
        assert!(took < Duration::from_millis(100), "{took:?} between the first and the last recovery");
    }
    let metrics = setup.leases.metrics();
    assert_eq!((metrics.held, metrics.recovered), (200, 1_000));
}

#[tokio::test(start_paused = true)]
async fn recovery_includes_reports_made_during_the_outage() {
    let setup = setup_without_feed();
    let lease = setup.acquire("cam1").await;
    setup.mock.advance(TTL);
    lease.report(StreamStats { bytes_received: Some(9), ..Default::default() });
    lease.patch(StreamPatch::default().label("a", "1")).unwrap();
    // The store does not know the stream, so set_status waits for the recovery.
    lease.set_status(StreamStatus::Active).await.unwrap();
    let stored = setup.stored("cam1").await.unwrap();
    assert_eq!((stored.status, stored.bytes_received, stored.labels.len()), (StreamStatus::Active, 9, 1));
    setup.store.take_calls();
    setup.advance(ROUND).await;
    assert_eq!(setup.store.take_operations(), ["heartbeat"], "no report was pending any more");
}

#[tokio::test(start_paused = true)]
async fn lease_does_not_restore_a_stream_that_an_operator_removed() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.force_unregister("cam1").await;
    lease.report(StreamStats::default());
    assert_eq!(lease.ended().await, LeaseEnd::Removed);
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed));
    setup.store.take_calls();
    setup.advance(ROUND * 5).await;
    assert!(setup.store.take_calls().is_empty(), "the ended lease wrote something");
    assert!(setup.stored("cam1").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn lease_does_not_restore_a_stream_that_a_newer_holder_released() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.store.set_down(true);
    let others = setup.other_process();
    let other = others.acquire_with(stream("cam1", "198.51.100.9:5000"), OnConflict::TakeOver).await.unwrap();
    other.release().await.unwrap();
    setup.advance(TTL * 2).await;
    assert!(is_recovering(&lease));
    setup.store.set_down(false);
    setup.advance(ROUND * 2).await;
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Superseded { by: None }));
    assert!(setup.stored("cam1").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn recovery_restores_the_fields_that_another_program_removed() {
    let setup = setup();
    let mut given = stream("cam1", "203.0.113.7:40112");
    given.node = Some("n1".into());
    given.labels.insert("tenant".into(), "acme".into());
    let lease = setup.leases.acquire(given).await.unwrap();
    lease.report(StreamStats { rtt_ms: Some(7.0), ..Default::default() });
    lease.flush().await.unwrap();
    let theirs = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112","status":"paused","theirs":1}"#;
    setup.mock.put_stored(&id("cam1"), theirs).unwrap();
    lease.report(StreamStats { bytes_received: Some(3), ..Default::default() });
    lease.flush().await.unwrap();
    let stored = setup.stored("cam1").await.unwrap();
    assert_eq!((stored.epoch(), stored.bytes_received), (Some(lease.epoch()), 3));
    assert_eq!((stored.node.as_deref(), stored.labels.len(), stored.rtt_ms), (Some("n1"), 1, Some(7.0)));
    assert_eq!(stored.created_at, lease.stream().created_at);
    assert!(stored.to_json().ends_with(r#","theirs":1}"#), "their record was replaced: {}", stored.to_json());

    let stranger = r#"{"id":"cam1","type":"srt","source_addr":"198.51.100.9:1","node":"n9"}"#;
    setup.mock.put_stored(&id("cam1"), stranger).unwrap();
    assert_eq!(lease.ended().await, LeaseEnd::Superseded { by: Some("n9".into()) });
    assert!(setup.stored("cam1").await.unwrap().epoch().is_none(), "their record was changed");
}

#[tokio::test(start_paused = true)]
async fn holder_verifies_its_lease_before_writing_after_a_suspension() {
    let setup = setup_without_feed();
    let (mine, gone) = (setup.acquire("mine").await, setup.acquire("gone").await);
    setup.advance(ROUND).await;
    setup.store.take_calls();
    setup.mock.clear_calls();
    // The process is suspended: time passes, but no task runs.
    setup.mock.advance(TTL);
    let others = setup.other_process();
    let other = others.acquire(stream("gone", "198.51.100.9:5000")).await.unwrap();
    tokio::time::advance(TTL).await;
    assert!(is_recovering(&mine) && is_recovering(&gone), "the state is correct even before a task has run");
    gone.report(StreamStats { bytes_received: Some(666), ..Default::default() });
    assert_eq!(gone.ended().await, LeaseEnd::Superseded { by: Some("198.51.100.9:5000".into()) });
    assert_eq!((setup.leases.metrics().superseded, setup.leases.metrics().held), (1, 1));
    mine.flush().await.unwrap();
    assert_eq!(mine.state(), LeaseState::Held);
    assert!(setup.store.take_calls().is_empty(), "something was written before the recovery");
    assert_eq!(setup.stored("gone").await.unwrap().bytes_received, 0);
    assert_eq!(other.state(), LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn lease_deadline_counts_from_the_request_not_from_the_reply() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.mock.delay(Operation::Status, Duration::from_secs(4));
    lease.set_status(StreamStatus::Active).await.unwrap();
    setup.store.set_down(true);
    tokio::time::sleep(TTL - Duration::from_millis(4_100)).await;
    assert_eq!(lease.state(), LeaseState::Held);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_recovering(&lease), "the reply came 4 s after the request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_holder_remains_when_two_processes_keep_taking_over() {
    let registry = std::sync::Arc::new(stream_registry::MemoryRegistry::with_ttl(Duration::from_secs(5)).unwrap());
    let both =
        [0, 1].map(|_| Leases::new(registry.clone(), LeaseOptions::default().heartbeat(Duration::from_millis(50))));
    let mut tasks = tokio::task::JoinSet::new();
    for (side, leases) in both.into_iter().enumerate() {
        let registry = registry.clone();
        tasks.spawn(async move {
            let mut all = Vec::new();
            for round in 0..500_u64 {
                let source = format!("10.0.{side}.1:{round}");
                let lease = leases.acquire_with(stream("cam1", &source), OnConflict::TakeOver).await.unwrap();
                lease.report(StreamStats { bytes_received: Some(round), ..Default::default() });
                // This call fails if another holder has taken the stream over. The checks at the end show that nothing
                // was overwritten.
                drop(lease.set_status(StreamStatus::Active).await);
                all.push(lease);
                if let Some(old) = all.iter().rev().nth(1) {
                    let guard = Guard::Holder(old.epoch().clone());
                    let change =
                        Change::Stats(Box::new(StreamStats { bytes_received: Some(666_666), ..Default::default() }));
                    let write = Write { id: old.id().clone(), guard: guard.clone(), change };
                    registry.write_one(write).await.unwrap_err();
                    registry.unregister_with(old.id(), &UnregisterOptions::default().guard(guard)).await.unwrap_err();
                    assert!(old.flush().await.is_err() && old.release().await.is_err());
                }
            }
            all
        });
    }
    let all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    for lease in &all {
        drop(lease.set_status(StreamStatus::Active).await);
    }
    let held: Vec<_> = all.iter().filter(|lease| lease.state() == LeaseState::Held).collect();
    let stored = registry.get(&id("cam1")).await.unwrap();
    assert_eq!(held.iter().map(|lease| lease.epoch()).collect::<Vec<_>>(), [stored.epoch().unwrap()]);
    assert_eq!(
        held[0].epoch(),
        all.iter().map(stream_registry::lease::Lease::epoch).max().unwrap(),
        "the latest lease wins"
    );
    assert!(stored.bytes_received < 666_666);
    assert_eq!(stored.source_addr, held[0].stream().source_addr);
}
