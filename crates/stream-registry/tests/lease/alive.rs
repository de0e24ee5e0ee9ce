//! What is written, how often, in how many calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::{Guard, MemoryRegistry, Registry, StreamPatch};
use tokio::time::Instant;

use super::{HEARTBEAT, ROUND, TTL, bed, stream};

#[tokio::test(start_paused = true)]
async fn every_lease_is_written_once_an_interval_in_full_batches() {
    let bed = bed();
    let mut held = Vec::new();
    for at in 0..1_000 {
        held.push(bed.acquire(&format!("cam{at}")).await);
        if at % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let rounds = 20_u32;
    let began = Instant::now();
    while began.elapsed() < HEARTBEAT * rounds {
        bed.go_on(Duration::from_secs(1)).await;
    }
    let calls = bed.probe.take();
    let writes: usize = calls.iter().map(Vec::len).sum();
    let rounds = usize::try_from(rounds).unwrap();
    assert!((18_000..=23_000).contains(&writes), "{writes} writes in {rounds} intervals");
    assert!(calls.len() <= 12 * rounds, "{} calls in {rounds} intervals", calls.len());
    assert!(calls.iter().all(|call| call.len() <= 125));
    for lease in &held {
        assert_eq!(lease.state(), LeaseState::Held);
        assert!(matches!(&calls[0][0].guard, Guard::Holder(_)));
    }
    assert_eq!(bed.mock.list().await.unwrap().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_store_away_for_an_hour_is_asked_by_one_probe_at_a_time() {
    let bed = bed();
    let mut held = Vec::new();
    for at in 0..600 {
        held.push(bed.acquire(&format!("cam{at}")).await);
    }
    let created = held[7].stream().created_at;
    bed.probe.set_away(true);
    bed.go_on(Duration::from_secs(9)).await;
    assert!(held.iter().all(|lease| lease.state() == LeaseState::Held), "the time to live is not over yet");
    bed.go_on(Duration::from_secs(2)).await;
    assert!(held.iter().all(super::is_recovering), "nobody believes that it holds any more");
    bed.probe.take();
    let tried = bed.probe.registrations.load(Ordering::SeqCst);
    bed.go_on(Duration::from_secs(3_600)).await;
    let calls = bed.probe.take().len() + bed.probe.registrations.load(Ordering::SeqCst) - tried;
    assert!((1_500..8_000).contains(&calls), "{calls} calls in an hour: one each second or two");
    assert!(bed.mock.list().await.unwrap().is_empty());

    bed.probe.set_away(false);
    bed.go_on(HEARTBEAT + Duration::from_secs(2)).await;
    for lease in &held {
        assert_eq!(lease.state(), LeaseState::Held, "{lease:?}");
    }
    assert_eq!(bed.stored("cam7").await.unwrap().created_at, created);
    assert_eq!(bed.mock.list().await.unwrap().len(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_registrations_keeps_those_that_are_there() {
    let bed = bed();
    let lost = bed.acquire("lost").await;
    bed.probe.full.store(true, Ordering::SeqCst);
    // Expired without a mark.
    bed.mock.advance(TTL);
    bed.probe.full.store(false, Ordering::SeqCst);
    let kept = bed.acquire("kept").await;
    bed.probe.full.store(true, Ordering::SeqCst);
    bed.go_on(Duration::from_secs(60)).await;
    assert_eq!(kept.state(), LeaseState::Held);
    assert!(bed.stored("kept").await.is_some());
    assert!(super::is_recovering(&lost));
    bed.probe.full.store(false, Ordering::SeqCst);
    bed.go_on(ROUND).await;
    assert_eq!(lost.state(), LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_full_memory_refuses_costs_no_heartbeat() {
    for leases in [1, 2, 300] {
        let bed = bed();
        let mut held = Vec::new();
        for at in 0..leases {
            held.push(bed.acquire(&format!("cam{at}")).await);
        }
        let healthy = bed.acquire("healthy").await;
        bed.probe.full.store(true, Ordering::SeqCst);
        for lease in &held {
            lease.patch(StreamPatch::default().label("a", "1")).unwrap();
        }
        assert!(held[0].flush().await.unwrap_err().is_retryable(), "who waits for it is told");
        for _ in 0..20 {
            bed.go_on(TTL / 5).await;
            assert_eq!(bed.mock.list().await.unwrap().len(), leases + 1);
            assert!(held.iter().chain([&healthy]).all(|lease| lease.state() == LeaseState::Held));
        }
        bed.probe.full.store(false, Ordering::SeqCst);
        bed.go_on(ROUND * 2).await;
        let patched = bed.mock.list().await.unwrap().iter().filter(|stream| !stream.labels.is_empty()).count();
        assert_eq!(patched, leases, "nothing is lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_tells_a_shorter_time_to_live_gets_heartbeats_in_time() {
    let bed = bed();
    *bed.probe.tells.lock().unwrap() = Some(TTL * 10);
    let leases = Leases::new(bed.probe.clone(), LeaseOptions::default().heartbeat(TTL * 3));
    let mut held = Vec::new();
    for at in 0..20 {
        held.push(leases.acquire(stream(&format!("cam{at}"), "h:1")).await.unwrap());
        bed.go_on(Duration::from_millis(500)).await;
    }
    // It was told less when it was started again; holders find out when a heartbeat meets no stream.
    *bed.probe.tells.lock().unwrap() = None;
    bed.mock.advance(TTL);
    bed.go_on(TTL * 3).await;
    for _ in 0..100 {
        bed.go_on(TTL / 10).await;
        assert_eq!(bed.mock.list().await.unwrap().len(), held.len());
        assert!(held.iter().all(|lease| lease.state() == LeaseState::Held));
    }
    bed.probe.set_away(true);
    bed.go_on(TTL).await;
    assert!(held.iter().all(super::is_recovering), "nobody believes that it holds for longer");

    // One that is told so at its registration knows it from then on.
    bed.probe.set_away(false);
    *bed.probe.tells.lock().unwrap() = Some(TTL * 10);
    let leases = Leases::new(bed.probe.clone(), LeaseOptions::default());
    *bed.probe.tells.lock().unwrap() = None;
    let lease = leases.acquire(stream("later", "h:1")).await.unwrap();
    for _ in 0..30 {
        bed.go_on(TTL / 10).await;
        assert!(bed.stored("later").await.is_some() && lease.state() == LeaseState::Held);
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_lease_and_begins_again() {
    let bed = bed();
    for _ in 0..3 {
        let lease = bed.acquire("cam1").await;
        bed.go_on(ROUND).await;
        assert!(!bed.probe.take().is_empty());
        lease.release().await.unwrap();
        assert!(bed.leases.is_empty());
        bed.go_on(ROUND).await;
        assert!(bed.probe.take().is_empty());
    }
    let super::Bed { probe, leases, .. } = bed;
    drop(leases);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&probe), 1, "nobody holds the store any more");
}

#[test]
fn a_runtime_that_ends_takes_no_lease_along() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let bed = first.block_on(async { bed() });
    let lease = first.block_on(bed.acquire("cam1"));
    first.block_on(async { tokio::time::sleep(ROUND).await });
    assert!(!bed.probe.take().is_empty());
    drop(first);
    let second = runtime();
    let other = second.block_on(bed.acquire("cam2"));
    // Paused time begins anew with each runtime.
    second.block_on(async { tokio::time::sleep(ROUND * 3).await });
    let written: Vec<_> = bed.probe.take().into_iter().flatten().map(|write| write.id).collect();
    assert!(written.contains(lease.id()) && written.contains(other.id()), "{written:?}");
}

#[test]
fn without_a_runtime_it_is_an_error() {
    let leases = Leases::new(Arc::new(MemoryRegistry::new()), LeaseOptions::default());
    let mut acquire = std::pin::pin!(leases.acquire(stream("cam1", "h:1")));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = acquire.as_mut().poll(&mut context) else { panic!("no error") };
    assert!(error.message().contains("Tokio runtime"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_real_time_a_stream_outlives_its_time_to_live() {
    let registry = Arc::new(MemoryRegistry::with_ttl(Duration::from_secs(1)).unwrap());
    let leases = Leases::new(registry.clone(), LeaseOptions::default());
    let lease = leases.acquire_new(stream("any", "h:1")).await.unwrap();
    let began = Instant::now();
    // Each look is a condition of its own: it is there at any moment.
    while began.elapsed() < Duration::from_millis(2_500) {
        registry.get(lease.id()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lease.state(), LeaseState::Held);
    let last = lease.release().await.unwrap();
    assert!(last.last_heartbeat.since(last.created_at) > Duration::from_secs(1));
}
