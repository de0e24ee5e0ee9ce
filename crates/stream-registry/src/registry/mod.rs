//! The trait that every store implements.

pub(crate) mod cursor;
pub(crate) mod epoch;
mod options;
pub(crate) mod rules;
pub(crate) mod ttl;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;

pub use options::{
    Change, Guard, OnConflict, Outcome, Page, RegisterOptions, Registered, Snapshot, StoreInfo, UnregisterOptions,
    Write,
};
pub use ttl::TtlPolicy;

pub use crate::error::Operation;
use crate::error::{Error, ErrorKind, Result};
use crate::query::{By, Ended, Filter, Query, Selector, Summary, history};
use crate::stream::{Cursor, Revision, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, generate_stream_id};
use crate::watch::{Event, Watch, WatchFrom};

/// How many generated ids [`Registry::register_new`] tries before it gives up.
const NEW_ID_TRIES: usize = 10_000;
/// How many streams one page of a walk holds.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// How many single reads are in flight at once; the Redis store sends that many as one command.
const CONCURRENT_GETS: usize = 128;

/// A registry of live streams.
///
/// Every change is atomic: no other caller sees half of it, and no failure leaves half of it.
/// Every successful write renews the stream's time to live; a failed one changes nothing; reads
/// never do. Time is the store's clock.
///
/// # Errors
///
/// Every function fails with `Unavailable`, `Timeout` or `Denied` where the store does, and with
/// `Closed` after [`close`](Self::close); each names only what else it fails with.
/// [`Error::may_have_applied`] says whether a failed change may have happened all the same.
///
/// # Cancel safety
///
/// Any future may be dropped at any await: the store stays consistent. A change that was under way has
/// then happened whole, or not at all.
#[async_trait]
pub trait Registry: Debug + Send + Sync + 'static {
    /// Registers a stream by the policy of `options`; sets `created_at` and `last_heartbeat` to now.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` with the record that is there; `InvalidArgument`; `Corrupt` where the key holds
    /// something else than a record.
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered>;

    /// Removes a stream with its index entry and returns the last record.
    ///
    /// # Errors
    ///
    /// `NotFound`; `NotHolder` where the stream is leased and `options.guard` is not its holder's.
    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream>;

    /// Applies up to 1 000 writes, each answered on its own, in their order.
    ///
    /// Writes to different streams are independent of one another; each of them is atomic.
    ///
    /// # Errors
    ///
    /// The call itself fails with `InvalidArgument` for more than 1 000 writes, and where the store
    /// fails as a whole. Each write fails with `NotFound`, `NotHolder`, `InvalidArgument` or `Corrupt`.
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>>;

    /// Returns the record of a live stream.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Corrupt` where what is stored cannot be read.
    async fn get(&self, id: &StreamId) -> Result<Stream>;

    /// Returns the records of several streams, in the order of the ids; `None` for an id that is not live or whose record
    /// cannot be decoded.
    ///
    /// Each record is read atomically, but not all of them at one moment; [`snapshot`](Self::snapshot) does that.
    ///
    /// # Errors
    ///
    /// None of its own.
    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        let reads: Vec<_> = ids.iter().map(|id| self.get(id)).collect();
        let mut answers = futures_util::stream::iter(reads).buffered(CONCURRENT_GETS);
        let mut streams = Vec::with_capacity(ids.len());
        while let Some(answer) = answers.next().await {
            streams.push(match answer {
                Ok(stream) => Some(stream),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(streams)
    }

    /// Returns every live stream in one atomic snapshot, in no particular order.
    ///
    /// # Errors
    ///
    /// None of its own.
    async fn snapshot(&self) -> Result<Snapshot>;

    /// Returns a page of about `count` live streams, and where the next one begins.
    ///
    /// Never holds the store for more than one page. Every stream that lives throughout comes, possibly twice.
    ///
    /// # Errors
    ///
    /// `InvalidCursor` for a cursor that no store of this kind made.
    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page>;

    /// Returns the live streams that match a query, in its order, and the cursor of the next page.
    ///
    /// `total` counts all streams that match. By default a call reads the whole store page by page; a server and a
    /// [`View`](crate::view::View) answer from memory.
    ///
    /// # Errors
    ///
    /// Returns `InvalidCursor` if the cursor is malformed or belongs to another order.
    async fn find(&self, query: &Query) -> Result<Page> {
        let after = query.position()?;
        let walk = walk(self, &query.filter).await?;
        let mut selector = Selector::new(query.order, after.as_ref(), query.window());
        for stream in walk.streams.values() {
            selector.add(stream, || stream);
        }
        let selected = selector.finish();
        let next = selected.more.then(|| selected.streams.last()).flatten();
        let next = next.map(|last| query.order.position(last).to_cursor()).transpose()?;
        let mut page = Page::new(selected.streams.into_iter().cloned().collect(), next, selected.total);
        page.revision = walk.revision;
        // Once per list, not once per page.
        page.unreadable = if after.is_none() { walk.unreadable } else { 0 };
        Ok(page)
    }

    /// Counts the live streams that match a filter, in groups by node, type or status.
    ///
    /// # Errors
    ///
    /// None of its own.
    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        Ok(Summary::of(by, walk(self, filter).await?.streams.values()))
    }

    /// Returns the events of streams that ended, the latest first: at most `limit` of them, as far back as the change
    /// feed is kept. A stream that was taken over has not ended.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if the store has no change feed, `Timeout` if reading it takes more than 30 s, and
    /// `Unavailable` if it is trimmed faster than it can be read.
    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        history::read(&FeedOf(self), ended, usize::try_from(limit.get()).unwrap_or(usize::MAX)).await
    }

    /// Follows the changes of the registry: every change of state is one event, in order, without gaps and
    /// doubles. Heartbeats and statistics are none.
    ///
    /// Where that cannot be promised, since the place to begin is no longer kept or belongs to another history, the
    /// watch says [`Event::Resync`], and goes on from there.
    ///
    /// # Errors
    ///
    /// `Unsupported` by stores without a change feed.
    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let _ = from;
        Err(Error::unsupported("this store has no change feed; poll list instead").with_operation(Operation::Watch))
    }

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    ///
    /// `Unavailable` or `Timeout` where there is none.
    async fn ping(&self) -> Result<()>;

    /// Returns what kind of store this is, and its time to live.
    fn info(&self) -> StoreInfo;

    /// Releases connections. Every later call fails with `Closed`, this one excepted.
    ///
    /// # Errors
    ///
    /// None of its own.
    async fn close(&self) -> Result<()>;

    /// Registers a stream by the default policy: a live id is refused unless the publisher is the same
    /// (same type, same non-empty `source_addr`, same node where both have one), which renews it.
    ///
    /// # Errors
    ///
    /// As [`register_with`](Self::register_with).
    async fn register(&self, stream: &Stream) -> Result<Registered> {
        self.register_with(stream, &RegisterOptions::default()).await
    }

    /// Registers a stream under a generated id, in place of its own: no two callers ever share one.
    ///
    /// # Errors
    ///
    /// As [`register_with`](Self::register_with), and `AlreadyExists` after 10 000 clashes in a row.
    ///
    /// # Cancel safety
    ///
    /// When dropped, a stream with an id that the caller has not learnt may stay until its time to live is over.
    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        rules::check_new(options).map_err(|error| error.with_operation(Operation::Register))?;
        let mut stream = stream.clone();
        let mut options = options.clone().on_conflict(OnConflict::CreateOnly);
        options.generated_id = true;
        let mut tries = 0;
        loop {
            stream.id = generate_stream_id(&stream.kind, &stream.source_addr);
            tries += 1;
            match self.register_with(&stream, &options).await {
                Err(clash) if clash.kind() == ErrorKind::AlreadyExists && tries < NEW_ID_TRIES => {}
                done => return done,
            }
        }
    }

    /// Removes a stream and returns its last record.
    ///
    /// # Errors
    ///
    /// As [`unregister_with`](Self::unregister_with).
    async fn unregister(&self, id: &StreamId) -> Result<Stream> {
        self.unregister_with(id, &UnregisterOptions::default()).await
    }

    /// The same as [`unregister`](Self::unregister).
    ///
    /// # Errors
    ///
    /// As [`unregister_with`](Self::unregister_with).
    async fn delete(&self, id: &StreamId) -> Result<Stream> {
        self.unregister(id).await
    }

    /// Returns every live stream, as [`snapshot`](Self::snapshot) does.
    ///
    /// # Errors
    ///
    /// None of its own.
    async fn list(&self) -> Result<Vec<Stream>> {
        Ok(self.snapshot().await?.streams)
    }

    /// Applies one write.
    ///
    /// # Errors
    ///
    /// Returns `NotFound`, `NotHolder`, `InvalidArgument` or `Corrupt`, as [`write`](Self::write) does for each write.
    async fn write_one(&self, write: Write) -> Result<()> {
        write_one(self, write).await
    }

    /// Sets `last_heartbeat` to now and renews the time to live.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`.
    async fn update_heartbeat(&self, id: &StreamId) -> Result<()> {
        write_one(self, Write::new(id, Change::Heartbeat)).await
    }

    /// Sets the status, and `last_heartbeat`.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn update_status(&self, id: &StreamId, status: StreamStatus) -> Result<()> {
        write_one(self, Write::new(id, Change::Status(status))).await
    }

    /// Sets the statistics, and `last_heartbeat`; an optional one that is `None` keeps its value.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn update_stats(&self, id: &StreamId, stats: &StreamStats) -> Result<()> {
        write_one(self, Write::new(id, Change::Stats(stats.clone()))).await
    }

    /// Sets the fields that the patch gives, and `last_heartbeat`; the rest stays untouched.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn patch(&self, id: &StreamId, patch: &StreamPatch) -> Result<()> {
        write_one(self, Write::new(id, Change::Patch(Box::new(patch.clone())))).await
    }

    /// Replaces the whole record if it exists; `created_at` and the epoch stay, `last_heartbeat` is now.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn update(&self, stream: &Stream) -> Result<()> {
        write_one(self, Write::new(&stream.id, Change::Update(Box::new(stream.clone())))).await
    }
}

/// As [`Registry::write_one`]; a function, so that no conversion allocates a second future.
async fn write_one<R: Registry + ?Sized>(registry: &R, write: Write) -> Result<()> {
    let operation = write.change.operation();
    let mut answers = registry
        .write(std::slice::from_ref(&write))
        .await
        .map_err(|error| error.with_stream(&write.id).with_operation(operation))?;
    answers.pop().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Internal, "the store gave no answer to a write").with_operation(operation))
    })
}

/// The matching streams of a walk through all pages.
struct Walk {
    streams: BTreeMap<StreamId, Stream>,
    revision: Option<Revision>,
    unreadable: u64,
}

/// Reads the store page by page, so that no call holds it for longer than one page.
async fn walk<R: Registry + ?Sized>(registry: &R, filter: &Filter) -> Result<Walk> {
    let matches = filter.matcher();
    let mut walk = Walk { streams: BTreeMap::new(), revision: None, unreadable: 0 };
    let mut cursor = None;
    loop {
        let page = registry.list_page(cursor.as_ref(), PAGE).await?;
        walk.unreadable += page.unreadable;
        walk.revision = walk.revision.or(page.revision);
        for stream in page.streams {
            // A stream may come twice: the later record counts, also if it does not match any more.
            if matches(&stream) {
                walk.streams.insert(stream.id.clone(), stream);
            } else {
                walk.streams.remove(&stream.id);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(walk);
        }
    }
}

/// The change feed of a registry, for its history.
struct FeedOf<'a, R: ?Sized>(&'a R);

#[async_trait]
impl<R: Registry + ?Sized> history::Feed for FeedOf<'_, R> {
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

macro_rules! forward {
    ($($pointer:ident)::+) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<R: Registry + ?Sized> Registry for $($pointer)::+<R> {
            async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
                (**self).register_with(stream, options).await
            }
            async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
                (**self).unregister_with(id, options).await
            }
            async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
                (**self).write(writes).await
            }
            async fn get(&self, id: &StreamId) -> Result<Stream> {
                (**self).get(id).await
            }
            async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
                (**self).get_many(ids).await
            }
            async fn snapshot(&self) -> Result<Snapshot> {
                (**self).snapshot().await
            }
            async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
                (**self).list_page(cursor, count).await
            }
            async fn find(&self, query: &Query) -> Result<Page> {
                (**self).find(query).await
            }
            async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
                (**self).summary(filter, by).await
            }
            async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
                (**self).history(ended, limit).await
            }
            async fn watch(&self, from: WatchFrom) -> Result<Watch> {
                (**self).watch(from).await
            }
            async fn ping(&self) -> Result<()> {
                (**self).ping().await
            }
            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
            async fn register(&self, stream: &Stream) -> Result<Registered> {
                (**self).register(stream).await
            }
            async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
                (**self).register_new(stream, options).await
            }
            async fn unregister(&self, id: &StreamId) -> Result<Stream> {
                (**self).unregister(id).await
            }
            async fn delete(&self, id: &StreamId) -> Result<Stream> {
                (**self).delete(id).await
            }
            async fn list(&self) -> Result<Vec<Stream>> {
                (**self).list().await
            }
            async fn write_one(&self, write: Write) -> Result<()> {
                (**self).write_one(write).await
            }
            async fn update_heartbeat(&self, id: &StreamId) -> Result<()> {
                (**self).update_heartbeat(id).await
            }
            async fn update_status(&self, id: &StreamId, status: StreamStatus) -> Result<()> {
                (**self).update_status(id, status).await
            }
            async fn update_stats(&self, id: &StreamId, stats: &StreamStats) -> Result<()> {
                (**self).update_stats(id, stats).await
            }
            async fn patch(&self, id: &StreamId, patch: &StreamPatch) -> Result<()> {
                (**self).patch(id, patch).await
            }
            async fn update(&self, stream: &Stream) -> Result<()> {
                (**self).update(stream).await
            }
            fn info(&self) -> StoreInfo {
                (**self).info()
            }
        }
    };
}
forward!(Arc);
forward!(Box);
