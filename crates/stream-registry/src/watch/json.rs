//! Events as JSON, in the format that the HTTP API, the command line and serde share.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{ChangeKind, Ending, Event, Shard};
use crate::error::{Error, Result};
use crate::stream::Timestamp;
use crate::stream::decode::decode_listed;
use crate::stream::encode::push_json_string;

#[derive(Deserialize)]
struct Fields<'a> {
    event: String,
    revision: String,
    #[serde(default)]
    as_of: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    shard: Option<usize>,
    #[serde(default)]
    shards: Option<usize>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
}

impl Event {
    /// Returns the event as one line of JSON, without a line break at its end.
    ///
    /// The members are `event` (see [`as_str`](Self::as_str)) and `revision`, then `as_of`, `reason` and `stream` if the
    /// event has them. A resync of one shard has the number of the shard (`shard`) and the number of all shards
    /// (`shards`). If the last record of an ended stream is unknown, `as_of` is missing, and `stream` contains only
    /// the id.
    ///
    /// ```
    /// use stream_registry::watch::Event;
    /// let event = Event::Resync { revision: "a-7".parse()?, shard: None };
    /// assert_eq!(event.to_json(), r#"{"event":"resync","revision":"a-7"}"#);
    /// assert_eq!(Event::from_json(&event.to_json())?, event);
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        self.json_with(None)
    }

    /// Returns the same JSON as [`to_json`](Self::to_json). For a stream that has ended, the member `duration_ms`
    /// contains its [`lifetime`](Self::lifetime).
    pub fn to_json_with_duration(&self) -> String {
        self.json_with(self.lifetime().map(|lifetime| lifetime.as_millis()))
    }

    fn json_with(&self, duration_ms: Option<u128>) -> String {
        let mut out = String::with_capacity(640);
        out.push_str("{\"event\":\"");
        out.push_str(self.as_str());
        out.push_str("\",\"revision\":");
        push_json_string(&mut out, self.revision().as_str());
        if let Self::Ended { as_of: Some(as_of), .. } = self {
            out.push_str(&format!(",\"as_of\":\"{as_of}\""));
        }
        if let Self::Ended { reason: Ending::Unregistered(reason), .. } = self
            && let Some(reason) = reason.as_str()
        {
            out.push_str(",\"reason\":");
            push_json_string(&mut out, reason);
        }
        if let Some(duration_ms) = duration_ms {
            out.push_str(&format!(",\"duration_ms\":{duration_ms}"));
        }
        match self {
            Self::Ended { last, as_of: None, .. } => {
                out.push_str(",\"stream\":{\"id\":");
                push_json_string(&mut out, last.id.as_str());
                out.push('}');
            }
            Self::Changed { stream, .. } | Self::Ended { last: stream, .. } => {
                out.push_str(",\"stream\":");
                out.push_str(&stream.to_json());
            }
            Self::Resync { shard: Some(shard), .. } => {
                out.push_str(&format!(",\"shard\":{},\"shards\":{}", shard.number(), shard.count()));
            }
            Self::Resync { shard: None, .. } | Self::Alive { .. } => {}
        }
        out.push('}');
        // Unknown fields keep their original JSON, which may contain line breaks between tokens.
        if out.contains(['\n', '\r']) { out.replace(['\n', '\r'], " ") } else { out }
    }

    /// Reads an event from the JSON that [`to_json`](Self::to_json) and
    /// [`to_json_with_duration`](Self::to_json_with_duration) write.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if the JSON is not an event, or if this version does not know the event. Returns
    /// `Corrupt` if the record in the event cannot be decoded.
    pub fn from_json(json: &str) -> Result<Self> {
        let fields: Fields<'_> = serde_json::from_str(json)
            .map_err(|fault| Error::invalid(format!("invalid event: {fault}")).with_source(fault))?;
        let revision = fields.revision.parse()?;
        let stream = fields.stream.map(|raw| decode_listed(raw.get())).transpose()?.map(Arc::new);
        let ending = match fields.event.as_str() {
            "resync" => {
                // If the shard is missing or invalid, the events of any stream may have been lost.
                let shard = fields.shard.zip(fields.shards).and_then(|(number, count)| Shard::new(number, count));
                return Ok(Self::Resync { revision, shard });
            }
            "alive" => return Ok(Self::Alive { revision }),
            "expired" => Some(Ending::Expired),
            "unregistered" => Some(Ending::Unregistered(fields.reason.as_deref().unwrap_or_default().parse()?)),
            _ => None,
        };
        let stream = stream.ok_or_else(|| Error::invalid(format!("invalid event {:?}: no stream", fields.event)));
        match ending {
            Some(reason) => {
                let last = stream?;
                let as_of: Option<Timestamp> = fields.as_of.map(|time| time.parse()).transpose()?;
                // Earlier versions of the server sent this time if the record was unknown.
                let as_of = as_of.filter(|time| *time > Timestamp::ZERO);
                Ok(Self::Ended { revision, reason, last, as_of })
            }
            None => Ok(Self::Changed { revision, kind: fields.event.parse::<ChangeKind>()?, stream: stream? }),
        }
    }
}

/// Serialises the JSON of [`Event::to_json`].
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_json()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{EndReason, Revision, Stream, StreamType};

    fn revision() -> Revision {
        "0123-4".parse().unwrap()
    }

    fn stream() -> Arc<Stream> {
        let id = "cam \"1\"".parse().unwrap();
        let json = "{\"type\":\"srt\",\"bytes_received\":9223372036854775807,\"vendor\":{\n\"x\":\r\n[1.50]}}";
        Arc::new(Stream::from_stored(&id, json).unwrap())
    }

    #[test]
    fn every_event_survives_a_round_trip_through_json() {
        let as_of: Timestamp = "2026-01-01T00:00:02.5Z".parse().unwrap();
        let last = Arc::new(Stream::new("a".parse().unwrap(), StreamType::Rtp, "h:1"));
        let ended = |reason| Event::Ended { revision: revision(), reason, last: last.clone(), as_of: Some(as_of) };
        for (event, name) in [
            (Event::Changed { revision: revision(), kind: ChangeKind::TakenOver, stream: last.clone() }, "taken_over"),
            (Event::Changed { revision: revision(), kind: ChangeKind::Status, stream: last.clone() }, "status"),
            (ended(Ending::Expired), "expired"),
            (ended(Ending::Unregistered("over \"and\" out".parse().unwrap())), "unregistered"),
            (ended(Ending::Unregistered(EndReason::default())), "unregistered"),
            (Event::Resync { revision: revision(), shard: None }, "resync"),
            (Event::Resync { revision: revision(), shard: Shard::new(5, 16) }, "resync"),
            (Event::Alive { revision: revision() }, "alive"),
        ] {
            let json = event.to_json();
            assert!(json.starts_with(&format!("{{\"event\":\"{name}\",\"revision\":\"0123-4\"")), "{json}");
            assert_eq!(Event::from_json(&json).unwrap(), event);
            assert_eq!(Event::from_json(&event.to_json_with_duration()).unwrap(), event);
            assert_eq!(serde_json::to_string(&event).unwrap(), json);
        }
    }

    #[test]
    fn ended_event_omits_duration_when_the_registration_time_is_unknown() {
        let ended = |created_at: &str| {
            let mut last = Stream::new("a".parse().unwrap(), StreamType::Rtp, "h:1");
            last.created_at = created_at.parse().unwrap();
            let as_of = "2026-01-01T00:00:02.5Z".parse().unwrap();
            Event::Ended { revision: revision(), reason: Ending::Expired, last: Arc::new(last), as_of: Some(as_of) }
        };
        let known = ended("2026-01-01T00:00:00Z").to_json_with_duration();
        assert!(known.contains(",\"duration_ms\":2500,\"stream\":{"), "{known}");
        let unknown = ended("0001-01-01T00:00:00Z");
        assert_eq!(unknown.to_json_with_duration(), unknown.to_json());
    }

    #[test]
    fn ended_event_contains_only_the_id_when_the_last_record_is_unknown() {
        let last = Arc::new(Stream::from_stored(&"cam \"1\"".parse().unwrap(), "{}").unwrap());
        for (reason, name) in
            [(Ending::Expired, "expired"), (Ending::Unregistered(EndReason::default()), "unregistered")]
        {
            let event = Event::Ended { revision: revision(), reason, last: last.clone(), as_of: None };
            let json = event.to_json();
            assert_eq!(json, format!(r#"{{"event":"{name}","revision":"0123-4","stream":{{"id":"cam \"1\""}}}}"#));
            assert_eq!(event.to_json_with_duration(), json);
            assert_eq!(Event::from_json(&json).unwrap(), event);
        }
        let earlier =
            r#"{"event":"expired","revision":"a","as_of":"0001-01-01T00:00:00.000000000Z","stream":{"id":"a"}}"#;
        assert!(matches!(Event::from_json(earlier).unwrap(), Event::Ended { as_of: None, .. }));
    }

    #[test]
    fn event_json_replaces_line_breaks_in_unknown_fields_with_spaces() {
        let json = Event::Changed { revision: revision(), kind: ChangeKind::Updated, stream: stream() }.to_json();
        assert!(!json.contains(['\n', '\r']) && json.contains("9223372036854775807"), "{json}");
        let Event::Changed { stream, .. } = Event::from_json(&json).unwrap() else { panic!("{json}") };
        assert!(stream.to_json().ends_with("\"vendor\":{ \"x\":  [1.50]}}"), "{}", stream.to_json());
    }

    #[test]
    fn resync_names_its_shard_in_json_and_concerns_all_streams_when_the_shard_is_invalid() {
        let json = Event::Resync { revision: revision(), shard: Shard::new(5, 16) }.to_json();
        assert_eq!(json, r#"{"event":"resync","revision":"0123-4","shard":5,"shards":16}"#);
        for shard in ["", r#","shard":5"#, r#","shards":16"#, r#","shard":16,"shards":16"#, r#","shard":0,"shards":65"#]
        {
            let json = format!(r#"{{"event":"resync","revision":"0123-4"{shard}}}"#);
            assert_eq!(Event::from_json(&json).unwrap(), Event::Resync { revision: revision(), shard: None }, "{json}");
        }
    }

    #[test]
    fn event_decoder_rejects_invalid_json() {
        for json in [
            "",
            "{}",
            r#"{"event":"alive"}"#,
            r#"{"event":"alive","revision":""}"#,
            r#"{"event":"expired","revision":"a"}"#,
            r#"{"event":"status","revision":"a"}"#,
            r#"{"event":"from_the_future","revision":"a","stream":{"id":"a"}}"#,
            r#"{"event":"status","revision":"a","stream":{}}"#,
        ] {
            assert!(Event::from_json(json).is_err(), "{json}");
        }
    }
}
