//! Runs the command `doctor` as a process.

use serde_json::Value;
use stream_registry::{Registry as _, connect};
use testkit::{ClusterSet, RedisServer, ServerKind, wait_until};

use super::cli::{DEADLINE, Server, outcome, program};
use crate::redis::{FEED_METADATA, INDEX, PASSWORD, stream};

/// Runs `doctor` on a server.
fn doctor(redis: &RedisServer, args: &[&str]) -> (Option<i32>, String, String) {
    let url = redis.url();
    outcome(program(&[&["doctor", "--store", &url], args].concat()).output().unwrap())
}

/// Starts a server without faults, in which a process reports expired streams.
async fn healthy() -> (RedisServer, std::sync::Arc<dyn stream_registry::Registry>) {
    let redis = RedisServer::builder().config("appendonly yes").start().await;
    let store = connect(&redis.url()).await.unwrap();
    store.register(&stream("cam1", "203.0.113.7:1")).await.unwrap();
    wait_until(DEADLINE, async || redis.cli(&["HEXISTS", FEED_METADATA, "swept"]).await == "1").await;
    (redis, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_exits_with_the_severity_of_its_worst_finding() {
    let (redis, store) = healthy().await;
    let (status, stdout, stderr) = doctor(&redis, &["-o", "table"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
    let version = format!("server\n  ok         {}", ServerKind::default().product());
    assert!(stdout.starts_with(&version), "{stdout}");
    assert!(stdout.ends_with("\n0 errors, 0 warnings, 0 parts not checked\n"), "{stdout}");
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let (status, stdout, _) = doctor(&redis, &["-o", "table"]);
    assert_eq!(status, Some(6), "{stdout}");
    let warning = "  warning    maxmemory-policy is allkeys-lru, so Redis may delete live streams when its memory is \
                   full\n             → CONFIG SET maxmemory-policy noeviction";
    assert!(stdout.contains(warning) && stdout.ends_with("\n0 errors, 1 warning, 0 parts not checked\n"), "{stdout}");
    assert_eq!(doctor(&redis, &["-o", "name"]), (Some(6), "eviction_policy\n".to_owned(), String::new()));
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1000"]).await;
    assert_eq!(doctor(&redis, &["-o", "name"]), (Some(7), "memory\n".to_owned(), String::new()));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_prints_json_for_scripts() {
    let redis = RedisServer::start().await;
    let (status, stdout, _) = doctor(&redis, &[]);
    assert_eq!(status, Some(6));
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let persistence = lines.iter().find(|line| line["code"] == "persistence").unwrap();
    assert_eq!(
        (&persistence["severity"], &persistence["server"]),
        (&"warning".into(), &redis.addr().to_string().into())
    );
    assert!(persistence["remedy"].as_str().unwrap().contains("appendonly yes"), "{persistence}");
    let (_, document, _) = doctor(&redis, &["-o", "json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["findings"].as_array().unwrap().len(), lines.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_repairs_the_index_only_if_asked() {
    let (redis, store) = healthy().await;
    // A running process would repair the index too.
    store.close().await.unwrap();
    redis.cli(&["SADD", INDEX, "gone"]).await;
    redis.cli(&["SREM", INDEX, "cam1"]).await;
    let (status, stdout, _) = doctor(&redis, &["-o", "name"]);
    assert_eq!((status, stdout.as_str()), (Some(6), "index_without_record\nrecord_not_in_index\n"));
    assert_eq!(redis.cli(&["SMEMBERS", INDEX]).await, "gone");
    let (_, stdout, stderr) = doctor(&redis, &["--repair", "-o", "name"]);
    assert_eq!(stderr, "index entries removed: 1, added: 1\n");
    assert!(!stdout.contains("index"), "{stdout}");
    assert_eq!(redis.cli(&["SMEMBERS", INDEX]).await, "cam1");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_with_narrow_rights_checks_what_it_may() {
    let (redis, store) = healthy().await;
    redis.cli(&["ACL", "SETUSER", "viewer", "on", &format!(">{PASSWORD}"), "%R~mirror:streams:*", "+ping"]).await;
    let url = redis.url_as("viewer", PASSWORD);
    let run = |args: &[&str]| {
        outcome(program(&[&["doctor", "--store", &url, "-o", "table"], args].concat()).output().unwrap())
    };
    let (status, stdout, stderr) = run(&["--role", "reader"]);
    assert_eq!(status, Some(7), "{stdout}");
    let unchecked = "  unchecked  not checked: the slow log\n             → grant +slowlog|get\n";
    assert!(stdout.contains(unchecked), "{stdout}");
    assert!(stdout.contains("→ ACL SETUSER viewer +mget +type +smembers"), "{stdout}");
    assert!(!format!("{stdout}{stderr}").contains(PASSWORD));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_rejects_stores_and_options_that_do_not_fit() {
    let redis = RedisServer::start().await;
    let server = Server::start(&["--store", &redis.url()]);
    let (status, _, stderr) = server.run(&["doctor"]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("pass the store URL of the server, e.g. --store redis://host:6379"), "{stderr}");
    let (status, _, stderr) = outcome(program(&["doctor", "--store", "memory:"]).output().unwrap());
    assert!(status == Some(2) && stderr.contains("would always be empty"), "{stderr}");
    let (status, _, stderr) = doctor(&redis, &["--repair", "--read-only"]);
    assert!(status == Some(2) && stderr.contains("omit --read-only"), "{stderr}");
    let (status, _, stderr) = doctor(&redis, &["--role", "king"]);
    assert!(status == Some(2) && stderr.contains("node, server, reader, sweeper, operator"), "{stderr}");
    let url = redis.url();
    drop(redis);
    let (status, _, stderr) = outcome(program(&["doctor", "--store", &url]).output().unwrap());
    assert!(status == Some(5) && stderr.contains("cannot reach the store"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_node_because_of_which_a_cluster_rejects_all_calls() {
    let mut cluster = ClusterSet::builder().replicas(0).config("cluster-require-full-coverage yes").start().await;
    connect(&cluster.url()).await.unwrap().close().await.unwrap();
    let down = cluster.nodes[1].addr();
    cluster.nodes[1].kill();
    let rejects = async || {
        let states = [&cluster.nodes[0], &cluster.nodes[2]].map(|node| node.cli(&["CLUSTER", "INFO"]));
        futures_util::future::join_all(states).await.iter().all(|state| state.contains("cluster_state:fail"))
    };
    wait_until(DEADLINE, rejects).await;
    let args = ["doctor", "--store", &cluster.url(), "--repair", "-o", "table"];
    let (status, stdout, stderr) = outcome(program(&args).output().unwrap());
    assert_eq!(status, Some(7), "{stdout}{stderr}");
    assert_eq!(stderr, "index entries removed: 0, added: 0\nshards that were not repaired: 16\n");
    for expected in [
        format!("{down}: the primary cannot be used: "),
        "the node considers the cluster as fail".to_owned(),
        "→ set cluster-require-full-coverage no on every node".to_owned(),
        "the number of shards cannot be read; this diagnosis assumes 16".to_owned(),
        "cannot be read: the Redis Cluster does not serve these streams now".to_owned(),
    ] {
        assert!(stdout.contains(&expected), "{expected:?}: {stdout}");
    }
    // If no node answers, there is nothing to diagnose.
    let url = cluster.url();
    drop(cluster);
    let (status, _, stderr) = outcome(program(&["doctor", "--store", &url]).output().unwrap());
    assert!(status == Some(5) && stderr.contains("cannot reach the store"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_checks_and_repairs_what_is_left_of_a_cluster() {
    let mut cluster = ClusterSet::builder().replicas(0).config("cluster-require-full-coverage no").start().await;
    let store = connect(&cluster.url()).await.unwrap();
    store.register(&stream("cam1", "203.0.113.7:1")).await.unwrap();
    store.close().await.unwrap();
    cluster.nodes[1].kill();
    let (status, stdout, stderr) =
        outcome(program(&["doctor", "--store", &cluster.url(), "--repair", "-o", "table"]).output().unwrap());
    assert_eq!(status, Some(7), "{stdout}");
    assert_eq!(stderr, "index entries removed: 0, added: 0\nshards that were not repaired: 5\n");
    let down = format!("{}: the primary cannot be used: ", cluster.nodes[1].addr());
    assert!(stdout.contains(&down) && stdout.contains("shards 6, 7, 8, 9, 10 of 16 are unavailable"), "{stdout}");
    let is_version = |line: &&str| line.starts_with("  ok ") && line.contains(ServerKind::default().product());
    assert_eq!(stdout.lines().filter(is_version).count(), 2, "{stdout}");
}
