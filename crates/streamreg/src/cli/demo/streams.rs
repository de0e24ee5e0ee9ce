//! The table of simulated streams.

/// Names of the ingest nodes.
pub(super) const NODES: [&str; 4] = ["ingest-fra-1", "ingest-fra-2", "ingest-iad-1", "ingest-sgp-1"];

/// The fixed properties of a simulated stream.
#[derive(Debug)]
pub(super) struct MadeUpStream {
    pub(super) id: &'static str,
    pub(super) kind: &'static str,
    /// An index into [`NODES`].
    pub(super) node: usize,
    /// Address of the publisher, from the ranges reserved for documentation (RFC 5737, RFC 3849).
    pub(super) host: &'static str,
    pub(super) video_codec: &'static str,
    pub(super) audio_codec: &'static str,
    pub(super) resolution: &'static str,
    pub(super) frame_rate: f64,
    /// Nominal bit rate in bits per second.
    pub(super) bitrate: u32,
    /// Typical round-trip time in milliseconds.
    pub(super) rtt_ms: f64,
    /// Value of the label `event`.
    pub(super) event: &'static str,
}

macro_rules! streams {
    ($($id:literal $kind:literal $node:literal $host:literal $video:literal $audio:literal $resolution:literal $fps:literal $bitrate:literal $rtt:literal $event:literal;)+) => {
        &[$(MadeUpStream {
            id: $id, kind: $kind, node: $node, host: $host, video_codec: $video, audio_codec: $audio,
            resolution: $resolution, frame_rate: $fps, bitrate: $bitrate, rtt_ms: $rtt, event: $event,
        },)+]
    };
}

/// The simulated streams.
pub(super) const STREAMS: &[MadeUpStream] = streams! {
    "demo-stadium-cam1"   "srt"    0 "203.0.113.7"     "HEVC" "AAC"  "3840x2160" 50.0  18_000_000 24.0  "cup-final";
    "demo-stadium-cam2"   "srt"    0 "203.0.113.7"     "HEVC" "AAC"  "1920x1080" 50.0   8_000_000 24.0  "cup-final";
    "demo-stadium-cam3"   "srt"    1 "203.0.113.7"     "HEVC" "AAC"  "1920x1080" 50.0   8_000_000 25.0  "cup-final";
    "demo-stadium-drone"  "srt"    1 "203.0.113.19"    "H264" "AAC"  "1920x1080" 29.97  6_000_000 61.0  "cup-final";
    "demo-stadium-fans"   "webrtc" 1 "203.0.113.101"   "VP8"  "Opus" "1280x720"  30.0   1_800_000 48.0  "cup-final";
    "demo-news-studio-a"  "rtp"    0 "198.51.100.10"   "H264" "AAC"  "1920x1080" 25.0  12_000_000  2.0  "news";
    "demo-news-studio-b"  "rtp"    0 "198.51.100.11"   "H264" "AAC"  "1920x1080" 25.0  12_000_000  2.0  "news";
    "demo-news-van-7"     "srt"    2 "192.0.2.44"      "H264" "AAC"  "1280x720"  29.97  4_000_000 95.0  "news";
    "demo-news-van-9"     "srt"    2 "192.0.2.45"      "H264" "AAC"  "1280x720"  29.97  4_000_000 110.0 "news";
    "demo-news-phone"     "rtmp"   2 "192.0.2.201"     "H264" "AAC"  "1280x720"  30.0   2_500_000 70.0  "news";
    "demo-concert-main"   "srt"    3 "[2001:db8::21]"  "HEVC" "Opus" "3840x2160" 59.94 22_000_000 38.0  "harbour-concert";
    "demo-concert-left"   "srt"    3 "[2001:db8::21]"  "HEVC" "Opus" "1920x1080" 59.94  9_000_000 38.0  "harbour-concert";
    "demo-concert-right"  "srt"    3 "[2001:db8::22]"  "HEVC" "Opus" "1920x1080" 59.94  9_000_000 39.0  "harbour-concert";
    "demo-concert-mix"    "rtp"    3 "[2001:db8::30]"  ""     "Opus" ""           0.0     256_000  5.0  "harbour-concert";
    "demo-tunnel-cam-04"  "rtp"    1 "198.51.100.104"  "H264" ""     "1280x720"  12.5   1_500_000  9.0  "traffic";
    "demo-tunnel-cam-05"  "rtp"    1 "198.51.100.105"  "H264" ""     "1280x720"  12.5   1_500_000  9.0  "traffic";
    "demo-bridge-cam-12"  "rtsp"   1 "198.51.100.112"  "H264" ""     "1920x1080" 15.0   3_000_000 14.0  "traffic";
    "demo-playout-1"      "rtp"    0 "198.51.100.61"   "MPEG2" "MP2" "720x576"   25.0   5_000_000  1.0  "channel-1";
    "demo-playout-2"      "rtp"    2 "198.51.100.62"   "H264" "AC3"  "1920x1080" 29.97 15_000_000  1.0  "channel-2";
    "demo-gamer-lobby"    "rtmp"   3 "[2001:db8::77]"  "AV1"  "AAC"  "2560x1440" 60.0   7_500_000 33.0  "masters";
};
