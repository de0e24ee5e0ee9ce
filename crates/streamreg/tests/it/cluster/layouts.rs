//! The number of shards, which is stored in the cluster and checked by every program that connects.

use stream_registry::redis::RedisOptions;
use stream_registry::{Error, ErrorKind, RedisRegistry, Registry as _};
use testkit::ClusterSet;

use super::layout::{ids_in, prefix_of};
use super::{PREFIX, connect, connect_to, id, register_all, stream, three_primaries};

async fn rejected(url: &str) -> Error {
    let options: RedisOptions = url.parse().unwrap();
    RedisRegistry::connect(options).await.unwrap_err()
}

/// Returns the layout that each of 16 shards has stored.
async fn stored(cluster: &ClusterSet) -> Vec<String> {
    let mut layouts = Vec::new();
    for shard in 0..16 {
        let key = format!("{}\u{1f}facts", prefix_of(PREFIX, shard));
        let node = &cluster.nodes[cluster.primary_of(&key).await];
        layouts.push(node.cli(&["HMGET", &key, "shards", "function"]).await.replace('\n', " ").trim().to_owned());
    }
    layouts
}

#[tokio::test(flavor = "multi_thread")]
async fn url_with_another_number_of_shards_than_the_stored_one_is_rejected() {
    let cluster = three_primaries().await;
    let first = connect_to(&format!("{}?shards=32", cluster.url())).await;
    register_all(&first, (0..40).map(|n| format!("cam{n}"))).await;
    let error = rejected(&format!("{}?shards=16", cluster.url())).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("has 32 shards") && error.message().contains("write shards=32"), "{error}");
    // Without a number in the URL, the stored one is used.
    assert_eq!(connect(&cluster).await.list().await.unwrap().len(), 40);
    // Another prefix is another registry.
    let other: RedisOptions = format!("{}?shards=4", cluster.url()).parse().unwrap();
    RedisRegistry::connect(other.prefix("other:")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_stores_the_layout_in_every_shard_that_lacks_it() {
    let cluster = three_primaries().await;
    let options: RedisOptions = cluster.url().parse().unwrap();
    let reader = RedisRegistry::connect(options.read_only()).await.unwrap();
    assert_eq!(stored(&cluster).await, [""; 16], "a read-only program writes nothing");
    assert!(reader.list().await.unwrap().is_empty());

    connect(&cluster).await;
    assert_eq!(stored(&cluster).await, ["16 crc16"; 16]);
    let key = format!("{}\u{1f}facts", prefix_of(PREFIX, 3));
    cluster.nodes[cluster.primary_of(&key).await].cli(&["DEL", &key]).await;
    // The other shards still have the layout.
    assert_eq!(rejected(&format!("{}?shards=8", cluster.url())).await.kind(), ErrorKind::InvalidArgument);
    let registry = connect(&cluster).await;
    assert_eq!(stored(&cluster).await, ["16 crc16"; 16]);
    // Events do not remove the layout.
    let name = &ids_in(3, 1)[0];
    registry.register(&stream(name)).await.unwrap();
    registry.unregister(&id(name)).await.unwrap();
    assert_eq!(stored(&cluster).await, ["16 crc16"; 16]);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_create_a_registry_at_once_agree_on_its_layout() {
    let cluster = three_primaries().await;
    for round in 0..5 {
        let prefix = format!("round{round}:");
        let connections = [1, 2, 4, 8, 16, 32, 64].map(|shards| {
            let options: RedisOptions = format!("{}?shards={shards}", cluster.url()).parse().unwrap();
            RedisRegistry::connect(options.prefix(prefix.clone()))
        });
        let results = futures_util::future::join_all(connections).await;
        let accepted = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(accepted, 1, "round {round}: {results:?}");
        let errors = results.into_iter().filter_map(Result::err);
        errors.for_each(|error| assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_rejects_a_layout_with_an_unknown_function() {
    let cluster = three_primaries().await;
    let key = format!("{}\u{1f}facts", prefix_of(PREFIX, 5));
    let node = &cluster.nodes[cluster.primary_of(&key).await];
    node.cli(&["HSET", &key, "shards", "16", "function", "xxh3"]).await;
    let error = rejected(&cluster.url()).await;
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("xxh3"), "{error}");
}
