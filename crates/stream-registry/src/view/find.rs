//! Queries on a view: alone, or confirmed by the store.

use std::sync::Arc;

use super::{Shared, View};
use crate::error::Result;
use crate::query::{By, Filter, Query, Summary};
use crate::registry::{Page, Write};
use crate::stream::{Cursor, Revision, Stream, StreamId};

/// The answer of a view to a query.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// The streams, in the order of the query.
    pub streams: Vec<Arc<Stream>>,
    /// The cursor of the next page; `None` after the last one.
    pub next: Option<Cursor>,
    /// How many streams match in all.
    pub total: u64,
    /// The position in the change feed that the answer shows, or one before it; `None` if there is no feed.
    pub revision: Option<Revision>,
    /// How many records the store holds that cannot be decoded, as of the last snapshot or reconciliation.
    pub unreadable: u64,
}

impl View {
    /// Returns the streams that match a query, as they all were at one moment, without asking the store.
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
        let shared = self.shared();
        let after = query.position()?;
        // First, so that it is not past what the streams show.
        let revision = self.revision();
        let selected = shared.state.select(&query.filter, query.order, after.as_ref(), query.limit_as_len());
        let last = selected.streams.last().filter(|_| selected.more);
        let next = last.map(|last| query.order.position(last).to_cursor()).transpose()?;
        let unreadable = self.unreadable();
        Ok(Found { streams: selected.streams, next, total: selected.total, revision, unreadable })
    }

    /// As [`find`](Self::find), but each stream on the page is read from the store: the view chooses the page, and the
    /// store confirms it.
    ///
    /// Streams that the store does not hold any more are left out and leave the view; others take their place. `total`
    /// counts what the view holds.
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor is malformed or belongs to another order, and the error of the store if it
    /// cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn find_fresh(&self, query: &Query) -> Result<Page> {
        let shared = self.shared();
        let after = query.position()?;
        let matches = query.filter.matcher();
        let limit = query.limit_as_len();
        let revision = self.revision();
        let mut streams = Vec::new();
        let mut next = None;
        let mut position = after.clone();
        // One more than the page holds, so that a cursor always leads to a stream.
        let mut window = limit.saturating_add(1);
        let mut total = None;
        let mut gone = 0;
        'pages: loop {
            let selected = shared.state.select(&query.filter, query.order, position.as_ref(), window);
            // The streams that are gone leave the view: a later selection does not count them.
            total.get_or_insert(selected.total);
            let ids: Vec<_> = selected.streams.iter().map(|stream| stream.id.clone()).collect();
            for (chosen, fresh) in selected.streams.iter().zip(shared.refresh_many(&ids).await?) {
                let Some(fresh) = fresh.filter(&matches) else {
                    gone += 1;
                    continue;
                };
                if streams.len() == limit {
                    next = position.take();
                    break 'pages;
                }
                position = Some(query.order.position(chosen));
                streams.push(fresh);
            }
            if !selected.more {
                break;
            }
            position = selected.streams.last().map(|last| query.order.position(last));
            // Many may have ended at once.
            window = window.saturating_mul(2);
        }
        // The view chose by values that may be a reconciliation old.
        streams.sort_by(|one, other| query.order.compare(one, other));
        let next = next.map(|position| position.to_cursor()).transpose()?;
        let mut page = Page::new(streams, next, total.unwrap_or(0).saturating_sub(gone));
        page.revision = revision;
        // Once per list, not once per page.
        page.unreadable = if after.is_none() { self.unreadable() } else { 0 };
        Ok(page)
    }

    /// Counts the streams that match a filter, in groups by node, type or status, without asking the store.
    pub fn summary(&self, filter: &Filter, by: By) -> Summary {
        self.shared().state.summary(filter, by)
    }

    /// Applies a heartbeat or statistics that this process wrote and the store accepted.
    ///
    /// The change feed reports neither, so that the view would show them at its next reconciliation only.
    pub fn apply_write(&self, write: &Write) {
        self.shared().state.apply_write(write);
    }
}

impl Shared {
    /// Reads streams from the store and applies the answers to the view.
    pub(super) async fn refresh_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        let marks = self.state.marks(ids);
        let answers = self.registry.get_many(ids).await?;
        for ((id, mark), answer) in ids.iter().zip(marks).zip(&answers) {
            // Every write sets the time: a record with the same one is the same record.
            if let Some(stream) = answer
                && self.get(id).is_some_and(|known| known.last_heartbeat == stream.last_heartbeat)
            {
                continue;
            }
            // If an event came since the mark, it is newer than the answer.
            self.state.answer(id, mark, answer.clone().map(Arc::new));
        }
        Ok(answers)
    }
}
