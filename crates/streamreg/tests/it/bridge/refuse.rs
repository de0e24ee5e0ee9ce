//! Two nodes with nginx-rtmp and real publishers, one registry in Redis, and `--duplicates refuse` or `observe`.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::free_port;

use super::nginx_server::Nginx;
use super::process::{Process, bridge_of, publish_rtmp, until};
use super::store::{Store, exchange};

const CAM1: &str = "live/cam1";

/// An empty Redis, and a server through which the tests read it.
fn redis() -> (Process, String, Store) {
    let port = free_port().to_string();
    let mut command = Command::new("redis-server");
    let redis =
        Process::start(command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]));
    until("Redis accepts connections", || TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let url = format!("redis://127.0.0.1:{port}");
    let store = Store::with(&["--store", &url]);
    (redis, url, store)
}

/// nginx whose publish hook asks the bridge of the same node.
struct Node {
    nginx: Nginx,
    hooks: String,
    bridge: Process,
}

impl Node {
    fn start(name: &str, policy: &[&str], store: &str) -> Self {
        let hooks = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{hooks}/hooks/nginx-rtmp");
        let nginx = Nginx::start(1, &format!("on_publish {url}; on_publish_done {url};"));
        let api = nginx.api();
        let args = ["nginx-rtmp", "--api", &api, "--hooks", &hooks, "--id-template", "{path}"];
        let bridge = bridge_of(name, &[&args, policy].concat(), store);
        Self { nginx, hooks, bridge }
    }

    fn publish(&self, name: &str) -> Process {
        publish_rtmp(&self.nginx.url(name))
    }

    fn has_publisher(&self) -> bool {
        self.nginx.stat().unwrap().contains("<publishing/>")
    }

    /// Asks the bridge as nginx does. Returns whether the publisher is allowed, and how long the answer took.
    fn ask(&self) -> (bool, Duration) {
        let body = "app=live&addr=127.0.0.1&clientid=999999&call=publish&name=cam1&type=live";
        let started = Instant::now();
        let request = format!("POST /hooks/nginx-rtmp HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = exchange(&self.hooks, request.as_bytes()).unwrap();
        (answer.starts_with("HTTP/1.1 200 OK\r\n"), started.elapsed())
    }
}

const REFUSE: [&str; 2] = ["--duplicates", "refuse"];

#[test]
fn publisher_is_refused_while_another_node_has_its_stream() {
    let (_redis, url, store) = redis();
    let (one, two) = (Node::start("edge1", &REFUSE, &url), Node::start("edge2", &REFUSE, &url));
    let first = one.publish("cam1");
    let before = store.wait_active(CAM1);
    for _ in 0..2 {
        let mut second = two.publish("cam1?token=s3cret");
        until("the second publisher is rejected", || !second.is_running());
    }
    assert!(!two.has_publisher() && one.has_publisher());
    let stream = store.stream(CAM1);
    assert_eq!((&stream["node"], &stream["created_at"]), (&"edge1".into(), &before["created_at"]));
    until("the refusal is logged", || two.bridge.stderr().contains("refused a publisher"));
    let log = two.bridge.stderr();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains(CAM1) && warnings[0].contains("edge1"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");

    // The publisher of the first node may connect again.
    first.kill();
    until("nginx has noticed the end", || !one.has_publisher());
    let first = one.publish("cam1");
    store.wait(CAM1, "published again", |stream| {
        stream["labels"]["session"] != before["labels"]["session"] && stream["status"] == "active"
    });
    assert!(!one.bridge.stderr().contains("WARN"), "{}", one.bridge.stderr());

    first.signal("INT");
    store.wait_gone(CAM1);
    let mut second = two.publish("cam1");
    store.wait(CAM1, "of the second node", |stream| stream["node"] == "edge2" && stream["status"] == "active");
    assert!(second.is_running());
}

#[test]
fn publisher_is_allowed_by_default_although_another_node_has_its_stream() {
    let (_redis, url, store) = redis();
    let (one, two) = (Node::start("edge1", &[], &url), Node::start("edge2", &["--duplicates", "observe"], &url));
    let _first = one.publish("cam1");
    store.wait_active(CAM1);
    let mut second = two.publish("cam1");
    until("the second publisher is accepted", || two.has_publisher());
    assert!(second.is_running() && one.has_publisher());
    assert_eq!(store.stream(CAM1)["node"], "edge1");
}

#[test]
fn every_publisher_is_allowed_while_the_registry_is_down() {
    let (redis, url, store) = redis();
    let (one, two) = (Node::start("edge1", &REFUSE, &url), Node::start("edge2", &REFUSE, &url));
    let _first = one.publish("cam1");
    store.wait_active(CAM1);
    until("the second node is connected to the registry", || !two.ask().0);

    redis.signal("STOP");
    // The bridge waits 500 ms for the registry. A loaded machine may delay one answer.
    let answers = [two.ask(), two.ask(), two.ask()];
    let fastest = answers.iter().map(|(_, took)| *took).min().unwrap();
    assert!(answers.iter().all(|(is_allowed, _)| *is_allowed), "{answers:?}");
    assert!(fastest < Duration::from_millis(900), "{answers:?}");
    let mut second = two.publish("cam1");
    until("the second publisher is accepted", || two.has_publisher());
    assert!(second.is_running());
    second.kill();
    until("nginx has noticed the end", || !two.has_publisher());
    redis.signal("CONT");
    until("publishers are refused again", || !two.ask().0);

    redis.kill();
    until("publishers are allowed", || two.ask().0);
    let mut second = two.publish("cam1");
    until("the second publisher is accepted", || two.has_publisher());
    assert!(second.is_running());
    until("the outage is logged", || two.bridge.stderr().contains("cannot check for duplicates"));
    let log = two.bridge.stderr();
    assert_eq!(log.matches("cannot check for duplicates").count(), 1, "{log}");
    assert!(log.lines().count() < 12, "an outage fills the log:\n{log}");
}
