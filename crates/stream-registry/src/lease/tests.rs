//! Tests of the memory that leases use, and of leases in a store that is partly down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::cell::Cell;
use super::keeper::MAX_STALE;
use super::{Lease, LeaseOptions, Leases};
use crate::error::{Error, ErrorKind, Result};
use crate::forward_registry;
use crate::memory::MemoryRegistry;
use crate::registry::{RegisterOptions, Registered, Registry, Write};
use crate::stream::{Stream, StreamId, StreamStats, StreamType};
use crate::watch::{Event, WatchFrom};

fn leases() -> Leases {
    let registry = MemoryRegistry::with_ttl(Duration::from_secs(86_400)).unwrap();
    Leases::new(Arc::new(registry), LeaseOptions::default())
}

fn stream(name: &str) -> Stream {
    Stream::new(name.parse().unwrap(), StreamType::Srt, "h:1")
}

#[test]
fn lease_uses_at_most_300_bytes_beyond_its_record() {
    // The record already includes the id and the epoch. Besides its record, a lease needs the rest of its `Cell`, the
    // counters of the `Arc`, one queue entry, one entry in a map that may be half full, and the handle.
    let cell = size_of::<Cell>() - size_of::<Stream>() + 16;
    let queue = size_of::<(u64, Arc<Cell>)>();
    let map = 2 * (size_of::<(StreamId, Arc<Cell>)>() + 1);
    let handle = size_of::<Lease>();
    assert!(cell + queue + map + handle <= 300, "{cell} + {queue} + {map} + {handle}");
}

#[tokio::test]
async fn heartbeat_queue_drops_released_leases_before_they_are_due() {
    let leases = leases();
    let _held = leases.acquire(stream("held")).await.unwrap();
    let mut cells: Vec<Weak<Cell>> = Vec::new();
    for at in 0..3_000 {
        let lease = leases.acquire(stream(&format!("cam{at}"))).await.unwrap();
        cells.extend(leases.0.cells().iter().filter(|cell| cell.id == *lease.id()).map(Arc::downgrade));
        // During this yield, the keeper task puts the lease into its queue.
        tokio::task::yield_now().await;
        lease.release().await.unwrap();
    }
    tokio::task::yield_now().await;
    let kept = cells.iter().filter(|cell| cell.strong_count() > 0).count();
    assert_eq!(cells.len(), 3_000);
    assert!(kept <= MAX_STALE + 10, "{kept} released leases are still in memory");
}

#[tokio::test]
async fn heartbeat_queue_drops_stale_entries_of_a_flushing_lease() {
    let leases = leases();
    let lease = leases.acquire(stream("cam1")).await.unwrap();
    for bytes_received in 0..3_000 {
        lease.report(StreamStats { bytes_received: Some(bytes_received), ..Default::default() });
        lease.flush().await.unwrap();
    }
    let cells = leases.0.cells();
    let references = Arc::strong_count(&cells[0]);
    assert!(references <= MAX_STALE + 10, "{references} references to one lease");
}

/// A store that rejects calls about streams whose ids begin with `down`.
#[derive(Debug)]
struct PartlyDown {
    inner: MemoryRegistry,
    is_down: AtomicBool,
    /// Whether the errors say that only a part of the store is down.
    says_partial: bool,
}

impl PartlyDown {
    fn check(&self, id: &StreamId) -> Result<()> {
        if self.is_down.load(Ordering::Relaxed) && id.as_str().starts_with("down") {
            let error = Error::new(ErrorKind::Unavailable, "a part of the store is down");
            return Err(error.with_partial(self.says_partial));
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for PartlyDown {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        self.check(&stream.id)?;
        self.inner.register_with(stream, options).await
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            results.push(match self.check(&write.id) {
                Ok(()) => self.inner.write_one(write.clone()).await,
                down => down,
            });
        }
        Ok(results)
    }

    forward_registry!(|this| this.inner => register_new, unregister_with, get, get_many);
    forward_registry!(|this| this.inner => snapshot, list_page, find, summary, history, watch);
    forward_registry!(|this| this.inner => ping, info, now, close, metrics);
    forward_registry!(provided => conveniences);
}

#[tokio::test]
async fn leases_are_renewed_if_errors_say_that_another_part_is_down() {
    renews_leases_in_the_working_part(true).await;
}

#[tokio::test]
async fn leases_are_renewed_if_another_part_is_down() {
    renews_leases_in_the_working_part(false).await;
}

async fn renews_leases_in_the_working_part(says_partial: bool) {
    const TTL: Duration = Duration::from_secs(2);
    let inner = MemoryRegistry::with_ttl(TTL).unwrap();
    let registry = Arc::new(PartlyDown { inner, is_down: AtomicBool::new(false), says_partial });
    let leases = Leases::new(registry.clone(), LeaseOptions::default());
    let mut held = Vec::new();
    // There are several batches of leases that fail as a whole.
    for at in 0..600 {
        held.push(leases.acquire(stream(&format!("down{at}"))).await.unwrap());
    }
    for at in 0..50 {
        held.push(leases.acquire(stream(&format!("up{at}"))).await.unwrap());
    }
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    registry.is_down.store(true, Ordering::Relaxed);
    let ended = async {
        loop {
            match watch.next().await {
                Some(Event::Ended { last, .. }) if last.id.as_str().starts_with("up") => return last,
                Some(_) => {}
                None => unreachable!("the registry is open"),
            }
        }
    };
    let ended = tokio::time::timeout(3 * TTL, ended).await;
    assert!(ended.is_err(), "a stream in the working part has expired: {ended:?}");
}
