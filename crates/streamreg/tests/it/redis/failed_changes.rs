//! A failed change has no effect: every key keeps its value and its TTL.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::redis::RedisOptions;
use stream_registry::registry::TtlPolicy;
use stream_registry::stream::OperationId;
use stream_registry::{ErrorKind, Outcome, RedisRegistry, RegisterOptions, Registry, UnregisterOptions};
use testkit::{FaultProxy, RedisServer, Replica, wait_until};

use super::operations::{ALL, SOURCE, Verb};
use super::{INDEX, PASSWORD, TIMEOUT, TestRedis, assert_no_secret, assert_untouched, id, key, stream};

/// State of the stream before the operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Absent,
    Own,
    Foreign,
    NotInIndex,
}

const STATES: [State; 4] = [State::Absent, State::Own, State::Foreign, State::NotInIndex];
const NAME: &str = "cam 1";
const FOREIGN: &str = r#"{"x":[],"source_addr":"203.0.113.7:40112","type":"srt","status":"active"}"#;

/// Empties the server and prepares a state.
async fn prepare(redis: &TestRedis, state: State) {
    redis.flush().await;
    // A second stream ensures that the index exists. Its tombstone represents an earlier removal.
    redis.put("bystander", stream("bystander", "h:1").to_json(), 200_000).await;
    redis.put_unindexed("\u{1f}end:bystander", "x", 200_000).await;
    match state {
        State::Absent => {}
        State::Own => redis.put(NAME, stream(NAME, SOURCE).to_json(), 200_000).await,
        State::Foreign => redis.put(NAME, FOREIGN, 0).await,
        State::NotInIndex => redis.put_unindexed(NAME, FOREIGN.replace("[]", "{}"), 90_000).await,
    }
    if state != State::Foreign {
        // The TTL is shortened, so that the test can detect a failed write that renews the TTL.
        let _: i64 =
            ::redis::cmd("PEXPIRE").arg(key(NAME)).arg(100_000).query_async(&mut redis.raw.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn every_change_fails_without_effect_when_the_index_has_the_wrong_type() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for kind in ["string", "hash", "list", "stream"] {
        for state in STATES {
            prepare(&redis, state).await;
            let mut raw = redis.raw.clone();
            let _: i64 = ::redis::cmd("DEL").arg(INDEX).query_async(&mut raw).await.unwrap();
            let make: &[&str] = match kind {
                "string" => &["SET", INDEX, "x"],
                "hash" => &["HSET", INDEX, "a", "b"],
                "list" => &["RPUSH", INDEX, "a"],
                _ => &["XADD", INDEX, "*", "a", "b"],
            };
            redis.server.cli(make).await;
            for verb in ALL {
                let context = format!("{verb:?}, index a {kind}, {state:?}");
                let before = redis.dump().await;
                let error = verb.run(&store, NAME).await.expect_err(&context);
                let absent = state == State::Absent && !matches!(verb, Verb::Register | Verb::TakeOver);
                let expected = if absent { ErrorKind::NotFound } else { ErrorKind::Corrupt };
                assert_eq!(error.kind(), expected, "{context}: {error}");
                assert!(!error.may_have_applied(), "{context}");
                assert_untouched(&before, &redis.dump().await, &context);
            }
            // Reading a single stream does not need the index. Listing streams needs the index and fails.
            let got = store.get(&id(NAME)).await;
            assert_eq!(got.is_ok(), state != State::Absent);
            let page = store.list_page(None, std::num::NonZeroU32::MIN).await.map(|_| ());
            assert_eq!(page.unwrap_err().kind(), ErrorKind::Corrupt, "{kind}");
            // A full list uses SORT, which accepts an index of the Redis type list as well.
            if kind != "list" {
                assert_eq!(store.list().await.unwrap_err().kind(), ErrorKind::Corrupt, "{kind}");
            }
        }
    }
}

#[tokio::test]
async fn missing_permission_fails_every_change_without_effect() {
    let redis = TestRedis::start().await;
    let mut cases = 0;
    let mut wrong = Vec::new();
    for missing in [
        "-sadd",
        "-set",
        "-srem",
        "-del",
        "-evalsha",
        "-eval -evalsha",
        "-pttl",
        "-smismember",
        "-get",
        "-mget",
        "-type",
        "-exists",
        "-@write",
        "-@read",
        "-@set",
        "-@string",
        "-mset",
        "-setrange",
        "-pexpire",
    ] {
        redis.user("poor", &format!("~* +@all {missing}")).await;
        for policy in [TtlPolicy::Renew, TtlPolicy::NeverShorten] {
            let options: RedisOptions = redis.server.url_as("poor", PASSWORD).parse().unwrap();
            let store = RedisRegistry::connect(options.ttl_policy(policy)).await.unwrap();
            for state in STATES {
                // `Verb::Batch` is left out, because each write of a batch succeeds or fails independently.
                for verb in ALL.into_iter().filter(|verb| *verb != Verb::Batch) {
                    prepare(&redis, state).await;
                    let context = format!("{verb:?} with {missing}, {state:?}, {policy:?}");
                    let before = redis.dump().await;
                    let done = verb.run(&store, NAME).await;
                    let after = redis.dump().await;
                    cases += 1;
                    let Err(error) = done else {
                        // An operation that does not need the permission succeeds completely.
                        assert_eq!(after.contains_key(&key(NAME)), !verb.ends(), "{context}");
                        let in_index = redis.index().await.contains(NAME.as_bytes());
                        assert_eq!(in_index, !verb.ends(), "{context}: index");
                        continue;
                    };
                    assert_untouched(&before, &after, &context);
                    assert_no_secret(&error);
                    if error.may_have_applied() {
                        wrong.push(format!("{context}: may have applied: {error:?}"));
                    }
                    let absent = state == State::Absent && error.kind() == ErrorKind::NotFound;
                    if error.kind() != ErrorKind::Denied && !absent {
                        wrong.push(format!("{context}: {error}"));
                    }
                    assert!(!error.is_retryable() || error.kind() != ErrorKind::Denied, "{context}");
                }
            }
        }
    }
    assert_eq!(cases, 19 * 2 * 4 * 10);
    assert!(wrong.is_empty(), "{} of {cases} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn registration_without_sadd_or_set_permission_is_denied_without_effect() {
    let redis = TestRedis::start().await;
    for missing in ["-sadd", "-set"] {
        redis.user("poor", &format!("~* +@all {missing}")).await;
        let store = redis.store_as("poor").await;
        redis.flush().await;
        let error = store.register(&stream(NAME, SOURCE)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.message().contains(&missing[1..].to_uppercase()), "the message names the permission: {error}");
        assert!(redis.dump().await.is_empty());
    }
    // Permissions for keys matter as well: this user has no access to the index key.
    redis.user("narrow", "~mirror:streams:c* +@all").await;
    let store = redis.store_as("narrow").await;
    assert_eq!(store.register(&stream(NAME, SOURCE)).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(redis.dump().await.is_empty());
}

#[tokio::test]
async fn read_only_replica_rejects_every_change() {
    let redis = TestRedis::start().await;
    let replica = Replica::of(&redis.server).await;
    let store = RedisRegistry::connect(replica.url().parse().unwrap()).await.unwrap();
    for state in STATES {
        prepare(&redis, state).await;
        replica.caught_up(&redis.server).await;
        for verb in ALL {
            let context = format!("{verb:?} on a replica, {state:?}");
            let before = redis.dump().await;
            let error = verb.run(&store, NAME).await.expect_err(&context);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{context}: {error}");
            assert!(error.is_retryable() && !error.may_have_applied(), "{context}: {error:?}");
            assert!(error.message().contains("replica"), "{error}");
            assert_untouched(&before, &redis.dump().await, &context);
        }
        assert_eq!(store.get(&id(NAME)).await.is_ok(), state != State::Absent);
    }
}

#[tokio::test]
async fn full_memory_fails_a_change_without_effect() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut rejected = 0;
    for state in STATES {
        for verb in ALL {
            redis.server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
            prepare(&redis, state).await;
            redis.server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
            let context = format!("{verb:?} with full memory, {state:?}");
            let before = redis.dump().await;
            match verb.run(&store, NAME).await {
                Ok(()) => assert!(!verb.needs_memory() && state != State::Absent, "{context}"),
                Err(error) => {
                    let absent = state == State::Absent && !matches!(verb, Verb::Register | Verb::TakeOver);
                    let expected = if absent { ErrorKind::NotFound } else { ErrorKind::Unavailable };
                    assert!(absent || verb.needs_memory(), "{context}: {error}");
                    assert_eq!(error.kind(), expected, "{context}: {error}");
                    assert!(!error.may_have_applied(), "{context}");
                    assert_untouched(&before, &redis.dump().await, &context);
                    rejected += 1;
                }
            }
        }
    }
    assert_eq!(rejected, 11 + 3 * 4);
}

#[tokio::test]
async fn retry_after_a_lost_reply_returns_the_first_result() {
    let redis = TestRedis::start().await;
    let proxy = FaultProxy::start(redis.server.addr()).await;
    let options: RedisOptions = format!("redis://{}", proxy.addr()).parse().unwrap();
    let store = RedisRegistry::connect(options.response_timeout(Duration::from_millis(300))).await.unwrap();
    for (at, fault) in ["drop", "cut", "cut within the reply"].into_iter().enumerate() {
        let name = format!("cam{at}");
        let operation = OperationId::generate();
        let named = RegisterOptions::default().operation(operation);
        // This registration loads the scripts. Otherwise the lost reply would be a NOSCRIPT error.
        store.register(&stream("warm", "h:1")).await.unwrap();
        store.unregister(&id("warm")).await.unwrap();
        match fault {
            "drop" => proxy.drop_replies(),
            "cut" => proxy.cut_replies_after(0),
            _ => proxy.cut_replies_after(7),
        }
        let error = store.register_with(&stream(&name, SOURCE), &named).await.expect_err(fault);
        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{fault}: {error}");
        assert!(error.may_have_applied() && error.is_retryable(), "{fault}: {error:?}");
        proxy.resume().await;
        wait_until(TIMEOUT, async || redis.raw_json(&name).await.is_some()).await;
        redis.assert_consistent(fault).await;
        // The retry must return the first result. It must not fail with AlreadyExists, and must not renew the stream.
        let again = store.register_with(&stream(&name, SOURCE), &named).await.unwrap();
        assert_eq!(again.outcome, Outcome::Created, "{fault}");

        let ended = UnregisterOptions::default().operation(OperationId::generate());
        if fault == "drop" {
            proxy.drop_replies()
        } else {
            proxy.cut_replies_after(0)
        }
        let error = store.unregister_with(&id(&name), &ended).await.expect_err(fault);
        assert!(error.may_have_applied(), "{fault}: {error:?}");
        proxy.resume().await;
        wait_until(TIMEOUT, async || redis.raw_json(&name).await.is_none()).await;
        redis.assert_consistent(fault).await;
        assert_eq!(store.unregister_with(&id(&name), &ended).await.unwrap(), again.stream, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_leave_no_partial_change() {
    let redis = Arc::new(TestRedis::start().await);
    let store = Arc::new(redis.store().await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut failed = 0;
            for round in 0..60 {
                let name = format!("cam{task}-{round}");
                let verbs = [Verb::Register, Verb::Heartbeat, Verb::AllStats, Verb::Patch, Verb::Unregister];
                for verb in &verbs[..if round % 2 == 0 { 5 } else { 4 }] {
                    if let Err(error) = verb.run(&store, &name).await {
                        failed += 1;
                        // If the registration failed or an earlier attempt removed the stream, NotFound is expected.
                        let is_expected = error.is_retryable() || error.kind() == ErrorKind::NotFound;
                        assert!(is_expected, "{verb:?}: {error:?}");
                    }
                }
            }
            failed
        });
    }
    let killer = tokio::spawn({
        let redis = Arc::clone(&redis);
        async move {
            let mut killed: i64 = 0;
            loop {
                let mut kill = ::redis::cmd("CLIENT");
                kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
                killed += kill.query_async::<i64>(&mut redis.raw.clone()).await.unwrap();
                if killed > 40 {
                    return killed;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let mut failed = 0;
    while let Some(done) = tasks.join_next().await {
        failed += done.unwrap();
    }
    killer.abort();
    assert!(failed > 0, "no call was in flight at any kill");
    redis.assert_consistent("after the kills").await;
    let listed = store.list().await.unwrap();
    assert_eq!(listed.len(), redis.index().await.len());
}

#[tokio::test]
async fn no_error_message_contains_the_password() {
    let server = RedisServer::builder().password(PASSWORD).start().await;
    let redis = TestRedis::of(server).await;
    let addr = redis.server.addr();
    for url in [
        format!("redis://:{PASSWORD}x@{addr}"),
        format!("redis://unknown:{PASSWORD}@{addr}"),
        format!("redis://:{PASSWORD}@{addr}/99999"),
        format!("redis://:{PASSWORD}@127.0.0.1:1"),
        format!("redis+unix:///nowhere/redis.sock?pass={PASSWORD}"),
        format!("redis+unix://{}?user=unknown&pass={PASSWORD}", redis.server.socket().display()),
        format!("redis://:{PASSWORD}@{addr}/x"),
    ] {
        let error = match url.parse::<RedisOptions>() {
            Ok(options) => RedisRegistry::connect(options).await.unwrap_err(),
            Err(error) => error,
        };
        assert_no_secret(&error);
        let expected = [ErrorKind::Unauthenticated, ErrorKind::InvalidArgument, ErrorKind::Unavailable];
        assert!(expected.contains(&error.kind()), "{error:?}");
        assert!(!error.may_have_applied());
    }
    let store = RedisRegistry::connect(redis.server.url_as("", PASSWORD).parse().unwrap()).await.unwrap();
    assert!(!format!("{store:?}").contains(PASSWORD));
    assert_eq!(
        RedisRegistry::connect(redis.options()).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated,
        "no password for a server that requires one"
    );
}
