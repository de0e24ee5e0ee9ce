//! Diagnoses of a primary with a replica, and of the replica.

use stream_registry::RedisRegistry;
use stream_registry::redis::{Code, DiagnoseOptions, RedisOptions, Role, Severity};
use testkit::{Replica, wait_until};

use super::{assert_finds, diagnose, worst};
use crate::redis::{PASSWORD, TIMEOUT, TestRedis};

#[tokio::test]
async fn diagnosis_reports_settings_that_lose_data_in_a_failover() {
    let redis = TestRedis::start().await;
    assert_finds(&redis.diagnose().await, Code::Replicas, Severity::Ok, "no replicas");
    let replica = Replica::of(&redis.server).await;
    wait_until(TIMEOUT, async || redis.server.cli(&["INFO", "replication"]).await.contains("state=online")).await;
    let diagnosis = redis.diagnose().await;
    assert_finds(&diagnosis, Code::Replicas, Severity::Ok, "1 replica is online");
    assert_finds(&diagnosis, Code::Persistence, Severity::Error, "its replicas then delete");
    assert_finds(&diagnosis, Code::MinReplicas, Severity::Warning, "still accepts writes");
    assert_finds(&diagnosis, Code::ReplicaAccess, Severity::Ok, "can connect to all replicas");
    assert_finds(&diagnosis, Code::ReplicaClock, Severity::Ok, &replica.addr().to_string());
    redis.set("min-replicas-to-write", "1").await;
    assert_finds(
        &redis.diagnose().await,
        Code::MinReplicas,
        Severity::Ok,
        "needs: 1; replicas with a lag of at most 10 s: 1",
    );
    redis.set("min-replicas-to-write", "2").await;
    assert_finds(&redis.diagnose().await, Code::MinReplicas, Severity::Error, "Redis rejects writes");
}

#[tokio::test]
async fn replica_that_does_not_know_the_user_is_reported() {
    let redis = TestRedis::start().await;
    redis.user("operator", "allkeys +@all").await;
    let _replica = Replica::of(&redis.server).await;
    wait_until(TIMEOUT, async || redis.server.cli(&["INFO", "replication"]).await.contains("state=online")).await;
    let diagnosis = diagnose(redis.server.url_as("operator", PASSWORD).parse().unwrap()).await;
    // A client of a single server never connects to the replica, so this is no error.
    assert_finds(&diagnosis, Code::ReplicaAccess, Severity::Unchecked, "rejected the user name or password");
    assert!(!format!("{diagnosis:?}").contains(PASSWORD));
}

#[tokio::test]
async fn diagnosis_accepts_a_replica_only_for_readers_and_reports_its_broken_link() {
    let mut redis = TestRedis::start().await;
    let replica = Replica::of(&redis.server).await;
    let options: RedisOptions = replica.url().parse().unwrap();
    let diagnosis = diagnose(options.clone()).await;
    assert_finds(&diagnosis, Code::Role, Severity::Warning, "a replica: every write fails");
    assert_finds(&diagnosis, Code::PrimaryLink, Severity::Ok, "is up");
    let store = RedisRegistry::connect(options.clone().read_only()).await.unwrap();
    for (role, severity) in [(Role::Reader, Severity::Ok), (Role::Node, Severity::Error)] {
        let diagnosis = store.diagnose(&DiagnoseOptions::default().role(role)).await.unwrap();
        assert_eq!(worst(&diagnosis, Code::Role).severity, severity, "{role}");
    }
    redis.server.kill();
    let is_down = async || replica.cli(&["INFO", "replication"]).await.contains("master_link_status:down");
    wait_until(TIMEOUT, is_down).await;
    assert_finds(&diagnose(options).await, Code::PrimaryLink, Severity::Error, "is down");
}
