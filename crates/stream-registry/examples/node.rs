//! Example of an ingest node. The program registers one stream, keeps it alive, reports its statistics every second,
//! and unregisters it on Ctrl-C.
//!
//! ```console
//! cargo run -p stream-registry --example node
//! cargo run -p stream-registry --example node redis://127.0.0.1:6379
//! ```
#![allow(clippy::print_stdout, reason = "a command-line program prints to the terminal")]

use std::pin::pin;
use std::time::Duration;

use stream_registry::lease::{LeaseOptions, Leases};
use stream_registry::watch::WatchFrom;
use stream_registry::{Stream, StreamStats, StreamStatus, StreamType};

const NODE: &str = "studio-1";

#[tokio::main]
async fn main() -> stream_registry::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let registry = stream_registry::connect(&url).await?;
    let mut changes = registry.watch(WatchFrom::Now).await?;

    // A process needs only one `Leases`. Its background task sends the heartbeats of all streams of the process.
    let leases = Leases::new(registry, LeaseOptions::default().heartbeat(Duration::from_secs(1)));

    // A publisher has connected, so this node registers its stream. While the node holds the lease, no other node can
    // write the record.
    let mut stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    stream.node = Some(NODE.to_owned());
    let lease = leases.acquire(stream).await?;
    println!("{}: registered in {url}", lease.id());
    lease.set_status(StreamStatus::Active).await?;

    let mut packets = 0;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut ctrl_c = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = second.tick() => {
                // In a real node, the receiver counts packets and bytes. `report` does not wait for the store: the next
                // heartbeat writes the statistics.
                packets += 95;
                lease.report(StreamStats {
                    packets_received: Some(packets),
                    bytes_received: Some(packets * 1_316),
                    bitrate: Some(95 * 1_316 * 8),
                    ..StreamStats::default()
                });
                println!("{}: {} bytes received", lease.id(), packets * 1_316);
            }
            // The lease is lost: another node took the stream over, or an operator removed it. The node must disconnect
            // the publisher and must not register the stream again.
            end = lease.ended() => {
                println!("{}: lease lost: {end:?}", lease.id());
                return Ok(());
            }
            // The change feed reports every stream in the store. This prints the other streams of this node.
            Some(event) = changes.next() => {
                if let Some(other) = event.stream().filter(|s| s.node.as_deref() == Some(NODE) && s.id != *lease.id()) {
                    println!("{}: {}", other.id, event.as_str());
                }
            }
            _ = &mut ctrl_c => break,
        }
    }

    // The change feed reports the removal and its reason. A node with several streams uses `leases.release_all_with`.
    let last = lease.release_with("node stopped".parse()?).await?;
    println!("{}: ended after {} bytes: {}", last.id, last.bytes_received, last.end_reason.unwrap_or_default());
    Ok(())
}
