//! The record and its unknown fields.

use super::case::{Case, Check, ensure, fault, full, id, same, stream, without_times};
use super::declare;
use crate::registry::Change;
use crate::stream::{Stream, StreamPatch, StreamStats, StreamStatus, StreamType, Timestamp};

declare! {
    "record", Long: [
        every_field_of_a_record_is_stored,
        unset_optional_fields_are_omitted,
        encoded_record_is_compact_and_has_a_fixed_field_order,
        stored_record_is_compact_and_has_a_fixed_field_order,
        any_string_is_stored_unchanged,
        empty_strings_are_stored,
        register_ignores_an_end_reason_in_the_given_record,
        register_and_update_ignore_an_epoch_in_the_given_record,
    ],
    "tokens", Long: [unknown_stream_types_are_kept, unknown_statuses_are_kept],
    "times", Long: [registration_times_come_from_the_clock_of_the_store, timestamps_have_nine_fractional_digits],
    "unknown-fields", Long: [
        heartbeat_keeps_unknown_fields,
        status_update_keeps_unknown_fields,
        statistics_update_keeps_unknown_fields,
        patch_keeps_unknown_fields,
        unregister_and_lists_return_unknown_fields,
        replacing_a_record_removes_its_unknown_fields,
    ],
}

async fn every_field_of_a_record_is_stored(case: &Case) -> Check {
    let given = full("a");
    let returned = case.put(&given).await?;
    same("the answer", without_times(&returned), without_times(&given))?;
    same("the record", case.get("a").await?, returned)
}

async fn unset_optional_fields_are_omitted(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    let json = case.get("a").await?.to_json();
    let names = ["node", "epoch", "labels", "audio_codec", "rtt_ms", "jitter_ms", "packets_retransmitted"];
    for name in names.into_iter().chain(["packets_dropped", "viewers", "end_reason"]) {
        ensure(!json.contains(&format!("\"{name}\"")), &format!("{name} is set: {json}"))?;
    }
    Ok(())
}

fn assert_encoding(json: &str, record: &Stream) -> Check {
    let (created, beat) = (record.created_at, record.last_heartbeat);
    let expected = format!(
        r#"{{"id":"a","type":"srt","source_addr":"203.0.113.7:40112","status":"active","created_at":"{created}","last_heartbeat":"{beat}","video_codec":"HEVC","resolution":"1920x1080","bitrate":8000000,"frame_rate":59.94,"bytes_received":100000000000000,"packets_received":76000000000,"packets_lost":12,"node":"ingest-1","labels":{{"event":"derby","tenant":"acme"}},"audio_codec":"AAC","rtt_ms":12.5,"jitter_ms":0.25,"packets_retransmitted":34,"packets_dropped":5,"viewers":67}}"#
    );
    same("the JSON", json, &expected)
}

async fn encoded_record_is_compact_and_has_a_fixed_field_order(case: &Case) -> Check {
    let record = case.put(&full("a")).await?;
    assert_encoding(&case.get("a").await?.to_json(), &record)
}

async fn stored_record_is_compact_and_has_a_fixed_field_order(case: &Case) -> Check {
    let record = case.put(&full("a")).await?;
    let stored = case.instance.stored(&id("a")).await.ok_or(super::case::Fault::NoHook("stored"))?;
    assert_encoding(&stored.ok_or_else(|| fault("nothing is stored"))?, &record)
}

const STRINGS: [&str; 8] = [
    "\"quoted\" \\ back",
    "line\nline\r\ttab",
    "\u{0}\u{1f}\u{7f}",
    "emoji 📺 ключ 映像",
    "</script>&amp;%2F+?#",
    "{\"id\":\"b\"}",
    " spaces around ",
    "\u{2028}\u{feff}",
];

async fn any_string_is_stored_unchanged(case: &Case) -> Check {
    for (n, string) in STRINGS.into_iter().enumerate() {
        let mut given = full(&format!("s{n}"));
        given.source_addr = string.to_owned();
        given.video_codec = string.to_owned();
        given.resolution = string.to_owned();
        given.node = Some(string.to_owned());
        given.audio_codec = Some(string.to_owned());
        given.labels.insert(string.to_owned(), string.to_owned());
        case.put(&given).await?;
        same("the record", without_times(&case.get(given.id.as_str()).await?), without_times(&given))?;
        let patch = StreamPatch { resolution: Some(string.to_owned()), ..StreamPatch::default() };
        case.registry().patch(&given.id, &patch.label("another", string)).await?;
        given.labels.insert("another".to_owned(), string.to_owned());
        same("the patched record", without_times(&case.get(given.id.as_str()).await?), without_times(&given))?;
    }
    Ok(())
}

async fn empty_strings_are_stored(case: &Case) -> Check {
    let mut given = stream("a");
    given.source_addr = String::new();
    given.labels.insert("empty".to_owned(), String::new());
    case.put(&given).await?;
    same("the record", without_times(&case.get("a").await?), without_times(&given))
}

async fn register_ignores_an_end_reason_in_the_given_record(case: &Case) -> Check {
    let mut given = stream("a");
    given.end_reason = Some("ended before".to_owned());
    same("the reason", case.put(&given).await?.end_reason, None)?;
    same("the stored reason", case.get("a").await?.end_reason, None)
}

async fn register_and_update_ignore_an_epoch_in_the_given_record(case: &Case) -> Check {
    let given = Stream::from_json(r#"{"id":"a","type":"srt","source_addr":"h:1","epoch":"00000000000000ff-x"}"#)?;
    case.put(&given).await?;
    ensure(case.get("a").await?.epoch().is_none(), "a plain registration has an epoch")?;
    case.registry().update(&given).await?;
    ensure(case.get("a").await?.epoch().is_none(), "an update gave the record an epoch")
}

async fn unknown_stream_types_are_kept(case: &Case) -> Check {
    for (n, word) in ["rtmp", "WebRTC", "x", "a-b/c:d", "ключ", &"y".repeat(32)].into_iter().enumerate() {
        let mut given = stream(&format!("s{n}"));
        given.kind = word.parse()?;
        case.put(&given).await?;
        same("the type", case.get(given.id.as_str()).await?.kind, given.kind)?;
    }
    same("a known type", "rtp".parse::<StreamType>()?, StreamType::Rtp)
}

async fn unknown_statuses_are_kept(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for word in ["buffering", "ACTIVE", "x", "ключ", &"y".repeat(32), "closed"] {
        let status: StreamStatus = word.parse()?;
        case.registry().update_status(&id("a"), status.clone()).await?;
        same("the status", case.get("a").await?.status, status)?;
    }
    Ok(())
}

async fn registration_times_come_from_the_clock_of_the_store(case: &Case) -> Check {
    let mut early = stream("a");
    (early.created_at, early.last_heartbeat) = (Timestamp::ZERO, Timestamp::ZERO);
    let mut late = stream("a");
    late.created_at = "2099-12-31T23:59:59Z".parse()?;
    late.last_heartbeat = late.created_at;
    let early = case.put(&early).await?;
    case.unchanged(&early).await?;
    // In a Redis Cluster, streams with other ids can get their times from another node.
    case.registry().unregister(&early.id).await?;
    let late = case.put(&late).await?;
    case.unchanged(&late).await?;
    for record in [&early, &late] {
        same("last_heartbeat", record.last_heartbeat, record.created_at)?;
    }
    ensure(late.created_at >= early.created_at, "the later registration is older")?;
    ensure(late.created_at.since(early.created_at).as_secs() < 60, "the time is from the caller's clock")
}

async fn timestamps_have_nine_fractional_digits(case: &Case) -> Check {
    let json = case.put(&stream("a")).await?.to_json();
    for name in ["created_at", "last_heartbeat"] {
        let time = json.split(&format!("\"{name}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
        let time = time.ok_or_else(|| fault("a time is missing"))?;
        ensure(time.len() == 30 && time.ends_with('Z') && time.as_bytes()[19] == b'.', &format!("{name} is {time}"))?;
    }
    Ok(())
}

/// Unknown fields whose JSON would change if a store decoded and encoded the values again.
pub(super) const UNKNOWN: &str = r#""x_empty":[],"x_object":{},"x_null":null,"x_big":12345678901234567890123,"x_float":1.10,"x_exp":1E+2,"x_text":"a\/b \u00e9","x_nested":{"b":[{"last_heartbeat":"2001-01-01T00:00:00Z","status":"decoy"}],"a":[[],{}]},"Status":"decoy","z":1,"a":2"#;

pub(super) fn with_unknown(name: &str) -> Check<Stream> {
    Ok(Stream::from_json(&format!(r#"{{"id":"{name}","type":"srt","source_addr":"203.0.113.7:40112",{UNKNOWN}}}"#))?)
}

fn assert_unknown_kept(record: &Stream) -> Check {
    let json = record.to_json();
    ensure(json.ends_with(&format!(",{UNKNOWN}}}")), &format!("unknown fields are lost or encoded differently: {json}"))
}

async fn assert_kept_by(case: &Case, change: Change) -> Check {
    let given = with_unknown("a")?;
    case.put(&given).await?;
    assert_unknown_kept(&case.get("a").await?)?;
    case.registry().write_one(super::case::write("a", change)).await?;
    assert_unknown_kept(&case.get("a").await?)
}

async fn heartbeat_keeps_unknown_fields(case: &Case) -> Check {
    assert_kept_by(case, Change::Heartbeat).await
}

async fn status_update_keeps_unknown_fields(case: &Case) -> Check {
    assert_kept_by(case, Change::Status(StreamStatus::Paused)).await
}

async fn statistics_update_keeps_unknown_fields(case: &Case) -> Check {
    assert_kept_by(
        case,
        Change::Stats(Box::new(StreamStats { bytes_received: Some(1), viewers: Some(3), ..Default::default() })),
    )
    .await
}

async fn patch_keeps_unknown_fields(case: &Case) -> Check {
    let patch = StreamPatch { video_codec: Some("AV1".to_owned()), ..Default::default() };
    assert_kept_by(case, Change::Patch(Box::new(patch.label("a", "b")))).await
}

async fn unregister_and_lists_return_unknown_fields(case: &Case) -> Check {
    case.put(&with_unknown("a")?).await?;
    for record in case.registry().list().await? {
        assert_unknown_kept(&record)?;
    }
    case.pages(10, |_| {}).await?;
    assert_unknown_kept(&case.registry().unregister(&id("a")).await?)
}

async fn replacing_a_record_removes_its_unknown_fields(case: &Case) -> Check {
    case.put(&with_unknown("a")?).await?;
    case.registry().update(&stream("a")).await?;
    ensure(!case.get("a").await?.to_json().contains("x_big"), "an update kept unknown fields of the old record")?;
    case.registry().update(&with_unknown("a")?).await?;
    assert_unknown_kept(&case.get("a").await?)?;
    case.put(&stream("a")).await?;
    ensure(!case.get("a").await?.to_json().contains("x_big"), "a renewal kept unknown fields of the old record")
}
