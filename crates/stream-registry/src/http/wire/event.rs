//! Events of the change feed: one line of JSON each, sent as server-sent events (HTML Living Standard, 9.2).

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{decode, encode, millis, not_ours};
use crate::error::Result;
use crate::stream::Timestamp;
use crate::watch::{ChangeKind, Ending, Event};

/// The media type of a stream of events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// The header that says after which event a reader resumes.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// Writes an event as one line of JSON, without the line's end.
pub fn event_body(event: &Event) -> String {
    body(event, "")
}

/// Writes an event with members of its own before the record: none, or some that begin with a comma.
fn body(event: &Event, members: &str) -> String {
    let mut out = String::with_capacity(640);
    out.push_str("{\"event\":\"");
    out.push_str(event.as_str());
    out.push_str("\",\"revision\":");
    encode::push_json_string(&mut out, event.revision().as_str());
    if let Event::Ended { as_of, .. } = event {
        out.push_str(&format!(",\"as_of\":\"{as_of}\""));
    }
    if let Event::Ended { reason: Ending::Unregistered(reason), .. } = event
        && let Some(reason) = reason.as_str()
    {
        out.push_str(",\"reason\":");
        encode::push_json_string(&mut out, reason);
    }
    out.push_str(members);
    if let Some(stream) = event.stream() {
        out.push_str(",\"stream\":");
        out.push_str(&stream.to_json());
    }
    out.push('}');
    // Unknown fields are kept as they were written: a line's end can stand between their tokens, nowhere else.
    if out.contains(['\n', '\r']) { out.replace(['\n', '\r'], " ") } else { out }
}

/// How long a stream that ended has lived; `None` for what is no end, and where nobody knows when it began.
pub fn lifetime(event: &Event) -> Option<Duration> {
    match event {
        Event::Ended { last, as_of, .. } => (last.created_at > Timestamp::ZERO).then(|| as_of.since(last.created_at)),
        _ => None,
    }
}

/// Writes the end of a stream as one line of JSON: the event, and how long the stream has lived.
pub fn end_body(event: &Event) -> String {
    let members = lifetime(event).map_or_else(String::new, |lived| format!(",\"duration_ms\":{}", millis(lived)));
    body(event, &members)
}

/// Writes the answer to a request for streams that ended.
pub fn history_body(ends: &[Event]) -> String {
    let ends: Vec<_> = ends.iter().map(end_body).collect();
    format!("{{\"ended\":[{}]}}", ends.join(","))
}

#[derive(Deserialize)]
struct HistoryAnswer<'a> {
    #[serde(borrow)]
    ended: Vec<&'a RawValue>,
}

/// Reads what [`history_body`] writes.
pub(in crate::http) fn read_history(text: &str) -> Result<Vec<Event>> {
    let answer: HistoryAnswer<'_> = serde_json::from_str(text).map_err(not_ours)?;
    answer.ended.into_iter().map(|raw| read_event(raw.get())).collect()
}

/// Writes an event as it is sent: its id is the revision.
pub fn event_frame(event: &Event) -> String {
    format!("id: {}\ndata: {}\n\n", event.revision(), event_body(event))
}

#[derive(Deserialize)]
struct Body<'a> {
    event: String,
    revision: String,
    #[serde(default)]
    as_of: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
}

/// Reads what [`event_body`] writes. A word that this version does not know is an error.
///
/// # Errors
///
/// `Internal` for what is no such event, `Corrupt` for a record that cannot be read.
pub fn read_event(text: &str) -> Result<Event> {
    let body: Body<'_> = serde_json::from_str(text).map_err(not_ours)?;
    let revision = body.revision.parse()?;
    let stream = body.stream.map(|raw| decode::decode_listed(raw.get())).transpose()?.map(Arc::new);
    let reason = match body.event.as_str() {
        "resync" => return Ok(Event::Resync { revision }),
        "alive" => return Ok(Event::Alive { revision }),
        "expired" => Some(Ending::Expired),
        "unregistered" => Some(Ending::Unregistered(body.reason.as_deref().unwrap_or_default().parse()?)),
        _ => None,
    };
    match (reason, body.event.parse::<ChangeKind>().ok(), stream) {
        (Some(reason), _, Some(last)) => {
            let as_of = body.as_of.map_or(Ok(last.last_heartbeat), |time| time.parse())?;
            Ok(Event::Ended { revision, reason, last, as_of })
        }
        (None, Some(kind), Some(stream)) => Ok(Event::Changed { revision, kind, stream }),
        _ => Err(crate::error::Error::new(
            crate::error::ErrorKind::Internal,
            "the server sent an event that this version cannot read",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Revision, Stream, StreamType};

    fn revision() -> Revision {
        "0123-4".parse().unwrap()
    }

    fn stream() -> Arc<Stream> {
        let id = "cam \"1\"".parse().unwrap();
        let text = "{\"type\":\"srt\",\"bytes_received\":9223372036854775807,\"vendor\":{\n\"x\":\r\n[1.50]}}";
        Arc::new(Stream::from_stored(&id, text).unwrap())
    }

    #[test]
    fn every_event_survives_the_way_on_one_line() {
        let as_of: Timestamp = "2026-01-01T00:00:02.5Z".parse().unwrap();
        let last = Arc::new(Stream::new("a".parse().unwrap(), StreamType::Rtp, "h:1"));
        let end = |reason| Event::Ended { revision: revision(), reason, last: last.clone(), as_of };
        for (event, word) in [
            (Event::Changed { revision: revision(), kind: ChangeKind::TakenOver, stream: last.clone() }, "taken_over"),
            (Event::Changed { revision: revision(), kind: ChangeKind::Status, stream: last.clone() }, "status"),
            (end(Ending::Expired), "expired"),
            (end(Ending::Unregistered("over \"and\" out".parse().unwrap())), "unregistered"),
            (end(Ending::Unregistered(crate::stream::EndReason::default())), "unregistered"),
            (Event::Resync { revision: revision() }, "resync"),
            (Event::Alive { revision: revision() }, "alive"),
        ] {
            let text = event_body(&event);
            assert!(text.starts_with(&format!("{{\"event\":\"{word}\",\"revision\":\"0123-4\"")), "{text}");
            assert_eq!(read_event(&text).unwrap(), event);
            assert_eq!(event_frame(&event), format!("id: 0123-4\ndata: {text}\n\n"));
        }
    }

    #[test]
    fn line_ends_in_kept_fields_become_blanks() {
        let text = event_body(&Event::Changed { revision: revision(), kind: ChangeKind::Updated, stream: stream() });
        assert!(!text.contains(['\n', '\r']) && text.contains("9223372036854775807"), "{text}");
        let Event::Changed { stream, .. } = read_event(&text).unwrap() else { panic!("{text}") };
        assert!(stream.to_json().ends_with("\"vendor\":{ \"x\":  [1.50]}}"), "{}", stream.to_json());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"event":"alive"}"#,
            r#"{"event":"alive","revision":""}"#,
            r#"{"event":"expired","revision":"a"}"#,
            r#"{"event":"from_the_future","revision":"a","stream":{"id":"a"}}"#,
            r#"{"event":"status","revision":"a","stream":{}}"#,
        ] {
            assert!(read_event(text).is_err(), "{text}");
        }
    }
}
