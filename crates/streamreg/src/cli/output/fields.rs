//! One record, a field a line.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use stream_registry::{Stream, Timestamp};

use super::{text, units};

/// Writes every field of the record, those that this version does not know too, in the record's order.
pub(super) fn fields(stream: &Stream, now: Timestamp) -> String {
    let json = stream.to_json();
    // The record was written by its own encoder; should it not read, it is shown as it is.
    let fields = in_order(&json).unwrap_or_else(|_| vec![("record".into(), json.as_str().into())]);
    let name_width = fields.iter().map(|(name, _)| text::width(&text::escape(name))).max().unwrap_or_default();
    let mut out = String::new();
    for (name, raw) in &fields {
        let name = text::escape(name);
        let value = plain(raw);
        out.push_str(&name);
        out.push_str(&" ".repeat(name_width - text::width(&name) + 2));
        out.push_str(if value.is_empty() { "-" } else { &value });
        if let Some(gloss) = gloss(&name, stream, now) {
            out.push_str(&format!("  ({gloss})"));
        }
        out.push('\n');
    }
    out
}

/// What a bare number or time means.
fn gloss(name: &str, stream: &Stream, now: Timestamp) -> Option<String> {
    match name {
        "bitrate" => Some(units::bitrate(stream.bitrate)),
        "bytes_received" => Some(units::bytes(stream.bytes_received)),
        "packets_lost" => Some(units::loss(stream)).filter(|loss| loss != "-"),
        "created_at" => Some(ago(stream.created_at, now)),
        "last_heartbeat" => Some(ago(stream.last_heartbeat, now)),
        _ => None,
    }
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    match units::ago(time, now) {
        word if word == "never" || word == "now" => word,
        age => age + " ago",
    }
}

/// A text without its quotes, labels as `name=value`, anything else as JSON spells it.
fn plain(raw: &str) -> String {
    if let Ok(value) = serde_json::from_str::<String>(raw) {
        return text::escape(&value).into_owned();
    }
    let texts = in_order(raw).ok().filter(|fields| fields.iter().all(|(_, value)| value.starts_with('"')));
    match texts {
        Some(labels) => {
            let labels: Vec<_> =
                labels.iter().map(|(name, value)| format!("{}={}", text::escape(name), plain(value))).collect();
            labels.join(", ")
        }
        None => text::escape(raw).into_owned(),
    }
}

/// Reads an object's members in their order, values as they are spelled: no number loses a digit.
fn in_order(json: &str) -> serde_json::Result<Vec<(String, Box<str>)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, Box<str>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                members.push((name, raw.get().into()));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_line() {
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let stream = Stream::from_stored(
            &"cam1".parse().unwrap(),
            r#"{"type":"srt","source_addr":"203.0.113.7:1","status":"active","last_heartbeat":"2026-01-01T00:00:02Z",
               "created_at":"0001-01-01T00:00:00Z","bitrate":5000000,"bytes_received":9007199254740993,
               "packets_received":99,"packets_lost":1,"labels":{"a":"x\u001b[2J","b":""},"zz\u001b":[1.0e5, {"q":7}]}"#,
        )
        .unwrap();
        assert_eq!(
            fields(&stream, now),
            r#"id                cam1
type              srt
source_addr       203.0.113.7:1
status            active
created_at        0001-01-01T00:00:00.000000000Z  (never)
last_heartbeat    2026-01-01T00:00:02.000000000Z  (3s ago)
video_codec       -
resolution        -
bitrate           5000000  (5.0 Mbit/s)
frame_rate        0
bytes_received    9007199254740993  (9.0 PB)
packets_received  99
packets_lost      1  (1.00 %)
labels            a=x\u{1b}[2J, b=
zz\u{1b}          [1.0e5, {"q":7}]
"#
        );
    }
}
