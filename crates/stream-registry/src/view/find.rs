//! Queries on a view, with or without a check against the store.

use std::collections::HashSet;
use std::sync::Arc;

use super::handle::View;
use super::state::Moment;
use crate::error::{Error, Operation, Result};
use crate::query::{By, Filter, Query, Summary};
use crate::registry::{Page, Write};
use crate::stream::{Cursor, Revision, Stream};

/// The answer of a view to a query.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// The streams, in the order of the query.
    pub streams: Vec<Arc<Stream>>,
    /// The cursor of the next page; `None` after the last one.
    pub next: Option<Cursor>,
    /// The number of streams that match, on all pages.
    pub total: u64,
    /// A position in the change feed: the answer includes all changes up to this position. `None` if there is no
    /// feed.
    pub revision: Option<Revision>,
    /// The number of records in the store that cannot be decoded, as of the last snapshot or reconciliation.
    pub unreadable: u64,
}

impl View {
    /// Returns the streams that match a query, as they were at one moment, without a call to the store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
    /// use stream_registry::query::{Filter, Query};
    /// use stream_registry::view::{View, ViewOptions};
    /// use stream_registry::{Stream, StreamId, StreamType};
    ///
    /// let registry = stream_registry::connect("memory:").await?;
    /// registry.register(&Stream::new(StreamId::new("cam1")?, StreamType::Srt, "203.0.113.7:40112")).await?;
    /// let view = View::new(registry.clone(), ViewOptions::default());
    /// view.ready().await?;
    /// let query = Query::default().filter(Filter::default().kind(StreamType::Rtp));
    /// assert_eq!(view.find(&query)?.total, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor is malformed or belongs to another order.
    pub fn find(&self, query: &Query) -> Result<Found> {
        self.try_find(query).map_err(|error| error.with_operation(Operation::Find))
    }

    fn try_find(&self, query: &Query) -> Result<Found> {
        let shared = self.shared();
        let after = query.position()?;
        // The revision is read before the streams, so that the streams include all changes up to the revision.
        let revision = self.revision();
        let selected = shared.state.select(&query.filter, query.order, after.as_ref(), query.limit_as_len());
        let last = selected.streams.last().filter(|_| selected.more);
        let next = last.map(|last| query.order.position(last).to_cursor()).transpose()?;
        let unreadable = self.unreadable();
        Ok(Found { streams: selected.streams, next, total: selected.total, revision, unreadable })
    }

    /// Returns the streams that match a query, like [`find`](Self::find), but with their current records. The view
    /// selects the streams of the page, and the store returns the record of each of these streams.
    ///
    /// Streams that are no longer live are removed from the view, and the next streams take their places on the
    /// page. `total` is the number of matches in the view, minus the selected streams that no longer match.
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor is malformed or belongs to another order, and the error of the store
    /// if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect on the answers of later calls.
    pub async fn find_fresh(&self, query: &Query) -> Result<Page> {
        self.try_find_fresh(query).await.map_err(|error| error.with_outer_operation(Operation::Find))
    }

    async fn try_find_fresh(&self, query: &Query) -> Result<Page> {
        let shared = self.shared();
        let after = query.position()?;
        let matches = query.filter.matcher();
        let limit = query.limit_as_len();
        let revision = self.revision();
        let mut streams = Vec::new();
        let mut next = None;
        let mut last: Option<Arc<Stream>> = None;
        let mut position = after.clone();
        // One more stream than fits on the page is selected. So a cursor is returned only if another stream
        // follows.
        let mut surplus = 1;
        let mut window = limit.saturating_add(surplus);
        let mut total = None;
        let mut dropped = 0;
        let mut visited = HashSet::new();
        'pages: loop {
            let selected = shared.state.select(&query.filter, query.order, position.as_ref(), window);
            // Only the first total is used, because this loop removes streams from the view that are no longer
            // live.
            total.get_or_insert(selected.total);
            for (chosen, fresh) in selected.streams.iter().zip(shared.refresh_many(&selected.streams).await?) {
                if visited.contains(&chosen.id) {
                    continue;
                }
                let Some(fresh) = fresh.filter(&matches) else {
                    dropped += 1;
                    continue;
                };
                if streams.len() == limit {
                    next = last.map(|last| query.order.position(&last));
                    break 'pages;
                }
                last = Some(Arc::clone(chosen));
                streams.push(fresh);
            }
            if !selected.more {
                break;
            }
            position = selected.streams.last().map(|last| query.order.position(last));
            // A current record can move its stream to a later position in the order. Visited ids are remembered, so
            // that no stream is selected twice.
            visited.extend(selected.streams.iter().map(|stream| stream.id.clone()));
            // The surplus grows, because many streams may have ended at once.
            surplus = surplus.saturating_mul(2);
            window = (limit - streams.len()).saturating_add(surplus);
        }
        // The order of the current records may differ from the order of the records in the view.
        streams.sort_by(|one, other| query.order.compare(one, other));
        let next = next.map(|position| position.to_cursor()).transpose()?;
        let mut page = Page::new(streams, next, total.unwrap_or(0).saturating_sub(dropped));
        page.revision = revision;
        // The number is reported with the first page only.
        page.unreadable = if after.is_none() { self.unreadable() } else { 0 };
        Ok(page)
    }

    /// Counts the streams that match a filter, in groups by node, type or status, without a call to the store.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if a condition is outside its limits.
    pub fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        filter.check().map_err(|invalid| Error::from(invalid).with_operation(Operation::Summary))?;
        Ok(self.shared().state.summary(filter, by))
    }

    /// Applies a heartbeat or statistics that this process wrote and the store accepted.
    ///
    /// The change feed does not report heartbeats and statistics. Without this call, the view shows them only after
    /// its next reconciliation. `sent` is the [`moment`](Self::moment) before the write was sent.
    ///
    /// If another write of the stream was in flight, for example, the view may not show the latest values. Then the
    /// view marks the stream, and [`confirm_writes`](Self::confirm_writes) reads it from the store.
    pub fn apply_write(&self, write: &Write, sent: Moment) {
        self.shared().state.apply_write(write, sent);
    }

    /// Returns the current moment of the view. Call this before a write is sent, for
    /// [`apply_write`](Self::apply_write).
    pub fn moment(&self) -> Moment {
        self.shared().state.moment()
    }

    /// Makes sure that the view shows the writes of earlier calls of [`apply_write`](Self::apply_write).
    ///
    /// Reads from the store each stream that `apply_write` has marked, and each stream for which an older event
    /// arrived after the write. Usually there is no such stream, and this call returns immediately.
    ///
    /// # Errors
    ///
    /// Returns the error of the store if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call reads the remaining streams.
    pub async fn confirm_writes(&self) -> Result<()> {
        self.shared().confirm_writes().await
    }
}
