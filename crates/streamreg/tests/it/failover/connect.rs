//! Connecting to servers under Sentinel, and to servers of another topology than the URL says.

use std::time::Duration;

use stream_registry::{ConnectOptions, Error, ErrorKind, Registry as _, connect, connect_with};
use testkit::{RedisServer, SentinelSet, TestTls, wait_until};

use crate::redis::{id, stream};

const SOURCE: &str = "203.0.113.7:1";
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time of a connection attempt.
const MAX_CONNECT: Duration = Duration::from_millis(2_400);

async fn failure(url: &str) -> Error {
    let started = std::time::Instant::now();
    let error = connect(url).await.err().unwrap_or_else(|| panic!("{url} was accepted"));
    assert!(started.elapsed() < MAX_CONNECT, "{url} took {:?}", started.elapsed());
    error
}

fn assert_error(error: &Error, kind: ErrorKind, expected: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(expected), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_works_with_some_sentinels_down_and_names_them_when_all_are() {
    let mut set = SentinelSet::start().await;
    set.sentinels[0].kill();
    set.sentinels[1].pause();
    let registry = connect(&set.url()).await.unwrap();
    registry.register(&stream("cam1", SOURCE)).await.unwrap();
    set.sentinels[2].kill();
    // The connection to the primary stays.
    registry.get(&id("cam1")).await.unwrap();
    let error = failure(&set.url()).await;
    assert_error(&error, ErrorKind::Unavailable, &set.sentinel_addrs().join(", "));
    set.sentinels[1].resume();
    set.restart_sentinel(0).await;
    connect(&set.url()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn error_for_a_server_of_another_topology_names_the_right_url() {
    let set = SentinelSet::start().await;
    let unknown = set.url().replace("mymaster", "other");
    assert_error(&failure(&unknown).await, ErrorKind::InvalidArgument, "monitor no service named \"other\"");
    let (sentinel, server) = (&set.sentinel_addrs()[0], set.servers[0].addr());
    let error = failure(&format!("redis://{sentinel}")).await;
    assert_error(&error, ErrorKind::Unsupported, &format!("is a Sentinel; use redis+sentinel://{sentinel}/SERVICE"));
    let error = failure(&format!("redis+cluster://{sentinel}")).await;
    assert_error(&error, ErrorKind::Unsupported, "is a Sentinel; use redis+sentinel://");
    let error = failure(&format!("redis+sentinel://{server}/mymaster")).await;
    assert_error(&error, ErrorKind::Unsupported, &format!("the server at {server} is not a Sentinel"));
    let error = failure(&format!("redis+cluster://{server}")).await;
    let expected = format!("{server} is not a node of a Redis Cluster; use redis://{server}");
    assert_error(&error, ErrorKind::Unsupported, &expected);
    let node = RedisServer::builder().config("cluster-enabled yes").start().await;
    let error = failure(&node.url()).await;
    let expected = format!("is a node of a Redis Cluster; use redis+cluster://{}", node.addr());
    assert_error(&error, ErrorKind::Unsupported, &expected);
    let error = failure(&format!("redis+cluster://{}", node.addr())).await;
    assert_error(&error, ErrorKind::Unavailable, "has no slots yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_servers_have_their_own_passwords() {
    let set = SentinelSet::builder()
        .server_config("requirepass secret-data")
        .sentinel_config("requirepass secret-watch")
        .start()
        .await;
    let with =
        |data: &str, sentinel: &str| set.url().replace("://", &format!("://:{data}@")) + "?sentinel_pass=" + sentinel;
    let registry = connect(&with("secret-data", "secret-watch")).await.unwrap();
    registry.register(&stream("cam1", SOURCE)).await.unwrap();
    let error = failure(&with("secret-data", "secret-no")).await;
    assert_error(&error, ErrorKind::Unauthenticated, "rejected the user name or password; set sentinel_user");
    let error = failure(&with("secret-no", "secret-watch")).await;
    assert_error(&error, ErrorKind::Unauthenticated, "Redis rejected the user name or password");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_servers_use_tls() {
    let tls = TestTls::new();
    let mut set = SentinelSet::builder().tls(&tls).start().await;
    let untrusted = set.url().replacen("redis", "rediss", 1);
    let url = format!("{untrusted}?ca={}", tls.ca_file().display());
    let registry = connect(&url).await.unwrap();
    registry.register(&stream("cam1", SOURCE)).await.unwrap();
    let old = set.kill_primary().await;
    set.wait_for_failover(old).await;
    wait_until(TIMEOUT, async || registry.register(&stream("cam2", SOURCE)).await.is_ok()).await;
    assert_error(&failure(&untrusted).await, ErrorKind::Unauthenticated, "certificate");
    assert_error(&failure(&set.url()).await, ErrorKind::Unavailable, "check whether it expects TLS (rediss://)");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_store_under_sentinel_follows_a_failover() {
    let mut set = SentinelSet::start().await;
    let writer = connect(&set.url()).await.unwrap();
    let reader = connect_with(&set.url(), &ConnectOptions::default().read_only()).await.unwrap();
    writer.register(&stream("cam1", SOURCE)).await.unwrap();
    for replica in &set.servers[1..] {
        wait_until(TIMEOUT, async || replica.cli(&["EXISTS", "mirror:streams:cam1"]).await == "1").await;
    }
    let old = set.kill_primary().await;
    set.wait_for_failover(old).await;
    wait_until(TIMEOUT, async || reader.get(&id("cam1")).await.is_ok()).await;
    let error = reader.register(&stream("cam2", SOURCE)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}
