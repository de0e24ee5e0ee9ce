//! Invariants of a store at rest: a view that was open all along equals the store, and every key has a TTL or a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use stream_registry::view::{View, ViewOptions};
use stream_registry::{RedisRegistry, Registry, Stream};

use super::{BOUNDED, Bed, FACTS, INDEX, PREFIX, SOON};

/// Reconcile interval of the view.
const COMPARE: Duration = Duration::from_millis(250);
/// Time limit of a reconcile: 10 % of random delay, and extra time on a busy machine.
const SHOWN: Duration = Duration::from_millis(275 + 2_000);
/// Maximum length of the feed. Redis trims in nodes of 100 entries.
const FEED_BOUND: u64 = 100_000 + 100;
const FACTS_BOUND: [&str; 9] =
    ["brief", "brief_confirmed", "confirmed", "grace", "history", "scanned", "swept", "tail", "ttl"];

/// Ids in the index, of records, and in the sorted set of deadlines, read atomically by a script.
const PLACES: &str = "return { redis.call('SMEMBERS', KEYS[1]), redis.call('KEYS', ARGV[1]),
  redis.call('ZRANGE', KEYS[2], '0', '-1') }";

/// An observer that follows from the start of a test. It neither writes nor sweeps.
pub(crate) struct Witness {
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
        let mut ask = ::redis::cmd("EVAL");
        ask.arg(PLACES).arg(2).arg(INDEX).arg(BOUNDED[1]).arg("*");
        let answer: (Vec<String>, Vec<String>, Vec<String>) = ask.query_async(raw).await.unwrap();
        let (index, keys, due) = answer;
        let names = keys.iter().filter_map(|key| key.strip_prefix(PREFIX).filter(|name| !name.starts_with('\u{1f}')));
        let records = names.filter(|name| *name != "active").map(str::to_owned).collect();
        Self { index: index.into_iter().collect(), records, due: due.into_iter().collect() }
    }

    /// Returns a description of an inconsistency, if there is one.
    fn fault(&self) -> Option<String> {
        if self.index != self.records {
            let differ: Vec<_> = self.index.symmetric_difference(&self.records).collect();
            return Some(format!("index and records differ in {differ:?}"));
        }
        let dead: Vec<_> = self.due.difference(&self.records).collect();
        (!dead.is_empty()).then(|| format!("in the order of deadlines, but neither live nor told of: {dead:?}"))
    }
}

impl Bed {
    pub(crate) async fn witness(&self) -> Witness {
        self.witness_that_compares(COMPARE).await
    }

    pub(crate) async fn witness_that_compares(&self, every: Duration) -> Witness {
        let store = Arc::new(RedisRegistry::connect(self.options().read_only()).await.unwrap());
        let options = ViewOptions::default().reconcile_every(every);
        let view = View::new(Arc::clone(&store) as Arc<dyn Registry>, options);
        tokio::time::timeout(SOON, view.ready()).await.unwrap().unwrap();
        Witness { store, view }
    }

    /// Opens a new connection, because a test may have broken the others.
    async fn another(&self) -> MultiplexedConnection {
        let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(SOON));
        self.server.client().get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Discards the pending expiries of streams that another program has removed. The sweep would emit them only minutes
    /// later.
    pub(crate) async fn expect_no_more(&self, names: &[impl ::redis::ToRedisArgs + Sync]) {
        let mut raw = self.another().await;
        let _: i64 = ::redis::cmd("ZREM").arg(BOUNDED[1]).arg(names).query_async(&mut raw).await.unwrap();
    }

    /// Asserts that no change is partly applied at this moment.
    pub(crate) async fn assert_no_half(&self, context: &str) {
        if let Some(fault) = IdSets::of(&mut self.raw.clone()).await.fault() {
            panic!("{context}: {fault}");
        }
    }
}

/// Asserts that every key has a TTL, except for four bounded keys.
async fn assert_bounded(raw: &mut MultiplexedConnection, context: &str) {
    let mut place = 0_u64;
    loop {
        let mut scan = ::redis::cmd("SCAN");
        let (next, keys): (u64, Vec<String>) = scan.arg(place).arg("COUNT").arg(1_000).query_async(raw).await.unwrap();
        let mut ask = ::redis::pipe();
        for key in &keys {
            assert!(key.starts_with(PREFIX), "{context}: {key:?} lacks the prefix");
            ask.pttl(key);
        }
        let left: Vec<i64> = if keys.is_empty() { Vec::new() } else { ask.query_async(raw).await.unwrap() };
        for (key, left) in keys.iter().zip(left) {
            let bounded = [INDEX, FACTS].contains(&&**key) || BOUNDED.contains(&&**key);
            // -2: the key has expired since; -1: the key has no TTL.
            assert!(left != -1 || bounded, "{context}: {key:?} has no time to live");
        }
        place = next;
        if place == 0 {
            break;
        }
    }
    let length: u64 = ::redis::cmd("XLEN").arg(BOUNDED[0]).query_async(raw).await.unwrap();
    assert!(length <= FEED_BOUND, "{context}: {length} events in the feed");
    let facts: BTreeSet<String> = ::redis::cmd("HKEYS").arg(FACTS).query_async(raw).await.unwrap();
    assert!(facts.iter().all(|fact| FACTS_BOUND.contains(&&**fact)), "{context}: {facts:?}");
    // Index and order of deadlines are bounded by the records: `IdSets::fault`.
}

/// Returns records without `last_heartbeat`, which other processes may renew during the read.
fn texts<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> BTreeMap<String, String> {
    let still = |stream: &Stream| {
        let mut still = stream.clone();
        still.last_heartbeat = still.created_at;
        still.to_json()
    };
    streams.into_iter().map(|stream| (stream.id.to_string(), still(stream))).collect()
}

impl Witness {
    /// Waits until a view equals the store, at most its reconcile interval plus time for a busy machine.
    pub(crate) async fn shows(&self, context: &str) {
        let began = Instant::now();
        loop {
            let held = self.store.list().await;
            let shown = self.view.all();
            let fault = match &held {
                Ok(held) => {
                    let (held, shown) = (texts(held), texts(shown.iter().map(|stream| &**stream)));
                    let differ = |id: &&String| held.get(*id) != shown.get(*id);
                    let ids: BTreeSet<&String> = held.keys().chain(shown.keys()).filter(differ).collect();
                    let counts = self.view.counts();
                    let statuses: u64 = counts.by_status.values().sum();
                    match ids.first() {
                        None if counts.total == held.len() as u64 && statuses == counts.total => return,
                        None => format!("{counts:?} of {} streams", held.len()),
                        Some(id) => {
                            let (held, shown) = (held.get(*id), shown.get(*id));
                            format!("{} streams differ, so {id:?}: held {held:?}, shown {shown:?}", ids.len())
                        }
                    }
                }
                Err(error) => format!("{error:?}"),
            };
            assert!(began.elapsed() < SHOWN, "{context}: the view differs from the store: {fault}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the store is at rest and the view equals it, and asserts that every key has a TTL or a bound.
    ///
    /// Needs a running sweep, i.e. an open store that is not read-only.
    pub(crate) async fn settled(&self, bed: &Bed, context: &str) {
        let began = Instant::now();
        let mut raw = bed.another().await;
        while let Some(fault) = IdSets::of(&mut raw).await.fault() {
            assert!(began.elapsed() < SOON, "{context}: {fault}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rested = Instant::now();
        self.shows(context).await;
        println!("{context}: at rest after {:?}, shown after {:?}", rested - began, rested.elapsed());
        assert_bounded(&mut raw, context).await;
    }
}
