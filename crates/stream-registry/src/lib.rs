//! A registry of live media streams.
//!
//! Ingest nodes register a stream when a publisher connects, keep it alive with heartbeats, report
//! status and statistics, and unregister it when it ends. Routers, operators and dashboards get and
//! list. A stream whose node dies disappears by itself when its time to live is over.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::{Registry, Stream, StreamStats, StreamStatus, StreamType};
//!
//! let registry = stream_registry::connect("memory:").await?;
//! registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
//!
//! let id = "cam1".parse()?;
//! registry.update_status(&id, StreamStatus::Active).await?;
//! registry.update_stats(&id, &StreamStats { bytes_received: 1_316, packets_received: 1, ..Default::default() }).await?;
//! assert_eq!(registry.get(&id).await?.bytes_received, 1_316);
//! assert_eq!(registry.list().await?.len(), 1);
//!
//! let last = registry.unregister(&id).await?;
//! assert_eq!(last.status, StreamStatus::Active);
//! # Ok(()) }
//! ```
//!
//! # Stores
//!
//! | store | for | Cargo feature |
//! |---|---|---|
//! | [`MemoryRegistry`] | one process, tests, a first try | |
//! | `RedisRegistry` | nodes that share Redis ≥ 7.0 or Valkey ≥ 7.2 | `redis` (default) |
//! | `HttpRegistry` | clients of a running `streamreg serve` | `http` |
//! | [`mock::MockRegistry`] | tests of your own: errors, delays and time on demand | |
//!
//! All of them are used through [`Registry`], also as `Arc<dyn Registry>`, and [`connect`] opens one by URL.
//!
//! # What it does not do
//!
//! It carries no media and starts or stops no publisher. It keeps live streams only: of what has ended the change feed
//! tells for a while.
//!
//! # The change feed
//!
//! [`Registry::watch`] gives every change of state once and in order, and resumes after any event that is kept:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
//! use stream_registry::watch::{Event, WatchFrom};
//!
//! let registry = MemoryRegistry::new();
//! let seen = registry.snapshot().await?;
//! registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
//! // Whatever has happened since the snapshot was taken comes first.
//! let mut watch = registry.watch(seen.revision.map_or(WatchFrom::Now, WatchFrom::Revision)).await?;
//! match watch.next().await {
//!     Some(Event::Changed { kind, stream, .. }) => assert_eq!((kind.as_str(), stream.id.as_str()), ("registered", "cam1")),
//!     Some(Event::Resync { .. }) => println!("take a snapshot again"),
//!     other => println!("{other:?}"),
//! }
//! # Ok(()) }
//! ```
//!
//! # Leases
//!
//! [`lease::Leases`] keeps the streams of a process alive in the background, gets them back when the store has lost them, and
//! tells a holder when a stream is not its own any more.
//!
//! # Local view
//!
//! [`view::View`] holds all live streams in this process and follows the changes, so that a look-up asks no store.

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

#[cfg(feature = "conformance")]
pub mod conformance;
mod connect;
mod error;
#[cfg(feature = "http")]
pub mod http;
pub mod lease;
mod memory;
pub mod mock;
#[cfg(any(feature = "http", feature = "redis"))]
mod percent;
pub mod query;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
mod secret;
pub mod stream;
pub mod view;
pub mod watch;

pub use connect::{ConnectOptions, connect, connect_with};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "http")]
pub use http::HttpRegistry;
pub use memory::MemoryRegistry;
#[cfg(feature = "redis")]
pub use redis::RedisRegistry;
pub use registry::{
    Change, Guard, OnConflict, Outcome, Page, RegisterOptions, Registered, Registry, Snapshot, UnregisterOptions, Write,
};
pub use stream::{
    Cursor, Epoch, Revision, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, StreamType, Timestamp,
};
