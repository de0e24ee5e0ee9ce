//! Tests how writes change TTLs, and that every key expires.

use std::time::Duration;

use stream_registry::registry::TtlPolicy;
use stream_registry::{Guard, OnConflict, RedisRegistry, RegisterOptions, Registry, UnregisterOptions};

use super::operations::{ALL, SOURCE, Verb};
use super::{DUE, FEED, INDEX, TestRedis, id, stream};

const HALF_AN_HOUR: u64 = 30 * 60 * 1_000;
const FOREIGN: &str = r#"{"x":[],"source_addr":"203.0.113.7:40112","type":"srt","status":"active"}"#;

#[tokio::test]
async fn never_shorten_policy_never_shortens_a_ttl() {
    let redis = TestRedis::start().await;
    let longer = RedisRegistry::connect(redis.options().ttl_policy(TtlPolicy::NeverShorten)).await.unwrap();
    let renew = redis.store().await;
    let five_minutes = 300_000;
    for verb in ALL.into_iter().filter(|verb| !verb.ends()) {
        for foreign in [false, true] {
            let context = format!("{verb:?}, foreign record {foreign}");
            let put = async |px: u64| {
                let raw_json = if foreign { FOREIGN.to_owned() } else { stream("cam1", SOURCE).to_json() };
                redis.put("cam1", raw_json, px).await;
            };
            // The policy `NeverShorten` keeps a longer TTL, sets no TTL on a key without a TTL, and renews a shorter
            // TTL.
            put(HALF_AN_HOUR).await;
            verb.run(&longer, "cam1").await.unwrap_or_else(|error| panic!("{context}: {error}"));
            let left = redis.pttl("cam1").await;
            assert!(left > 29 * 60 * 1_000 && left <= 30 * 60 * 1_000, "{context}: {left}");
            put(0).await;
            verb.run(&longer, "cam1").await.unwrap();
            // A take-over registers another stream, which must not live forever.
            let left = redis.pttl("cam1").await;
            let expected = if verb == Verb::TakeOver { left > 290_000 && left <= five_minutes } else { left == -1 };
            assert!(expected, "{context}: {left}");
            put(10_000).await;
            verb.run(&longer, "cam1").await.unwrap();
            let left = redis.pttl("cam1").await;
            assert!(left > 290_000 && left <= five_minutes, "{context}: {left}");
            // The policy `Renew` always sets the TTL.
            for px in [0, 10_000, HALF_AN_HOUR] {
                put(px).await;
                verb.run(&renew, "cam1").await.unwrap();
                let left = redis.pttl("cam1").await;
                assert!(left > 290_000 && left <= five_minutes, "{context}: {left}");
            }
        }
    }
}

#[tokio::test]
async fn reads_do_not_renew_the_ttl() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    redis.put("cam2", FOREIGN, 10_000).await;
    let before = redis.dump().await;
    store.get(&id("cam1")).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 2);
    assert_eq!(store.list_page(None, std::num::NonZeroU32::MAX).await.unwrap().streams.len(), 2);
    super::assert_untouched(&before, &redis.dump().await, "reads");
}

#[tokio::test]
async fn remaining_keys_expire_after_unregistration() {
    let redis = TestRedis::start().await;
    for ttl in [1, 300, 86_400] {
        let store = RedisRegistry::connect(redis.options().ttl(Duration::from_secs(ttl))).await.unwrap();
        for round in 0..5 {
            let name = format!("cam{round}");
            for verb in ALL {
                if verb == Verb::Force {
                    store.register(&stream(&name, SOURCE)).await.unwrap();
                }
                verb.run(&store, &name).await.unwrap_or_else(|error| panic!("{verb:?}: {error}"));
            }
        }
        let dump = redis.dump().await;
        assert!(!dump.contains_key(INDEX.as_bytes()), "an empty index has no key");
        assert!(dump.len() >= 5, "tombstones: {}", dump.len());
        for (key, (_, _, left)) in dump.iter().filter(|(key, _)| [FEED, DUE].iter().all(|name| *key != name.as_bytes()))
        {
            let key = String::from_utf8_lossy(key).escape_debug().to_string();
            let most = if key.contains("}op:") { 60_000 } else { (3 * ttl * 1_000).max(3_600_000) };
            assert!(key.contains("\\u{1f}"), "only auxiliary keys remain: {key}");
            assert!(*left > 0 && u64::try_from(*left).unwrap() <= most, "{key} expires in {left} ms");
        }
        redis.flush().await;
    }
}

#[tokio::test]
async fn tombstone_outlives_the_ttl_of_its_stream() {
    const HALF_A_DAY: Duration = Duration::from_secs(12 * 3_600);
    let redis = TestRedis::start().await;
    let long = RedisRegistry::connect(redis.options().ttl(HALF_A_DAY)).await.unwrap();
    let short = redis.store().await;
    let tombstone_ttl = async |cam: &str| {
        let left = redis.server.cli(&["PTTL", &format!("mirror:streams:\u{1f}end:{cam}")]).await;
        left.parse::<u128>().unwrap()
    };
    let least = HALF_A_DAY.as_millis() * 3 - 60_000;
    long.register(&stream("cam1", SOURCE)).await.unwrap();
    // `Force` leaves a tombstone although the stream has no lease.
    let force = UnregisterOptions::default().guard(Guard::Force);
    short.unregister_with(&id("cam1"), &force).await.unwrap();
    assert!(tombstone_ttl("cam1").await > least, "{}", tombstone_ttl("cam1").await);
    // The tombstone of a stream that was taken over also outlives the TTL of that stream.
    let take_over = RegisterOptions::default().on_conflict(OnConflict::TakeOver);
    long.register(&stream("cam2", SOURCE)).await.unwrap();
    short.register_with(&stream("cam2", "198.51.100.9:1"), &take_over).await.unwrap();
    assert!(tombstone_ttl("cam2").await > least, "{}", tombstone_ttl("cam2").await);
    // Two operations must not shorten the TTL of a tombstone: the removal of a stream with a shorter TTL, and a
    // take-over.
    short.register(&stream("cam1", SOURCE)).await.unwrap();
    short.register_with(&stream("cam1", "198.51.100.9:1"), &take_over).await.unwrap();
    assert!(tombstone_ttl("cam1").await > least, "{}", tombstone_ttl("cam1").await);
    short.unregister(&id("cam1")).await.unwrap();
    assert!(tombstone_ttl("cam1").await > least, "{}", tombstone_ttl("cam1").await);
}

#[tokio::test]
async fn later_tombstone_always_has_a_greater_epoch() {
    // Epoch of a tombstone that was written by a machine whose clock was ahead.
    const AHEAD: &str = "7fffffffffffffff-0000000000000000";
    const TOMBSTONE: &str = "\u{1f}end:cam1";
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for (lease, expected) in [(false, format!("{AHEAD}~")), (true, AHEAD.to_owned())] {
        for takes_over in [false, true] {
            let mut options = RegisterOptions::default();
            options.lease = lease;
            store.register_with(&stream("cam1", SOURCE), &options).await.unwrap();
            redis.put_unindexed(TOMBSTONE, AHEAD, 60_000).await;
            if takes_over {
                let options = options.on_conflict(OnConflict::TakeOver);
                store.register_with(&stream("cam1", "198.51.100.9:1"), &options).await.unwrap();
            } else {
                store.unregister_with(&id("cam1"), &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
            }
            let tombstone = String::from_utf8(redis.raw_json(TOMBSTONE).await.unwrap()).unwrap();
            assert_eq!(tombstone, expected, "lease: {lease}, takes over: {takes_over}");
            redis.flush().await;
        }
    }
}

#[tokio::test]
async fn only_leased_or_forced_removals_leave_a_tombstone() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let has_tombstone =
        async |cam: &str| redis.server.cli(&["EXISTS", &format!("mirror:streams:\u{1f}end:{cam}")]).await == "1";
    for cam in ["plain", "forced"] {
        store.register(&stream(cam, SOURCE)).await.unwrap();
    }
    let registered = store.register_with(&stream("leased", SOURCE), &RegisterOptions::default().lease()).await.unwrap();
    store.unregister(&id("plain")).await.unwrap();
    store.unregister_with(&id("forced"), &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
    let guard = Guard::Holder(registered.epoch.unwrap());
    store.unregister_with(&id("leased"), &UnregisterOptions::default().guard(guard)).await.unwrap();
    assert!(!has_tombstone("plain").await);
    assert!(has_tombstone("forced").await);
    assert!(has_tombstone("leased").await);
}

#[tokio::test]
async fn calls_without_an_operation_id_store_no_result() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    store.register(&stream("cam1", SOURCE)).await.unwrap();
    store.unregister(&id("cam1")).await.unwrap();
    let results = redis.server.cli(&["KEYS", "*op:*"]).await;
    assert_eq!(results, "");
}
