//! Tests how writes change TTLs, and that every key expires.

use std::time::Duration;

use stream_registry::registry::TtlPolicy;
use stream_registry::{
    Change, ErrorKind, Guard, OnConflict, Outcome, RedisRegistry, RegisterOptions, Registry, StreamStatus,
    UnregisterOptions, Write,
};

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
            // The policy `NeverShorten` keeps a longer TTL, unless the caller registers the stream and so owns it.
            put(HALF_AN_HOUR).await;
            verb.run(&longer, "cam1").await.unwrap_or_else(|error| panic!("{context}: {error}"));
            let left = redis.pttl("cam1").await;
            let expected =
                if matches!(verb, Verb::Register | Verb::TakeOver) { five_minutes } else { 6 * five_minutes };
            assert!(left > expected - 10_000 && left <= expected, "{context}: {left}");
            // It renews a shorter TTL, and sets a TTL on a key without one.
            for px in [0, 10_000] {
                put(px).await;
                verb.run(&longer, "cam1").await.unwrap();
                let left = redis.pttl("cam1").await;
                assert!(left > 290_000 && left <= five_minutes, "{context}: {left}");
            }
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
async fn holder_sets_its_ttl_exactly_whatever_the_policy() {
    let redis = TestRedis::start().await;
    let options = redis.options().ttl(Duration::from_secs(20)).ttl_policy(TtlPolicy::NeverShorten);
    let holder = RedisRegistry::connect(options).await.unwrap();
    for name in ["cam1", "cam2"] {
        let lease = holder.register_with(&stream(name, SOURCE), &RegisterOptions::default().lease()).await.unwrap();
        let guard = Guard::Holder(lease.epoch.unwrap());
        let changes = [
            Change::Heartbeat,
            Change::Status(StreamStatus::Active),
            Change::Stats(Box::new(super::operations::stats())),
            Change::Stats(Box::new(super::operations::all_stats())),
            Change::Patch(Box::new(super::operations::patch())),
            Change::Update(Box::new(stream(name, SOURCE))),
        ];
        for change in changes {
            for forced in [false, true] {
                let guard = if forced { Guard::Force } else { guard.clone() };
                let write = Write { id: id(name), guard, change: change.clone() };
                // The second stream is always written in a batch.
                let mut writes = vec![write];
                if name == "cam2" {
                    writes.push(Write::new(&id("missing"), Change::Heartbeat));
                }
                redis.server.cli(&["PEXPIRE", &format!("mirror:streams:{name}"), "1800000"]).await;
                holder.write(&writes).await.unwrap().swap_remove(0).unwrap();
                let left = redis.pttl(name).await;
                let expected = if forced { 1_800_000 } else { 20_000 };
                assert!(left > expected - 10_000 && left <= expected, "{name}, {:?}: {left}", writes[0]);
            }
        }
        let Guard::Holder(epoch) = guard else { unreachable!("the guard of a lease") };
        redis.server.cli(&["PEXPIRE", &format!("mirror:streams:{name}"), "1800000"]).await;
        holder.register_with(&stream(name, SOURCE), &RegisterOptions::default().recover(epoch)).await.unwrap();
        let left = redis.pttl(name).await;
        assert!(left > 10_000 && left <= 20_000, "{name}, recovery: {left}");
    }
}

#[tokio::test]
async fn record_without_a_ttl_is_stale_by_its_last_heartbeat() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let options = RegisterOptions::default().on_conflict(OnConflict::TakeOverIfStale(Duration::from_secs(60)));
    for (last_heartbeat, is_stale) in [(Duration::ZERO, false), (Duration::from_secs(90), true)] {
        let mut record = stream("cam1", SOURCE);
        let now = stream_registry::Timestamp::now().as_unix_nanos();
        let nanos = i128::try_from(last_heartbeat.as_nanos()).unwrap();
        record.last_heartbeat = stream_registry::Timestamp::from_unix_nanos(now - nanos);
        redis.put("cam1", record.to_json(), 0).await;
        let answer = store.register_with(&stream("cam1", "198.51.100.9:1"), &options).await;
        let outcome = answer.map(|registered| registered.outcome).map_err(|error| error.kind());
        let expected = if is_stale { Ok(Outcome::TakenOver) } else { Err(ErrorKind::AlreadyExists) };
        assert_eq!(outcome, expected, "last written {last_heartbeat:?} ago");
    }
    assert!(redis.pttl("cam1").await > 0);
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
