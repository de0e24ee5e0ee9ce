//! Tests of the Redis store with real servers, network faults and records of other programs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]
#![allow(clippy::print_stdout, reason = "measurements, shown with --nocapture")]

mod batched_registrations;
mod cancellation;
mod compare;
mod damaged_feed;
mod doctor;
mod eviction;
mod failed_changes;
mod feed;
mod feed_waits;
mod foreign_records;
mod full_memory;
mod fuzz;
mod get_many;
mod history;
mod index;
mod interop;
mod json;
mod lease;
mod lease_cancellation;
mod lease_processes;
mod node;
mod observer;
mod operations;
mod outage;
mod pages;
mod passwords;
pub(crate) mod permissions;
mod races;
mod readers;
mod roles;
mod roles_in_cluster;
mod scripts;
mod shared_feed;
mod slow_network;
mod start;
mod sweep;
mod sweep_permissions;
mod take_over;
mod tls;
mod ttl;
mod view;
mod watch_cancellation;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::redis::AsyncCommands as _;
use ::redis::aio::MultiplexedConnection;
use stream_registry::redis::RedisOptions;
use stream_registry::{Error, RedisRegistry, Stream, StreamId, StreamType};
use testkit::{RedisBuilder, RedisServer};

pub(crate) const PREFIX: &str = "mirror:streams:";
pub(crate) const FEED: &str = "mirror:streams:\u{1f}feed";
/// Key of the sorted set of the times at which the sweep checks each stream.
pub(crate) const DUE: &str = "mirror:streams:\u{1f}due";
pub(crate) const FEED_METADATA: &str = "mirror:streams:\u{1f}facts";
pub(crate) const INDEX: &str = "mirror:streams:active";
/// Password of all test users. No error message may contain this password.
pub(crate) const PASSWORD: &str = "secret-9f3a";

/// A Redis server and a connection with all permissions.
pub(crate) struct TestRedis {
    pub(crate) server: RedisServer,
    pub(crate) raw: MultiplexedConnection,
}

/// Content of a server: type, serialised value and remaining TTL of each key.
pub(crate) type Dump = BTreeMap<Vec<u8>, (String, Vec<u8>, i64)>;

pub(crate) fn id(name: &str) -> StreamId {
    name.parse().unwrap_or_else(|error| panic!("{name:?}: {error}"))
}

pub(crate) fn stream(name: &str, source: &str) -> Stream {
    Stream::new(id(name), StreamType::Srt, source)
}

pub(crate) fn key(name: &str) -> Vec<u8> {
    [PREFIX.as_bytes(), name.as_bytes()].concat()
}

/// Asserts that an error and its sources do not contain the password.
pub(crate) fn assert_no_secret(error: &Error) {
    let mut all = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        all.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    assert!(!all.contains(PASSWORD), "the error contains the password: {all}");
}

impl TestRedis {
    pub(crate) async fn start() -> Self {
        Self::with(RedisServer::builder()).await
    }

    pub(crate) async fn with(builder: RedisBuilder) -> Self {
        Self::of(builder.start().await).await
    }

    pub(crate) async fn of(server: RedisServer) -> Self {
        // The default reply timeout is too short for a busy machine.
        let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        let raw = server.client().get_multiplexed_async_connection_with_config(&config).await.unwrap();
        Self { server, raw }
    }

    pub(crate) fn options(&self) -> RedisOptions {
        self.server.url().parse().unwrap()
    }

    pub(crate) async fn store(&self) -> RedisRegistry {
        RedisRegistry::connect(self.options()).await.unwrap()
    }

    pub(crate) async fn store_as(&self, user: &str) -> RedisRegistry {
        let options: RedisOptions = self.server.url_as(user, PASSWORD).parse().unwrap();
        RedisRegistry::connect(options).await.unwrap_or_else(|error| panic!("{user}: {error:?}"))
    }

    /// Creates a user with ACL rules and the tests' password.
    pub(crate) async fn user(&self, name: &str, rules: &str) {
        let mut raw = self.raw.clone();
        let mut command = ::redis::cmd("ACL");
        command.arg("SETUSER").arg(name).arg("reset").arg("on").arg(format!(">{PASSWORD}"));
        for rule in rules.split(' ') {
            command.arg(rule);
        }
        let _: String = command.query_async(&mut raw).await.unwrap_or_else(|error| panic!("{rules}: {error}"));
    }

    /// Stores a record and its index entry as another program does; a `px` of 0 sets no TTL.
    pub(crate) async fn put(&self, name: &str, raw_json: impl AsRef<[u8]>, px: u64) {
        self.put_unindexed(name, raw_json, px).await;
        let _: i64 = self.raw.clone().sadd(INDEX, name).await.unwrap();
    }

    /// Stores a record without an index entry; a `px` of 0 sets no TTL.
    pub(crate) async fn put_unindexed(&self, name: &str, raw_json: impl AsRef<[u8]>, px: u64) {
        let mut command = ::redis::cmd("SET");
        command.arg(key(name)).arg(raw_json.as_ref());
        if px > 0 {
            command.arg("PX").arg(px);
        }
        let _: String = command.query_async(&mut self.raw.clone()).await.unwrap();
    }

    pub(crate) async fn raw_json(&self, name: &str) -> Option<Vec<u8>> {
        self.raw.clone().get(key(name)).await.unwrap()
    }

    pub(crate) async fn pttl(&self, name: &str) -> i64 {
        self.raw.clone().pttl(key(name)).await.unwrap()
    }

    pub(crate) async fn index(&self) -> BTreeSet<Vec<u8>> {
        self.raw.clone().smembers(INDEX).await.unwrap()
    }

    pub(crate) async fn flush(&self) {
        let _: String = ::redis::cmd("FLUSHALL").query_async(&mut self.raw.clone()).await.unwrap();
    }

    pub(crate) async fn dump(&self) -> Dump {
        let mut raw = self.raw.clone();
        let keys: Vec<Vec<u8>> = raw.keys("*").await.unwrap();
        let mut answers = Vec::new();
        for keys in keys.chunks(500) {
            let mut pipeline = ::redis::pipe();
            for key in keys {
                pipeline.cmd("TYPE").arg(key).cmd("DUMP").arg(key).cmd("PTTL").arg(key);
            }
            let values: Vec<::redis::Value> = pipeline.query_async(&mut raw).await.unwrap();
            answers.extend(values.chunks_exact(3).map(|one| {
                ::redis::from_redis_value::<(String, Option<Vec<u8>>, i64)>(::redis::Value::Array(one.to_vec()))
                    .unwrap()
            }));
        }
        let mut dump = Dump::new();
        for (key, (kind, value, left)) in keys.into_iter().zip(answers) {
            // Skip keys that have expired since `KEYS`.
            let Some(mut value) = value else { continue };
            if kind == "set" {
                let members: BTreeSet<Vec<u8>> = raw.smembers(&key).await.unwrap();
                value = members.into_iter().collect::<Vec<_>>().join(&b'\n');
            }
            // The feed metadata is left out, because every sweep changes it.
            if left != -2 && key != FEED_METADATA.as_bytes() {
                dump.insert(key, (kind, value, left));
            }
        }
        dump
    }

    /// Asserts that the index lists exactly the stored records and that all other keys have a TTL or a bounded size.
    pub(crate) async fn assert_consistent(&self, context: &str) {
        let index = self.index().await;
        let mut records = BTreeSet::new();
        for (key, (_, _, left)) in self.dump().await {
            // The size of these keys is bounded by the number of streams or by the maximum length of the feed.
            if [INDEX, FEED, DUE].iter().any(|name| key == name.as_bytes()) {
                continue;
            }
            assert!(left > 0, "{context}: {:?} has no TTL", String::from_utf8_lossy(&key));
            let name = key.strip_prefix(PREFIX.as_bytes()).expect("every key has the prefix").to_vec();
            if name[0] != 0x1f {
                records.insert(name);
            }
        }
        let show = |set: &BTreeSet<Vec<u8>>| -> Vec<String> {
            set.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        };
        assert_eq!(show(&index), show(&records), "{context}: index and records differ");
    }
}

/// Asserts that a failed call changed nothing and extended no TTL.
pub(crate) fn assert_untouched(before: &Dump, after: &Dump, context: &str) {
    let names = |dump: &Dump| -> Vec<String> {
        dump.keys().map(|key| String::from_utf8_lossy(key).escape_debug().to_string()).collect()
    };
    assert_eq!(names(before), names(after), "{context}: the keys differ");
    for (key, (kind, value, left)) in before {
        let (kind_now, value_now, left_now) = &after[key];
        let key = String::from_utf8_lossy(key);
        assert_eq!((kind, value), (kind_now, value_now), "{context}: {key:?} changed");
        let lowered = *left == -1 && *left_now == -1 || *left > 0 && *left_now > 0 && left_now <= left;
        assert!(lowered, "{context}: the TTL of {key:?} rose from {left} to {left_now} ms");
    }
}

/// Time limit of each condition. It is long enough for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
