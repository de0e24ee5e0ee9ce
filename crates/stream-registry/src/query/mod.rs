//! Queries: filters, orders, pages, counts and history.
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
mod select;
mod summary;

use std::num::NonZeroU32;

pub use filter::{Filter, label};
pub use history::Ended;
pub use order::{Order, SortField};
pub use summary::{By, Group, Summary};

pub(crate) use filter::{has_same_searched_string, searched_string};
pub(crate) use order::Position;
pub(crate) use select::{Selected, Selector, visit_by_id};
pub(crate) use summary::Counter;

use crate::error::Result;
use crate::stream::Cursor;

/// A query for live streams: a filter, an order, and a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The filter. Default: every stream matches.
    pub filter: Filter,
    /// The order. Default: by id.
    pub order: Order,
    /// The cursor of the page, which is [`Page::next`](crate::Page::next) of the previous page. Default: the first page.
    pub cursor: Option<Cursor>,
    /// Largest number of streams on the page. Default: 1 000. An HTTP server returns at most 10 000.
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
    /// Sets the filter.
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

    /// Sets the cursor of the page.
    #[must_use]
    pub fn cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Sets the largest number of streams on the page.
    #[must_use]
    pub fn limit(mut self, limit: NonZeroU32) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the query, and returns the position after which the page begins.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a condition is outside its limits, and `InvalidCursor` if the cursor is malformed or belongs to another order.
    pub(crate) fn position(&self) -> Result<Option<Position>> {
        self.filter.check()?;
        self.cursor.as_ref().map(|cursor| Position::read(cursor, self.order)).transpose()
    }

    /// Returns the limit as a `usize`.
    pub(crate) fn limit_as_len(&self) -> usize {
        usize::try_from(self.limit.get()).unwrap_or(usize::MAX)
    }
}
