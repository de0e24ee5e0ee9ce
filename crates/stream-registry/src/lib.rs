//! A registry of live media streams.
//!
//! Ingest nodes register a stream when its publisher connects, keep it alive with heartbeats, and unregister it when the
//! publisher disconnects. Routers and dashboards list, query and watch the streams. If a node dies, its streams expire.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::{Registry, Stream, StreamId, StreamStats, StreamStatus, StreamType};
//!
//! let registry = stream_registry::connect("memory:").await?;
//! let id = StreamId::new("cam1")?;
//! registry.register(&Stream::new(id.clone(), StreamType::Srt, "203.0.113.7:40112")).await?;
//!
//! registry.update_status(&id, StreamStatus::Active).await?;
//! let stats = StreamStats { bytes_received: Some(1_316), packets_received: Some(1), ..Default::default() };
//! registry.update_stats(&id, &stats).await?;
//!
//! let stream = registry.get(&id).await?;
//! assert_eq!((stream.status, stream.bytes_received), (StreamStatus::Active, 1_316));
//! assert_eq!(registry.list().await?.len(), 1);
//!
//! registry.unregister(&id).await?;
//! assert!(registry.list().await?.is_empty());
//! # Ok(()) }
//! ```
//!
//! # Stores
//!
//! A store implements the trait [`Registry`]. [`connect`] opens the store at a URL and returns an
//! `Arc<dyn Registry>`.
//!
//! | store | URL | use it for | Cargo feature |
//! |---|---|---|---|
//! | [`MemoryRegistry`] | `memory:` | one process, tests, first steps | |
#![cfg_attr(
    feature = "redis",
    doc = "| [`RedisRegistry`] | `redis://host:6379` | nodes that share a Redis ≥ 7.0 or a Valkey ≥ 7.2 | `redis` |"
)]
#![cfg_attr(
    not(feature = "redis"),
    doc = "| `RedisRegistry` | `redis://host:6379` | nodes that share a Redis ≥ 7.0 or a Valkey ≥ 7.2 | `redis` |"
)]
#![cfg_attr(
    feature = "http",
    doc = "| [`HttpRegistry`] | `http://host:8580` | clients of a running `streamreg serve` | `http` |"
)]
#![cfg_attr(
    not(feature = "http"),
    doc = "| `HttpRegistry` | `http://host:8580` | clients of a running `streamreg serve` | `http` |"
)]
//! | [`mock::MockRegistry`] | | tests of your program: errors, delays and a manual clock | |
//!
//! `examples/node.rs` in this crate is an example of an ingest node that you can copy. The example registers a
//! stream, reports statistics, watches the other streams of its node, and unregisters its stream on Ctrl-C:
//! `cargo run -p stream-registry --example node redis://127.0.0.1:6379`.
//!
//! # Modules
//!
//! * [`registry`]: the trait, its options and its results.
//! * [`stream`]: the record of a stream, its parts and its limits.
//! * [`lease`]: keeps the streams of a process alive in the background, registers a stream again if the store loses
//!   it, and reports if another node takes a stream over. Use this module in ingest nodes.
//! * [`watch`]: the change feed, which reports every change in order.
//! * [`view`]: a copy of all live streams in this process, kept current by the change feed. Use a view for fast
//!   look-ups.
//! * [`query`]: filters, orders and pages, counts by node, type or status, and the history of ended streams.
//! * [`metrics`]: counts and durations of calls, and the state of connections, for your monitoring.
//! * [`mock`]: a store for your tests.
#![cfg_attr(doc, doc = "* [`semantics`]: a page with the exact behaviour of every operation.")]
#![cfg_attr(doc, doc = "* [`design`]: a page that explains the design decisions.")]
//!
//! # What the registry does not do
//!
//! The registry does not transport media, and it does not start or stop publishers. A store keeps only live
//! streams; ended streams stay in the change feed for a while.
//!
//! # Crate features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `redis` | yes | `RedisRegistry`, which shares its keys with programs in other languages |
//! | `tls` | yes | TLS for the connections of `RedisRegistry` and `HttpRegistry`; needs a C compiler |
//! | `http` | no | `HttpRegistry`, a client of `streamreg serve` |
//! | `conformance` | no | the module `conformance`: the test suite that every store passes |
//!
//! Without features the crate has no network code.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// [semantics]: crate::semantics
#[cfg(doc)]
#[doc = include_str!("../docs/design.md")]
pub mod design {}

/// [design]: crate::design#redis
#[cfg(doc)]
#[doc = include_str!("../docs/semantics.md")]
pub mod semantics {}

#[doc(hidden)]
pub mod backoff;
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
#[cfg(any(feature = "http", feature = "redis"))]
#[doc(hidden)]
pub mod tls;
mod url_source;
pub mod view;
pub mod watch;

#[cfg(feature = "redis")]
pub use connect::connect_for_diagnosis;
pub use connect::{ConnectOptions, connect, connect_with, without_secrets};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "http")]
pub use http::HttpRegistry;
pub use memory::MemoryRegistry;
#[cfg(feature = "redis")]
pub use redis::RedisRegistry;
pub use registry::metrics;
pub use registry::{
    Change, Guard, OnConflict, Outcome, Page, RegisterOptions, Registered, Registry, SameSource, Snapshot,
    UnregisterOptions, Write,
};
pub use secret::Secret;
pub use stream::{
    Cursor, Epoch, Revision, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, StreamType, Timestamp,
};
pub use url_source::UrlSource;
