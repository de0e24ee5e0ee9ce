//! Tests of calls that read several streams at once.

use stream_registry::{ErrorKind, Registry, StreamId};

use super::{FEED_METADATA, TestRedis, id, stream};

#[tokio::test]
async fn get_many_reads_500_records_per_command_in_the_order_of_the_ids() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for name in ["cam1", "cam2"] {
        store.register(&stream(name, "h:1")).await.unwrap();
    }
    redis.put("corrupt", "not json", 0).await;
    redis.server.cli(&["HSET", "mirror:streams:hash", "a", "b"]).await;
    let names = ["cam1", "missing", "cam2", "corrupt", "hash", "cam1"];
    let ids: Vec<StreamId> = names.iter().cycle().take(1_200).map(|name| id(name)).collect();
    redis.server.cli(&["CONFIG", "RESETSTAT"]).await;

    let streams = store.get_many(&ids).await.unwrap();

    assert_eq!(streams.len(), ids.len());
    for (at, (stream, id)) in streams.iter().zip(&ids).enumerate() {
        let expected = Some(id).filter(|id| id.as_str().starts_with("cam"));
        assert_eq!(stream.as_ref().map(|stream| &stream.id), expected, "{at}");
    }
    let stats = redis.server.cli(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_mget:calls=3,"), "{stats}");
    assert!(store.get_many(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn get_many_returns_closed_after_close() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.close().await.unwrap();
    let error = store.get_many(&[id("cam1")]).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Closed, false));
    assert_eq!(error.operation().map(|operation| operation.as_str()), Some("get"));
}

#[tokio::test]
async fn snapshot_succeeds_when_the_feed_metadata_key_has_the_wrong_type() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.register(&stream("cam1", "h:1")).await.unwrap();
    redis.server.cli(&["DEL", FEED_METADATA]).await;
    redis.server.cli(&["SET", FEED_METADATA, "x"]).await;
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.streams.len(), 1);
}
