//! Reads records of other programs and applies every operation to them. An operation must keep all fields that it does
//! not set.

mod samples;

use std::num::NonZeroU32;

use stream_registry::{
    Change, ErrorKind, Guard, RedisRegistry, RegisterOptions, Registry, StreamStatus, UnregisterOptions, Write,
};

use super::json::{self, Fields, differences, normal_form};
use super::{TestRedis, id, key, operations};
use samples::{UNREADABLE, samples};

const NAME: &str = "studio \"A\" \\ cam 1 <main>";

/// Returns all changes, each with the fields that it sets and the expected values of these fields.
pub(crate) fn changes() -> Vec<(Change, Vec<(&'static str, &'static str)>)> {
    let four =
        [("bytes_received", "9007199254740993"), ("packets_received", "7"), ("packets_lost", "1"), ("bitrate", "5")];
    let six = [
        ("rtt_ms", "12.5"),
        ("jitter_ms", "0.25"),
        ("packets_retransmitted", "3"),
        ("packets_dropped", "4"),
        ("viewers", "5"),
        ("frame_rate", "59.94"),
    ];
    let patched = [("video_codec", "AV1"), ("resolution", "640x360"), ("frame_rate", "30"), ("audio_codec", "AAC")];
    vec![
        (Change::Heartbeat, vec![]),
        (Change::Status(StreamStatus::Paused), vec![("status", "paused")]),
        (Change::Status("odd\"token\\".parse().unwrap()), vec![("status", "odd\"token\\")]),
        (Change::Stats(Box::new(operations::stats())), four.to_vec()),
        (Change::Stats(Box::new(operations::all_stats())), four.into_iter().chain(six).collect()),
        (Change::Patch(Box::new(operations::patch())), patched.to_vec()),
    ]
}

fn labels(fields: &Fields) -> Vec<String> {
    let actual = normal_form("labels", fields.get("labels"));
    let inner = actual.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
    inner.split(",\"").filter(|label| !label.is_empty()).map(|label| label.trim_start_matches('"').to_owned()).collect()
}

/// Compares the stored record before and after a change and returns the unexpected differences.
pub(crate) fn unexpected_changes(
    before: &[u8],
    after: &[u8],
    change: &Change,
    set: &[(&str, &str)],
    name: &str,
) -> Vec<String> {
    let (was, is) = (json::decode(before).unwrap(), json::decode(after));
    let Some(is) = is else {
        return vec![format!("the record is no longer valid JSON: {}", String::from_utf8_lossy(after))];
    };
    let mut names: Vec<_> = set.iter().map(|(name, _)| *name).collect();
    names.extend(["last_heartbeat", "id"]);
    let mut wrong = Vec::new();
    if matches!(change, Change::Patch(_)) {
        names.push("labels");
        let after = labels(&is);
        let lost = labels(&was).into_iter().filter(|label| !label.starts_with("by\"") && !after.contains(label));
        wrong.extend(lost.map(|label| format!("label {label} is lost")));
        if !after.iter().any(|label| label == "by\"=\"patch\"") {
            wrong.push("the label is not set".to_owned());
        }
    }
    wrong.extend(differences(&was, &is, &names));
    for (name, value) in set {
        let actual = normal_form(name, is.get(*name));
        if actual != *value {
            wrong.push(format!("{name} should be {value} but is {actual}"));
        }
    }
    // The key determines the id. If a record has a different id or no id, a change may set the correct id.
    let actual = normal_form("id", is.get("id"));
    if actual != name && actual != normal_form("id", was.get("id")) {
        wrong.push(format!("the id became {actual}"));
    }
    if normal_form("last_heartbeat", is.get("last_heartbeat"))
        == normal_form("last_heartbeat", was.get("last_heartbeat"))
    {
        wrong.push("last_heartbeat is not set".to_owned());
    }
    wrong
}

async fn read_with_every_method(store: &RedisRegistry, name: &str, raw_json: &str) -> stream_registry::Stream {
    let got = store.get(&id(name)).await.unwrap_or_else(|error| panic!("{raw_json}: {error:?}"));
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&got), "{raw_json}");
    let page = store.list_page(None, NonZeroU32::new(10).unwrap()).await.unwrap();
    assert_eq!((page.streams.as_slice(), page.unreadable), (std::slice::from_ref(&got), 0), "{raw_json}");
    assert_eq!(got.id, id(name), "the key determines the id: {raw_json}");
    let lost = differences(
        &json::decode(raw_json.as_bytes()).unwrap(),
        &json::decode(got.to_stored_json().as_bytes()).unwrap(),
        &["id"],
    );
    assert_eq!(lost, Vec::<String>::new(), "fields lost by a read: {raw_json}");
    got
}

#[tokio::test]
async fn every_change_keeps_all_other_fields_of_foreign_records() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    let mut wrong = Vec::new();
    let all = samples(NAME);
    assert!(all.len() >= 60, "{} samples", all.len());
    for raw_json in &all {
        redis.flush().await;
        redis.put(NAME, raw_json, 0).await;
        let read = read_with_every_method(&store, NAME, raw_json).await;
        for (change, set) in changes() {
            redis.put(NAME, raw_json, 60_000).await;
            if read.epoch().is_some() {
                let write = Write { id: id(NAME), guard: Guard::None, change: change.clone() };
                let answer = store.write_one(write).await;
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotHolder, "{raw_json}");
                assert_eq!(redis.raw_json(NAME).await.unwrap(), raw_json.as_bytes());
                assert!(redis.pttl(NAME).await <= 60_000);
            }
            // Each change is applied twice. The second pass reads the result of the first pass.
            for pass in ["first", "second"] {
                let before = redis.raw_json(NAME).await.unwrap();
                let guard = if read.epoch().is_some() { Guard::Force } else { Guard::None };
                let write = Write { id: id(NAME), guard, change: change.clone() };
                if let Err(error) = store.write_one(write).await {
                    wrong.push(format!("{change:?} failed with {error} on {raw_json:.300}"));
                    break;
                }
                let after = redis.raw_json(NAME).await.unwrap();
                let found = unexpected_changes(&before, &after, &change, &set, NAME);
                if !found.is_empty() {
                    wrong.push(format!("{pass} {change:?} on {raw_json}: {found:?}"));
                    break;
                }
                assert!(redis.pttl(NAME).await > 60_000, "the time to live is renewed: {raw_json:.300}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn replacing_a_foreign_record_keeps_the_required_fields() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for raw_json in &samples(NAME) {
        let was = json::decode(raw_json.as_bytes()).unwrap();
        let kept = |after: &[u8]| {
            let is = json::decode(after).unwrap_or_else(|| panic!("{raw_json}"));
            // An invalid epoch does not represent a lease, so a replacement may drop it.
            let leased = normal_form("epoch", was.get("epoch")).bytes().all(|b| b.is_ascii_graphic());
            for name in if leased { &["created_at", "epoch"][..] } else { &["created_at"] } {
                assert_eq!(normal_form(name, is.get(*name)), normal_form(name, was.get(*name)), "{name} of {raw_json}");
            }
        };
        redis.put(NAME, raw_json, 60_000).await;
        let read = store.get(&id(NAME)).await.unwrap();
        let guard = if read.epoch().is_some() { Guard::Force } else { Guard::None };
        let change = Change::Update(Box::new(operations::replacement(NAME)));
        let write = Write { id: id(NAME), guard: guard.clone(), change };
        store.write_one(write).await.unwrap_or_else(|error| panic!("{raw_json}: {error}"));
        let after = redis.raw_json(NAME).await.unwrap();
        kept(&after);
        let is = json::decode(&after).unwrap();
        assert_eq!(normal_form("resolution", is.get("resolution")), "320x180");

        // The same publisher registers again.
        redis.put(NAME, raw_json, 60_000).await;
        let mut again = operations::replacement(NAME);
        again.kind = read.kind.clone();
        again.source_addr.clone_from(&read.source_addr);
        let answer = store.register_with(&again, &RegisterOptions::default()).await;
        if again.kind.as_str().is_empty() {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::InvalidArgument, "{raw_json}");
            assert_eq!(redis.raw_json(NAME).await.unwrap(), raw_json.as_bytes());
        } else if read.epoch().is_some() || read.source_addr.is_empty() {
            assert_eq!(answer.unwrap_err().existing(), Some(&read), "{raw_json}");
            assert_eq!(redis.raw_json(NAME).await.unwrap(), raw_json.as_bytes());
        } else {
            let answer = answer.unwrap_or_else(|error| panic!("{raw_json}: {error}"));
            assert_eq!(answer.outcome, stream_registry::Outcome::Renewed, "{raw_json}");
            kept(&redis.raw_json(NAME).await.unwrap());
        }

        redis.put(NAME, raw_json, 60_000).await;
        let last = store.unregister_with(&id(NAME), &UnregisterOptions::default().guard(guard)).await.unwrap();
        assert_eq!(last, read, "{raw_json}");
        assert_eq!(
            differences(&was, &json::decode(last.to_stored_json().as_bytes()).unwrap(), &["id"]),
            Vec::<String>::new()
        );
        assert_eq!((redis.raw_json(NAME).await, redis.index().await.len()), (None, 0), "{raw_json}");
    }
}

#[tokio::test]
async fn unreadable_records_do_not_hide_other_streams() {
    let redis = TestRedis::start().await;
    let store = redis.store().await;
    for good in 0..5 {
        store.register(&super::stream(&format!("good{good}"), "h:1")).await.unwrap();
    }
    for (at, raw_json) in UNREADABLE.iter().enumerate() {
        redis.put(&format!("bad{at}"), raw_json, 60_000).await;
    }
    let bad = u64::try_from(UNREADABLE.len()).unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!((snapshot.streams.len(), snapshot.unreadable), (5, bad));
    let page = store.list_page(None, NonZeroU32::new(1_000).unwrap()).await.unwrap();
    assert_eq!((page.streams.len(), page.unreadable, page.next), (5, bad, None));
    assert_eq!(store.counters().unreadable, 2 * bad);

    for (at, raw_json) in UNREADABLE.iter().enumerate() {
        let name = format!("bad{at}");
        let record = String::from_utf8_lossy(raw_json).into_owned();
        assert_eq!(store.get(&id(&name)).await.unwrap_err().kind(), ErrorKind::Corrupt, "{record}");
        for verb in operations::ALL {
            if matches!(verb, operations::Verb::Force | operations::Verb::TakeOver) {
                continue;
            }
            let error = verb.run(&store, &name).await.expect_err(&record);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{verb:?} of {record}: {error}");
            assert!(!error.may_have_applied() && !error.is_retryable());
            assert_eq!(redis.raw_json(&name).await.unwrap(), *raw_json, "{verb:?}");
            assert!(redis.pttl(&name).await <= 60_000);
        }
        operations::Verb::Force.run(&store, &name).await.unwrap();
        assert_eq!(redis.raw_json(&name).await, None);
        // Another publisher can also take over a stream whose record is unreadable.
        redis.put(&name, raw_json, 60_000).await;
        operations::Verb::TakeOver.run(&store, &name).await.unwrap();
        assert_eq!(store.get(&id(&name)).await.unwrap().source_addr, "198.51.100.1:1");
        store.unregister(&id(&name)).await.unwrap();
    }
    assert_eq!(store.snapshot().await.unwrap().streams.len(), 5);
    redis.assert_consistent("after all").await;
    let _ = key;
}
