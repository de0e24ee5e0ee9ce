//! Checks that the documented rights of each role are sufficient, that each of them is necessary, and that a diagnosis
//! recognises the roles.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::lease::{LeaseOptions, LeaseState, Leases};
use stream_registry::redis::{DiagnoseOptions, Diagnosis, RedisOptions, Role, Severity};
use stream_registry::registry::TtlPolicy;
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{OnConflict, RedisRegistry, Registry, StreamStatus, connect};
use testkit::{RedisServer, SentinelSet};

use super::operations::{SOURCE, patch, totals};
use super::permissions::{denied, open, rules, write};
use super::sweep_permissions::denials;
use super::{FEED, INDEX, PASSWORD, TIMEOUT, TestRedis, stream};

/// Commands that a node may lack, because other processes report expired streams.
pub(super) const SWEEP_ONLY: [&str; 3] = ["config|get", "zrangebyscore", "zscore"];

fn rights(rules: &[&str]) -> BTreeSet<String> {
    rules.iter().filter_map(|rule| rule.strip_prefix('+')).map(str::to_owned).collect()
}

/// Returns the rules without each of its rights in turn.
fn one_right_less<'a>(rules: &'a [&'a str]) -> impl Iterator<Item = (&'a str, Vec<&'a str>)> {
    let rights = rules.iter().filter(|rule| rule.starts_with('+'));
    rights.map(|removed| (*removed, rules.iter().copied().filter(|rule| rule != removed).collect()))
}

fn check<T, E: ToString>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

#[test]
fn documented_rights_are_those_that_a_diagnosis_checks() {
    for role in Role::ALL {
        let checked: BTreeSet<_> = role.commands().into_iter().map(str::to_owned).collect();
        assert_eq!(rights(&rules(role.as_str())), checked, "{role}");
    }
}

/// Does everything that an ingest node does: leases with recovery and take-over, other writes, and a watch.
async fn work_as_node(redis: &TestRedis, rules: &[&str]) -> Result<(), String> {
    redis.flush().await;
    denied(redis).await;
    for policy in [TtlPolicy::Renew, TtlPolicy::NeverShorten] {
        let store = Arc::new(check(open(redis, rules, |options| options.ttl_policy(policy)).await)?);
        redis.server.cli(&["SCRIPT", "FLUSH"]).await;
        check(store.ping().await)?;
        check(write(redis, &store).await)?;
        let watch = check(store.watch(WatchFrom::Oldest).await)?;
        let leases = Leases::new(store.clone(), LeaseOptions::default());
        let lease = check(leases.acquire(stream("leased", SOURCE)).await)?;
        lease.report(totals(7));
        check(lease.patch(patch()))?;
        check(lease.set_status(StreamStatus::Active).await)?;
        check(lease.flush().await)?;
        // The record is lost, and the holder registers it again.
        redis.server.cli(&["DEL", "mirror:streams:leased"]).await;
        lease.report(totals(8));
        check(lease.flush().await)?;
        if redis.raw_json("leased").await.is_none() {
            return Err(format!("the lease was not recovered: {:?}", lease.state()));
        }
        let other = check(leases.acquire_with(stream("leased", "198.51.100.9:1"), OnConflict::TakeOver).await)?;
        let taken_over = tokio::time::timeout(TIMEOUT, lease.ended()).await;
        if taken_over.is_err() || other.state() != LeaseState::Held {
            return Err("the take-over went unnoticed".to_owned());
        }
        check(other.release().await)?;
        drop(watch);
        let denied = denied(redis).await.into_iter().find(|object| !SWEEP_ONLY.contains(&object.as_str()));
        if let Some(denied) = denied {
            return Err(format!("{denied} was denied"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn node_needs_exactly_the_documented_permissions() {
    let redis = TestRedis::start().await;
    let rules = rules("node");
    work_as_node(&redis, &rules).await.unwrap();
    for (removed, fewer) in one_right_less(&rules) {
        assert!(
            work_as_node(&redis, &fewer).await.is_err(),
            "{removed} is not needed; remove it from the documentation"
        );
    }
}

/// Lets a stream of another program expire, with an index entry without a record and a damaged feed.
async fn sweep(redis: &TestRedis, rules: &[&str]) -> Result<(), String> {
    redis.flush().await;
    redis.server.cli(&["SCRIPT", "FLUSH"]).await;
    // This registry is read-only, so it does not sweep.
    let watcher = check(RedisRegistry::connect(redis.options().read_only()).await)?;
    let mut watch = check(watcher.watch(WatchFrom::Oldest).await)?;
    denied(redis).await;
    redis.put("foreign", stream("foreign", SOURCE).to_json(), 1_000).await;
    redis.server.cli(&["SADD", INDEX, "gone"]).await;
    let _sweeper = check(open(redis, rules, |options| options.ttl(Duration::from_secs(1))).await)?;
    let deadline = std::time::Instant::now() + TIMEOUT;
    let denied_before = denials(redis).await;
    let mut ended = false;
    while std::time::Instant::now() < deadline {
        let event = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
        if let Ok(Some(Event::Ended { last, .. })) = &event {
            if last.source_addr != SOURCE {
                return Err("the last record was lost".to_owned());
            }
            ended = true;
            redis.server.cli(&["XADD", FEED, "*", "w", "stray"]).await;
        }
        let denied = denied(redis).await.into_iter().find(|object| object != "config|get");
        // What a script denies itself is counted, but not logged.
        if denied.is_some() || denials(redis).await > denied_before {
            return Err(format!("{denied:?} was denied"));
        }
        let is_repaired = redis.server.cli(&["XREVRANGE", FEED, "+", "-", "COUNT", "1"]).await.contains("repaired");
        if ended && is_repaired && !redis.index().await.contains(&b"gone"[..]) {
            return Ok(());
        }
    }
    Err(format!("expired: {ended}; index: {:?}", redis.index().await))
}

#[tokio::test]
async fn sweeper_needs_exactly_the_documented_permissions() {
    let redis = TestRedis::start().await;
    let rules = rules("sweeper");
    sweep(&redis, &rules).await.unwrap();
    let mut unneeded = Vec::new();
    for (removed, fewer) in one_right_less(&rules) {
        if sweep(&redis, &fewer).await.is_ok() {
            unneeded.push(removed);
        }
    }
    assert_eq!(unneeded, [""; 0], "remove these from the documentation");
}

async fn diagnose(redis: &TestRedis, rules: &[&str], options: &DiagnoseOptions) -> Diagnosis {
    let store = open(redis, rules, RedisOptions::read_only).await.unwrap();
    store.diagnose(options).await.unwrap()
}

#[tokio::test]
async fn operator_needs_exactly_the_documented_permissions() {
    let redis = TestRedis::start().await;
    redis.store().await.register(&stream("there", SOURCE)).await.unwrap();
    let rules = rules("operator");
    let server = super::permissions::rules("server");
    assert!(rights(&server).is_subset(&rights(&rules)), "an operator may do what a server does");
    let unchecked = async |rules: &[&str]| {
        let diagnosis = diagnose(&redis, rules, &DiagnoseOptions::default()).await;
        let remedies = diagnosis.of(Severity::Unchecked).filter_map(|finding| finding.remedy.clone());
        remedies.collect::<Vec<_>>()
    };
    assert_eq!(unchecked(&rules).await, [""; 0]);
    for right in rights(&rules).difference(&rights(&server)) {
        let removed = format!("+{right}");
        let fewer: Vec<_> = rules.iter().copied().filter(|rule| *rule != removed).collect();
        let remedies = unchecked(&fewer).await;
        assert!(
            !remedies.is_empty() && remedies.iter().all(|remedy| remedy.contains(&removed)),
            "{right}: {remedies:?}"
        );
    }
    redis.put_unindexed("lost", stream("lost", SOURCE).to_json(), 60_000).await;
    let repair = open(&redis, &rules, |options| options).await.unwrap().repair_index(&DiagnoseOptions::default()).await;
    assert_eq!(repair.unwrap().added, 1);
}

#[tokio::test]
async fn diagnosis_recognises_each_role_and_names_each_missing_right() {
    let redis = TestRedis::start().await;
    for role in Role::ALL {
        let rules = rules(role.as_str());
        let expected = DiagnoseOptions::default().role(role);
        let find = async |rules: &[&str], options| {
            let diagnosis = diagnose(&redis, rules, options).await;
            diagnosis.findings.into_iter().find(|finding| finding.code.as_str() == "rights").unwrap()
        };
        let found = find(&rules, &expected).await;
        assert_eq!(found.severity, Severity::Ok, "{role}: {}", found.message);
        assert!(found.message.contains(role.as_str()), "{role}: {}", found.message);
        for (removed, fewer) in one_right_less(&rules) {
            // Without it, the user cannot open the registry at all, or the diagnosis cannot ask.
            let found = find(&fewer, &expected).await;
            let remedy = found.remedy.unwrap_or_default();
            assert!(found.severity == Severity::Error && remedy.contains(removed), "{role} {removed}: {remedy}");
        }
        // The rights do not reach beyond the prefix.
        let elsewhere: Vec<_> = rules.iter().map(|rule| rule.replace("mirror:streams:", "media:")).collect();
        let elsewhere: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
        assert_eq!(find(&elsewhere, &expected).await.severity, Severity::Error, "{role}");
    }
    let nothing = diagnose(&redis, &["resetkeys"], &DiagnoseOptions::default()).await;
    let found = nothing.findings.iter().find(|finding| finding.code.as_str() == "rights").unwrap();
    assert!(found.severity == Severity::Error && found.message.contains("no role"), "{}", found.message);
}

/// Creates a user on a server that a set has started.
pub(super) async fn set_user(server: &RedisServer, name: &str, rules: &[&str]) {
    let password = format!(">{PASSWORD}");
    let command = [&["ACL", "SETUSER", name, "reset", "on", &password], rules].concat();
    assert_eq!(server.cli(&command).await, "OK", "{rules:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_users_of_sentinels_suffice_and_need_each_right() {
    let set = SentinelSet::start().await;
    for server in &set.servers {
        set_user(server, "operator", &rules("operator")).await;
    }
    let url = |sentinel: &str| {
        let addresses = set.url().replace("redis+sentinel://", "");
        format!("redis+sentinel://operator:{PASSWORD}@{addresses}?sentinel_user={sentinel}&sentinel_pass={PASSWORD}")
    };
    for sentinel in &set.sentinels {
        set_user(sentinel, "registry", &rules("registry")).await;
        set_user(sentinel, "nothing", &[]).await;
        set_user(sentinel, "registry-operator", &rules("registry-operator")).await;
        for (removed, fewer) in one_right_less(&rules("registry-operator")) {
            set_user(sentinel, &removed[1..], &fewer).await;
        }
    }
    connect(&url("registry")).await.unwrap().register(&stream("cam1", SOURCE)).await.unwrap();
    let error = connect(&url("nothing")).await.err().unwrap();
    assert!(error.message().contains("grant +sentinel|get-master-addr-by-name"), "{error}");
    let unchecked = async |sentinel: &str| {
        let options: RedisOptions = url(sentinel).parse().unwrap();
        let store = RedisRegistry::connect(options.read_only()).await.unwrap();
        let diagnosis = store.diagnose(&DiagnoseOptions::default()).await.unwrap();
        let remedies = diagnosis.of(Severity::Unchecked).filter_map(|finding| finding.remedy.clone());
        remedies.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(unchecked("registry-operator").await, "");
    // `SENTINEL CONFIG` is needed only with TLS, which another test checks.
    for right in ["sentinel|master", "sentinel|ckquorum"] {
        let remedies = unchecked(&right.replace('|', "%7C")).await;
        assert!(remedies.contains(right), "{right}: {remedies}");
    }
}
