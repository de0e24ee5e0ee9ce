//! The provided methods of [`Registry`], as functions.
//!
//! In Rust, a method that overrides a provided method cannot call the original. Therefore the provided methods of
//! the trait and [`forward_registry!`](crate::forward_registry) call these functions.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use async_trait::async_trait;
use futures_util::StreamExt as _;

use super::options::{Change, OnConflict, Page, RegisterOptions, Registered, UnregisterOptions, Write};
use super::{Registry, rules};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::query::{By, Ended, Filter, Query, Selector, Summary, history as ended_streams, visit_by_id};
use crate::stream::{Revision, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, generate_stream_id};
use crate::watch::{Event, Watch, WatchFrom};

/// Maximum number of generated ids that [`register_new`] tries.
const MAX_ID_TRIES: usize = 10_000;
/// Number of streams on each page that [`scan`] reads.
const SCAN_PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// Maximum number of reads that [`get_many`] has in flight.
const CONCURRENT_GETS: usize = 128;

pub async fn watch<R: Registry + ?Sized>(_: &R, _: WatchFrom) -> Result<Watch> {
    Err(Error::unsupported("this store has no change feed; poll list instead").with_operation(Operation::Watch))
}

pub async fn get_many<R: Registry + ?Sized>(registry: &R, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
    let reads: Vec<_> = ids.iter().map(|id| registry.get(id)).collect();
    let mut results = futures_util::stream::iter(reads).buffered(CONCURRENT_GETS);
    let mut streams = Vec::with_capacity(ids.len());
    while let Some(result) = results.next().await {
        streams.push(match result {
            Ok(stream) => Some(stream),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
            Err(error) => return Err(error),
        });
    }
    Ok(streams)
}

pub async fn find<R: Registry + ?Sized>(registry: &R, query: &Query) -> Result<Page> {
    try_find(registry, query).await.map_err(|error| error.with_outer_operation(Operation::Find))
}

async fn try_find<R: Registry + ?Sized>(registry: &R, query: &Query) -> Result<Page> {
    let after = query.position()?;
    let scan = scan(registry, &query.filter).await?;
    let mut selector = Selector::new(query.order, after.as_ref(), query.limit_as_len());
    visit_by_id(&scan.streams, query.order, after.as_ref(), |stream, is_after| {
        selector.add(stream, is_after, || stream)
    });
    let selected = selector.finish();
    let next = selected.more.then(|| selected.streams.last()).flatten();
    let next = next.map(|last| query.order.position(last).to_cursor()).transpose()?;
    let mut page = Page::new(selected.streams.into_iter().cloned().collect(), next, selected.total);
    page.revision = scan.revision;
    // The number is reported with the first page only, because callers add up the numbers of all pages.
    page.unreadable = if after.is_none() { scan.unreadable } else { 0 };
    Ok(page)
}

pub async fn summary<R: Registry + ?Sized>(registry: &R, filter: &Filter, by: By) -> Result<Summary> {
    try_summary(registry, filter, by).await.map_err(|error| error.with_outer_operation(Operation::Summary))
}

async fn try_summary<R: Registry + ?Sized>(registry: &R, filter: &Filter, by: By) -> Result<Summary> {
    filter.check()?;
    Ok(Summary::of(by, scan(registry, filter).await?.streams.values()))
}

pub async fn history<R: Registry + ?Sized>(registry: &R, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
    try_history(registry, ended, limit).await.map_err(|error| error.with_outer_operation(Operation::History))
}

async fn try_history<R: Registry + ?Sized>(registry: &R, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
    ended_streams::read(&FeedOf(registry), ended, usize::try_from(limit.get()).unwrap_or(usize::MAX)).await
}

pub async fn register_new<R: Registry + ?Sized>(
    registry: &R,
    stream: &Stream,
    options: &RegisterOptions,
) -> Result<Registered> {
    register_generated(registry, stream, options, |_| true).await
}

/// Registers a stream under a generated id that fits the store.
pub(crate) async fn register_generated<R: Registry + ?Sized>(
    registry: &R,
    stream: &Stream,
    options: &RegisterOptions,
    fits: impl Fn(&StreamId) -> bool + Send,
) -> Result<Registered> {
    rules::check_new(options).map_err(|error| error.with_operation(Operation::Register))?;
    let mut stream = stream.clone();
    let mut options = options.clone().on_conflict(OnConflict::CreateOnly);
    options.generated_id = true;
    let mut tries = 0;
    loop {
        stream.id = generate_stream_id(&stream.kind, &stream.source_addr);
        if !fits(&stream.id) {
            continue;
        }
        tries += 1;
        match registry.register_with(&stream, &options).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries < MAX_ID_TRIES => {}
            result => return result,
        }
    }
}

pub async fn register<R: Registry + ?Sized>(registry: &R, stream: &Stream) -> Result<Registered> {
    registry.register_with(stream, &RegisterOptions::default()).await
}

pub async fn unregister<R: Registry + ?Sized>(registry: &R, id: &StreamId) -> Result<Stream> {
    registry.unregister_with(id, &UnregisterOptions::default()).await
}

pub async fn delete<R: Registry + ?Sized>(registry: &R, id: &StreamId) -> Result<Stream> {
    registry.unregister(id).await
}

pub async fn list<R: Registry + ?Sized>(registry: &R) -> Result<Vec<Stream>> {
    Ok(registry.snapshot().await?.streams)
}

pub async fn write_one<R: Registry + ?Sized>(registry: &R, write: Write) -> Result<()> {
    let operation = write.change.operation();
    let mut results = registry
        .write(std::slice::from_ref(&write))
        .await
        .map_err(|error| error.with_stream(&write.id).with_operation(operation))?;
    results.pop().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Internal, "the store returned no result for a write").with_operation(operation))
    })
}

// The functions below call the function `write_one`. The trait method `write_one` would allocate a second future.

pub async fn update_heartbeat<R: Registry + ?Sized>(registry: &R, id: &StreamId) -> Result<()> {
    write_one(registry, Write::new(id, Change::Heartbeat)).await
}

pub async fn update_status<R: Registry + ?Sized>(registry: &R, id: &StreamId, status: StreamStatus) -> Result<()> {
    write_one(registry, Write::new(id, Change::Status(status))).await
}

pub async fn update_stats<R: Registry + ?Sized>(registry: &R, id: &StreamId, stats: &StreamStats) -> Result<()> {
    write_one(registry, Write::new(id, Change::Stats(Box::new(stats.clone())))).await
}

pub async fn patch<R: Registry + ?Sized>(registry: &R, id: &StreamId, patch: &StreamPatch) -> Result<()> {
    write_one(registry, Write::new(id, Change::Patch(Box::new(patch.clone())))).await
}

pub async fn update<R: Registry + ?Sized>(registry: &R, stream: &Stream) -> Result<()> {
    write_one(registry, Write::new(&stream.id, Change::Update(Box::new(stream.clone())))).await
}

/// The streams that match a filter, collected from all pages.
struct Scan {
    streams: BTreeMap<StreamId, Stream>,
    /// The position in the change feed at the first page.
    revision: Option<Revision>,
    unreadable: u64,
}

/// Reads the store page by page, so that the store is never busy for longer than one page.
async fn scan<R: Registry + ?Sized>(registry: &R, filter: &Filter) -> Result<Scan> {
    let matches = filter.matcher();
    let mut scan = Scan { streams: BTreeMap::new(), revision: None, unreadable: 0 };
    let mut cursor = None;
    loop {
        let page = registry.list_page(cursor.as_ref(), SCAN_PAGE).await.map_err(|error| match error.kind() {
            // The caller has given no such cursor.
            ErrorKind::InvalidCursor => Error::new(ErrorKind::Unavailable, error.message().to_owned()),
            _ => error,
        })?;
        scan.unreadable += page.unreadable;
        scan.revision = scan.revision.or(page.revision);
        for stream in page.streams {
            // A stream may be on two pages. The record on the later page decides whether the stream matches.
            if matches(&stream) {
                scan.streams.insert(stream.id.clone(), stream);
            } else {
                scan.streams.remove(&stream.id);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(scan);
        }
    }
}

/// The change feed of a registry, for [`history`].
struct FeedOf<'a, R: ?Sized>(&'a R);

#[async_trait]
impl<R: Registry + ?Sized> ended_streams::Feed for FeedOf<'_, R> {
    async fn oldest(&self) -> Result<Watch> {
        self.0.watch(WatchFrom::Oldest).await
    }

    async fn tail(&self) -> Result<Option<Revision>> {
        match self.0.list_page(None, NonZeroU32::MIN).await?.revision {
            Some(revision) => Ok(Some(revision)),
            None => Ok(self.0.snapshot().await?.revision),
        }
    }
}
