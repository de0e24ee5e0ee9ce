//! A primary with replicas under Sentinel, for one test.

mod builder;

use std::collections::HashMap;
use std::time::Duration;

pub use builder::SentinelBuilder;

use super::{Data, RedisServer};
use crate::wait_until;

/// Number of Sentinels, and how many of them must agree.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;
/// Maximum time for a failover on a busy machine. An election without a winner is repeated.
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);

/// A primary with replicas under three Sentinels with a quorum of two, all on loopback ports.
///
/// The Sentinels exchange messages more often than by default, so that a set starts within a second and a primary that
/// returns after a failover soon becomes a replica. Dropping this value stops all servers and removes their folder.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut set = testkit::SentinelSet::start().await;
/// let old = set.kill_primary().await;
/// let new = set.wait_for_failover(old).await;
/// assert_eq!(set.servers[new].cli(&["SET", "a", "1"]).await, "OK");
/// # }
/// ```
#[derive(Debug)]
pub struct SentinelSet {
    /// The primary and the replicas. At the start, the first server is the primary. Methods identify a server by its
    /// index.
    pub servers: Vec<RedisServer>,
    /// The Sentinels.
    pub sentinels: Vec<RedisServer>,
    service: String,
    // Declared last, so that the servers are stopped before the folder is removed.
    folder: tempfile::TempDir,
}

impl SentinelSet {
    /// Returns a builder with the default configuration.
    pub fn builder() -> SentinelBuilder {
        SentinelBuilder::default()
    }

    /// Starts a set with the default configuration: one primary, two replicas and three Sentinels.
    ///
    /// # Panics
    ///
    /// Panics if the set is not healthy within 60 s.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    async fn launch(builder: SentinelBuilder) -> Self {
        let folder = tempfile::Builder::new().prefix("sentinel").tempdir().expect("a temporary folder can be created");
        let primary = builder.server.clone().start_in(folder.path()).await;
        let replica = builder.replica_of(primary.addr());
        let sentinel = builder.sentinel_of(primary.addr());
        let mut set = Self { servers: vec![primary], sentinels: Vec::new(), service: builder.service, folder };
        for _ in 0..builder.replicas {
            set.servers.push(replica.clone().start_in(set.folder.path()).await);
        }
        // A Sentinel asks the primary for its replicas when it connects, and then only in intervals.
        wait_until(FAILOVER_LIMIT, async || set.replicas_are_online(0).await).await;
        for _ in 0..SENTINELS {
            let sentinel = sentinel.clone().start_in(set.folder.path()).await;
            hasten(&sentinel).await;
            set.sentinels.push(sentinel);
        }
        set.wait_until_healthy().await;
        set
    }

    /// Returns `redis+sentinel://127.0.0.1:<port>,127.0.0.1:<port>,127.0.0.1:<port>/<service>`.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{}", self.sentinel_addrs().join(","), self.service)
    }

    /// Returns the addresses of the Sentinels.
    pub fn sentinel_addrs(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect()
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the current primary. During a failover, waits for the new one.
    ///
    /// The primary is the server that a quorum of Sentinels names and whose own role is primary.
    ///
    /// # Panics
    ///
    /// Panics if there is no primary for 60 s.
    pub async fn primary(&self) -> usize {
        self.wait_for_primary(None).await
    }

    /// Waits until another server than `old` is the primary, and returns it.
    ///
    /// # Panics
    ///
    /// Panics if the failover needs longer than 60 s.
    pub async fn wait_for_failover(&self, old: usize) -> usize {
        self.wait_for_primary(Some(old)).await
    }

    /// Kills the primary with SIGKILL and returns it.
    pub async fn kill_primary(&mut self) -> usize {
        let primary = self.primary().await;
        self.servers[primary].kill();
        primary
    }

    /// Suspends the primary with SIGSTOP and returns it. Its connections stay open but get no replies.
    pub async fn pause_primary(&self) -> usize {
        let primary = self.primary().await;
        self.servers[primary].pause();
        primary
    }

    /// Promotes a replica with `SENTINEL FAILOVER`, and returns the new primary when the failover is complete.
    ///
    /// # Panics
    ///
    /// Panics if the set does not become healthy, or if the failover needs longer than 60 s.
    pub async fn failover(&self) -> usize {
        self.wait_until_healthy().await;
        let old = self.primary().await;
        let reply = self.sentinels[0].cli(&["SENTINEL", "FAILOVER", &self.service]).await;
        assert_eq!(reply, "OK", "cannot start a failover");
        self.wait_for_failover(old).await
    }

    /// Starts a killed server again, on its old port. A running server is killed first.
    ///
    /// The server returns with its old role. If the primary has changed, the Sentinels make the server a replica.
    ///
    /// # Panics
    ///
    /// Panics if the server does not respond within 30 s.
    pub async fn restart(&mut self, server: usize) {
        self.servers[server].kill();
        self.servers[server].restart(Data::Kept).await;
    }

    /// Starts a killed Sentinel again, on its old port and with its old state. A running Sentinel is killed first.
    ///
    /// # Panics
    ///
    /// Panics if the Sentinel does not respond within 30 s.
    pub async fn restart_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].kill();
        self.sentinels[sentinel].restart(Data::Kept).await;
        hasten(&self.sentinels[sentinel]).await;
    }

    /// Waits until all servers are up, all replicas follow the primary, and every Sentinel knows all servers.
    ///
    /// # Panics
    ///
    /// Panics if the set is not healthy within 60 s.
    pub async fn wait_until_healthy(&self) {
        wait_until(FAILOVER_LIMIT, async || {
            let Some(primary) = self.find_primary().await else { return false };
            if !self.replicas_are_online(primary).await {
                return false;
            }
            for sentinel in &self.sentinels {
                if !self.sees_all(sentinel).await {
                    return false;
                }
            }
            true
        })
        .await;
    }

    async fn wait_for_primary(&self, old: Option<usize>) -> usize {
        let mut primary = None;
        wait_until(FAILOVER_LIMIT, async || {
            primary = self.find_primary().await;
            primary.is_some() && primary != old
        })
        .await;
        primary.expect("the condition was met")
    }

    async fn find_primary(&self) -> Option<usize> {
        let mut votes = vec![0; self.servers.len()];
        for sentinel in &self.sentinels {
            let reply = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.service]).await;
            let named = reply.replace('\n', ":");
            if let Some(index) = self.servers.iter().position(|server| server.addr().to_string() == named) {
                votes[index] += 1;
            }
        }
        let index = votes.iter().position(|&votes| votes >= QUORUM)?;
        self.servers[index].ask(&["ROLE"]).await.starts_with("master\n").then_some(index)
    }

    async fn replicas_are_online(&self, primary: usize) -> bool {
        let info = self.servers[primary].ask(&["INFO", "replication"]).await;
        info.matches("state=online").count() == self.servers.len() - 1
    }

    /// Returns whether a Sentinel knows all servers, and considers all of them as working.
    async fn sees_all(&self, sentinel: &RedisServer) -> bool {
        let instances = async |what| parse(&sentinel.ask(&["SENTINEL", what, &self.service]).await);
        let primary = instances("MASTER").await;
        let replicas = instances("REPLICAS").await;
        let others = instances("SENTINELS").await;
        let all_are = |entries: &[HashMap<String, String>], count: usize, flags: &str| {
            entries.len() == count && entries.iter().all(|entry| entry.get("flags").is_some_and(|found| found == flags))
        };
        all_are(&primary, 1, "master")
            && all_are(&replicas, self.servers.len() - 1, "slave")
            && replicas.iter().all(|replica| replica.get("master-link-status").is_some_and(|status| status == "ok"))
            && all_are(&others, SENTINELS - 1, "sentinel")
    }
}

/// Makes a Sentinel exchange messages more often, and forgive a busy machine.
///
/// By default, a Sentinel needs up to 2 s to find the other Sentinels and up to 10 s to find a replica. If its timer is
/// late by 2 s, the Sentinel does nothing for 30 s.
async fn hasten(sentinel: &RedisServer) {
    let settings = ["PUBLISH-PERIOD", "500", "INFO-PERIOD", "1000", "TILT-TRIGGER", "10000", "TILT-PERIOD", "1000"];
    let reply = sentinel.cli(&[&["SENTINEL", "DEBUG"], settings.as_slice()].concat()).await;
    assert_eq!(reply, "OK", "cannot change the intervals of the Sentinel");
}

/// Parses the output of `redis-cli`: lines with the names and values of one or more instances.
fn parse(output: &str) -> Vec<HashMap<String, String>> {
    let lines: Vec<&str> = output.lines().collect();
    let mut entries: Vec<HashMap<String, String>> = Vec::new();
    for pair in lines.chunks_exact(2) {
        // Every instance begins with its name.
        if pair[0] == "name" {
            entries.push(HashMap::new());
        }
        if let Some(entry) = entries.last_mut() {
            entry.insert(pair[0].to_owned(), pair[1].to_owned());
        }
    }
    entries
}
