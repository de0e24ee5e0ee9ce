//! From what is known of a session to what the registry is told.

use stream_registry::stream::EndReason;
use stream_registry::{Stream, StreamId, StreamPatch, StreamType};

use crate::sdp::Description;
use crate::table::{Ending, Observation};

/// The most bytes of a reason, well below what a record takes.
const MAX_REASON_BYTES: usize = 512;

/// What the registry shows of a session, besides statistics and status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    description: Description,
    payload_type: u8,
}

impl Shown {
    /// What a registration has shown.
    pub(super) fn of(session: &Observation) -> Self {
        Self { description: session.description.clone(), payload_type: session.payload_type }
    }

    /// Takes over what is known of a session now, and returns what of it is new, so that what an operator has set
    /// besides stays.
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

/// Makes the record of a session, counters included.
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

/// Writes a synchronisation source the usual way: eight hex digits.
pub(super) fn ssrc(ssrc: u32) -> String {
    format!("0x{ssrc:08x}")
}

/// Says why a session ended.
pub(super) fn reason(cause: &Ending) -> EndReason {
    let mut text = match cause {
        Ending::Bye(None) => "RTCP BYE".to_owned(),
        Ending::Bye(Some(reason)) => format!("RTCP BYE: {reason}"),
        Ending::Silence(time) => format!("no packet for {time:?}"),
        Ending::Shutdown => "the ingest node stopped".to_owned(),
    };
    text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
    // A reason that a record cannot carry is better left out than in the way of the end.
    text.parse().unwrap_or_default()
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
            stats: StreamStats { bytes_received: 9, jitter_ms: Some(0.5), ..StreamStats::default() },
            ended: None,
        }
    }

    #[test]
    fn a_record_tells_who_and_what() {
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
    fn a_patch_says_what_changed_and_no_more() {
        let mut session = session();
        let mut shown = Shown::of(&session);
        session.stats.bytes_received = 10;
        assert_eq!(shown.update(&session), None);

        session.description.video_codec = "H264".to_owned();
        let patch = StreamPatch { video_codec: Some("H264".to_owned()), ..StreamPatch::default() };
        assert_eq!(shown.update(&session), Some(patch));
        assert_eq!(shown.update(&session), None);

        session.payload_type = 97;
        assert_eq!(shown.update(&session), Some(StreamPatch::default().label("payload_type", "97")));
    }

    #[test]
    fn every_reason_fits() {
        for (cause, text) in [
            (Ending::Bye(None), "RTCP BYE"),
            (Ending::Bye(Some("camera off".to_owned())), "RTCP BYE: camera off"),
            (Ending::Silence(std::time::Duration::from_secs(10)), "no packet for 10s"),
            (Ending::Shutdown, "the ingest node stopped"),
        ] {
            assert_eq!(reason(&cause).as_str(), Some(text));
        }
        assert!(reason(&Ending::Bye(Some("é".repeat(1_000)))).as_str().is_some_and(|text| text.len() <= 512));
    }
}
