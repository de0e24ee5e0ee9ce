//! Metrics of a registry: counts and durations since it was opened, without a dependency on a metrics system.
//!
//! A registry from [`connect`](crate::connect) counts its calls. [`counted`] does the same for a registry that you
//! create yourself. [`Registry::metrics`](crate::Registry::metrics) returns all figures as plain values, which you can
//! pass on to your own metrics system. `streamreg serve` returns them at `/metrics`, in the format of Prometheus.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::registry::Operation;
//! use stream_registry::{Registry, Stream, StreamType};
//!
//! let registry = stream_registry::connect("memory:").await?;
//! let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
//! registry.register(&stream).await?;
//! registry.update_heartbeat(&stream.id).await?;
//!
//! let calls = registry.metrics().calls.expect("a registry from connect counts its calls");
//! assert_eq!(calls.registrations.created, 1);
//! let heartbeats = calls.operations.iter().find(|calls| calls.operation == Operation::Heartbeat);
//! assert_eq!(heartbeats.expect("there was a heartbeat").results.ok, 1);
//! # Ok(()) }
//! ```
//!
//! All counts start at zero when the process opens the registry, and each process counts only its own calls.

mod counted;
mod counters;
mod histogram;
mod snapshot;

pub use counted::counted;
pub use histogram::{BUCKETS, Histogram, HistogramSnapshot};
pub use snapshot::{
    CallMetrics, EventCounts, FeedMetrics, MetricsSnapshot, NodeMetrics, OperationMetrics, RegistrationCounts,
    ResultCounts, StoreMetrics, StreamCount, ViewMetrics, WriteMetrics,
};
