//! Runs the conformance suite on Redis and Valkey in every topology, and over HTTP.

#![allow(clippy::expect_used, reason = "a failed step is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stream_registry::conformance::{Instance, Subject, run, shared};
use stream_registry::{ConnectOptions, MemoryRegistry, Registry, Result, StreamId, connect_with};
use streamreg::server::{ServeOptions, serve};
use testkit::{ClusterSet, RedisServer, SentinelSet, ServerKind, TestTls};
use tokio::net::TcpListener;
use tokio::sync::{RwLock, oneshot};

use crate::cluster::layout::{TAGS, prefix_of, shard_of};

/// Redis servers. Each registry has its own key prefix.
struct Redis {
    servers: Servers,
    url: String,
    opened: AtomicU64,
    /// Keeps the files of the certificates.
    _tls: Option<Box<TestTls>>,
}

enum Servers {
    Single(Box<RedisServer>),
    Sentinel(Box<SentinelSet>),
    Cluster(Box<ClusterSet>),
}

impl Redis {
    fn new(server: RedisServer, url: String) -> Self {
        Self { url, servers: Servers::Single(Box::new(server)), opened: AtomicU64::new(0), _tls: None }
    }

    async fn tcp() -> Self {
        Self::on(ServerKind::default()).await
    }

    async fn on(kind: ServerKind) -> Self {
        let server = RedisServer::builder().server(kind).start().await;
        let url = server.url();
        Self::new(server, url)
    }

    async fn sentinel() -> Self {
        let set = SentinelSet::start().await;
        let url = set.url();
        Self { url, servers: Servers::Sentinel(Box::new(set)), opened: AtomicU64::new(0), _tls: None }
    }

    async fn cluster(primaries: usize) -> Self {
        let cluster = ClusterSet::builder().primaries(primaries).replicas(0).start().await;
        let url = cluster.url();
        Self { url, servers: Servers::Cluster(Box::new(cluster)), opened: AtomicU64::new(0), _tls: None }
    }

    async fn cluster_over_tls() -> Self {
        let tls = TestTls::new();
        let cluster = ClusterSet::builder().tls(&tls).start().await;
        let url = format!("{}?ca={}", cluster.url().replacen("redis", "rediss", 1), tls.ca_file().display());
        let servers = Servers::Cluster(Box::new(cluster));
        Self { url, servers, opened: AtomicU64::new(0), _tls: Some(Box::new(tls)) }
    }

    async fn unix() -> Self {
        let server = RedisServer::builder().unix_only().start().await;
        let url = server.unix_url();
        Self::new(server, url)
    }

    async fn tls() -> Self {
        let tls = TestTls::new();
        let server = RedisServer::builder().tls(&tls).start().await;
        let url = server.tls_url();
        Self { _tls: Some(Box::new(tls)), ..Self::new(server, url) }
    }

    async fn open_redis(&self, ttl: Duration) -> Result<OpenRedis> {
        let prefix = format!("test:{}:", self.opened.fetch_add(1, Ordering::SeqCst));
        let options = ConnectOptions::default().ttl(ttl).prefix(prefix.clone());
        let registry = connect_with(&self.url, &options).await?;
        let (raw, is_sharded) = match &self.servers {
            Servers::Single(server) => (vec![server.client()], false),
            Servers::Sentinel(set) => (vec![set.servers[0].client()], false),
            Servers::Cluster(cluster) => (cluster.nodes.iter().map(RedisServer::client).collect(), true),
        };
        Ok(OpenRedis { registry, raw, is_sharded, prefix, ttl })
    }
}

#[async_trait]
impl Subject for Redis {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        Ok(Box::new(self.open_redis(ttl).await?))
    }
}

struct OpenRedis {
    registry: Arc<dyn Registry>,
    /// The clients of all servers.
    raw: Vec<redis::Client>,
    is_sharded: bool,
    prefix: String,
    ttl: Duration,
}

impl OpenRedis {
    /// Sends a command directly to Redis, as another program would. In a cluster, tries one node after the other.
    async fn raw<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> T {
        let mut result = None;
        for client in &self.raw {
            let mut connection = client.get_multiplexed_async_connection().await.expect("the server answers");
            match command.query_async(&mut connection).await {
                Err(error) if error.code() == Some("MOVED") => {}
                other => result = Some(other),
            }
        }
        result.expect("a node has the slot").expect("the command is valid")
    }

    /// Returns the prefix of the keys of a stream.
    fn prefix(&self, id: &str) -> String {
        if self.is_sharded { prefix_of(&self.prefix, shard_of(id)) } else { self.prefix.clone() }
    }

    fn key(&self, id: &StreamId) -> String {
        format!("{}{id}", self.prefix(id.as_str()))
    }

    fn active(&self, id: &StreamId) -> String {
        format!("{}active", self.prefix(id.as_str()))
    }
}

#[async_trait]
impl Instance for OpenRedis {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    async fn put_stored(&self, id: &StreamId, text: &str) -> Option<()> {
        let ttl = u64::try_from(self.ttl.as_millis()).ok()?;
        let () = self.raw(redis::cmd("SET").arg(self.key(id)).arg(text).arg("PX").arg(ttl)).await;
        self.add_to_index(id).await
    }

    async fn stored(&self, id: &StreamId) -> Option<Option<String>> {
        Some(self.raw(redis::cmd("GET").arg(self.key(id))).await)
    }

    async fn put_wrong_type(&self, id: &StreamId) -> Option<()> {
        let () = self.raw(redis::cmd("RPUSH").arg(self.key(id)).arg("not a record")).await;
        self.add_to_index(id).await
    }

    async fn remove_from_index(&self, id: &StreamId) -> Option<()> {
        let () = self.raw(redis::cmd("SREM").arg(self.active(id)).arg(id.as_str())).await;
        Some(())
    }

    async fn add_to_index(&self, id: &StreamId) -> Option<()> {
        let () = self.raw(redis::cmd("SADD").arg(self.active(id)).arg(id.as_str())).await;
        Some(())
    }

    async fn age(&self, id: &StreamId, by: Duration) -> Option<()> {
        let left: u64 = self.raw(redis::cmd("PTTL").arg(self.key(id))).await;
        let left = left.saturating_sub(u64::try_from(by.as_millis()).ok()?);
        let () = self.raw(redis::cmd("PEXPIRE").arg(self.key(id)).arg(left)).await;
        Some(())
    }

    async fn index(&self) -> Option<Vec<String>> {
        let prefixes = if self.is_sharded {
            (0..TAGS.len()).map(|shard| prefix_of(&self.prefix, shard)).collect()
        } else {
            vec![self.prefix.clone()]
        };
        let mut ids: Vec<String> = Vec::new();
        for prefix in prefixes {
            ids.extend(self.raw::<Vec<String>>(redis::cmd("SMEMBERS").arg(format!("{prefix}active"))).await);
        }
        Some(ids)
    }

    fn are_together(&self, one: &str, other: &str) -> bool {
        !self.is_sharded || shard_of(one) == shard_of(other)
    }
}

/// The store behind an HTTP server.
enum Behind {
    Memory,
    Redis(Box<Redis>),
}

/// Opens a new server for each registry.
struct Http(Behind);

#[async_trait]
impl Subject for Http {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        let (served, redis): (Arc<dyn Registry>, _) = match &self.0 {
            Behind::Memory => (Arc::new(MemoryRegistry::with_ttl(ttl)?), None),
            Behind::Redis(redis) => {
                let open = redis.open_redis(ttl).await?;
                (Arc::clone(&open.registry), Some(open))
            }
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port can be opened");
        let url = format!("http://{}", listener.local_addr().expect("a listener has an address"));
        let (stop, stopped) = oneshot::channel::<()>();
        // The suite reads other programs' writes at once, but a view shows them only after its next reconciliation.
        // With a maximum view age of zero, lists come from the store.
        let mut options = ServeOptions::default();
        if redis.is_some() {
            options.max_view_age = Duration::ZERO;
        }
        tokio::spawn(serve(served, listener, options, async move {
            // `stopped` also completes when its sender is dropped, i.e. at the end of each behaviour.
            let _ = stopped.await;
        }));
        let registry = connect_with(&url, &ConnectOptions::default()).await?;
        Ok(Box::new(OpenHttp { registry, redis, _stop: stop }))
    }
}

struct OpenHttp {
    registry: Arc<dyn Registry>,
    redis: Option<OpenRedis>,
    _stop: oneshot::Sender<()>,
}

#[async_trait]
impl Instance for OpenHttp {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    async fn put_stored(&self, id: &StreamId, text: &str) -> Option<()> {
        self.redis.as_ref()?.put_stored(id, text).await
    }

    async fn stored(&self, id: &StreamId) -> Option<Option<String>> {
        self.redis.as_ref()?.stored(id).await
    }

    async fn put_wrong_type(&self, id: &StreamId) -> Option<()> {
        self.redis.as_ref()?.put_wrong_type(id).await
    }

    async fn remove_from_index(&self, id: &StreamId) -> Option<()> {
        self.redis.as_ref()?.remove_from_index(id).await
    }

    async fn add_to_index(&self, id: &StreamId) -> Option<()> {
        self.redis.as_ref()?.add_to_index(id).await
    }

    async fn age(&self, id: &StreamId, by: Duration) -> Option<()> {
        self.redis.as_ref()?.age(id, by).await
    }

    async fn index(&self) -> Option<Vec<String>> {
        self.redis.as_ref()?.index().await
    }

    fn are_together(&self, one: &str, other: &str) -> bool {
        self.redis.as_ref().is_none_or(|redis| redis.are_together(one, other))
    }
}

/// Locked for writing while the suite runs on a cluster, which occupies a small machine: other suites would time out.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Asserts that every behaviour passes and that none is skipped.
async fn all_pass(subject: Arc<dyn Subject>) {
    let _shared = MACHINE.read().await;
    run_all(subject).await;
}

/// Like [`all_pass`], but runs no other suite at the same time.
async fn all_pass_alone(subject: Arc<dyn Subject>) {
    let _alone = MACHINE.write().await;
    run_all(subject).await;
}

async fn run_all(subject: Arc<dyn Subject>) {
    let report = run(subject).await;
    report.assert_passed();
    assert_eq!(report.not_applicable(), [""; 0], "a hook is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_on_tcp_passes_all_behaviours() {
    all_pass(Arc::new(Redis::tcp().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_on_tcp_as_arc_dyn_passes_all_behaviours() {
    all_pass(shared(Arc::new(Redis::tcp().await))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_on_a_unix_socket_passes_all_behaviours() {
    all_pass(Arc::new(Redis::unix().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_on_a_unix_socket_as_arc_dyn_passes_all_behaviours() {
    all_pass(shared(Arc::new(Redis::unix().await))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_passes_all_behaviours() {
    all_pass(Arc::new(Redis::tls().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn valkey_8_passes_all_behaviours() {
    all_pass(Arc::new(Redis::on(ServerKind::Valkey8).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_8_passes_all_behaviours() {
    all_pass(Arc::new(Redis::on(ServerKind::Redis8).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_under_sentinel_passes_all_behaviours() {
    all_pass_alone(Arc::new(Redis::sentinel().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_with_replicas_over_tls_passes_all_behaviours() {
    all_pass_alone(Arc::new(Redis::cluster_over_tls().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_passes_all_behaviours() {
    all_pass_alone(Arc::new(Redis::cluster(3).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_a_redis_cluster_of_one_node_passes_all_behaviours() {
    all_pass_alone(Arc::new(Http(Behind::Redis(Box::new(Redis::cluster(1).await))))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_memory_passes_all_applicable_behaviours() {
    run(Arc::new(Http(Behind::Memory))).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_memory_as_arc_dyn_passes_all_applicable_behaviours() {
    run(shared(Arc::new(Http(Behind::Memory)))).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_redis_passes_all_behaviours() {
    all_pass(Arc::new(Http(Behind::Redis(Box::new(Redis::tcp().await))))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_redis_as_arc_dyn_passes_all_behaviours() {
    all_pass(shared(Arc::new(Http(Behind::Redis(Box::new(Redis::tcp().await)))))).await;
}
