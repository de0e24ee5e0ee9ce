//! One spelling for types and codecs that servers name differently.

use stream_registry::StreamType;
use stream_registry::stream::limits::MAX_COUNT;

/// Returns the type of this name. A name that cannot be a type becomes `unknown`.
pub(crate) fn stream_type(name: &str) -> StreamType {
    name.parse().or_else(|_| "unknown".parse()).unwrap_or(StreamType::Rtp)
}

/// Returns the usual name of a codec; empty if the server does not know the codec.
pub(crate) fn codec(name: &str) -> &str {
    match name {
        "h264" => "H264",
        "HEVC" | "hevc" | "h265" => "H265",
        "MPEG-4 Audio" | "MPEG-4 Audio LATM" | "mpeg4-generic" | "MPEG4-GENERIC" | "aac" => "AAC",
        "Other" => "",
        other => other,
    }
}

/// Returns width and height as one string; empty if one of them is unknown.
pub(crate) fn resolution(width: Option<u64>, height: Option<u64>) -> String {
    match (width, height) {
        (Some(width @ 1..), Some(height @ 1..)) => format!("{width}x{height}"),
        _ => String::new(),
    }
}

/// Converts a rate to bits per second. A rate of 0 is `None`, because servers send 0 until they have measured.
pub(crate) fn bitrate(rate: Option<f64>, bits_per_unit: f64) -> Option<u64> {
    // The conversion of a float saturates.
    let bits = (rate? * bits_per_unit).round() as u64;
    (1..=MAX_COUNT).contains(&bits).then_some(bits)
}
