//! Encrypted connections to a cluster, and passwords that change.

use std::sync::Arc;

use stream_registry::redis::RedisOptions;
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{ConnectOptions, RedisRegistry, Registry as _, UrlSource, connect_with};
use testkit::{ClusterSet, TestTls, wait_until};
use tokio::time::timeout;

use super::layout::ids_in;
use super::{TIMEOUT, id, register_all, stream};

#[tokio::test(flavor = "multi_thread")]
async fn cluster_with_tls_is_followed_when_a_primary_is_killed() {
    let tls = TestTls::new();
    let mut cluster = ClusterSet::builder().tls(&tls).start().await;
    let url = cluster.url().replacen("redis", "rediss", 1);
    let url = format!("{url}?ca={}", tls.ca_file().display());
    let registry = Arc::new(RedisRegistry::connect(url.parse().unwrap()).await.unwrap());
    register_all(&registry, (0..16).flat_map(|shard| ids_in(shard, 1))).await;
    cluster.nodes[0].kill();
    let all = async || {
        for shard in 0..16 {
            if registry.register(&stream(&ids_in(shard, 2)[1])).await.is_err() {
                return false;
            }
        }
        true
    };
    wait_until(TIMEOUT, all).await;
    let wrong = format!("{url}&server_name=other.example");
    let error = RedisRegistry::connect(wrong.parse::<RedisOptions>().unwrap()).await.unwrap_err();
    assert!(error.message().contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn password_that_changes_on_all_nodes_is_read_again() {
    let cluster = ClusterSet::builder().replicas(0).config("requirepass old-pw-1").start().await;
    let with = |password: &str| cluster.url().replace("://", &format!("://:{password}@"));
    let renewed = with("new-pw-2");
    let options = ConnectOptions::default().url_source(UrlSource::new(move || Ok(renewed.clone())));
    let registry = connect_with(&with("old-pw-1"), &options).await.unwrap();
    for shard in 0..16 {
        registry.register(&stream(&ids_in(shard, 1)[0])).await.unwrap();
    }
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    cluster.cli_all(&["CONFIG", "SET", "requirepass", "new-pw-2"]).await;
    cluster.cli_all(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    wait_until(TIMEOUT, async || registry.list().await.is_ok_and(|list| list.len() == 16)).await;
    let mut ended = 0;
    for shard in 0..16 {
        registry.unregister(&id(&ids_in(shard, 1)[0])).await.unwrap();
    }
    timeout(TIMEOUT, async {
        while ended < 16 {
            ended += usize::from(matches!(watch.next().await.unwrap(), Event::Ended { .. }));
        }
    })
    .await
    .unwrap();
}
