//! Leases on the in-memory store: the state that a holder sees, and the writes that reach the store.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

mod cancellation;
mod faulty_store;
mod follow;
mod keep_alive;
mod logging;
mod recovery;
mod release;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use stream_registry::lease::{Lease, LeaseOptions, LeaseState, Leases, LossDetection};
use stream_registry::mock::MockRegistry;
use stream_registry::stream::EndReason;
use stream_registry::{Guard, Registry, Stream, StreamId, StreamType, UnregisterOptions};

use faulty_store::FaultyStore;

const TTL: Duration = Duration::from_secs(10);
/// The default interval, a fifth of the time to live.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Time within which every lease sends a heartbeat: the interval plus 10 % and a small margin.
const ROUND: Duration = Duration::from_millis(2_250);

/// Leases on a mock store. The clock of this store is separate from Tokio's clock.
struct Setup {
    mock: Arc<MockRegistry>,
    store: Arc<FaultyStore>,
    leases: Leases,
}

fn setup() -> Setup {
    setup_with(MockRegistry::with_ttl(TTL).unwrap(), LeaseOptions::default())
}

/// Returns leases that write only when a heartbeat is due or a caller waits, and never because of an event.
fn setup_without_feed() -> Setup {
    let options = LeaseOptions::default().loss_detection(LossDetection::Heartbeat);
    setup_with(MockRegistry::with_ttl(TTL).unwrap(), options)
}

fn setup_with(mock: MockRegistry, options: LeaseOptions) -> Setup {
    let mock = Arc::new(mock);
    let store = Arc::new(FaultyStore::new(mock.clone()));
    let leases = Leases::new(store.clone(), options);
    Setup { mock, store, leases }
}

impl Setup {
    async fn acquire(&self, name: &str) -> Lease {
        self.leases.acquire(stream(name, "203.0.113.7:40112")).await.unwrap()
    }

    /// Returns the `Leases` of another process that uses the same store.
    fn other_process(&self) -> Leases {
        Leases::new(self.mock.clone(), LeaseOptions::default())
    }

    /// Unregisters a stream by force, as an operator does.
    async fn force_unregister(&self, name: &str) -> Stream {
        let reason: EndReason = "operator".parse().unwrap();
        self.mock
            .unregister_with(&id(name), &UnregisterOptions::default().guard(Guard::Force).reason(reason))
            .await
            .unwrap()
    }

    async fn stored(&self, name: &str) -> Option<Stream> {
        self.mock.get(&id(name)).await.ok()
    }

    /// Advances the mock store's clock and Tokio's clock together, in small steps.
    async fn advance(&self, time: Duration) {
        let step = Duration::from_millis(50);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.mock.advance(step);
            tokio::time::sleep(step).await;
        }
    }
}

fn id(name: &str) -> StreamId {
    name.parse().unwrap()
}

fn stream(name: &str, source: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, source)
}

fn is_recovering(lease: &Lease) -> bool {
    matches!(lease.state(), LeaseState::Recovering { .. })
}
