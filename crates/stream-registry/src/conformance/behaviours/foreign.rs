//! Records that other programs wrote. These behaviours need hooks of the store under test.

use super::case::{Case, Check, Fault, ensure, fails, fault, id, same, stream, totals};
use super::declare;
use crate::error::ErrorKind;
use crate::stream::limits::MAX_LEVELS;
use crate::stream::{Stream, StreamPatch, StreamStatus, StreamType};
use crate::watch::{Event, WatchFrom};

declare! {
    "lenient-reading", Long: [
        fields_in_any_order_and_with_escapes_are_decoded,
        missing_fields_get_default_values,
        timestamps_with_any_offset_and_precision_are_decoded,
        nonconforming_numbers_become_the_nearest_valid_numbers,
        answers_have_legal_values_and_the_store_keeps_the_raw_json,
        stored_types_and_statuses_are_kept_unchanged,
        stream_id_comes_from_the_key_not_from_the_record,
        last_duplicate_of_a_field_wins,
        heartbeat_changes_only_last_heartbeat,
        writes_keep_the_fields_that_the_change_does_not_set,
        undecodable_record_hides_no_other_record,
        value_of_the_wrong_type_hides_no_other_record,
    ],
}

const FOREIGN: &str = r#"{"packets_received":71000000000,"type":"srt","x":[],"packets_lost":12,"id":"a","created_at":"2026-11-22T19:38:10.924785123+05:30","note":"\"status\":\"error\", \u00e9\/","resolution":"","bitrate":8000000,"status":"active","frame_rate":25,"source_addr":"10.0.0.3:7001","nested":{"last_heartbeat":"2001-01-01T00:00:00Z","a":[{"bitrate":1}]},"bytes_received":99999999999999,"video_codec":"AV1","last_heartbeat":"2026-11-22T14:08:10.939502919Z"}"#;

async fn fields_in_any_order_and_with_escapes_are_decoded(case: &Case) -> Check {
    case.put_stored("a", FOREIGN).await?;
    let found = case.get("a").await?;
    same("the counter", found.bytes_received, 99_999_999_999_999)?;
    same("the status", &found.status, &StreamStatus::Active)?;
    same("the codec", found.video_codec.as_str(), "AV1")?;
    ensure(found.to_json().contains(r#""note":"\"status\":\"error\", \u00e9\/""#), "a string was encoded differently")?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn missing_fields_get_default_values(case: &Case) -> Check {
    case.put_stored("a", "{ }").await?;
    let found = case.get("a").await?;
    same("the counters", (found.bytes_received, found.bitrate), (0, 0))?;
    same("the times", found.created_at.to_string(), "0001-01-01T00:00:00.000000000Z".to_owned())?;
    case.registry().update_status(&id("a"), StreamStatus::Active).await?;
    same("the status", case.get("a").await?.status, StreamStatus::Active)
}

async fn timestamps_with_any_offset_and_precision_are_decoded(case: &Case) -> Check {
    for (time, expected) in [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
        ("2026-11-22T10:38:10.92789653-03:30", "2026-11-22T14:08:10.927896530Z"),
        ("2026-11-22T14:08:10+00:00", "2026-11-22T14:08:10.000000000Z"),
    ] {
        case.put_stored("a", &format!(r#"{{"type":"srt","created_at":"{time}"}}"#)).await?;
        same("the time", case.get("a").await?.created_at.to_string(), expected.to_owned())?;
        case.registry().update_heartbeat(&id("a")).await?;
        same("the time after a heartbeat", case.get("a").await?.created_at.to_string(), expected.to_owned())?;
    }
    Ok(())
}

async fn nonconforming_numbers_become_the_nearest_valid_numbers(case: &Case) -> Check {
    for (number, expected) in
        [("1e+14", 100_000_000_000_000), ("1.5e6", 1_500_000), ("-5", 0), ("1e30", i64::MAX as u64)]
    {
        case.put_stored("a", &format!(r#"{{"type":"srt","bytes_received":{number}}}"#)).await?;
        same("the counter", case.get("a").await?.bytes_received, expected)?;
        case.registry().update_heartbeat(&id("a")).await?;
        same("the counter after a heartbeat", case.get("a").await?.bytes_received, expected)?;
    }
    Ok(())
}

async fn answers_have_legal_values_and_the_store_keeps_the_raw_json(case: &Case) -> Check {
    const RAW: &str = r#"{"type":"srt","source_addr":"h:1","status":"active","created_at":"2026-11-22T14:08:10Z","bitrate":-5,"bytes_received":1.5e6,"packets_received":1e+14,"packets_lost":2.5,"node":7,"labels":{"k":"v","n":1},"rtt_ms":-1,"x":[1.0e5]}"#;
    const LEGAL: &str = r#""bitrate":0,"frame_rate":0,"bytes_received":1500000,"packets_received":100000000000000,"packets_lost":3,"labels":{"k":"v"},"rtt_ms":0,"x":[1.0e5]}"#;
    let is_legal = |subject: &str, json: &str| ensure(json.contains(LEGAL), &format!("{subject}: {json}"));
    case.put_stored("a", RAW).await?;
    for writes in 0..3 {
        is_legal("get", &case.get("a").await?.to_json())?;
        let listed = case.registry().list().await?;
        is_legal("list", &listed.first().map(Stream::to_json).unwrap_or_default())?;
        if writes == 0 {
            case.registry().update_heartbeat(&id("a")).await?;
        } else {
            case.registry().update_status(&id("a"), StreamStatus::Paused).await?;
        }
    }
    if let Some(stored) = case.instance.stored(&id("a")).await {
        let stored = stored.ok_or_else(|| fault("nothing is stored"))?;
        for raw in [r#""bitrate":-5"#, r#""packets_lost":2.5"#, r#""node":7"#, r#""labels":{"k":"v","n":1}"#] {
            ensure(stored.contains(raw), &format!("the store lost {raw}: {stored}"))?;
        }
    }
    let mut watch = match case.registry().watch(WatchFrom::Now).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        watch => watch?,
    };
    is_legal("unregister", &case.registry().unregister(&id("a")).await?.to_json())?;
    loop {
        let event = watch.next().await.ok_or_else(|| fault("the watch ended"))?;
        if matches!(event, Event::Ended { .. }) {
            return is_legal("the event", &event.to_json());
        }
    }
}

async fn stored_types_and_statuses_are_kept_unchanged(case: &Case) -> Check {
    case.put_stored("a", r#"{"type":"a long type with spaces, of another program","status":""}"#).await?;
    let found = case.get("a").await?;
    same("the type", found.kind.as_str(), "a long type with spaces, of another program")?;
    same("the status", found.status.as_str(), "")?;
    case.registry().update_heartbeat(&id("a")).await?;
    same("the type", case.get("a").await?.kind, found.kind)
}

async fn stream_id_comes_from_the_key_not_from_the_record(case: &Case) -> Check {
    case.put_stored("a", r#"{"id":"b","type":"srt"}"#).await?;
    same("the id", case.get("a").await?.id, id("a"))?;
    fails(case.registry().get(&id("b")).await, ErrorKind::NotFound)?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn last_duplicate_of_a_field_wins(case: &Case) -> Check {
    case.put_stored("a", r#"{"type":"rtp","status":"error","type":"srt","status":"active"}"#).await?;
    let found = case.get("a").await?;
    same("type and status", (found.kind, found.status), (StreamType::Srt, StreamStatus::Active))
}

/// Returns the fields in the stored JSON of a record.
async fn fields(case: &Case, name: &str) -> Check<serde_json::Map<String, serde_json::Value>> {
    let json = match case.instance.stored(&id(name)).await {
        None => case.get(name).await?.to_json(),
        Some(json) => json.ok_or_else(|| fault("nothing is stored"))?,
    };
    serde_json::from_str(&json).map_err(|error| fault(&format!("{error}: {json}")))
}

async fn differs_only_in(case: &Case, names: &[&str], before: &serde_json::Map<String, serde_json::Value>) -> Check {
    let mut now = fields(case, "a").await?;
    let mut before = before.clone();
    for name in names {
        now.remove(*name);
        before.remove(*name);
    }
    // A store may rewrite `created_at` in UTC, so this compares times, not strings.
    for record in [&mut now, &mut before] {
        if let Some(serde_json::Value::String(time)) = record.get_mut("created_at") {
            *time = time.parse::<crate::stream::Timestamp>()?.to_string();
        }
    }
    same("the rest of the record", now, before)
}

async fn heartbeat_changes_only_last_heartbeat(case: &Case) -> Check {
    case.put_stored("a", FOREIGN).await?;
    let before = fields(case, "a").await?;
    for _ in 0..3 {
        case.registry().update_heartbeat(&id("a")).await?;
        differs_only_in(case, &["last_heartbeat"], &before).await?;
    }
    ensure(
        case.get("a").await?.last_heartbeat.to_string().as_str() != "2026-11-22T14:08:10.939502919Z",
        "last_heartbeat does not advance",
    )
}

async fn writes_keep_the_fields_that_the_change_does_not_set(case: &Case) -> Check {
    case.put_stored("a", FOREIGN).await?;
    let before = fields(case, "a").await?;
    let mut set = vec!["last_heartbeat", "status"];
    case.registry().update_status(&id("a"), StreamStatus::Paused).await?;
    differs_only_in(case, &set, &before).await?;
    set.extend(["bytes_received", "packets_received", "packets_lost", "bitrate"]);
    case.registry().update_stats(&id("a"), &totals()).await?;
    differs_only_in(case, &set, &before).await?;
    set.push("resolution");
    let patch = StreamPatch { resolution: Some("1x1".to_owned()), ..Default::default() };
    case.registry().patch(&id("a"), &patch).await?;
    differs_only_in(case, &set, &before).await?;
    same("the status", case.get("a").await?.status, StreamStatus::Paused)
}

async fn undecodable_record_hides_no_other_record(case: &Case) -> Check {
    case.put(&stream("good")).await?;
    let deep = format!(r#"{{"type":"srt","x":{}{}}}"#, "[".repeat(MAX_LEVELS), "]".repeat(MAX_LEVELS));
    for (n, json) in ["", "[]", "not json", "{\"id\":\"x\"", "\u{0}", "null", &deep].into_iter().enumerate() {
        case.put_stored(&format!("bad{n}"), json).await?;
    }
    let snapshot = case.registry().snapshot().await?;
    same("the list", super::case::sorted(&snapshot.streams), vec!["good".to_owned()])?;
    same("the count of unreadable records", snapshot.unreadable, 7)?;
    same("the pages", case.paged(100).await?, vec!["good".to_owned()])?;
    fails(case.registry().get(&id("bad1")).await, ErrorKind::Corrupt)?;
    fails(case.registry().get(&id("bad6")).await, ErrorKind::Corrupt)?;
    fails(case.registry().update_heartbeat(&id("bad1")).await, ErrorKind::Corrupt)?;
    case.registry().update_heartbeat(&id("good")).await?;
    Ok(())
}

async fn value_of_the_wrong_type_hides_no_other_record(case: &Case) -> Check {
    case.put(&stream("good")).await?;
    case.instance.put_wrong_type(&id("bad")).await.ok_or(Fault::NoHook("put_wrong_type"))?;
    same("the list", case.listed().await?, vec!["good".to_owned()])?;
    same("the pages", case.paged(100).await?, vec!["good".to_owned()])?;
    fails(case.registry().get(&id("bad")).await, ErrorKind::Corrupt)?;
    fails(case.registry().update_heartbeat(&id("bad")).await, ErrorKind::Corrupt)?;
    fails(case.registry().register(&stream("bad")).await, ErrorKind::Corrupt)?;
    fails(case.registry().unregister(&id("bad")).await, ErrorKind::Corrupt)?;
    Ok(())
}
