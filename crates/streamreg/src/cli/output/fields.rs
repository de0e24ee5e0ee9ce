//! Formats one record with one line per field.

use stream_registry::{Stream, Timestamp};

use super::columns::{self, Align, Cell};
use super::members::in_order;
use super::units;
use crate::cli::terminal;

/// Formats every field of the record, including unknown fields, in the order of the record.
pub(in crate::cli) fn fields(stream: &Stream, now: Timestamp) -> String {
    let json = stream.to_json();
    // A record's JSON should always parse. If parsing fails, show the whole record as one field.
    let fields = in_order(&json).unwrap_or_else(|_| vec![("record".into(), json.as_str().into())]);
    let rows: Vec<_> = fields
        .iter()
        .map(|(name, raw)| {
            let mut value = plain(raw);
            if value.is_empty() {
                value.push('-');
            }
            let explanation = explain(name, stream, now).map(|text| format!("({text})"));
            [terminal::escape(name).into_owned(), value, explanation.unwrap_or_default()].map(Cell::from).to_vec()
        })
        .collect();
    let name_width = columns::widths(&rows).first().copied().unwrap_or_default();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip([name_width, 0, 0]).map(|(cell, width)| (cell, width, Align::Left));
        out.push_str(&columns::line(cells));
        out.push('\n');
    }
    out
}

/// Returns a field's number or time in readable units, or `None` for any other field.
fn explain(name: &str, stream: &Stream, now: Timestamp) -> Option<String> {
    match name {
        "bitrate" => Some(units::bitrate(stream.bitrate)),
        "bytes_received" => Some(units::bytes(stream.bytes_received)),
        "packets_lost" => {
            Some(units::loss(stream)).filter(|loss| loss != "-").map(|loss| format!("average loss {loss}"))
        }
        "created_at" => Some(units::ago(stream.created_at, now)),
        "last_heartbeat" => Some(units::ago(stream.last_heartbeat, now)),
        _ => None,
    }
}

/// Formats a string without quotes, labels as `name=value`, and any other value as JSON.
fn plain(raw: &str) -> String {
    if let Ok(value) = serde_json::from_str::<String>(raw) {
        return terminal::escape(&value).into_owned();
    }
    let labels = in_order(raw).ok().filter(|fields| fields.iter().all(|(_, value)| value.starts_with('"')));
    match labels {
        Some(labels) => {
            let labels: Vec<_> =
                labels.iter().map(|(name, value)| format!("{}={}", terminal::escape(name), plain(value))).collect();
            labels.join(", ")
        }
        None => terminal::escape(raw).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_shows_every_field_including_unknown_fields() {
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
packets_lost      1  (average loss 1.00 %)
labels            a=x\u{1b}[2J, b=
zz\u{1b}          [1.0e5, {"q":7}]
"#
        );
    }
}
