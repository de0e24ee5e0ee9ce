//! The nodes of a Redis Cluster, and the lookup of the node that serves a slot.

pub(in crate::redis) mod overview;
pub(in crate::redis) mod slots;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::RedisError;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout, timeout_at};

use self::slots::Range;
use super::endpoint::{Access, Endpoint};
use super::{Link, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::fault;
use crate::redis::options::RedisOptions;
use crate::redis::servers::{Address, ClusterOptions};

/// Minimum time between two reads of the map of slots, even if a node keeps failing.
const MIN_AGE: Duration = Duration::from_millis(100);
/// Maximum age of the map when a separate connection is opened. A separate connection does not report that its map was
/// wrong.
const SEPARATE_MAX_AGE: Duration = Duration::from_secs(1);

/// Timeout for the answer of a node to `CLUSTER SLOTS`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Time to wait for the other nodes after the first one has answered.
const GRACE: Duration = Duration::from_millis(100);

/// A Redis Cluster. The shards on one node share the links of this node.
pub(in crate::redis) struct Cluster {
    seeds: Vec<Address>,
    access: Arc<Access>,
    options: RedisOptions,
    map: Mutex<Map>,
    /// Locked by the caller that reads the map. The other callers wait for the result.
    reading: AsyncMutex<()>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
}

/// The links to one node.
struct Node {
    calls: Link,
    bulk: Link,
}

#[derive(Default)]
struct Map {
    /// Number of times that the map was read.
    version: u64,
    read_at: Option<Instant>,
    ranges: Vec<Range>,
    /// The new address of each slot that a node has redirected since the map was read.
    moved: HashMap<u16, Address>,
}

impl Map {
    fn primary_of(&self, slot: u16) -> Option<&Address> {
        let range = || self.ranges.iter().find(|range| range.slots.contains(&slot));
        self.moved.get(&slot).or_else(|| range().map(|range| &range.primary))
    }

    /// Returns the primaries and replicas. A node with several ranges is repeated.
    fn nodes(&self) -> impl Iterator<Item = &Address> {
        self.ranges.iter().flat_map(|range| std::iter::once(&range.primary).chain(&range.replicas))
    }
}

/// The route to the node that serves a slot. Remembers which version of the map it used last.
pub(super) struct SlotRoute {
    cluster: Arc<Cluster>,
    slot: u16,
    purpose: Purpose,
    /// Version of the map of the last lookup. If that lookup led to a failed node, the next lookup needs a later
    /// version.
    used: AtomicU64,
}

impl SlotRoute {
    pub(super) fn new(cluster: &Arc<Cluster>, slot: u16, purpose: Purpose) -> Self {
        Self { cluster: Arc::clone(cluster), slot, purpose, used: AtomicU64::new(0) }
    }

    /// Returns the node's link. Reads the map first, if the earlier map led to a failed node.
    pub(super) async fn node(&self) -> Result<NodeLink> {
        let is_usable = |map: &Map| {
            map.version > self.used.load(Ordering::Acquire)
                || map.read_at.is_some_and(|read_at| read_at.elapsed() < MIN_AGE)
        };
        let (address, version) = self.cluster.locate(self.slot, is_usable).await?;
        self.used.store(version, Ordering::Release);
        Ok(self.cluster.link(address, self.purpose))
    }

    /// Returns the node for a connection that only one caller uses.
    pub(super) async fn endpoint(&self) -> Result<Endpoint> {
        let is_usable = |map: &Map| map.read_at.is_some_and(|read_at| read_at.elapsed() < SEPARATE_MAX_AGE);
        let (address, _) = self.cluster.locate(self.slot, is_usable).await?;
        Ok(self.cluster.endpoint(&address))
    }

    /// Records the node that a `MOVED` error names.
    pub(super) fn moved(&self, error: &RedisError, asked: &Address) {
        if let Some(address) = redirect_of(error, asked) {
            let mut map = self.cluster.map();
            // The next lookup uses this address, and the one after it reads the map.
            self.used.store(map.version.saturating_sub(1), Ordering::Release);
            map.moved.insert(self.slot, address);
        }
    }

    /// Returns the link to the node that an `ASK` error names.
    pub(super) fn asked(&self, error: &RedisError, asked: &Address) -> Option<NodeLink> {
        Some(self.cluster.link(redirect_of(error, asked)?, self.purpose))
    }

    /// Describes where the slot was found last, for messages.
    pub(super) fn describe(&self) -> String {
        let map = self.cluster.map();
        map.primary_of(self.slot).map_or_else(|| self.cluster.options.servers.to_string(), ToString::to_string)
    }
}

fn redirect_of(error: &RedisError, asked: &Address) -> Option<Address> {
    let (address, _) = error.redirect_node()?;
    slots::redirect_address(address, asked)
}

/// One of the links of a node.
pub(in crate::redis) struct NodeLink {
    node: Arc<Node>,
    purpose: Purpose,
}

impl std::ops::Deref for NodeLink {
    type Target = Link;

    fn deref(&self) -> &Link {
        match self.purpose {
            Purpose::Calls => &self.node.calls,
            Purpose::Bulk => &self.node.bulk,
        }
    }
}

impl Cluster {
    pub(super) fn new(options: &RedisOptions, cluster: &ClusterOptions) -> Self {
        Self {
            seeds: cluster.nodes.clone(),
            access: Arc::new(Access::new(options)),
            options: options.clone(),
            map: Mutex::default(),
            reading: AsyncMutex::new(()),
            nodes: Mutex::default(),
        }
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self, address: &Address) -> Endpoint {
        Endpoint { address: address.clone(), access: Arc::clone(&self.access) }
    }

    fn link(&self, address: Address, purpose: Purpose) -> NodeLink {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = self.endpoint(&address);
        let node = nodes.entry(address).or_insert_with(|| {
            let link = || Link::to_node(endpoint.clone(), &self.options);
            Arc::new(Node { calls: link(), bulk: link() })
        });
        NodeLink { node: Arc::clone(node), purpose }
    }

    /// Returns the node that serves a slot, and the version of the map. Reads the map unless the known one is usable.
    async fn locate(&self, slot: u16, is_usable: impl Fn(&Map) -> bool) -> Result<(Address, u64)> {
        let found = |map: &Map| map.primary_of(slot).map(|address| (address.clone(), map.version));
        let known = |map: &Map| if is_usable(map) { found(map) } else { None };
        if let Some(known) = known(&self.map()) {
            return Ok(known);
        }
        let before = self.map().version;
        let _reading = self.reading.lock().await;
        if self.map().version == before {
            self.read_map().await?;
        }
        found(&self.map()).ok_or_else(|| {
            let message = format!("no node of the Redis Cluster serves slot {slot}; check CLUSTER INFO");
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    /// Reads the map from the nodes that are known and those in the store URL.
    async fn read_map(&self) -> Result<()> {
        let mut nodes: HashSet<Address> = self.seeds.iter().cloned().collect();
        nodes.extend(self.map().nodes().cloned());
        let ranges = self.ask(nodes).await?;
        let mut map = self.map();
        let version = map.version + 1;
        *map = Map { version, read_at: Some(Instant::now()), ranges, moved: HashMap::new() };
        let current: HashSet<&Address> = map.nodes().chain(&self.seeds).collect();
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, _| current.contains(address));
        Ok(())
    }

    /// Asks all nodes for the map at once. Returns the map that most of them report.
    ///
    /// A node that is cut off from the others reports former primaries, and may be the first to answer each time. So
    /// this method also waits for other answers.
    async fn ask(&self, nodes: HashSet<Address>) -> Result<Vec<Range>> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let command = &command;
        let mut answers: FuturesUnordered<_> = nodes
            .into_iter()
            .map(|address| async move {
                let mut connection = self.link(address.clone(), Purpose::Calls).boxed_connection().await?;
                let answer = timeout(ANSWER_TIMEOUT, connection.send(command)).await.map_err(|_| {
                    connection.mark_broken();
                    fault::no_reply()
                })?;
                let ranges = slots::parse(answer.map_err(|error| fault::translate(error, false))?, &address)?;
                if ranges.is_empty() {
                    let message = format!(
                        "the Redis Cluster of {address} has no slots yet; create it with redis-cli --cluster create"
                    );
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                Ok(ranges)
            })
            .collect();
        let mut maps: Vec<(Vec<Range>, usize)> = Vec::new();
        let mut fault: Option<Error> = None;
        let mut deadline = None;
        loop {
            let answer = match deadline {
                Some(deadline) => timeout_at(deadline, answers.next()).await.unwrap_or_default(),
                None => answers.next().await,
            };
            let Some(answer) = answer else { break };
            match answer {
                Ok(ranges) => {
                    deadline = deadline.or_else(|| Some(Instant::now() + GRACE));
                    match maps.iter_mut().find(|(map, _)| slots::have_same_primaries(map, &ranges)) {
                        Some((_, votes)) => *votes += 1,
                        None => maps.push((ranges, 1)),
                    }
                }
                // A node that is down says nothing about the fault of the others, e.g. a wrong password.
                Err(error) => match &fault {
                    Some(first) if first.kind() != ErrorKind::Unavailable => {}
                    _ => fault = Some(error),
                },
            }
        }
        // If there is no majority, the first answer is used.
        let most = maps.into_iter().rev().max_by_key(|(_, votes)| *votes);
        most.map(|(ranges, _)| ranges).ok_or_else(|| {
            fault.unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "no node of the Redis Cluster is known"))
        })
    }

    /// Closes the links of all nodes.
    pub(super) fn close(&self) {
        for node in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values() {
            node.calls.close();
            node.bulk.close();
        }
    }
}
