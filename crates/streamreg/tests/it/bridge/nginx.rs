//! nginx-rtmp with real publishers, in normal operation.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::nginx_server::Nginx;
use super::process::{bridge, play, publish_rtmp, throughout, until};
use super::store::Store;
use crate::cli::{outcome, program};

const CAM1: &str = "edge1/live/cam1";

#[test]
fn nginx_stream_appears_with_media_statistics_and_viewers() {
    let (nginx, store) = (Nginx::start(1, ""), Store::start());
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &store.url());
    let _publisher = publish_rtmp(&nginx.url("cam1"));
    let stream = store.wait(CAM1, "complete", |stream| {
        stream["resolution"] == "160x90"
            && stream["bytes_received"].as_u64() > Some(0)
            && stream["bitrate"].as_u64() > Some(0)
    });
    assert_eq!((&stream["type"], &stream["status"]), (&"rtmp".into(), &"active".into()));
    assert_eq!((&stream["video_codec"], &stream["audio_codec"]), (&"H264".into(), &"AAC".into()));
    assert_eq!((&stream["source_addr"], &stream["node"]), (&"127.0.0.1".into(), &"edge1".into()));
    assert_eq!((&stream["labels"]["app"], &stream["labels"]["server"]), (&"live".into(), &"nginx-rtmp".into()));
    let first = stream["bytes_received"].as_u64();
    store.wait(CAM1, "growing", |stream| stream["bytes_received"].as_u64() > first);
    let player = play(&nginx.url("cam1"));
    store.wait(CAM1, "watched", |stream| stream["viewers"] == 1);
    player.kill();
    store.wait(CAM1, "not watched", |stream| stream["viewers"] == 0);
}

#[test]
fn nginx_stream_ends_without_hooks() {
    let (nginx, store) = (Nginx::start(1, ""), Store::start());
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &store.url());
    let publisher = publish_rtmp(&nginx.url("cam1"));
    store.wait_active(CAM1);
    publisher.signal("INT");
    store.wait_gone(CAM1);
    assert_eq!(store.ended(CAM1)["end_reason"], "media server no longer lists the stream");
}

#[test]
fn nginx_stream_of_a_killed_publisher_ends_by_the_hook() {
    let hooks = format!("127.0.0.1:{}", testkit::free_port());
    let nginx = Nginx::start(1, &format!("on_publish_done http://{hooks}/hooks/nginx-rtmp;"));
    let store = Store::start();
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api(), "--hooks", &hooks], &store.url());
    let mut reasons = Vec::new();
    for signal in ["INT", "KILL"] {
        let publisher = publish_rtmp(&nginx.url("cam1"));
        store.wait_active(CAM1);
        publisher.signal(signal);
        store.wait_gone(CAM1);
        reasons.push(store.ended(CAM1)["end_reason"].as_str().unwrap().to_owned());
    }
    // A list may be faster than the hook, but not both times.
    assert!(reasons.iter().any(|reason| reason == "publisher disconnected"), "{reasons:?}");
}

#[test]
fn rejected_second_publisher_of_nginx_changes_nothing() {
    let hooks = format!("127.0.0.1:{}", testkit::free_port());
    let url = format!("http://{hooks}/hooks/nginx-rtmp");
    let nginx = Nginx::start(1, &format!("on_publish {url}; on_publish_done {url};"));
    let store = Store::start();
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api(), "--hooks", &hooks], &store.url());
    let mut first = publish_rtmp(&nginx.url("cam1"));
    let before = store.wait_active(CAM1);
    let mut second = publish_rtmp(&nginx.url("cam1"));
    until("the second publisher is rejected", || !second.is_running());
    throughout(Duration::from_secs(3), "the first publisher is live", || {
        let stream = store.stream(CAM1);
        first.is_running() && stream["created_at"] == before["created_at"] && stream["labels"] == before["labels"]
    });
    // The first publisher still ends as usual.
    first.signal("INT");
    store.wait_gone(CAM1);
}

#[test]
fn streams_of_all_nginx_workers_are_listed() {
    let (nginx, store) = (Nginx::start(2, ""), Store::start());
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &store.url());
    let mut workers = std::collections::BTreeSet::new();
    until("both workers have answered", || {
        workers.insert(nginx.answering_worker());
        workers.len() == 2
    });
    let publishers: Vec<_> = (1..=6).map(|n| publish_rtmp(&nginx.url(&format!("cam{n}")))).collect();
    until("six streams are listed", || store.ids().len() == 6);
    throughout(Duration::from_secs(8), "six streams are listed", || store.ids().len() == 6);
    publishers.into_iter().for_each(super::process::Process::kill);
    until("no streams are listed", || store.ids().is_empty());
}

#[test]
fn stalled_publisher_of_nginx_is_paused_and_continues() {
    let (nginx, store) = (Nginx::start(1, ""), Store::start());
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &store.url());
    let publisher = publish_rtmp(&nginx.url("cam1"));
    let before = store.wait_active(CAM1);
    publisher.signal("STOP");
    // The status and the label are two writes.
    let stalled =
        store.wait(CAM1, "paused", |stream| stream["status"] == "paused" && stream["labels"]["stalled"] == "true");
    assert_eq!(stalled["created_at"], before["created_at"]);
    publisher.signal("CONT");
    let continued = |stream: &Value| stream["status"] == "active" && stream["labels"]["stalled"].is_null();
    assert_eq!(store.wait(CAM1, "active", continued)["created_at"], before["created_at"]);
}

/// Returns the code blocks of a page in a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/servers").join(page);
    let text = std::fs::read_to_string(file).unwrap();
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the arguments of the command in a block.
pub(super) fn arguments(block: &str) -> Vec<String> {
    let words = block.split_whitespace().map(str::to_owned);
    let mut words = words.skip_while(|word| word != "bridge");
    assert_eq!(words.next().as_deref(), Some("bridge"), "{block}");
    words.filter(|word| word != "\\").map(|word| word.trim_matches('\'').to_owned()).collect()
}

pub(super) fn commands(page: &str) -> Vec<String> {
    blocks(page, "sh")
}

#[test]
fn recipe_for_nginx_works_as_written() {
    let (nginx_blocks, commands) = (blocks("nginx-rtmp.md", "nginx"), commands("nginx-rtmp.md"));
    let [configuration, ends, gate] = &nginx_blocks[..] else { panic!("{nginx_blocks:?}") };
    let [plain, with_ends, with_gate] = &commands[..] else { panic!("{commands:?}") };
    let hooks = testkit::free_port().to_string();
    let recipes = [(None, plain, CAM1), (Some(ends), with_ends, CAM1), (Some(gate), with_gate, "live/cam1")];
    for (application, command, id) in recipes {
        let store = Store::start();
        let nginx = Nginx::with(|rtmp, http| {
            let text = if let Some(application) = application {
                let (head, rest) = configuration.split_once("application live {").unwrap();
                let (_, tail) = rest.split_once('}').unwrap();
                format!("{head}{application}{tail}")
            } else {
                configuration.clone()
            };
            let text = text.replace("listen 1935", &format!("listen 127.0.0.1:{rtmp}"));
            text.replace("127.0.0.1:8080", &format!("127.0.0.1:{http}"))
                .replace("127.0.0.1:8581", &format!("127.0.0.1:{hooks}"))
        });
        let ports = [("8080", nginx.http.to_string()), ("8581", hooks.clone())];
        let replace = |word: &String| {
            ports.iter().fold(word.clone(), |word, (from, to)| {
                word.replace(&format!("127.0.0.1:{from}"), &format!("127.0.0.1:{to}"))
            })
        };
        let args: Vec<String> = arguments(command).iter().map(replace).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let _bridge = bridge(&args, &store.url());
        let publisher = publish_rtmp(&nginx.url("cam1"));
        store.wait_active(id);
        publisher.signal("INT");
        store.wait_gone(id);
    }
}

#[test]
fn once_with_dry_run_prints_the_streams_of_nginx_as_a_table() {
    let (nginx, store) = (Nginx::start(1, ""), Store::start());
    let args = ["bridge", "nginx-rtmp", "--api", &nginx.api(), "--once", "--dry-run", "--node", "edge1"];
    let list = || outcome(program(&args).args(["--output", "table", "--store", &store.url()]).output().unwrap());
    let (status, _, stderr) = list();
    assert_eq!((status, &*stderr), (Some(0), "no live streams\n"));
    let _publisher = publish_rtmp(&nginx.url("cam1"));
    until("the stream is printed", || list().1.contains(CAM1));
    assert!(list().1.contains("rtmp"), "{}", list().1);
    assert!(store.ids().is_empty());
}
