//! MediaMTX: one publisher, from the variables of a command and from the API.

use adapters::model::{Item, Snapshot};
use adapters::servers::mediamtx::Publisher;
use adapters::servers::{Answer, ReadError};
use serde_json::Value;

use crate::captures::{self, Capture, ok};
use crate::mutate;

const RTMP: &str = "28107e97-959d-4a00-97f7-129de769c572";

fn publisher(path: &str, source_type: &str, source_id: &str) -> Publisher {
    Publisher { path: path.into(), source_type: source_type.into(), source_id: source_id.into() }
}

fn live_cam1() -> Publisher {
    publisher("live/cam1", "rtmpConn", RTMP)
}

/// Returns one of the answers in a recording that contains several answers.
fn path_get(path: &str) -> Answer {
    let Capture { text, .. } = captures::read("mediamtx", "path-get.txt");
    let start = text.find(&format!("GET {path} -> ")).unwrap();
    let (_, body) = text[start..].split_once('\n').unwrap();
    ok(body.lines().next().unwrap())
}

/// Returns the first entry of a recorded list.
fn first_entry(name: &str) -> Value {
    let capture = captures::read("mediamtx", name);
    let (_, answer) = capture.answer().unwrap();
    serde_json::from_slice::<Value>(&answer.body).unwrap()["items"][0].take()
}

/// Lists the publisher, and returns the item and the requests.
fn list(
    publisher: &Publisher,
    mut serve: impl FnMut(&str) -> Answer,
) -> Result<(Option<Item>, Vec<String>), ReadError> {
    let mut asked = Vec::new();
    let snapshot = captures::list(publisher.list(), |path| {
        asked.push(path.to_owned());
        serve(path)
    })?;
    let Snapshot { complete, items, .. } = snapshot;
    assert!(!complete && items.len() <= 1, "one path says nothing about other streams");
    Ok((items.into_iter().next(), asked))
}

fn not_found() -> Answer {
    Answer { status: 404, body: captures::read("mediamtx", "path-get-unknown.txt").answer().unwrap().1.body }
}

#[test]
fn variables_give_name_type_and_session() {
    for (source_type, kind, labels) in [
        ("rtmpConn", "rtmp", "proto=rtmp server=mediamtx"),
        ("rtspsSession", "rtsp", "encrypted=true proto=rtsps server=mediamtx"),
        ("webRTCSession", "webrtc", "encrypted=true proto=webrtc server=mediamtx"),
        ("srtConn", "srt", "proto=srt server=mediamtx"),
        ("", "unknown", "server=mediamtx"),
    ] {
        let item = publisher("live/cam1", source_type, RTMP).item();
        let found: Vec<String> = item.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((item.kind.as_str(), found.join(" ")), (kind, labels.to_owned()), "{source_type}");
        assert_eq!((&*item.session, item.name.to_string()), (RTMP, "live/cam1".to_owned()));
    }
}

#[test]
fn publisher_has_the_media_of_its_path_and_the_address_of_its_connection() {
    let mut connection = first_entry("rtmpconns-list.txt");
    connection["id"] = RTMP.into();
    let (item, asked) = list(&live_cam1(), |path| match path {
        "/v3/paths/get/live/cam1" => path_get("/v3/paths/get/live/cam1"),
        _ => ok(connection.to_string()),
    })
    .unwrap();
    assert_eq!(asked, ["/v3/paths/get/live/cam1".to_owned(), format!("/v3/rtmpconns/get/{RTMP}")]);
    let item = item.unwrap();
    assert_eq!((&*item.media.video_codec, &*item.media.resolution), ("H264", "640x360"));
    assert_eq!(item.source_addr, connection["remoteAddr"].as_str().unwrap());
    assert_eq!(item.counters.bytes, connection["inboundBytes"].as_u64());
    assert_eq!((item.session, item.kind.as_str(), item.gauges.viewers), (RTMP.to_owned(), "rtmp", Some(2)));
}

#[test]
fn srt_publisher_has_its_losses() {
    let connection = first_entry("srtconns-list-loss5.txt");
    let id = connection["id"].as_str().unwrap();
    let mut path: Value = serde_json::from_slice(&path_get("/v3/paths/get/live/cam1").body).unwrap();
    path["source"] = serde_json::json!({"type": "srtConn", "id": id});
    let (item, asked) = list(&publisher("live/cam1", "srtConn", id), |asked| {
        ok(if asked.contains("paths") { path.to_string() } else { connection.to_string() })
    })
    .unwrap();
    assert_eq!(asked[1], format!("/v3/srtconns/get/{id}"));
    assert_eq!(item.unwrap().counters.lost, connection["packetsReceivedDrop"].as_u64());
}

#[test]
fn other_publisher_of_the_path_is_not_this_one() {
    for other in [publisher("live/cam1", "rtmpConn", "other"), publisher("live/cam1", "rtspSource", "")] {
        let (item, asked) = list(&other, |_| path_get("/v3/paths/get/live/cam1")).unwrap();
        assert_eq!((item, asked.len()), (None, 1), "{other:?}");
    }
    assert_eq!(list(&publisher("unknown", "srtConn", "x"), |_| not_found()).unwrap().0, None);
}

#[test]
fn connection_that_is_gone_leaves_the_media() {
    let serve = |path: &str| if path.contains("paths") { path_get("/v3/paths/get/live/cam1") } else { not_found() };
    let item = list(&live_cam1(), serve).unwrap().0.unwrap();
    assert_eq!((&*item.media.video_codec, &*item.source_addr, item.counters.bytes), ("H264", "", None));
}

#[test]
fn pulled_source_has_the_session_of_its_variables() {
    let mut path: Value = serde_json::from_slice(&path_get("/v3/paths/get/live/cam1").body).unwrap();
    path["source"] = serde_json::json!({"type": "rtspSource", "id": ""});
    let (item, asked) = list(&publisher("live/cam1", "rtspSource", ""), |_| ok(path.to_string())).unwrap();
    let item = item.unwrap();
    assert_eq!((&*item.session, item.counters.bytes, asked.len()), ("", Some(522_821), 1));
}

#[test]
fn names_are_escaped_in_requests() {
    let (_, asked) = list(&publisher("a b/c?d#e%/ä", "srtConn", "x"), |_| not_found()).unwrap();
    assert_eq!(asked, ["/v3/paths/get/a%20b/c%3Fd%23e%25/%C3%A4"]);
}

#[test]
fn answers_of_another_server_and_errors_are_errors() {
    for answer in [
        Answer { status: 404, body: b"404 page not found".to_vec() },
        Answer { status: 401, body: Vec::new() },
        Answer { status: 500, body: b"{}".to_vec() },
        ok("[]"),
        ok("<html>"),
        ok(""),
    ] {
        assert!(list(&live_cam1(), |_| answer.clone()).is_err(), "{answer:?}");
    }
}

#[test]
fn damaged_path_is_an_error_or_has_the_session_of_the_publisher() {
    let whole = path_get("/v3/paths/get/live/cam1").body;
    let connection = first_entry("rtmpconns-list.txt");
    for (place, text) in mutate::damaged(&serde_json::from_slice(&whole).unwrap()) {
        let listed = list(&live_cam1(), |path| if path.contains("paths") { ok(&*text) } else { not_found() });
        let item = listed.ok().and_then(|(item, _)| item);
        assert!(item.is_none_or(|item| item.session == RTMP), "{place:?}");
    }
    for (place, text) in mutate::damaged(&connection) {
        let listed =
            list(
                &live_cam1(),
                |path| {
                    if path.contains("paths") { path_get("/v3/paths/get/live/cam1") } else { ok(&*text) }
                },
            );
        assert!(listed.is_ok_and(|(item, _)| item.is_some()), "{place:?}");
    }
    for part in mutate::prefixes(&whole) {
        assert!(list(&live_cam1(), |_| ok(part)).is_err(), "{} bytes", part.len());
    }
}
