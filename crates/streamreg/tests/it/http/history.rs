//! Limits of requests for the history.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use stream_registry::query::Ended;
use stream_registry::watch::Event;
use stream_registry::{MemoryRegistry, Registry, Result, forward_registry};
use streamreg::server::ServeOptions;
use testkit::wait_until;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::kit::{PATIENCE, Server, within};

/// Number of histories that a server reads at the same time.
const CONCURRENT: usize = 4;

/// A registry whose histories wait until `release` has permits.
#[derive(Debug)]
struct SlowHistory {
    inner: MemoryRegistry,
    running: AtomicUsize,
    /// Greatest value of `running` so far.
    most: AtomicUsize,
    release: Semaphore,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for SlowHistory {
    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.release.acquire().await.unwrap().forget();
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.inner.history(ended, limit).await
    }

    forward_registry!(|this| this.inner => register_with, unregister_with, write, get, snapshot, list_page, ping, info,
        close, watch, now);
    forward_registry!(provided => metrics, get_many, find, summary, register_new, conveniences);
}

#[tokio::test]
async fn few_histories_are_read_at_once_while_other_requests_are_answered() {
    let registry = Arc::new(SlowHistory {
        inner: MemoryRegistry::new(),
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        release: Semaphore::new(0),
    });
    let server = Arc::new(Server::start(registry.clone(), ServeOptions::default()).await);
    let mut requests = JoinSet::new();
    for _ in 0..60 {
        let server = server.clone();
        requests.spawn(async move { server.get("/api/v1/history").await });
    }
    wait_until(PATIENCE, async || registry.running.load(Ordering::SeqCst) == CONCURRENT).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.request("HEAD", "/api/v1/events", &[], "").await.status, 200);
    // All requests arrive while no history can finish. Those that waited too long are rejected.
    for _ in 0..60 - CONCURRENT {
        let rejected = within(requests.join_next()).await.unwrap().unwrap();
        let problem = rejected.problem(503, "unavailable");
        assert_eq!(problem["retryable"], true);
        assert!(rejected.header("retry-after").parse::<u32>().is_ok());
    }
    assert_eq!(registry.most.load(Ordering::SeqCst), CONCURRENT);
    registry.release.add_permits(1_000);
    while let Some(answered) = within(requests.join_next()).await {
        assert_eq!(answered.unwrap().status, 200);
    }
    assert_eq!(server.get("/api/v1/history").await.status, 200);
}
