//! Which hooks ask whether a publisher may start, and for which stream.

use std::collections::BTreeSet;

use adapters::servers::Kind;
use serde_json::{Value, json};

use crate::captures::{Hook, all};

/// Returns the names of the streams that the recorded hooks ask for. Checks that exactly the hooks that `asks` selects
/// are requests, and returns the number of these hooks and of all others.
fn recorded(kind: Kind, folder: &str, asks: impl Fn(&Hook, &str) -> bool) -> (BTreeSet<String>, usize, usize) {
    let (mut names, mut requests, mut others) = (BTreeSet::new(), 0, 0);
    for capture in all(folder) {
        for hook in capture.hooks() {
            let body = String::from_utf8_lossy(&hook.body);
            let requested = kind.requested_stream(&hook.body);
            assert_eq!(requested.is_some(), asks(&hook, &body), "{}: {body}", capture.name);
            match requested {
                Some(name) => {
                    names.insert(name.to_string());
                    requests += 1;
                }
                None => others += 1,
            }
        }
    }
    (names, requests, others)
}

#[test]
fn exactly_the_publish_hooks_of_nginx_are_requests() {
    // The publisher's arguments can contain a second `call`, so only the first one counts.
    let asks = |_: &Hook, body: &str| {
        body.split_once("&call=").is_some_and(|(_, rest)| rest.split('&').next() == Some("publish"))
    };
    let (names, requests, others) = recorded(Kind::NginxRtmp, "nginx-rtmp", asks);
    assert!(names.contains("live/cam1") && requests >= 40 && others >= 100, "{names:?} {requests} {others}");
}

#[test]
fn exactly_the_publish_hooks_of_srs_are_requests() {
    let asks = |_: &Hook, body: &str| body.contains(r#""action":"on_publish""#);
    let (names, requests, others) = recorded(Kind::Srs, "srs", asks);
    assert!(names.contains("live/cam1") && requests == 39 && others >= 100, "{names:?} {requests} {others}");
}

#[test]
fn exactly_the_publish_hooks_of_zlmediakit_are_requests() {
    let (names, requests, others) = recorded(Kind::Zlm, "zlmediakit", |hook, _| hook.target == "/hooks/zlm/on_publish");
    assert!(names.contains("live/cam1") && requests == 22 && others >= 70, "{names:?} {requests} {others}");
}

#[test]
fn other_hooks_of_zlmediakit_with_an_origin_are_no_requests() {
    let requested = |fields: Value| {
        let mut body = json!({"vhost": "__defaultVhost__", "app": "live", "stream": "cam1", "originType": 1});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Kind::Zlm.requested_stream(body.to_string().as_bytes()).is_some()
    };
    assert!(requested(json!({"id": "4-10"})));
    assert!(!requested(json!({"id": "4-10", "regist": true})));
    // Fields of `on_send_rtp_stopped` as in the source of ZLMediaKit.
    assert!(!requested(json!({"ssrc": "1", "originUrl": "rtmp://h/live/cam1", "msg": "x", "err": 1})));
}

#[test]
fn only_opening_of_a_publisher_of_ovenmediaengine_is_a_request() {
    let requested = |direction: &str, status: &str| {
        let body = json!({"client": {"address": "203.0.113.7", "port": 29291}, "request": {"direction": direction,
            "protocol": "rtmp", "status": status, "url": "rtmp://h:1935/app/cam1?policy=s3cret"}});
        Kind::Ome.requested_stream(body.to_string().as_bytes()).map(|name| name.to_string())
    };
    assert_eq!(requested("incoming", "opening").as_deref(), Some("app/cam1"));
    for (direction, status) in [("incoming", "closing"), ("outgoing", "opening"), ("outgoing", "closing")] {
        assert_eq!(requested(direction, status), None, "{direction} {status}");
    }
}

#[test]
fn name_in_a_request_has_the_virtual_host_but_no_query() {
    let srs = json!({"action": "on_publish", "service_id": "a", "client_id": "b", "vhost": "tv.example",
        "app": "live?k=s3cret", "stream": "cam1?token=s3cret", "param": "?token=s3cret", "tcUrl": "rtmp://h/live"});
    let zlm = json!({"id": "4-10", "originType": 1, "vhost": "tv.example", "app": "live", "stream": "cam1",
        "params": "token=s3cret"});
    for (kind, body) in [(Kind::Srs, srs), (Kind::Zlm, zlm)] {
        let name = kind.requested_stream(body.to_string().as_bytes()).unwrap();
        assert_eq!(name.to_string(), "tv.example/live/cam1", "{}", kind.name());
    }
}

#[test]
fn unreadable_body_is_no_request() {
    for kind in Kind::ALL {
        for body in
            ["", "{}", "[]", "null", "call=publish", "call=publish&app=live", "{\"action\":\"on_publish\"}", "\u{0}"]
        {
            assert_eq!(kind.requested_stream(body.as_bytes()), None, "{} {body:?}", kind.name());
        }
    }
}
