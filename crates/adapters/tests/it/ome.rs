//! OvenMediaEngine. Its hooks are not recorded; the bodies follow its documentation.

use adapters::model::{Event, ItemState};
use adapters::servers::ome::HookReader;
use adapters::servers::{Hooks, ReadError};
use serde_json::{Value, json};

use crate::listing::summary;
use crate::mutate::{damaged, prefixes, with_unknown_fields};

fn hook(status: &str, protocol: &str, url: &str) -> Value {
    json!({
        "client": {"address": "203.0.113.7", "port": 29291, "real_ip": "203.0.113.7", "user_agent": "OBS"},
        "request": {"direction": "incoming", "protocol": protocol, "status": status, "url": url,
            "time": "2026-11-29T10:00:00.000Z"},
    })
}

fn read(body: &Value) -> Result<Vec<Event>, ReadError> {
    HookReader.read(body.to_string().as_bytes())
}

#[test]
fn opening_starts_and_closing_ends_the_same_session() {
    let url = "rtmp://media1.example:1935/app/cam1?policy=s3cret";
    let events: Vec<Event> =
        ["opening", "closing"].iter().flat_map(|status| read(&hook(status, "RTMP", url)).unwrap()).collect();
    assert_eq!(summary(&events), ["started app/cam1 203.0.113.7:29291", "ended app/cam1 203.0.113.7:29291"]);
    let Event::Started(item) = &events[0] else { panic!("{events:?}") };
    assert_eq!((item.kind.as_str(), item.state), ("rtmp", ItemState::Active));
    assert_eq!((item.source_addr.as_str(), item.labels["app"].as_str()), ("203.0.113.7:29291", "app"));
}

#[test]
fn name_is_the_path_of_the_url() {
    for (url, expected) in [
        ("wss://user:s3cret@media1.example:3333/app/c%C3%A4m?direction=send", "app/cäm"),
        ("srt://media1.example:9999/app/cam1/?streamid=s3cret", "app/cam1"),
        ("rtmp://[::1]/a/b/cam1#s3cret", "a/b/cam1"),
        ("https://media1.example/cam1", "cam1"),
    ] {
        let events = read(&hook("closing", "x", url)).unwrap();
        assert_eq!(summary(&events), [format!("ended {expected} 203.0.113.7:29291")], "{url}");
    }
    for url in ["srt://media1.example:9999?streamid=s3cret", "rtmp://media1.example/", "app/cam1", "://", "x"] {
        assert!(read(&hook("opening", "srt", url)).is_err(), "{url}");
    }
}

#[test]
fn address_of_the_publisher_is_shown_when_a_proxy_is_between() {
    let mut body = hook("opening", "webrtc", "ws://media1.example/app/cam1");
    body["client"] = json!({"address": "::1", "port": 4000, "real_ip": "198.51.100.9"});
    let events = read(&body).unwrap();
    let [Event::Started(item)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((item.session.as_str(), item.source_addr.as_str()), ("[::1]:4000", "198.51.100.9"));
}

#[test]
fn viewers_and_unknown_states_give_no_event() {
    let mut body = hook("opening", "webrtc", "ws://media1.example/app/cam1");
    body["request"]["direction"] = json!("outgoing");
    assert_eq!(read(&body).unwrap(), []);
    assert_eq!(read(&hook("renewing", "webrtc", "ws://media1.example/app/cam1")).unwrap(), []);
}

#[test]
fn secret_not_logged() {
    let mut body = hook("opening", "rtmp", "rtmp://user:s3cret@media1.example/app/cam1?token=s3cret#s3cret");
    body["request"]["new_url"] = json!("rtmp://media1.example/app/s3cret");
    body["client"]["user_agent"] = json!("s3cret");
    assert_eq!(read(&body).unwrap().len(), 1);
    let bytes = body.to_string().into_bytes();
    for damaged in prefixes(&bytes).map(<[u8]>::to_vec).chain([bytes.clone()]) {
        assert!(!format!("{:?}", HookReader.read(&damaged)).contains("s3cret"));
    }
}

#[test]
fn damaged_hook_ends_no_other_session() {
    let healthy = hook("closing", "rtmp", "rtmp://media1.example/app/cam1");
    let expected = read(&healthy).unwrap();
    assert_eq!(read(&with_unknown_fields(&healthy)).unwrap(), expected);
    let bytes = healthy.to_string().into_bytes();
    for prefix in prefixes(&bytes) {
        assert!(HookReader.read(prefix).is_err(), "{} bytes", prefix.len());
    }
    for (place, damaged) in damaged(&healthy) {
        let changes_the_session = place.iter().any(|part| ["address", "port", "url"].contains(&part.as_str()));
        match HookReader.read(damaged.as_bytes()) {
            Ok(events) if events == expected || events.is_empty() => {}
            Ok(events) => {
                assert!(changes_the_session, "{}: {events:?}", place.join("."));
                assert!(matches!(&events[0], Event::Ended { session: Some(_), .. }), "{events:?}");
            }
            Err(_) => {}
        }
    }
}
