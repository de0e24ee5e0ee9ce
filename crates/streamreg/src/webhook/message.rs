//! The body and the id of a delivery.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use stream_registry::Timestamp;
use stream_registry::watch::Event;

/// Number of bytes of the hash in an id.
const ID_BYTES: usize = 20;

/// Returns the id of an event's deliveries. It is the same after a restart and on every server of the store, so that
/// the receiver recognises an event that it has received before.
///
/// A hash has no characters that a signature must not contain, whatever the revisions of the store look like.
pub(super) fn id(event: &Event) -> String {
    let stream = event.stream().map_or("", |stream| stream.id.as_str());
    let content = [&event.change_id(), event.as_str(), stream].join("\0");
    let hash = digest(&SHA256, content.as_bytes());
    format!("msg_{}", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..ID_BYTES]))
}

/// Returns when an event happened, as far as the store knows it; otherwise `now`.
pub(super) fn time(event: &Event, now: Timestamp) -> Timestamp {
    match event {
        Event::Changed { stream, .. } => stream.last_heartbeat,
        Event::Ended { as_of: Some(as_of), .. } => *as_of,
        _ => now,
    }
}

/// Returns the body. Its `data` is what `/api/v1/events` sends.
pub(super) fn body(event: &Event, time: Timestamp) -> String {
    let group = if event.stream().is_some() { "stream" } else { "feed" };
    format!(r#"{{"type":"{group}.{}","timestamp":"{time}","data":{}}}"#, event.as_str(), event.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        Event::from_json(json).unwrap()
    }

    #[test]
    fn message_contains_the_event_and_its_time() {
        let now: Timestamp = "2026-11-22T14:08:10Z".parse().unwrap();
        let stream = r#"{"id":"a\"b","type":"srt","last_heartbeat":"2026-11-22T14:00:00Z"}"#;
        for (json, group, expected) in [
            (format!(r#"{{"event":"status","revision":"a-1","stream":{stream}}}"#), "stream", "2026-11-22T14:00:00Z"),
            (
                format!(r#"{{"event":"expired","revision":"a-1","as_of":"2026-11-22T14:01:00Z","stream":{stream}}}"#),
                "stream",
                "2026-11-22T14:01:00Z",
            ),
            (
                r#"{"event":"expired","revision":"a-1","stream":{"id":"a"}}"#.to_owned(),
                "stream",
                "2026-11-22T14:08:10Z",
            ),
            (r#"{"event":"resync","revision":"a-1"}"#.to_owned(), "feed", "2026-11-22T14:08:10Z"),
        ] {
            let event = event(&json);
            let body: serde_json::Value = serde_json::from_str(&body(&event, time(&event, now))).unwrap();
            assert_eq!(body["type"], format!("{group}.{}", event.as_str()));
            let time: Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
            assert_eq!(time, expected.parse().unwrap());
            assert_eq!(body["data"], serde_json::from_str::<serde_json::Value>(&event.to_json()).unwrap());
        }
    }

    #[test]
    fn id_differs_for_each_event_and_never_contains_a_dot() {
        let json = |word: &str, revision: &str, id: &str| {
            event(&format!(r#"{{"event":"{word}","revision":"{revision}","stream":{{"id":"{id}"}}}}"#))
        };
        let ids = [
            json("status", "1-0.2-0", "a"),
            json("status", "1-0.2-1", "a"),
            json("patched", "1-0.2-0", "a"),
            json("status", "1-0.2-0", "a.b"),
        ]
        .map(|event| id(&event));
        for (at, id) in ids.iter().enumerate() {
            assert!(id.starts_with("msg_") && id.len() == 31 && !id.contains('.') && !ids[..at].contains(id), "{id}");
        }
        assert_eq!(ids[0], id(&json("status", "1-0.2-0", "a")));
    }
}
