//! The trait that every store implements.

pub(crate) mod epoch;
mod options;
pub(crate) mod rules;

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;

pub use options::{
    Change, EndOptions, Guard, OnConflict, Operation, Outcome, Page, RegisterOptions, Registered, Snapshot, StoreInfo,
    Write,
};

use crate::stream::{Cursor, Stream, StreamId, StreamPatch, StreamStats, StreamStatus, generate_stream_id};
use crate::watch::{Watch, WatchFrom};
use crate::{Error, ErrorKind, Result};

/// How many generated ids [`Registry::register_new`] tries before it gives up.
const NEW_ID_TRIES: usize = 10_000;

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
    async fn end(&self, id: &StreamId, options: &EndOptions) -> Result<Stream>;

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

    /// Follows the changes of the registry: every change of state is one event, in order, without gaps and
    /// doubles. Heartbeats and statistics are none.
    ///
    /// Where that cannot be promised, since the place to begin is no longer kept or belongs to another history, the
    /// watch says [`Event::Resync`](crate::Event::Resync), and goes on from there.
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
    /// As [`end`](Self::end).
    async fn unregister(&self, id: &StreamId) -> Result<Stream> {
        self.end(id, &EndOptions::default()).await
    }

    /// The same as [`unregister`](Self::unregister).
    ///
    /// # Errors
    ///
    /// As [`end`](Self::end).
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

    /// Sets `last_heartbeat` to now and renews the time to live.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`.
    async fn update_heartbeat(&self, id: &StreamId) -> Result<()> {
        write_one(self, id, Change::Heartbeat).await
    }

    /// Sets the status, and `last_heartbeat`.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn update_status(&self, id: &StreamId, status: StreamStatus) -> Result<()> {
        write_one(self, id, Change::Status(status)).await
    }

    /// Sets the statistics, and `last_heartbeat`; an optional one that is `None` keeps its value.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn update_stats(&self, id: &StreamId, stats: &StreamStats) -> Result<()> {
        write_one(self, id, Change::Stats(stats.clone())).await
    }

    /// Sets the fields that the patch gives, and `last_heartbeat`; the rest stays untouched.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn patch(&self, id: &StreamId, patch: &StreamPatch) -> Result<()> {
        write_one(self, id, Change::Patch(Box::new(patch.clone()))).await
    }

    /// Replaces the whole record if it exists; `created_at` and the epoch stay, `last_heartbeat` is now.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotHolder`, `InvalidArgument`.
    async fn update(&self, stream: &Stream) -> Result<()> {
        write_one(self, &stream.id, Change::Replace(Box::new(stream.clone()))).await
    }
}

async fn write_one<R: Registry + ?Sized>(registry: &R, id: &StreamId, change: Change) -> Result<()> {
    let write = Write { id: id.clone(), guard: Guard::None, change };
    let operation = write.change.operation();
    let mut answers = registry
        .write(std::slice::from_ref(&write))
        .await
        .map_err(|error| error.with_stream(id).with_operation(operation))?;
    answers.pop().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Internal, "the store gave no answer to a write").with_operation(operation))
    })
}

macro_rules! forward {
    ($($pointer:ident)::+) => {
        #[async_trait]
        impl<R: Registry + ?Sized> Registry for $($pointer)::+<R> {
            async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
                (**self).register_with(stream, options).await
            }
            async fn end(&self, id: &StreamId, options: &EndOptions) -> Result<Stream> {
                (**self).end(id, options).await
            }
            async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
                (**self).write(writes).await
            }
            async fn get(&self, id: &StreamId) -> Result<Stream> {
                (**self).get(id).await
            }
            async fn snapshot(&self) -> Result<Snapshot> {
                (**self).snapshot().await
            }
            async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
                (**self).list_page(cursor, count).await
            }
            async fn watch(&self, from: WatchFrom) -> Result<Watch> {
                (**self).watch(from).await
            }
            async fn ping(&self) -> Result<()> {
                (**self).ping().await
            }
            fn info(&self) -> StoreInfo {
                (**self).info()
            }
            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
            async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
                (**self).register_new(stream, options).await
            }
        }
    };
}
forward!(Arc);
forward!(Box);
