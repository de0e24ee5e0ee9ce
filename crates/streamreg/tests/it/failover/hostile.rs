//! Sentinels that answer nonsense or contradict each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::watch::WatchFrom;
use stream_registry::{Error, ErrorKind, Registry as _, connect};
use testkit::{FaultProxy, RedisServer, wait_until};
use tokio::time::timeout;

use crate::fake::FakeNode;
use crate::redis::stream;

const SOURCE: &str = "203.0.113.7:1";
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time of a connection attempt.
const MAX_CONNECT: Duration = Duration::from_millis(2_400);

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Returns a reply to `SENTINEL GET-MASTER-ADDR-BY-NAME`.
fn named(host: &str, port: impl ToString) -> String {
    format!("*2\r\n{}{}", bulk(host), bulk(&port.to_string()))
}

async fn sentinel(answer: impl Fn() -> String + Send + Sync + 'static) -> FakeNode {
    FakeNode::with_mode("sentinel", "sentinel", move |_, command| match command[0].as_str() {
        "SENTINEL" => answer(),
        other => format!("-ERR unknown command '{other}'\r\n"),
    })
    .await
}

fn url(sentinels: &[SocketAddr]) -> String {
    let sentinels: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
    format!("redis+sentinel://{}/mymaster", sentinels.join(","))
}

/// Connects, which must fail in time with a short message.
async fn failure(sentinels: &[SocketAddr]) -> Error {
    let began = Instant::now();
    let error = connect(&url(sentinels)).await.map(|_| ()).unwrap_err();
    assert!(began.elapsed() < MAX_CONNECT, "{:?}: {error}", began.elapsed());
    let message = error.to_string();
    assert!(message.len() < 400 && !message.contains(char::is_control), "{} bytes: {message:.400}", message.len());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_answer_of_a_sentinel_is_an_error_that_names_the_sentinel() {
    let long = "a".repeat(10_000);
    let answers = [
        "+OK\r\n".to_owned(),
        ":1\r\n".to_owned(),
        "*0\r\n".to_owned(),
        "*1\r\n$1\r\na\r\n".to_owned(),
        "*3\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n1\r\n".to_owned(),
        "*2\r\n*0\r\n*0\r\n".to_owned(),
        "*2\r\n$-1\r\n$-1\r\n".to_owned(),
        "%1\r\n$1\r\na\r\n:1\r\n".to_owned(),
        "$5\r\nhello\r\n".to_owned(),
        format!("*100000\r\n{}", ":1\r\n".repeat(100_000)),
        named("127.0.0.1", 0),
        named("127.0.0.1", 70_000),
        named("127.0.0.1", -1),
        named("127.0.0.1", "x"),
        named("", 6379),
        named("a b", 6379),
        named("\u{1b}[31mred", 6379),
        named(&long, 6379),
    ];
    for answer in answers {
        let shown = answer[..answer.len().min(60)].to_owned();
        let node = sentinel(move || answer.clone()).await;
        let error = failure(&[node.addr]).await;
        assert!(error.message().contains(&node.addr.to_string()), "{shown:?}: {error}");
    }
}

/// Sentinels that give an address which cannot be used do not hide the address that another one gives.
#[tokio::test(flavor = "multi_thread")]
async fn answer_of_one_good_sentinel_suffices() {
    let redis = RedisServer::start().await;
    let port = redis.addr().port();
    let bad = [
        sentinel(|| "+OK\r\n".to_owned()).await,
        sentinel(|| named("unknown..invalid", 6379)).await,
        sentinel(|| named("127.0.0.1", 1)).await,
        sentinel(|| "$-1\r\n".to_owned()).await,
    ];
    let good = sentinel(move || named("127.0.0.1", port)).await;
    let mut all: Vec<_> = bad.iter().map(|bad| bad.addr).collect();
    all.push(good.addr);
    for _ in 0..5 {
        let registry = connect(&url(&all)).await.unwrap();
        registry.register(&stream("cam1", SOURCE)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_host_that_a_sentinel_names_is_not_blamed_on_the_store_url() {
    let node = sentinel(|| named("unknown..invalid", 6379)).await;
    let error = failure(&[node.addr]).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("unknown..invalid"), "{error}");
}

/// The Sentinels name a server that has become a replica, e.g. because they have lost their majority.
#[tokio::test(flavor = "multi_thread")]
async fn primary_that_stays_a_replica_is_asked_seldom_and_used_again_when_it_is_promoted() {
    let redis = RedisServer::start().await;
    let port = redis.addr().port();
    let node = sentinel(move || named("127.0.0.1", port)).await;
    let registry = connect(&url(&[node.addr])).await.unwrap();
    let leases = Leases::new(Arc::clone(&registry), LeaseOptions::default().heartbeat(Duration::from_millis(500)));
    let lease = leases.acquire(stream("cam1", SOURCE)).await.unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    assert_eq!(redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await, "OK");
    wait_until(TIMEOUT, async || registry.update_heartbeat(lease.id()).await.is_err_and(|error| error.is_retryable()))
        .await;
    let error = failure(&[node.addr]).await;
    assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("is not the primary"), "{error}");
    let before = node.commands();
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Each attempt sends several commands, and so do the lease, the sweep and the watch.
    let asked = node.commands() - before;
    assert!(asked < 150, "{asked} commands in 4 s");
    assert_eq!(redis.cli(&["REPLICAOF", "NO", "ONE"]).await, "OK");
    wait_until(TIMEOUT, async || registry.register(&stream("cam2", SOURCE)).await.is_ok()).await;
    let seen = async { while watch.next().await.unwrap().stream().is_none_or(|one| one.id.as_str() != "cam2") {} };
    timeout(TIMEOUT, seen).await.unwrap();
    assert_eq!(lease.state(), LeaseState::Held);
}

/// Packets between the client and the Sentinels get lost, and then those between the client and the primary.
#[tokio::test(flavor = "multi_thread")]
async fn silent_loss_is_noticed_and_ends_when_a_sentinel_answers_again() {
    let redis = RedisServer::start().await;
    let primary = FaultProxy::start(redis.addr()).await;
    let port = primary.addr().port();
    let node = sentinel(move || named("127.0.0.1", port)).await;
    let proxy = FaultProxy::start(node.addr).await;
    let registry = connect(&url(&[proxy.addr()])).await.unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    proxy.stall();
    for number in 0..100 {
        let began = Instant::now();
        registry.register(&stream(&format!("cam{number}"), SOURCE)).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
    primary.lose_open();
    // The primary is healthy, but without a Sentinel it could be a former one.
    let mut errors = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        errors.push(registry.register(&stream("lost", SOURCE)).await.unwrap_err());
        assert!(began.elapsed() < MAX_CONNECT, "{:?}", began.elapsed());
    }
    assert!(errors[2].message().contains(&format!("no Sentinel answers at {}", proxy.addr())), "{errors:?}");
    proxy.resume().await;
    let back = Instant::now();
    wait_until(TIMEOUT, async || registry.register(&stream("last", SOURCE)).await.is_ok()).await;
    let seen = async { while watch.next().await.unwrap().stream().is_none_or(|one| one.id.as_str() != "last") {} };
    timeout(TIMEOUT, seen).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
}

/// There are two primaries, and each of two Sentinels names another one. So a registry must not change between them.
#[tokio::test(flavor = "multi_thread")]
async fn registry_stays_with_one_primary_when_two_sentinels_disagree() {
    let servers = [RedisServer::start().await, RedisServer::start().await];
    let ports = [0, 1].map(|at: usize| servers[at].addr().port());
    let sentinels = ports.map(|port| sentinel(move || named("127.0.0.1", port)));
    let sentinels = futures_util::future::join_all(sentinels).await;
    let proxies = sentinels.iter().map(|node| FaultProxy::start(node.addr));
    let proxies = futures_util::future::join_all(proxies).await;
    let addresses: Vec<_> = proxies.iter().map(FaultProxy::addr).collect();
    let registry = connect(&url(&addresses)).await.unwrap();
    for number in 0..10 {
        // The Sentinels answer first in turn.
        proxies[number % 2].delay_replies(Duration::from_millis(10));
        proxies[(number + 1) % 2].resume().await;
        registry.register(&stream(&format!("cam{number}"), SOURCE)).await.unwrap();
        assert_eq!(registry.list().await.unwrap().len(), number + 1);
        // Each lost connection is opened again.
        for server in &servers {
            server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
    }
}

/// A Sentinel names another primary each time. Every call still ends in time, and nothing is asked without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn sentinel_that_names_another_primary_each_time_causes_no_busy_loop() {
    let servers = [RedisServer::start().await, RedisServer::start().await];
    let ports = [0, 1].map(|at: usize| servers[at].addr().port());
    let turn = AtomicUsize::new(0);
    let node = sentinel(move || named("127.0.0.1", ports[turn.fetch_add(1, Ordering::Relaxed) % 2])).await;
    let registry = connect(&url(&[node.addr])).await.unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    let watching = tokio::spawn(async move { while watch.next().await.is_some() {} });
    let before = node.commands();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let idle = node.commands() - before;
    for _ in 0..20 {
        let began = Instant::now();
        let _ = registry.register(&stream("cam1", SOURCE)).await;
        let _ = registry.list().await;
        assert!(began.elapsed() < MAX_CONNECT * 2, "{:?}", began.elapsed());
    }
    let busy = node.commands() - before - idle;
    println!("{idle} commands in 6 s, {busy} commands for 40 calls");
    assert!(idle < 60 && busy < 400, "{idle} commands in 6 s, {busy} commands for 40 calls");
    watching.abort();
}
