//! A fast decoder for canonical JSON, which is exactly what the encoder writes. Nearly all records are canonical.
//!
//! This decoder reads the fields in their fixed order. At the first byte that the encoder would not write there,
//! this decoder gives up, and the general decoder reads the record from the start. So the fast decoder may give up
//! on any record, but must never return a wrong record.

#[cfg(feature = "redis")]
pub(crate) mod splice;

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
    let node = parser.optional(",\"node\":", Parser::filled_string)?;
    let epoch = parser.optional(",\"epoch\":", |parser| parser.string()?.parse::<Epoch>().ok())?;
    let mut labels = BTreeMap::new();
    parser.optional(",\"labels\":", |parser| {
        parser.labels(|name, value| drop(labels.insert(name.to_owned(), value.to_owned())))
    })?;
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
        node,
        epoch,
        labels,
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

/// Returns the number of bytes before the first quote, backslash or control character.
fn plain_len(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Sets the high bit of each byte of `word` that is less than `limit`. Higher bytes than the first such byte may be
    // wrong. For the technique, see "Bit Twiddling Hacks" by Sean Eron Anderson, "hasless".
    let less = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let (words, tail) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = less(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = less(word ^ (ONES * u64::from(b'\\')), 1);
        let ends = quote | backslash | less(word, 0x20);
        if ends != 0 {
            return Some(index * 8 + ends.trailing_zeros() as usize / 8);
        }
    }
    let end = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(words.len() * 8 + end)
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
        let end = plain_len(self.rest())?;
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
        let rest = self.rest();
        let (mut count, mut len) = (0_u64, 0);
        while let Some(digit) = rest.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
            count = count.checked_mul(10)?.checked_add(digit.into())?;
            len += 1;
        }
        self.position += len;
        let plain = len == 1 || len > 1 && rest[0] != b'0';
        (plain && count <= MAX_COUNT).then_some(count)
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

    /// Reads labels, and calls `each` with the name and the value of each label.
    fn labels(&mut self, mut each: impl FnMut(&str, &str)) -> Option<()> {
        self.literal("{")?;
        loop {
            let name = self.string()?;
            self.literal(":")?;
            each(name, self.string()?);
            if self.literal("}").is_some() {
                return Some(());
            }
            self.literal(",")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_len_finds_first_special_byte_at_every_position() {
        for end in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for len in 0..40 {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    let mut bytes = vec![filler; 48];
                    bytes[len] = end;
                    bytes[len + 1..].fill(b'"');
                    assert_eq!(plain_len(&bytes), Some(len), "{end} after {filler}");
                    assert_eq!(plain_len(&bytes[..len]), None, "{filler}");
                }
            }
        }
    }
}
