//! A store that loses streams, and what comes back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseOptions, LeaseState, Leases};
use stream_registry::registry::Operation;
use stream_registry::{
    Change, Guard, OnConflict, Registry, StreamPatch, StreamStats, StreamStatus, UnregisterOptions, Write,
};

use super::{HEARTBEAT, ROUND, TTL, bed, id, is_recovering, stream};

#[tokio::test(start_paused = true)]
async fn a_thousand_lost_streams_are_back_within_an_interval() {
    let bed = bed();
    let mut held = Vec::new();
    for at in 0..1_000_u64 {
        let lease = bed.acquire(&format!("cam{at}")).await;
        lease.report(StreamStats { bytes_received: at, ..Default::default() });
        held.push(lease);
    }
    bed.go_on(ROUND).await;
    let before: Vec<_> = held.iter().map(stream_registry::lease::Lease::stream).collect();
    bed.mock.delay(Operation::Register, Duration::from_millis(20));
    bed.mock.advance(TTL);
    assert!(bed.mock.list().await.unwrap().is_empty());
    bed.go_on(HEARTBEAT + Duration::from_secs(2)).await;
    for (lease, before) in held.iter().zip(&before) {
        assert_eq!(lease.state(), LeaseState::Held);
        let stored = bed.mock.get(lease.id()).await.unwrap();
        assert_eq!(stored.epoch(), Some(lease.epoch()));
        assert_eq!((stored.created_at, stored.bytes_received), (before.created_at, before.bytes_received));
    }
    let most = bed.probe.most.load(Ordering::SeqCst);
    assert!((32..=64).contains(&most), "{most} registrations at once");
}

#[tokio::test(start_paused = true)]
async fn the_first_who_finds_the_store_empty_hurries_the_others() {
    let bed = bed();
    let mut held = Vec::new();
    // Due at all times of an interval: some always soon, the others later.
    for at in 0..200 {
        held.push(bed.acquire(&format!("cam{at}")).await);
        bed.go_on(Duration::from_millis(100)).await;
    }
    for _ in 0..5 {
        bed.go_on(ROUND).await;
        bed.mock.advance(TTL);
        assert!(bed.mock.list().await.unwrap().is_empty());
        let mut first = None;
        while bed.mock.list().await.unwrap().len() < held.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if !bed.mock.list().await.unwrap().is_empty() {
                first.get_or_insert_with(tokio::time::Instant::now);
            }
        }
        let took = first.unwrap().elapsed();
        assert!(took < Duration::from_millis(100), "{took:?} from the first to the last");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_reported_meanwhile_comes_back_too() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.advance(TTL);
    lease.report(StreamStats { bytes_received: 9, ..Default::default() });
    lease.patch(StreamPatch::default().label("a", "1")).unwrap();
    // The status meets a store that does not know the stream, and waits for the recovery.
    lease.set_status(StreamStatus::Active).await.unwrap();
    let stored = bed.stored("cam1").await.unwrap();
    assert_eq!((stored.status, stored.bytes_received, stored.labels.len()), (StreamStatus::Active, 9, 1));
    bed.probe.take();
    bed.go_on(ROUND).await;
    assert_eq!(bed.probe.operations(), ["heartbeat"], "nothing was left");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_an_operator_ended_stays_ended() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.force_end("cam1").await;
    lease.report(StreamStats::default());
    assert_eq!(lease.ended().await, LeaseEnd::Removed);
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed));
    bed.probe.take();
    bed.go_on(ROUND * 5).await;
    assert!(bed.probe.take().is_empty(), "nothing is written after the end");
    assert!(bed.stored("cam1").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_taken_over_and_ended_does_not_come_back() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.probe.set_away(true);
    let others = bed.others();
    let other = others.acquire_with(stream("cam1", "198.51.100.9:5000"), OnConflict::TakeOver).await.unwrap();
    other.release().await.unwrap();
    bed.go_on(TTL * 2).await;
    assert!(is_recovering(&lease));
    bed.probe.set_away(false);
    bed.go_on(ROUND * 2).await;
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Superseded { by: None }));
    assert!(bed.stored("cam1").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_another_program_dropped_is_put_back() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    let theirs = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112","status":"paused","theirs":1}"#;
    bed.mock.put_stored(&id("cam1"), theirs).unwrap();
    lease.report(StreamStats { bytes_received: 3, ..Default::default() });
    lease.flush().await.unwrap();
    let stored = bed.stored("cam1").await.unwrap();
    assert_eq!((stored.epoch(), stored.bytes_received), (Some(lease.epoch()), 3));
    assert!(stored.to_json().ends_with(r#","theirs":1}"#), "theirs but for what was reported: {}", stored.to_json());

    let stranger = r#"{"id":"cam1","type":"srt","source_addr":"198.51.100.9:1","node":"n9"}"#;
    bed.mock.put_stored(&id("cam1"), stranger).unwrap();
    assert_eq!(lease.ended().await, LeaseEnd::Superseded { by: Some("n9".into()) });
    assert!(bed.stored("cam1").await.unwrap().epoch().is_none(), "their record is as they wrote it");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_stopped_looks_before_it_writes() {
    let bed = bed();
    let (mine, gone) = (bed.acquire("mine").await, bed.acquire("gone").await);
    bed.go_on(ROUND).await;
    bed.probe.take();
    bed.mock.clear_calls();
    // Stopped: time passes and no task runs.
    bed.mock.advance(TTL);
    let others = bed.others();
    let other = others.acquire(stream("gone", "198.51.100.9:5000")).await.unwrap();
    tokio::time::advance(TTL).await;
    assert!(is_recovering(&mine) && is_recovering(&gone), "known at once, before any task has run");
    gone.report(StreamStats { bytes_received: 666, ..Default::default() });
    assert_eq!(gone.ended().await, LeaseEnd::Superseded { by: Some("198.51.100.9:5000".into()) });
    mine.flush().await.unwrap();
    assert_eq!(mine.state(), LeaseState::Held);
    assert!(bed.probe.take().is_empty(), "the first call was a look");
    assert_eq!(bed.stored("gone").await.unwrap().bytes_received, 0);
    assert_eq!(other.state(), LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_sending() {
    let bed = bed();
    let lease = bed.acquire("cam1").await;
    bed.mock.delay(Operation::Status, Duration::from_secs(4));
    lease.set_status(StreamStatus::Active).await.unwrap();
    bed.probe.set_away(true);
    tokio::time::sleep(TTL - Duration::from_millis(4_100)).await;
    assert_eq!(lease.state(), LeaseState::Held);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_recovering(&lease), "the answer came four seconds after the sending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_take_a_stream_from_each_other_end_with_one() {
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
                lease.report(StreamStats { bytes_received: round, ..Default::default() });
                // Superseded or not; what came too late has changed nothing, see the end.
                drop(lease.set_status(StreamStatus::Active).await);
                all.push(lease);
                if let Some(old) = all.iter().rev().nth(1) {
                    let guard = Guard::Holder(old.epoch().clone());
                    let change = Change::Stats(StreamStats { bytes_received: 666_666, ..Default::default() });
                    let write = Write { id: old.id().clone(), guard: guard.clone(), change };
                    registry.write(&[write]).await.unwrap().remove(0).unwrap_err();
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
    assert_eq!(held[0].epoch(), all.iter().map(stream_registry::lease::Lease::epoch).max().unwrap(), "the latest");
    assert!(stored.bytes_received < 666_666);
    assert_eq!(stored.source_addr, held[0].stream().source_addr);
}
