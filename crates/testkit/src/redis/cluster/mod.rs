//! A cluster for one test.

mod builder;
mod migrate;
mod view;

use std::time::Duration;

pub use builder::ClusterBuilder;

use super::{Data, RedisServer};
use crate::wait_until;

/// Number of slots of a cluster.
const SLOTS: usize = 16_384;
/// Maximum time for the cluster to change its state on a busy machine. An election without a winner is repeated.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// A cluster of primaries, each with replicas, all on loopback ports.
///
/// The slots are divided equally among the primaries. Dropping this value stops all nodes and removes their folder.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut cluster = testkit::ClusterSet::start().await;
/// let old = cluster.primary_of("a").await;
/// cluster.nodes[old].kill();
/// let new = cluster.wait_for_failover("a", old).await;
/// assert_eq!(cluster.nodes[new].cli(&["SET", "a", "1"]).await, "OK");
/// # }
/// ```
#[derive(Debug)]
pub struct ClusterSet {
    /// The nodes. At the start, the primaries are first, followed by the first replica of each primary, and so on.
    /// Methods identify a node by its index.
    pub nodes: Vec<RedisServer>,
    /// The ids that the nodes have in the cluster.
    ids: Vec<String>,
    primaries: usize,
    // Declared last, so that the nodes are stopped before the folder is removed.
    folder: tempfile::TempDir,
}

impl ClusterSet {
    /// Returns a builder with the default configuration.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Starts a cluster with the default configuration: three primaries with one replica each.
    ///
    /// # Panics
    ///
    /// Panics if the cluster is not healthy within 60 s.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    async fn launch(builder: ClusterBuilder) -> Self {
        let folder = tempfile::Builder::new().prefix("cluster").tempdir().expect("a temporary folder can be created");
        let primaries = builder.primaries;
        let mut set = Self { nodes: Vec::new(), ids: Vec::new(), primaries, folder };
        for _ in 0..primaries * (1 + builder.replicas) {
            let node = builder.server.clone().start_in(set.folder.path()).await;
            set.ids.push(node.cli(&["CLUSTER", "MYID"]).await);
            set.nodes.push(node);
        }
        set.join().await;
        for (index, node) in set.nodes.iter().enumerate().skip(primaries) {
            order(node, &["CLUSTER", "REPLICATE", &set.ids[index % primaries]]).await;
        }
        set.wait_until_healthy().await;
        set
    }

    /// Divides the slots among the primaries, and introduces the nodes to each other.
    async fn join(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            // Without different epochs, nodes that claim the same slot would first have to agree on new epochs.
            order(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            if index < self.primaries {
                let (first, end) = (SLOTS * index / self.primaries, SLOTS * (index + 1) / self.primaries);
                order(node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]).await;
            }
        }
        // Every pair of nodes is introduced, because news of other nodes spreads only once a second.
        for (index, node) in self.nodes.iter().enumerate() {
            let (ip, port) = (node.addr().ip().to_string(), node.addr().port().to_string());
            let bus = node.cli(&["CONFIG", "GET", "cluster-port"]).await;
            let bus = bus.lines().last().expect("a node has a port for the cluster's bus");
            for other in &self.nodes[..index] {
                order(other, &["CLUSTER", "MEET", &ip, &port, bus]).await;
            }
        }
        wait_until(CHANGE_LIMIT, async || {
            for node in &self.nodes {
                if !self.knows_all(&view::of(node).await) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Returns `redis+cluster://127.0.0.1:<port>,…` with the addresses of all nodes.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.addr().to_string()).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// Runs a command on every node that is running, as [`RedisServer::cli`] does, and returns the outputs.
    pub async fn cli_all(&self, args: &[&str]) -> Vec<String> {
        let mut outputs = Vec::new();
        for node in &self.nodes {
            outputs.push(node.cli(args).await);
        }
        outputs
    }

    /// Returns the slot of a key.
    ///
    /// # Panics
    ///
    /// Panics if no node replies.
    pub async fn slot_of(&self, key: &str) -> u16 {
        for node in &self.nodes {
            if let Ok(slot) = node.ask(&["CLUSTER", "KEYSLOT", key]).await.parse() {
                return slot;
            }
        }
        panic!("no node of the cluster replies");
    }

    /// Returns the node that has the slot of a key, even if this node is down.
    ///
    /// # Panics
    ///
    /// Panics if for 60 s there is no node that the majority of all nodes considers as the owner of the slot.
    pub async fn primary_of(&self, key: &str) -> usize {
        let slot = self.slot_of(key).await;
        let mut owner = None;
        wait_until(CHANGE_LIMIT, async || {
            owner = self.find_owner(slot).await;
            owner.is_some()
        })
        .await;
        owner.expect("the condition was met")
    }

    /// Waits until another node than `old` has the slot of a key and accepts commands, and returns this node.
    ///
    /// # Panics
    ///
    /// Panics if the failover needs longer than 60 s.
    pub async fn wait_for_failover(&self, key: &str, old: usize) -> usize {
        let slot = self.slot_of(key).await;
        let mut owner = None;
        wait_until(CHANGE_LIMIT, async || {
            owner = self.find_owner(slot).await.filter(|&owner| owner != old);
            match owner {
                Some(owner) => self.is_ok(owner).await && self.has_role(owner, "master").await,
                None => false,
            }
        })
        .await;
        owner.expect("the condition was met")
    }

    /// Promotes a replica with `CLUSTER FAILOVER`, and waits until all nodes know the new primary.
    ///
    /// # Panics
    ///
    /// Panics if the cluster is not healthy before and after the failover within 60 s each.
    pub async fn failover(&self, replica: usize) {
        self.wait_until_healthy().await;
        order(&self.nodes[replica], &["CLUSTER", "FAILOVER"]).await;
        wait_until(CHANGE_LIMIT, async || self.has_role(replica, "master").await).await;
        self.wait_until_healthy().await;
    }

    /// Starts a killed node again, on its old ports. A running node is killed first.
    ///
    /// If another node has become the primary in the meantime, the restarted node becomes its replica.
    ///
    /// # Panics
    ///
    /// Panics if the node does not respond within 30 s.
    pub async fn restart(&mut self, node: usize) {
        self.nodes[node].kill();
        self.nodes[node].restart(Data::Kept).await;
    }

    /// Waits until all nodes are up and know each other, the cluster's state is `ok` on each of them, and all replicas
    /// follow their primaries.
    ///
    /// # Panics
    ///
    /// Panics if the cluster is not healthy within 60 s.
    pub async fn wait_until_healthy(&self) {
        let replicas = self.nodes.len() - self.primaries;
        wait_until(CHANGE_LIMIT, async || {
            let mut online = 0;
            for index in 0..self.nodes.len() {
                let view = view::of(&self.nodes[index]).await;
                if !self.knows_all(&view) || view::replicas(&view) != replicas || !self.is_ok(index).await {
                    return false;
                }
                let info = self.nodes[index].ask(&["INFO", "replication"]).await;
                online += info.matches("state=online").count();
            }
            online == replicas
        })
        .await;
    }

    /// Returns whether a node considers all nodes as working.
    fn knows_all(&self, view: &[view::Entry]) -> bool {
        view.len() == self.nodes.len() && view.iter().all(view::Entry::is_working)
    }

    /// Returns the node that the majority of all nodes considers as the owner of a slot.
    async fn find_owner(&self, slot: u16) -> Option<usize> {
        let mut votes = vec![0; self.nodes.len()];
        for node in &self.nodes {
            let view = view::of(node).await;
            let owner = view.iter().find(|entry| entry.owns(slot));
            if let Some(index) = owner.and_then(|owner| self.ids.iter().position(|id| *id == owner.id)) {
                votes[index] += 1;
            }
        }
        votes.iter().position(|&votes| votes * 2 > self.nodes.len())
    }

    async fn is_ok(&self, node: usize) -> bool {
        self.nodes[node].ask(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok")
    }

    async fn has_role(&self, node: usize, role: &str) -> bool {
        self.nodes[node].ask(&["ROLE"]).await.lines().next() == Some(role)
    }
}

/// Runs a command that must succeed.
async fn order(node: &RedisServer, args: &[&str]) {
    let reply = node.cli(args).await;
    assert_eq!(reply, "OK", "{args:?} fails");
}
