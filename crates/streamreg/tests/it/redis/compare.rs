//! Writes of leases without a script, on a server whose `SET` has the option `IFEQ`.

use ::redis::AsyncCommands as _;
use stream_registry::{
    Change, ErrorKind, Guard, OnConflict, RedisRegistry, RegisterOptions, Registry, Result, Stream, StreamId,
    StreamStatus, Write,
};
use testkit::{RedisServer, ServerKind, wait_until};

use super::full_memory::fill;
use super::operations::{SOURCE, all_stats, stats, totals};
use super::{INDEX, TIMEOUT, TestRedis, id, key, stream};

/// Rights of a user whose writes fail if they need a script.
const NO_SCRIPTS: &str = "~* +@all -@scripting";
/// Time to live before each write, in ms.
const SHORT_TTL: i64 = 100_000;

async fn valkey() -> TestRedis {
    TestRedis::with(RedisServer::builder().server(ServerKind::Valkey8)).await
}

/// Registers a stream with a lease, and returns the guard of its holder.
async fn lease(store: &RedisRegistry, name: &str) -> Guard {
    let options = RegisterOptions::default().lease().on_conflict(OnConflict::TakeOver);
    let registered = store.register_with(&stream(name, SOURCE), &options).await.unwrap();
    Guard::Holder(registered.epoch.unwrap())
}

/// Makes one write. Returns the error of the write or of the whole call.
async fn write(store: &RedisRegistry, id: &StreamId, guard: &Guard, change: Change) -> Result<()> {
    store.write(&[Write { id: id.clone(), guard: guard.clone(), change }]).await?.remove(0)
}

/// The record as another client sees it.
async fn stored(redis: &TestRedis, name: &str) -> Stream {
    Stream::from_stored(&id(name), &String::from_utf8(redis.raw_json(name).await.unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn heartbeats_and_statistics_of_leases_run_no_script() {
    let redis = valkey().await;
    let owner = redis.store().await;
    redis.user("scriptless", NO_SCRIPTS).await;
    let store = redis.store_as("scriptless").await;
    let names: Vec<String> = (0..300).map(|at| format!("cam {at}")).collect();
    let mut writes = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let guard = lease(&owner, name).await;
        let json = redis.raw_json(name).await.unwrap();
        if at % 3 == 0 {
            // Another program has added a field that this software does not know.
            let json = [&json[..json.len() - 1], br#","rack":[1.0e5,{}]}"#].concat();
            redis.put(name, json, 0).await;
        } else {
            let _: bool = redis.raw.clone().pexpire(key(name), SHORT_TTL).await.unwrap();
        }
        let change = match at % 4 {
            0 => Change::Heartbeat,
            1 => Change::Stats(Box::new(totals(7))),
            2 => Change::Stats(Box::new(stats())),
            _ => Change::Stats(Box::new(all_stats())),
        };
        writes.push(Write { id: id(name), guard, change });
    }
    let mut before = Vec::new();
    for name in &names {
        before.push(stored(&redis, name).await);
    }
    for answer in store.write(&writes).await.unwrap() {
        answer.unwrap();
    }
    write(&store, &writes[0].id, &writes[0].guard, Change::Heartbeat).await.unwrap();
    for ((name, mut before), write) in names.iter().zip(before).zip(&writes) {
        let after = stored(&redis, name).await;
        assert!(after.last_heartbeat > before.last_heartbeat, "{name}");
        if let Change::Stats(stats) = &write.change {
            before.update_stats(stats);
        }
        before.last_heartbeat = after.last_heartbeat;
        assert_eq!(after.to_stored_json(), before.to_stored_json());
        assert!(redis.pttl(name).await > SHORT_TTL, "{name}");
    }
    // Without the right to run scripts, all other writes fail.
    let status = Change::Status(StreamStatus::Paused);
    let error = write(&store, &writes[0].id, &writes[0].guard, status).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

/// Sends a command, and then a write of statistics by the holder, as the user `user`. The command is applied after the
/// write has read the record, and before the write compares it.
async fn overtake(redis: &TestRedis, command: &::redis::Cmd, user: &str, guard: &Guard) -> Result<()> {
    let store = redis.store_as(user).await;
    // Commands that write wait until the end of the pause, and then run in their order. Other commands do not wait.
    redis.server.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let waits = async |user: &str| {
        let user = format!(" user={user} ");
        wait_until(TIMEOUT, async || {
            let clients = redis.server.cli(&["CLIENT", "LIST"]).await;
            clients.lines().any(|client| client.contains(" flags=b") && client.contains(&user))
        })
        .await;
    };
    let mut raw = redis.raw.clone();
    let first = async { command.exec_async(&mut raw).await.unwrap() };
    let second = async {
        waits("testkit").await;
        let stream_id = id("cam");
        let written = write(&store, &stream_id, guard, Change::Stats(Box::new(totals(7))));
        let unpause = async {
            waits(user).await;
            redis.server.cli(&["CLIENT", "UNPAUSE"]).await;
        };
        tokio::join!(written, unpause).0
    };
    let ((), answer) = tokio::join!(first, second);
    store.close().await.unwrap();
    answer
}

#[tokio::test]
async fn write_of_a_lease_is_decided_anew_when_another_change_overtook_it() {
    let redis = valkey().await;
    redis.user("owner", "~* +@all").await;
    redis.user("holder", "~* +@all").await;
    redis.user("scriptless", NO_SCRIPTS).await;
    let owner = redis.store_as("owner").await;
    let outcomes = [("patch", None), ("take over", Some(ErrorKind::NotHolder)), ("remove", Some(ErrorKind::NotFound))];
    for (overtaking, expected) in outcomes {
        for user in ["scriptless", "holder"] {
            let context = format!("{overtaking}, {user}");
            let guard = lease(&owner, "cam").await;
            let json = String::from_utf8(redis.raw_json("cam").await.unwrap()).unwrap();
            let Guard::Holder(epoch) = &guard else { unreachable!("the guard of a lease") };
            let changed = match overtaking {
                "patch" => Some(json.replace(r#""resolution":"""#, r#""resolution":"640x360""#)),
                "take over" => Some(json.replace(epoch.as_str(), &format!("{epoch}-1"))),
                _ => None,
            };
            let command = match &changed {
                Some(changed) => ::redis::Cmd::set(key("cam"), changed),
                None => ::redis::Cmd::del(key("cam")),
            };
            let answer = overtake(&redis, &command, user, &guard).await.map_err(|error| error.kind());
            let after = redis.raw_json("cam").await.map(|json| String::from_utf8(json).unwrap());
            if user == "scriptless" {
                // The script that would have to decide is denied, and `SET` has changed nothing.
                assert_eq!((answer, &after), (Err(ErrorKind::Denied), &changed), "{context}");
            } else if let Some(kind) = expected {
                assert_eq!((answer, &after), (Err(kind), &changed), "{context}");
            } else {
                answer.unwrap();
                let after = stored(&redis, "cam").await;
                assert_eq!((after.resolution.as_str(), after.bytes_received), ("640x360", 7), "{context}");
            }
        }
    }
}

#[tokio::test]
async fn write_of_a_lease_restores_a_missing_index_entry() {
    let redis = valkey().await;
    let store = redis.store().await;
    let guards = [lease(&store, "a").await, lease(&store, "b").await];
    let _: i64 = redis.raw.clone().srem(INDEX, "b").await.unwrap();
    let writes: Vec<_> = ["a", "b"]
        .into_iter()
        .zip(guards)
        .map(|(name, guard)| Write { id: id(name), guard, change: Change::Stats(Box::new(totals(7))) })
        .collect();
    for answer in store.write(&writes).await.unwrap() {
        answer.unwrap();
    }
    redis.assert_consistent("after the write").await;
    assert_eq!((stored(&redis, "a").await.bytes_received, stored(&redis, "b").await.bytes_received), (7, 7));
}

#[tokio::test]
async fn writes_of_leases_keep_streams_alive_while_memory_is_full() {
    let redis = valkey().await;
    let store = redis.store().await;
    let guard = lease(&store, "cam").await;
    fill(&redis).await;
    for change in [Change::Heartbeat, Change::Stats(Box::new(stats())), Change::Stats(Box::new(all_stats()))] {
        let _: bool = redis.raw.clone().pexpire(key("cam"), SHORT_TTL).await.unwrap();
        write(&store, &id("cam"), &guard, change.clone()).await.unwrap_or_else(|error| panic!("{change:?}: {error}"));
        assert!(redis.pttl("cam").await > SHORT_TTL, "{change:?}");
    }
}

#[tokio::test]
async fn writes_of_leases_use_a_script_when_a_right_is_missing() {
    let redis = valkey().await;
    let owner = redis.store().await;
    for missing in ["-set", "-mget", "-smismember"] {
        redis.user("poor", &format!("~* +@all {missing}")).await;
        let store = redis.store_as("poor").await;
        let guard = lease(&owner, "cam").await;
        let before = redis.raw_json("cam").await;
        let answer = write(&store, &id("cam"), &guard, Change::Heartbeat).await;
        // The script sends `MGET` and `SMISMEMBER` too, but overwrites a record of the same length without `SET`.
        if missing == "-set" {
            answer.unwrap();
            assert_ne!(redis.raw_json("cam").await, before);
        } else {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Denied, "{missing}");
            assert_eq!(redis.raw_json("cam").await, before, "{missing}");
        }
        store.close().await.unwrap();
    }
}
