//! The Redis store. Its key names are fixed, because programs in other languages use the same keys. Every change runs
//! as one script.

mod clock;
mod coalesce;
mod connect;
mod counters;
mod diagnose;
mod eviction;
mod fault;
mod feed;
mod keys;
mod locks;
mod ops;
mod options;
mod record;
mod reply;
mod script;
mod servers;
mod store;
mod url;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;

use self::coalesce::Coalescer;
use self::connect::slot_of;
use self::connect::topology::Topology;
pub use self::counters::RedisCounters;
pub use self::diagnose::{Code, DiagnoseOptions, Diagnosis, Finding, IndexRepair, Role, Severity};
use self::fault::Effect;
use self::ops::get::GetJob;
use self::ops::register::RegisterJob;
use self::ops::unregister::UnregisterJob;
use self::ops::write::WriteJob;
pub use self::options::RedisOptions;
use self::store::{Store, within};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::query::Ended;
use crate::registry::{
    Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo, UnregisterOptions, Write, provided, rules,
};
use crate::stream::{Cursor, Stream, StreamId, Timestamp};
use crate::watch::{Event, Watch, WatchFrom};

/// A registry in Redis ≥ 7.0 or Valkey ≥ 7.2. All programs that use the same keys share the registry.
///
/// All callers share two connections. One connection serves calls about single streams, and coalesces concurrent calls
/// into batches. The other connection serves lists. While there are watches, they share a third connection. All
/// connections reconnect after a failure. While the server is down, calls fail with `Unavailable` within two seconds. A
/// list can wait longer, see [`list_timeout`](RedisOptions::list_timeout).
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
    topology: Topology,
    store: Arc<Store>,
    writes: Arc<Coalescer<WriteJob>>,
    gets: Arc<Coalescer<GetJob>>,
    registrations: Arc<Coalescer<RegisterJob>>,
    unregistrations: Arc<Coalescer<UnregisterJob>>,
}

impl RedisRegistry {
    /// Connects to the server and checks its version.
    ///
    /// If the server's `maxmemory-policy` may delete live streams, this function logs a warning, which is also in the
    /// [`warning`](StoreInfo::warning) of [`info`](Registry::info). [`ping`](Registry::ping) reads the policy again.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if an option is out of range or a TLS file is unusable. Returns `Unavailable` or
    /// `Timeout` if no server answers. Returns `Unauthenticated` if the server rejects the user name or password, or if
    /// one side rejects the certificate of the other. Returns `Unsupported` if the server is too old, or if only one
    /// side uses TLS.
    pub async fn connect(options: RedisOptions) -> Result<Self> {
        let named = |error: Error| error.with_operation(Operation::Connect);
        let options = options.checked().map_err(named)?;
        let topology = Topology::new(&options);
        let prefix = options.prefix.clone();
        let store = Arc::new(Store::new(options, &topology, &prefix, slot_of(&prefix)));
        if store.options.tls.as_ref().is_some_and(|tls| tls.insecure) {
            tracing::warn!("insecure=true: the certificate of Redis is not checked; use this for tests only");
        }
        store.link.connection().await.map_err(named)?;
        ops::eviction::check(&store).await;
        if !store.options.read_only {
            ops::sweep::spawn(&store);
        }
        Ok(Self {
            writes: Coalescer::new(WriteJob(Arc::clone(&store))),
            gets: Coalescer::new(GetJob(Arc::clone(&store))),
            registrations: Coalescer::new(RegisterJob(Arc::clone(&store))),
            unregistrations: Coalescer::new(UnregisterJob(Arc::clone(&store))),
            store,
            topology,
        })
    }

    /// Returns the numbers of unreadable records and of removed index entries since the store was opened.
    pub fn counters(&self) -> RedisCounters {
        self.store.counters.read()
    }

    /// Checks the servers, the rights of this user, the index and the change feed, and reports what is wrong with them.
    ///
    /// A diagnosis only reads, so it also works with `read_only` and on a replica. It reads all keys with the prefix of
    /// the registry in small steps, up to [`max_keys`](DiagnoseOptions::max_keys). The diagnosis says which parts the
    /// user may not read.
    ///
    /// # Errors
    ///
    /// Returns `Unavailable` or `Timeout` if the server does not answer. A missing right is no error.
    pub async fn diagnose(&self, options: &DiagnoseOptions) -> Result<Diagnosis> {
        let done = diagnose::diagnose(&self.topology, &[&self.store], options).await;
        done.map_err(|error| error.with_operation(Operation::Diagnose))
    }

    /// Removes ids without a record from the index, and adds ids whose record is missing from it.
    ///
    /// The index also repairs itself: see the clause "Index" of the semantics. This function repairs it at once.
    ///
    /// # Errors
    ///
    /// Returns `Denied` if the registry is read-only or the user lacks a right. Returns `InvalidArgument` and changes
    /// nothing if the prefix of another registry begins with the prefix of this one. Returns `Unavailable` or `Timeout`
    /// if the server does not answer.
    pub async fn repair_index(&self, options: &DiagnoseOptions) -> Result<IndexRepair> {
        let done = diagnose::repair_index(&[&self.store], options).await;
        done.map_err(|error| error.with_operation(Operation::Repair))
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("options", &self.store.options).finish_non_exhaustive()
    }
}

/// Returns whether an error concerns the store as a whole rather than one stream.
fn is_store_wide(error: &Error) -> bool {
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
        within(Effect::Write, ops::register::register(&self.registrations, &self.store, stream, options))
            .await
            .map_err(|error| error.with_stream(&stream.id).with_operation(Operation::Register))
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        within(Effect::Write, ops::unregister::unregister(&self.unregistrations, &self.store, id, options))
            .await
            .map_err(|error| error.with_stream(id).with_operation(Operation::Unregister))
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let named = |error: Error| error.with_operation(Operation::Write);
        rules::check_batch(writes).map_err(named)?;
        self.store.check_writable().map_err(named)?;
        let [write] = writes else { return ops::write::write(&self.store, writes).await.map_err(named) };
        let answer = match rules::check_write(write) {
            Ok(()) => self.writes.call(write.clone()).await,
            rejected => rejected,
        };
        match answer {
            Err(error) if is_store_wide(&error) => Err(rules::name_write(error, write)),
            answer => Ok(vec![answer.map_err(|error| rules::name_write(error, write))]),
        }
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        ops::get::get(&self.gets, id)
            .await
            .map_err(|error| error.with_may_have_applied(false).with_stream(id).with_operation(Operation::Get))
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        ops::get::get_many(&self.store, ids)
            .await
            .map_err(|error| error.with_may_have_applied(false).with_operation(Operation::Get))
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        ops::list::snapshot(&self.store).await.map_err(|error| error.with_operation(Operation::List))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        ops::page::page(&self.store, cursor, count).await.map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        let count = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        match ops::history::history(&self.store, ended, count).await {
            Ok(Some(events)) => Ok(events),
            // Without the permission to read the feed backwards, the whole feed is read in its order.
            Ok(None) => provided::history(self, ended, limit).await,
            Err(error) => Err(error.with_may_have_applied(false).with_operation(Operation::History)),
        }
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let watch = async {
            rules::check_start(&from)?;
            feed::follow::follow(&self.store, &from).await
        };
        watch.await.map_err(|error| error.with_operation(Operation::Watch))
    }

    async fn ping(&self) -> Result<()> {
        let ping = redis::cmd("PING");
        let answer = within(Effect::Read, self.store.link.read(&ping)).await;
        answer.map_err(|error| error.with_operation(Operation::Ping))?;
        ops::eviction::check(&self.store).await;
        Ok(())
    }

    fn info(&self) -> StoreInfo {
        let options = &self.store.options;
        let warning = self.store.eviction.warning();
        StoreInfo { read_only: options.read_only, warning, ..StoreInfo::new("redis", options.ttl) }
    }

    fn now(&self) -> Timestamp {
        self.store.link.estimated_now()
    }

    async fn close(&self) -> Result<()> {
        self.store.link.close();
        self.store.bulk.close();
        self.topology.close();
        self.store.feed_reader.stop();
        Ok(())
    }
}
