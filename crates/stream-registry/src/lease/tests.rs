//! Tests of the memory that leases use.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cell::Cell;
use super::keeper::MAX_STALE;
use super::{Lease, LeaseOptions, Leases};
use crate::memory::MemoryRegistry;
use crate::stream::{Stream, StreamId, StreamStats, StreamType};

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
