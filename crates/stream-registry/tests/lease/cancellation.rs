//! A lease and its store stay consistent when the future of a call is dropped at any point.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stream_registry::lease::{LeaseEnd, LeaseState};
use stream_registry::registry::Operation;
use stream_registry::{StreamStats, StreamStatus};

use super::{ROUND, setup, stream};

/// Polls a future `polls` times, then drops it. Other tasks run in a pause after each poll.
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
            let setup = setup();
            let lease = setup.acquire("cam1").await;
            for operation in [Operation::Status, Operation::Heartbeat, Operation::Unregister, Operation::Stats] {
                setup.mock.delay(operation, Duration::from_millis(100));
            }
            if lost {
                // The store loses the stream before the lease makes its calls.
                setup.mock.advance(super::TTL);
            }
            poll_and_drop(lease.set_status(StreamStatus::Active), polls).await;
            lease.report(StreamStats { bytes_received: Some(1), ..Default::default() });
            poll_and_drop(lease.flush(), polls).await;
            poll_and_drop(lease.ended(), polls).await;
            setup.advance(ROUND * 2).await;
            assert_eq!(lease.state(), LeaseState::Held, "{polls} polls, lost: {lost}");
            let stored = setup.stored("cam1").await.unwrap();
            assert_eq!(stored.bytes_received, 1, "{polls} polls, lost: {lost}");
            let expected = if polls > 0 { StreamStatus::Active } else { StreamStatus::Connecting };
            assert_eq!(
                stored.status, expected,
                "a status is written once its call has started: {polls} polls, lost: {lost}"
            );

            let released = poll_and_drop(lease.release(), polls).await;
            setup.advance(ROUND * 2).await;
            match setup.stored("cam1").await {
                Some(_) => assert_eq!(lease.state(), LeaseState::Held, "{polls} polls, lost: {lost} {released:?}"),
                None => assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::Released), "{polls} polls, lost: {lost}"),
            }
            if released.is_none() && setup.stored("cam1").await.is_some() {
                lease.release().await.unwrap();
            }
            assert!(setup.leases.is_empty() && setup.stored("cam1").await.is_none(), "{polls} polls, lost: {lost}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_acquire_or_release_all_leaves_no_lease_without_handle() {
    for polls in 0..8 {
        let setup = setup();
        setup.mock.delay(Operation::Register, Duration::from_millis(100));
        setup.mock.delay(Operation::Unregister, Duration::from_millis(100));
        let lease = poll_and_drop(setup.leases.acquire(stream("cam1", "h:1")), polls).await;
        let exists = setup.stored("cam1").await.is_some();
        match &lease {
            Some(lease) => assert_eq!(lease.as_ref().unwrap().state(), LeaseState::Held),
            None => assert!(setup.leases.is_empty(), "{polls}: a lease without a handle is kept alive"),
        }
        assert!(lease.is_none() || exists);
        // The same publisher can acquire the stream, whether or not the cancelled call has registered it.
        let mut held = Vec::new();
        for name in ["cam1", "cam2", "cam3"] {
            held.push(setup.leases.acquire(stream(name, "h:1")).await.unwrap());
        }
        poll_and_drop(setup.leases.release_all(), polls).await;
        setup.advance(ROUND * 2).await;
        for lease in &held {
            let exists = setup.stored(lease.id().as_str()).await.is_some();
            assert_eq!(lease.state() == LeaseState::Held, exists, "{polls} polls: {lease:?}");
            assert!(exists || lease.state() == LeaseState::Ended(LeaseEnd::Released), "{polls} polls: {lease:?}");
        }
        assert!(setup.leases.release_all().await.is_empty());
        assert!(setup.leases.is_empty());
    }
}
