//! MediaMTX 1.20 and 1.15.

use std::collections::BTreeMap;

use adapters::model::{Counters, Gauges, Item, ItemState, Media, Name, Snapshot};
use adapters::servers::mediamtx::MediaMtxList;
use adapters::servers::{Answer, ReadError};
use serde_json::{Value, json};

use crate::captures::{self, Capture, ok};
use crate::listing::{labels, names};
use crate::mutate;

const PATHS: &str = "/v3/paths/list";

fn not_found() -> Answer {
    Answer { status: 404, body: b"404 page not found".to_vec() }
}

/// A server that has recorded answers. All other paths are missing.
struct Server(BTreeMap<String, Answer>);

impl Server {
    fn new(names: &[&str]) -> Self {
        let captures: Vec<Capture> = names.iter().map(|name| captures::read("mediamtx", name)).collect();
        let answers = captures.iter().filter_map(Capture::answer);
        Self(answers.map(|(path, answer)| (path.to_owned(), answer)).collect())
    }

    /// Lists the streams. The path without the query is given to `replace`, whose answer comes first.
    fn list_with(&self, replace: impl Fn(&str) -> Option<Answer>) -> Result<Snapshot, ReadError> {
        captures::list(MediaMtxList::default(), |request| {
            let path = request.split('?').next().unwrap();
            replace(path).or_else(|| self.0.get(path).cloned()).unwrap_or_else(not_found)
        })
    }

    /// Lists the streams with another body of one answer.
    fn list_with_body(&self, path: &str, body: impl AsRef<[u8]>) -> Result<Snapshot, ReadError> {
        self.list_with(|asked| (asked == path).then(|| ok(body.as_ref())))
    }
}

fn list(names: &[&str]) -> Snapshot {
    Server::new(names).list_with(|_| None).unwrap()
}

/// Lists the streams of a server that answers only the request for paths.
fn list_paths(body: impl AsRef<[u8]>) -> Result<Snapshot, ReadError> {
    Server::new(&[]).list_with_body(PATHS, body)
}

fn document(name: &str) -> Value {
    serde_json::from_slice(&captures::read("mediamtx", name).answer().unwrap().1.body).unwrap()
}

fn h264_and_aac(resolution: &str) -> Media {
    Media {
        video_codec: "H264".to_owned(),
        resolution: resolution.to_owned(),
        frame_rate: 0.0,
        audio_codec: "AAC".to_owned(),
    }
}

/// Answers of version 1.20 for an RTMP publisher, two RTSP publishers and an SRT publisher.
const VERSION_1_20: [&[&str]; 3] = [
    &["info.txt", "paths-list-rtmp.txt", "rtmpconns-list.txt"],
    &["info.txt", "paths-list-rtsp.txt", "rtspsessions-list-publish.txt"],
    &["info.txt", "paths-list-srt.txt", "srtconns-list.txt"],
];

const VERSION_1_15: [&str; 4] = [
    "v1.15.3-paths-list.txt",
    "v1.15.3-rtmpconns-list.txt",
    "v1.15.3-rtspsessions-list.txt",
    "v1.15.3-srtconns-list.txt",
];

#[test]
fn rtmp_publisher_has_address_codecs_and_bytes_of_its_connection() {
    let snapshot = list(VERSION_1_20[0]);
    assert_eq!(snapshot.epoch.as_deref(), Some("2026-11-29T10:22:16.533037844Z"));
    assert!(snapshot.complete && snapshot.scope.is_none());
    let expected = Item {
        name: Name { vhost: String::new(), app: "live".to_owned(), name: "cam1".to_owned() },
        session: "28107e97-959d-4a00-97f7-129de769c572".to_owned(),
        kind: "rtmp".parse().unwrap(),
        source_addr: "127.0.0.1:55008".to_owned(),
        state: ItemState::Active,
        media: h264_and_aac("640x360"),
        counters: Counters { bytes: Some(521_708), ..Counters::default() },
        gauges: Gauges { viewers: Some(2), ..Gauges::default() },
        labels: labels(&[("server", "mediamtx"), ("proto", "rtmp")]),
    };
    assert_eq!(snapshot.items[0], expected);
}

#[test]
fn pulled_source_has_its_start_as_session_and_the_bytes_of_the_path() {
    let snapshot = list(VERSION_1_20[0]);
    assert_eq!(names(&snapshot), ["live/cam1", "pulled"]);
    let pulled = &snapshot.items[1];
    let path = document("paths-list-rtmp.txt")["items"][5].clone();
    assert_eq!(pulled.session, path["availableTime"]);
    assert_eq!(pulled.counters.bytes, path["inboundBytes"].as_u64());
    assert_eq!((pulled.kind.as_str(), pulled.source_addr.as_str()), ("rtsp", ""));
}

#[test]
fn rtsp_publishers_have_packets_but_no_jitter() {
    let snapshot = list(VERSION_1_20[1]);
    assert_eq!(names(&snapshot), ["live/r1", "live/r2"]);
    let counters =
        |bytes, packets| Counters { bytes: Some(bytes), packets: Some(packets), lost: Some(0), ..Counters::default() };
    assert_eq!(snapshot.items[0].counters, counters(350_244, 358));
    assert_eq!(snapshot.items[1].counters, counters(372_407, 384));
    assert_eq!(snapshot.items[1].gauges, Gauges { viewers: Some(0), ..Gauges::default() });
}

#[test]
fn srt_loss_counts_dropped_packets_only() {
    let mut paths = document("paths-list-srt.txt");
    paths["items"][3]["source"]["id"] = document("srtconns-list-loss5.txt")["items"][0]["id"].clone();
    let snapshot = Server::new(&["srtconns-list-loss5.txt"]).list_with_body(PATHS, paths.to_string()).unwrap();
    let expected =
        Counters { bytes: Some(766_160), packets: Some(685), lost: Some(3), retransmitted: Some(41), dropped: Some(0) };
    assert_eq!(snapshot.items[0].counters, expected);
    let gauges = Gauges { bitrate: Some(624_856), rtt_ms: Some(3.281491623672441), viewers: Some(0) };
    assert_eq!(snapshot.items[0].gauges, gauges);
}

#[test]
fn failing_pull_is_not_live() {
    for capture in ["paths-list-idle.txt", "v1.15.3-paths-list-idle.txt"] {
        let snapshot = list(&[capture]);
        assert!(document(capture)["items"].to_string().contains(r#""name":"failing""#));
        assert!(snapshot.complete);
        assert_eq!(names(&snapshot), Vec::<String>::new(), "{capture}");
    }
}

#[test]
fn always_available_filler_is_not_live() {
    let mut paths = document("paths-list-idle.txt");
    let filler = &paths["items"][0];
    assert_eq!(
        (&filler["name"], &filler["available"], &filler["source"]),
        (&json!("always"), &json!(true), &json!(null))
    );
    assert_eq!(names(&list(&["paths-list-idle.txt"])), Vec::<String>::new());

    // With a publisher, the path is live. A version that shows a source for the filler still reports it offline.
    paths["items"][0]["source"] = json!({"type": "rtmpConn", "id": "a"});
    for (online, expected) in [(true, vec!["always"]), (false, vec![])] {
        paths["items"][0]["online"] = json!(online);
        let snapshot = list_paths(paths.to_string()).unwrap();
        assert_eq!(names(&snapshot), expected);
    }
}

#[test]
fn old_spelling() {
    let snapshot = list(&VERSION_1_15);
    assert_eq!(snapshot.epoch, None);
    assert!(snapshot.complete);
    assert_eq!(names(&snapshot), ["live/cam1", "live/r1", "live/srt1", "pulled"]);
    let [rtmp, rtsp, srt, pulled] = &snapshot.items[..] else { panic!() };
    assert_eq!(rtmp.counters.bytes, Some(328_859));
    assert_eq!((rtmp.source_addr.as_str(), rtmp.gauges.viewers), ("127.0.0.1:46514", Some(1)));
    assert_eq!((rtsp.counters.packets, rtsp.counters.lost), (Some(342), Some(0)));
    assert_eq!((srt.counters.bytes, srt.gauges.bitrate), (Some(361_260), Some(697_281)));
    assert_eq!((pulled.session.as_str(), pulled.counters.bytes), ("2026-11-29T10:41:46.332360022Z", Some(38_191)));
    for item in &snapshot.items {
        assert_eq!(item.media, h264_and_aac(""));
    }
}

#[test]
fn disabled_protocol_404() {
    let with = list(VERSION_1_20[0]);
    let without = list(&VERSION_1_20[0][..2]);
    assert!(without.complete);
    assert_eq!(names(&without), names(&with));
    assert_eq!((without.items[0].counters, without.items[0].source_addr.as_str()), (Counters::default(), ""));
    assert_eq!(without.items[1], with.items[1]);
}

#[test]
fn list_fails_when_an_answer_is_an_error() {
    let server = Server::new(VERSION_1_20[0]);
    for (path, status) in [
        ("/v3/info", 401),
        ("/v3/info", 500),
        (PATHS, 401),
        (PATHS, 404),
        (PATHS, 500),
        ("/v3/rtmpconns/list", 401),
        ("/v3/rtmpconns/list", 500),
    ] {
        let error = server
            .list_with(|asked| {
                (asked == path)
                    .then(|| Answer { status, body: b"{\"status\":\"error\",\"error\":\"s3cret\"}".to_vec() })
            })
            .unwrap_err();
        assert!(error.to_string().contains(&status.to_string()) && !error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn answers_of_another_server_are_an_error() {
    for body in
        ["", "null", "[]", "\"x\"", "<html>", "{}", "{\"items\":{}}", "{\"items\":null}", "\u{0}", "{\"items\":[]"]
    {
        assert!(list_paths(body).is_err(), "{body}");
    }
}

#[test]
fn only_lists_of_protocols_that_publish_are_requested() {
    let mut requests = Vec::new();
    let paths = document("v1.15.3-paths-list.txt").to_string();
    let serve = |request: &str| {
        requests.push(request.to_owned());
        if request.starts_with(PATHS) { ok(paths.clone()) } else { not_found() }
    };
    captures::list(MediaMtxList::default(), serve).unwrap();
    let page = |table: &str| format!("/v3/{table}/list?itemsPerPage=1000&page=0");
    assert_eq!(
        requests,
        ["/v3/info".to_owned(), page("paths"), page("rtmpconns"), page("rtspsessions"), page("srtconns")]
    );
}

/// A server with this many RTMP publishers. Streams that end or start while it is read change its pages.
fn paged(publishers: usize, total_of_last_page: usize) -> Snapshot {
    let serve = |request: &str| {
        let Some((path, query)) = request.split_once('?') else { return not_found() };
        let page: usize = query.strip_prefix("itemsPerPage=1000&page=").unwrap().parse().unwrap();
        let pages = publishers.div_ceil(1000);
        let items: Vec<Value> = (page * 1000..((page + 1) * 1000).min(publishers))
            .map(|index| {
                if path == PATHS {
                    let source = json!({"type": "rtmpConn", "id": format!("c{index}")});
                    json!({"name": format!("p{index:05}"), "available": true, "online": true, "source": source})
                } else {
                    assert_eq!(path, "/v3/rtmpconns/list");
                    json!({"id": format!("c{index}"), "inboundBytes": index})
                }
            })
            .collect();
        let total = if page + 1 == pages { total_of_last_page } else { publishers };
        ok(json!({"itemCount": total, "pageCount": pages, "items": items}).to_string())
    };
    captures::list(MediaMtxList::default(), serve).unwrap()
}

#[test]
fn all_pages_of_paths_and_connections_are_read() {
    let snapshot = paged(2_001, 2_001);
    assert!(snapshot.complete);
    assert_eq!(snapshot.items.len(), 2_001);
    assert!(snapshot.items.iter().enumerate().all(|(index, item)| item.counters.bytes == Some(index as u64)));
}

#[test]
fn list_is_incomplete_when_paths_change_between_pages() {
    assert!(!paged(2_001, 2_000).complete);
    assert!(!paged(2_001, 2_002).complete);
}

#[test]
fn list_is_incomplete_when_the_server_reports_too_many_pages() {
    let mut requests = 0;
    let serve = |_: &str| {
        requests += 1;
        ok(json!({"pageCount": u32::MAX, "items": []}).to_string())
    };
    let snapshot = captures::list(MediaMtxList::default(), serve).unwrap();
    assert!(!snapshot.complete);
    assert!(requests <= 101, "{requests}");
}

#[test]
fn path_without_a_name_source_or_session_is_left_out() {
    let entry = |name: Value, source: Value| json!({"name": name, "ready": true, "source": source});
    let source = json!({"type": "rtmpConn", "id": "1"});
    for bad in [
        json!(null),
        json!("x"),
        entry(json!(null), source.clone()),
        entry(json!(""), source.clone()),
        entry(json!("live/"), source.clone()),
        entry(json!("a"), json!(7)),
        entry(json!("a"), json!({"type": "rtmpConn"})),
        entry(json!("a"), json!({"type": "rtspSource", "id": ""})),
        json!({"name": "a", "source": source}),
        json!({"name": "a", "ready": true}),
    ] {
        let body = json!({"items": [bad, entry(json!("b"), source.clone())]}).to_string();
        let snapshot = list_paths(&body).unwrap();
        assert_eq!((names(&snapshot), snapshot.complete), (vec!["b".to_owned()], false), "{body}");
    }
}

#[test]
fn types_of_sources_become_protocols() {
    for (source, kind, proto, encrypted) in [
        ("rtmpsConn", "rtmp", "rtmps", true),
        ("rtmpSource", "rtmp", "rtmp", false),
        ("rtspsSession", "rtsp", "rtsps", true),
        ("srtSource", "srt", "srt", false),
        ("webRTCSession", "webrtc", "webrtc", true),
        ("hlsSource", "hls", "hls", false),
        ("mpegtsSource", "mpegts", "mpegts", false),
        ("rtpSource", "rtp", "rtp", false),
        ("moqSession", "moq", "moq", false),
        ("a new one", "unknown", "a new one", false),
    ] {
        let path = json!({"name": "a", "ready": true, "source": {"type": source, "id": "1"}});
        let body = json!({"items": [path]}).to_string();
        let snapshot = list_paths(&body).unwrap();
        let item = &snapshot.items[0];
        assert_eq!((item.kind.as_str(), item.labels["proto"].as_str()), (kind, proto));
        assert_eq!(item.labels.contains_key("encrypted"), encrypted, "{source}");
    }
}

/// Reads a recorded answer as the server's answer to that path, and checks that it was used.
fn read_answer(name: &str, path: &str, body: &str) {
    let id = serde_json::from_str::<Value>(body).unwrap()["items"][0]["id"].clone();
    let publisher = |source: &str| json!({"name": "a", "ready": true, "source": {"type": source, "id": id}});
    // A list of connections is requested only if a path needs it.
    let paths = match path.split('/').nth(2).unwrap() {
        "rtmpconns" => vec![publisher("rtmpConn")],
        "rtspsessions" => vec![publisher("rtspSession")],
        "srtconns" => vec![publisher("srtConn")],
        _ => Vec::new(),
    };
    let snapshot = Server::new(&[]).list_with(|asked| match asked {
        asked if asked == path => Some(ok(body)),
        PATHS => Some(ok(json!({"items": paths}).to_string())),
        _ => None,
    });
    let snapshot = snapshot.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(snapshot.complete, "{name}");
    for item in snapshot.items.iter().filter(|_| !paths.is_empty()) {
        assert!(!item.source_addr.is_empty() && item.counters.bytes.is_some(), "{name}: {item:?}");
    }
}

#[test]
fn every_capture_parses() {
    let mut read = 0;
    for capture in captures::all("mediamtx") {
        let name = capture.name.as_str();
        match capture.answer() {
            Some((path, answer)) if answer.status == 200 => {
                let body = String::from_utf8(answer.body).unwrap();
                if path.starts_with("/v3/paths/get/") {
                    read_answer(name, PATHS, &format!("{{\"items\":[{body}]}}"));
                } else {
                    read_answer(name, path, &body);
                }
                read += 1;
            }
            Some((_, answer)) => assert_eq!((name, answer.status), ("path-get-unknown.txt", 404)),
            None => {}
        }
        for path in capture.json_notes().into_iter().filter(|note| note["name"].is_string()) {
            read_answer(name, PATHS, &json!({"items": [path]}).to_string());
            read += 1;
        }
    }
    assert!(read >= 20, "{read}");
}

#[test]
fn damage_to_a_path_stays_in_that_path() {
    for captures in [VERSION_1_20[0], &VERSION_1_15[..]] {
        let paths = captures.iter().find(|name| name.contains("paths-list")).unwrap();
        let server = Server::new(captures);
        let read = |body: &[u8]| server.list_with_body(PATHS, body);
        let state = ["source", "available", "ready", "online"];
        let count = mutate::assert_damage_stays_in_its_entry(&document(paths), "items", &state, read);
        assert!(count > 1_000, "{count}");
    }
}

#[test]
fn damage_to_a_connection_ends_no_stream() {
    for (captures, table) in [
        (VERSION_1_20[0], "rtmpconns"),
        (VERSION_1_20[1], "rtspsessions"),
        (VERSION_1_20[2], "srtconns"),
        (&VERSION_1_15[..], "rtmpconns"),
    ] {
        let name = captures.iter().find(|name| name.contains(table)).unwrap();
        let wanted = format!("/v3/{table}/list");
        let server = Server::new(captures);
        let read = |body: &[u8]| server.list_with_body(&wanted, body);
        let count = mutate::assert_damage_stays_in_its_entry(&document(name), "items", &[], read);
        assert!(count > 100, "{count}");
    }
}

#[test]
fn damage_to_the_info_changes_only_the_epoch() {
    let server = Server::new(VERSION_1_20[0]);
    let intact = list(VERSION_1_20[0]);
    for (place, json) in mutate::damaged(&document("info.txt")) {
        let snapshot = server.list_with_body("/v3/info", json).unwrap();
        assert_eq!(snapshot.items, intact.items, "{place:?}");
    }
}

#[test]
fn unknown_fields_change_nothing() {
    for captures in VERSION_1_20.into_iter().chain([&VERSION_1_15[..]]) {
        let server = Server::new(captures);
        let replaced = server.list_with(|path| {
            let document = serde_json::from_slice(&server.0.get(path)?.body).unwrap();
            Some(ok(mutate::with_unknown_fields(&document).to_string()))
        });
        assert_eq!(replaced.unwrap(), list(captures));
    }
}

#[test]
fn truncated_answer_is_an_error() {
    for captures in VERSION_1_20 {
        let server = Server::new(captures);
        for (path, answer) in &server.0 {
            for prefix in mutate::prefixes(answer.body.trim_ascii_end()) {
                assert!(server.list_with_body(path, prefix).is_err(), "{path} with {} bytes", prefix.len());
            }
        }
    }
}

#[test]
fn name_with_raw_bytes_hides_no_other_stream() {
    let mut body = br#"{"items":[{"name":"a"#.to_vec();
    body.extend(b"\xff\x01\n");
    body.extend(br#"","ready":true,"source":{"type":"srtConn","id":"1"}},{"name":"b","ready":true,"#);
    body.extend(br#""source":{"type":"srtConn","id":"2"}}]}"#);
    let snapshot = list_paths(&body).unwrap();
    assert_eq!(names(&snapshot), ["a\u{fffd}\u{fffd} ", "b"]);
}

#[test]
fn secret_not_logged() {
    let mut seen = String::new();
    for captures in VERSION_1_20.into_iter().chain([&VERSION_1_15[..]]) {
        let recorded: String = captures.iter().map(|name| captures::read("mediamtx", name).text).collect();
        assert!(recorded.contains("query"));
        seen += &format!("{:?}", list(captures));
    }
    for secret in ["s3cret", "token", "x=1", "y=2", "\"u1\"", "Lavf", "query", "userAgent"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}
