//! Leases on the in-memory store: what a holder sees, what is written, and what is not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod alive;
mod dropping;
mod ending;
mod probe;
mod recovery;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use stream_registry::lease::{Lease, LeaseOptions, LeaseState, Leases};
use stream_registry::mock::MockRegistry;
use stream_registry::stream::EndReason;
use stream_registry::{Guard, Registry, Stream, StreamId, StreamType, UnregisterOptions};

use probe::Probe;

const TTL: Duration = Duration::from_secs(10);
/// A fifth of it.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// By when every lease has had its heartbeat: 10 % late, and a moment.
const ROUND: Duration = Duration::from_millis(2_250);

/// A mock store behind a probe; its clock and Tokio's are moved apart.
struct Bed {
    mock: Arc<MockRegistry>,
    probe: Arc<Probe>,
    leases: Leases,
}

fn bed() -> Bed {
    let mock = Arc::new(MockRegistry::with_ttl(TTL).unwrap());
    let probe = Arc::new(Probe::new(mock.clone()));
    let leases = Leases::new(probe.clone(), LeaseOptions::default());
    Bed { mock, probe, leases }
}

impl Bed {
    async fn acquire(&self, name: &str) -> Lease {
        self.leases.acquire(stream(name, "203.0.113.7:40112")).await.unwrap()
    }

    /// Another process on the same store.
    fn others(&self) -> Leases {
        Leases::new(self.mock.clone(), LeaseOptions::default())
    }

    /// An operator ends the stream.
    async fn force_end(&self, name: &str) -> Stream {
        let reason: EndReason = "operator".parse().unwrap();
        self.mock
            .unregister_with(&id(name), &UnregisterOptions::default().guard(Guard::Force).reason(reason))
            .await
            .unwrap()
    }

    async fn stored(&self, name: &str) -> Option<Stream> {
        self.mock.get(&id(name)).await.ok()
    }

    /// Both clocks go on together, in steps.
    async fn go_on(&self, time: Duration) {
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
