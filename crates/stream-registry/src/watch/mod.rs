//! The change feed: events of all streams, in order.
//!
//! [`Registry::watch`](crate::Registry::watch) returns a [`Watch`], a stream of [`Event`]s. Heartbeats and statistics are
//! not events. Each event has a [`Revision`], the position in the feed after which a later watch can resume.
//!
//! | event | words ([`Event::as_str`]) | what the consumer does |
//! |---|---|---|
//! | [`Event::Changed`] | `registered`, `updated`, `status`, `patched`, `taken_over` | replaces its copy of the stream, or inserts it |
//! | [`Event::Ended`] | `unregistered`, `expired` | removes its copy; `last` is the last known record |
//! | [`Event::Resync`] | `resync` | takes a new snapshot, and watches from its revision; or reads one [`Shard`] again |
//! | [`Event::Alive`], and events of later versions | `alive` | nothing; it may store the revision to resume from there later |
//!
//! To follow the state of a registry, take a snapshot and watch from its revision. The function in this example
//! does so until a given stream is live:
//!
//! ```
//! use std::collections::HashMap;
//! use stream_registry::watch::{Event, WatchFrom};
//! use stream_registry::{MemoryRegistry, Registry, Result, Stream, StreamId, StreamType};
//!
//! async fn wait_for(id: &StreamId, registry: &dyn Registry) -> Result<Option<Stream>> {
//!     'snapshot: loop {
//!         let snapshot = registry.snapshot().await?;
//!         let mut live: HashMap<_, _> = snapshot.streams.into_iter().map(|stream| (stream.id.clone(), stream)).collect();
//!         let from = snapshot.revision.map_or(WatchFrom::Now, WatchFrom::Revision);
//!         let mut watch = registry.watch(from).await?;
//!         while !live.contains_key(id) {
//!             match watch.next().await {
//!                 Some(Event::Changed { stream, .. }) => {
//!                     live.insert(stream.id.clone(), (*stream).clone());
//!                 }
//!                 Some(Event::Ended { last, .. }) => {
//!                     live.remove(&last.id);
//!                 }
//!                 Some(Event::Resync { .. }) => continue 'snapshot,
//!                 Some(_) => {}
//!                 None => return Ok(None), // The registry was closed.
//!             }
//!         }
//!         return Ok(live.remove(id));
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let registry = MemoryRegistry::new();
//! let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
//! let (found, registered) = tokio::join!(wait_for(&stream.id, &registry), registry.register(&stream));
//! registered?;
//! assert_eq!(found?.map(|stream| stream.source_addr).as_deref(), Some("203.0.113.7:40112"));
//! # Ok(()) }
//! ```
//!
//! A [`View`](crate::view::View) follows the state of a registry in the background.

mod change_id;
mod json;
pub(crate) mod shard;
pub(crate) mod vector;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;

pub use shard::Shard;

use crate::stream::{EndReason, InvalidValue, Revision, Stream, Timestamp};

/// Approximate number of events that a feed keeps.
pub(crate) const RETAINED: usize = 100_000;
/// Interval at which an idle watch emits [`Event::Alive`].
pub(crate) const ALIVE_AFTER: Duration = Duration::from_secs(10);

/// The position at which a watch begins.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use stream_registry::watch::WatchFrom;
/// use stream_registry::{MemoryRegistry, Registry, Stream, StreamType};
///
/// let registry = MemoryRegistry::new();
/// let stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// registry.register(&stream).await?;
/// registry.unregister(&stream.id).await?;
///
/// let mut watch = registry.watch(WatchFrom::Oldest).await?;
/// let registered = watch.next().await.expect("the registry is open");
/// assert_eq!(registered.as_str(), "registered");
///
/// // A later watch resumes after an event that was processed.
/// let mut watch = registry.watch(WatchFrom::Revision(registered.revision().clone())).await?;
/// assert_eq!(watch.next().await.expect("the registry is open").as_str(), "unregistered");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchFrom {
    /// The watch begins at the next change.
    #[default]
    Now,
    /// The watch begins after this revision. If the feed no longer keeps the revision, or if it belongs to another
    /// feed, the first event is [`Event::Resync`]. An invalid revision is rejected with `InvalidArgument`.
    Revision(Revision),
    /// The watch begins at the oldest change that the feed keeps.
    Oldest,
}

/// The kind of a change to a live stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The stream was registered.
    Registered,
    /// The whole record was replaced, or the same publisher registered again.
    Updated,
    /// The status changed.
    Status,
    /// Descriptive fields changed.
    Patched,
    /// Another publisher took the stream over.
    TakenOver,
}

impl ChangeKind {
    /// Returns the kind as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Updated => "updated",
            Self::Status => "status",
            Self::Patched => "patched",
            Self::TakenOver => "taken_over",
        }
    }
}

impl FromStr for ChangeKind {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        [Self::Registered, Self::Updated, Self::Status, Self::Patched, Self::TakenOver]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| InvalidValue::unknown_name("kind of change", name))
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The stream was unregistered, for this reason.
    Unregistered(EndReason),
    /// The stream was not written during its time to live.
    Expired,
}

/// An event of a [`Watch`].
///
/// Handle an unknown variant like [`Alive`](Self::Alive): at most, store its revision.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stream was registered or its state changed.
    ///
    /// `stream` is the whole record after the change. Replace your copy with it, or insert it if you have none.
    /// `kind` is the kind of the change, for consumers that react only to some changes, such as take-overs. The
    /// statistics in `stream` are those at the time of the change; later statistics cause no events.
    Changed {
        /// The position in the feed.
        revision: Revision,
        /// The kind of the change.
        kind: ChangeKind,
        /// The record after the change.
        stream: Arc<Stream>,
    },
    /// A stream was unregistered or expired.
    ///
    /// Remove your copy of the stream. `last` is its last known record, e.g. for a session log. If the stream
    /// expired, the record may have been read earlier, at the time `as_of`; later statistics are missing from it.
    /// If the store has no last record, `as_of` is `None`, and only the id in `last` is valid: show the other fields as
    /// unknown. If the id is registered again, the watch emits a new [`Changed`](Self::Changed) event.
    Ended {
        /// The position in the feed.
        revision: Revision,
        /// How the stream ended.
        reason: Ending,
        /// The last known record; if `as_of` is `None`, only its id is valid.
        last: Arc<Stream>,
        /// When the last known record was read; `None` if the record is unknown.
        as_of: Option<Timestamp>,
    },
    /// Events may have been lost.
    ///
    /// Either the feed no longer keeps the events after your position, or an event cannot be decoded. Take a
    /// [`snapshot`](crate::Registry::snapshot), replace all your copies with it, and start a new watch from the
    /// revision of the snapshot.
    ///
    /// If you keep this watch instead, it continues from `revision`. It may first repeat changes that the snapshot
    /// contains. If `shard` is set, you can keep this watch and read only the streams of this shard again:
    /// [`Shard`] describes how.
    Resync {
        /// The position in the feed from which the watch continues.
        revision: Revision,
        /// The shard whose events may have been lost. `None` if the events of any stream may have been lost.
        shard: Option<Shard>,
    },
    /// There were no changes for a while, and the watch still works.
    ///
    /// The watch emits this event about every 10 s while there are no changes. Store `revision` if you want to
    /// resume from it later. If no event arrives for much longer than 10 s, the connection is probably stuck.
    Alive {
        /// The position in the feed.
        revision: Revision,
    },
}

impl Event {
    /// Returns the position in the feed. A watch that resumes from this position neither loses nor repeats an
    /// event.
    pub fn revision(&self) -> &Revision {
        match self {
            Self::Changed { revision, .. }
            | Self::Ended { revision, .. }
            | Self::Resync { revision, .. }
            | Self::Alive { revision } => revision,
        }
    }

    /// Returns the same event at another position.
    #[cfg(feature = "redis")]
    pub(crate) fn at(mut self, position: Revision) -> Self {
        match &mut self {
            Self::Changed { revision, .. }
            | Self::Ended { revision, .. }
            | Self::Resync { revision, .. }
            | Self::Alive { revision } => *revision = position,
        }
        self
    }

    /// Returns the record after a change, or the last known record of a stream that ended. If the last record is
    /// unknown, only its id is valid: see [`Ended`](Self::Ended).
    pub fn stream(&self) -> Option<&Arc<Stream>> {
        match self {
            Self::Changed { stream, .. } => Some(stream),
            Self::Ended { last, .. } => Some(last),
            Self::Resync { .. } | Self::Alive { .. } => None,
        }
    }

    /// Returns the event as a stable lower-case word.
    ///
    /// For a change, this is the word of its [`ChangeKind`]. The other words are `unregistered`, `expired`,
    /// `resync` and `alive`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Changed { kind, .. } => kind.as_str(),
            Self::Ended { reason: Ending::Unregistered(_), .. } => "unregistered",
            Self::Ended { reason: Ending::Expired, .. } => "expired",
            Self::Resync { .. } => "resync",
            Self::Alive { .. } => "alive",
        }
    }

    /// Returns how long an ended stream was live. Returns `None` for other events, and if the last record or the
    /// registration time of the stream is unknown.
    pub fn lifetime(&self) -> Option<Duration> {
        match self {
            Self::Ended { last, as_of: Some(as_of), .. } => {
                (last.created_at > Timestamp::ZERO).then(|| as_of.since(last.created_at))
            }
            _ => None,
        }
    }
}

/// A stream of [`Event`]s.
///
/// A watch reconnects after failures of the store, and ends only when the registry is closed. It implements
/// [`futures_core::Stream`].
pub struct Watch {
    events: Pin<Box<dyn futures_core::Stream<Item = Event> + Send>>,
    start: Option<Revision>,
}

impl Watch {
    /// Creates a watch from the events of a store.
    pub fn new(events: impl futures_core::Stream<Item = Event> + Send + 'static) -> Self {
        // A fused stream may be polled again after its end.
        Self { events: Box::pin(events.fuse()), start: None }
    }

    /// Sets the revision after which the watch begins.
    #[must_use]
    pub fn starting_after(mut self, revision: Revision) -> Self {
        self.start = Some(revision);
        self
    }

    /// Returns the revision after which the watch begins, if the store reports it.
    ///
    /// A caller can store this revision and resume from it later, even if the watch has not emitted an event yet.
    pub fn start(&self) -> Option<&Revision> {
        self.start.as_ref()
    }

    /// Waits for the next event. Returns `None` after the registry was closed.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.events.as_mut().poll_next(context)).await
    }
}

impl futures_core::Stream for Watch {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
