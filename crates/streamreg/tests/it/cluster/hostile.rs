//! Nodes that contradict each other, answer nonsense, or hang.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use stream_registry::redis::RedisOptions;
use stream_registry::{Error, RedisRegistry, Registry as _, StreamId};
use testkit::{ClusterSet, wait_until};
use tokio::time::timeout;

use super::{TIMEOUT, id, stream};
use crate::fake::{FakeNode, all_slots_at, is_slots};

/// Time in which every call ends, with a margin for a busy machine.
const CALL_LIMIT: Duration = Duration::from_millis(2_500);
const CLUSTER_DOWN: &str = "-CLUSTERDOWN The cluster is down\r\n";
/// The answer to `HMGET`: the registry is new.
const NO_LAYOUT: &str = "*2\r\n$-1\r\n$-1\r\n";

async fn connect_to(nodes: &[std::net::SocketAddr]) -> Result<Arc<RedisRegistry>, Error> {
    let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    let options: RedisOptions = format!("redis+cluster://{}", nodes.join(",")).parse().unwrap();
    Ok(Arc::new(RedisRegistry::connect(options).await?))
}

/// Makes a call, which must fail in time with an error that says that it can be retried.
async fn fails_in_time<T: std::fmt::Debug>(call: impl Future<Output = Result<T, Error>>) -> Error {
    let began = Instant::now();
    let error = call.await.unwrap_err();
    assert!(began.elapsed() <= CALL_LIMIT, "{:?}: {error}", began.elapsed());
    assert!(error.is_retryable(), "{error:?}");
    error
}

/// Starts a cluster of one node that has all slots.
async fn one_node() -> ClusterSet {
    ClusterSet::builder().primaries(1).replicas(0).start().await
}

/// Starts a node that redirects all commands about streams to a port that the test sets later.
async fn redirecting(kind: &'static str, to: &Arc<AtomicU16>) -> FakeNode {
    let to = Arc::clone(to);
    FakeNode::start(move |own, command| match command[0].as_str() {
        "CLUSTER" => all_slots_at("127.0.0.1", own.port()),
        "HMGET" => NO_LAYOUT.to_owned(),
        "SCRIPT" | "CONFIG" => "-NOPERM\r\n".to_owned(),
        _ => format!("-{kind} 1 127.0.0.1:{}\r\n", to.load(Ordering::SeqCst)),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn call_ends_in_time_without_flooding_nodes_that_redirect_in_a_circle() {
    let redirected = [("MOVED", "MOVED"), ("ASK", "MOVED"), ("ASK", "ASK")].map(|(there, back)| async move {
        let (to_a, to_b) = (Arc::default(), Arc::default());
        let (a, b) = (redirecting(there, &to_b).await, redirecting(back, &to_a).await);
        to_a.store(a.addr.port(), Ordering::SeqCst);
        to_b.store(b.addr.port(), Ordering::SeqCst);
        let mut options: RedisOptions = format!("redis+cluster://{}", a.addr).parse().unwrap();
        // A registry that only reads sends no commands in the background.
        options.read_only = true;
        let registry = RedisRegistry::connect(options).await.unwrap();
        let before = a.commands() + b.commands();
        let error = fails_in_time(registry.get(&id("cam1"))).await;
        let commands = a.commands() + b.commands() - before;
        assert!(commands < 300, "{there} {back}: {commands} commands: {error}");
    });
    futures_util::future::join_all(redirected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_ends_in_time_when_a_node_redirects_to_a_node_that_never_answers() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redirected = ["MOVED", "ASK"].map(|kind| async {
        let node = redirecting(kind, &Arc::new(AtomicU16::new(silent.local_addr().unwrap().port()))).await;
        let registry = connect_to(&[node.addr]).await.unwrap();
        for _ in 0..2 {
            fails_in_time(registry.get(&id("cam1"))).await;
            fails_in_time(registry.register(&stream("cam1"))).await;
        }
    });
    futures_util::future::join_all(redirected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_fails_in_time_when_the_cluster_slots_reply_is_invalid() {
    let long = format!("*100000\r\n{}", "*2\r\n:1\r\n:2\r\n".repeat(100_000));
    let no_address = all_slots_at("?", 7);
    let port = "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\na\r\n:70000\r\n";
    let reversed = "*1\r\n*3\r\n:16383\r\n:0\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n";
    let zero = all_slots_at("127.0.0.1", 0);
    for slots in ["*0\r\n", "+OK\r\n", "$-1\r\n", ":-1\r\n", "*1\r\n*0\r\n", "%1\r\n+a\r\n+b\r\n", port, reversed]
        .into_iter()
        .chain([&*long, &*no_address, &*zero])
    {
        let reply = slots.to_owned();
        let node =
            FakeNode::start(move |_, command| if is_slots(command) { reply.clone() } else { CLUSTER_DOWN.to_owned() })
                .await;
        let began = Instant::now();
        let error = connect_to(&[node.addr]).await.map(|_| ()).unwrap_err();
        let what = &slots[..slots.len().min(60)];
        assert!(began.elapsed() < 2 * CALL_LIMIT, "{:?} {what:?}: {error}", began.elapsed());
    }
}

/// A node that is cut off from the cluster keeps naming itself as the owner of all slots, and is the first to answer.
#[tokio::test(flavor = "multi_thread")]
async fn registry_follows_the_majority_when_one_node_is_cut_off() {
    let cluster = ClusterSet::builder().replicas(0).start().await;
    let node = FakeNode::start(|own, command| {
        if is_slots(command) { all_slots_at("127.0.0.1", own.port()) } else { CLUSTER_DOWN.to_owned() }
    })
    .await;
    let mut nodes: Vec<_> = cluster.nodes.iter().map(testkit::RedisServer::addr).collect();
    nodes.insert(0, node.addr);
    for _ in 0..5 {
        let registry = connect_to(&nodes).await.unwrap();
        registry.register(&stream("cam1")).await.unwrap();
        assert_eq!(registry.list().await.unwrap().len(), 1);
    }
}

/// The nodes in the store URL can be names that lead to other nodes later, for example after the cluster was replaced.
#[tokio::test(flavor = "multi_thread")]
async fn registry_asks_the_nodes_of_the_url_again_when_all_other_nodes_hang() {
    let (first, second) = (one_node().await, one_node().await);
    let port = Arc::new(AtomicU16::new(first.nodes[0].addr().port()));
    let named = Arc::clone(&port);
    let seed = FakeNode::start(move |_, command| {
        if is_slots(command) {
            all_slots_at("127.0.0.1", named.load(Ordering::SeqCst))
        } else {
            CLUSTER_DOWN.to_owned()
        }
    })
    .await;
    let registry = connect_to(&[seed.addr]).await.unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    port.store(second.nodes[0].addr().port(), Ordering::SeqCst);
    first.nodes[0].pause();
    wait_until(Duration::from_secs(10), async || registry.register(&stream("cam1")).await.is_ok()).await;
    let list = second.nodes[0].cli(&["KEYS", "*"]).await;
    assert!(list.contains("cam1"), "{list}");
}

/// A program that makes a call and does not poll it any more, e.g. because it is busy, must not stop other calls.
#[tokio::test(flavor = "multi_thread")]
async fn unpolled_call_does_not_block_other_calls() {
    let cluster = one_node().await;
    let registry = connect_to(&[cluster.nodes[0].addr()]).await.unwrap();
    let name = id("cam1");
    registry.register(&stream("cam1")).await.unwrap();
    cluster.nodes[0].pause();
    // The connection is found to be broken, so the next call connects again.
    fails_in_time(registry.get(&name)).await;
    let mut unpolled = std::pin::pin!(registry.get(&name));
    assert!(timeout(Duration::from_millis(300), &mut unpolled).await.is_err());
    cluster.nodes[0].resume();
    let works = async |name: &StreamId| registry.get(name).await.is_ok();
    wait_until(Duration::from_secs(8), async || works(&name).await).await;
    let _ = timeout(TIMEOUT, unpolled).await.unwrap();
}
