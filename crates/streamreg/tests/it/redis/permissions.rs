//! Checks that the permissions in `docs/operations.md` are sufficient, and that each of them is necessary.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use stream_registry::query::Ended;
use stream_registry::redis::RedisOptions;
use stream_registry::registry::TtlPolicy;
use stream_registry::watch::{Event, WatchFrom};
use stream_registry::{Error, ErrorKind, RedisRegistry, Registry, Result, StreamStatus};

use super::operations::{ALL, SOURCE};
use super::sweep_permissions::denials;
use super::{INDEX, PASSWORD, TestRedis, id, stream};
use crate::readme::blocks;

pub(super) const OPERATIONS: &str = include_str!("../../../../../docs/operations.md");

/// Returns the ACL rules of a user in the documentation, without name and password.
pub(crate) fn rules(user: &str) -> Vec<&'static str> {
    let found = blocks(OPERATIONS).into_iter().filter(|(language, _, _)| *language == "acl").count();
    assert_eq!(found, 8, "each documented user is tested here or in another file");
    let start = format!("ACL SETUSER {user} on >SECRET ");
    let line = OPERATIONS.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    line.split(' ').collect()
}

pub(super) async fn open(
    redis: &TestRedis,
    rules: &[&str],
    with: impl Fn(RedisOptions) -> RedisOptions,
) -> Result<RedisRegistry> {
    static USERS: AtomicU32 = AtomicU32::new(0);
    // Each store gets a new user, so that open connections of earlier stores do not interfere.
    let name = format!("user{}", USERS.fetch_add(1, Ordering::Relaxed));
    redis.user(&name, &rules.join(" ")).await;
    let options: RedisOptions = redis.server.url_as(&name, PASSWORD).parse().unwrap();
    RedisRegistry::connect(with(options)).await
}

/// Runs every kind of read.
async fn read(store: &RedisRegistry) -> Result<()> {
    store.ping().await?;
    store.get(&id("there")).await?;
    let missing_stream = store.get(&id("nobody")).await.unwrap_err();
    if missing_stream.kind() != ErrorKind::NotFound {
        return Err(missing_stream);
    }
    for _ in 0..2 {
        assert!(!store.list().await?.is_empty());
        store.history(&Ended::default(), NonZeroU32::MIN).await?;
        assert!(!store.list_page(None, NonZeroU32::new(100).unwrap()).await?.streams.is_empty());
    }
    Ok(())
}

/// Runs every change on canonical records, on foreign records, and on streams whose ids are missing from the index.
pub(super) async fn write(redis: &TestRedis, store: &RedisRegistry) -> Result<()> {
    for verb in ALL {
        for state in ["ours", "another shape", "not in the index", "unusual time"] {
            redis.flush().await;
            let raw_json = match state {
                "another shape" => format!(r#"{{"x":[],"source_addr":"{SOURCE}","type":"srt","status":"active"}}"#),
                "unusual time" => stream("cam", SOURCE).to_json().replace("000000000Z", "0Z"),
                _ => stream("cam", SOURCE).to_json(),
            };
            redis.put("cam", raw_json, 60_000).await;
            if state == "not in the index" {
                redis.server.cli(&["SREM", INDEX, "cam"]).await;
            }
            verb.run(store, "cam").await?;
        }
    }
    redis.flush().await;
    let missing_stream = store.update_heartbeat(&id("nobody")).await.unwrap_err();
    if missing_stream.kind() != ErrorKind::NotFound {
        return Err(missing_stream);
    }
    store.register(&stream("there", SOURCE)).await?;
    Ok(())
}

/// Returns the commands denied to users since the last call.
pub(super) async fn denied(redis: &TestRedis) -> BTreeSet<String> {
    let log = redis.server.cli(&["ACL", "LOG"]).await;
    assert_eq!(redis.server.cli(&["ACL", "LOG", "RESET"]).await, "OK");
    let lines: Vec<_> = log.lines().collect();
    lines.windows(2).filter(|pair| pair[0] == "object").map(|pair| pair[1].to_owned()).collect()
}

/// Returns the commands denied to a writer, except those that the documentation allows to be denied.
pub(super) async fn missing(redis: &TestRedis) -> Option<String> {
    denied(redis)
        .await
        .into_iter()
        .find(|object| !["config|get", "info", "sort_ro", "multi", "exec"].contains(&object.as_str()))
}

/// Lets a stream expire. Another program, which writes no feed, has registered this stream.
pub(super) async fn expire(redis: &TestRedis, rules: &[&str]) -> std::result::Result<(), String> {
    redis.flush().await;
    redis.server.cli(&["SCRIPT", "FLUSH"]).await;
    denied(redis).await;
    let short_ttl = |options: RedisOptions| options.ttl(std::time::Duration::from_secs(1));
    let store = open(redis, rules, short_ttl).await.map_err(|error| error.to_string())?;
    let mut watch = store.watch(WatchFrom::Oldest).await.map_err(|error| error.to_string())?;
    redis.put("foreign", stream("foreign", SOURCE).to_json(), 1_000).await;
    redis.server.cli(&["SADD", INDEX, "foreign"]).await;
    let deadline = std::time::Instant::now() + super::TIMEOUT;
    let denied_before = denials(redis).await;
    while std::time::Instant::now() < deadline {
        let event = tokio::time::timeout(std::time::Duration::from_millis(100), watch.next()).await;
        let missing = missing(redis).await;
        // What a script denies itself is counted, but not logged.
        if missing.is_some() || denials(redis).await > denied_before {
            return Err(format!("{missing:?} was denied"));
        }
        if let Ok(Some(Event::Ended { last, .. })) = event {
            return if last.source_addr == SOURCE { Ok(()) } else { Err("the last record was lost".to_owned()) };
        }
    }
    Err("the expiry was not emitted".to_owned())
}

/// Runs everything that a writer does, with both TTL policies. This includes the removal of stale index entries.
async fn work(redis: &TestRedis, rules: &[&str]) -> std::result::Result<(), String> {
    expire(redis, rules).await?;
    for policy in [TtlPolicy::Renew, TtlPolicy::NeverShorten] {
        let store =
            open(redis, rules, |options| options.ttl_policy(policy)).await.map_err(|error| error.to_string())?;
        // The permissions must also suffice after the script cache was flushed.
        redis.server.cli(&["SCRIPT", "FLUSH"]).await;
        write(redis, &store).await.map_err(|error| error.to_string())?;
        redis.server.cli(&["SADD", INDEX, "gone"]).await;
        read(&store).await.map_err(|error| error.to_string())?;
        let counted = store.counters();
        // The read or the sweep must have removed the id that has no record.
        if counted.prune_failures > 0 || redis.index().await.contains(&b"gone"[..]) {
            return Err(format!("ids without a record stay: {counted:?}"));
        }
        if let Some(missing) = missing(redis).await {
            return Err(format!("{missing} was denied"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn server_needs_exactly_the_documented_permissions() {
    let redis = TestRedis::start().await;
    let rules = rules("server");
    work(&redis, &rules).await.unwrap();
    for removed in rules.iter().filter(|rule| rule.starts_with('+')) {
        let fewer: Vec<_> = rules.iter().copied().filter(|rule| rule != removed).collect();
        assert!(work(&redis, &fewer).await.is_err(), "{removed} is not needed; remove it from the documentation");
    }
}

#[tokio::test]
async fn reader_needs_exactly_the_documented_permissions() {
    let redis = TestRedis::start().await;
    redis.store().await.register(&stream("there", SOURCE)).await.unwrap();
    let rules = rules("reader");
    let writer = redis.store().await;
    let read_all = async |rules: &[&str]| {
        let reader = open(&redis, rules, |options| options.read_only()).await?;
        read(&reader).await?;
        reader.watch(WatchFrom::Oldest).await?;
        let mut watch = reader.watch(WatchFrom::Now).await?;
        let now = writer.get(&id("there")).await?.status;
        let other = if now == StreamStatus::Active { StreamStatus::Paused } else { StreamStatus::Active };
        writer.update_status(&id("there"), other).await?;
        match tokio::time::timeout(std::time::Duration::from_secs(2), watch.next()).await {
            Ok(Some(Event::Changed { .. })) => Ok(()),
            other => Err(Error::new(ErrorKind::Internal, format!("no event: {other:?}"))),
        }
    };
    read_all(&rules).await.unwrap();
    // The documentation says that the server may deny these commands.
    assert_eq!(
        denied(&redis).await,
        ["config|get", "evalsha", "exec", "info", "multi", "sort_ro", "time"].map(str::to_owned).into()
    );
    // Without `xrevrange`, a history reads the whole feed. Another test checks this.
    for removed in rules.iter().filter(|rule| rule.starts_with('+') && **rule != "+xrevrange") {
        let fewer: Vec<_> = rules.iter().copied().filter(|rule| rule != removed).collect();
        assert!(read_all(&fewer).await.is_err(), "{removed} is not needed; remove it from the documentation");
    }
    // With these extra permissions, the reader uses the faster strategy that the documentation describes.
    let faster = [&rules[..], &["+sort_ro", "+multi", "+exec", "%R~*"]].concat();
    denied(&redis).await;
    read_all(&faster).await.unwrap();
    assert_eq!(
        denied(&redis).await,
        ["config|get", "info", "time"].map(str::to_owned).into(),
        "the whole list is one command"
    );
    // Readers cannot write, even without the read-only option.
    let store = open(&redis, &rules, |options| options).await.unwrap();
    for verb in ALL {
        assert_eq!(verb.run(&store, "there").await.unwrap_err().kind(), ErrorKind::Denied, "{verb:?}");
    }
}

#[tokio::test]
async fn selecting_another_database_needs_one_more_permission() {
    let redis = TestRedis::start().await;
    for (user, more, good) in [("without", "", false), ("with", "+select", true)] {
        let rules = [&rules("server")[..], &[more]].concat();
        redis.user(user, rules.join(" ").trim()).await;
        let options: RedisOptions = format!("{}/5", redis.server.url_as(user, PASSWORD)).parse().unwrap();
        let registered = match RedisRegistry::connect(options).await {
            Ok(store) => store.register(&stream("there", SOURCE)).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert_eq!(registered.is_ok(), good, "{user}: {registered:?}");
    }
    assert_eq!(redis.server.cli(&["-n", "5", "SMEMBERS", INDEX]).await, "there");
}
