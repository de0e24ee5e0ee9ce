//! Diagnoses and repairs of a registry in a Redis Cluster.

use stream_registry::redis::{Code, DiagnoseOptions, Diagnosis, Finding, RedisOptions, Severity};
use stream_registry::{RedisRegistry, Registry as _};
use testkit::{ClusterSet, TestTls, wait_until};

use super::{assert_finds, diagnose, worst};
use crate::cluster::layout::{TAGS, ids_in, prefix_of};
use crate::redis::operations::SOURCE;
use crate::redis::{PREFIX, TIMEOUT, stream};

fn options(cluster: &ClusterSet) -> RedisOptions {
    cluster.url().parse().unwrap()
}

/// Starts a cluster that serves the other shards if a node is down.
async fn start(primaries: usize, replicas: usize) -> ClusterSet {
    let builder = ClusterSet::builder().primaries(primaries).replicas(replicas);
    builder.config("cluster-require-full-coverage no").config("appendonly yes").start().await
}

/// Registers two streams in each shard, and waits until each shard is swept. Leaves no process that would repair the
/// index.
async fn fill(cluster: &ClusterSet) {
    let store = RedisRegistry::connect(options(cluster)).await.unwrap();
    for name in (0..16).flat_map(|shard| ids_in(shard, 2)) {
        store.register(&stream(&name, SOURCE)).await.unwrap();
    }
    for shard in 0..16 {
        let node = cluster.primary_of(&prefix_of(PREFIX, shard)).await;
        let facts = format!("{}\u{1f}facts", prefix_of(PREFIX, shard));
        wait_until(TIMEOUT, async || cluster.nodes[node].cli(&["HEXISTS", &facts, "swept"]).await == "1").await;
    }
    store.close().await.unwrap();
}

fn all(diagnosis: &Diagnosis, code: Code) -> Vec<&Finding> {
    diagnosis.findings.iter().filter(|finding| finding.code == code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_cluster_has_neither_warnings_nor_unchecked_parts() {
    let cluster = start(3, 1).await;
    cluster.cli_all(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    // A new registry stores no layout yet, and a diagnosis stores none.
    let diagnosis = diagnose(options(&cluster)).await;
    assert_finds(&diagnosis, Code::Layout, Severity::Ok, "the registry is new");
    fill(&cluster).await;
    let diagnosis = diagnose(options(&cluster)).await;
    let serious: Vec<_> = diagnosis.findings.iter().filter(|finding| finding.severity > Severity::Ok).collect();
    assert!(serious.is_empty(), "{serious:#?}");
    assert_finds(&diagnosis, Code::Nodes, Severity::Ok, "3 of 3");
    let found = &worst(&diagnosis, Code::Balance).message;
    assert!(["6, 5, 5", "5, 6, 5", "5, 5, 6"].iter().any(|counts| found.ends_with(counts)), "{found}");
    // Servers are checked once each, however many shards they have, and replicas by their primaries.
    for code in [Code::Version, Code::Rights, Code::Replicas, Code::ReplicaAccess, Code::ClusterState] {
        let found = all(&diagnosis, code);
        let servers: std::collections::BTreeSet<_> = found.iter().map(|finding| finding.server.clone()).collect();
        assert_eq!((found.len(), servers.len()), (3, 3), "{code}: {found:#?}");
    }
    // The same result for all shards is one finding.
    for (code, message) in [
        (Code::Layout, "in each of 16 shards"),
        (Code::WithoutRecord, "each of the 32 ids"),
        (Code::NotInIndex, "no record is missing"),
        (Code::Feed, "has 32 events"),
        (Code::Sweep, "a process looks for"),
    ] {
        assert_finds(&diagnosis, code, Severity::Ok, message);
        assert_eq!(all(&diagnosis, code).len(), 1, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_cluster_that_prevent_a_failover_are_reported() {
    let alone = ClusterSet::builder().primaries(1).replicas(0).start().await;
    let diagnosis = diagnose(options(&alone)).await;
    assert_finds(&diagnosis, Code::Nodes, Severity::Warning, "no replica replaces a failed primary");
    assert_finds(&diagnosis, Code::Replicas, Severity::Error, "a failover is impossible");
    assert!(all(&diagnosis, Code::FullCoverage).is_empty(), "one primary has all slots");
    let cluster = ClusterSet::builder().replicas(0).start().await;
    let diagnosis = diagnose(options(&cluster)).await;
    assert_finds(&diagnosis, Code::FullCoverage, Severity::Warning, "all shards fail while one primary is down");
    assert_eq!(all(&diagnosis, Code::FullCoverage).len(), 3);
    assert_finds(&diagnosis, Code::Nodes, Severity::Ok, "3 of 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_down_is_a_finding_and_the_rest_is_diagnosed_and_repaired() {
    let mut cluster = start(3, 0).await;
    fill(&cluster).await;
    let killed = cluster.primary_of(&prefix_of(PREFIX, 0)).await;
    let up = cluster.primary_of(&prefix_of(PREFIX, 15)).await;
    let address = cluster.nodes[killed].addr().to_string();
    let index = format!("{}active", prefix_of(PREFIX, 15));
    assert_eq!(cluster.nodes[up].cli(&["SADD", &index, "gone"]).await, "1");
    cluster.nodes[killed].kill();
    // Every node must agree, because a diagnosis asks only one.
    let is_noticed = async || {
        let views = cluster.cli_all(&["CLUSTER", "NODES"]).await;
        views.iter().filter(|view| view.contains(",fail ")).count() == 2
    };
    wait_until(TIMEOUT, is_noticed).await;
    let diagnosis = diagnose(options(&cluster)).await;
    let found = all(&diagnosis, Code::Nodes);
    let down = found.iter().find(|finding| finding.severity == Severity::Error).unwrap();
    assert!(down.message.contains("shards 0, 1, 2, 3, 4"), "{found:#?}");
    assert_eq!(down.server.as_deref(), Some(&*address));
    assert!(found.iter().any(|finding| finding.message.contains(&format!("{address} (fail)"))), "{found:#?}");
    assert_finds(&diagnosis, Code::ClusterState, Severity::Warning, "slots that are not served: 5");
    assert_eq!(all(&diagnosis, Code::Version).len(), 2);
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Warning, "shard 15 of 16 ({3lu}): ids in the index");
    let store = RedisRegistry::connect(options(&cluster)).await.unwrap();
    let repair = store.repair_index(&DiagnoseOptions::default()).await.unwrap();
    assert!(repair.removed <= 1 && repair.added == 0, "{repair:?}");
    assert!((5..=6).contains(&repair.unavailable_shards), "{repair:?}");
    assert_eq!(cluster.nodes[up].cli(&["SISMEMBER", &index, "gone"]).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_hangs_is_a_finding_on_a_connection_that_was_open_before() {
    let cluster = start(3, 0).await;
    let store = RedisRegistry::connect(options(&cluster).read_only()).await.unwrap();
    cluster.nodes[2].pause();
    let diagnosis = store.diagnose(&DiagnoseOptions::default()).await.unwrap();
    cluster.nodes[2].resume();
    let found: Vec<_> = diagnosis.of(Severity::Error).filter(|finding| finding.code == Code::Nodes).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    let address = cluster.nodes[2].addr().to_string();
    assert_eq!(found[0].server.as_deref(), Some(&*address));
    assert!(found[0].message.contains("shards 11, 12, 13, 14, 15 of 16 are unavailable"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_the_cluster_considers_as_failed_is_named() {
    let mut cluster = start(3, 2).await;
    let address = cluster.nodes[8].addr().to_string();
    cluster.nodes[8].kill();
    let is_noticed = async || cluster.nodes[0].cli(&["CLUSTER", "NODES"]).await.contains("slave,fail ");
    wait_until(TIMEOUT, is_noticed).await;
    let diagnosis = diagnose(options(&cluster)).await;
    assert_finds(&diagnosis, Code::Nodes, Severity::Warning, &format!("as failed: {address} (fail)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_shards_name_their_shard_and_are_repaired() {
    let cluster = start(3, 0).await;
    fill(&cluster).await;
    let on = |shard: usize| {
        let cluster = &cluster;
        async move { &cluster.nodes[cluster.primary_of(&prefix_of(PREFIX, shard)).await] }
    };
    let key = |shard: usize, name: &str| format!("{}{name}", prefix_of(PREFIX, shard));
    on(3).await.cli(&["SADD", &key(3, "active"), "gone"]).await;
    let lost = &ids_in(9, 1)[0];
    on(9).await.cli(&["SREM", &key(9, "active"), lost]).await;
    on(5).await.cli(&["HDEL", &key(5, "\u{1f}facts"), "shards", "function"]).await;
    on(6).await.cli(&["HSET", &key(6, "\u{1f}facts"), "tail", "1-1"]).await;
    on(7).await.cli(&["SET", &key(7, "\u{1f}operation"), "x"]).await;
    // The first key is from a program that does not use the shards. The second is from another registry, so it is
    // allowed.
    let outside = &cluster.nodes[cluster.primary_of("mirror:streams:cam1").await];
    assert_eq!(outside.cli(&["SET", "mirror:streams:cam1", "{}"]).await, "OK");
    let other = &cluster.nodes[cluster.primary_of("mirror:streams:eu:{53t}:cam1").await];
    assert_eq!(other.cli(&["SET", "mirror:streams:eu:{53t}:cam1", "{}"]).await, "OK");
    let diagnosis = diagnose(options(&cluster)).await;
    let tag = |shard: usize| format!("shard {shard} of 16 ({{{}}}): ", TAGS[shard]);
    for (code, shard, message) in [
        (Code::WithoutRecord, 3, r#"ids in the index without a record: 1 ("gone")"#.to_owned()),
        (Code::NotInIndex, 9, format!("records that are missing from the index, so lists lack them: 1 ({lost:?})")),
        (Code::Layout, 5, "the stored number of shards is missing".to_owned()),
        (Code::Feed, 6, "the metadata of the change feed".to_owned()),
        (Code::WithoutTtl, 7, "keys that never expire: 1".to_owned()),
    ] {
        assert_finds(&diagnosis, code, Severity::Warning, &format!("{}{message}", tag(shard)));
        let address = on(shard).await.addr().to_string();
        assert_eq!(worst(&diagnosis, code).server.as_deref(), Some(&*address), "{code}");
        assert_eq!(all(&diagnosis, code).len(), 1, "{code}");
    }
    assert_finds(&diagnosis, Code::OutsideShards, Severity::Warning, r#"1 ("mirror:streams:cam1")"#);
    on(4).await.cli(&["HSET", &key(4, "\u{1f}facts"), "function", "crc32"]).await;
    let store = RedisRegistry::connect(options(&cluster).read_only()).await;
    assert!(store.is_err(), "another function");
    on(4).await.cli(&["HSET", &key(4, "\u{1f}facts"), "function", "crc16"]).await;
    let store = RedisRegistry::connect(options(&cluster)).await.unwrap();
    let repair = store.repair_index(&DiagnoseOptions::default()).await.unwrap();
    assert!(repair.is_complete && repair.unavailable_shards == 0, "{repair:?}");
    assert_eq!(repair.added, 1);
    let diagnosis = store.diagnose(&DiagnoseOptions::default()).await.unwrap();
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Ok, "each of the 32 ids");
    assert_finds(&diagnosis, Code::NotInIndex, Severity::Ok, "no record is missing");
    assert_finds(&diagnosis, Code::Layout, Severity::Ok, "in each of 16 shards");
}

#[tokio::test(flavor = "multi_thread")]
async fn layout_that_was_changed_while_programs_run_is_an_error() {
    let cluster = start(1, 0).await;
    fill(&cluster).await;
    let store = RedisRegistry::connect(options(&cluster).read_only()).await.unwrap();
    let facts = format!("{}\u{1f}facts", prefix_of(PREFIX, 2));
    cluster.nodes[0].cli(&["HSET", &facts, "shards", "32"]).await;
    let diagnosis = store.diagnose(&DiagnoseOptions::default()).await.unwrap();
    assert_finds(&diagnosis, Code::Layout, Severity::Error, "the stored layout is \"32\" shards");
}

#[tokio::test(flavor = "multi_thread")]
async fn diagnosis_scans_a_node_once_for_all_its_shards() {
    let cluster = start(1, 0).await;
    fill(&cluster).await;
    let scans = async || {
        let stats = cluster.nodes[0].cli(&["INFO", "commandstats"]).await;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls=")).unwrap_or("0,");
        line.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    let keys: u32 = cluster.nodes[0].cli(&["DBSIZE"]).await.parse().unwrap();
    let before = scans().await;
    diagnose(options(&cluster)).await;
    assert!(
        (1..=keys / 500 + 2).contains(&(scans().await - before)),
        "{} scans of {keys} keys",
        scans().await - before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn diagnosis_reports_shards_that_are_unevenly_spread() {
    let cluster = start(3, 0).await;
    fill(&cluster).await;
    let to = cluster.primary_of(&prefix_of(PREFIX, 15)).await;
    for shard in 0..5 {
        let prefix = prefix_of(PREFIX, shard);
        let from = cluster.primary_of(&prefix).await;
        cluster.migrate_slot(cluster.slot_of(&prefix).await, from, to).await;
    }
    let diagnosis = diagnose(options(&cluster)).await;
    assert_finds(&diagnosis, Code::Balance, Severity::Warning, "shards on the primaries: ");
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Ok, "each of the 32 ids");
    // While the keys of a slot are on two nodes, they are still found.
    let prefix = prefix_of(PREFIX, 0);
    let slot = cluster.slot_of(&prefix).await;
    cluster.begin_migration(slot, to, (to + 1) % 3).await;
    while cluster.move_keys(slot, to, (to + 1) % 3, 100).await > 0 {}
    let diagnosis = diagnose(options(&cluster)).await;
    assert_finds(&diagnosis, Code::NotInIndex, Severity::Ok, "no record is missing");
    assert_finds(&diagnosis, Code::WithoutRecord, Severity::Ok, "each of the 32 ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_certificate_that_lacks_the_announced_address_is_reported() {
    let tls = TestTls::new();
    let cluster = ClusterSet::builder().tls(&tls).config("cluster-require-full-coverage no").replicas(0).start().await;
    let url = |parameters: &str| format!("{}?{parameters}", cluster.url().replace("redis+", "rediss+"));
    let trusting = url(&format!("ca={}", tls.ca_file().display()));
    // A registry exists: otherwise, a program that cannot reach all shards is rejected.
    stream_registry::connect(&trusting).await.unwrap();
    let diagnosis = diagnose(trusting.parse().unwrap()).await;
    assert_finds(&diagnosis, Code::HostNames, Severity::Ok, "their certificates contain it");
    tls.issue_server(&["redis.example"]);
    let (cert, key) = (tls.server_cert(), tls.server_key());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let reloaded = cluster.nodes[1].cli(&["CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key]).await;
    assert_eq!(reloaded, "OK");
    let diagnosis = diagnose(trusting.parse().unwrap()).await;
    assert_finds(&diagnosis, Code::Nodes, Severity::Error, &cluster.nodes[1].addr().to_string());
    assert_finds(&diagnosis, Code::HostNames, Severity::Error, "cluster-preferred-endpoint-type is ip");
    assert!(worst(&diagnosis, Code::HostNames).remedy.as_ref().unwrap().contains("cluster-announce-hostname"));
    let diagnosis = diagnose(url("insecure=true").parse().unwrap()).await;
    assert_finds(&diagnosis, Code::HostNames, Severity::Ok, "do not matter");
}
