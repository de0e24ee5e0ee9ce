//! Tests of [`testkit::ClusterSet`] with real servers.

use std::time::Duration;

use testkit::{ClusterSet, ServerKind, TestTls, wait_until};
use tokio::sync::Notify;

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn cluster_set_replaces_killed_primary_and_takes_it_back_as_replica() {
    let mut cluster = ClusterSet::start().await;
    assert_eq!(cluster.url().matches("127.0.0.1:").count(), 6);
    let old = cluster.primary_of("a").await;
    assert_eq!(cluster.nodes[old].cli(&["SET", "a", "1"]).await, "OK");
    assert_eq!(cluster.nodes[old].cli(&["WAIT", "1", "5000"]).await, "1");
    cluster.nodes[old].kill();
    let new = cluster.wait_for_failover("a", old).await;
    assert_eq!(cluster.primary_of("a").await, new);
    assert_eq!(cluster.nodes[new].cli(&["GET", "a"]).await, "1");
    cluster.restart(old).await;
    cluster.wait_until_healthy().await;
    assert!(cluster.nodes[old].cli(&["INFO", "replication"]).await.contains("role:slave"));
}

#[tokio::test]
async fn cluster_set_replaces_paused_primary() {
    let cluster = ClusterSet::start().await;
    let old = cluster.primary_of("a").await;
    cluster.nodes[old].pause();
    let new = cluster.wait_for_failover("a", old).await;
    assert_eq!(cluster.nodes[new].cli(&["SET", "a", "1"]).await, "OK");
    cluster.nodes[old].resume();
    wait_until(DEADLINE, async || cluster.nodes[old].cli(&["GET", "a"]).await.starts_with("MOVED ")).await;
}

#[tokio::test]
async fn cluster_set_promotes_replica_on_command_with_tls_and_password() {
    let tls = TestTls::new();
    let cluster = ClusterSet::builder().tls(&tls).config("requirepass secret").start().await;
    let old = cluster.primary_of("a").await;
    // The first three nodes are the primaries, and the next three nodes are their replicas.
    let replica = old + 3;
    cluster.failover(replica).await;
    assert_eq!(cluster.primary_of("a").await, replica);
    assert_eq!(cluster.nodes[replica].cli(&["SET", "a", "1"]).await, "OK");
    let slot = cluster.slot_of("a").await;
    let to = (old + 1) % 3;
    cluster.migrate_slot(slot, replica, to).await;
    assert_eq!(cluster.nodes[to].cli(&["GET", "a"]).await, "1");
}

#[tokio::test]
async fn cluster_set_moves_slot_key_by_key_on_each_kind_of_server() {
    for kind in [ServerKind::Installed, ServerKind::Redis8, ServerKind::Valkey8] {
        let cluster = ClusterSet::builder().server(kind).replicas(0).start().await;
        let slot = cluster.slot_of("{t}").await;
        let from = cluster.primary_of("{t}").await;
        let to = (from + 1) % 3;
        assert_eq!(cluster.nodes[from].cli(&["MSET", "{t}a", "1", "{t}b", "2"]).await, "OK");

        cluster.begin_migration(slot, from, to).await;
        assert_eq!(cluster.move_keys(slot, from, to, 1).await, 1);
        assert!(cluster.nodes[from].cli(&["GET", "{t}c"]).await.starts_with("ASK "), "{kind:?}");
        assert!(cluster.nodes[from].cli(&["MGET", "{t}a", "{t}b"]).await.starts_with("TRYAGAIN "), "{kind:?}");
        assert_eq!(cluster.move_keys(slot, from, to, 10).await, 1);
        cluster.end_migration(slot, from, to).await;

        assert_eq!(cluster.primary_of("{t}").await, to);
        assert_eq!(cluster.nodes[to].cli(&["MGET", "{t}a", "{t}b"]).await, "1\n2");
        assert!(cluster.nodes[from].cli(&["GET", "{t}a"]).await.starts_with("MOVED "), "{kind:?}");
    }
}

#[tokio::test]
async fn cluster_set_with_one_primary_owns_all_slots() {
    let cluster = ClusterSet::builder().primaries(1).replicas(0).start().await;
    assert_eq!(cluster.cli_all(&["SET", "a", "1"]).await, ["OK"]);
    assert!(cluster.nodes[0].cli(&["CLUSTER", "INFO"]).await.contains("cluster_slots_ok:16384"));
}

#[tokio::test]
async fn cluster_set_keeps_acknowledged_writes_while_slot_moves() {
    let cluster = ClusterSet::builder().primaries(2).replicas(0).start().await;
    let slot = cluster.slot_of("{t}").await;
    let from = cluster.primary_of("{t}").await;
    let to = 1 - from;
    let keys: Vec<String> = (0..500).map(|number| format!("{{t}}{number}")).collect();
    let mut acknowledged: Vec<String> = vec!["old".to_owned(); keys.len()];
    let initial: Vec<&str> = keys.iter().flat_map(|key| [key.as_str(), "old"]).collect();
    assert_eq!(cluster.nodes[from].cli(&[&["MSET"], initial.as_slice()].concat()).await, "OK");

    let has_written = Notify::new();
    let write = async {
        for number in 0.. {
            let (key, value) = (number % keys.len(), number.to_string());
            let reply = cluster.nodes[from].cli(&["SET", &keys[key], &value]).await;
            if reply == "OK" {
                acknowledged[key] = value;
                has_written.notify_one();
            } else if reply.starts_with("MOVED ") {
                break;
            }
        }
    };
    let migrate = async {
        has_written.notified().await;
        cluster.migrate_slot(slot, from, to).await;
    };
    tokio::join!(write, migrate);

    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(cluster.nodes[to].cli(&[&["MGET"], names.as_slice()].concat()).await, acknowledged.join("\n"));
}
