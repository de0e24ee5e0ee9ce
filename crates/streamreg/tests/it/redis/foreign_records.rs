//! Reads records of other programs and changes them with every operation. No other field may be lost.

mod samples;

use std::num::NonZeroU32;

use stream_registry::{
    Change, ErrorKind, Guard, RedisRegistry, RegisterOptions, Registry, StreamStatus, UnregisterOptions, Write,
};

use super::json::{self, Fields, differences, meaning};
use super::{Bed, id, key, operations};
use samples::{UNREADABLE, samples};

const NAME: &str = "studio \"A\" \\ cam 1 <main>";

/// The changes, each with the fields that it sets and their expected values.
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
        (Change::Stats(operations::stats()), four.to_vec()),
        (Change::Stats(operations::all_stats()), four.into_iter().chain(six).collect()),
        (Change::Patch(Box::new(operations::patch())), patched.to_vec()),
    ]
}

fn label_texts(fields: &Fields) -> Vec<String> {
    let said = meaning("labels", fields.get("labels"));
    let inner = said.strip_prefix('{').and_then(|said| said.strip_suffix('}')).unwrap_or("");
    inner.split(",\"").filter(|label| !label.is_empty()).map(|label| label.trim_start_matches('"').to_owned()).collect()
}

/// Compares the stored record before and after a change and returns the unexpected differences.
pub(crate) fn judge(before: &[u8], after: &[u8], change: &Change, set: &[(&str, &str)], name: &str) -> Vec<String> {
    let (was, is) = (json::decode(before).unwrap(), json::decode(after));
    let Some(is) = is else { return vec![format!("no record any more: {}", String::from_utf8_lossy(after))] };
    let mut names: Vec<_> = set.iter().map(|(name, _)| *name).collect();
    names.extend(["last_heartbeat", "id"]);
    let mut wrong = Vec::new();
    if matches!(change, Change::Patch(_)) {
        names.push("labels");
        let after = label_texts(&is);
        let lost = label_texts(&was).into_iter().filter(|label| !label.starts_with("by\"") && !after.contains(label));
        wrong.extend(lost.map(|label| format!("label {label} is lost")));
        if !after.iter().any(|label| label == "by\"=\"patch\"") {
            wrong.push("the label is not set".to_owned());
        }
    }
    wrong.extend(differences(&was, &is, &names));
    for (name, value) in set {
        let said = meaning(name, is.get(*name));
        if said != *value {
            wrong.push(format!("{name} should be {value} and is {said}"));
        }
    }
    // The key determines the id. A record with another id or none may get the right one.
    let said = meaning("id", is.get("id"));
    if said != name && said != meaning("id", was.get("id")) {
        wrong.push(format!("the id became {said}"));
    }
    if meaning("last_heartbeat", is.get("last_heartbeat")) == meaning("last_heartbeat", was.get("last_heartbeat")) {
        wrong.push("last_heartbeat is not set".to_owned());
    }
    wrong
}

async fn read_every_way(store: &RedisRegistry, name: &str, text: &str) -> stream_registry::Stream {
    let got = store.get(&id(name)).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&got), "{text}");
    let page = store.list_page(None, NonZeroU32::new(10).unwrap()).await.unwrap();
    assert_eq!((page.streams.as_slice(), page.unreadable), (std::slice::from_ref(&got), 0), "{text}");
    assert_eq!(got.id, id(name), "the key determines the id: {text}");
    let lost =
        differences(&json::decode(text.as_bytes()).unwrap(), &json::decode(got.to_json().as_bytes()).unwrap(), &["id"]);
    assert_eq!(lost, Vec::<String>::new(), "read: {text}");
    got
}

#[tokio::test]
async fn foreign_records_keep_all_other_fields_in_every_change() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    let mut wrong = Vec::new();
    let all = samples(NAME);
    assert!(all.len() >= 60, "{} samples", all.len());
    for text in &all {
        bed.flush().await;
        bed.put(NAME, text, 0).await;
        let read = read_every_way(&store, NAME, text).await;
        for (change, set) in changes() {
            bed.put(NAME, text, 60_000).await;
            if read.epoch().is_some() {
                let write = Write { id: id(NAME), guard: Guard::None, change: change.clone() };
                let answer = store.write_one(write).await;
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotHolder, "{text}");
                assert_eq!(bed.text(NAME).await.unwrap(), text.as_bytes());
                assert!(bed.pttl(NAME).await <= 60_000);
            }
            // Apply it twice: the second change reads the result of the first.
            for turn in ["first", "second"] {
                let before = bed.text(NAME).await.unwrap();
                let guard = if read.epoch().is_some() { Guard::Force } else { Guard::None };
                let write = Write { id: id(NAME), guard, change: change.clone() };
                if let Err(error) = store.write_one(write).await {
                    wrong.push(format!("{change:?} failed with {error} on {text:.300}"));
                    break;
                }
                let after = bed.text(NAME).await.unwrap();
                let found = judge(&before, &after, &change, &set, NAME);
                if !found.is_empty() {
                    wrong.push(format!("{turn} {change:?} on {text}: {found:?}"));
                    break;
                }
                assert!(bed.pttl(NAME).await > 60_000, "the time to live is renewed: {text:.300}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn replacing_a_foreign_record_keeps_the_required_fields() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    for text in &samples(NAME) {
        let was = json::decode(text.as_bytes()).unwrap();
        let kept = |after: &[u8]| {
            let is = json::decode(after).unwrap_or_else(|| panic!("{text}"));
            // An invalid epoch represents no lease and need not be kept.
            let leased = meaning("epoch", was.get("epoch")).bytes().all(|b| b.is_ascii_graphic());
            for name in if leased { &["created_at", "epoch"][..] } else { &["created_at"] } {
                assert_eq!(meaning(name, is.get(*name)), meaning(name, was.get(*name)), "{name} of {text}");
            }
        };
        bed.put(NAME, text, 60_000).await;
        let read = store.get(&id(NAME)).await.unwrap();
        let guard = if read.epoch().is_some() { Guard::Force } else { Guard::None };
        let change = Change::Update(Box::new(operations::replacement(NAME)));
        let write = Write { id: id(NAME), guard: guard.clone(), change };
        store.write_one(write).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let after = bed.text(NAME).await.unwrap();
        kept(&after);
        let is = json::decode(&after).unwrap();
        assert_eq!(meaning("resolution", is.get("resolution")), "320x180");

        // The same publisher registers again.
        bed.put(NAME, text, 60_000).await;
        let mut again = operations::replacement(NAME);
        again.kind = read.kind.clone();
        again.source_addr.clone_from(&read.source_addr);
        let answer = store.register_with(&again, &RegisterOptions::default()).await;
        if again.kind.as_str().is_empty() {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::InvalidArgument, "{text}");
            assert_eq!(bed.text(NAME).await.unwrap(), text.as_bytes());
        } else if read.epoch().is_some() || read.source_addr.is_empty() {
            assert_eq!(answer.unwrap_err().existing(), Some(&read), "{text}");
            assert_eq!(bed.text(NAME).await.unwrap(), text.as_bytes());
        } else {
            let answer = answer.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(answer.outcome, stream_registry::Outcome::Renewed, "{text}");
            kept(&bed.text(NAME).await.unwrap());
        }

        bed.put(NAME, text, 60_000).await;
        let last = store.unregister_with(&id(NAME), &UnregisterOptions::default().guard(guard)).await.unwrap();
        assert_eq!(last, read, "{text}");
        assert_eq!(differences(&was, &json::decode(last.to_json().as_bytes()).unwrap(), &["id"]), Vec::<String>::new());
        assert_eq!((bed.text(NAME).await, bed.index().await.len()), (None, 0), "{text}");
    }
}

#[tokio::test]
async fn unreadable_records_do_not_hide_other_streams() {
    let bed = Bed::start().await;
    let store = bed.store().await;
    for good in 0..5 {
        store.register(&super::stream(&format!("good{good}"), "h:1")).await.unwrap();
    }
    for (at, text) in UNREADABLE.iter().enumerate() {
        bed.put(&format!("bad{at}"), text, 60_000).await;
    }
    let bad = u64::try_from(UNREADABLE.len()).unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!((snapshot.streams.len(), snapshot.unreadable), (5, bad));
    let page = store.list_page(None, NonZeroU32::new(1_000).unwrap()).await.unwrap();
    assert_eq!((page.streams.len(), page.unreadable, page.next), (5, bad, None));
    assert_eq!(store.counters().unreadable, 2 * bad);

    for (at, text) in UNREADABLE.iter().enumerate() {
        let name = format!("bad{at}");
        let what = String::from_utf8_lossy(text).into_owned();
        assert_eq!(store.get(&id(&name)).await.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        for verb in operations::ALL {
            if matches!(verb, operations::Verb::Force | operations::Verb::TakeOver) {
                continue;
            }
            let error = verb.run(&store, &name).await.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{verb:?} of {what}: {error}");
            assert!(!error.may_have_applied() && !error.is_retryable());
            assert_eq!(bed.text(&name).await.unwrap(), *text, "{verb:?}");
            assert!(bed.pttl(&name).await <= 60_000);
        }
        operations::Verb::Force.run(&store, &name).await.unwrap();
        assert_eq!(bed.text(&name).await, None);
        // A take-over by an operator works as well.
        bed.put(&name, text, 60_000).await;
        operations::Verb::TakeOver.run(&store, &name).await.unwrap();
        assert_eq!(store.get(&id(&name)).await.unwrap().source_addr, "198.51.100.1:1");
        store.unregister(&id(&name)).await.unwrap();
    }
    assert_eq!(store.snapshot().await.unwrap().streams.len(), 5);
    bed.assert_whole("after all").await;
    let _ = key;
}
