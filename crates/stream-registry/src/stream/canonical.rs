//! A fast decoder for canonical JSON, which is exactly what the encoder writes. Nearly all records are canonical.
//!
//! This decoder reads the fields in their fixed order. At the first byte that the encoder would not write there,
//! this decoder gives up, and the general decoder reads the record from the start. So the fast decoder may give up
//! on any record, but must never return a wrong record.

use std::collections::BTreeMap;

use super::Stream;
use super::encode::push_json_float;
use super::extra::Extra;
use super::id::StreamId;
use super::kind::StreamType;
use super::limits::MAX_COUNT;
use super::opaque::Epoch;
use super::stats::StreamStats;
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

/// Returns canonical JSON after a heartbeat or statistics of the holder of a lease. All other values stay byte for byte.
///
/// Returns `None` if the JSON is not canonical, if the record has another epoch, or for statistics that only some
/// records have. The caller then decodes and encodes the record, which takes several times as many instructions.
pub(crate) fn splice(json: &str, epoch: &Epoch, stats: &StreamStats, now: Timestamp) -> Option<String> {
    // The pattern is exhaustive, so that the compiler reports a new statistic.
    let StreamStats {
        bytes_received,
        packets_received,
        packets_lost,
        bitrate,
        frame_rate,
        rtt_ms: None,
        jitter_ms: None,
        packets_retransmitted: None,
        packets_dropped: None,
        viewers: None,
    } = *stats
    else {
        return None;
    };
    let mut parser = Parser { json, position: 0 };
    for name in ["{\"id\":", ",\"type\":", ",\"source_addr\":", ",\"status\":", ",\"created_at\":"] {
        parser.literal(name)?;
        parser.string()?;
    }
    parser.literal(",\"last_heartbeat\":")?;
    let mut spliced = String::with_capacity(json.len() + 64);
    spliced.push_str(&json[..parser.position]);
    spliced.push('"');
    now.append_to(&mut spliced);
    spliced.push('"');
    parser.string()?;
    let kept = parser.position;
    for name in [",\"video_codec\":", ",\"resolution\":"] {
        parser.literal(name)?;
        parser.string()?;
    }
    spliced.push_str(&json[kept..parser.position]);
    let push_count = |spliced: &mut String, count| spliced.push_str(itoa::Buffer::new().format::<u64>(count));
    parser.replace(&mut spliced, ",\"bitrate\":", bitrate, push_count)?;
    parser.replace(&mut spliced, ",\"frame_rate\":", frame_rate, push_json_float)?;
    parser.replace(&mut spliced, ",\"bytes_received\":", bytes_received, push_count)?;
    parser.replace(&mut spliced, ",\"packets_received\":", packets_received, push_count)?;
    parser.replace(&mut spliced, ",\"packets_lost\":", packets_lost, push_count)?;
    spliced.push_str(&json[parser.position..]);
    // The rest must be canonical, because a field that occurs twice could change a value above.
    parser.optional(",\"node\":", Parser::string)?;
    parser.literal(",\"epoch\":")?;
    if parser.string()? != epoch.as_str() {
        return None;
    }
    parser.optional(",\"labels\":", |parser| parser.labels(|_, _| {}))?;
    parser.optional(",\"audio_codec\":", Parser::string)?;
    for name in
        [",\"rtt_ms\":", ",\"jitter_ms\":", ",\"packets_retransmitted\":", ",\"packets_dropped\":", ",\"viewers\":"]
    {
        parser.optional(name, |parser| Some(parser.number()))?;
    }
    parser.optional(",\"end_reason\":", Parser::string)?;
    parser.literal("}")?;
    (parser.position == json.len()).then_some(spliced)
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

    /// Reads a field with a number, and appends it to `out` with its new value, or unchanged if there is none.
    fn replace<T>(&mut self, out: &mut String, name: &str, new: Option<T>, push: fn(&mut String, T)) -> Option<()> {
        let start = self.position;
        self.literal(name)?;
        self.number();
        match new {
            Some(new) => {
                out.push_str(name);
                push(out, new);
            }
            None => out.push_str(&self.json[start..self.position]),
        }
        Some(())
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
    fn splice_agrees_with_decoding_and_encoding() {
        let id = "cam".parse().unwrap();
        let epoch = "0005-aa".parse().unwrap();
        let now = "2030-01-01T00:00:00.000000001Z".parse().unwrap();
        let minimal = r#"{"id":"cam","type":"srt","source_addr":"h:1","status":"active","created_at":"2026-11-30T10:00:00.000000000Z","last_heartbeat":"2026-11-30T10:00:00.000000000Z","video_codec":"","resolution":"","bitrate":0,"frame_rate":29.97,"bytes_received":1,"packets_received":2,"packets_lost":3,"epoch":"0005-aa"}"#;
        let full = minimal.replace(r#","epoch":"0005-aa"}"#, r#","node":"n","epoch":"0005-aa","labels":{"a":"b","bitrate":"5"},"audio_codec":"AAC","rtt_ms":1.5,"jitter_ms":0.25,"packets_retransmitted":4,"packets_dropped":5,"viewers":6,"end_reason":"over"}"#);
        let totals = StreamStats {
            bytes_received: Some(u64::MAX / 2),
            packets_received: Some(0),
            packets_lost: Some(10),
            bitrate: Some(5_000_000),
            ..StreamStats::default()
        };
        let all = StreamStats { frame_rate: Some(50.0), ..totals };
        for json in [minimal, &full] {
            for stats in [StreamStats::default(), totals.clone(), all.clone()] {
                let mut expected = decode(Some(&id), json).unwrap();
                expected.update_stats(&stats);
                expected.last_heartbeat = now;
                assert_eq!(splice(json, &epoch, &stats, now).unwrap(), expected.to_stored_json());
            }
            let viewers = StreamStats { viewers: Some(7), ..StreamStats::default() };
            assert_eq!(splice(json, &epoch, &viewers, now), None);
            assert_eq!(splice(json, &"0005-ab".parse().unwrap(), &totals, now), None, "another lease");
            // A duplicate or unknown field, a field in another place, an escape, a space, and a missing part.
            for changed in [
                json.replace(r#"}"#, r#","bitrate":7}"#),
                json.replace(r#"}"#, r#","rack":7}"#),
                json.replace(r#","epoch":"0005-aa""#, ""),
                json.replace(r#""id":"cam","type":"srt""#, r#""type":"srt","id":"cam""#),
                json.replace("h:1", "h\\u003a1"),
                json.replace(r#","video"#, r#", "video"#),
                json.replace(r#""bitrate":0"#, r#""bitrate":null"#),
                json[..json.len() - 1].to_owned(),
                format!("{json} "),
            ] {
                assert_eq!(splice(&changed, &epoch, &totals, now), None, "{changed}");
            }
        }
    }

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
