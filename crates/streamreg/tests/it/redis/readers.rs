//! Users with read permissions can read everything, and read-only stores write nothing.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use stream_registry::{ErrorKind, RedisRegistry, Registry};
use testkit::Replica;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::operations::ALL;
use super::{INDEX, PASSWORD, TestRedis, id, stream};

const STREAMS: usize = 300;

async fn redis_with_streams() -> (TestRedis, RedisRegistry) {
    let redis = TestRedis::start().await;
    let owner = redis.store().await;
    for at in 0..STREAMS {
        owner.register(&stream(&format!("cam{at}"), "h:1")).await.unwrap();
    }
    // Adds ids without a record, a key of the wrong type, and an unreadable record.
    for stale in ["gone1", "gone2"] {
        redis.server.cli(&["SADD", INDEX, stale]).await;
    }
    redis.server.cli(&["SADD", INDEX, "wrong"]).await;
    redis.server.cli(&["HSET", "mirror:streams:wrong", "a", "b"]).await;
    redis.put("unreadable", "not json", 0).await;
    (redis, owner)
}

/// Reads with every method and asserts the number of streams that each one returns.
async fn read_all(store: &RedisRegistry, context: &str) {
    for round in 0..3 {
        let snapshot = store.snapshot().await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
        assert_eq!(snapshot.streams.len(), STREAMS, "{context}, round {round}");
        assert!(snapshot.unreadable >= 1, "{context}");
        let mut seen = BTreeSet::new();
        let mut cursor = None;
        loop {
            let page = store.list_page(cursor.as_ref(), NonZeroU32::new(64).unwrap()).await;
            let page = page.unwrap_or_else(|error| panic!("{context}: {error:?}"));
            seen.extend(page.streams.into_iter().map(|stream| stream.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), STREAMS, "{context}");
        assert_eq!(store.get(&id("cam7")).await.unwrap_or_else(|e| panic!("{context}: {e:?}")).id, id("cam7"));
        for (name, kind) in
            [("gone1", ErrorKind::NotFound), ("wrong", ErrorKind::Corrupt), ("unreadable", ErrorKind::Corrupt)]
        {
            assert_eq!(store.get(&id(name)).await.unwrap_err().kind(), kind, "{context}: {name}");
        }
        store.ping().await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    }
}

#[tokio::test]
async fn readers_with_few_permissions_read_everything() {
    let (redis, _) = redis_with_streams().await;
    for (name, rules) in [
        ("narrow", "+@read +@connection ~mirror:streams:*"),
        ("narrow_read_key", "+@read +@connection %R~mirror:streams:*"),
        ("narrow_time", "+@read +@connection +time ~mirror:streams:*"),
        ("scripts", "+@read +@connection +@scripting ~mirror:streams:*"),
        ("all_keys", "+@read +@connection allkeys"),
        ("all_keys_scripts", "+@read +@connection +@scripting allkeys"),
        ("no_sort", "allkeys +@all -sort_ro"),
        ("no_sort_no_scripts", "allkeys +@all -sort_ro -evalsha -eval"),
    ] {
        redis.user(name, rules).await;
        for read_only in [true, false] {
            // Each case begins with stale ids. A store removes them if it has the permission.
            redis.server.cli(&["SADD", INDEX, "gone1", "gone2"]).await;
            let mut options: stream_registry::redis::RedisOptions =
                redis.server.url_as(name, PASSWORD).parse().unwrap();
            options.read_only = read_only;
            let store = RedisRegistry::connect(options).await;
            let store = store.unwrap_or_else(|error| panic!("{rules}: {error:?}"));
            let context = format!("{rules}, read_only {read_only}");
            read_all(&store, &context).await;
            let may_write = rules.contains("+@all") && !rules.contains("-eval") && !read_only;
            assert_eq!(redis.index().await.contains(&b"gone1"[..]), !may_write, "{context}");
            let counted = store.counters();
            assert_eq!(counted.pruned > 0, may_write, "{context}: {counted:?}");
            assert_eq!(counted.prune_failures > 0, !may_write && !read_only, "{context}: {counted:?}");
            if !rules.contains("+@all") || read_only {
                for verb in ALL {
                    let error = verb.run(&store, "cam1").await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Denied, "{context}, {verb:?}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn snapshot_has_no_revision_without_permission_to_read_feed_metadata() {
    let (redis, _) = redis_with_streams().await;
    for rules in ["+@read +@connection +@scripting -hmget ~mirror:streams:*", "+@read +@connection -hmget allkeys"] {
        redis.user("no_hmget", rules).await;
        let options: stream_registry::redis::RedisOptions = redis.server.url_as("no_hmget", PASSWORD).parse().unwrap();
        let store = RedisRegistry::connect(options.read_only()).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!((snapshot.streams.len(), snapshot.revision), (STREAMS, None), "{rules}");
    }
}

/// Returns the number of connections that the server has accepted.
async fn accepted(redis: &TestRedis) -> u64 {
    let info = redis.server.cli(&["INFO", "stats"]).await;
    let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    count.and_then(|count| count.trim().parse().ok()).expect("INFO contains the number of connections")
}

#[tokio::test]
async fn large_list_is_the_same_over_a_separate_and_the_shared_connection() {
    const LARGE: usize = 3_000;
    let (redis, owner) = redis_with_streams().await;
    owner.close().await.unwrap();
    for at in 0..LARGE {
        redis.put(&format!("large \u{e9} {at}"), stream("other", "h:1").to_json(), 0).await;
    }
    redis.user("separate", "+@all allkeys").await;
    // Without the size of the index, or without a further connection, the list uses the shared connection.
    redis.user("shared", "+@all -scard allkeys").await;
    let mut lists = Vec::new();
    for (user, full, connections) in [("separate", false, 2), ("shared", false, 1), ("separate", true, 2)] {
        let store = redis.store_as(user).await;
        // The first list opens the connection that all lists share.
        store.list().await.unwrap();
        redis.server.cli(&["SADD", INDEX, "gone1"]).await;
        if full {
            // The limit counts the connection of `redis-cli`, which closes after the command.
            let clients = redis.server.cli(&["CLIENT", "LIST"]).await.trim().lines().count();
            redis.server.cli(&["CONFIG", "SET", "maxclients", &(clients - 1).max(1).to_string()]).await;
        }
        let before = if full { 0 } else { accepted(&redis).await };
        let snapshot = store.snapshot().await.unwrap_or_else(|error| panic!("{user}, full {full}: {error:?}"));
        if !full {
            // `INFO` uses one more connection.
            assert_eq!(accepted(&redis).await - before, connections, "{user}");
        }
        let mut streams = snapshot.streams;
        assert_eq!(streams.len(), STREAMS + LARGE, "{user}, full {full}");
        streams.sort_by(|a, b| a.id.cmp(&b.id));
        assert!(streams.iter().any(|stream| stream.id == id("large \u{e9} 2999")), "{user}, full {full}");
        lists.push((streams, snapshot.unreadable, snapshot.revision));
        if !full {
            assert!(!redis.index().await.contains(&b"gone1"[..]), "{user}");
        }
    }
    assert!(lists.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn list_accepts_the_maximum_timeout() {
    let (redis, _) = redis_with_streams().await;
    let store = RedisRegistry::connect(redis.options().list_timeout(Duration::MAX)).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), STREAMS);
}

#[tokio::test]
async fn replica_serves_reads() {
    let (redis, owner) = redis_with_streams().await;
    // The owner is closed, because its sweep would also remove stale ids.
    owner.close().await.unwrap();
    redis.server.cli(&["SADD", INDEX, "gone0"]).await;
    let replica = Replica::of(&redis.server).await;
    replica.caught_up(&redis.server).await;
    for read_only in [true, false] {
        let mut options: stream_registry::redis::RedisOptions = replica.url().parse().unwrap();
        options.read_only = read_only;
        let store = RedisRegistry::connect(options).await.unwrap();
        read_all(&store, &format!("a replica, read_only {read_only}")).await;
    }
    assert!(redis.index().await.contains(&b"gone0"[..]), "a store on a replica cannot remove stale ids");
    redis.store().await.list().await.unwrap();
    assert!(!redis.index().await.contains(&b"gone0"[..]), "a store on the primary can");
}

/// Returns every command that the server receives while `reads` runs, with its arguments.
pub(super) async fn commands_during<F: Future<Output = ()>>(redis: &TestRedis, reads: F) -> Vec<String> {
    let mut child = tokio::process::Command::new("redis-cli")
        .arg("-s")
        .arg(redis.server.socket())
        .arg("MONITOR")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("OK"));
    reads.await;
    redis.server.cli(&["ECHO", "end of the commands"]).await;
    let mut seen = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("end of the commands") {
            break;
        }
        seen.push(line);
    }
    child.kill().await.unwrap();
    seen
}

#[tokio::test]
async fn read_only_store_writes_nothing() {
    let (redis, _) = redis_with_streams().await;
    redis.user("scripts", "+@read +@connection +@scripting +time ~mirror:streams:*").await;
    redis.user("plain", "+@read +@connection +time ~mirror:streams:*").await;
    let before = redis.dump().await;
    let urls = [redis.server.url(), redis.server.url_as("scripts", PASSWORD), redis.server.url_as("plain", PASSWORD)];
    let seen = commands_during(&redis, async {
        for url in &urls {
            let options: stream_registry::redis::RedisOptions = url.parse().unwrap();
            let store = RedisRegistry::connect(options.read_only()).await.unwrap();
            read_all(&store, url).await;
            for verb in ALL {
                assert_eq!(verb.run(&store, "cam1").await.unwrap_err().kind(), ErrorKind::Denied, "{verb:?}");
            }
            store.close().await.unwrap();
        }
    })
    .await;
    assert!(seen.len() > 50, "the monitor saw only {} commands", seen.len());
    let commands: BTreeSet<String> = seen
        .iter()
        .filter_map(|line| line.split_once("] \"").map(|(_, rest)| rest.split('"').next().unwrap_or("").to_uppercase()))
        .collect();
    let reading = [
        "HELLO", "CLIENT", "AUTH", "TIME", "PING", "MGET", "GET", "TYPE", "EXISTS", "SORT_RO", "SMEMBERS", "SSCAN",
        "SCARD", "EVALSHA", "EVAL", "SELECT", "HMGET", "MULTI", "EXEC", "XREAD", "INFO",
    ];
    let other: Vec<_> = commands.iter().filter(|command| !reading.contains(&command.as_str())).collect();
    assert!(other.is_empty(), "commands other than reads: {other:?}");
    // The store runs only a script whose flags forbid writes.
    let scripts = seen.iter().filter(|line| line.contains("\"EVAL\""));
    assert!(scripts.clone().count() > 0 && scripts.clone().all(|line| line.contains("#!lua flags=no-writes")));
    super::assert_untouched(&before, &redis.dump().await, "read only");
}
