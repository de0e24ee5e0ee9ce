//! A server whose Redis is away.

use std::sync::Arc;

use stream_registry::{RedisRegistry, Registry};
use streamreg::server::ServeOptions;
use testkit::{RedisServer, wait_until};

use super::kit::{PATIENCE, Server, stream};

const LIST: &str = "/api/v1/streams";

#[tokio::test]
async fn writes_that_never_came_to_the_store_take_no_list_away() {
    let mut redis = RedisServer::start().await;
    let store: Arc<dyn Registry> = Arc::new(RedisRegistry::connect(redis.url().parse().unwrap()).await.unwrap());
    let server = Server::start(store.clone(), ServeOptions::default()).await;
    store.register(&stream("cam")).await.unwrap();
    wait_until(PATIENCE, async || server.get(LIST).await.json()["total"] == 1).await;
    redis.kill();
    // What was under way then may have come there; what comes later has not.
    wait_until(PATIENCE, async || server.get("/readyz").await.status == 503).await;
    assert_eq!(server.json("POST", "/api/v1/streams/cam/heartbeat", "").await.status, 503);
    let listed = server.get(LIST).await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    assert_eq!(listed.json()["total"], 1);
}
