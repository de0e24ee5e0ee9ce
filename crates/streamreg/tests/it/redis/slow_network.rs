//! Many calls about one stream over a slow network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::{ErrorKind, RedisRegistry, Registry as _};
use testkit::FaultProxy;
use tokio::task::JoinSet;

use super::operations::{SOURCE, Verb};
use super::{TestRedis, stream};

/// Maximum duration of a call, with a margin for a busy machine.
const MAX_CALL_TIME: Duration = Duration::from_millis(2_400);
const CALLERS: usize = 24;

/// A batch contains only one call about a stream, so the calls wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn call_that_waits_for_calls_about_the_same_stream_fails_in_time_as_not_applied() {
    let redis = TestRedis::start().await;
    let tests = [Verb::Heartbeat, Verb::Patch, Verb::Register, Verb::Unregister].map(|verb| {
        let redis = &redis;
        async move {
            let proxy = FaultProxy::start(redis.server.addr()).await;
            let url = format!("redis://{}", proxy.addr());
            let store = Arc::new(RedisRegistry::connect(url.parse().unwrap()).await.unwrap());
            let name = format!("{verb:?}");
            store.register(&stream(&name, SOURCE)).await.unwrap();
            proxy.delay_replies(Duration::from_millis(450));
            let mut calls = JoinSet::new();
            for _ in 0..CALLERS {
                let (store, name) = (Arc::clone(&store), name.clone());
                calls.spawn(async move {
                    let began = Instant::now();
                    (verb.run(&store, &name).await, began.elapsed())
                });
            }
            let mut waited = 0;
            for (result, took) in calls.join_all().await {
                assert!(took <= MAX_CALL_TIME, "{verb:?} took {took:?}: {result:?}");
                let Err(error) = result else { continue };
                if error.message().contains("not sent") {
                    assert!(error.kind() == ErrorKind::Unavailable && !error.may_have_applied(), "{error:?}");
                    waited += 1;
                }
            }
            assert!(waited > 0, "{verb:?}: no call waited too long");
            proxy.resume().await;
        }
    });
    futures_util::future::join_all(tests).await;
}
