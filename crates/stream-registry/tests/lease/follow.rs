//! Leases follow the change feed: a holder learns that it lost a stream long before its next heartbeat.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseOptions, LeaseState, LossDetection};
use stream_registry::mock::MockRegistry;
use stream_registry::registry::Operation;
use stream_registry::{Change, Guard, OnConflict, RegisterOptions, Registry, StreamPatch, StreamStatus, Write};
use tokio::time::{sleep, timeout};

use super::{Setup, id, setup_with, stream};

/// Time within which a holder must learn of a loss. The default heartbeat interval is 10 times as long.
const SOON: Duration = Duration::from_secs(1);

/// Leases with the default options on a store with the default time to live.
fn setup(options: LeaseOptions) -> Setup {
    setup_with(MockRegistry::new(), options)
}

#[tokio::test(start_paused = true)]
async fn holder_learns_of_a_take_over_within_a_second() {
    // The take-over comes right after the registration, while the leases follow the feed, or during an idle phase.
    for age in [Duration::ZERO, Duration::from_millis(30), Duration::from_secs(95)] {
        for leased in [true, false] {
            let setup = setup(LeaseOptions::default());
            let lease = setup.acquire("cam1").await;
            sleep(age).await;
            let theirs = stream("cam1", "198.51.100.9:5000");
            let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
            let options = if leased { options.lease() } else { options };
            setup.mock.register_with(&theirs, &options).await.unwrap();
            let end = timeout(SOON, lease.ended()).await;
            let expected = LeaseEnd::Superseded { by: Some("198.51.100.9:5000".into()) };
            assert_eq!(end, Ok(expected), "age {age:?}, leased {leased}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn holder_learns_within_a_second_that_an_operator_removed_its_stream() {
    let setup = setup(LeaseOptions::default());
    let lease = setup.acquire("cam1").await;
    sleep(Duration::from_secs(30)).await;
    setup.force_unregister("cam1").await;
    assert_eq!(timeout(SOON, lease.ended()).await, Ok(LeaseEnd::Removed));
}

#[tokio::test(start_paused = true)]
async fn expired_stream_recovers_within_a_second() {
    let setup = setup(LeaseOptions::default());
    let lease = setup.acquire("cam1").await;
    sleep(Duration::from_secs(1)).await;
    // Only the clock of the store advances, so the holder still believes that it holds the stream.
    setup.mock.advance(Duration::from_secs(301));
    assert!(setup.mock.list().await.unwrap().is_empty());
    sleep(SOON).await;
    assert_eq!(setup.stored("cam1").await.unwrap().epoch(), Some(lease.epoch()));
}

#[tokio::test(start_paused = true)]
async fn holder_learns_within_a_second_that_its_registry_was_closed() {
    let setup = setup(LeaseOptions::default());
    let lease = setup.acquire("cam1").await;
    sleep(Duration::from_secs(30)).await;
    setup.mock.close().await.unwrap();
    assert_eq!(timeout(SOON, lease.ended()).await, Ok(LeaseEnd::Closed));
}

#[tokio::test(start_paused = true)]
async fn lease_writes_nothing_early_when_events_do_not_threaten_it() {
    let setup = setup(LeaseOptions::default());
    // An earlier holder's events arrive after this lease has begun.
    let earlier = setup.other_process().acquire(stream("cam1", "203.0.113.7:40112")).await.unwrap();
    let lease = setup.acquire("cam1").await;
    drop(earlier);
    sleep(Duration::from_secs(2)).await;
    setup.store.take_calls();
    lease.set_status(StreamStatus::Active).await.unwrap();
    lease.patch(StreamPatch::default().label("a", "1")).unwrap();
    lease.flush().await.unwrap();
    for at in 0..2_000 {
        let other = stream(&format!("other{at}"), "198.51.100.9:5000");
        setup.mock.register(&other).await.unwrap();
        setup.mock.unregister(&other.id).await.unwrap();
    }
    // An operator's forced write keeps the epoch, so the lease goes on.
    let change = Change::Status(StreamStatus::Paused);
    setup.mock.write_one(Write::new(&id("cam1"), change).guard(Guard::Force)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(setup.store.take_operations(), ["status", "patch"], "nothing else was written early");
    assert_eq!(lease.state(), LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn lease_lost_during_its_own_write_is_checked_again() {
    let setup = setup(LeaseOptions::default());
    let lease = Arc::new(setup.acquire("cam1").await);
    sleep(Duration::from_secs(1)).await;
    // The store applies the status, but its reply takes longer than the event about the removal.
    setup.mock.delay(Operation::Status, Duration::from_millis(300));
    let write = tokio::spawn({
        let lease = Arc::clone(&lease);
        async move { lease.set_status(StreamStatus::Active).await }
    });
    sleep(Duration::from_millis(100)).await;
    setup.force_unregister("cam1").await;
    assert_eq!(timeout(SOON, lease.ended()).await, Ok(LeaseEnd::Removed));
    // The write may have been applied before or after the removal.
    drop(write.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn heartbeat_detects_the_loss_when_the_store_has_no_feed_or_the_leases_ignore_the_feed() {
    for has_feed in [true, false] {
        let options = if has_feed {
            LeaseOptions::default().loss_detection(LossDetection::Heartbeat)
        } else {
            LeaseOptions::default()
        };
        let setup = setup(options);
        setup.store.without_feed.store(!has_feed, Ordering::SeqCst);
        let lease = setup.acquire("cam1").await;
        sleep(Duration::from_secs(1)).await;
        setup.force_unregister("cam1").await;
        assert!(timeout(SOON * 5, lease.ended()).await.is_err(), "the loss was detected without a heartbeat");
        assert_eq!(timeout(SOON * 7, lease.ended()).await, Ok(LeaseEnd::Removed));
    }
}

#[tokio::test(start_paused = true)]
async fn leases_follow_the_feed_after_an_outage_at_the_start() {
    let setup = setup(LeaseOptions::default());
    setup.store.watch_down.store(true, Ordering::SeqCst);
    let lease = setup.acquire("cam1").await;
    sleep(Duration::from_secs(60)).await;
    setup.store.watch_down.store(false, Ordering::SeqCst);
    // The pause between two attempts is at most 5 s.
    sleep(Duration::from_secs(6)).await;
    setup.force_unregister("cam1").await;
    assert_eq!(timeout(SOON, lease.ended()).await, Ok(LeaseEnd::Removed));
}
