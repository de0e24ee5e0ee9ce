//! Tests of the helpers with real servers.

use std::time::Duration;

use testkit::{Data, FaultProxy, RedisServer, Replica, ServerKind, TestTls, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn restarted_redis_server_leaves_neither_folder_nor_process() {
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    assert_eq!(redis.cli(&["SET", "a", "1"]).await, "OK");
    redis.restart(Data::Kept).await;
    assert_eq!((redis.cli(&["GET", "a"]).await.as_str(), redis.url() == url), ("1", true));
    redis.restart(Data::Empty).await;
    assert_eq!(redis.cli(&["EXISTS", "a"]).await, "0");
    redis.kill();
    assert_eq!(redis.cli(&["PING"]).await, "");
    redis.restart(Data::Kept).await;

    let (folder, pid) = (redis.folder().to_owned(), redis.pid());
    drop(redis);
    assert!(!folder.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn redis_server_applies_users_password_and_memory_limit() {
    let redis = RedisServer::builder()
        .password("secret")
        .user("reader", "on >pw ~* +@read")
        .max_memory(8 << 20)
        .unix_only()
        .start()
        .await;
    assert_eq!(redis.cli(&["CONFIG", "GET", "maxmemory"]).await, "maxmemory\n8388608");
    assert!(redis.cli(&["ACL", "LIST"]).await.contains("user reader on"));
    let mut admin = redis.client().get_multiplexed_async_connection().await.unwrap();
    let reply: String = redis::cmd("PING").query_async(&mut admin).await.unwrap();
    assert_eq!(reply, "PONG");
}

#[tokio::test]
async fn redis_server_runs_newer_programs_with_tls() {
    let tls = TestTls::new();
    for (kind, version) in [(ServerKind::Valkey8, "valkey_version:8."), (ServerKind::Redis8, "redis_version:8.")] {
        let mut redis = RedisServer::builder().server(kind).tls(&tls).start().await;
        assert!(redis.cli(&["INFO", "server"]).await.contains(version), "{kind:?}");
        // The process id must be that of the server, and not of a shell that started it.
        redis.pause();
        assert!(timeout(Duration::from_millis(300), redis.cli(&["PING"])).await.is_err(), "{kind:?}");
        redis.resume();
        redis.restart(Data::Kept).await;
        assert_eq!(redis.cli(&["PING"]).await, "PONG", "{kind:?}");
    }
}

#[tokio::test]
async fn paused_redis_server_replies_after_resume() {
    let redis = RedisServer::start().await;
    redis.pause();
    assert!(timeout(Duration::from_millis(300), redis.cli(&["PING"])).await.is_err());
    redis.resume();
    assert_eq!(timeout(DEADLINE, redis.cli(&["PING"])).await.unwrap(), "PONG");
}

#[tokio::test]
async fn replica_copies_its_primary_and_accepts_writes_after_promotion() {
    let primary = RedisServer::start().await;
    let replica = Replica::of(&primary).await;
    primary.cli(&["SET", "a", "1"]).await;
    replica.caught_up(&primary).await;
    assert_eq!(replica.cli(&["GET", "a"]).await, "1");
    assert!(replica.cli(&["SET", "a", "2"]).await.starts_with("READONLY"));
    replica.promote().await;
    wait_until(DEADLINE, async || replica.cli(&["SET", "a", "2"]).await == "OK").await;
}

async fn ping(connection: &mut TcpStream) -> std::io::Result<String> {
    connection.write_all(b"PING\r\n").await?;
    let mut reply = [0; 64];
    let count = connection.read(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply[..count]).into_owned())
}

/// Returns whether a connection was closed (`Ok("")`) or reset.
fn is_broken(reply: std::io::Result<String>) -> bool {
    reply.map_or(true, |bytes| bytes.is_empty())
}

#[tokio::test]
async fn fault_proxy_simulates_each_network_fault() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.addr()).await;
    let mut one = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ping(&mut one).await.unwrap(), "+PONG\r\n");

    proxy.stall();
    assert!(timeout(Duration::from_millis(200), ping(&mut one)).await.is_err());
    proxy.resume().await;
    let mut delayed = [0; 7];
    timeout(DEADLINE, one.read_exact(&mut delayed)).await.unwrap().unwrap();
    assert_eq!(&delayed, b"+PONG\r\n");

    proxy.cut();
    assert!(is_broken(timeout(DEADLINE, ping(&mut one)).await.unwrap()));

    proxy.refuse().await;
    assert!(TcpStream::connect(proxy.addr()).await.is_err());
    proxy.resume().await;

    let mut two = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.cut_replies_after(3);
    assert_eq!(ping(&mut two).await.unwrap(), "+PO");
    assert!(is_broken(timeout(DEADLINE, ping(&mut two)).await.unwrap()));
    proxy.resume().await;

    let mut three = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.drop_replies();
    three.write_all(b"SET dropped 1\r\n").await.unwrap();
    wait_until(DEADLINE, async || redis.cli(&["EXISTS", "dropped"]).await == "1").await;
    assert!(timeout(Duration::from_millis(100), three.read_u8()).await.is_err());
    assert_eq!(proxy.accepted(), 3);
}
