//! The reports of a media server: a list of its streams, or the start or end of one stream.

use std::collections::BTreeMap;
use std::fmt;

use stream_registry::StreamType;

/// The name of a stream within one media server. Publishers that use the same name publish the same stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The virtual host; empty if the server has no virtual hosts, or for its default host.
    pub vhost: String,
    /// The application, or the part of a path before the last slash; may be empty.
    pub app: String,
    /// The name of the stream within the application.
    pub name: String,
}

impl Name {
    /// Creates a name from a path: the part before the last slash is the application.
    pub fn from_path(path: &str) -> Self {
        let (app, name) = path.rsplit_once('/').unwrap_or(("", path));
        Self { vhost: String::new(), app: app.to_owned(), name: name.to_owned() }
    }
}

/// The non-empty parts, separated by slashes.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.vhost, &self.app] {
            if !part.is_empty() {
                write!(f, "{part}/")?;
            }
        }
        f.write_str(&self.name)
    }
}

/// The streams of a server at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Identifies one run of the server, or of the part in `scope`, if the server reports such a value. After a
    /// restart, the value is different.
    pub epoch: Option<String>,
    /// The part of the server that this snapshot describes, e.g. the process id of an nginx worker. `None` means the
    /// whole server.
    pub scope: Option<String>,
    /// Whether `items` contains every live stream of the scope. A stream that is missing in a complete snapshot has
    /// ended.
    pub complete: bool,
    /// The live streams.
    pub items: Vec<Item>,
}

/// A message of a server about one stream, or about the server itself.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an event lives only until it is applied")]
pub enum Event {
    /// A publisher has started to publish.
    Started(Item),
    /// A publisher has stopped publishing. Without a session, the message is about the current publisher of the stream.
    Ended {
        /// The stream.
        name: Name,
        /// The session that has ended, if the message names one.
        session: Option<String>,
    },
    /// The server has started. Streams from before the start have ended.
    ServerStarted {
        /// Identifies the new run of the server, if the message names one.
        epoch: Option<String>,
    },
    /// The server stops.
    ServerExited,
}

/// A live stream of a media server.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The name of the stream.
    pub name: Name,
    /// Identifies the publisher's connection. After a reconnect, the value is different. The hooks and the list of a
    /// server must give the same value for the same connection.
    pub session: String,
    /// The protocol of the publisher.
    pub kind: StreamType,
    /// The publisher's address, with the port if the server reports one; empty if unknown.
    pub source_addr: String,
    /// Whether the publisher sends media.
    pub state: ItemState,
    /// Codecs and size.
    pub media: Media,
    /// Totals since the session began.
    pub counters: Counters,
    /// Values at this moment.
    pub gauges: Gauges,
    /// Labels for the record, e.g. `app`.
    pub labels: BTreeMap<String, String>,
}

/// Whether a publisher sends media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemState {
    /// The publisher is connected, but the server does not show media yet.
    Connecting,
    /// The publisher sends media.
    #[default]
    Active,
    /// The server keeps the stream although the publisher is gone or has paused.
    Paused,
}

/// The codecs, the size and the frame rate of a stream. An empty string or 0 means unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// Video codec, e.g. `H264`.
    pub video_codec: String,
    /// Width and height, e.g. `1920x1080`.
    pub resolution: String,
    /// Frames per second.
    pub frame_rate: f64,
    /// Audio codec, e.g. `AAC`.
    pub audio_codec: String,
}

/// Totals since the session began. `None` means that the server does not report the value.
///
/// All lists must take a value from the same place, e.g. from the publisher's connection, because a value that falls
/// counts as a reset. If that place is missing in a list, the value is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received from the publisher.
    pub bytes: Option<u64>,
    /// Packets received from the publisher.
    pub packets: Option<u64>,
    /// Packets that were lost and not recovered.
    pub lost: Option<u64>,
    /// Packets that the publisher retransmitted.
    pub retransmitted: Option<u64>,
    /// Packets that arrived too late.
    pub dropped: Option<u64>,
}

/// Values at one moment. `None` means that the server does not report the value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Bit rate in bits per second. If the server reports none, the reconciler computes it from the byte counter.
    pub bitrate: Option<u64>,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Number of viewers.
    pub viewers: Option<u64>,
}
