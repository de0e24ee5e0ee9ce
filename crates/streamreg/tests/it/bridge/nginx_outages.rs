//! nginx-rtmp with real publishers, while nginx, the registry or the receiver of hooks is down.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::free_port;

use super::nginx_server::Nginx;
use super::process::{DEADLINE, Process, bridge, publish_rtmp, throughout, until};
use super::store::Store;
use crate::cli::{outcome, program};

const CAM1: &str = "edge1/live/cam1";

#[test]
fn stream_of_a_restarted_nginx_keeps_created_at_although_the_client_id_is_the_same() {
    let (mut nginx, store) = (Nginx::start(1, ""), Store::start());
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &store.url());
    let publisher = publish_rtmp(&nginx.url("cam1"));
    let before = store.wait_active(CAM1);
    assert!(before["labels"]["reconnects"].is_null(), "{before:#}");
    nginx.kill();
    publisher.kill();
    // Nothing is removed while nginx is down.
    throughout(Duration::from_secs(3), "the stream is listed", || !store.stream(CAM1).is_null());
    nginx.restart();
    let _publisher = publish_rtmp(&nginx.url("cam1"));
    let after = store.wait(CAM1, "connected again", |stream| stream["labels"]["reconnects"] == "1");
    assert_eq!(after["created_at"], before["created_at"]);
    store.wait_active(CAM1);
}

#[test]
fn stream_of_an_old_worker_stays_for_the_time_to_live_after_a_reload() {
    let (nginx, store) = (Nginx::start(1, ""), Store::with(&["--ttl", "12s"]));
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &store.url());
    let mut publisher = publish_rtmp(&nginx.url("cam1"));
    store.wait_active(CAM1);
    let old = nginx.answering_worker();
    nginx.reload();
    until("the new worker answers", || nginx.answering_worker() != old);
    throughout(Duration::from_secs(6), "the stream is listed", || !store.stream(CAM1).is_null());
    let _second = publish_rtmp(&nginx.url("cam2"));
    store.wait_active("edge1/live/cam2");
    store.wait_gone(CAM1);
    assert!(publisher.is_running(), "{}", publisher.stderr());
    assert_eq!(store.ended(CAM1)["end_reason"], "media server has not listed the stream for too long");
}

/// Stops the registry for a while. All publishers stay, and their streams are back afterwards.
fn stop_registry_for(period: Duration, hooks: bool) {
    let address = format!("127.0.0.1:{}", free_port());
    let lines = if hooks {
        format!("on_publish http://{address}/hooks/nginx-rtmp; on_publish_done http://{address}/hooks/nginx-rtmp;")
    } else {
        String::new()
    };
    let (nginx, mut store) = (Nginx::start(1, &lines), Store::start());
    let api = nginx.api();
    let mut args = vec!["nginx-rtmp", "--api", &*api];
    if hooks {
        args.extend(["--hooks", &*address]);
    }
    let bridge = bridge(&args, &store.url());
    let mut publishers: Vec<Process> = (1..=3).map(|n| publish_rtmp(&nginx.url(&format!("cam{n}")))).collect();
    let before: Vec<Value> = (1..=3).map(|n| store.wait_active(&format!("edge1/live/cam{n}"))).collect();
    store.kill();
    let stopped = Instant::now();
    // A publisher that comes during the outage is accepted too, and one that ends does not come back.
    publishers.push(publish_rtmp(&nginx.url("cam4")));
    let short = publish_rtmp(&nginx.url("short"));
    until("nginx has five publishers", || nginx.stat().is_some_and(|stat| stat.matches("<publishing/>").count() >= 5));
    short.kill();
    throughout(period.saturating_sub(stopped.elapsed()), "all publishers are up", || {
        publishers.iter_mut().all(Process::is_running)
    });
    store.restart();
    let ids = ["edge1/live/cam1", "edge1/live/cam2", "edge1/live/cam3", "edge1/live/cam4"];
    until("the streams are back", || store.ids() == ids);
    for (n, before) in (1..).zip(&before) {
        assert_eq!(store.stream(&format!("edge1/live/cam{n}"))["created_at"], before["created_at"], "cam{n}");
    }
    assert!(publishers.iter_mut().all(Process::is_running));
    let log = bridge.stderr();
    assert!(log.lines().count() < 12, "an outage fills the log:\n{log}");
}

#[test]
fn publishers_stay_while_the_registry_is_down_for_a_minute() {
    stop_registry_for(Duration::from_secs(60), false);
}

#[test]
fn publishers_with_hooks_stay_while_the_registry_is_down() {
    stop_registry_for(Duration::from_secs(10), true);
}

#[test]
fn publishers_stay_while_redis_is_down() {
    let port = free_port().to_string();
    let redis = || {
        let mut command = Command::new("redis-server");
        Process::start(command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]))
    };
    let url = format!("redis://127.0.0.1:{port}");
    let list = || {
        let (_, stdout, _) = outcome(program(&["list", "--output", "json", "--store", &url]).output().unwrap());
        serde_json::from_str::<Vec<Value>>(&stdout).unwrap_or_default()
    };
    let nginx = Nginx::start(1, "");
    let first = redis();
    let _bridge = bridge(&["nginx-rtmp", "--api", &nginx.api()], &url);
    let mut publisher = publish_rtmp(&nginx.url("cam1"));
    let mut before = Value::Null;
    until("the stream is listed", || {
        before = list().first().cloned().unwrap_or_default();
        before["id"] == CAM1
    });
    first.kill();
    throughout(Duration::from_secs(8), "the publisher is up", || publisher.is_running());
    // The restarted Redis is empty.
    let _second = redis();
    until("the stream is back", || list().first().is_some_and(|stream| stream["created_at"] == before["created_at"]));
    assert!(publisher.is_running());
}

/// This is why the documentation forbids `on_update`.
#[test]
fn on_update_with_a_dead_receiver_ends_the_publisher() {
    let dead = free_port();
    let nginx = Nginx::start(1, &format!("on_update http://127.0.0.1:{dead}/; notify_update_timeout 1s;"));
    let mut publisher = publish_rtmp(&nginx.url("cam1"));
    until("the publisher is ended", || !publisher.is_running());
    let safe = Nginx::start(1, "");
    let mut publisher = publish_rtmp(&safe.url("cam1"));
    throughout(Duration::from_secs(5), "a publisher without on_update is up", || publisher.is_running());
}

#[test]
fn publisher_is_accepted_while_the_bridge_waits_for_its_store() {
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}/hooks/nginx-rtmp");
    let nginx = Nginx::start(1, &format!("on_publish {url}; on_publish_done {url};"));
    let mut store = Store::stopped(&[]);
    let bridge = bridge(&["nginx-rtmp", "--api", &nginx.api(), "--hooks", &address], &store.url());
    until("the bridge reports the outage", || bridge.stderr().contains("retrying every"));
    let mut publisher = publish_rtmp(&nginx.url("cam1"));
    let started = Instant::now();
    until("nginx shows the publisher", || nginx.stat().is_some_and(|stat| stat.contains("<publishing/>")));
    assert!(started.elapsed() < DEADLINE && publisher.is_running());
    store.restart();
    store.wait_active(CAM1);
    assert!(publisher.is_running());
}
