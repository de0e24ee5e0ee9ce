//! The stream record: its fields, their limits, and its JSON.
//!
//! A [`Stream`] is the record that a store keeps for each live stream. Its parts are small checked types, such as [`StreamId`] and
//! [`Timestamp`]. A [`StreamStats`] or [`StreamPatch`] changes some of its fields.
//!
//! Every value that a caller gives is checked against the [`limits`]; an invalid value causes the error
//! [`InvalidValue`]. A record that a store holds is read leniently, because another program may have written it:
//!
//! * Unknown fields are kept and written again.
//! * A *nonconforming* value of a known field, such as `"bitrate":-5`, is read as the nearest valid value. Stores keep
//!   its raw JSON and write it again until the field is set.

pub(crate) mod canonical;
mod check;
pub(crate) mod decode;
pub(crate) mod encode;
mod extra;
mod fill;
mod id;
pub(crate) mod invalid;
mod kind;
pub(crate) mod lenient;
pub mod limits;
mod opaque;
mod patch;
mod stats;
mod status;
mod time;
mod token;

use std::collections::BTreeMap;

pub use id::{StreamId, generate_stream_id};
pub use invalid::InvalidValue;
pub use kind::StreamType;
pub use lenient::parse_count;
pub use opaque::{Cursor, EndReason, Epoch, OperationId, Revision};
pub use patch::{LabelsPatch, StreamPatch};
pub use stats::StreamStats;
pub use status::StreamStatus;
pub use time::Timestamp;
pub use token::Token;

use extra::Extra;
use invalid::Result;

/// One live stream: plain data with public fields.
///
/// A `Stream` is a copy of the record at one moment. To share streams between tasks, share a
/// [`Registry`](crate::Registry) or a [`View`](crate::view::View).
///
/// `Stream` implements [`serde::Serialize`], for `serde_json` only. The result equals [`to_json`](Self::to_json).
///
/// ```
/// use stream_registry::{Stream, StreamStatus, StreamType};
///
/// let mut stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// stream.set_status(StreamStatus::Active);
/// assert!(stream.is_active());
/// assert_eq!(Stream::from_json(&stream.to_json())?, stream);
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stream {
    /// The id. In Redis, the id in the key replaces the id in the record.
    pub id: StreamId,
    /// The protocol. In the record, the field is named `type`.
    pub kind: StreamType,
    /// The publisher's address as `host:port`, with an IPv6 address in brackets; empty if unknown.
    pub source_addr: String,
    /// The status.
    pub status: StreamStatus,
    /// When the stream was registered, by the store's clock.
    pub created_at: Timestamp,
    /// When the record was last written, by the store's clock.
    pub last_heartbeat: Timestamp,
    /// Video codec, e.g. `HEVC`; empty if unknown.
    pub video_codec: String,
    /// Width and height, e.g. `1920x1080`; empty if unknown.
    pub resolution: String,
    /// Bit rate in bits per second.
    pub bitrate: u64,
    /// Frames per second; 0 if unknown.
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
    /// Free-form labels.
    pub labels: BTreeMap<String, String>,
    /// Audio codec, e.g. `AAC`.
    pub audio_codec: Option<String>,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter in milliseconds (RFC 3550, A.8).
    pub jitter_ms: Option<f64>,
    /// Packets that the publisher retransmitted since the stream began.
    pub packets_retransmitted: Option<u64>,
    /// Packets that arrived too late and were dropped since the stream began.
    pub packets_dropped: Option<u64>,
    /// Current number of viewers.
    pub viewers: Option<u64>,
    /// Why the stream ended. Set only in the last record of an ended stream.
    pub end_reason: Option<String>,
    pub(crate) extra: Extra,
}

impl Stream {
    /// Creates a record with the status `connecting` and with both times set to the local time.
    ///
    /// The store replaces the times with its own when the stream is registered.
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
            extra: Extra::default(),
        }
    }

    /// Sets `last_heartbeat` to the local time.
    pub fn update_heartbeat(&mut self) {
        self.extra.discard_nonconforming(&["last_heartbeat"]);
        self.last_heartbeat = Timestamp::now();
    }

    /// Sets the status.
    pub fn set_status(&mut self, status: StreamStatus) {
        self.extra.discard_nonconforming(&["status"]);
        self.status = status;
    }

    /// Returns whether the status is `active` or `connecting`.
    pub fn is_active(&self) -> bool {
        matches!(self.status, StreamStatus::Active | StreamStatus::Connecting)
    }

    /// Returns the epoch of the lease that holds the stream; `None` if the stream is not leased.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// The names of all fields that this version knows, in the order of [`to_json`](Self::to_json).
    pub const FIELDS: &'static [&'static str] = &decode::NAMES;

    /// Returns the names and the raw JSON of the fields that this version does not know, in the order of the record.
    /// Every store keeps these fields.
    ///
    /// ```
    /// use stream_registry::Stream;
    ///
    /// let stream = Stream::from_json(r#"{"id":"cam1","type":"srt","bitrte":5000000}"#)?;
    /// assert_eq!(stream.unknown_fields().collect::<Vec<_>>(), [("bitrte", "5000000")]);
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    pub fn unknown_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.extra.unknown()
    }

    /// Returns the record as a compact JSON object in which all known fields have legal values.
    ///
    /// The object begins with thirteen fields in a fixed order. Next come the optional fields that are set, then
    /// the fields that this version does not know.
    ///
    /// ```
    /// use stream_registry::{Stream, StreamType};
    ///
    /// let mut stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
    /// stream.viewers = Some(7);
    /// let json = stream.to_json();
    /// assert!(json.starts_with(r#"{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112","#));
    /// assert!(json.ends_with(r#""packets_lost":0,"viewers":7}"#));
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        encode::encode(self)
    }

    /// Returns the record as JSON for a store that shares its records with other programs.
    ///
    /// The JSON equals [`to_json`](Self::to_json), except that fields with a nonconforming value keep the raw JSON that
    /// [`from_stored`](Self::from_stored) has read, until the field is set.
    ///
    /// ```
    /// use stream_registry::Stream;
    ///
    /// let stream = Stream::from_stored(&"cam1".parse()?, r#"{"type":"srt","bitrate":-5}"#)?;
    /// assert!(stream.to_json().contains(r#""bitrate":0,"#));
    /// assert!(stream.to_stored_json().contains(r#""bitrate":-5,"#));
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    pub fn to_stored_json(&self) -> String {
        encode::encode_stored(self)
    }

    /// Reads a record from a caller, strictly: a nonconforming value is an error.
    ///
    /// A fraction in the place of an integer is rounded, and a negative `packets_lost` is 0. A missing field is read as
    /// empty or zero, and a missing time as the local time.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`] if the input is not a JSON object, if `id` is missing, or if a field has the wrong
    /// type or is outside its limits. Also returns it for more than [`MAX_LEVELS`](limits::MAX_LEVELS) nested levels.
    pub fn from_json(json: &str) -> Result<Self> {
        decode::decode_given(json)
    }

    /// Reads a record from a caller like [`from_json`](Self::from_json), and generates an id if the record has no
    /// id.
    ///
    /// The returned flag is `true` if the record has an id.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`from_json`](Self::from_json), except for a missing `id`.
    pub fn from_json_any_id(json: &str) -> Result<(Self, bool)> {
        decode::decode_given_any_id(json)
    }

    /// Reads a record that a store holds, leniently, because another program may have written it.
    ///
    /// `id` is the id in the store's key and replaces the id in the record. A nonconforming value is read as the
    /// nearest valid value or as unset; its raw JSON is kept.
    ///
    /// ```
    /// use stream_registry::Stream;
    ///
    /// let stream = Stream::from_stored(&"cam1".parse()?, r#"{"type":"srt","bitrate":-5,"rack":12}"#)?;
    /// assert_eq!(stream.bitrate, 0);
    /// assert!(stream.to_stored_json().contains(r#""bitrate":-5"#));
    /// assert!(stream.to_json().ends_with(r#""rack":12}"#));
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`], which converts into an error of kind `Corrupt`, if the value is not a JSON object or
    /// has more than [`MAX_LEVELS`](limits::MAX_LEVELS) nested levels.
    pub fn from_stored(id: &StreamId, json: &str) -> Result<Self> {
        decode::decode_stored(id, json)
    }

    /// Checks the record against its limits. Every store calls this method before it writes a record.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`] if a field or the whole record is outside its limits; the message names the field.
    pub fn check(&self) -> Result<()> {
        // The pattern is exhaustive, so that the compiler reports a new field that is not checked.
        let Self {
            kind,
            source_addr,
            status,
            video_codec,
            resolution,
            node,
            labels,
            audio_codec,
            end_reason,
            // `StreamStats::check` checks these.
            bitrate: _,
            frame_rate: _,
            bytes_received: _,
            packets_received: _,
            packets_lost: _,
            rtt_ms: _,
            jitter_ms: _,
            packets_retransmitted: _,
            packets_dropped: _,
            viewers: _,
            // The types of these fields check them when they are parsed.
            id: _,
            created_at: _,
            last_heartbeat: _,
            epoch: _,
            extra: _,
        } = self;
        kind.check()?;
        status.check()?;
        check::string("source_addr", source_addr)?;
        check::string("video_codec", video_codec)?;
        check::string("resolution", resolution)?;
        check::string("node", node.as_deref().unwrap_or(""))?;
        check::string("audio_codec", audio_codec.as_deref().unwrap_or(""))?;
        check::string("end_reason", end_reason.as_deref().unwrap_or(""))?;
        self.stats().check()?;
        check::label_count(labels.len())?;
        for (name, value) in labels {
            check::label(name, value)?;
        }
        encode::check_size(self)
    }
}
