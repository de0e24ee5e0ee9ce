//! The bridge with recorded answers and hooks of SRS.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::free_port;

use super::fakes::{Fake, document, hooks, not_found, post};
use super::process::{bridge, throughout, until};
use super::store::Store;
use crate::cli::{outcome, program};

const CAM1: &str = "edge1/live/cam1";

fn srs_vhosts() -> String {
    let mut vhosts = document("srs", "api-vhosts.txt");
    vhosts["vhosts"] = json!([{"id": "vid-z0a8gzc", "name": "__defaultVhost__", "enabled": true}]);
    vhosts.to_string()
}

/// The recorded stream and its publisher, many times, in pages as SRS gives them.
pub(super) fn srs(count: usize) -> impl FnMut(&str, &str) -> (u16, String) {
    let repeat = |capture: &str, list: &str, at: usize| {
        let mut document = document("srs", capture);
        let one = document[list][at].clone();
        let all: Vec<Value> = (1..=count)
            .map(|n| {
                let mut item = one.clone();
                let (stream, client) =
                    (format!("vid-{n}"), if n == 1 { "tk33gzj8".to_owned() } else { format!("client{n}") });
                item["name"] = format!("cam{n}").into();
                item["url"] = format!("/live/cam{n}").into();
                if list == "streams" {
                    item["id"] = stream.into();
                    item["publish"]["cid"] = client.into();
                } else {
                    item["stream"] = stream.into();
                    item["id"] = client.into();
                }
                item
            })
            .collect();
        document[list] = all.into();
        document
    };
    let streams = repeat("api-streams-rtmp.txt", "streams", 0);
    let clients = repeat("api-clients-rtmp.txt", "clients", 1);
    let page = |document: &Value, list: &str, query: &str| {
        let number = |name: &str, default: usize| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map_or(default, |value| value.parse().unwrap())
        };
        let mut document = document.clone();
        let all = document[list].as_array().unwrap().clone();
        let page: Vec<Value> = all.into_iter().skip(number("start", 0)).take(number("count", 10)).collect();
        document[list] = page.into();
        (200, document.to_string())
    };
    move |path, query| match path {
        "/api/v1/streams" => page(&streams, "streams", query),
        "/api/v1/clients" => page(&clients, "clients", query),
        "/api/v1/vhosts" => (200, srs_vhosts()),
        _ => not_found(),
    }
}

#[test]
fn all_pages_of_srs_are_listed() {
    let (fake, store) = (Fake::new(srs(2_300)), Store::start());
    let _bridge = bridge(&["srs", "--api", &fake.api()], &store.url());
    until("all streams are listed", || {
        let (_, stdout, _) =
            outcome(program(&["summary", "--output", "json", "--store", &store.url()]).output().unwrap());
        serde_json::from_str::<Value>(&stdout).is_ok_and(|summary| summary["total"] == 2_300)
    });
}

#[test]
fn srs_hooks_start_and_end_a_stream_although_the_api_is_down() {
    let (fake, store) = (Fake::new(|_, _| (500, String::new())), Store::start());
    let address = format!("127.0.0.1:{}", free_port());
    let _bridge = bridge(&["srs", "--api", &fake.api(), "--hooks", &address], &store.url());
    let all = hooks("srs", "rtmp-publish-normal.http");
    let action = |action: &str| all.iter().find(|hook| hook.contains(&format!("\"action\":\"{action}\""))).unwrap();
    post(&address, "srs", action("on_publish"));
    let stream = store.wait(CAM1, "connecting", |stream| stream["status"] == "connecting");
    assert_eq!((&stream["type"], &stream["source_addr"]), (&"rtmp".into(), &"127.0.0.1".into()));
    fake.serve(srs(1));
    // The status and the resolution are written one after the other.
    let is_listed = |stream: &Value| stream["status"] == "active" && stream["resolution"] == "640x360";
    let listed = store.wait(CAM1, "listed", is_listed);
    assert_eq!(listed["created_at"], stream["created_at"]);
    fake.serve(|_, _| (500, String::new()));
    post(&address, "srs", action("on_unpublish"));
    store.wait_gone(CAM1);
    assert_eq!(store.ended(CAM1)["end_reason"], "publisher disconnected");
}

#[test]
fn end_of_a_rejected_duplicate_in_srs_5_ends_nothing() {
    let (fake, store) = (Fake::new(|_, _| (500, String::new())), Store::start());
    let address = format!("127.0.0.1:{}", free_port());
    let _bridge = bridge(&["srs", "--api", &fake.api(), "--hooks", &address], &store.url());
    let mut ids = Vec::new();
    for hook in hooks("srs", "v5-rtmp-duplicate.http") {
        post(&address, "srs", &hook);
        until("the hook is applied", || hook.contains("on_connect") || store.ids().len() <= 1);
        ids.push(store.ids());
    }
    let starts = ids.iter().filter(|ids| !ids.is_empty()).count();
    assert!(starts >= 1, "{ids:?}");
    until("the stream has ended", || store.ids().is_empty());
    let log = outcome(program(&["history", "--output", "jsonl", "--store", &store.url()]).output().unwrap()).1;
    assert_eq!(log.lines().count(), 1, "the stream ended more than once:\n{log}");
}

#[test]
fn srs_streams_continue_when_the_service_restarts() {
    let (fake, store) = (Fake::new(srs(1)), Store::start());
    let _bridge = bridge(&["srs", "--api", &fake.api()], &store.url());
    let before = store.wait_active(CAM1);
    let mut restarted = srs(1);
    fake.serve(move |path, query| {
        let (status, body) = restarted(path, query);
        (status, body.replace("w4024r8s", "n3w").replace("tk33gzj8", "c2"))
    });
    let after = store.wait(CAM1, "connected again", |stream| stream["labels"]["reconnects"] == "1");
    assert_eq!(after["created_at"], before["created_at"]);
}

#[test]
fn outage_of_the_registry_with_many_streams_logs_a_few_lines() {
    let (fake, mut store) = (Fake::new(srs(300)), Store::start());
    let bridge = bridge(&["srs", "--api", &fake.api()], &store.url());
    until("all streams are listed", || store.ids().len() == 300);
    store.kill();
    // New streams cannot be registered, and streams that end cannot be unregistered.
    fake.serve(srs(600));
    throughout(Duration::from_secs(8), "the log is short", || bridge.stderr().lines().count() < 12);
    fake.serve(srs(100));
    throughout(Duration::from_secs(8), "the log is short", || bridge.stderr().lines().count() < 12);
    store.restart();
    until("the streams are back", || store.ids().len() == 100 && store.ids().contains(&CAM1.to_owned()));
    throughout(Duration::from_secs(6), "no stream that has ended comes back", || store.ids().len() == 100);
}
