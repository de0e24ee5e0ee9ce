//! How leases end: the holder releases them, other clients end them, or the registry is closed.

use std::collections::HashSet;
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseState};
use stream_registry::registry::Operation;
use stream_registry::stream::EndReason;
use stream_registry::{ErrorKind, OnConflict, Registry, StreamPatch, StreamStats, StreamStatus};

use super::{ROUND, TTL, setup, stream};

#[tokio::test(start_paused = true)]
async fn release_writes_pending_reports_and_returns_the_last_record() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    lease.report(StreamStats { bytes_received: Some(77), ..Default::default() });
    let last = lease.release_with("publisher left".parse().unwrap()).await.unwrap();
    assert_eq!((last.bytes_received, last.end_reason.as_deref()), (77, Some("publisher left")));
    assert_eq!(lease.ended().await, LeaseEnd::Released);
    assert!(setup.stored("cam1").await.is_none());
    for error in [
        lease.release().await.unwrap_err(),
        lease.set_status(StreamStatus::Active).await.unwrap_err(),
        lease.flush().await.unwrap_err(),
        lease.patch(StreamPatch::default()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains("released"), "{error}");
    }
    lease.report(StreamStats::default());
    setup.store.take_calls();
    setup.advance(ROUND * 3).await;
    assert!(setup.store.take_calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn release_waits_for_the_write_in_flight() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.mock.delay(Operation::Status, Duration::from_millis(500));
    let began = tokio::time::Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lease.release().await
    };
    let (status, last) = tokio::join!(lease.set_status(StreamStatus::Closed), release);
    status.unwrap();
    assert_eq!(last.unwrap().status, StreamStatus::Closed);
    assert_eq!(began.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn release_succeeds_when_the_reply_is_lost() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.mock.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    let last = lease.release_with("done".parse().unwrap()).await.unwrap();
    assert_eq!(last.end_reason.as_deref(), Some("done"));
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));

    // The store stays down longer than the retries last. The lease continues and is released later.
    let lease = setup.acquire("cam2").await;
    setup.store.set_down(true);
    let began = tokio::time::Instant::now();
    assert!(lease.release().await.unwrap_err().is_retryable());
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(lease.state(), LeaseState::Held);
    setup.store.set_down(false);
    setup.advance(ROUND * 2).await;
    assert!(setup.stored("cam2").await.is_some());
    lease.release().await.unwrap();
    assert!(setup.stored("cam2").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn release_succeeds_when_the_id_is_acquired_again_before_the_retry() {
    for is_same_process in [false, true] {
        let setup = setup();
        let lease = setup.acquire("cam1").await;
        setup.mock.delay(Operation::Unregister, Duration::from_secs(1));
        setup.mock.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
        let leases = if is_same_process { setup.leases.clone() } else { setup.other_process() };
        let next = async {
            // The first call is applied after its delay of 1 s, and the retry arrives 1 s later.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            leases.acquire(stream("cam1", "203.0.113.7:51480")).await.unwrap()
        };
        let (last, next) = tokio::join!(lease.release_with("done".parse().unwrap()), next);
        assert_eq!(last.unwrap().end_reason.as_deref(), Some("done"), "{is_same_process}");
        assert!(matches!(lease.state(), LeaseState::Ended(_)));
        assert_eq!(setup.stored("cam1").await.unwrap().epoch(), Some(next.epoch()));
    }
}

#[tokio::test(start_paused = true)]
async fn lease_ends_as_released_after_a_cancelled_but_applied_release() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    setup.mock.delay(Operation::Unregister, Duration::from_secs(1));
    setup.mock.fail_next_after_applying(Operation::Unregister, ErrorKind::Timeout);
    // The timeout drops the future of `release` after the first reply and before the reply of the retry.
    let cancelled = tokio::time::timeout(Duration::from_millis(1_500), lease.release());
    assert!(cancelled.await.is_err());
    assert!(setup.stored("cam1").await.is_none());
    assert_eq!(lease.ended().await, LeaseEnd::Released);
    assert!(setup.stored("cam1").await.is_none(), "the stream was registered again");
}

#[tokio::test(start_paused = true)]
async fn lease_ends_as_removed_despite_an_earlier_failed_release() {
    let setup = setup();
    // The store is down, so the release was certainly not applied.
    let lease = setup.acquire("cam1").await;
    setup.store.set_down(true);
    assert!(lease.release().await.unwrap_err().is_retryable());
    setup.force_unregister("cam1").await;
    setup.store.set_down(false);
    assert_eq!(lease.ended().await, LeaseEnd::Removed);

    let lease = setup.acquire("cam2").await;
    setup.mock.fail_next(Operation::Unregister, ErrorKind::Unavailable);
    setup.mock.delay(Operation::Unregister, Duration::from_millis(100));
    let removal = async {
        tokio::time::sleep(Duration::from_millis(130)).await;
        setup.mock.delay(Operation::Unregister, Duration::ZERO);
        setup.force_unregister("cam2").await;
    };
    let (released, ()) = tokio::join!(lease.release(), removal);
    assert_eq!(released.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        lease.state(),
        LeaseState::Ended(LeaseEnd::Removed),
        "an operator removed the stream between two attempts of the release"
    );

    // A cancelled release may have been applied. The next heartbeat finds the stream, so the release was not applied.
    let lease = setup.acquire("cam3").await;
    setup.mock.delay(Operation::Unregister, Duration::from_secs(1));
    assert!(tokio::time::timeout(Duration::from_millis(500), lease.release()).await.is_err());
    setup.mock.delay(Operation::Unregister, Duration::ZERO);
    setup.advance(ROUND).await;
    assert_eq!(lease.state(), LeaseState::Held);
    setup.force_unregister("cam3").await;
    assert_eq!(lease.ended().await, LeaseEnd::Removed);
}

#[tokio::test(start_paused = true)]
async fn release_of_a_lost_lease_returns_not_holder_or_not_found() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    let others = setup.other_process();
    let other = others.acquire_with(stream("cam1", "198.51.100.9:5000"), OnConflict::TakeOver).await.unwrap();
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder, "{error}");
    let by = Some("198.51.100.9:5000".to_owned());
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Superseded { by }));
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotHolder);
    assert!(error.message().contains("198.51.100.9:5000"), "{error}");
    assert_eq!(other.state(), LeaseState::Held);

    let lease = setup.acquire("cam2").await;
    setup.force_unregister("cam2").await;
    assert_eq!(lease.release().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Removed));
}

#[tokio::test(start_paused = true)]
async fn release_succeeds_when_another_program_removed_the_epoch() {
    let setup = setup();
    let lease = setup.acquire("cam1").await;
    let theirs = r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}"#;
    setup.mock.put_stored(lease.id(), theirs).unwrap();
    lease.release().await.unwrap();
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released));
    assert!(setup.stored("cam1").await.is_none());

    // Another program keeps removing the epoch: first for 1 s, then for 20 s. The retries of `release` last longer than
    // 1 s, but not 20 s.
    setup.mock.delay(Operation::Unregister, Duration::from_millis(20));
    for (seconds, is_released) in [(1, true), (20, false)] {
        let lease = setup.acquire("cam1").await;
        let dropping = async {
            loop {
                setup.mock.put_stored(lease.id(), theirs).unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let dropping = tokio::time::timeout(Duration::from_secs(seconds), dropping);
        let (released, _) = tokio::join!(lease.release(), dropping);
        assert_eq!(released.is_ok(), is_released, "{released:?}");
        assert!(released.err().is_none_or(|error| error.is_retryable()));
        setup.advance(ROUND).await;
        let state = if is_released { LeaseState::Ended(LeaseEnd::Released) } else { LeaseState::Held };
        assert_eq!((lease.state(), setup.stored("cam1").await.is_some()), (state, !is_released));
    }
}

#[tokio::test(start_paused = true)]
async fn release_all_runs_in_parallel_and_names_failed_streams() {
    let setup = setup();
    let mut held = Vec::new();
    for at in 0..500 {
        held.push(setup.acquire(&format!("cam{at}")).await);
    }
    let stuck = setup.acquire("stuck").await;
    setup.mock.put_stored(stuck.id(), r#"{"type":"srt","source_addr":"elsewhere:1"}"#).unwrap();
    setup.mock.delay(Operation::Unregister, Duration::from_millis(100));
    let began = tokio::time::Instant::now();
    let reason: EndReason = "maintenance".parse().unwrap();
    let failed = setup.leases.release_all_with(reason).await;
    assert!(
        began.elapsed() <= Duration::from_millis(900),
        "the releases did not run in parallel: {:?}",
        began.elapsed()
    );
    let failed: Vec<_> = failed.iter().map(|error| (error.kind(), error.stream_id().cloned())).collect();
    assert_eq!(failed, [(ErrorKind::NotHolder, Some(stuck.id().clone()))]);
    assert!(setup.leases.is_empty());
    assert!(held.iter().all(|lease| lease.state() == LeaseState::Ended(LeaseEnd::Released)));
    assert_eq!(setup.mock.list().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn release_all_returns_within_seconds_while_the_store_is_down() {
    let setup = setup();
    let mut held = Vec::new();
    for at in 0..1_000 {
        held.push(setup.acquire(&format!("cam{at}")).await);
        held[at].report(StreamStats { bytes_received: Some(7), ..Default::default() });
    }
    setup.store.set_down(true);
    let began = tokio::time::Instant::now();
    let failed = setup.leases.release_all().await;
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(failed.iter().all(|error| error.is_retryable() && error.operation() == Some(Operation::Unregister)));
    let named: HashSet<_> = failed.iter().filter_map(|error| error.stream_id().cloned()).collect();
    assert_eq!(
        (failed.len(), named.len(), setup.leases.len()),
        (1_000, 1_000, 1_000),
        "each lease returns an error and is kept"
    );
    setup.store.set_down(false);
    assert!(setup.leases.release_all().await.is_empty());
    assert!(setup.mock.list().await.unwrap().is_empty());

    // If the store is slow but not down, `release_all` still releases all leases.
    for at in 0..2_560 {
        held.push(setup.acquire(&format!("cam{at}")).await);
    }
    setup.mock.delay(Operation::Unregister, Duration::from_secs(1));
    assert!(setup.leases.release_all().await.is_empty());
    assert!(setup.mock.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn earlier_lease_ends_at_once_when_the_same_process_acquires_again() {
    let setup = setup();
    let (first, second) = (setup.acquire("cam1").await, setup.acquire("cam1").await);
    assert!(first.epoch() < second.epoch());
    assert!(matches!(first.state(), LeaseState::Ended(LeaseEnd::Superseded { .. })));
    assert_eq!((second.state(), setup.leases.len()), (LeaseState::Held, 1));
    drop(first);
    setup.advance(TTL * 2).await;
    assert_eq!(second.state(), LeaseState::Held);
    assert!(setup.stored("cam1").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn all_leases_end_when_the_registry_is_closed() {
    let setup = setup();
    let (one, two) = (setup.acquire("cam1").await, setup.acquire("cam2").await);
    setup.mock.close().await.unwrap();
    assert_eq!((one.ended().await, two.ended().await), (LeaseEnd::Closed, LeaseEnd::Closed));
    assert_eq!(one.release().await.unwrap_err().kind(), ErrorKind::Closed);
}
