//! Queries: filters, orders, pages, counts and history.
//!
//! [`Registry::find`](crate::Registry::find) and [`View::find`](crate::view::View::find) answer a [`Query`],
//! [`Registry::summary`](crate::Registry::summary) counts streams by node, type or status, and
//! [`Registry::history`](crate::Registry::history) lists streams that have ended.
//!
//! A [`Query`] combines three parts, each of which has a default:
//!
//! * a [`Filter`]: every condition must hold; without conditions, all streams match;
//! * an [`Order`]: the field to sort by, ascending or descending; the default is the id, ascending;
//! * a page: at most `limit` streams; the `cursor` of the previous page selects the next page.
//!
//! This example reads all active SRT streams of one customer, the highest bit rate first, two streams per page:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
//! use std::num::NonZeroU32;
//! use stream_registry::query::{Filter, Order, Query, SortField};
//! use stream_registry::{MemoryRegistry, Registry, Stream, StreamId, StreamStatus, StreamType};
//!
//! let registry = MemoryRegistry::new();
//! for (name, customer, bitrate) in
//!     [("cam1", "acme", 8_000_000), ("cam2", "acme", 5_000_000), ("cam3", "acme", 6_000_000), ("cam4", "other", 1)]
//! {
//!     let mut stream = Stream::new(StreamId::new(name)?, StreamType::Srt, "203.0.113.7:40112");
//!     stream.set_status(StreamStatus::Active);
//!     stream.bitrate = bitrate;
//!     stream.labels.insert("customer".into(), customer.into());
//!     registry.register(&stream).await?;
//! }
//!
//! let filter = Filter::default().status(StreamStatus::Active).kind(StreamType::Srt).label("customer", "acme");
//! let order = Order::by(SortField::Bitrate).descending();
//! let mut query = Query::default().filter(filter).order(order).limit(NonZeroU32::MIN.saturating_add(1));
//! let mut ids = Vec::new();
//! loop {
//!     let page = registry.find(&query).await?;
//!     assert_eq!(page.total, 3); // `total` counts the matches on all pages.
//!     ids.extend(page.streams.into_iter().map(|stream| stream.id.to_string()));
//!     let Some(next) = page.next else { break };
//!     query = query.cursor(next);
//! }
//! assert_eq!(ids, ["cam1", "cam3", "cam2"]);
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
    /// Returns `InvalidArgument` if a condition is outside its limits. Returns `InvalidCursor` if the cursor is
    /// malformed or belongs to another order.
    pub(crate) fn position(&self) -> Result<Option<Position>> {
        self.filter.check()?;
        self.cursor.as_ref().map(|cursor| Position::read(cursor, self.order)).transpose()
    }

    /// Returns the limit as a `usize`.
    pub(crate) fn limit_as_len(&self) -> usize {
        usize::try_from(self.limit.get()).unwrap_or(usize::MAX)
    }
}
