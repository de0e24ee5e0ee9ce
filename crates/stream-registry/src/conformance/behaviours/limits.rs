//! Limits on the sizes of values, and on the characters of tokens.

use std::collections::BTreeMap;

use super::case::{Case, Check, ensure, fails, fault, full, holder, id, same, stream, without_times, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Outcome, RegisterOptions, Write};
use crate::stream::limits::{MAX_COUNT, MAX_LEASED_RECORD_BYTES, MAX_LEVELS, MAX_RECORD_BYTES};
use crate::stream::{LabelsPatch, Stream, StreamPatch, StreamStats, StreamStatus};

declare! {
    "limits", Long: [
        labels_over_the_limits_are_rejected,
        strings_over_1024_bytes_are_rejected,
        record_of_64_kib_is_accepted,
        record_over_64_kib_is_rejected,
        record_with_64_nested_levels_is_accepted,
        leased_record_can_grow_and_still_be_recovered,
        patch_is_rejected_when_the_patched_record_exceeds_a_limit,
        patch_values_over_the_limits_are_rejected,
        invalid_types_and_statuses_are_rejected,
    ],
}

fn labels(count: usize, name: usize, value: usize) -> BTreeMap<String, String> {
    (0..count).map(|n| (format!("{n:0name$}"), "v".repeat(value))).collect()
}

fn labelled(labels: BTreeMap<String, String>) -> Stream {
    let mut labelled = stream("a");
    labelled.labels = labels;
    labelled
}

/// Checks that register and update reject a record.
async fn assert_rejected(case: &Case, given: &Stream) -> Check {
    let before = case.get("a").await?;
    fails(case.registry().register(given).await, ErrorKind::InvalidArgument)?;
    fails(case.registry().update(given).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&before).await
}

/// Checks that register and update accept a record.
async fn assert_accepted(case: &Case, given: &Stream) -> Check {
    case.put(given).await?;
    same("the record", without_times(&case.get("a").await?), without_times(given))?;
    case.registry().update(given).await?;
    same("the updated record", without_times(&case.get("a").await?), without_times(given))
}

async fn labels_over_the_limits_are_rejected(case: &Case) -> Check {
    assert_accepted(case, &labelled(labels(64, 64, 256))).await?;
    assert_rejected(case, &labelled(labels(65, 2, 1))).await?;
    assert_rejected(case, &labelled(labels(1, 65, 1))).await?;
    assert_rejected(case, &labelled(labels(1, 1, 257))).await?;
    assert_rejected(case, &labelled(BTreeMap::from([(String::new(), "x".to_owned())]))).await?;
    // The limit is in bytes, not in characters.
    assert_rejected(case, &labelled(BTreeMap::from([("é".repeat(33), "x".to_owned())]))).await
}

type SetString = fn(&mut Stream, String);

const STRING_FIELDS: [SetString; 5] = [
    |stream, string| stream.source_addr = string,
    |stream, string| stream.video_codec = string,
    |stream, string| stream.resolution = string,
    |stream, string| stream.node = Some(string),
    |stream, string| stream.audio_codec = Some(string),
];

async fn strings_over_1024_bytes_are_rejected(case: &Case) -> Check {
    for set in STRING_FIELDS {
        // Each round registers a new stream, because a stream with another address has another publisher.
        let mut given = stream("a");
        set(&mut given, "x".repeat(1_024));
        assert_accepted(case, &given).await?;
        let mut larger = given.clone();
        set(&mut larger, "x".repeat(1_025));
        assert_rejected(case, &larger).await?;
        case.registry().unregister(&given.id).await?;
    }
    Ok(())
}

/// Returns a record whose JSON has exactly `bytes` bytes.
fn sized(bytes: usize) -> Check<Stream> {
    let json = |pad: usize| format!(r#"{{"id":"a","type":"srt","source_addr":"h:1","x":"{}"}}"#, "p".repeat(pad));
    let empty = Stream::from_json(&json(0))?.to_json().len();
    Ok(Stream::from_json(&json(bytes - empty))?)
}

async fn record_of_64_kib_is_accepted(case: &Case) -> Check {
    let given = sized(MAX_RECORD_BYTES)?;
    same("the size", given.to_json().len(), MAX_RECORD_BYTES)?;
    assert_accepted(case, &given).await?;
    case.registry().update_heartbeat(&id("a")).await?;
    same("the size", case.get("a").await?.to_json().len(), MAX_RECORD_BYTES)
}

async fn record_with_64_nested_levels_is_accepted(case: &Case) -> Check {
    // The record itself is the first level.
    let unknown = format!(r#""x":{}{}"#, "[".repeat(MAX_LEVELS - 1), "]".repeat(MAX_LEVELS - 1));
    let given = Stream::from_json(&format!(r#"{{"id":"a","type":"srt","source_addr":"h:1",{unknown}}}"#))?;
    assert_accepted(case, &given).await?;
    case.registry().update_status(&id("a"), StreamStatus::Active).await?;
    case.registry().patch(&id("a"), &StreamPatch::default().label("k", "v")).await?;
    let listed = case.registry().list().await?;
    same("the list", listed.first().map(Stream::to_json), Some(case.get("a").await?.to_json()))?;
    let last = case.registry().unregister(&id("a")).await?.to_json();
    ensure(last.ends_with(&format!(",{unknown}}}")), &format!("the unknown field is lost: {last}"))
}

async fn leased_record_can_grow_and_still_be_recovered(case: &Case) -> Check {
    let (registry, options) = (case.registry(), RegisterOptions::default().lease());
    for bytes in [MAX_LEASED_RECORD_BYTES + 1, MAX_RECORD_BYTES] {
        fails(registry.register_with(&sized(bytes)?, &options).await, ErrorKind::InvalidArgument)?;
    }
    let lease = registry.register_with(&sized(MAX_LEASED_RECORD_BYTES)?, &options).await?.stream;
    let grown = StreamPatch::default().label("a", "1");
    let changes = [
        Change::Status("\"".repeat(32).parse()?),
        Change::Stats(Box::new(StreamStats {
            bytes_received: Some(MAX_COUNT),
            packets_received: Some(MAX_COUNT),
            packets_lost: Some(MAX_COUNT),
            bitrate: Some(MAX_COUNT),
            rtt_ms: Some(f64::MIN_POSITIVE),
            jitter_ms: Some(f64::MAX),
            packets_retransmitted: Some(MAX_COUNT),
            packets_dropped: Some(MAX_COUNT),
            viewers: Some(MAX_COUNT),
            frame_rate: Some(f64::MIN_POSITIVE),
        })),
    ];
    for change in changes {
        let write = Write { guard: holder(&lease)?, ..write("a", change) };
        registry.write_one(write).await?;
    }
    for change in [Change::Patch(Box::new(grown)), Change::Update(Box::new(sized(MAX_LEASED_RECORD_BYTES + 1)?))] {
        let write = Write { guard: holder(&lease)?, ..write("a", change) };
        fails(registry.write_one(write).await, ErrorKind::InvalidArgument)?;
    }
    let before = case.get("a").await?;
    // The holder recovers the stream with the stored record, as it does when the reply of a registration was lost.
    let epoch = lease.epoch.clone().ok_or_else(|| fault("no epoch"))?;
    let back = registry.register_with(&before, &RegisterOptions::default().lease().recover(epoch.clone())).await?;
    same("the record", without_times(&back.stream), without_times(&before))?;
    // The store has no stream `b`. For the holder, this looks as if the store had lost the stream.
    let mut elsewhere = before.clone();
    elsewhere.id = id("b");
    let back = registry.register_with(&elsewhere, &RegisterOptions::default().lease().recover(epoch)).await?;
    same("the outcome", back.outcome, Outcome::Created)?;
    same("the record", without_times(&back.stream), without_times(&elsewhere))
}

async fn record_over_64_kib_is_rejected(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    // Every label is within its limits. The record is too large, because each `\u0001` takes six bytes of JSON.
    let large: BTreeMap<_, _> = (0..64).map(|n| (n.to_string(), "\u{1}".repeat(256))).collect();
    assert_rejected(case, &labelled(large)).await
}

async fn patch_is_rejected_when_the_patched_record_exceeds_a_limit(case: &Case) -> Check {
    let before = case.put(&labelled(labels(64, 2, 1))).await?;
    let one_more = StreamPatch { resolution: Some("1x1".to_owned()), ..Default::default() }.label("one-more", "x");
    fails(case.registry().patch(&before.id, &one_more).await, ErrorKind::InvalidArgument)?;
    let large = (0..64).map(|n| (format!("{n:02}"), "\u{1}".repeat(256))).collect();
    let large = StreamPatch { labels: LabelsPatch::Replace(large), ..Default::default() };
    fails(case.registry().patch(&before.id, &large).await, ErrorKind::InvalidArgument)?;
    case.unchanged(&before).await?;
    // This patch removes one label and adds one, so the record still has 64 labels.
    let exchange = BTreeMap::from([("00".to_owned(), None), ("one-more".to_owned(), Some("x".to_owned()))]);
    let exchange = StreamPatch { labels: LabelsPatch::Merge(exchange), ..Default::default() };
    case.registry().patch(&before.id, &exchange).await?;
    same("the number of labels", case.get("a").await?.labels.len(), 64)
}

async fn patch_values_over_the_limits_are_rejected(case: &Case) -> Check {
    let before = case.put(&full("a")).await?;
    let long = Some("x".repeat(1_025));
    let patches = [
        StreamPatch { video_codec: long.clone(), ..Default::default() },
        StreamPatch { resolution: long.clone(), ..Default::default() },
        StreamPatch { audio_codec: long.clone(), ..Default::default() },
        StreamPatch { node: long, ..Default::default() },
        StreamPatch::default().label("", "x"),
        StreamPatch::default().label("n".repeat(65), "x"),
        StreamPatch::default().label("n", "v".repeat(257)),
        StreamPatch { labels: LabelsPatch::Replace(labels(65, 2, 1)), ..Default::default() },
    ];
    for patch in patches {
        fails(case.registry().patch(&before.id, &patch).await, ErrorKind::InvalidArgument)?;
    }
    case.unchanged(&before).await
}

/// Records of other programs may contain invalid types and statuses. The store rejects these when a caller passes them
/// on.
async fn invalid_types_and_statuses_are_rejected(case: &Case) -> Check {
    let before = case.put(&stream("a")).await?;
    for word in ["", "a b", "tab\\t", "line\\n", &"x".repeat(33)] {
        ensure(
            word.parse::<crate::stream::StreamType>().is_err() || word.contains('\\'),
            "an invalid type is accepted",
        )?;
        let kind = Stream::from_stored(&id("a"), &format!(r#"{{"type":"{word}","status":"active"}}"#))?;
        assert_rejected(case, &kind).await?;
        let status = Stream::from_stored(&id("a"), &format!(r#"{{"type":"srt","status":"{word}"}}"#))?;
        assert_rejected(case, &status).await?;
        fails(case.registry().update_status(&id("a"), status.status).await, ErrorKind::InvalidArgument)?;
    }
    case.unchanged(&before).await
}
