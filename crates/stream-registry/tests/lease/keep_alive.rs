//! Heartbeats of leases: their interval, their batches, and retries in an outage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::registry::Operation;
use stream_registry::{Guard, MemoryRegistry, Registry, StreamPatch};
use tokio::time::Instant;

use super::{HEARTBEAT, ROUND, TTL, setup, stream};

#[tokio::test(start_paused = true)]
async fn each_lease_sends_one_heartbeat_per_interval_in_large_batches() {
    let setup = setup();
    let mut held = Vec::new();
    for at in 0..1_000 {
        held.push(setup.acquire(&format!("cam{at}")).await);
        if at % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let rounds = 20_u32;
    let began = Instant::now();
    while began.elapsed() < HEARTBEAT * rounds {
        setup.advance(Duration::from_secs(1)).await;
    }
    let calls = setup.store.take_calls();
    let writes: usize = calls.iter().map(Vec::len).sum();
    let rounds = usize::try_from(rounds).unwrap();
    assert!((18_000..=23_000).contains(&writes), "{writes} writes in {rounds} intervals");
    assert!(calls.len() <= 12 * rounds, "{} calls in {rounds} intervals", calls.len());
    assert!(calls.iter().all(|call| call.len() <= 125));
    for lease in &held {
        assert_eq!(lease.state(), LeaseState::Held);
        assert!(matches!(&calls[0][0].guard, Guard::Holder(_)));
    }
    assert_eq!(setup.mock.list().await.unwrap().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn batches_of_heartbeats_overlap_only_if_the_store_is_slow() {
    for (delay, overlap) in [(Duration::from_millis(5), 1), (Duration::from_millis(500), 4)] {
        let setup = setup();
        let mut held = Vec::new();
        for at in 0..1_000 {
            held.push(setup.acquire(&format!("cam{at}")).await);
        }
        setup.mock.delay(Operation::Write, delay);
        setup.advance(ROUND * 2).await;
        assert_eq!(setup.store.max_writes.load(Ordering::SeqCst), overlap, "{delay:?}");
        assert!(held.iter().all(|lease| lease.state() == LeaseState::Held), "{delay:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn simultaneous_registrations_are_limited_unless_the_store_is_slow() {
    for (delay, limit) in [(Duration::from_millis(100), 512), (Duration::from_secs(20), 1_000)] {
        let setup = setup();
        setup.mock.delay(Operation::Register, delay);
        let acquired = (0..1_000).map(|at| setup.leases.acquire(stream(&format!("cam{at}"), "203.0.113.7:40112")));
        let held = futures_util::future::join_all(acquired).await;
        assert!(held.iter().all(Result::is_ok), "{delay:?}");
        assert_eq!(setup.store.max_registrations.load(Ordering::SeqCst), limit, "{delay:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_is_sent_while_the_store_is_down() {
    let setup = setup();
    let mut held = Vec::new();
    for at in 0..600 {
        held.push(setup.acquire(&format!("cam{at}")).await);
    }
    let created = held[7].stream().created_at;
    setup.store.set_down(true);
    setup.advance(Duration::from_secs(9)).await;
    assert!(held.iter().all(|lease| lease.state() == LeaseState::Held), "the time to live has not passed yet");
    setup.advance(Duration::from_secs(2)).await;
    assert!(held.iter().all(super::is_recovering), "all leases are past their time to live");
    setup.store.take_calls();
    let before = setup.store.registrations.load(Ordering::SeqCst);
    setup.advance(Duration::from_secs(3_600)).await;
    let calls = setup.store.take_calls().len() + setup.store.registrations.load(Ordering::SeqCst) - before;
    assert!((1_500..8_000).contains(&calls), "{calls} calls in an hour, expected one every 1 to 2 s");
    assert!(setup.mock.list().await.unwrap().is_empty());

    setup.store.set_down(false);
    setup.advance(HEARTBEAT + Duration::from_secs(2)).await;
    for lease in &held {
        assert_eq!(lease.state(), LeaseState::Held, "{lease:?}");
    }
    assert_eq!(setup.stored("cam7").await.unwrap().created_at, created);
    assert_eq!(setup.mock.list().await.unwrap().len(), 600);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_continue_while_the_store_rejects_registrations() {
    let setup = setup();
    let lost = setup.acquire("lost").await;
    setup.store.memory_full.store(true, Ordering::SeqCst);
    // The stream expires and leaves no tombstone.
    setup.mock.advance(TTL);
    setup.store.memory_full.store(false, Ordering::SeqCst);
    let kept = setup.acquire("kept").await;
    setup.store.memory_full.store(true, Ordering::SeqCst);
    setup.advance(Duration::from_secs(60)).await;
    assert_eq!(kept.state(), LeaseState::Held);
    assert!(setup.stored("kept").await.is_some());
    assert!(super::is_recovering(&lost));
    setup.store.memory_full.store(false, Ordering::SeqCst);
    setup.advance(ROUND).await;
    assert_eq!(lost.state(), LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_continue_while_full_memory_rejects_patches() {
    for leases in [1, 2, 300] {
        let setup = setup();
        let mut held = Vec::new();
        for at in 0..leases {
            held.push(setup.acquire(&format!("cam{at}")).await);
        }
        let healthy = setup.acquire("healthy").await;
        setup.store.memory_full.store(true, Ordering::SeqCst);
        for lease in &held {
            lease.patch(StreamPatch::default().label("a", "1")).unwrap();
        }
        assert!(held[0].flush().await.unwrap_err().is_retryable(), "flush reports the rejection");
        for _ in 0..20 {
            setup.advance(TTL / 5).await;
            assert_eq!(setup.mock.list().await.unwrap().len(), leases + 1);
            assert!(held.iter().chain([&healthy]).all(|lease| lease.state() == LeaseState::Held));
        }
        setup.store.memory_full.store(false, Ordering::SeqCst);
        setup.advance(ROUND * 2).await;
        let patched = setup.mock.list().await.unwrap().iter().filter(|stream| !stream.labels.is_empty()).count();
        assert_eq!(patched, leases, "every patch was written later");
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_speed_up_when_the_store_reports_a_shorter_ttl() {
    let setup = setup();
    *setup.store.reported_ttl.lock().unwrap() = Some(TTL * 10);
    let leases = Leases::new(setup.store.clone(), LeaseOptions::default().heartbeat(TTL * 3));
    let mut held = Vec::new();
    for at in 0..20 {
        held.push(leases.acquire(stream(&format!("cam{at}"), "h:1")).await.unwrap());
        setup.advance(Duration::from_millis(500)).await;
    }
    // The store restarts with a shorter time to live. The holder notices the restart when a heartbeat returns
    // `NotFound`.
    *setup.store.reported_ttl.lock().unwrap() = None;
    setup.mock.advance(TTL);
    setup.advance(TTL * 3).await;
    for _ in 0..100 {
        setup.advance(TTL / 10).await;
        assert_eq!(setup.mock.list().await.unwrap().len(), held.len());
        assert!(held.iter().all(|lease| lease.state() == LeaseState::Held));
    }
    setup.store.set_down(true);
    setup.advance(TTL).await;
    assert!(held.iter().all(super::is_recovering), "the deadline follows the shorter time to live");

    // A lease learns the shorter time to live from its own registration.
    setup.store.set_down(false);
    *setup.store.reported_ttl.lock().unwrap() = Some(TTL * 10);
    let leases = Leases::new(setup.store.clone(), LeaseOptions::default());
    *setup.store.reported_ttl.lock().unwrap() = None;
    let lease = leases.acquire(stream("second", "h:1")).await.unwrap();
    for _ in 0..30 {
        setup.advance(TTL / 10).await;
        assert!(setup.stored("second").await.is_some() && lease.state() == LeaseState::Held);
    }
}

#[tokio::test(start_paused = true)]
async fn keep_alive_task_runs_only_while_a_lease_exists() {
    let setup = setup();
    for _ in 0..3 {
        let lease = setup.acquire("cam1").await;
        setup.advance(ROUND).await;
        assert!(!setup.store.take_calls().is_empty());
        lease.release().await.unwrap();
        assert!(setup.leases.is_empty());
        setup.advance(ROUND).await;
        assert!(setup.store.take_calls().is_empty());
    }
    let super::Setup { store, leases, .. } = setup;
    drop(leases);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&store), 1, "the keep-alive task still holds the store");
}

#[test]
fn keep_alive_task_moves_to_another_runtime_after_a_shutdown() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let setup = first.block_on(async { setup() });
    let lease = first.block_on(setup.acquire("cam1"));
    first.block_on(async { tokio::time::sleep(ROUND).await });
    assert!(!setup.store.take_calls().is_empty());
    drop(first);
    let second = runtime();
    let other = second.block_on(setup.acquire("cam2"));
    // Each runtime has its own paused clock, and this clock starts at zero.
    second.block_on(async { tokio::time::sleep(ROUND * 3).await });
    let written: Vec<_> = setup.store.take_calls().into_iter().flatten().map(|write| write.id).collect();
    assert!(written.contains(lease.id()) && written.contains(other.id()), "{written:?}");
}

#[test]
fn acquire_fails_outside_a_tokio_runtime() {
    let leases = Leases::new(Arc::new(MemoryRegistry::new()), LeaseOptions::default());
    let mut acquire = std::pin::pin!(leases.acquire(stream("cam1", "h:1")));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = acquire.as_mut().poll(&mut context) else { panic!("no error") };
    assert!(error.message().contains("Tokio runtime"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_stream_outlives_its_ttl_in_real_time() {
    let registry = Arc::new(MemoryRegistry::with_ttl(Duration::from_secs(1)).unwrap());
    let leases = Leases::new(registry.clone(), LeaseOptions::default());
    let lease = leases.acquire_new(stream("any", "h:1")).await.unwrap();
    let began = Instant::now();
    // The stream must exist all the time: `get` fails if it has expired.
    while began.elapsed() < Duration::from_millis(2_500) {
        registry.get(lease.id()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lease.state(), LeaseState::Held);
    let last = lease.release().await.unwrap();
    assert!(last.last_heartbeat.since(last.created_at) > Duration::from_secs(1));
}
