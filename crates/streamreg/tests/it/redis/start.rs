//! Servers that start while Redis is busy or down.

use stream_registry::Registry as _;
use testkit::{Data, RedisServer};

use super::{id, stream};
use crate::cli::{Running, Server};

fn serve(redis: &RedisServer, limit: &str) -> Running {
    Running::start(&["serve", "--listen", "127.0.0.1:0", "--wait-for-store", limit, "--store", &redis.url()])
}

#[tokio::test(flavor = "multi_thread")]
async fn server_waits_for_a_redis_that_is_busy_or_down() {
    let mut redis = RedisServer::start().await;
    let registry = stream_registry::connect(&redis.url()).await.unwrap();
    registry.register(&stream("cam1", "203.0.113.7:1")).await.unwrap();
    redis.pause();
    let waiting = serve(&redis, "1m");
    waiting.line_with("waiting up to 1m00s for it");
    redis.resume();
    assert_eq!(Server::of(waiting).run(&["get", "cam1"]).0, Some(0));

    redis.kill();
    let waiting = serve(&redis, "1m");
    waiting.line_with("the connection to Redis was refused");
    redis.restart(Data::Empty).await;
    let server = Server::of(waiting);
    registry.register(&stream("cam2", "203.0.113.7:1")).await.unwrap();
    assert_eq!(server.run(&["get", "cam2"]).0, Some(0));
    assert!(registry.get(&id("cam1")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_gives_up_when_redis_is_unreachable_for_too_long() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    for limit in ["0s", "2s"] {
        let mut waiting = serve(&redis, limit);
        waiting.line_with("the connection to Redis was refused");
        assert_eq!(waiting.ended(), Some(5), "{limit}");
    }
}
