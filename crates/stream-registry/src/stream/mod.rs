//! The stream record: plain data, its limits, and its JSON form.

mod canonical;
pub(crate) mod encode;
mod id;
pub(crate) mod invalid;
mod kind;
pub mod limits;
mod number;
mod opaque;
mod patch;
pub(crate) mod record;
mod stats;
mod status;
mod time;
mod token;

use std::collections::BTreeMap;

pub use id::{StreamId, generate_stream_id};
pub use invalid::InvalidValue;
pub use kind::StreamType;
pub use opaque::{Cursor, EndReason, Epoch, OperationId, Revision};
pub use patch::{LabelsPatch, StreamPatch};
pub use stats::StreamStats;
pub use status::StreamStatus;
pub use time::Timestamp;
pub use token::Token;

use invalid::Result;

/// One live stream: plain data with public fields and no lock inside.
///
/// What tasks share is a [`Registry`](crate::Registry). Fields of the JSON form that this version
/// does not know are kept inside and written again.
///
/// ```
/// use stream_registry::{Stream, StreamStatus, StreamType};
/// let mut stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// stream.set_status(StreamStatus::Active);
/// assert!(stream.is_active());
/// assert_eq!(Stream::from_json(&stream.to_json())?, stream);
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stream {
    /// The id; in Redis the key decides, whatever the record says.
    pub id: StreamId,
    /// The protocol; `type` in the record.
    pub kind: StreamType,
    /// The publisher's address, `host:port`, IPv6 in brackets; empty when unknown.
    pub source_addr: String,
    /// The state.
    pub status: StreamStatus,
    /// When the stream was registered, by the store's clock.
    pub created_at: Timestamp,
    /// When it was last written, by the store's clock.
    pub last_heartbeat: Timestamp,
    /// Video codec, `HEVC` say; empty when unknown.
    pub video_codec: String,
    /// Width and height, `1920x1080` say; empty when unknown.
    pub resolution: String,
    /// Bits per second.
    pub bitrate: u64,
    /// Frames per second; 0 when unknown.
    pub frame_rate: f64,
    /// Bytes received since the stream began.
    pub bytes_received: u64,
    /// Packets received since the stream began.
    pub packets_received: u64,
    /// Packets lost since the stream began.
    pub packets_lost: u64,
    /// The ingest node that owns the stream.
    pub node: Option<String>,
    pub(crate) epoch: Option<Epoch>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Audio codec.
    pub audio_codec: Option<String>,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter in milliseconds (RFC 3550, A.8).
    pub jitter_ms: Option<f64>,
    /// Packets sent again by the publisher since the stream began.
    pub packets_retransmitted: Option<u64>,
    /// Packets that came too late to be used, since the stream began.
    pub packets_dropped: Option<u64>,
    /// Viewers at the moment.
    pub viewers: Option<u64>,
    /// Why the stream ended, in the last record of an ended stream.
    pub end_reason: Option<String>,
    pub(crate) extra: record::Extra,
}

impl Stream {
    /// Creates a record in state `connecting`, with both times set to this machine's now.
    ///
    /// The store sets the times by its own clock when the record is registered.
    pub fn new(id: StreamId, kind: StreamType, source_addr: impl ToString) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            kind,
            source_addr: source_addr.to_string(),
            status: StreamStatus::Connecting,
            created_at: now,
            last_heartbeat: now,
            video_codec: String::new(),
            resolution: String::new(),
            bitrate: 0,
            frame_rate: 0.0,
            bytes_received: 0,
            packets_received: 0,
            packets_lost: 0,
            node: None,
            epoch: None,
            labels: BTreeMap::new(),
            audio_codec: None,
            rtt_ms: None,
            jitter_ms: None,
            packets_retransmitted: None,
            packets_dropped: None,
            viewers: None,
            end_reason: None,
            extra: record::Extra::default(),
        }
    }

    /// Sets the statistics; an optional one that is `None` keeps its value.
    pub fn update_stats(&mut self, stats: &StreamStats) {
        self.extra.forget_odd(&["bytes_received", "packets_received", "packets_lost", "bitrate"]);
        self.forget_given(&[
            ("rtt_ms", stats.rtt_ms.is_some()),
            ("jitter_ms", stats.jitter_ms.is_some()),
            ("packets_retransmitted", stats.packets_retransmitted.is_some()),
            ("packets_dropped", stats.packets_dropped.is_some()),
            ("viewers", stats.viewers.is_some()),
            ("frame_rate", stats.frame_rate.is_some()),
        ]);
        self.bytes_received = stats.bytes_received;
        self.packets_received = stats.packets_received;
        self.packets_lost = stats.packets_lost;
        self.bitrate = stats.bitrate;
        self.rtt_ms = stats.rtt_ms.or(self.rtt_ms);
        self.jitter_ms = stats.jitter_ms.or(self.jitter_ms);
        self.packets_retransmitted = stats.packets_retransmitted.or(self.packets_retransmitted);
        self.packets_dropped = stats.packets_dropped.or(self.packets_dropped);
        self.viewers = stats.viewers.or(self.viewers);
        self.frame_rate = stats.frame_rate.unwrap_or(self.frame_rate);
    }

    /// Drops what was kept of illegal values of the fields that are given anew.
    fn forget_given(&mut self, fields: &[(&str, bool)]) {
        for (name, _) in fields.iter().filter(|(_, given)| *given) {
            self.extra.forget_odd(&[name]);
        }
    }

    /// Returns the statistics that the record holds.
    pub fn stats(&self) -> StreamStats {
        StreamStats {
            bytes_received: self.bytes_received,
            packets_received: self.packets_received,
            packets_lost: self.packets_lost,
            bitrate: self.bitrate,
            rtt_ms: self.rtt_ms,
            jitter_ms: self.jitter_ms,
            packets_retransmitted: self.packets_retransmitted,
            packets_dropped: self.packets_dropped,
            viewers: self.viewers,
            frame_rate: Some(self.frame_rate),
        }
    }

    /// Sets `last_heartbeat` to this machine's now.
    pub fn update_heartbeat(&mut self) {
        self.extra.forget_odd(&["last_heartbeat"]);
        self.last_heartbeat = Timestamp::now();
    }

    /// Sets the state.
    pub fn set_status(&mut self, status: StreamStatus) {
        self.extra.forget_odd(&["status"]);
        self.status = status;
    }

    /// Returns whether the stream is active or connecting.
    pub fn is_active(&self) -> bool {
        matches!(self.status, StreamStatus::Active | StreamStatus::Connecting)
    }

    /// Returns the epoch of the lease that holds the stream, if it is leased.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// Applies a patch; see [`StreamPatch`] for what each value means.
    pub fn apply_patch(&mut self, patch: &StreamPatch) {
        fn optional(field: &mut Option<String>, given: Option<&String>) {
            if let Some(text) = given {
                *field = (!text.is_empty()).then(|| text.clone());
            }
        }
        self.forget_given(&[
            ("video_codec", patch.video_codec.is_some()),
            ("resolution", patch.resolution.is_some()),
            ("frame_rate", patch.frame_rate.is_some()),
            ("audio_codec", patch.audio_codec.is_some()),
            ("node", patch.node.is_some()),
            ("labels", matches!(patch.labels, LabelsPatch::Replace(_))),
        ]);
        if let Some(codec) = &patch.video_codec {
            self.video_codec.clone_from(codec);
        }
        if let Some(resolution) = &patch.resolution {
            self.resolution.clone_from(resolution);
        }
        self.frame_rate = patch.frame_rate.unwrap_or(self.frame_rate);
        optional(&mut self.audio_codec, patch.audio_codec.as_ref());
        optional(&mut self.node, patch.node.as_ref());
        match &patch.labels {
            LabelsPatch::Keep => {}
            LabelsPatch::Replace(labels) => self.labels.clone_from(labels),
            LabelsPatch::Merge(labels) => {
                self.extra.forget_labels(labels.keys());
                for (name, value) in labels {
                    match value {
                        Some(value) => self.labels.insert(name.clone(), value.clone()),
                        None => self.labels.remove(name),
                    };
                }
            }
        }
    }

    /// Writes the record: thirteen fields in fixed order, then the optional ones that are set,
    /// then those that this version does not know; compact.
    pub fn to_json(&self) -> String {
        encode::encode(self)
    }

    /// Reads a record that a caller gives, strictly; missing fields are empty, zero or now.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where the text is not a JSON object, has no `id`, or a field is of the wrong
    /// type or outside its limits.
    pub fn from_json(text: &str) -> Result<Self> {
        record::decode_given(text, None)
    }

    /// Reads a record that a caller gives, whose `id` may be missing: then one is generated.
    ///
    /// The flag says whether the id was given.
    ///
    /// # Errors
    ///
    /// As [`Stream::from_json`].
    pub fn from_json_any_id(text: &str) -> Result<(Self, bool)> {
        record::decode_given_any_id(text)
    }

    /// Reads a record as a store holds it: leniently, whatever another program wrote.
    ///
    /// The key decides the id. A field of the wrong type reads as unset and its text is kept.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the text is not a JSON object.
    pub fn from_stored(id: &StreamId, text: &str) -> Result<Self> {
        record::decode_stored(id, text)
    }

    /// Checks the limits that every store enforces before it writes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` names the field.
    pub fn check(&self) -> Result<()> {
        self.kind.check()?;
        self.status.check()?;
        check_text("source_addr", &self.source_addr)?;
        check_text("video_codec", &self.video_codec)?;
        check_text("resolution", &self.resolution)?;
        check_text("node", self.node.as_deref().unwrap_or(""))?;
        check_text("audio_codec", self.audio_codec.as_deref().unwrap_or(""))?;
        check_text("end_reason", self.end_reason.as_deref().unwrap_or(""))?;
        self.stats().check()?;
        if self.labels.len() > limits::MAX_LABELS {
            return Err(InvalidValue::new(format!("a stream has at most {} labels", limits::MAX_LABELS)));
        }
        for (name, value) in &self.labels {
            check_label(name, value)?;
        }
        encode::check_size(self)
    }
}

fn check_text(name: &str, text: &str) -> Result<()> {
    if text.len() > limits::MAX_TEXT_BYTES {
        return Err(InvalidValue::new(format!("{name} is longer than {} bytes", limits::MAX_TEXT_BYTES)));
    }
    Ok(())
}

fn check_label(name: &str, value: &str) -> Result<()> {
    if name.is_empty() || name.len() > limits::MAX_LABEL_NAME_BYTES {
        return Err(InvalidValue::new(format!("a label's name has 1 to {} bytes", limits::MAX_LABEL_NAME_BYTES)));
    }
    if value.len() > limits::MAX_LABEL_VALUE_BYTES {
        return Err(InvalidValue::new(format!("a label's value has at most {} bytes", limits::MAX_LABEL_VALUE_BYTES)));
    }
    Ok(())
}
