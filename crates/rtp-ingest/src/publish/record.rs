//! Converts sessions to records, patches and end reasons.

use stream_registry::stream::EndReason;
use stream_registry::{Stream, StreamId, StreamPatch, StreamType};

use crate::sdp::Description;
use crate::table::{EndCause, Observation};

/// Maximum length of an end reason in bytes. It is well below the size limit of a record.
const MAX_REASON_BYTES: usize = 512;

/// The fields that the registry shows for a session, except statistics and status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Published {
    description: Description,
    payload_type: u8,
}

impl Published {
    /// Returns the fields that a registration of the session publishes.
    pub(super) fn of(session: &Observation) -> Self {
        Self { description: session.description.clone(), payload_type: session.payload_type }
    }

    /// Updates the fields from a session and returns a patch with the changed fields.
    ///
    /// The patch omits unchanged fields. If an operator has changed such a field in the record, the operator's value
    /// persists.
    pub(super) fn update(&mut self, session: &Observation) -> Option<StreamPatch> {
        let now = Self::of(session);
        if *self == now {
            return None;
        }
        let before = std::mem::replace(self, now);
        let (old, new) = (&before.description, &session.description);
        let changed = |old: &String, new: &String| (old != new).then(|| new.clone());
        let patch = StreamPatch {
            video_codec: changed(&old.video_codec, &new.video_codec),
            audio_codec: changed(&old.audio_codec, &new.audio_codec),
            resolution: changed(&old.resolution, &new.resolution),
            frame_rate: (old.frame_rate != new.frame_rate).then_some(new.frame_rate),
            ..StreamPatch::default()
        };
        let is_same = before.payload_type == session.payload_type;
        Some(if is_same { patch } else { patch.label("payload_type", session.payload_type.to_string()) })
    }
}

/// Builds the record of a session, including its counters.
pub(super) fn stream(id: &StreamId, session: &Observation, node: Option<&str>) -> Stream {
    let mut stream = Stream::new(id.clone(), StreamType::Rtp, session.source);
    stream.node = node.map(str::to_owned);
    let described = &session.description;
    stream.video_codec.clone_from(&described.video_codec);
    stream.audio_codec = (!described.audio_codec.is_empty()).then(|| described.audio_codec.clone());
    stream.resolution.clone_from(&described.resolution);
    stream.frame_rate = described.frame_rate;
    stream.labels.insert("ssrc".to_owned(), ssrc(session.ssrc));
    stream.labels.insert("payload_type".to_owned(), session.payload_type.to_string());
    stream.update_stats(&session.stats);
    stream
}

/// Formats an SSRC as `0x` and eight hexadecimal digits.
pub(super) fn ssrc(ssrc: u32) -> String {
    format!("0x{ssrc:08x}")
}

/// Returns the end reason for a session's stream.
pub(super) fn reason(cause: &EndCause) -> EndReason {
    let mut reason = match cause {
        EndCause::Bye(None) => "RTCP BYE".to_owned(),
        EndCause::Bye(Some(reason)) => format!("RTCP BYE: {reason}"),
        EndCause::Silence(time) => format!("no packet for {time:?}"),
        EndCause::Shutdown => "ingest node stopped".to_owned(),
    };
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    // An invalid reason is omitted. Otherwise it would prevent the removal of the stream.
    reason.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_registry::{StreamStats, StreamStatus};

    fn session() -> Observation {
        Observation {
            number: 7,
            source: "[2001:db8::1]:5004".parse().unwrap(),
            ssrc: 0xcf_99be,
            payload_type: 96,
            description: Description::default(),
            stats: StreamStats { bytes_received: Some(9), jitter_ms: Some(0.5), ..StreamStats::default() },
            ended: None,
        }
    }

    #[test]
    fn stream_contains_source_labels_codec_and_statistics() {
        let mut session = session();
        session.description = Description {
            video_codec: "H264".to_owned(),
            resolution: "320x240".to_owned(),
            frame_rate: 25.0,
            clock_rate: 90_000,
            ..Description::default()
        };
        let stream = stream(&"a".parse().unwrap(), &session, Some("node-1"));
        assert_eq!((stream.source_addr.as_str(), stream.status), ("[2001:db8::1]:5004", StreamStatus::Connecting));
        assert_eq!(stream.labels["ssrc"], "0x00cf99be");
        assert_eq!(stream.labels["payload_type"], "96");
        assert_eq!((stream.frame_rate, stream.bytes_received, stream.jitter_ms), (25.0, 9, Some(0.5)));
        assert_eq!((stream.video_codec.as_str(), stream.audio_codec), ("H264", None));
        assert_eq!(stream.node.as_deref(), Some("node-1"));
    }

    #[test]
    fn update_returns_only_changed_fields() {
        let mut session = session();
        let mut published = Published::of(&session);
        session.stats.bytes_received = Some(10);
        assert_eq!(published.update(&session), None);

        session.description.video_codec = "H264".to_owned();
        let patch = StreamPatch { video_codec: Some("H264".to_owned()), ..StreamPatch::default() };
        assert_eq!(published.update(&session), Some(patch));
        assert_eq!(published.update(&session), None);

        session.payload_type = 97;
        assert_eq!(published.update(&session), Some(StreamPatch::default().label("payload_type", "97")));
    }

    #[test]
    fn reason_is_cut_at_512_bytes() {
        for (cause, expected) in [
            (EndCause::Bye(None), "RTCP BYE"),
            (EndCause::Bye(Some("camera off".to_owned())), "RTCP BYE: camera off"),
            (EndCause::Silence(std::time::Duration::from_secs(10)), "no packet for 10s"),
            (EndCause::Shutdown, "ingest node stopped"),
        ] {
            assert_eq!(reason(&cause).as_str(), Some(expected));
        }
        assert!(reason(&EndCause::Bye(Some("é".repeat(1_000)))).as_str().is_some_and(|reason| reason.len() <= 512));
    }
}
