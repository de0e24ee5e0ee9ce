//! ZLMediaKit.

use std::collections::BTreeSet;

use adapters::model::{Event, ItemState, Media, Snapshot};
use adapters::servers::zlm::{HookReader, MediaList};
use adapters::servers::{Hooks, ReadError};
use serde_json::{Value, json};

use crate::captures::{all, read as capture};
use crate::listing::{self, events, item, summary};
use crate::mutate::{damaged, prefixes};

fn read(document: &Value) -> Result<Snapshot, ReadError> {
    listing::read(&mut MediaList::default(), document.to_string().as_bytes())
}

fn recorded(name: &str) -> Value {
    let capture = capture("zlmediakit", name);
    serde_json::from_slice(&capture.answer().unwrap().1.body).unwrap()
}

fn hook(hooks: &mut HookReader, body: Value) -> Vec<Event> {
    hooks.read(body.to_string().as_bytes()).unwrap()
}

/// The body of a hook for one schema of `live/cam1`.
fn changed(schema: &str, registered: bool, stamp: u64) -> Value {
    json!({"vhost": "__defaultVhost__", "app": "live", "stream": "cam1", "schema": schema, "regist": registered,
        "createStamp": stamp, "originTypeStr": "rtmp_push", "params": "token=s3cret"})
}

#[test]
fn every_recording_is_read() {
    let (mut lists, mut starts) = (0, 0);
    for capture in all("zlmediakit") {
        if let Some((_, answer)) = capture.answer() {
            let result = listing::read(&mut MediaList::default(), &answer.body);
            assert_eq!(result.is_err(), capture.name == "api-no-secret.txt", "{}", capture.name);
            lists += usize::from(result.is_ok_and(|snapshot| snapshot.complete && snapshot.items.len() == 2));
        }
        let events = events(&mut HookReader::default(), &capture);
        starts += events.iter().filter(|event| matches!(event, Event::Started(_))).count();
    }
    assert_eq!((lists, starts), (2, 8));
}

#[test]
fn five_schemas_one_stream() {
    let snapshot = read(&recorded("api-media-list.txt")).unwrap();
    assert_eq!(snapshot.items.len(), 2);
    assert!(snapshot.complete && snapshot.epoch.is_none() && snapshot.scope.is_none());
    let cam = item(&snapshot, "live/cam1");
    assert_eq!((cam.session.as_str(), cam.kind.as_str(), cam.state), ("1795949594", "rtmp", ItemState::Active));
    assert_eq!(cam.source_addr, "127.0.0.1:44232");
    assert_eq!(cam.counters.bytes, Some(547_782), "the bytes of the schema rtmp");
    assert_eq!((cam.counters.packets, cam.counters.lost), (None, None));
    assert_eq!((cam.gauges.bitrate, cam.gauges.viewers), (Some(74_124 * 8), Some(1)));
    let (video_codec, resolution, audio_codec) = ("H264".into(), "640x360".into(), "AAC".into());
    assert_eq!(cam.media, Media { video_codec, resolution, frame_rate: 25.0, audio_codec });
    let srt = item(&snapshot, "live/srt1");
    assert_eq!((srt.kind.as_str(), srt.counters.bytes), ("srt", Some(645_216)), "the bytes of the schema ts");

    let mut hooks = HookReader::default();
    let events = events(&mut hooks, &capture("zlmediakit", "rtmp-publish-normal.http"));
    let [Event::Started(start), Event::Ended { name, session }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((name, session.as_ref()), (&start.name, Some(&start.session)));
    assert_eq!(start.name.to_string(), "live/cam1");
}

#[test]
fn order_of_schemas_does_not_matter() {
    let mut document = recorded("api-media-list.txt");
    let expected = read(&document).unwrap();
    for _ in 0..10 {
        document["data"].as_array_mut().unwrap().rotate_left(1);
        assert_eq!(read(&document).unwrap(), expected);
    }
}

#[test]
fn publisher_that_returns_within_15_s_keeps_its_session() {
    let mut document = recorded("api-media-list-rtmp.txt");
    let live = item(&read(&document).unwrap(), "live/cam1").clone();

    let index = document["data"].as_array().unwrap().iter().position(|entry| entry["stream"] == "cam1").unwrap();
    document["data"][index]["originSock"] = json!(null);
    let gone = item(&read(&document).unwrap(), "live/cam1").clone();
    assert_eq!((gone.state, gone.gauges.bitrate), (ItemState::Paused, None));

    document["data"][index]["originSock"] = json!({"identifier": "14-19", "peer_ip": "::1", "peer_port": 57382});
    document["data"][index]["totalBytes"] = json!(638_179);
    let back = item(&read(&document).unwrap(), "live/cam1").clone();
    assert_eq!((back.state, back.source_addr.as_str()), (ItemState::Active, "[::1]:57382"));
    assert!(back.counters.bytes > live.counters.bytes, "the counters run on, so the session stays");
    assert!(live.session == gone.session && gone.session == back.session && !live.session.is_empty());

    let events = events(&mut HookReader::default(), &capture("zlmediakit", "killed-and-back-within-grace.http"));
    assert_eq!(summary(&events), ["started live/cam1 1795949603"], "only the first publisher has a hook");
}

#[test]
fn wrong_secret_removes_nothing() {
    let error = read(&recorded("api-no-secret.txt")).unwrap_err().to_string();
    assert_eq!(error, "the server rejects the secret; check api.secret");
    let data = recorded("api-media-list.txt")["data"].clone();
    for code in [json!(-100), json!(-1), json!(-400), json!(1), json!("0"), json!(null), json!(0.5), json!([])] {
        assert!(read(&json!({"code": code, "data": data})).is_err(), "{code}");
        assert!(read(&json!({"code": code})).is_err(), "{code}");
    }
    for data in [json!({}), json!("x"), json!(0), json!(true)] {
        assert!(read(&json!({"code": 0, "data": data})).is_err(), "{data}");
    }
}

#[test]
fn server_without_streams_leaves_out_the_data() {
    let empty = Snapshot { complete: true, ..Snapshot::default() };
    assert_eq!(read(&json!({"code": 0})).unwrap(), empty);
    assert_eq!(read(&json!({"code": 0, "data": []})).unwrap(), empty);
}

#[test]
fn secret_not_logged() {
    let mut list = MediaList::new(Some("s3c/r&t"));
    assert_eq!(listing::path(&mut list), "/index/api/getMediaList?secret=s3c%2Fr%26t");
    let step = adapters::servers::List::step(&mut list, &[]).unwrap();
    assert!(!format!("{list:?} {step:?}").contains("s3c"), "{step:?}");
    let document = recorded("api-media-list.txt");
    assert!(document.to_string().contains("s3cret"), "the recording must contain a secret");
    assert!(!format!("{:?}", read(&document).unwrap()).contains("s3cret"));
    let answer = adapters::servers::Answer { status: 200, body: document.to_string().into_bytes() };
    assert_eq!(format!("{answer:?}"), format!("Answer {{ status: 200, bytes: {} }}", answer.body.len()));
    for recording in all("zlmediakit") {
        let mut hooks = HookReader::default();
        for hook in recording.hooks() {
            for body in [&hook.body[..], &hook.body[..hook.body.len() / 2]] {
                let result = hooks.read(body);
                let shown = format!("{result:?} {hooks:?}");
                for secret in ["s3cret", "token", "secret", "originUrl"] {
                    assert!(!shown.contains(secret), "{}: {shown}", recording.name);
                }
            }
        }
    }
}

#[test]
fn rejected_duplicate_gives_no_event() {
    let events = events(&mut HookReader::default(), &capture("zlmediakit", "duplicate.http"));
    assert_eq!(summary(&events), ["started live/cam1 1795948607", "ended live/cam1 1795948607"]);
}

#[test]
fn hooks_about_the_server_itself_are_distinguished() {
    let mut hooks = HookReader::default();
    let started = events(&mut hooks, &capture("zlmediakit", "server-start.http"));
    assert_eq!(summary(&started), ["server started"]);
    let exited = events(&mut hooks, &capture("zlmediakit", "server-sigterm.http"));
    assert_eq!(summary(&exited).last().unwrap(), "server exited");
    for other in [json!({}), json!({"mediaServerId": "x"}), json!({"hook_index": 1, "mediaServerId": "x", "data": {}})]
    {
        assert_eq!(hook(&mut hooks, other.clone()), [], "{other}");
    }
}

#[test]
fn stream_starts_again_when_its_ends_were_lost() {
    let mut hooks = HookReader::default();
    assert_eq!(summary(&hook(&mut hooks, changed("rtmp", true, 100))), ["started live/cam1 100"]);
    assert_eq!(hook(&mut hooks, changed("hls", true, 100)), []);
    assert_eq!(summary(&hook(&mut hooks, changed("fmp4", true, 200))), ["started live/cam1 200"]);
    assert_eq!(summary(&hook(&mut hooks, changed("fmp4", false, 0))), ["ended live/cam1 200"]);

    assert_eq!(summary(&hook(&mut hooks, changed("rtmp", true, 300))), ["started live/cam1 300"]);
    let server = json!({"hook_index": 0, "mediaServerId": "x", "general.mediaServerId": "x"});
    assert_eq!(summary(&hook(&mut hooks, server)), ["server started"]);
    assert_eq!(hook(&mut hooks, changed("rtmp", false, 0)), [], "an end of the run before is late");
    assert_eq!(summary(&hook(&mut hooks, changed("rtmp", true, 300))), ["started live/cam1 300"]);
}

#[test]
fn stream_ends_at_its_last_schema() {
    let mut hooks = HookReader::default();
    for schema in ["fmp4", "rtsp", "rtmp", "hls"] {
        hook(&mut hooks, changed(schema, true, 1));
    }
    for schema in ["hls", "rtsp", "fmp4"] {
        assert_eq!(hook(&mut hooks, changed(schema, false, 0)), [], "{schema}");
    }
    assert_eq!(summary(&hook(&mut hooks, changed("rtmp", false, 0))), ["ended live/cam1 1"]);
}

#[test]
fn hook_gives_no_counters_of_another_schema() {
    let mut start = changed("hls", true, 1);
    start["totalBytes"] = json!(177_096);
    start["bytesSpeed"] = json!(86_304);
    let events = hook(&mut HookReader::default(), start);
    let [Event::Started(item)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((item.counters.bytes, item.gauges.bitrate), (None, None));
}

#[test]
fn hooks_are_read_when_the_ends_of_many_streams_were_lost() {
    let mut hooks = HookReader::default();
    for stream in 0..20_001 {
        let mut start = changed("rtmp", true, 1);
        start["stream"] = json!(format!("cam{stream}"));
        assert_eq!(hook(&mut hooks, start).len(), 1);
    }
    let mut end = changed("rtmp", false, 1);
    end["stream"] = json!("cam20000");
    assert_eq!(summary(&hook(&mut hooks, end)), ["ended live/cam20000 1"]);
    let mut end = changed("rtmp", false, 1);
    end["stream"] = json!("cam0");
    assert_eq!(hook(&mut hooks, end), [], "the memory must be bounded");
}

#[test]
fn repeated_hooks_change_nothing() {
    let mut hooks = HookReader::default();
    assert_eq!(hook(&mut hooks, changed("rtmp", true, 1)).len(), 1);
    assert_eq!(hook(&mut hooks, changed("rtmp", true, 1)), []);
    assert_eq!(hook(&mut hooks, changed("ts", false, 1)), [], "the end of a schema that was not live");
    assert_eq!(hook(&mut hooks, changed("rtmp", false, 1)).len(), 1);
    assert_eq!(hook(&mut hooks, changed("rtmp", false, 1)), []);
}

#[test]
fn damage_to_one_stream_stays_local() {
    let document = recorded("api-media-list-rtmp.txt");
    let names: Vec<String> = document["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("live/{}", entry["stream"].as_str().unwrap()))
        .collect();
    listing::assert_damage_stays_local(
        &mut MediaList::default(),
        &document,
        |place| place.get(1).map(|index| names[index.parse::<usize>().unwrap()].clone()),
        |place| place == &["data".to_owned()],
    );
}

#[test]
fn stream_without_name_does_not_end_it() {
    for field in ["app", "stream"] {
        let mut document = recorded("api-media-list-rtmp.txt");
        document["data"][0][field] = json!(7);
        let snapshot = read(&document).unwrap();
        assert!(!snapshot.complete && snapshot.items.len() == 1, "{field}: {snapshot:?}");
    }
    let mut document = recorded("api-media-list-rtmp.txt");
    document["data"][0] = json!("x");
    assert!(!read(&document).unwrap().complete);
}

#[test]
fn virtual_host_is_part_of_the_name() {
    let mut document = recorded("api-media-list-rtmp.txt");
    document["data"][0]["vhost"] = json!("tv.example");
    let snapshot = read(&document).unwrap();
    let name = format!("tv.example/live/{}", document["data"][0]["stream"].as_str().unwrap());
    assert_eq!(item(&snapshot, &name).labels["vhost"], "tv.example");
}

#[test]
fn truncated_list_is_rejected_at_every_byte() {
    let capture = capture("zlmediakit", "api-media-list-rtmp.txt");
    listing::assert_prefixes_are_rejected(&mut MediaList::default(), &capture.answer().unwrap().1.body);
}

#[test]
fn other_answers_are_rejected() {
    listing::assert_other_answers_are_rejected(&mut MediaList::default());
}

#[test]
fn damaged_hook_ends_no_stream() {
    let recording = capture("zlmediakit", "rtmp-publish-normal.http");
    let mut seen = BTreeSet::new();
    for body in recording.hooks().iter().map(|hook| &hook.body) {
        let document: Value = serde_json::from_slice(body).unwrap();
        let kind: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
        if document["regist"] == json!(false) || !seen.insert(kind) {
            continue;
        }
        for prefix in prefixes(body.trim_ascii_end()) {
            assert!(HookReader::default().read(prefix).is_err());
        }
        for (place, damaged) in damaged(&document) {
            let mut hooks = HookReader::default();
            hook(&mut hooks, changed("rtmp", true, 1));
            let events = hooks.read(damaged.as_bytes()).unwrap_or_default();
            let ended = events.iter().any(|event| !matches!(event, Event::Started(_)));
            // A keep-alive of the server without its data looks like the exit of the server.
            assert!(!ended || place == ["data"], "{}: {events:?}", place.join("."));
        }
    }
}
