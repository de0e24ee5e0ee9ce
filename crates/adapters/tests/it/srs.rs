//! SRS 7.0.18 and 5.0.213.

use std::collections::BTreeMap;

use adapters::model::{Counters, Event, Gauges, Item, ItemState, Media, Name, Snapshot};
use adapters::servers::srs::{SrsHooks, SrsList};
use adapters::servers::{Answer, Hooks, ReadError};
use serde_json::{Value, json};

use crate::captures::{self, ok};
use crate::listing::{labels, names};
use crate::mutate;

const STREAMS: &str = "/api/v1/streams";
const CLIENTS: &str = "/api/v1/clients";
const VHOSTS: &str = "/api/v1/vhosts";

/// The recorded streams and clients at one moment.
const MOMENTS: [[&str; 2]; 4] = [
    ["api-streams-rtmp.txt", "api-clients-rtmp.txt"],
    ["api-streams-srt.txt", "api-clients-srt.txt"],
    ["v5-api-streams-rtmp.txt", "v5-api-clients-rtmp.txt"],
    ["v5-api-streams-srt.txt", "v5-api-clients-srt.txt"],
];

/// A server with one document for each list.
#[derive(Clone)]
struct Server {
    streams: Value,
    clients: Value,
    vhosts: Value,
}

impl Server {
    /// A server with recorded streams and clients. The recording of the virtual hosts is older than the first stream,
    /// so their names are added.
    fn recorded([streams, clients]: [&str; 2]) -> Self {
        Self::new(document(streams), document(clients))
    }

    fn new(streams: Value, clients: Value) -> Self {
        let mut vhosts = document("api-vhosts.txt");
        vhosts["service"] = streams["service"].clone();
        for stream in streams["streams"].as_array().unwrap() {
            let vhost = json!({"id": stream["vhost"], "name": "__defaultVhost__", "enabled": true});
            vhosts["vhosts"].as_array_mut().unwrap().push(vhost);
        }
        Self { streams, clients, vhosts }
    }

    /// Lists the streams. The path without the query is given to `replace`, whose answer comes first.
    fn list_with(&self, replace: impl Fn(&str) -> Option<Answer>) -> Result<Snapshot, ReadError> {
        captures::list(SrsList::default(), |request| {
            let path = request.split('?').next().unwrap();
            replace(path).unwrap_or_else(|| match path {
                STREAMS => ok(self.streams.to_string()),
                CLIENTS => ok(self.clients.to_string()),
                VHOSTS => ok(self.vhosts.to_string()),
                other => panic!("unexpected request {other}"),
            })
        })
    }

    fn list(&self) -> Snapshot {
        self.list_with(|_| None).unwrap()
    }

    /// Lists the streams with another body of one answer.
    fn list_with_body(&self, path: &str, body: impl AsRef<[u8]>) -> Result<Snapshot, ReadError> {
        self.list_with(|asked| (asked == path).then(|| ok(body.as_ref())))
    }

    fn documents(&self) -> [(&'static str, &Value); 3] {
        [(STREAMS, &self.streams), (CLIENTS, &self.clients), (VHOSTS, &self.vhosts)]
    }
}

fn document(name: &str) -> Value {
    serde_json::from_slice(&captures::read("srs", name).answer().unwrap().1.body).unwrap()
}

fn stream(id: &str, name: &str, publisher: &str) -> Value {
    json!({"id": id, "name": name, "vhost": "v", "app": "live", "tcUrl": "rtmp://h/live", "clients": 1,
           "publish": {"active": true, "cid": publisher}})
}

fn server(streams: &[Value], clients: &[Value]) -> Server {
    let answer = |table: &str, entries: &[Value]| json!({"code": 0, "service": "run1", "pid": "7", table: entries});
    let mut server = Server::new(answer("streams", streams), answer("clients", clients));
    server.vhosts["service"] = json!("run1");
    server
}

fn live(name: &str) -> Name {
    Name { vhost: String::new(), app: "live".to_owned(), name: name.to_owned() }
}

/// The events of all recorded hooks, in order.
fn events(capture: &str) -> Vec<Event> {
    let hooks = captures::read("srs", capture).hooks();
    assert!(!hooks.is_empty());
    hooks.iter().flat_map(|hook| SrsHooks.read(&hook.body).unwrap()).collect()
}

/// `+` or `-`, the name and the session of an event.
fn brief(event: &Event) -> String {
    match event {
        Event::Started(item) => format!("+{} {}", item.name, item.session),
        Event::Ended { name, session } => format!("-{name} {}", session.as_deref().unwrap()),
        other => panic!("unexpected event {other:?}"),
    }
}

#[test]
fn rtmp_publisher_has_its_own_bytes_and_address() {
    let snapshot = Server::recorded(MOMENTS[0]).list();
    assert_eq!(
        (snapshot.epoch.as_deref(), snapshot.scope.as_deref(), snapshot.complete),
        (Some("w4024r8s"), None, true)
    );
    let expected = Item {
        name: live("cam1"),
        session: "w4024r8s:tk33gzj8".to_owned(),
        kind: "rtmp".parse().unwrap(),
        source_addr: "127.0.0.1".to_owned(),
        state: ItemState::Active,
        media: Media {
            video_codec: "H264".to_owned(),
            resolution: "640x360".to_owned(),
            frame_rate: 0.0,
            audio_codec: "AAC".to_owned(),
        },
        counters: Counters { bytes: Some(397_779), ..Counters::default() },
        gauges: Gauges { viewers: Some(1), ..Gauges::default() },
        labels: labels(&[("server", "srs"), ("app", "live")]),
    };
    assert_eq!(snapshot.items, [expected]);
}

#[test]
fn type_comes_from_the_publishing_client() {
    let kinds: Vec<String> =
        MOMENTS.into_iter().map(|moment| Server::recorded(moment).list().items[0].kind.to_string()).collect();
    assert_eq!(kinds, ["rtmp", "srt", "rtmp", "srt"]);

    for (client_type, url, expected) in [
        ("flash-publish", "srt://h/live", "rtmp"),
        ("haivision-publish", "srt://h/live", "rtmp"),
        ("rtc-publish", "rtmp://h/live", "webrtc"),
        ("new-publish", "webrtc://h/live", "webrtc"),
        ("", "rtmps://h/live", "rtmp"),
        ("", "no url", "unknown"),
    ] {
        let mut stream = stream("s", "cam1", "c");
        stream["tcUrl"] = json!(url);
        let snapshot = server(&[stream], &[json!({"id": "c", "type": client_type})]).list();
        assert_eq!(snapshot.items[0].kind.as_str(), expected, "{client_type} {url}");
    }
}

#[test]
fn player_only_is_not_live() {
    let notes = captures::read("srs", "player-only.http").json_notes();
    assert_eq!(notes[0]["streams"][0]["publish"], json!({"active": false}));
    for note in notes {
        let snapshot = Server::new(note, json!(null)).list();
        assert_eq!(names(&snapshot), Vec::<String>::new());
        assert!(snapshot.complete);
    }
    assert_eq!(events("player-only.http"), []);
}

/// A server with this many streams, each with a publisher, sorted by id as SRS does. `drops` are ids that end after the
/// first page of streams. Returns the snapshot and the requests.
fn paged(count: usize, drops: &[usize]) -> (Snapshot, Vec<String>) {
    let streams: Vec<Value> =
        (0..count).map(|n| stream(&format!("s{n:05}"), &format!("cam{n}"), &format!("c{n:05}"))).collect();
    let clients: Vec<Value> = (0..count).map(|n| json!({"id": format!("c{n:05}"), "recv_bytes": n})).collect();
    let mut server = server(&streams, &clients);
    let mut requests = Vec::new();
    let snapshot = captures::list(SrsList::default(), |request| {
        requests.push(request.to_owned());
        let Some((path, query)) = request.split_once('?') else { return ok(server.vhosts.to_string()) };
        let (start, size) = query.strip_prefix("start=").unwrap().split_once("&count=").unwrap();
        let (document, table) =
            if path == STREAMS { (&mut server.streams, "streams") } else { (&mut server.clients, "clients") };
        let all = document[table].as_array_mut().unwrap();
        let page: Vec<Value> = all.iter().skip(start.parse().unwrap()).take(size.parse().unwrap()).cloned().collect();
        if table == "streams" && requests.len() == 1 {
            all.retain(|entry| !drops.iter().any(|drop| entry["id"] == format!("s{drop:05}")));
        }
        ok(json!({"code": 0, "service": "run1", table: page}).to_string())
    })
    .unwrap();
    (snapshot, requests)
}

#[test]
fn pages_until_short() {
    let pages = |count| {
        let (snapshot, requests) = paged(count, &[]);
        assert!(snapshot.complete, "{count}");
        assert_eq!(snapshot.items.len(), count);
        assert!(snapshot.items.iter().enumerate().all(|(n, item)| item.counters.bytes == Some(n as u64)));
        let of = |path| requests.iter().filter(|request| request.starts_with(path)).count();
        (of(STREAMS), of(CLIENTS))
    };
    assert_eq!(pages(0), (1, 0));
    assert_eq!(pages(999), (1, 1));
    assert_eq!(pages(1_000), (2, 1));
    assert_eq!(pages(1_001), (2, 2));
    assert_eq!(pages(2_500), (3, 3));
    assert_eq!(paged(1_001, &[]).1[0], "/api/v1/streams?start=0&count=1000");
}

#[test]
fn list_is_incomplete_when_a_stream_moves_between_pages() {
    // The end of stream 5 moves stream 1000 to the page that has already been read.
    let (snapshot, _) = paged(1_500, &[5]);
    assert!(!snapshot.complete);
    // The end of a stream that has not been read moves no other stream to a page that has been read.
    let (snapshot, _) = paged(1_500, &[1_200]);
    assert_eq!((snapshot.complete, snapshot.items.len()), (true, 1_499));
}

#[test]
fn no_second_page_is_requested_from_a_version_that_ignores_start() {
    let entries: Vec<Value> = (0..1_200).map(|n| json!({"id": n, "publish": {"active": false}})).collect();
    let pages = |count: usize| {
        let mut requests = 0;
        let body = json!({"code": 0, "streams": entries[..count]}).to_string();
        let serve = |_: &str| {
            requests += 1;
            ok(body.clone())
        };
        (captures::list(SrsList::default(), serve).unwrap().complete, requests)
    };
    assert_eq!(pages(1_200), (true, 1));
    // A list that fills exactly one page looks like the first of several pages.
    assert_eq!(pages(1_000), (false, 2));
}

#[test]
fn list_is_incomplete_when_the_pages_do_not_end() {
    let mut requests = 0;
    let snapshot = captures::list(SrsList::default(), |request| {
        requests += 1;
        let start: usize =
            request.strip_prefix("/api/v1/streams?start=").unwrap().split_once('&').unwrap().0.parse().unwrap();
        let entries: Vec<Value> =
            (start..start + 1_000).map(|n| json!({"id": n, "publish": {"active": false}})).collect();
        ok(json!({"code": 0, "streams": entries}).to_string())
    });
    assert!(!snapshot.unwrap().complete);
    assert_eq!(requests, 100);
}

#[test]
fn bit_rate_is_none_until_srs_has_measured_it() {
    let mut server = Server::recorded(MOMENTS[0]);
    assert_eq!(server.streams["streams"][0]["kbps"]["recv_30s"], 0);
    assert_eq!(server.list().items[0].gauges.bitrate, None);
    server.streams["streams"][0]["kbps"]["recv_30s"] = json!(800);
    assert_eq!(server.list().items[0].gauges.bitrate, Some(800_000));
    server.clients["clients"][1]["kbps"]["recv_30s"] = json!(581);
    assert_eq!(server.list().items[0].gauges.bitrate, Some(581_000));
}

#[test]
fn stream_is_kept_when_its_client_is_not_listed() {
    let mut server = Server::recorded(MOMENTS[1]);
    server.clients["clients"] = json!([]);
    let snapshot = server.list();
    assert!(snapshot.complete);
    let item = &snapshot.items[0];
    assert_eq!((item.kind.as_str(), item.source_addr.as_str(), item.counters), ("srt", "", Counters::default()));
}

#[test]
fn virtual_host_is_part_of_the_name_unless_it_is_the_default() {
    let mut other = stream("s2", "cam1", "c2");
    other["vhost"] = json!("w");
    let mut server = server(&[stream("s1", "cam1", "c1"), other], &[]);
    server.vhosts["vhosts"] = json!([{"id": "w", "name": "b.example"}, {"id": "v", "name": "__defaultVhost__"}]);
    let snapshot = server.list();
    assert_eq!(
        (names(&snapshot), snapshot.complete),
        (vec!["live/cam1".to_owned(), "b.example/live/cam1".to_owned()], true)
    );
    assert_eq!(snapshot.items[1].labels, labels(&[("server", "srs"), ("app", "live"), ("vhost", "b.example")]));

    // Without its name, the second stream could be taken for the first.
    server.vhosts["vhosts"].as_array_mut().unwrap().remove(0);
    let snapshot = server.list();
    assert_eq!((names(&snapshot), snapshot.complete), (vec!["live/cam1".to_owned()], false));
}

#[test]
fn stream_without_an_id_name_or_publisher_is_left_out() {
    for bad in [
        json!(null),
        json!({}),
        json!({"id": "s1", "name": "a"}),
        json!({"id": "s1", "name": "a", "vhost": "v", "publish": {"active": true}}),
        json!({"id": "s1", "name": "a", "vhost": "v", "publish": {"active": 1, "cid": "c"}}),
        json!({"id": "s1", "name": "a", "publish": {"active": true, "cid": "c"}}),
        json!({"id": "s1", "vhost": "v", "publish": {"active": true, "cid": "c"}}),
        json!({"name": "a", "vhost": "v", "publish": {"active": true, "cid": "c"}}),
        stream("s1", "", "c"),
        stream("s1", "?token=a", "c"),
    ] {
        let mut server = server(&[stream("s2", "b", "d")], &[]);
        server.streams["streams"].as_array_mut().unwrap().insert(0, bad.clone());
        let snapshot = server.list();
        assert_eq!((names(&snapshot), snapshot.complete), (vec!["live/b".to_owned()], false), "{bad}");
    }
}

#[test]
fn numeric_ids_of_old_versions_are_read() {
    let mut stream = stream("s", "cam1", "c");
    stream["id"] = json!(12);
    stream["vhost"] = json!(3);
    stream["publish"]["cid"] = json!(105);
    let server = Server {
        streams: json!({"code": 0, "server": 29, "streams": [stream]}),
        clients: json!({"code": 0, "clients": [{"id": 105, "recv_bytes": 5, "type": "fmle-publish"}]}),
        vhosts: json!({"code": 0, "vhosts": [{"id": 3, "name": "__defaultVhost__"}]}),
    };
    let snapshot = server.list();
    assert_eq!(snapshot.epoch, None);
    let item = &snapshot.items[0];
    assert_eq!((item.session.as_str(), item.counters.bytes), ("105", Some(5)));
}

#[test]
fn list_fails_when_an_answer_is_an_error() {
    let server = Server::recorded(MOMENTS[0]);
    let other_run = |table: &str| ok(json!({"code": 0, "service": "other", table: []}).to_string());
    for (path, answer) in [
        (STREAMS, Answer { status: 401, body: Vec::new() }),
        (STREAMS, Answer { status: 404, body: b"s3cret".to_vec() }),
        (CLIENTS, Answer { status: 500, body: Vec::new() }),
        (VHOSTS, Answer { status: 404, body: Vec::new() }),
        (STREAMS, ok(r#"{"code":2049}"#)),
        (STREAMS, ok(r#"{"code":2049,"streams":[]}"#)),
        (STREAMS, ok(r#"{"code":-1,"streams":[]}"#)),
        (STREAMS, ok("[]")),
        (STREAMS, ok("{}")),
        (STREAMS, ok("")),
        (CLIENTS, other_run("clients")),
        (VHOSTS, other_run("vhosts")),
    ] {
        let error = server.list_with(|asked| (asked == path).then(|| answer.clone())).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn hook_and_list_report_the_same_stream() {
    for (capture, moment) in [
        ("rtmp-publish-normal.http", MOMENTS[0]),
        ("srt-publish-normal.http", MOMENTS[1]),
        ("v5-rtmp-publish-normal.http", MOMENTS[2]),
        ("v5-srt-publish-normal.http", MOMENTS[3]),
    ] {
        let events = events(capture);
        let [Event::Started(started), Event::Ended { name, session }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(started.state, ItemState::Connecting);
        let listed = &Server::recorded(moment).list().items[0];
        let same = |item: &Item| {
            (item.name.clone(), item.session.clone(), item.kind.clone(), item.source_addr.clone(), item.labels.clone())
        };
        assert_eq!(same(started), same(listed), "{capture}");
        assert_eq!((name, session.as_ref()), (&listed.name, Some(&listed.session)));
    }
}

#[test]
fn hooks_of_a_rejected_duplicate_have_its_own_session() {
    let a = "live/cam1 w4024r8s:vt31z2w2";
    let b = "live/cam1 w4024r8s:0snum023";
    let of = |capture| events(capture).iter().map(brief).collect::<Vec<_>>();
    assert_eq!(of("rtmp-duplicate.http"), [format!("+{a}"), format!("+{b}"), format!("-{a}")]);
    let (a, b) = ("live/cam1 1nx06m0h:933vml43", "live/cam1 1nx06m0h:6orj5q77");
    assert_eq!(of("v5-rtmp-duplicate.http"), [format!("+{a}"), format!("+{b}"), format!("-{b}"), format!("-{a}")]);
}

#[test]
fn hook_of_another_virtual_host_keeps_its_name() {
    let body = json!({"action": "on_publish", "service_id": "r", "client_id": "c", "vhost": "b.example", "app": "live",
                      "stream": "cam1", "tcUrl": "webrtc://h/live", "param": "?token=s3cret"});
    let [Event::Started(item)] = &SrsHooks.read(body.to_string().as_bytes()).unwrap()[..] else { panic!() };
    assert_eq!((item.name.to_string(), item.kind.as_str()), ("b.example/live/cam1".to_owned(), "webrtc"));
    assert_eq!(item.labels, labels(&[("server", "srs"), ("app", "live"), ("vhost", "b.example")]));
}

#[test]
fn hooks_about_no_publisher_give_no_events() {
    let capture = captures::read("srs", "rtmp-publish-normal.http");
    let heartbeats: Vec<_> = capture.hooks().into_iter().filter(|hook| hook.target.ends_with("/heartbeat")).collect();
    assert!(!heartbeats.is_empty());
    for hook in heartbeats {
        assert_eq!(SrsHooks.read(&hook.body), Ok(Vec::new()));
    }
    for action in ["on_connect", "on_close", "on_play", "on_stop", "on_dvr", "on_hls", "on_forward", "on_new", ""] {
        assert_eq!(SrsHooks.read(json!({"action": action}).to_string().as_bytes()), Ok(Vec::new()));
    }
}

#[test]
fn every_capture_parses() {
    let (mut answers, mut hooks) = (0, 0);
    for capture in captures::all("srs") {
        let name = capture.name.as_str();
        let mut documents = capture.json_notes();
        documents.extend(capture.answer().map(|(_, answer)| serde_json::from_slice(&answer.body).unwrap()));
        for document in documents {
            let streams = match (&document["streams"], &document["stream"]) {
                (Value::Array(_), _) => document,
                (_, Value::Object(_)) => json!({"code": 0, "streams": [document["stream"]]}),
                _ => continue,
            };
            let active = |stream: &&Value| stream["publish"]["active"] == true;
            let expected = streams["streams"].as_array().unwrap().iter().filter(active).count();
            let clients = json!({"code": 0, "clients": []});
            let snapshot = Server::new(streams, clients).list();
            assert_eq!((snapshot.items.len(), snapshot.complete), (expected, true), "{name}");
            answers += 1;
        }
        for hook in capture.hooks().iter().filter(|hook| !hook.target.contains("/api/")) {
            SrsHooks.read(&hook.body).unwrap_or_else(|error| panic!("{name}: {error}"));
            hooks += 1;
        }
    }
    for moment in MOMENTS {
        let snapshot = Server::recorded(moment).list();
        assert!(snapshot.complete && snapshot.items.iter().all(|item| item.counters.bytes.is_some()));
    }
    assert!(answers >= 10 && hooks >= 100, "{answers} {hooks}");
}

/// A server with three streams: two publishers, and a stream that has only a player.
fn three_streams() -> Server {
    let mut server = Server::recorded(MOMENTS[0]);
    let srt = Server::recorded(MOMENTS[1]);
    let player = captures::read("srs", "player-only.http").json_notes().swap_remove(0);
    for (from, more) in [(&srt.streams, "streams"), (&player, "streams"), (&srt.clients, "clients")] {
        let to = if more == "streams" { &mut server.streams } else { &mut server.clients };
        to[more].as_array_mut().unwrap().extend(from[more].as_array().unwrap().iter().cloned());
    }
    server
}

#[test]
fn damage_to_an_entry_stays_in_that_entry() {
    let server = three_streams();
    assert_eq!(names(&server.list()), ["live/cam1", "live/srt1"]);
    for (path, document) in [(STREAMS, &server.streams), (CLIENTS, &server.clients)] {
        let table = path.rsplit('/').next().unwrap();
        let read = |body: &[u8]| server.list_with_body(path, body);
        let count = mutate::assert_damage_stays_in_its_entry(document, table, &["streams", "publish"], read);
        assert!(count > 500, "{count}");
    }
}

#[test]
fn damage_to_a_virtual_host_hides_only_its_streams() {
    let mut other = stream("s2", "cam1", "c2");
    other["vhost"] = json!("w");
    let mut server = server(&[stream("s1", "cam1", "c1"), other], &[]);
    server.vhosts["vhosts"] = json!([{"id": "v", "name": "__defaultVhost__"}, {"id": "w", "name": "b.example"}]);
    let intact = server.list();
    for (place, json) in mutate::damaged(&server.vhosts) {
        match server.list_with_body(VHOSTS, &json) {
            Ok(snapshot) if place.len() > 1 => {
                let kept = &intact.items[1 - place[1].parse::<usize>().unwrap()];
                assert!(snapshot.items.contains(kept), "{place:?} in {json:.300}");
                assert!(snapshot.items.len() == 2 || !snapshot.complete, "{place:?} in {json:.300}");
            }
            Ok(snapshot) => assert!(snapshot.items.len() == 2 || !snapshot.complete, "{place:?} in {json:.300}"),
            Err(_) => assert_eq!(place.len(), 1, "{json:.300}"),
        }
    }
}

#[test]
fn damaged_hook_is_an_error_or_an_event_of_that_client() {
    let hooks = captures::read("srs", "rtmp-publish-normal.http").hooks();
    let published = |hook: &&captures::Hook| String::from_utf8_lossy(&hook.body).contains("publish\"");
    let mut count = 0;
    for hook in hooks.iter().filter(published) {
        let document = serde_json::from_slice(&hook.body).unwrap();
        let intact = SrsHooks.read(&hook.body).unwrap();
        assert_eq!(SrsHooks.read(mutate::with_unknown_fields(&document).to_string().as_bytes()), Ok(intact.clone()));
        for (place, json) in mutate::damaged(&document) {
            count += 1;
            let result = SrsHooks.read(json.as_bytes());
            match (place[0].as_str(), result) {
                ("action", result) => assert_eq!(result, Ok(Vec::new()), "{json:.300}"),
                ("stream" | "client_id", Err(_)) => {}
                ("stream" | "client_id" | "service_id" | "app" | "vhost" | "tcUrl" | "ip", Ok(events)) => {
                    assert_eq!(events.len(), 1, "{json:.300}");
                }
                (_, result) => assert_eq!(result.as_ref(), Ok(&intact), "{json:.300}"),
            }
        }
        for prefix in mutate::prefixes(hook.body.trim_ascii_end()) {
            assert!(SrsHooks.read(prefix).is_err());
        }
    }
    assert!(count > 400, "{count}");
}

#[test]
fn unknown_fields_change_nothing() {
    let server = three_streams();
    let documents = BTreeMap::from(server.documents());
    let replaced = server.list_with(|path| Some(ok(mutate::with_unknown_fields(documents[path]).to_string())));
    assert_eq!(replaced.unwrap(), server.list());
}

#[test]
fn truncated_answer_is_an_error() {
    let server = three_streams();
    for (path, document) in server.documents() {
        for prefix in mutate::prefixes(document.to_string().as_bytes()) {
            assert!(server.list_with_body(path, prefix).is_err(), "{path} with {} bytes", prefix.len());
        }
    }
}

#[test]
fn name_with_raw_bytes_hides_no_other_stream() {
    let server = server(&[stream("s1", "X", "c1"), stream("s2", "b", "c2")], &[]);
    let text = server.streams.to_string();
    let (before, after) = text.split_once("\"X\"").unwrap();
    let body = [before.as_bytes(), b"\"\xff\x01\n\"", after.as_bytes()].concat();
    assert_eq!(names(&server.list_with_body(STREAMS, body).unwrap()), ["live/\u{fffd}\u{fffd} ", "live/b"]);
}

#[test]
fn secret_not_logged() {
    let mut seen = String::new();
    for capture in captures::all("srs") {
        let hooks = capture.hooks();
        let events =
            hooks.iter().filter(|hook| !hook.target.contains("/api/")).flat_map(|hook| SrsHooks.read(&hook.body));
        seen += &events.map(|events| format!("{events:?}")).collect::<String>();
    }
    for moment in MOMENTS {
        let mut server = Server::recorded(moment);
        server.streams["streams"][0]["name"] = json!("cam1?token=s3cret");
        server.streams["streams"][0]["tcUrl"] = json!("rtmp://user1:s3cret@h/live?token=s3cret");
        server.clients["clients"][0]["tcUrl"] = json!("rtmp://user1:s3cret@h/live?token=s3cret");
        seen += &format!("{:?}", server.list());
    }
    assert!(
        captures::all("srs")
            .iter()
            .flat_map(|capture| capture.hooks())
            .any(|hook| { String::from_utf8_lossy(&hook.body).contains("token=s3cret") })
    );
    for secret in ["s3cret", "token", "user1", "param", "tcUrl", "://"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}
