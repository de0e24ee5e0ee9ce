//! Tests of [`testkit::SentinelSet`] with real servers.

use std::time::Duration;

use testkit::{SentinelSet, ServerKind, TestTls, wait_until};

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn sentinel_set_replaces_killed_primary_and_takes_it_back_as_replica() {
    let mut set = SentinelSet::start().await;
    assert_eq!(set.primary().await, 0);
    assert_eq!(set.servers[0].cli(&["SET", "a", "1"]).await, "OK");
    assert_eq!(set.servers[0].cli(&["WAIT", "2", "5000"]).await, "2");
    assert_eq!(set.kill_primary().await, 0);
    let new = set.wait_for_failover(0).await;
    assert_ne!(new, 0);
    assert_eq!(set.servers[new].cli(&["GET", "a"]).await, "1");
    assert_eq!(set.servers[new].cli(&["SET", "a", "2"]).await, "OK");
    set.restart(0).await;
    set.wait_until_healthy().await;
    assert_eq!(set.servers[0].cli(&["GET", "a"]).await, "2");
    assert!(set.servers[0].cli(&["SET", "a", "3"]).await.starts_with("READONLY"));
}

#[tokio::test]
async fn sentinel_set_replaces_paused_primary() {
    let set = SentinelSet::builder().service("streams").start().await;
    assert!(set.url().ends_with("/streams"));
    let old = set.pause_primary().await;
    let new = set.wait_for_failover(old).await;
    assert_eq!(set.servers[new].cli(&["SET", "a", "1"]).await, "OK");
    set.servers[old].resume();
    wait_until(DEADLINE, async || set.servers[old].cli(&["GET", "a"]).await == "1").await;
}

#[tokio::test]
async fn sentinel_set_fails_over_on_command_with_tls_and_passwords() {
    let tls = TestTls::new();
    let set = SentinelSet::builder()
        .tls(&tls)
        .server_config("requirepass data")
        .sentinel_config("requirepass sentinel")
        .start()
        .await;
    let new = set.failover().await;
    assert_ne!(new, 0);
    set.wait_until_healthy().await;

    let port = set.sentinels[0].addr().port().to_string();
    let ca = tls.ca_file().display().to_string();
    let ask = async |password: &str| {
        let args = ["-p", &port, "--tls", "--cacert", &ca, "--pass", password];
        let command = ["--no-auth-warning", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
        let output = tokio::process::Command::new("redis-cli").args(args).args(command).output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).trim().replace('\n', ":")
    };
    assert_eq!(ask("sentinel").await, set.servers[new].addr().to_string());
    assert!(ask("data").await.contains("NOAUTH"));
}

#[tokio::test]
async fn sentinel_set_fails_over_with_valkey() {
    let set = SentinelSet::builder().server(ServerKind::Valkey8).replicas(1).start().await;
    let new = set.failover().await;
    assert_eq!(new, 1);
    assert!(set.servers[new].cli(&["INFO", "server"]).await.contains("valkey_version:8."));
}

#[tokio::test]
async fn sentinel_set_keeps_state_of_restarted_sentinel() {
    let mut set = SentinelSet::start().await;
    let new = set.failover().await;
    set.wait_until_healthy().await;
    let id = set.sentinels[1].cli(&["SENTINEL", "MYID"]).await;
    set.restart_sentinel(1).await;
    assert_eq!(set.sentinels[1].cli(&["SENTINEL", "MYID"]).await, id);
    set.wait_until_healthy().await;
    assert_eq!(set.primary().await, new);
}
