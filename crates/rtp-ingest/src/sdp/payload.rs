//! Static payload types (RFC 3551, section 6) and codec names.

use super::{Format, Medium};

/// Returns the medium and format of a static payload type.
pub(super) fn static_assignment(payload_type: u8) -> Option<(Medium, Format)> {
    let (medium, encoding, clock_rate) = match payload_type {
        0 => (Medium::Audio, "PCMU", 8_000),
        3 => (Medium::Audio, "GSM", 8_000),
        4 => (Medium::Audio, "G723", 8_000),
        5 => (Medium::Audio, "DVI4", 8_000),
        6 => (Medium::Audio, "DVI4", 16_000),
        7 => (Medium::Audio, "LPC", 8_000),
        8 => (Medium::Audio, "PCMA", 8_000),
        // G.722 samples at 16 kHz, but its RTP clock rate is 8 kHz. RFC 3551, section 4.5.2 keeps this error of RFC
        // 1890.
        9 => (Medium::Audio, "G722", 8_000),
        10 | 11 => (Medium::Audio, "L16", 44_100),
        12 => (Medium::Audio, "QCELP", 8_000),
        14 => (Medium::Audio, "MPA", 90_000),
        15 => (Medium::Audio, "G728", 8_000),
        16 => (Medium::Audio, "DVI4", 11_025),
        17 => (Medium::Audio, "DVI4", 22_050),
        18 => (Medium::Audio, "G729", 8_000),
        25 => (Medium::Video, "CELB", 90_000),
        26 => (Medium::Video, "JPEG", 90_000),
        28 => (Medium::Video, "NV", 90_000),
        31 => (Medium::Video, "H261", 90_000),
        32 => (Medium::Video, "MPV", 90_000),
        33 => (Medium::Other, "MP2T", 90_000),
        34 => (Medium::Video, "H263", 90_000),
        _ => return None,
    };
    Some((medium, Format { encoding: encoding.to_owned(), clock_rate, ..Format::default() }))
}

/// Converts an encoding name of a session description to the codec name that records show.
pub(super) fn codec(encoding: &str, parameters: &str) -> String {
    let encoding = encoding.to_ascii_uppercase();
    match encoding.as_str() {
        "H265" => "HEVC".to_owned(),
        "H266" => "VVC".to_owned(),
        "MPV" => "MPEG2".to_owned(),
        "MP4V-ES" => "MPEG4".to_owned(),
        "MP4A-LATM" => "AAC".to_owned(),
        "MPEG4-GENERIC" if parameters.to_ascii_lowercase().contains("mode=celp") => "CELP".to_owned(),
        "MPEG4-GENERIC" => "AAC".to_owned(),
        _ => encoding,
    }
}
