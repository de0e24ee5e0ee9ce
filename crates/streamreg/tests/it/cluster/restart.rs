//! A cluster whose nodes are all killed and started again, with and without their data.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::view::{View, ViewOptions};
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{ConnectOptions, Registry, StreamPatch, connect_with};
use streamreg::server::ServeOptions;
use testkit::{ClusterSet, wait_until};
use tokio::time::{sleep, timeout};

use super::layout::ids_in;
use super::{TIMEOUT, connect, connect_to, id, stream, three_primaries};
use crate::http::events::Events;
use crate::http::kit::Server;

const LEASES: usize = 200;

/// Kills all nodes, and starts them again.
async fn restart_all(cluster: &mut ClusterSet) {
    cluster.nodes.iter_mut().for_each(testkit::RedisServer::kill);
    for node in 0..cluster.nodes.len() {
        cluster.restart(node).await;
    }
    cluster.wait_until_healthy().await;
}

/// Restarts a cluster under leases, a view, a server and event readers. Checks that no reader misses a change.
async fn everything_continues(mut cluster: ClusterSet) {
    let registry = connect(&cluster).await;
    let server = Server::start(connect(&cluster).await, ServeOptions::default()).await;
    let client = connect_with(&format!("http://{}", server.addr), &ConnectOptions::default()).await.unwrap();
    let options = LeaseOptions::default().heartbeat(Duration::from_secs(1));
    let direct = Leases::new(registry.clone(), options.clone());
    let remote = Leases::new(Arc::clone(&client), options);
    let mut held = Vec::new();
    for number in 0..LEASES {
        let leases = if number % 4 == 0 { &remote } else { &direct };
        held.push(leases.acquire(stream(&format!("cam{number}"))).await.unwrap());
    }
    let view = View::new(Arc::clone(&registry) as Arc<dyn Registry>, ViewOptions::default());
    timeout(TIMEOUT, view.ready()).await.unwrap().unwrap();
    let mut watch = client.watch(WatchFrom::Now).await.unwrap();
    let mut events = Events::open(&server, "", "").await;

    restart_all(&mut cluster).await;
    // Every lease is held, and every list shows every stream.
    let all_are_live = async |registry: &dyn Registry| registry.list().await.is_ok_and(|list| list.len() == LEASES);
    wait_until(TIMEOUT, async || all_are_live(&*registry).await && all_are_live(&*client).await).await;
    assert!(held.iter().all(|lease| lease.state() == LeaseState::Held));
    wait_until(TIMEOUT, async || view.counts().total as usize == LEASES).await;
    for lease in &held {
        let stored = registry.get(lease.id()).await.unwrap();
        assert_eq!(stored.epoch(), Some(lease.epoch()));
    }

    // A reader that loses events receives `resync` before the events of later changes. A late `resync` can include the
    // first of these changes.
    let last = id(&ids_in(7, 1)[0]);
    registry.register(&stream(last.as_str())).await.unwrap();
    let changes = async {
        for number in 0_u32.. {
            registry.patch(&last, &StreamPatch::default().label("n", number.to_string())).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = async {
        while !matches!(watch.next().await.unwrap(), Event::Changed { stream, .. } if stream.labels.contains_key("n")) {
        }
        while events.next_change().await.1["stream"]["labels"]["n"].is_null() {}
    };
    tokio::select! {
        () = changes => unreachable!("the changes never end"),
        seen = timeout(TIMEOUT, seen) => seen.expect("both readers continue"),
    }
    wait_until(TIMEOUT, async || view.counts().total as usize == LEASES + 1).await;
    let list = server.get("/api/v1/streams?limit=1000").await.json();
    assert_eq!(list["total"], LEASES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_continues_after_all_nodes_restart_with_their_data() {
    let builder = ClusterSet::builder().replicas(0).config("appendonly yes").config("appendfsync always");
    everything_continues(builder.start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_continues_after_all_nodes_restart_empty() {
    everything_continues(three_primaries().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_program_stores_the_number_of_shards_again_after_all_data_was_lost() {
    let cluster = three_primaries().await;
    let registry = connect_to(&format!("{}?shards=32", cluster.url())).await;
    registry.register(&stream("cam1")).await.unwrap();
    assert_eq!(cluster.cli_all(&["FLUSHALL"]).await, ["OK"; 3]);
    // Program that connects later without a number must find the stream.
    let counts = async || cluster.cli_all(&["KEYS", "*facts"]).await.iter().flat_map(|keys| keys.lines()).count();
    wait_until(TIMEOUT, async || counts().await == 32).await;
    let later = connect(&cluster).await;
    later.register(&stream("cam1")).await.unwrap();
    assert_eq!(registry.list().await.unwrap().len(), 1);
    for number in 0..20 {
        registry.register(&stream(&format!("late{number}"))).await.unwrap();
    }
    assert_eq!(later.list().await.unwrap().len(), 21);
}
