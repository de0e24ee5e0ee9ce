//! The Redis store: fixed keys, shared with programs of other languages; every change one script.

mod clock;
mod connect;
mod counters;
mod fault;
mod feed;
mod join;
mod keys;
mod ops;
mod options;
mod reply;
mod script;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::connect::{Effect, Link};
use self::counters::Counters;
pub use self::counters::RedisCounters;
use self::join::Joiner;
use self::keys::Keys;
use self::ops::get::GetJob;
use self::ops::write::WriteJob;
use self::options::CALL_TIMEOUT;
pub use self::options::RedisOptions;
use crate::error::{ErrorKind, Result};
use crate::registry::TtlPolicy;
use crate::registry::ttl::tombstone_ttl;
use crate::registry::{
    Operation, Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo, UnregisterOptions, Write, rules,
};
use crate::stream::{Cursor, Stream, StreamId};
use crate::watch::{Watch, WatchFrom};

/// A registry in Redis ≥ 7.0 or Valkey ≥ 7.2, shared by all who use its keys.
///
/// Two connections serve all callers: one for single streams, on which concurrent calls are joined into
/// batches, and one for lists. Both are made again when they break; a call made while the server is
/// away fails with `Unavailable` within two seconds.
///
/// ```no_run
/// # async fn example() -> stream_registry::Result<()> {
/// use stream_registry::{RedisRegistry, Registry, Stream, StreamType};
/// use stream_registry::redis::RedisOptions;
/// let options: RedisOptions = "redis://127.0.0.1".parse()?;
/// let registry = RedisRegistry::connect(options).await?;
/// registry.register(&Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112")).await?;
/// # Ok(()) }
/// ```
pub struct RedisRegistry {
    store: Arc<Store>,
    writes: Arc<Joiner<WriteJob>>,
    gets: Arc<Joiner<GetJob>>,
}

/// What all operations share.
struct Store {
    options: RedisOptions,
    keys: Keys,
    /// For calls about single streams.
    link: Arc<Link>,
    /// For lists, so that small calls do not queue behind megabytes.
    bulk: Arc<Link>,
    list_way: ops::list::Way,
    turns: ops::Turns,
    counters: Counters,
}

impl Store {
    fn ttl_ms(&self) -> u64 {
        millis(self.options.ttl)
    }

    fn ttl_policy(&self) -> &'static str {
        match self.options.ttl_policy {
            TtlPolicy::Renew => "renew",
            TtlPolicy::NeverShorten => "longer",
        }
    }

    fn end_mark_ms(&self) -> u64 {
        millis(tombstone_ttl(self.options.ttl))
    }

    /// How long before its deadline a record is copied aside.
    fn margin_ms(&self) -> u64 {
        self.ttl_ms() / 5
    }

    fn check_writable(&self) -> Result<()> {
        if self.options.read_only { Err(rules::read_only()) } else { Ok(()) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl RedisRegistry {
    /// Connects and checks the server's version.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for options out of their limits; `Unavailable` or `Timeout` where no server
    /// answers; `Denied` where it refuses user or password; `Unsupported` where it is too old.
    pub async fn connect(options: RedisOptions) -> Result<Self> {
        let named = |error: crate::error::Error| error.with_operation(Operation::Connect);
        options.check().map_err(named)?;
        let store = Arc::new(Store {
            keys: Keys::new(&options.prefix),
            link: Arc::new(Link::new(options.clone())),
            bulk: Arc::new(Link::new(options.clone())),
            list_way: ops::list::Way::default(),
            turns: ops::Turns::default(),
            counters: Counters::default(),
            options,
        });
        store.link.connection().await.map_err(named)?;
        if !store.options.read_only {
            ops::sweep::spawn(&store);
        }
        Ok(Self {
            writes: Joiner::new(WriteJob(Arc::clone(&store))),
            gets: Joiner::new(GetJob(Arc::clone(&store))),
            store,
        })
    }

    /// Returns what was seen and done on the way since the store was opened.
    pub fn counters(&self) -> RedisCounters {
        self.store.counters.read()
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("options", &self.store.options).finish_non_exhaustive()
    }
}

/// Ends a call that takes several steps when its time is over, whichever step it is at.
async fn within<T>(effect: Effect, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
        Err(crate::error::Error::new(ErrorKind::Timeout, "Redis did not answer in time")
            .with_may_have_applied(effect == Effect::Write))
    })
}

/// Whether an error is about the store as a whole, not about one stream.
fn is_whole(error: &crate::error::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Unauthenticated
            | ErrorKind::Denied
            | ErrorKind::Closed
    )
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        within(Effect::Write, ops::register::register(&self.store, stream, options))
            .await
            .map_err(|error| error.with_stream(&stream.id).with_operation(Operation::Register))
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        within(Effect::Write, ops::end::end(&self.store, id, options))
            .await
            .map_err(|error| error.with_stream(id).with_operation(Operation::Unregister))
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let named = |error: crate::error::Error| error.with_operation(Operation::Write);
        rules::check_batch(writes).map_err(named)?;
        self.store.check_writable().map_err(named)?;
        let [write] = writes else { return ops::write::write(&self.store, writes).await.map_err(named) };
        let answer = match rules::check_write(write) {
            Ok(()) => self.writes.call(write.clone()).await,
            refused => refused,
        };
        match answer {
            Err(error) if is_whole(&error) => Err(rules::name_write(error, write)),
            answer => Ok(vec![answer.map_err(|error| rules::name_write(error, write))]),
        }
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        ops::get::get(&self.gets, id)
            .await
            .map_err(|error| error.with_may_have_applied(false).with_stream(id).with_operation(Operation::Get))
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        ops::list::snapshot(&self.store).await.map_err(|error| error.with_operation(Operation::List))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        ops::page::page(&self.store, cursor, count).await.map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        feed::follow(&self.store, &from).await.map_err(|error| error.with_operation(Operation::Watch))
    }

    async fn ping(&self) -> Result<()> {
        let ping = redis::cmd("PING");
        let answer = within(Effect::Read, self.store.link.read(&ping)).await;
        answer.map(|_| ()).map_err(|error| error.with_operation(Operation::Ping))
    }

    fn info(&self) -> StoreInfo {
        StoreInfo::new("redis", self.store.options.ttl).read_only(self.store.options.read_only)
    }

    async fn close(&self) -> Result<()> {
        self.store.link.close();
        self.store.bulk.close();
        Ok(())
    }
}
