//! Parses session descriptions (SDP, RFC 8866) leniently and maps payload types to codecs.
//!
//! The README explains why this module does not use the crate `sdp-types`.

mod file;
mod payload;

pub use file::SdpFile;

use std::collections::BTreeMap;

/// Maximum size of a description in bytes.
pub const MAX_SDP_BYTES: usize = 64 * 1024;
/// Maximum length of an encoding name in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A parsed session description: a list of media sections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sdp {
    media: Vec<Media>,
}

/// Properties of a payload type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// Video codec, e.g. `H264`; empty if unknown or not video.
    pub video_codec: String,
    /// Audio codec, e.g. `OPUS`; empty if unknown or not audio.
    pub audio_codec: String,
    /// Width and height, e.g. `1920x1080`; empty if unknown.
    pub resolution: String,
    /// Frames per second; 0 if unknown.
    pub frame_rate: f64,
    /// Timestamp units per second; 0 if unknown.
    pub clock_rate: u32,
}

/// A media section, which begins with `m=`.
#[derive(Clone, Debug, PartialEq)]
struct Media {
    medium: Medium,
    port: u16,
    frame_rate: f64,
    resolution: String,
    formats: BTreeMap<u8, Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Video,
    Audio,
    Other,
}

/// A payload type within its media section.
#[derive(Clone, Debug, Default, PartialEq)]
struct Format {
    encoding: String,
    clock_rate: u32,
    resolution: String,
    parameters: String,
}

impl Sdp {
    /// Parses a session description. Unknown and invalid lines are skipped; without a valid `m=` line, the result is empty.
    pub fn parse(sdp: &str) -> Self {
        let mut media: Vec<Media> = Vec::new();
        for line in sdp.lines() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix("m=") {
                media.push(Media::parse(section));
            } else if let (Some(attribute), Some(section)) = (line.strip_prefix("a="), media.last_mut()) {
                let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
                section.add_attribute(name.trim(), value.trim());
            }
        }
        Self { media }
    }

    /// Returns whether the description has no media section.
    pub fn is_empty(&self) -> bool {
        self.media.is_empty()
    }

    /// Returns the properties of a payload type.
    ///
    /// A media section for `port` takes precedence over other sections. If no section describes the payload type, its
    /// static assignment applies (RFC 3551, section 6).
    pub fn describe(&self, payload_type: u8, port: u16) -> Description {
        let described = |media: &&Media| media.formats.get(&payload_type).is_some_and(|f| !f.encoding.is_empty());
        let on_port = self.media.iter().filter(|media| media.port == port).find(described);
        if let Some(media) = on_port.or_else(|| self.media.iter().find(described)) {
            return media.describe(payload_type);
        }
        match payload::static_assignment(payload_type) {
            Some((medium, format)) => describe(medium, &format),
            None => Description::default(),
        }
    }
}

impl Media {
    /// Parses the value of an `m=` line, e.g. `video 5004/2 RTP/AVP 96 97`.
    fn parse(section: &str) -> Self {
        let mut words = section.split_ascii_whitespace();
        let medium = match words.next() {
            Some("video") => Medium::Video,
            Some("audio") => Medium::Audio,
            _ => Medium::Other,
        };
        let port = words.next().and_then(|port| port.split('/').next()?.parse().ok()).unwrap_or(0);
        let formats = words.skip(1).filter_map(|word| {
            let payload_type = word.parse().ok().filter(|number| *number < 128)?;
            Some((payload_type, payload::static_assignment(payload_type).map(|(_, format)| format).unwrap_or_default()))
        });
        Self { medium, port, frame_rate: 0.0, resolution: String::new(), formats: formats.collect() }
    }

    fn add_attribute(&mut self, name: &str, value: &str) {
        let payload_type = value.split_ascii_whitespace().next().and_then(|word| word.parse::<u8>().ok());
        let rest = value.split_once(|c: char| c.is_ascii_whitespace()).map_or("", |(_, rest)| rest.trim());
        match (name.to_ascii_lowercase().as_str(), payload_type) {
            ("framerate" | "x-framerate", _) => self.frame_rate = frame_rate(value).unwrap_or(self.frame_rate),
            // `x-dimensions` is an attribute of QuickTime. It applies to the whole media section.
            ("x-dimensions", _) => self.resolution = resolution(value).unwrap_or_default(),
            ("framesize", Some(number)) if number < 128 => {
                self.formats.entry(number).or_default().resolution = resolution(rest).unwrap_or_default();
            }
            ("rtpmap", Some(number)) if number < 128 => {
                let mut parts = rest.split('/');
                let encoding = parts.next().unwrap_or_default().trim();
                let format = self.formats.entry(number).or_default();
                format.encoding = if is_name(encoding) { encoding.to_owned() } else { String::new() };
                format.clock_rate = parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(0);
            }
            ("fmtp", Some(number)) if number < 128 => self.add_parameters(number, rest),
            _ => {}
        }
    }

    /// Reads the resolution and frame rate of raw video from format parameters (RFC 4175, SMPTE ST 2110-20).
    fn add_parameters(&mut self, number: u8, list: &str) {
        let parameter = |key: &str| {
            list.split(';')
                .filter_map(|part| part.split_once('='))
                .find_map(|(name, value)| name.trim().eq_ignore_ascii_case(key).then(|| value.trim()))
        };
        let rate = parameter("exactframerate").or_else(|| parameter("framerate")).and_then(frame_rate);
        self.frame_rate = rate.unwrap_or(self.frame_rate);
        let format = self.formats.entry(number).or_default();
        if let (Some(width), Some(height)) = (parameter("width"), parameter("height")) {
            format.resolution = resolution(&format!("{width}x{height}")).unwrap_or_default();
        }
        list.clone_into(&mut format.parameters);
    }

    fn describe(&self, payload_type: u8) -> Description {
        let mut description = self.formats.get(&payload_type).map(|f| describe(self.medium, f)).unwrap_or_default();
        if self.medium == Medium::Video {
            description.frame_rate = self.frame_rate;
            if description.resolution.is_empty() {
                description.resolution.clone_from(&self.resolution);
            }
        }
        description
    }
}

fn describe(medium: Medium, format: &Format) -> Description {
    let codec = payload::codec(&format.encoding, &format.parameters);
    // SDP declares every MPEG transport stream as video. The codecs inside the transport stream are therefore unknown.
    let (video_codec, audio_codec) = match medium {
        _ if codec == "MP2T" => (String::new(), String::new()),
        Medium::Video => (codec, String::new()),
        Medium::Audio => (String::new(), codec),
        Medium::Other => (String::new(), String::new()),
    };
    Description {
        video_codec,
        audio_codec,
        resolution: format.resolution.clone(),
        frame_rate: 0.0,
        clock_rate: format.clock_rate,
    }
}

/// Returns whether a name consists of visible ASCII characters (RFC 8866, section 9) and at most 64 bytes long.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Parses a frame rate such as `25`, `29.97` or `30000/1001`.
fn frame_rate(value: &str) -> Option<f64> {
    let number = |digits: &str| digits.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
    let rate = match value.split_once('/') {
        Some((numerator, denominator)) => number(numerator)? / number(denominator)?,
        None => number(value)?,
    };
    ((0.001..=100_000.0).contains(&rate)).then_some(rate)
}

/// Parses a resolution such as `320-240` (3GPP TS 26.234), `320x240` or `320,240` (QuickTime) and returns `320x240`.
fn resolution(value: &str) -> Option<String> {
    let (width, height) = value.split_once(['-', 'x', 'X', ','])?;
    let number = |digits: &str| digits.trim().parse::<u32>().ok().filter(|n| (1..=65_536).contains(n));
    Some(format!("{}x{}", number(width)?, number(height)?))
}

#[cfg(test)]
mod tests;
