//! Queries: which live streams, in which order, and how many at a time.
//!
//! [`Registry::find`](crate::Registry::find) and [`View::find`](crate::view::View::find) answer a [`Query`],
//! [`Registry::summary`](crate::Registry::summary) counts streams by node, type or status, and
//! [`Registry::history`](crate::Registry::history) lists streams that have ended.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use stream_registry::query::{Filter, Query};
//! use stream_registry::{MemoryRegistry, Registry, Stream, StreamId, StreamType};
//!
//! let registry = MemoryRegistry::new();
//! for name in ["cam1", "cam2", "mic1"] {
//!     registry.register(&Stream::new(StreamId::new(name)?, StreamType::Srt, "203.0.113.7:40112")).await?;
//! }
//! let query = Query::default().filter(Filter::default().search("cam")).order("-id".parse()?);
//! let page = registry.find(&query).await?;
//! let ids: Vec<_> = page.streams.iter().map(|stream| stream.id.as_str()).collect();
//! assert_eq!(ids, ["cam2", "cam1"]);
//! # Ok(()) }
//! ```

mod filter;
pub(crate) mod history;
mod order;
mod summary;

use std::num::NonZeroU32;

pub use filter::{Filter, label};
pub use history::Ended;
pub use order::{Order, SortField};
pub use summary::{By, Group, Summary};

pub(crate) use filter::{is_searched_alike, search_text_of};
pub(crate) use order::{Position, Selected, Selector};
pub(crate) use summary::Counter;

use crate::error::Result;
use crate::stream::Cursor;

/// Which live streams to list, in which order, and which part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The conditions. Default: every stream matches.
    pub filter: Filter,
    /// The order. Default: by id.
    pub order: Order,
    /// Where the page begins: the `next` of the page before. Default: at the first stream.
    pub cursor: Option<Cursor>,
    /// How many streams at most. Default 1 000. An HTTP server answers with at most 10 000.
    pub limit: NonZeroU32,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            order: Order::default(),
            cursor: None,
            limit: NonZeroU32::MIN.saturating_add(999),
        }
    }
}

impl Query {
    /// Sets the conditions.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets where the page begins.
    #[must_use]
    pub fn cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Sets how many streams the page has at most.
    #[must_use]
    pub fn limit(mut self, limit: NonZeroU32) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the position after which the page begins.
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor belongs to another order or is malformed.
    pub(crate) fn position(&self) -> Result<Option<Position>> {
        self.cursor.as_ref().map(|cursor| Position::read(cursor, self.order)).transpose()
    }

    /// Returns the limit as a length.
    pub(crate) fn window(&self) -> usize {
        usize::try_from(self.limit.get()).unwrap_or(usize::MAX)
    }
}
