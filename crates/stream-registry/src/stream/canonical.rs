//! A fast decoder for canonical JSON, which is exactly what the encoder writes. Nearly all records are canonical.
//!
//! This decoder reads the fields in their fixed order. At the first byte that the encoder would not write there,
//! this decoder gives up, and the general decoder reads the record from the start. So the fast decoder may give up
//! on any record, but must never return a wrong record.

use std::collections::BTreeMap;

use super::Stream;
use super::extra::Extra;
use super::id::StreamId;
use super::kind::StreamType;
use super::limits::MAX_COUNT;
use super::opaque::Epoch;
use super::status::StreamStatus;
use super::time::Timestamp;

/// Decodes canonical JSON. Returns `None` for all other JSON, even if it is a valid record.
///
/// `id` replaces the id in the record. If `id` is `None`, the id in the record is used.
pub(super) fn decode(id: Option<&StreamId>, json: &str) -> Option<Stream> {
    let mut parser = Parser { json, position: 0 };
    parser.literal("{\"id\":")?;
    let own_id = parser.string()?;
    let id = match id {
        Some(id) => id.clone(),
        None => own_id.parse().ok()?,
    };
    parser.literal(",\"type\":")?;
    let kind = StreamType::stored(parser.string()?);
    parser.literal(",\"source_addr\":")?;
    let source_addr = parser.string()?.to_owned();
    parser.literal(",\"status\":")?;
    let status = StreamStatus::stored(parser.string()?);
    parser.literal(",\"created_at\":")?;
    let created_at = Timestamp::from_canonical(parser.string()?)?;
    parser.literal(",\"last_heartbeat\":")?;
    let last_heartbeat = Timestamp::from_canonical(parser.string()?)?;
    parser.literal(",\"video_codec\":")?;
    let video_codec = parser.string()?.to_owned();
    parser.literal(",\"resolution\":")?;
    let resolution = parser.string()?.to_owned();
    parser.literal(",\"bitrate\":")?;
    let bitrate = parser.count()?;
    parser.literal(",\"frame_rate\":")?;
    let frame_rate = parser.float()?;
    parser.literal(",\"bytes_received\":")?;
    let bytes_received = parser.count()?;
    parser.literal(",\"packets_received\":")?;
    let packets_received = parser.count()?;
    parser.literal(",\"packets_lost\":")?;
    let packets_lost = parser.count()?;
    let stream = Stream {
        id,
        kind,
        source_addr,
        status,
        created_at,
        last_heartbeat,
        video_codec,
        resolution,
        bitrate,
        frame_rate,
        bytes_received,
        packets_received,
        packets_lost,
        node: parser.optional(",\"node\":", Parser::filled_string)?,
        epoch: parser.optional(",\"epoch\":", |parser| parser.string()?.parse::<Epoch>().ok())?,
        labels: parser.optional(",\"labels\":", Parser::labels)?.unwrap_or_default(),
        audio_codec: parser.optional(",\"audio_codec\":", Parser::filled_string)?,
        rtt_ms: parser.optional(",\"rtt_ms\":", Parser::float)?,
        jitter_ms: parser.optional(",\"jitter_ms\":", Parser::float)?,
        packets_retransmitted: parser.optional(",\"packets_retransmitted\":", Parser::count)?,
        packets_dropped: parser.optional(",\"packets_dropped\":", Parser::count)?,
        viewers: parser.optional(",\"viewers\":", Parser::count)?,
        end_reason: parser.optional(",\"end_reason\":", Parser::filled_string)?,
        extra: Extra::default(),
    };
    parser.literal("}")?;
    (parser.position == json.len()).then_some(stream)
}

struct Parser<'a> {
    json: &'a str,
    position: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.json.as_bytes()[self.position..]
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.rest().starts_with(literal.as_bytes()).then(|| self.position += literal.len())
    }

    /// Reads an optional field: `Some(None)` if it is missing, `None` if its value is not canonical.
    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.literal(name).is_none() {
            return Some(None);
        }
        read(self).map(Some)
    }

    /// Reads a string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.literal("\"")?;
        let end = self.rest().iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        let value = self.json.get(self.position..self.position + end)?;
        self.position += end;
        self.literal("\"")?;
        Some(value)
    }

    /// Reads an optional string. An empty string is not canonical, because the encoder omits it.
    fn filled_string(&mut self) -> Option<String> {
        self.string().filter(|string| !string.is_empty()).map(str::to_owned)
    }

    /// Reads the characters that can occur in a number, even if they do not form a valid number.
    fn number(&mut self) -> &'a str {
        let len = self
            .rest()
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            .count();
        let number = &self.json[self.position..self.position + len];
        self.position += len;
        number
    }

    fn count(&mut self) -> Option<u64> {
        let digits = self.number();
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|count| plain && *count <= MAX_COUNT)
    }

    fn float(&mut self) -> Option<f64> {
        let number = self.number();
        let plain = number.starts_with(|first: char| first.is_ascii_digit())
            && (!number.starts_with('0') || number == "0" || number.starts_with("0."))
            && number.ends_with(|last: char| last.is_ascii_digit())
            && !number.contains(".e")
            && !number.contains(".E");
        number.parse().ok().filter(|value: &f64| plain && value.is_finite())
    }

    fn labels(&mut self) -> Option<BTreeMap<String, String>> {
        self.literal("{")?;
        let mut labels = BTreeMap::new();
        loop {
            let name = self.string()?.to_owned();
            self.literal(":")?;
            labels.insert(name, self.string()?.to_owned());
            if self.literal("}").is_some() {
                return Some(labels);
            }
            self.literal(",")?;
        }
    }
}
