//! Session descriptions (RFC 8866), read leniently: what a stream is, by its payload type.

mod file;
mod payload;

pub use file::SdpFile;

use std::collections::BTreeMap;

/// The most bytes that a description may have.
pub const MAX_SDP_BYTES: usize = 64 * 1024;
/// The most bytes of a text that is taken over.
const MAX_NAME_BYTES: usize = 64;

/// What a session description says about the media that come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sdp {
    media: Vec<Media>,
}

/// What a payload type is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The codec of a video, `H264` say; empty when it is none or unknown.
    pub video_codec: String,
    /// The codec of sound, `OPUS` say; empty when it is none or unknown.
    pub audio_codec: String,
    /// Width and height, `1920x1080` say; empty when unknown.
    pub resolution: String,
    /// Frames per second; 0 when unknown.
    pub frame_rate: f64,
    /// Units of the timestamp in a second; 0 when unknown.
    pub clock_rate: u32,
}

/// One `m=` section.
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

/// A payload type within its section.
#[derive(Clone, Debug, Default, PartialEq)]
struct Format {
    encoding: String,
    clock_rate: u32,
    resolution: String,
    parameters: String,
}

impl Sdp {
    /// Reads a session description. What is not understood is passed over: a text that is none has no media.
    pub fn parse(text: &str) -> Self {
        let mut media: Vec<Media> = Vec::new();
        for line in text.lines() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix("m=") {
                media.push(Media::parse(section));
            } else if let (Some(attribute), Some(section)) = (line.strip_prefix("a="), media.last_mut()) {
                let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
                section.attribute(name.trim(), value.trim());
            }
        }
        Self { media }
    }

    /// Returns whether no media are described.
    pub fn is_empty(&self) -> bool {
        self.media.is_empty()
    }

    /// Says what a payload type is, from the section for this port if one has it, else from any;
    /// without one, the payload types that are fixed for everybody (RFC 3551).
    pub fn describe(&self, payload_type: u8, port: u16) -> Description {
        let described = |media: &&Media| media.formats.get(&payload_type).is_some_and(|f| !f.encoding.is_empty());
        let on_port = self.media.iter().filter(|media| media.port == port).find(described);
        if let Some(media) = on_port.or_else(|| self.media.iter().find(described)) {
            return media.describe(payload_type);
        }
        match payload::well_known(payload_type) {
            Some((medium, format)) => describe(medium, &format),
            None => Description::default(),
        }
    }
}

impl Media {
    /// Reads `video 5004/2 RTP/AVP 96 97`.
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
            Some((payload_type, payload::well_known(payload_type).map(|(_, format)| format).unwrap_or_default()))
        });
        Self { medium, port, frame_rate: 0.0, resolution: String::new(), formats: formats.collect() }
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let payload_type = value.split_ascii_whitespace().next().and_then(|word| word.parse::<u8>().ok());
        let rest = value.split_once(|c: char| c.is_ascii_whitespace()).map_or("", |(_, rest)| rest.trim());
        match (name.to_ascii_lowercase().as_str(), payload_type) {
            ("framerate" | "x-framerate", _) => self.frame_rate = frame_rate(value).unwrap_or(self.frame_rate),
            // QuickTime's, for the whole section.
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
            ("fmtp", Some(number)) if number < 128 => self.parameters(number, rest),
            _ => {}
        }
    }

    /// Takes size and frame rate from a format's parameters, where raw video has them (RFC 4175, SMPTE ST 2110-20).
    fn parameters(&mut self, number: u8, list: &str) {
        let parameter = |wanted: &str| {
            list.split(';')
                .filter_map(|part| part.split_once('='))
                .find_map(|(name, value)| name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim()))
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
    // A transport stream comes as video and holds anything: its own name is no codec.
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

/// A name as RFC 8866 has them: visible ASCII, and not a page of it.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads `25`, `29.97` and `30000/1001`.
fn frame_rate(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
    let rate = match text.split_once('/') {
        Some((above, below)) => number(above)? / number(below)?,
        None => number(text)?,
    };
    ((0.001..=100_000.0).contains(&rate)).then_some(rate)
}

/// Reads `320-240` (3GPP TS 26.234), `320x240` and `320,240` (QuickTime); writes `320x240`.
fn resolution(text: &str) -> Option<String> {
    let (width, height) = text.split_once(['-', 'x', 'X', ','])?;
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=65_536).contains(n));
    Some(format!("{}x{}", number(width)?, number(height)?))
}

#[cfg(test)]
mod tests;
