//! Pages that are read while Redis restarts.

use std::num::NonZeroU32;

use stream_registry::{ErrorKind, Registry};
use testkit::{Data, wait_until};

use super::{TIMEOUT, TestRedis, id, stream};

/// The positions of another process of Redis would skip streams.
#[tokio::test]
async fn page_cursor_is_rejected_after_redis_has_restarted() {
    let mut redis = TestRedis::start().await;
    let store = redis.store().await;
    for n in 0..1_000 {
        store.register(&stream(&format!("cam{n}"), "h:1")).await.unwrap();
    }
    let size = NonZeroU32::new(200).unwrap();
    let first = store.list_page(None, size).await.unwrap();
    let second = store.list_page(first.next.as_ref(), size).await.unwrap();
    redis.server.restart(Data::Kept).await;
    wait_until(TIMEOUT, async || store.get(&id("cam1")).await.is_ok()).await;
    let error = store.list_page(second.next.as_ref(), size).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCursor, "{error}");
    assert!(error.message().contains("start again without a cursor"), "{error}");
    let (mut found, mut cursor) = (0, None);
    loop {
        let page = store.list_page(cursor.as_ref(), size).await.unwrap();
        found += page.streams.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(found >= 1_000, "{found}");
}
