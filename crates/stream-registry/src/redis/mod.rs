//! The Redis store. Its key names are fixed, because programs in other languages use the same keys. Every change runs
//! as one script, or as one `SET` that compares.

mod clock;
mod coalesce;
mod connect;
mod counters;
mod diagnose;
mod eviction;
mod fault;
mod feed;
mod keys;
mod layout;
mod locks;
mod metrics;
mod ops;
mod options;
mod record;
mod reply;
mod script;
mod servers;
mod shards;
mod store;
mod url;

use std::fmt;
use std::num::NonZeroU32;

use async_trait::async_trait;

pub use self::counters::RedisCounters;
pub use self::diagnose::{Code, DiagnoseOptions, Diagnosis, Finding, IndexRepair, Role, Severity};
use self::fault::Effect;
pub use self::options::RedisOptions;
use self::shards::Shards;
use self::store::{call_deadline, within};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::query::Ended;
use crate::registry::metrics::MetricsSnapshot;
use crate::registry::{
    Page, RegisterOptions, Registered, Registry, Snapshot, StoreInfo, UnregisterOptions, Write, provided, rules,
};
use crate::stream::{Cursor, Stream, StreamId, Timestamp};
use crate::watch::{Event, Watch, WatchFrom};

/// A registry in Redis ≥ 7.0 or Valkey ≥ 7.2. All programs that use the same keys share the registry.
///
/// All callers share two connections, or two for each node of a cluster. One connection serves calls about single
/// streams, and coalesces concurrent calls into batches. The other connection serves lists. While there are watches, they
/// share one more connection, or one for each shard of a cluster. All connections reconnect after a failure. While the
/// server is down, calls fail with `Unavailable` within two seconds. A list can wait longer, see
/// [`list_timeout`](RedisOptions::list_timeout).
///
/// In a Redis Cluster, the registry is divided into shards. While a node is down, calls about streams in its shards
/// fail, and so do calls about the whole registry. Calls about other streams succeed.
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
    options: RedisOptions,
    shards: Shards,
}

impl RedisRegistry {
    /// Connects to the server and checks its version. In a cluster, one node that can be reached suffices.
    ///
    /// If the server's `maxmemory-policy` may delete live streams, this function logs a warning, which is also in the
    /// [`warning`](StoreInfo::warning) of [`info`](Registry::info). [`ping`](Registry::ping) reads the policy again.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if an option is out of range, a TLS file is unusable, or the registry in a cluster has
    /// another number of shards than the URL says. Returns `Unavailable` or
    /// `Timeout` if no server answers. Returns `Unauthenticated` if the server rejects the user name or password, or if
    /// one side rejects the certificate of the other. Returns `Unsupported` if the server is too old, or if only one
    /// side uses TLS.
    pub async fn connect(options: RedisOptions) -> Result<Self> {
        let named = |error: Error| error.with_operation(Operation::Connect);
        let options = options.checked().map_err(named)?;
        if options.tls.as_ref().is_some_and(|tls| tls.insecure) {
            tracing::warn!("insecure=true: the certificate of Redis is not checked; use this for tests only");
        }
        let shards = Shards::connect(options.clone()).await.map_err(named)?;
        shards.check_eviction().await;
        if !options.read_only {
            shards.iter().for_each(|shard| ops::sweep::spawn(&shard.store));
        }
        Ok(Self { options, shards })
    }

    /// Connects for a [diagnosis](Self::diagnose), like [`connect`](Self::connect).
    ///
    /// If the registry in a Redis Cluster cannot be opened, e.g. because the cluster rejects all calls while a part of
    /// it is down, one node that answers suffices. The number of shards is then unknown. So the registry is read-only,
    /// and uses the number in the URL, or 16. The diagnosis says so, and [`repair_index`](Self::repair_index) repairs
    /// nothing.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`connect`](Self::connect).
    pub async fn connect_for_diagnosis(options: RedisOptions) -> Result<Self> {
        match Self::connect(options.clone()).await {
            Err(error) if error.is_retryable() || error.kind() == ErrorKind::Denied => {
                let options = options.read_only();
                let shards = Shards::assume(&options).await.ok_or(error)?;
                Ok(Self { options, shards })
            }
            connected => connected,
        }
    }

    /// Returns the numbers of unreadable records and of removed index entries since the store was opened.
    pub fn counters(&self) -> RedisCounters {
        self.shards.counters()
    }

    /// Checks the servers, the rights of this user, the index and the change feed, and reports what is wrong with them.
    ///
    /// A diagnosis only reads, so it also works with `read_only` and on a replica. It reads all keys with the prefix of
    /// the registry in small steps, up to [`max_keys`](DiagnoseOptions::max_keys). The diagnosis says which parts the
    /// user may not read.
    ///
    /// In a cluster, a node that is down is a finding, and the rest of the cluster is diagnosed.
    ///
    /// # Errors
    ///
    /// Returns `Unavailable` or `Timeout` if the server does not answer, or no node of a cluster. A missing right is no
    /// error.
    pub async fn diagnose(&self, options: &DiagnoseOptions) -> Result<Diagnosis> {
        let done = diagnose::diagnose(&self.shards, options).await;
        done.map_err(|error| error.with_operation(Operation::Diagnose))
    }

    /// Removes ids without a record from the index, and adds ids whose record is missing from it.
    ///
    /// The index also repairs itself: see the clause "Index" of the semantics. This function repairs it at once. In a
    /// cluster, it repairs the index of every shard that can be reached, and returns the number of the others.
    ///
    /// # Errors
    ///
    /// Returns `Denied` if the registry is read-only or the user lacks a right. Returns `InvalidArgument` and changes
    /// nothing if the prefix of another registry begins with the prefix of this one. Returns `Unavailable` or `Timeout`
    /// if the server does not answer.
    pub async fn repair_index(&self, options: &DiagnoseOptions) -> Result<IndexRepair> {
        let done = diagnose::repair_index(&self.shards, options).await;
        done.map_err(|error| error.with_operation(Operation::Repair))
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("options", &self.options).finish_non_exhaustive()
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
        let shard = self.shards.of(&stream.id);
        // The deadline is just before that of the whole call, so that the error says whether the call was sent.
        let call = ops::register::register(&shard.registrations, &shard.store, stream, options, call_deadline());
        within(Effect::Write, call)
            .await
            .map_err(|error| shard.named(error).with_stream(&stream.id).with_operation(Operation::Register))
    }

    async fn register_new(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        // A call that is sent again generates another id. The id must be in the shard that has the result of the first
        // call.
        provided::register_generated(self, stream, options, |id| {
            options.operation.as_ref().is_none_or(|operation| self.shards.are_together(id, operation))
        })
        .await
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        let shard = self.shards.of(id);
        let call = ops::unregister::unregister(&shard.unregistrations, &shard.store, id, options, call_deadline());
        within(Effect::Write, call)
            .await
            .map_err(|error| shard.named(error).with_stream(id).with_operation(Operation::Unregister))
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let named = |error: Error| error.with_operation(Operation::Write);
        rules::check_batch(writes).map_err(named)?;
        if self.options.read_only {
            return Err(named(rules::read_only()));
        }
        let [write] = writes else { return self.shards.write(writes).await.map_err(named) };
        let shard = self.shards.of(&write.id);
        let answer = match rules::check_write(write) {
            Ok(()) => shard.writes.call(write.clone(), call_deadline()).await.map_err(|error| shard.named(error)),
            rejected => rejected,
        };
        match answer {
            Err(error) if is_store_wide(&error) => Err(rules::name_write(error, write)),
            answer => Ok(vec![answer.map_err(|error| rules::name_write(error, write))]),
        }
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        let shard = self.shards.of(id);
        let answer = ops::get::get(&shard.gets, id, call_deadline()).await.map_err(|error| shard.named(error));
        answer.map_err(|error| error.with_may_have_applied(false).with_stream(id).with_operation(Operation::Get))
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        let answer = self.shards.get_many(ids).await;
        answer.map_err(|error| error.with_may_have_applied(false).with_operation(Operation::Get))
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.shards.snapshot().await.map_err(|error| error.with_operation(Operation::List))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        self.shards.list_page(cursor, count).await.map_err(|error| error.with_operation(Operation::ListPage))
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        let count = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        match self.shards.history(ended, count).await {
            Ok(Some(events)) => Ok(events),
            // Without the permission to read the feed backwards, the whole feed is read in its order.
            Ok(None) => provided::history(self, ended, limit).await,
            Err(error) => Err(error.with_may_have_applied(false).with_operation(Operation::History)),
        }
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let watch = async {
            rules::check_start(&from)?;
            self.shards.watch(&from).await
        };
        watch.await.map_err(|error| error.with_operation(Operation::Watch))
    }

    async fn ping(&self) -> Result<()> {
        self.shards.ping().await.map_err(|error| error.with_operation(Operation::Ping))
    }

    fn info(&self) -> StoreInfo {
        let warning = self.shards.eviction_warning();
        StoreInfo { read_only: self.options.read_only, warning, ..StoreInfo::new("redis", self.options.ttl) }
    }

    fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot { store: metrics::read(&self.shards), ..MetricsSnapshot::default() }
    }

    fn now(&self) -> Timestamp {
        self.shards.estimated_now()
    }

    async fn close(&self) -> Result<()> {
        self.shards.close();
        Ok(())
    }
}
