//! Runs the example `crates/stream-registry/examples/node.rs` with a real Redis.

use std::process::Stdio;

use stream_registry::watch::{Ending, Event, WatchFrom};
use stream_registry::{Registry as _, StreamStatus};
use tokio::process::Command;
use tokio::time::timeout;

use super::{TIMEOUT, TestRedis, id};

#[tokio::test(flavor = "multi_thread")]
async fn example_node_keeps_its_stream_live_in_redis_until_ctrl_c() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut watch = store.watch(WatchFrom::Now).await.unwrap();
    let example = Command::new(testkit::node_example())
        .arg(redis.server.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    // Waits for two reports. At the second report, the example has certainly installed its signal handler.
    testkit::wait_until(TIMEOUT, async || {
        store.get(&id("cam1")).await.is_ok_and(|stream| stream.bytes_received >= 250_040)
    })
    .await;
    let live = store.get(&id("cam1")).await.unwrap();
    assert_eq!((live.status, live.node.as_deref()), (StreamStatus::Active, Some("studio-1")));

    let pid = example.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let output = timeout(TIMEOUT, example.wait_with_output()).await.unwrap().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    assert!(printed.ends_with("bytes: node stopped\n"), "{printed}");
    assert!(store.get(&id("cam1")).await.is_err());
    loop {
        let event = timeout(TIMEOUT, watch.next()).await.expect("the removal is in the feed").unwrap();
        if let Event::Ended { reason, last, .. } = event {
            assert_eq!(reason, Ending::Unregistered("node stopped".parse().unwrap()));
            assert!(last.bytes_received >= 250_040, "{last:?}");
            return;
        }
    }
}
