//! A local view: all live streams in this process, so that look-ups do not ask the store.
//!
//! [`View::new`] starts a task that takes a snapshot of the registry and then follows its change feed. Routers and
//! dashboards read the view from memory instead of polling the store.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use std::time::Duration;
//! use stream_registry::view::{View, ViewOptions};
//! use stream_registry::{Stream, StreamId, StreamStatus, StreamType};
//!
//! let registry = stream_registry::connect("memory:").await?;
//! let id = StreamId::new("cam1")?;
//! registry.register(&Stream::new(id.clone(), StreamType::Srt, "203.0.113.7:40112")).await?;
//!
//! let view = View::new(registry.clone(), ViewOptions::default());
//! view.ready().await?;
//! assert_eq!(view.get(&id).expect("cam1 is live").source_addr, "203.0.113.7:40112");
//!
//! // A change arrives through the feed. Wait until the view has reached it, but not for ever.
//! registry.update_status(&id, StreamStatus::Active).await?;
//! if let Some(revision) = registry.snapshot().await?.revision {
//!     let _ = tokio::time::timeout(Duration::from_secs(1), view.reached(&revision)).await;
//! }
//! assert_eq!(view.counts().by_status[&StreamStatus::Active], 1);
//! assert!(view.age() < Duration::from_secs(10));
//! # Ok(()) }
//! ```
//!
//! # What it shows
//!
//! The view holds the record of every live stream. Registrations, changes of status and descriptive fields, removals and
//! expiries arrive with the [change feed](crate::watch), usually within milliseconds. Heartbeats and statistics are not in
//! the feed: the view shows those of the last reconciliation, [`refresh`](View::refresh) or
//! [`apply_write`](View::apply_write).
//!
//! Until [`ready`](View::ready) returns, the view is empty.
//!
//! # Age
//!
//! If the store is unreachable, the view keeps its last state and retries with pauses of up to 2 s.
//! [`age`](View::age) returns how long ago the view was known to be current. An idle feed confirms it every 10 s, so a
//! greater age means that the store or the connection has a problem.
//!
//! # Reconciliation
//!
//! Every 30 s, or four times per time to live if that is less, the task reads the store page by page. It takes over new
//! statistics and heartbeats, and corrects everything else that differs, such as records that another program wrote without
//! an event. [`corrections`](View::corrections) counts these differences, and [`reconcile`](View::reconcile) starts a
//! reconciliation at once.
//!
//! If the store has no change feed, or access to it is denied, the view is updated by reconciliations only.
//!
//! # Consistency
//!
//! [`all`](View::all), [`find`](View::find), [`summary`](View::summary) and [`counts`](View::counts) show all streams as
//! they were at one moment. If events may be missing, a new snapshot replaces the whole state at once. An event is never
//! overwritten by an older page or answer of the store.

mod counts;
mod find;
mod follow;
mod handle;
mod index;
mod metadata;
mod options;
mod reconcile;
mod shared;
mod state;
mod table;

pub use counts::{Corrections, Counts};
pub use find::Found;
pub use handle::View;
pub use options::ViewOptions;
pub use state::Moment;
