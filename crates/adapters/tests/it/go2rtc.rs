//! go2rtc.

use adapters::model::{Media, Snapshot};
use adapters::servers::ReadError;
use adapters::servers::go2rtc::StreamList;
use serde_json::{Value, json};

use crate::captures::{all, read as capture};
use crate::listing::{self, item};

fn read(document: &Value) -> Result<Snapshot, ReadError> {
    listing::read(&mut StreamList, document.to_string().as_bytes())
}

fn recorded(name: &str) -> Value {
    serde_json::from_slice(&capture("go2rtc", name).answer().unwrap().1.body).unwrap()
}

#[test]
fn every_recording_is_read() {
    let mut live = Vec::new();
    for capture in all("go2rtc") {
        let (path, answer) = capture.answer().unwrap();
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        // The answer about one stream has no name around it.
        let document = if path.contains("?src=") { json!({"pushed1": document}) } else { document };
        let snapshot = read(&document).unwrap();
        assert!(snapshot.complete && snapshot.scope.is_none(), "{}", capture.name);
        live.extend(snapshot.items.iter().map(|item| format!("{} {}", capture.name, item.name)));
    }
    let expected = [
        "streams-after.txt exec1",
        "streams-after.txt pulled",
        "streams-duplicate.txt pushed1",
        "streams-pushed-rtsp-rtmp.txt pushed1",
        "streams-pushed-rtsp-rtmp.txt pushed2",
    ];
    assert_eq!(live, expected);
}

#[test]
fn list_shows_producers_that_run() {
    let snapshot = read(&recorded("streams-pushed-rtsp-rtmp.txt")).unwrap();
    let rtsp = item(&snapshot, "pushed1");
    assert_eq!((rtsp.session.as_str(), rtsp.kind.as_str()), ("1", "rtsp"));
    assert_eq!(rtsp.source_addr, "127.0.0.1:44636");
    assert_eq!((rtsp.counters.bytes, rtsp.counters.packets), (Some(280_247), Some(269 + 22)));
    assert_eq!((rtsp.gauges.viewers, rtsp.gauges.bitrate), (Some(0), None));
    let media = Media { video_codec: "H264".into(), audio_codec: "AAC".into(), ..Media::default() };
    assert_eq!(rtsp.media, media);
    let rtmp = item(&snapshot, "pushed2");
    assert_eq!((rtmp.kind.as_str(), rtmp.counters.packets), ("rtmp", None));
    assert_eq!(rtmp.media, media, "the codecs of RTMP are in the descriptions only");
    assert_eq!(listing::path(&mut StreamList), "/api/streams");
}

#[test]
fn two_producers() {
    let mut document = json!({"pushed1": recorded("streams-duplicate.txt")});
    let shown = |document: &Value| {
        let snapshot = read(document).unwrap();
        assert_eq!(snapshot.items.len(), 1);
        (snapshot.items[0].session.clone(), snapshot.items[0].counters.bytes, snapshot.items[0].gauges.viewers)
    };
    assert_eq!(shown(&document), ("1".to_owned(), Some(1_014_093), Some(1)));
    document["pushed1"]["producers"].as_array_mut().unwrap().reverse();
    assert_eq!(shown(&document).0, "1", "the order does not matter");
    let producers = document["pushed1"]["producers"].as_array_mut().unwrap();
    producers.retain(|producer| producer["id"] != 1);
    assert_eq!(shown(&document), ("22".to_owned(), Some(217_731), Some(1)));
    document["pushed1"]["producers"][0]["id"] = json!(9);
    document["pushed1"]["producers"][1]["id"] = json!(10);
    assert_eq!(shown(&document).0, "9", "ids are compared as numbers");
}

#[test]
fn configured_producer_is_not_live() {
    assert_eq!(read(&recorded("streams-idle.txt")).unwrap(), Snapshot { complete: true, ..Snapshot::default() });
    let document = json!({"a": {"producers": null, "consumers": null}, "b": {"producers": []}, "c": {}});
    assert_eq!(read(&document).unwrap(), Snapshot { complete: true, ..Snapshot::default() });
}

#[test]
fn unreadable_stream_does_not_end_it() {
    for broken in [json!(null), json!([]), json!("x"), json!({"producers": {}}), json!({"producers": "x"})] {
        let snapshot = read(&json!({"a": broken, "b": {"producers": [{"id": 3}]}})).unwrap();
        assert!(!snapshot.complete, "{broken}");
        assert_eq!(item(&snapshot, "b").session, "3");
    }
    for broken in [json!(null), json!("x"), json!({"id": {}})] {
        let snapshot = read(&json!({"a": {"producers": [broken, {"id": 3}]}})).unwrap();
        assert_eq!(item(&snapshot, "a").session, "3", "{broken}");
    }
}

#[test]
fn secret_not_logged() {
    let mut document = recorded("streams-after.txt");
    for stream in ["exec1", "pulled"] {
        for field in ["url", "source", "sdp", "user_agent"] {
            document[stream]["producers"][0][field] = json!("rtsp://user:s3cret@camera.example/?token=s3cret");
        }
    }
    let snapshot = read(&document).unwrap();
    assert_eq!(snapshot.items.len(), 2);
    assert!(!format!("{snapshot:?}").contains("s3cret"));
    let mut body = document.to_string();
    body.truncate(body.len() - 1);
    let error = listing::read(&mut StreamList, body.as_bytes()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn source_that_a_viewer_opened_is_not_listed() {
    let stream = json!({"producers": [{"id": 3}]});
    for name in ["rtsp://user:s3cret@camera.example/1", "ffmpeg:rtsp://u:s3cret@camera.example", "ring:?token=s3cret"] {
        let snapshot = read(&json!({name: stream, "cam1": stream})).unwrap();
        assert!(snapshot.complete && snapshot.items.len() == 1, "{snapshot:?}");
        assert_eq!(item(&snapshot, "cam1").session, "3");
    }
}

#[test]
fn damage_to_one_stream_stays_local() {
    listing::assert_damage_stays_local(
        &mut StreamList,
        &recorded("streams-after.txt"),
        |place| place.first().cloned(),
        |place| place.len() == 1 || ["producers", "id"].contains(&place[place.len() - 1].as_str()),
    );
}

#[test]
fn truncated_list_is_rejected_at_every_byte() {
    let capture = capture("go2rtc", "streams-pushed-rtsp-rtmp.txt");
    listing::assert_prefixes_are_rejected(&mut StreamList, &capture.answer().unwrap().1.body);
}

#[test]
fn other_answers_are_rejected() {
    listing::assert_other_answers_are_rejected(&mut StreamList);
}
