//! Diagnoses of servers under Sentinel.

use stream_registry::redis::{Code, RedisOptions, Severity};
use testkit::{RedisServer, SentinelSet, TestTls, wait_until};

use super::{assert_finds, diagnose};
use crate::redis::permissions::rules;
use crate::redis::roles::set_user;
use crate::redis::{PASSWORD, TIMEOUT};

fn options(url: &str) -> RedisOptions {
    url.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn diagnosis_reports_sentinels_that_are_down() {
    let mut set = SentinelSet::start().await;
    let diagnosis = diagnose(options(&set.url())).await;
    assert_finds(&diagnosis, Code::Sentinels, Severity::Ok, "all 3 Sentinels");
    assert_finds(&diagnosis, Code::Quorum, Severity::Ok, "3 Sentinels see");
    assert_finds(&diagnosis, Code::Replicas, Severity::Ok, "2 replicas are online");
    assert_finds(&diagnosis, Code::ReplicaAccess, Severity::Ok, "all replicas");
    let first = format!("redis+sentinel://{}/{}", set.sentinel_addrs()[0], set.service());
    assert_finds(&diagnose(options(&first)).await, Code::Sentinels, Severity::Warning, "names 1 of 3 Sentinels");
    set.sentinels[2].kill();
    let diagnosis = diagnose(options(&set.url())).await;
    assert_finds(&diagnosis, Code::Sentinels, Severity::Warning, "2 of 3 Sentinels name the primary");
    assert_finds(&diagnosis, Code::Sentinels, Severity::Warning, &set.sentinel_addrs()[2]);
    set.sentinels[1].kill();
    let no_quorum = async || set.sentinels[0].cli(&["SENTINEL", "CKQUORUM", "mymaster"]).await.contains("NOQUORUM");
    wait_until(TIMEOUT, no_quorum).await;
    assert_finds(&diagnose(options(&set.url())).await, Code::Quorum, Severity::Error, "too few others");
}

#[tokio::test(flavor = "multi_thread")]
async fn diagnosis_reports_sentinels_that_disagree() {
    let set = SentinelSet::start().await;
    let other = RedisServer::start().await;
    let sentinel = &set.sentinels[2];
    assert_eq!(sentinel.cli(&["SENTINEL", "REMOVE", "mymaster"]).await, "OK");
    let (host, port) = (other.addr().ip().to_string(), other.addr().port().to_string());
    assert_eq!(sentinel.cli(&["SENTINEL", "MONITOR", "mymaster", &host, &port, "2"]).await, "OK");
    let diagnosis = diagnose(options(&set.url())).await;
    assert_finds(&diagnosis, Code::Sentinels, Severity::Error, "name different primaries");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_that_does_not_monitor_the_primary_is_reported() {
    let set = SentinelSet::builder().replicas(1).start().await;
    assert_eq!(set.sentinels[1].cli(&["SENTINEL", "REMOVE", set.service()]).await, "OK");
    let diagnosis = diagnose(options(&set.url())).await;
    let message = format!("2 of 3 Sentinels name the primary; these do not: {}", set.sentinel_addrs()[1]);
    assert_finds(&diagnosis, Code::Sentinels, Severity::Warning, &message);
    assert_finds(&diagnosis, Code::Sentinels, Severity::Warning, "it does not monitor");
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_without_the_user_is_not_reported_as_a_certificate_fault() {
    let tls = TestTls::new();
    let set = SentinelSet::builder().tls(&tls).replicas(1).start().await;
    let user = ["ACL", "SETUSER", "operator", "on", &format!(">{PASSWORD}"), "allkeys", "+@all"];
    assert_eq!(set.servers[0].cli(&user).await, "OK");
    let url = set.url().replace("redis+sentinel://", &format!("rediss+sentinel://operator:{PASSWORD}@"));
    let diagnosis = diagnose(options(&format!("{url}?ca={}", tls.ca_file().display()))).await;
    assert_finds(&diagnosis, Code::ReplicaAccess, Severity::Error, "rejected the user name or password");
    assert_finds(&diagnosis, Code::HostNames, Severity::Ok, "by IP address");
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_without_a_replica_and_replicas_without_the_user_are_errors_under_sentinel() {
    let alone = SentinelSet::builder().replicas(0).start().await;
    let diagnosis = diagnose(options(&alone.url())).await;
    assert_finds(&diagnosis, Code::Replicas, Severity::Error, "a failover is impossible");
    let set = SentinelSet::builder().replicas(1).start().await;
    let password = format!(">{PASSWORD}");
    let user = ["ACL", "SETUSER", "operator", "on", &password, "allkeys", "+@all"];
    assert_eq!(set.servers[0].cli(&user).await, "OK");
    let url = set.url().replace("redis+sentinel://", &format!("redis+sentinel://operator:{PASSWORD}@"));
    let diagnosis = diagnose(options(&url)).await;
    assert_finds(&diagnosis, Code::ReplicaAccess, Severity::Error, "rejected the user name or password");
    assert!(!format!("{diagnosis:?}").contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_certificate_that_lacks_the_announced_address_is_reported() {
    let tls = TestTls::new();
    let set = SentinelSet::builder().tls(&tls).replicas(1).start().await;
    let url = format!("{}?ca={}", set.url().replace("redis+", "rediss+"), tls.ca_file().display());
    let diagnosis = diagnose(options(&url)).await;
    assert_finds(&diagnosis, Code::HostNames, Severity::Ok, "their certificates contain it");
    for (right, severity) in [("+sentinel|config", Severity::Ok), ("-sentinel|config", Severity::Unchecked)] {
        for sentinel in &set.sentinels {
            set_user(sentinel, "operator", &[&rules("registry-operator")[..], &[right]].concat()).await;
        }
        let url = format!("{url}&sentinel_user=operator&sentinel_pass={PASSWORD}");
        assert_finds(&diagnose(options(&url)).await, Code::HostNames, severity, "");
    }
    tls.issue_server(&["redis.example"]);
    let (cert, key) = (tls.server_cert(), tls.server_key());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let reloaded = set.servers[1].cli(&["CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key]).await;
    assert_eq!(reloaded, "OK");
    let diagnosis = diagnose(options(&url)).await;
    assert_finds(&diagnosis, Code::ReplicaAccess, Severity::Error, &set.servers[1].addr().to_string());
    assert_finds(&diagnosis, Code::HostNames, Severity::Error, "not all certificates contain it");
    let insecure = format!("{}?insecure=true", set.url().replace("redis+", "rediss+"));
    assert_finds(&diagnose(options(&insecure)).await, Code::HostNames, Severity::Ok, "do not matter");
}
