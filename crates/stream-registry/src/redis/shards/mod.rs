//! The shards of a registry. A single server is one shard. In a Redis Cluster, each shard has a hash tag, and is laid out
//! exactly as the registry of a single server is.
//!
//! Calls about one stream go to the stream's shard. Calls about the whole registry go to all shards at once, and fail if
//! one shard fails, so that no answer is silently incomplete.

mod cursor;
mod history;
mod layout;
mod list;
mod position;
mod split;
mod tags;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{join_all, try_join_all};

use super::coalesce::Coalescer;
use super::connect::slot_of;
use super::connect::topology::Topology;
use super::counters::RedisCounters;
use super::fault::Effect;
use super::layout::Stored;
use super::ops;
use super::ops::get::GetJob;
use super::ops::register::RegisterJob;
use super::ops::unregister::UnregisterJob;
use super::ops::write::WriteJob;
use super::options::RedisOptions;
use super::servers::Servers;
use super::store::{Store, within};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::{OperationId, StreamId, Timestamp};
use crate::watch::shard::shard_of;

/// One part of the registry, with its own index and change feed.
pub(super) struct Shard {
    pub(super) store: Arc<Store>,
    pub(super) writes: Arc<Coalescer<WriteJob>>,
    pub(super) gets: Arc<Coalescer<GetJob>>,
    pub(super) registrations: Arc<Coalescer<RegisterJob>>,
    pub(super) unregistrations: Arc<Coalescer<UnregisterJob>>,
    /// Label of the shard in messages. `None` for a single server.
    label: Option<Label>,
}

/// Label of a shard in a cluster.
pub(super) struct Label {
    pub(super) number: usize,
    pub(super) count: usize,
    pub(super) tag: &'static str,
}

impl Label {
    /// Returns the slot of all keys of the shard.
    pub(super) fn slot(&self) -> u16 {
        slot_of(self.tag)
    }
}

impl Shard {
    fn new(store: Store, label: Option<Label>) -> Self {
        let store = Arc::new(store);
        Self {
            writes: Coalescer::new(WriteJob(Arc::clone(&store))),
            gets: Coalescer::new(GetJob(Arc::clone(&store))),
            registrations: Coalescer::new(RegisterJob(Arc::clone(&store))),
            unregistrations: Coalescer::new(UnregisterJob(Arc::clone(&store))),
            store,
            label,
        }
    }

    /// Returns the label of the shard. Returns `None` for a single server.
    pub(super) fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }

    /// Adds the shard and its node to the message of an error, if the error concerns the shard. Errors about one stream
    /// or about the caller's arguments stay unchanged.
    pub(super) fn named(&self, error: Error) -> Error {
        let is_own = match error.kind() {
            ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Unauthenticated
            | ErrorKind::Unsupported
            | ErrorKind::Internal => true,
            // A rejected write of a read-only registry is the caller's fault.
            ErrorKind::Denied => !self.store.options.read_only,
            ErrorKind::Corrupt => error.stream_id().is_none(),
            _ => false,
        };
        match &self.label {
            Some(Label { number, count, tag }) if is_own => {
                let node = self.store.link.server();
                error.with_part(format_args!("shard {number} of {count} ({{{tag}}}, node {node})"))
            }
            _ => error,
        }
    }
}

/// Returns all shards of a cluster.
fn of_cluster(options: &RedisOptions, topology: &Topology, count: usize) -> Vec<Shard> {
    let shard = |number| {
        let tag = tags::tag(number, count);
        let (prefix, layout) = (tags::prefix(&options.prefix, tag), layout::of(count));
        let store = Store::new(options.clone(), topology, &prefix, slot_of(tag), Some(layout));
        store.list_strategy.store(ops::list::SCRIPT, Ordering::Relaxed);
        Shard::new(store, Some(Label { number, count, tag }))
    };
    (0..count).map(shard).collect()
}

/// All shards of a registry, at least one.
pub(super) struct Shards {
    topology: Topology,
    shards: Vec<Shard>,
    /// Whether the number of shards could not be read.
    are_assumed: bool,
}

impl Shards {
    /// Connects to the servers of all shards. In a cluster, also checks the layout. Succeeds if at least one shard can
    /// be reached.
    pub(super) async fn connect(options: RedisOptions) -> Result<Self> {
        let topology = Topology::new(&options);
        let Servers::Cluster(cluster) = &options.servers else {
            let store = Store::new(options.clone(), &topology, &options.prefix, 0, None);
            store.link.connection().await?;
            return Ok(Self { topology, shards: vec![Shard::new(store, None)], are_assumed: false });
        };
        let found = layout::find(&options, &topology).await?;
        let count = found.count(cluster.shards)?;
        let shards = of_cluster(&options, &topology, count);
        found.record(&shards).await?;
        Ok(Self { topology, shards, are_assumed: false })
    }

    /// Returns the shards that a cluster probably has, without reading their number. Returns `None` if no node of a
    /// cluster answers.
    pub(super) async fn assume(options: &RedisOptions) -> Option<Self> {
        let topology = Topology::new(options);
        let (Servers::Cluster(servers), Topology::Cluster(cluster)) = (&options.servers, &topology) else {
            return None;
        };
        cluster.primaries().await.ok()?;
        let shards = of_cluster(options, &topology, usize::from(servers.shards.unwrap_or(layout::DEFAULT_SHARDS)));
        Some(Self { topology, shards, are_assumed: true })
    }

    /// Returns whether the number of shards could not be read.
    pub(super) fn are_assumed(&self) -> bool {
        self.are_assumed
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Returns the layout that every shard of a cluster must store.
    pub(super) fn layout(&self) -> Stored {
        layout::of(self.shards.len())
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Shard> {
        self.shards.iter()
    }

    /// Returns the shard of a stream.
    pub(super) fn of(&self, id: &StreamId) -> &Shard {
        &self.shards[tags::shard_of(id, self.shards.len())]
    }

    /// Returns whether a stream and the stored result of an operation are in the same shard.
    pub(super) fn are_together(&self, id: &StreamId, operation: &OperationId) -> bool {
        let count = self.shards.len();
        tags::shard_of(id, count) == shard_of(operation.as_str().as_bytes(), count)
    }

    /// Makes a call to every shard at once. Returns the results in the order of the shards, or the first error.
    async fn each<'a, T, F: Future<Output = Result<T>>>(&'a self, call: impl Fn(&'a Shard) -> F) -> Result<Vec<T>> {
        let calls = self.shards.iter().map(|shard| {
            let call = call(shard);
            async move { call.await.map_err(|error| shard.named(error)) }
        });
        try_join_all(calls).await
    }

    /// Checks that every shard responds, and reads the eviction policy of every server again. If no shard responds, the
    /// error is not partial.
    pub(super) async fn ping(&self) -> Result<()> {
        let ping = redis::cmd("PING");
        let pings = self.shards.iter().map(async |shard| {
            let answer = within(Effect::Read, shard.store.link.read(&ping)).await;
            answer.map_err(|error| shard.named(error))
        });
        let answers = join_all(pings).await;
        let is_partial = answers.iter().any(Result::is_ok);
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            return Err(error.with_partial(is_partial));
        }
        self.check_eviction().await;
        Ok(())
    }

    /// Reads the eviction policy of every server.
    pub(super) async fn check_eviction(&self) {
        let mut servers = HashSet::new();
        let first_of_each = self.shards.iter().filter(|shard| servers.insert(shard.store.link.server()));
        join_all(first_of_each.map(|shard| ops::eviction::check(&shard.store))).await;
    }

    /// Returns a warning if the eviction policy of a server may delete live streams.
    pub(super) fn eviction_warning(&self) -> Option<String> {
        self.shards.iter().find_map(|shard| shard.store.eviction.warning())
    }

    /// Returns an estimate of the servers' time, without a call. The clocks of the nodes may differ, so this is their
    /// median.
    pub(super) fn estimated_now(&self) -> Timestamp {
        let mut times: Vec<_> = self.shards.iter().map(|shard| shard.store.link.estimated_now()).collect();
        times.sort_unstable();
        times[times.len() / 2]
    }

    pub(super) fn counters(&self) -> RedisCounters {
        self.shards.iter().fold(RedisCounters::default(), |sum, shard| sum + shard.store.counters.read())
    }

    pub(super) fn close(&self) {
        for shard in &self.shards {
            shard.store.link.close();
            shard.store.bulk.close();
            shard.store.feed_reader.stop();
        }
        self.topology.close();
    }
}
