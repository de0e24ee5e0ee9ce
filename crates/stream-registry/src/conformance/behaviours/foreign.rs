//! Records of other programs, which need the hooks.

use super::case::{Case, Check, Fault, ensure, fails, fault, id, same, stream};
use super::declare;
use crate::error::ErrorKind;
use crate::stream::{StreamPatch, StreamStats, StreamStatus, StreamType};

declare! {
    "lenient-reading", Long: [
        any_order_and_escapes_are_read,
        missing_fields_are_unset,
        any_offset_and_precision_is_read,
        odd_numbers_are_the_nearest_legal_ones,
        stored_tokens_are_read_as_they_are,
        the_key_decides_the_id,
        the_last_of_a_repeated_field_counts,
        a_heartbeat_changes_nothing_else,
        every_change_keeps_what_it_does_not_set,
        an_unreadable_record_hides_no_other,
        another_type_of_key_hides_nothing,
    ],
}

const FOREIGN: &str = r#"{"packets_received":71000000000,"type":"srt","x":[],"packets_lost":12,"id":"a","created_at":"2026-11-22T19:38:10.924785123+05:30","note":"\"status\":\"error\", \u00e9\/","resolution":"","bitrate":8000000,"status":"active","frame_rate":25,"source_addr":"10.0.0.3:7001","nested":{"last_heartbeat":"2001-01-01T00:00:00Z","a":[{"bitrate":1}]},"bytes_received":99999999999999,"video_codec":"AV1","last_heartbeat":"2026-11-22T14:08:10.939502919Z"}"#;

async fn any_order_and_escapes_are_read(case: &Case) -> Check {
    case.put_stored("a", FOREIGN).await?;
    let found = case.get("a").await?;
    same("the counter", found.bytes_received, 99_999_999_999_999)?;
    same("the status", &found.status, &StreamStatus::Active)?;
    same("the codec", found.video_codec.as_str(), "AV1")?;
    ensure(found.to_json().contains(r#""note":"\"status\":\"error\", \u00e9\/""#), "a text is spelt anew")?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn missing_fields_are_unset(case: &Case) -> Check {
    case.put_stored("a", "{ }").await?;
    let found = case.get("a").await?;
    same("the counters", (found.bytes_received, found.bitrate), (0, 0))?;
    same("the times", found.created_at.to_string(), "0001-01-01T00:00:00.000000000Z".to_owned())?;
    case.registry().update_status(&id("a"), StreamStatus::Active).await?;
    same("the status", case.get("a").await?.status, StreamStatus::Active)
}

async fn any_offset_and_precision_is_read(case: &Case) -> Check {
    for (text, should) in [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
        ("2026-11-22T10:38:10.92789653-03:30", "2026-11-22T14:08:10.927896530Z"),
        ("2026-11-22T14:08:10+00:00", "2026-11-22T14:08:10.000000000Z"),
    ] {
        case.put_stored("a", &format!(r#"{{"type":"srt","created_at":"{text}"}}"#)).await?;
        same("the time", case.get("a").await?.created_at.to_string(), should.to_owned())?;
        case.registry().update_heartbeat(&id("a")).await?;
        same("the time after a heartbeat", case.get("a").await?.created_at.to_string(), should.to_owned())?;
    }
    Ok(())
}

async fn odd_numbers_are_the_nearest_legal_ones(case: &Case) -> Check {
    for (text, should) in [("1e+14", 100_000_000_000_000), ("1.5e6", 1_500_000), ("-5", 0), ("1e30", i64::MAX as u64)] {
        case.put_stored("a", &format!(r#"{{"type":"srt","bytes_received":{text}}}"#)).await?;
        same("the counter", case.get("a").await?.bytes_received, should)?;
        case.registry().update_heartbeat(&id("a")).await?;
        same("the counter after a heartbeat", case.get("a").await?.bytes_received, should)?;
    }
    Ok(())
}

async fn stored_tokens_are_read_as_they_are(case: &Case) -> Check {
    case.put_stored("a", r#"{"type":"some long type with blanks, of another program","status":""}"#).await?;
    let found = case.get("a").await?;
    same("the type", found.kind.as_str(), "some long type with blanks, of another program")?;
    same("the status", found.status.as_str(), "")?;
    case.registry().update_heartbeat(&id("a")).await?;
    same("the type", case.get("a").await?.kind, found.kind)
}

async fn the_key_decides_the_id(case: &Case) -> Check {
    case.put_stored("a", r#"{"id":"b","type":"srt"}"#).await?;
    same("the id", case.get("a").await?.id, id("a"))?;
    fails(case.registry().get(&id("b")).await, ErrorKind::NotFound)?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn the_last_of_a_repeated_field_counts(case: &Case) -> Check {
    case.put_stored("a", r#"{"type":"rtp","status":"error","type":"srt","status":"active"}"#).await?;
    let found = case.get("a").await?;
    same("type and status", (found.kind, found.status), (StreamType::Srt, StreamStatus::Active))
}

/// The stored text, field by field.
async fn fields(case: &Case, name: &str) -> Check<serde_json::Map<String, serde_json::Value>> {
    let text = match case.instance.stored(&id(name)).await {
        None => case.get(name).await?.to_json(),
        Some(text) => text.ok_or_else(|| fault("nothing is stored"))?,
    };
    serde_json::from_str(&text).map_err(|error| fault(&format!("{error}: {text}")))
}

async fn differs_only_in(case: &Case, names: &[&str], before: &serde_json::Map<String, serde_json::Value>) -> Check {
    let mut now = fields(case, "a").await?;
    let mut before = before.clone();
    for name in names {
        now.remove(*name);
        before.remove(*name);
    }
    // The times that are left are the same points in time, spelt in UTC perhaps.
    for record in [&mut now, &mut before] {
        if let Some(serde_json::Value::String(text)) = record.get_mut("created_at") {
            *text = text.parse::<crate::stream::Timestamp>()?.to_string();
        }
    }
    same("the rest of the record", now, before)
}

async fn a_heartbeat_changes_nothing_else(case: &Case) -> Check {
    case.put_stored("a", FOREIGN).await?;
    let before = fields(case, "a").await?;
    for _ in 0..3 {
        case.registry().update_heartbeat(&id("a")).await?;
        differs_only_in(case, &["last_heartbeat"], &before).await?;
    }
    ensure(case.get("a").await?.last_heartbeat.to_string().as_str() != "2026-11-22T14:08:10.939502919Z", "not moved")
}

async fn every_change_keeps_what_it_does_not_set(case: &Case) -> Check {
    case.put_stored("a", FOREIGN).await?;
    let before = fields(case, "a").await?;
    let mut set = vec!["last_heartbeat", "status"];
    case.registry().update_status(&id("a"), StreamStatus::Paused).await?;
    differs_only_in(case, &set, &before).await?;
    set.extend(["bytes_received", "packets_received", "packets_lost", "bitrate"]);
    case.registry().update_stats(&id("a"), &StreamStats::default()).await?;
    differs_only_in(case, &set, &before).await?;
    set.push("resolution");
    let patch = StreamPatch { resolution: Some("1x1".to_owned()), ..Default::default() };
    case.registry().patch(&id("a"), &patch).await?;
    differs_only_in(case, &set, &before).await?;
    same("the status", case.get("a").await?.status, StreamStatus::Paused)
}

async fn an_unreadable_record_hides_no_other(case: &Case) -> Check {
    case.put(&stream("good")).await?;
    for (at, text) in ["", "[]", "not json", "{\"id\":\"x\"", "\u{0}", "null"].into_iter().enumerate() {
        case.put_stored(&format!("bad{at}"), text).await?;
    }
    let snapshot = case.registry().snapshot().await?;
    same("the list", super::case::sorted(&snapshot.streams), vec!["good".to_owned()])?;
    same("the count of unreadable records", snapshot.unreadable, 6)?;
    same("the pages", case.paged(100).await?, vec!["good".to_owned()])?;
    fails(case.registry().get(&id("bad1")).await, ErrorKind::Corrupt)?;
    fails(case.registry().update_heartbeat(&id("bad1")).await, ErrorKind::Corrupt)?;
    case.registry().update_heartbeat(&id("good")).await?;
    Ok(())
}

async fn another_type_of_key_hides_nothing(case: &Case) -> Check {
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
