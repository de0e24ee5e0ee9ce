//! A local view: a copy of all live streams in this process, so that look-ups need no call to the store.
//!
//! [`View::new`] starts a task that loads all streams and then follows the change feed. Routers and
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
//! // A change arrives through the feed. Wait at most 1 s until the view shows it.
//! registry.update_status(&id, StreamStatus::Active).await?;
//! if let Some(revision) = registry.snapshot().await?.revision {
//!     let _ = tokio::time::timeout(Duration::from_secs(1), view.reached(&revision)).await;
//! }
//! assert_eq!(view.counts().by_status[&StreamStatus::Active], 1);
//! assert!(view.age() < Duration::from_secs(10));
//! # Ok(()) }
//! ```
//!
//! # What the view shows
//!
//! The view holds the record of every live stream. Registrations, changes of status and descriptive fields,
//! removals and expiries arrive with the [change feed](crate::watch), usually within milliseconds. Heartbeats and
//! statistics are not in the feed. The view shows their values from the last reconciliation,
//! [`refresh`](View::refresh) or [`apply_write`](View::apply_write).
//!
//! Until [`ready`](View::ready) returns, the view is empty.
//!
//! # Age
//!
//! If the store is unreachable, the view keeps its last state and retries with pauses of up to 2 s.
//! [`age`](View::age) returns the time since the view was last known to be current. Even a feed without changes
//! confirms the view every 10 s. So a greater age means that the store or the connection has a problem.
//!
//! # Reconciliation
//!
//! The task reads the store page by page every 30 s. If a quarter of the time to live is shorter than 30 s, that is
//! the interval. A reconciliation updates statistics and heartbeats, and corrects all other differences, such as
//! records that another program wrote without an event. [`corrections`](View::corrections) counts these
//! corrections. [`reconcile`](View::reconcile) starts a reconciliation at once.
//!
//! If the store has no change feed, or denies access to the feed, only reconciliations update the view.
//!
//! # Consistency
//!
//! [`all`](View::all), [`find`](View::find), [`summary`](View::summary) and [`counts`](View::counts) show all
//! streams as they were at one moment. If events may be missing, all streams are loaded again, and
//! replace the whole state at once. If only events of one [shard](crate::watch::Shard) may be missing, a
//! reconciliation reads this shard, and until then its streams can be from different moments.
//! An older page or reply of the store never overwrites a newer event.

mod counts;
mod find;
mod follow;
mod handle;
mod index;
mod load;
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
