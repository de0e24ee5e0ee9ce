//! Checks a store at rest. A view that was open from the start must equal the store, and every key must have a TTL or a
//! bounded size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use stream_registry::view::{View, ViewOptions};
use stream_registry::{RedisRegistry, Registry, Stream};

use super::{DUE, FEED, FEED_METADATA, INDEX, PREFIX, TIMEOUT, TestRedis};

/// Reconcile interval of the view.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum time until the view is current: the reconcile interval, 10 % random delay, and a margin for a busy machine.
const MAX_VIEW_DELAY: Duration = Duration::from_millis(275 + 2_000);
/// Maximum length of the feed. Redis trims the feed in blocks of 100 entries, so the limit may be exceeded by one
/// block.
const MAX_FEED_LENGTH: u64 = 100_000 + 100;
const METADATA_FIELDS: [&str; 9] =
    ["brief", "brief_confirmed", "confirmed", "grace", "history", "scanned", "swept", "tail", "ttl"];

/// Script that atomically reads the ids in the index, the keys of records, and the ids in the schedule of the sweep.
const READ_ID_SETS: &str = "return { redis.call('SMEMBERS', KEYS[1]), redis.call('KEYS', ARGV[1]),
  redis.call('ZRANGE', KEYS[2], '0', '-1') }";

/// A read-only store and a view of it, open from the start of a test.
pub(crate) struct Observer {
    store: Arc<RedisRegistry>,
    view: View,
}

struct IdSets {
    index: BTreeSet<String>,
    records: BTreeSet<String>,
    due: BTreeSet<String>,
}

impl IdSets {
    async fn of(raw: &mut MultiplexedConnection) -> Self {
        let mut command = ::redis::cmd("EVAL");
        command.arg(READ_ID_SETS).arg(2).arg(INDEX).arg(DUE).arg("*");
        let reply: (Vec<String>, Vec<String>, Vec<String>) = command.query_async(raw).await.unwrap();
        let (index, keys, due) = reply;
        let names = keys.iter().filter_map(|key| key.strip_prefix(PREFIX).filter(|name| !name.starts_with('\u{1f}')));
        let records = names.filter(|name| *name != "active").map(str::to_owned).collect();
        Self { index: index.into_iter().collect(), records, due: due.into_iter().collect() }
    }

    /// Returns a description of an inconsistency, if there is one.
    fn fault(&self) -> Option<String> {
        if self.index != self.records {
            let differ: Vec<_> = self.index.symmetric_difference(&self.records).collect();
            return Some(format!("index and records differ: {differ:?}"));
        }
        let stale: Vec<_> = self.due.difference(&self.records).collect();
        (!stale.is_empty()).then(|| format!("scheduled for the sweep although their records are missing: {stale:?}"))
    }
}

impl TestRedis {
    pub(crate) async fn observe(&self) -> Observer {
        self.observe_every(RECONCILE_INTERVAL).await
    }

    pub(crate) async fn observe_every(&self, every: Duration) -> Observer {
        let store = Arc::new(RedisRegistry::connect(self.options().read_only()).await.unwrap());
        let options = ViewOptions::default().reconcile_every(every);
        let view = View::new(Arc::clone(&store) as Arc<dyn Registry>, options);
        tokio::time::timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
        Observer { store, view }
    }

    /// Opens a new connection, because a test may have broken the others.
    async fn new_connection(&self) -> MultiplexedConnection {
        let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        self.server.client().get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Discards the pending expiries of streams that another program removed. Otherwise the sweep would emit these
    /// expiries minutes later.
    pub(crate) async fn discard_pending_expiries(&self, names: &[impl ::redis::ToRedisArgs + Sync]) {
        let mut raw = self.new_connection().await;
        let _: i64 = ::redis::cmd("ZREM").arg(DUE).arg(names).query_async(&mut raw).await.unwrap();
    }

    /// Asserts that no change is partly applied.
    pub(crate) async fn assert_no_partial_change(&self, context: &str) {
        if let Some(fault) = IdSets::of(&mut self.raw.clone()).await.fault() {
            panic!("{context}: {fault}");
        }
    }
}

/// Asserts that every key has a TTL, except for four keys of bounded size.
async fn assert_ttls_and_sizes(raw: &mut MultiplexedConnection, context: &str) {
    let mut cursor = 0_u64;
    loop {
        let mut scan = ::redis::cmd("SCAN");
        let (next, keys): (u64, Vec<String>) = scan.arg(cursor).arg("COUNT").arg(1_000).query_async(raw).await.unwrap();
        let mut pipeline = ::redis::pipe();
        for key in &keys {
            assert!(key.starts_with(PREFIX), "{context}: {key:?} lacks the prefix");
            pipeline.pttl(key);
        }
        let left: Vec<i64> = if keys.is_empty() { Vec::new() } else { pipeline.query_async(raw).await.unwrap() };
        for (key, left) in keys.iter().zip(left) {
            let bounded = [INDEX, FEED_METADATA, FEED, DUE].contains(&&**key);
            // -2: the key has expired since; -1: the key has no TTL.
            assert!(left != -1 || bounded, "{context}: {key:?} has no TTL");
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let length: u64 = ::redis::cmd("XLEN").arg(FEED).query_async(raw).await.unwrap();
    assert!(length <= MAX_FEED_LENGTH, "{context}: {length} events in the feed");
    let fields: BTreeSet<String> = ::redis::cmd("HKEYS").arg(FEED_METADATA).query_async(raw).await.unwrap();
    assert!(fields.iter().all(|metadata| METADATA_FIELDS.contains(&&**metadata)), "{context}: {fields:?}");
    // `IdSets::fault` checks that the index and the schedule contain ids of records only.
}

/// Returns the JSON of records by id. `last_heartbeat` is replaced, because other processes may renew it during the
/// read.
fn json_by_id<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> BTreeMap<String, String> {
    let fixed = |stream: &Stream| {
        let mut fixed = stream.clone();
        fixed.last_heartbeat = fixed.created_at;
        fixed.to_json()
    };
    streams.into_iter().map(|stream| (stream.id.to_string(), fixed(stream))).collect()
}

impl Observer {
    /// Waits until the view equals the store. Panics after [`MAX_VIEW_DELAY`].
    pub(crate) async fn wait_until_view_is_current(&self, context: &str) {
        let started = Instant::now();
        loop {
            let stored = self.store.list().await;
            let in_view = self.view.all();
            let fault = match &stored {
                Ok(stored) => {
                    let (stored, in_view) = (json_by_id(stored), json_by_id(in_view.iter().map(|stream| &**stream)));
                    let differ = |id: &&String| stored.get(*id) != in_view.get(*id);
                    let ids: BTreeSet<&String> = stored.keys().chain(in_view.keys()).filter(differ).collect();
                    let counts = self.view.counts();
                    let statuses: u64 = counts.by_status.values().sum();
                    match ids.first() {
                        None if counts.total == stored.len() as u64 && statuses == counts.total => return,
                        None => format!("{counts:?} of {} streams", stored.len()),
                        Some(id) => {
                            let (stored, in_view) = (stored.get(*id), in_view.get(*id));
                            format!("{} streams differ, e.g. {id:?}: store {stored:?}, view {in_view:?}", ids.len())
                        }
                    }
                }
                Err(error) => format!("{error:?}"),
            };
            assert!(started.elapsed() < MAX_VIEW_DELAY, "{context}: the view differs from the store: {fault}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the store is at rest and the view equals the store. Asserts that every key has a TTL or a bounded
    /// size.
    ///
    /// Requires an open store that is not read-only, because only such a store runs expiry sweeps.
    pub(crate) async fn wait_until_consistent(&self, redis: &TestRedis, context: &str) {
        let started = Instant::now();
        let mut raw = redis.new_connection().await;
        while let Some(fault) = IdSets::of(&mut raw).await.fault() {
            assert!(started.elapsed() < TIMEOUT, "{context}: {fault}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let at_rest = Instant::now();
        self.wait_until_view_is_current(context).await;
        println!(
            "{context}: at rest after {:?}, view current after another {:?}",
            at_rest - started,
            at_rest.elapsed()
        );
        assert_ttls_and_sizes(&mut raw, context).await;
    }
}
