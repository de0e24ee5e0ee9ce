//! `--duplicates refuse` with recorded hooks of several servers.

use testkit::free_port;

use super::fakes::{hooks, post, send};
use super::process::{Process, bridge, until};
use super::store::Store;
use crate::cli::{outcome, program};

const CAM1: &str = "live/cam1";
const SRT1: &str = "live/srt1";
const REFUSED: &str = concat!(
    r#"{"code":403,"msg":"the stream is already live elsewhere","allowed":false,"#,
    r#""reason":"the stream is already live elsewhere"}"#
);

fn run(args: &[&str], store: &Store) {
    let (status, _, stderr) = outcome(program(args).args(["--store", &store.url()]).output().unwrap());
    assert_eq!(status, Some(0), "{stderr}");
}

/// Registers the streams of the recordings for another node.
fn occupy(store: &Store, server: &str) {
    for id in [CAM1, SRT1] {
        let label = format!("server={server}");
        let args = ["register", "--id", id, "--type", "rtmp", "--source", "192.0.2.1:1", "--node", "edge9"];
        run(&[&args[..], &["--label", &label]].concat(), store);
    }
}

/// A bridge whose media server has no API, so that only hooks start and end streams.
fn gate(server: &str, store: &Store) -> (String, Process) {
    let address = format!("127.0.0.1:{}", free_port());
    let api = format!("http://127.0.0.1:{}", free_port());
    let mut args = vec![server, "--hooks", &address, "--duplicates", "refuse", "--id-template", "{path}"];
    if server != "ome" {
        args.extend(["--api", &api]);
    }
    let bridge = bridge(&args, &store.url());
    (address, bridge)
}

fn is_refused(address: &str, server: &str, hook: &str) -> bool {
    let answer = send(address, server, hook);
    answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(REFUSED)
}

/// Posts the hooks while another node has the stream and while the id is free. Only hooks that `asks` selects are
/// refused, and only in the first case.
fn check(server: &str, all: &[String], asks: impl Fn(&str) -> bool) {
    let store = Store::start();
    let (address, bridge) = gate(server, &store);
    occupy(&store, server);
    let request = all.iter().find(|hook| asks(hook)).unwrap();
    until("the bridge has reached the registry", || is_refused(&address, server, request));
    for hook in all {
        if asks(hook) {
            assert!(is_refused(&address, server, hook), "{hook}");
        } else {
            post(&address, server, hook);
        }
    }
    if server != "zlm" {
        // The bridge does not try to register what it has refused. It would do so before the next stream. (A publish
        // hook of ZLMediaKit starts no stream.)
        post(&address, server, &request.replace("cam1", "cam2"));
        store.wait("live/cam2", "registered", |stream| stream["node"] == "edge1");
        assert!(!bridge.stderr().contains("cannot write the stream"), "{}", bridge.stderr());
    }
    run(&["unregister", CAM1, "--force"], &store);
    post(&address, server, request);
}

#[test]
fn publish_hooks_of_srs_are_refused_while_another_node_has_the_stream() {
    let names = [
        "rtmp-publish-normal.http",
        "srt-publish-normal.http",
        "player-only.http",
        "v5-rtmp-publish-normal.http",
        "v5-srt-publish-normal.http",
    ];
    let all: Vec<String> = names.iter().flat_map(|name| hooks("srs", name)).collect();
    assert!(all.iter().any(|hook| hook.contains("on_play")) && all.iter().any(|hook| hook.contains("on_unpublish")));
    check("srs", &all, |hook| hook.contains(r#""action":"on_publish""#));
}

#[test]
fn publish_hooks_of_zlmediakit_are_refused_while_another_node_has_the_stream() {
    let all: Vec<String> = ["rtmp-publish-normal.http", "srt-publish-normal.http", "server-start.http"]
        .iter()
        .flat_map(|name| hooks("zlmediakit", name))
        .collect();
    assert!(all.iter().any(|hook| hook.contains("/on_play ")));
    check("zlm", &all, |hook| hook.contains("/on_publish "));
}

#[test]
fn opening_of_a_publisher_of_ovenmediaengine_is_refused_while_another_node_has_the_stream() {
    let hook = |direction: &str, status: &str| {
        let body = format!(
            r#"{{"client":{{"address":"203.0.113.7","port":29291}},"request":{{"direction":"{direction}","protocol":"rtmp","status":"{status}","url":"rtmp://h/live/cam1?policy=x"}}}}"#
        );
        format!("POST /h HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let all = [hook("outgoing", "opening"), hook("incoming", "opening"), hook("outgoing", "closing")];
    check("ome", &all, |body| *body == all[1]);
}

#[test]
fn hooks_that_do_not_ask_for_a_legal_id_are_allowed() {
    let store = Store::start();
    let (address, _bridge) = gate("srs", &store);
    occupy(&store, "srs");
    let all = hooks("srs", "rtmp-publish-normal.http");
    let request = all.iter().find(|hook| hook.contains(r#""action":"on_publish""#)).unwrap();
    until("the bridge has reached the registry", || is_refused(&address, "srs", request));
    let with_body = |body: &str| format!("POST /h HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let body = request.split_once("\r\n\r\n").unwrap().1;
    assert!(is_refused(&address, "srs", &with_body(body)));
    for allowed in [
        with_body(&body.replace("on_publish", "on_play")),
        with_body(&body.replace("\"cam1\"", &format!("\"{}\"", "x".repeat(1_000)))),
        with_body(&body[..body.len() - 1]),
        with_body(""),
        with_body(body).replacen("\r\n", "\r\nOrigin: http://h\r\n", 1),
    ] {
        post(&address, "srs", &allowed);
    }
    // A hook for an unknown server.
    post(&address, "zlm", request);
}

#[test]
fn own_stream_is_not_refused() {
    let store = Store::start();
    let (address, _bridge) = gate("srs", &store);
    let all = hooks("srs", "rtmp-publish-normal.http");
    let request = all.iter().find(|hook| hook.contains(r#""action":"on_publish""#)).unwrap();
    post(&address, "srs", request);
    let own = store.wait(CAM1, "registered", |stream| stream["node"] == "edge1");
    let client = own["labels"]["session"].as_str().unwrap().rsplit(':').next().unwrap();
    post(&address, "srs", &request.replace(client, "12345678"));
    // Another media server of the same node has the stream.
    run(&["unregister", CAM1, "--force"], &store);
    let args = ["register", "--id", CAM1, "--type", "rtmp", "--source", "192.0.2.1:1", "--node", "edge1"];
    run(&[&args[..], &["--label", "server=other"]].concat(), &store);
    assert!(is_refused(&address, "srs", request));
}

#[test]
fn publisher_is_allowed_until_the_bridge_has_reached_its_store() {
    let mut store = Store::stopped(&[]);
    let (address, bridge) = gate("srs", &store);
    let all = hooks("srs", "rtmp-publish-normal.http");
    let request = all.iter().find(|hook| hook.contains(r#""action":"on_publish""#)).unwrap();
    post(&address, "srs", request);
    post(&address, "srs", request);
    until("the outage is logged", || bridge.stderr().contains("cannot check for duplicates"));
    assert_eq!(bridge.stderr().matches("cannot check for duplicates").count(), 1, "{}", bridge.stderr());
    store.restart();
    store.wait(CAM1, "registered", |stream| stream["node"] == "edge1");
}

#[test]
fn servers_that_cannot_refuse_are_named_at_the_start() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::start());
    let file = dir.path().join("bridge.toml");
    std::fs::write(&file, "[[server]]\nkind = \"mediamtx\"\n[[server]]\nkind = \"srs\"\n").unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let ids = "{server}/{path}";
    let args =
        ["--config", file.to_str().unwrap(), "--hooks", &address, "--duplicates", "refuse", "--id-template", ids];
    let bridge = bridge(&args, &store.url());
    until("the note is printed", || bridge.stderr().contains("the bridge cannot refuse publishers of mediamtx;"));
}
