//! Real bodies match the schemas of the document, and have no member that a schema lacks.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stream_registry::http::wire::{
    Info, LabelsMode, Problem, batch_response, history_body, page_body, patch_body, read_batch, registered_body,
    snapshot_body, stats_body, status_body,
};
use stream_registry::query::{By, Summary};
use stream_registry::registry::Operation;
use stream_registry::watch::{ChangeKind, Ending, Event, Shard};
use stream_registry::{Error, Outcome, Page, Registered, Snapshot, Stream, StreamPatch, StreamStats};

use super::python;
use crate::http::kit::{Server, id, stream};

/// Returns a record in which every field is set.
fn full() -> Stream {
    let record = json!({
        "id": "site \"1\"/cam", "type": "srt", "source_addr": "[2001:db8::1]:40112", "status": "active",
        "created_at": "2026-11-22T14:08:10.927896530Z", "last_heartbeat": "2026-11-22T14:09:41Z",
        "video_codec": "HEVC", "resolution": "1920x1080", "bitrate": i64::MAX, "frame_rate": 59.94,
        "bytes_received": i64::MAX, "packets_received": 1, "packets_lost": 0, "node": "fra-1", "epoch": "e-1",
        "labels": { "tenant": "acme" }, "audio_codec": "AAC", "rtt_ms": 12.5, "jitter_ms": 0.1,
        "packets_retransmitted": 3, "packets_dropped": 4, "viewers": 5, "end_reason": "over",
    });
    let full = Stream::from_stored(&id("site \"1\"/cam"), &record.to_string()).unwrap();
    let encoded: Value = serde_json::from_str(&full.to_json()).unwrap();
    assert_eq!(encoded.as_object().unwrap().len(), Stream::FIELDS.len(), "{encoded}");
    full
}

/// Returns the values to check, each with the name of its schema.
fn values() -> Vec<(&'static str, String)> {
    let full = full();
    // Another program can store any string.
    let odd = Stream::from_stored(&id("x"), r#"{"type":5,"status":"a b","bitrate":-1,"node":""}"#).unwrap();
    let revision = || "18c1f2-7".parse().unwrap();
    let mut page = Page::new(vec![full.clone(), odd.clone()], Some("v.id.n0.61".parse().unwrap()), 7);
    (page.revision, page.unreadable) = (Some(revision()), 2);
    let mut snapshot = Snapshot::new(vec![full.clone()]);
    (snapshot.revision, snapshot.unreadable) = (Some(revision()), 1);
    let mut registered = Registered::new(full.clone(), Outcome::Created, Duration::from_secs(300));
    let last = Arc::new(full.clone());
    let ended = |reason, as_of: Option<&str>| Event::Ended {
        revision: revision(),
        reason,
        last: last.clone(),
        as_of: as_of.map(|time| time.parse().unwrap()),
    };
    let over = || Ending::Unregistered("over".parse().unwrap());
    let events = [
        Event::Changed { revision: revision(), kind: ChangeKind::TakenOver, stream: last.clone() },
        ended(over(), Some("2026-11-22T14:10:00Z")),
        ended(Ending::Expired, None),
        Event::Resync { revision: revision(), shard: Shard::new(63, 64) },
        Event::Resync { revision: revision(), shard: None },
        Event::Alive { revision: revision() },
    ];
    let history = [ended(over(), Some("2026-11-22T14:10:00Z")), ended(Ending::Expired, None)];
    let stats = StreamStats {
        bytes_received: Some(i64::MAX as u64),
        packets_received: Some(2),
        packets_lost: Some(3),
        bitrate: Some(4),
        rtt_ms: Some(0.5),
        jitter_ms: Some(1e-7),
        packets_retransmitted: Some(5),
        packets_dropped: Some(6),
        viewers: Some(7),
        frame_rate: Some(0.0),
    };
    let patch = StreamPatch {
        video_codec: Some(String::new()),
        resolution: Some("1x1".into()),
        frame_rate: Some(50.0),
        audio_codec: Some("AAC".into()),
        node: Some("n".into()),
        ..StreamPatch::default()
    };
    let (patch, mode) = patch_body(&patch.label("a", "b"));
    assert_eq!(mode, LabelsMode::Merge);
    let items = r#"{"streams":[{"id":"a","epoch":"e","stats":{"bitrate":1}},{"id":"b"},{"id":"c","x":1},{"id":""}]}"#;
    let batch = read_batch(items, false).unwrap();
    let results = [
        Err(Problem { partial: true, ..Problem::new(503, "unavailable", "", "down") }.into_error()),
        Err(Error::not_holder(&id("b"))),
        Ok(()),
    ];
    let problem = Problem {
        kind: "../docs#problem-already_exists".to_owned(),
        title: "Conflict".to_owned(),
        request_id: Some("7".to_owned()),
        partial: true,
        ..Problem::from_error(&Error::already_exists(full.clone()).with_operation(Operation::Register))
    };
    let info = Info {
        name: "streamreg".to_owned(),
        version: "0.1.0".to_owned(),
        store: "redis".to_owned(),
        ttl_ms: 300_000,
        read_only: true,
        warning: Some("eviction".to_owned()),
    };
    let mut values = vec![
        ("Stream", full.to_json()),
        ("Stream", odd.to_json()),
        ("Stream", stream("plain").to_json()),
        ("NewStream", full.to_json()),
        ("Page", page_body(&page)),
        ("Page", page_body(&Page::new(vec![], None, 0))),
        ("Snapshot", snapshot_body(&snapshot)),
        ("History", history_body(&history)),
        ("Registered", registered_body(&registered)),
        ("Statistics", stats_body(&stats)),
        ("NewStatus", status_body(&"active".parse().unwrap())),
        ("StreamPatch", patch),
        ("BatchResult", batch_response(&batch, &results)),
        ("Problem", serde_json::to_string(&problem).unwrap()),
        ("Info", serde_json::to_string(&info).unwrap()),
        ("Summary", serde_json::to_string(&Summary::of(By::Node, [&full, &odd])).unwrap()),
        ("Batch", r#"{"streams":[{"id":"a","epoch":"e","stats":{"bitrate":1}},{"id":"b","stats":null}]}"#.to_owned()),
    ];
    registered.epoch = Some("e-1".parse().unwrap());
    for outcome in [Outcome::Renewed, Outcome::TakenOver] {
        registered.outcome = outcome;
        values.push(("Registered", registered_body(&registered)));
    }
    values.extend(events.iter().map(|event| ("Event", event.to_json())));
    values
}

#[tokio::test]
async fn real_bodies_match_their_schemas_and_have_no_other_members() {
    let (server, _) = Server::memory().await;
    let mut values: Vec<(&str, Value)> =
        values().iter().map(|(schema, body)| (*schema, serde_json::from_str(body).unwrap())).collect();
    for (schema, path) in [("Index", "/api/v1"), ("Health", "/readyz"), ("Info", "/api/v1/info")] {
        values.push((schema, server.get(path).await.json()));
    }
    values.push(("Problem", server.get("/api/v1/streams/none").await.problem(404, "not_found")));
    let document = server.get("/openapi.json").await.json();
    assert_eq!(errors(&document, &values), "");
    // Invalid values are detected, so the comparison above means something.
    for (schema, value) in [
        ("Stream", json!({ "id": "a" })),
        ("Info", json!({ "name": "streamreg", "version": "1", "store": "redis", "ttl_ms": 5, "read_only": 0 })),
        ("StreamId", json!("active")),
        ("StreamId", json!(" a")),
        ("Health", json!({ "status": "ok", "other": 1 })),
    ] {
        assert!(errors(&document, &[(schema, value.clone())]).starts_with(schema), "{schema}: {value}");
    }
}

/// Returns the errors of values, one per line.
fn errors(document: &Value, values: &[(&str, Value)]) -> String {
    let values: Vec<_> = values.iter().map(|(schema, value)| json!({ "schema": schema, "value": value })).collect();
    let mut python = Command::new(python::program("python"))
        .arg(python::file("validate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!({ "document": document, "values": values }).to_string();
    python.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
