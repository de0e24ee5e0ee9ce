//! Dropping a future at any point leaves lease and store consistent.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseState};
use stream_registry::registry::Operation;
use stream_registry::{StreamStats, StreamStatus};

use super::{ROUND, stream, test_bed};

/// Polls a future this many times, with a pause for other tasks after each poll, then drops it.
async fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn lease_stays_consistent_when_its_calls_are_cancelled() {
    for polls in 0..8 {
        for lost in [false, true] {
            let bed = test_bed();
            let lease = bed.acquire("cam1").await;
            for operation in [Operation::Status, Operation::Heartbeat, Operation::Unregister, Operation::Stats] {
                bed.mock.delay(operation, Duration::from_millis(100));
            }
            if lost {
                // The store has lost the stream before the calls.
                bed.mock.advance(super::TTL);
            }
            poll_and_drop(lease.set_status(StreamStatus::Active), polls).await;
            lease.report(StreamStats { bytes_received: 1, ..Default::default() });
            poll_and_drop(lease.flush(), polls).await;
            poll_and_drop(lease.ended(), polls).await;
            bed.advance(ROUND * 2).await;
            assert_eq!(lease.state(), LeaseState::Held, "{polls} polls, lost: {lost}");
            let stored = bed.stored("cam1").await.unwrap();
            assert_eq!(stored.bytes_received, 1, "{polls} polls, lost: {lost}");
            let expected = if polls > 0 { StreamStatus::Active } else { StreamStatus::Connecting };
            assert_eq!(
                stored.status, expected,
                "a status is written once its call has started: {polls} polls, lost: {lost}"
            );

            let released = poll_and_drop(lease.release(), polls).await;
            bed.advance(ROUND * 2).await;
            match bed.stored("cam1").await {
                Some(_) => assert_eq!(lease.state(), LeaseState::Held, "{polls} polls, lost: {lost} {released:?}"),
                None => assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released), "{polls} polls, lost: {lost}"),
            }
            if released.is_none() && bed.stored("cam1").await.is_some() {
                lease.release().await.unwrap();
            }
            assert!(bed.leases.is_empty() && bed.stored("cam1").await.is_none(), "{polls} polls, lost: {lost}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_acquire_and_release_all_leave_no_unowned_lease() {
    for polls in 0..8 {
        let bed = test_bed();
        bed.mock.delay(Operation::Register, Duration::from_millis(100));
        bed.mock.delay(Operation::Unregister, Duration::from_millis(100));
        let lease = poll_and_drop(bed.leases.acquire(stream("cam1", "h:1")), polls).await;
        let exists = bed.stored("cam1").await.is_some();
        match &lease {
            Some(lease) => assert_eq!(lease.as_ref().unwrap().state(), LeaseState::Held),
            None => assert!(bed.leases.is_empty(), "{polls}: a lease without a handle is kept alive"),
        }
        assert!(lease.is_none() || exists);
        // The same publisher gets the stream, whether or not it was registered.
        let mut held = Vec::new();
        for name in ["cam1", "cam2", "cam3"] {
            held.push(bed.leases.acquire(stream(name, "h:1")).await.unwrap());
        }
        poll_and_drop(bed.leases.release_all(), polls).await;
        bed.advance(ROUND * 2).await;
        for lease in &held {
            let exists = bed.stored(lease.id().as_str()).await.is_some();
            assert_eq!(lease.state() == LeaseState::Held, exists, "{polls} polls: {lease:?}");
            assert!(exists || lease.state() == LeaseState::Ended(LeaseEnd::Released), "{polls} polls: {lease:?}");
        }
        assert!(bed.leases.release_all().await.is_empty());
        assert!(bed.leases.is_empty());
    }
}
