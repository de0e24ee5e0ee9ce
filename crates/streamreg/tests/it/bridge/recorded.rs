//! The bridge with recorded answers and hooks of media servers that cannot be installed here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use testkit::free_port;

use super::fakes::{Fake, document, hooks, not_found, post};
use super::process::{Process, bridge, throughout, until};
use super::recorded_srs::srs;
use super::store::Store;
use crate::cli::{outcome, program, write_private};

const MEDIAMTX: [&str; 3] = ["info.txt", "paths-list-rtmp.txt", "rtmpconns-list.txt"];
const CAM1: &str = "edge1/live/cam1";

fn follow(kind: &str, fake: &Fake, store: &Store) -> Process {
    bridge(&[kind, "--api", &fake.api()], &store.url())
}

#[test]
fn mediamtx_stream_starts_and_ends() {
    let (fake, store) = (Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let _bridge = follow("mediamtx", &fake, &store);
    let stream = store.wait_active(CAM1);
    assert_eq!((&stream["type"], &stream["source_addr"]), (&"rtmp".into(), &"127.0.0.1:55008".into()));
    assert_eq!((&stream["video_codec"], &stream["resolution"]), (&"H264".into(), &"640x360".into()));
    assert_eq!(stream["bytes_received"], 521_708);
    assert!(store.stream("edge1/failing").is_null() && store.stream("edge1/always").is_null(), "{:?}", store.ids());
    fake.show("mediamtx", &["info.txt", "paths-list-idle.txt"]);
    store.wait_gone(CAM1);
    assert_eq!(store.ended(CAM1)["end_reason"], "media server no longer lists the stream");
}

#[test]
fn mediamtx_1_15_streams_start_and_end() {
    let names = ["v1.15.3-paths-list.txt", "v1.15.3-rtmpconns-list.txt", "v1.15.3-srtconns-list.txt"];
    let fake = Fake::recorded("mediamtx", &[&names[..], &["v1.15.3-rtspsessions-list.txt"]].concat());
    let store = Store::start();
    let _bridge = follow("mediamtx", &fake, &store);
    until("all streams are listed", || store.ids().len() >= 3);
    assert_eq!(store.stream("edge1/live/srt1")["packets_received"], 323);
    assert_eq!(store.stream(CAM1)["viewers"], 1);
    fake.show("mediamtx", &["v1.15.3-paths-list-idle.txt"]);
    until("no streams are listed", || store.ids().is_empty());
}

/// The path and the connection of a publisher with another session, address and type.
fn taken_over(session: &str, address: &str) -> impl FnMut(&str, &str) -> (u16, String) + use<> {
    let mut paths = document("mediamtx", "paths-list-rtmp.txt");
    let mut connections = document("mediamtx", "rtmpconns-list.txt");
    let items = paths["items"].as_array_mut().unwrap();
    let cam1 = items.iter_mut().find(|item| item["name"] == "live/cam1").unwrap();
    cam1["source"] = json!({"type": "srtConn", "id": session});
    connections["items"][0]["id"] = session.into();
    connections["items"][0]["remoteAddr"] = address.into();
    move |path, _| match path {
        "/v3/paths/list" => (200, paths.to_string()),
        "/v3/srtconns/list" => (200, connections.to_string()),
        _ => not_found(),
    }
}

#[test]
fn take_over_in_mediamtx_keeps_created_at_although_address_and_type_change() {
    let (fake, store) = (Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let bridge = follow("mediamtx", &fake, &store);
    let before = store.wait_active(CAM1);
    fake.serve(taken_over("2c9d", "192.0.2.77:4000"));
    let after = store.wait(CAM1, "taken over", |stream| stream["type"] == "srt");
    assert_eq!((&after["source_addr"], &after["labels"]["reconnects"]), (&"192.0.2.77:4000".into(), &"1".into()));
    assert_eq!(after["created_at"], before["created_at"]);
    // A restarted bridge continues the stream, although its publisher has changed in between.
    bridge.kill();
    fake.serve(taken_over("71aa", "198.51.100.8:4001"));
    let _bridge = follow("mediamtx", &fake, &store);
    let last = store.wait(CAM1, "continued", |stream| stream["source_addr"] == "198.51.100.8:4001");
    assert_eq!(last["created_at"], before["created_at"]);
}

#[test]
fn faults_of_the_api_remove_nothing_and_do_not_fill_the_log() {
    let (fake, store) = (Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let bridge = follow("mediamtx", &fake, &store);
    let before = store.wait_active(CAM1);
    let cut: String = document("mediamtx", "paths-list-rtmp.txt").to_string().chars().take(2_000).collect();
    for (status, body) in
        [(500, "{}".to_owned()), (200, cut), (200, String::new()), (0, String::new()), (401, "{}".into()), not_found()]
    {
        fake.serve(move |_, _| (status, body.clone()));
        throughout(Duration::from_millis(2_500), &format!("the stream is listed ({status})"), || {
            store.stream(CAM1)["created_at"] == before["created_at"]
        });
    }
    let log = bridge.stderr();
    assert!(log.lines().count() <= 9 && log.lines().count() >= 3, "{log}");
    fake.show("mediamtx", &MEDIAMTX);
    store.wait_active(CAM1);
}

fn secret_file(dir: &tempfile::TempDir, secret: &str) -> String {
    let file = dir.path().join("secret");
    write_private(&file, format!("{secret}\n"));
    file.to_str().unwrap().to_owned()
}

/// ZLMediaKit, which asks for a secret.
fn zlm(secret: &'static str, list: &'static str) -> impl FnMut(&str, &str) -> (u16, String) {
    move |path, query| match path {
        "/index/api/getMediaList" if query.contains(secret) => (200, document("zlmediakit", list).to_string()),
        "/index/api/getMediaList" => (200, document("zlmediakit", "api-no-secret.txt").to_string()),
        _ => not_found(),
    }
}

#[test]
fn zlm_streams_start_and_a_wrong_secret_removes_nothing() {
    let (fake, store, dir) =
        (Fake::new(zlm("secret=right", "api-media-list.txt")), Store::start(), tempfile::tempdir().unwrap());
    let _bridge = bridge(&["zlm", "--api", &fake.api(), "--secret-file", &secret_file(&dir, "right")], &store.url());
    let before = store.wait_active(CAM1);
    assert_eq!((&before["type"], &before["source_addr"]), (&"rtmp".into(), &"127.0.0.1:44232".into()));
    let count = store.ids().len();
    fake.serve(zlm("secret=changed", "api-media-list.txt"));
    throughout(Duration::from_secs(4), "the streams are listed", || {
        store.ids().len() == count && store.stream(CAM1)["created_at"] == before["created_at"]
    });
    fake.serve(|_, _| (200, r#"{"code":0,"data":[]}"#.to_owned()));
    until("no streams are listed", || store.ids().is_empty());
}

#[test]
fn zlm_hooks_start_and_end_one_stream() {
    let (fake, store) = (Fake::new(|_, _| (0, String::new())), Store::start());
    let address = format!("127.0.0.1:{}", free_port());
    let _bridge = bridge(&["zlm", "--api", &fake.api(), "--hooks", &address], &store.url());
    let all = hooks("zlmediakit", "rtmp-publish-normal.http");
    let last_start = all.iter().rposition(|hook| hook.contains("\"regist\" : true")).unwrap();
    for hook in &all[..=last_start] {
        post(&address, "zlm", hook);
    }
    store.wait_active(CAM1);
    for hook in &all[last_start + 1..] {
        post(&address, "zlm", hook);
    }
    store.wait_gone(CAM1);
}

#[test]
fn go2rtc_streams_start_and_end() {
    let (fake, store) = (Fake::recorded("go2rtc", &["streams-pushed-rtsp-rtmp.txt"]), Store::start());
    let _bridge = follow("go2rtc", &fake, &store);
    let stream = store.wait_active("edge1/pushed1");
    assert_eq!((&stream["type"], &stream["source_addr"]), (&"rtsp".into(), &"127.0.0.1:44636".into()));
    assert!(store.stream("edge1/dead").is_null());
    fake.show("go2rtc", &["streams-idle.txt"]);
    until("no streams are listed", || store.ids().is_empty());
}

#[test]
fn several_servers_from_a_file_have_their_own_ids() {
    let (mediamtx, go2rtc) =
        (Fake::recorded("mediamtx", &MEDIAMTX), Fake::recorded("go2rtc", &["streams-pushed-rtsp-rtmp.txt"]));
    let (store, dir) = (Store::start(), tempfile::tempdir().unwrap());
    let file = dir.path().join("bridge.toml");
    let text = format!(
        "[[server]]\nkind = \"mediamtx\"\napi = \"{}\"\n[[server]]\nkind = \"go2rtc\"\napi = \"{}\"\nname = \"door\"\n",
        mediamtx.api(),
        go2rtc.api()
    );
    std::fs::write(&file, text).unwrap();
    let _bridge = bridge(&["--config", file.to_str().unwrap()], &store.url());
    store.wait_active("edge1/mediamtx/live/cam1");
    assert_eq!(store.wait_active("edge1/door/pushed1")["labels"]["server"], "door");
}

#[test]
fn once_with_dry_run_prints_each_recorded_server_and_reports_the_others() {
    let fake = Fake::recorded("mediamtx", &MEDIAMTX);
    let store = Store::start();
    let once = |api: &str| {
        let args =
            ["bridge", "mediamtx", "--api", api, "--once", "--dry-run", "--node", "edge1", "--store", &store.url()];
        outcome(program(&args).args(["--output", "table"]).output().unwrap())
    };
    let (status, stdout, stderr) = once(&fake.api());
    assert_eq!((status, &*stderr), (Some(0), ""));
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    for word in [CAM1, "rtmp", "640x360", "127.0.0.1:55008"] {
        assert!(stdout.contains(word), "{word} is missing in:\n{stdout}");
    }
    let closed = format!("http://127.0.0.1:{}", free_port());
    let (status, stdout, stderr) = once(&closed);
    assert_eq!(status, Some(1), "{stdout}");
    assert!(stderr.contains(&format!("no answer from {closed}")), "{stderr}");
    assert!(store.ids().is_empty());
}

#[test]
fn dry_run_prints_starts_and_ends_until_it_is_stopped() {
    let (fake, store) = (Fake::recorded("mediamtx", &MEDIAMTX), Store::start());
    let mut bridge = bridge(&["mediamtx", "--api", &fake.api(), "--dry-run"], &store.url());
    let start = "register \"edge1/live/cam1\": rtmp from \"127.0.0.1:55008\"\n";
    until("the start is printed", || bridge.stdout().contains(start));
    fake.show("mediamtx", &["paths-list-idle.txt"]);
    let end = "unregister \"edge1/live/cam1\": media server no longer lists the stream\n";
    until("the end is printed", || bridge.stdout().contains(end));
    assert!(store.ids().is_empty());
    bridge.signal("TERM");
    assert_eq!(bridge.ended(), Some(0));
}

#[test]
fn secret_not_logged_and_not_stored() {
    const SECRET: &str = "s3cret";
    let (store, dir) = (Store::start(), tempfile::tempdir().unwrap());
    let secret = secret_file(&dir, "admin:s3cret-of-the-api");
    let asked = Arc::new(AtomicUsize::new(0));
    let mut lists: Vec<(&str, Fake)> = vec![
        ("mediamtx", Fake::recorded("mediamtx", &MEDIAMTX)),
        ("srs", Fake::new(srs(1))),
        ("zlm", Fake::new(zlm("secret=", "api-media-list.txt"))),
        ("go2rtc", Fake::recorded("go2rtc", &["streams-pushed-rtsp-rtmp.txt"])),
    ];
    let counter = Arc::clone(&asked);
    lists.push((
        "icecast",
        Fake::new(move |_, query| {
            // An answer that repeats the request and cannot be read.
            counter.fetch_add(1, Ordering::Relaxed);
            (200, format!("s3cret {query}"))
        }),
    ));
    let address = format!("127.0.0.1:{}", free_port());
    let mut text = String::new();
    for (kind, fake) in &lists {
        text += &format!("[[server]]\nkind = \"{kind}\"\napi = \"{}\"\nsecret_file = \"{secret}\"\n", fake.api());
    }
    text += &format!("[[server]]\nkind = \"nginx-rtmp\"\napi = \"http://127.0.0.1:{}\"\n", free_port());
    let file = dir.path().join("bridge.toml");
    std::fs::write(&file, text).unwrap();
    let args = ["--config", file.to_str().unwrap(), "--hooks", &address, "--log", "trace"];
    let bridge = bridge(&args, &store.url());
    for (server, folder, names) in [
        ("srs", "srs", &["rtmp-publish-normal.http", "v5-srt-publish-normal.http", "srt-publish-normal.http"][..]),
        ("zlm", "zlmediakit", &["rtmp-publish-normal.http", "srt-publish-normal.http", "server-start.http"]),
        ("nginx-rtmp", "nginx-rtmp", &["publish-args.http"]),
        ("unknown", "mediamtx", &["auth-http.http"]),
    ] {
        for name in names {
            let all = hooks(folder, name);
            assert!(!all.is_empty(), "{name}");
            all.iter().for_each(|hook| post(&address, server, hook));
        }
    }
    let broken = "POST /hooks/zlm?s3cret HTTP/1.0\r\nContent-Length: 8\r\n\r\n{s3cret}";
    post(&address, "srs", broken);
    for id in ["edge1/mediamtx/live/cam1", "edge1/srs/live/cam1", "edge1/zlm/live/cam1", "edge1/go2rtc/pushed1"] {
        store.wait(id, "listed", |_| true);
    }
    until("Icecast was asked twice", || asked.load(Ordering::Relaxed) >= 2);
    let list = |verb: &str| outcome(program(&[verb, "--output", "jsonl", "--store", &store.url()]).output().unwrap()).1;
    let (log, records) = (bridge.stderr(), list("list") + &list("history"));
    assert!(log.contains("DEBUG") && records.contains("edge1/srs/live/cam1"));
    for (place, text) in [("log", &log), ("output", &bridge.stdout()), ("registry", &records)] {
        let at = text.find(SECRET).or_else(|| text.find("YWRtaW46"));
        let at = at.map(|at| text.get(at.saturating_sub(300)..at + 20).unwrap_or_default());
        assert_eq!(at, None, "a secret is in the {place}");
    }
}
