//! What `top` shows: a copy of the registry at one moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::watch::Event;
use stream_registry::{Stream, StreamId, StreamStatus, Timestamp};

/// A copy of the registry, with what the source has recorded since the start.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Data {
    /// Whether all streams have been loaded once.
    pub(super) ready: bool,
    /// All live streams, in no particular order.
    pub(super) streams: Vec<Arc<Stream>>,
    /// The store's time. While the store does not answer, the time of its last answer.
    pub(super) now: Timestamp,
    /// Time since the streams were last known to be current.
    pub(super) age: Duration,
    /// Since when and why the store does not answer, as text; `None` if its last answer was good.
    pub(super) outage: Option<String>,
    /// Time since the start of the program at which this copy was made.
    pub(super) at: Duration,
    /// The number of records that cannot be decoded.
    pub(super) unreadable: u64,
    /// The total bit rate at each moment, from the oldest to the newest. It is NaN at moments without a reading.
    pub(super) bitrates: Vec<f32>,
    /// The streams that have been taken over since the start.
    pub(super) taken_over: Arc<HashSet<StreamId>>,
    /// The stream of the detail pane.
    pub(super) detail: Option<Detail>,
    /// The streams that ended last, or why the store cannot say; `None` if they have not been read.
    pub(super) ended: Option<Result<Arc<Vec<Event>>, String>>,
}

/// What has been recorded about one stream.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Detail {
    pub(super) id: StreamId,
    /// What was recorded about the latest run with this id, and about the run before it.
    pub(super) runs: Vec<Run>,
    /// Its last events, from the oldest to the newest.
    pub(super) notes: Vec<Note>,
}

/// The statistics of a stream from its registration to its end.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Run {
    /// The registration time of the stream.
    pub(super) created_at: Timestamp,
    /// Its statistics at each moment, from the oldest to the newest.
    pub(super) samples: Vec<Sample>,
    /// The time between the oldest and the newest of these moments.
    pub(super) span: Duration,
}

/// Statistics of a stream at one moment. An unknown value is NaN.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Sample {
    /// In bits per second.
    pub(super) bitrate: f32,
    /// The share of the packets since the reading before that were lost, in percent.
    pub(super) loss: f32,
    /// In milliseconds.
    pub(super) rtt: f32,
    /// In milliseconds.
    pub(super) jitter: f32,
}

impl Sample {
    /// The statistics at a moment without a reading.
    pub(super) const UNKNOWN: Self = Self { bitrate: f32::NAN, loss: f32::NAN, rtt: f32::NAN, jitter: f32::NAN };

    /// Returns the statistics of a record, which does not have the current loss.
    pub(super) fn new(stream: &Stream, loss: f32) -> Self {
        let known = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        Self { bitrate: stream.bitrate as f32, loss, rtt: known(stream.rtt_ms), jitter: known(stream.jitter_ms) }
    }
}

/// An event of a stream, without the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Note {
    /// The store's time of the event, if known.
    pub(super) at: Option<Timestamp>,
    /// The kind of event.
    pub(super) word: &'static str,
    pub(super) status: StreamStatus,
    /// The publisher's address of a registration or takeover, or the reason of an end.
    pub(super) remark: String,
}

/// What the source has to read for the present display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Wants {
    /// The streams on the screen.
    pub(super) visible: Vec<StreamId>,
    /// The stream of the detail pane.
    pub(super) detail: Option<StreamId>,
    /// Whether the ended streams are shown.
    pub(super) ended: bool,
}
