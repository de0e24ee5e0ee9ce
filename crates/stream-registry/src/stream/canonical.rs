//! The quick way to read a record in our own spelling, as nearly all are.
//!
//! It reads the fields in their order and gives up at the first byte that is not as our encoder writes it:
//! then the general decoder takes the text from the start. So it may be picky, and must never guess.

use std::collections::BTreeMap;

use super::limits::MAX_COUNT;
use super::record::Extra;
use super::{Epoch, Stream, StreamId, StreamStatus, StreamType, Timestamp};

/// Reads a record that is written exactly as our encoder does; `None` says nothing about any other.
///
/// Where no key says the id, the record has to.
pub(super) fn decode(id: Option<&StreamId>, text: &str) -> Option<Stream> {
    let mut at = Cursor { text, place: 0 };
    at.literal("{\"id\":")?;
    let own = at.string()?;
    let id = match id {
        Some(id) => id.clone(),
        None => own.parse().ok()?,
    };
    at.literal(",\"type\":")?;
    let kind = StreamType::stored(at.string()?);
    at.literal(",\"source_addr\":")?;
    let source_addr = at.string()?.to_owned();
    at.literal(",\"status\":")?;
    let status = StreamStatus::stored(at.string()?);
    at.literal(",\"created_at\":")?;
    let created_at = Timestamp::from_canonical(at.string()?)?;
    at.literal(",\"last_heartbeat\":")?;
    let last_heartbeat = Timestamp::from_canonical(at.string()?)?;
    at.literal(",\"video_codec\":")?;
    let video_codec = at.string()?.to_owned();
    at.literal(",\"resolution\":")?;
    let resolution = at.string()?.to_owned();
    at.literal(",\"bitrate\":")?;
    let bitrate = at.count()?;
    at.literal(",\"frame_rate\":")?;
    let frame_rate = at.float()?;
    at.literal(",\"bytes_received\":")?;
    let bytes_received = at.count()?;
    at.literal(",\"packets_received\":")?;
    let packets_received = at.count()?;
    at.literal(",\"packets_lost\":")?;
    let packets_lost = at.count()?;
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
        node: at.optional(",\"node\":", Cursor::filled)?,
        epoch: at.optional(",\"epoch\":", |at| at.string()?.parse::<Epoch>().ok())?,
        labels: at.optional(",\"labels\":", Cursor::labels)?.unwrap_or_default(),
        audio_codec: at.optional(",\"audio_codec\":", Cursor::filled)?,
        rtt_ms: at.optional(",\"rtt_ms\":", Cursor::float)?,
        jitter_ms: at.optional(",\"jitter_ms\":", Cursor::float)?,
        packets_retransmitted: at.optional(",\"packets_retransmitted\":", Cursor::count)?,
        packets_dropped: at.optional(",\"packets_dropped\":", Cursor::count)?,
        viewers: at.optional(",\"viewers\":", Cursor::count)?,
        end_reason: at.optional(",\"end_reason\":", Cursor::filled)?,
        extra: Extra::default(),
    };
    at.literal("}")?;
    (at.place == text.len()).then_some(stream)
}

struct Cursor<'a> {
    text: &'a str,
    place: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.place..]
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.rest().starts_with(literal.as_bytes()).then(|| self.place += literal.len())
    }

    /// A field that may be missing: `Some(None)` then, `None` where what stands there is not as we write it.
    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.literal(name).is_none() {
            return Some(None);
        }
        read(self).map(Some)
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.literal("\"")?;
        let end = self.rest().iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        let value = self.text.get(self.place..self.place + end)?;
        self.place += end;
        self.literal("\"")?;
        Some(value)
    }

    /// An optional text, which we never write empty.
    fn filled(&mut self) -> Option<String> {
        self.string().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The bytes of a number.
    fn number(&mut self) -> &'a str {
        let len = self
            .rest()
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            .count();
        let number = &self.text[self.place..self.place + len];
        self.place += len;
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

#[cfg(test)]
mod tests {
    use super::super::{encode, record};
    use super::*;

    const PLAIN: &str = r#"{"id":"a","type":"srt","source_addr":"[::1]:5","status":"active","created_at":"2026-11-22T14:08:10.921427415Z","last_heartbeat":"2026-11-22T14:08:11.000000000Z","video_codec":"HEVC","resolution":"1920x1080","bitrate":5000000,"frame_rate":59.94,"bytes_received":9223372036854775807,"packets_received":1,"packets_lost":0"#;

    /// Every text that is read the quick way reads alike the general way, and those of our spelling are.
    #[test]
    fn agrees_with_the_general_decoder() {
        let id: StreamId = "a".parse().unwrap();
        let mut quick = 0;
        for tail in [
            "}",
            r#","node":"n"}"#,
            r#","epoch":"e","labels":{"k":"v","l":""},"rtt_ms":1.5,"viewers":7,"end_reason":"x"}"#,
            r#","audio_codec":"AAC","jitter_ms":0,"packets_retransmitted":1,"packets_dropped":2}"#,
            r#","node":""}"#,
            r#","node":5}"#,
            r#","labels":{}}"#,
            r#","labels":{"k":1}}"#,
            r#","x":1}"#,
            r#","node":"n","node":"m"}"#,
            r#","rtt_ms":-1}"#,
            r#","viewers":1e3}"#,
            r#","viewers":01}"#,
            "} ",
            "",
            "}}",
            r#","packets_lost":3}"#,
            r#","epoch":"a b"}"#,
            r#","labels":{"k":"v","k":"w"}}"#,
            r#","rtt_ms":1e999}"#,
            r#","rtt_ms":1.}"#,
            r#","rtt_ms":01}"#,
            r#","rtt_ms":1.E5}"#,
            r#","rtt_ms":1E5}"#,
        ] {
            let text = format!("{PLAIN}{tail}");
            let general = record::decode_general(&id, &text);
            if let Some(read) = decode(Some(&id), &text) {
                quick += 1;
                assert_eq!(read, general.unwrap(), "{text}");
                assert_eq!(
                    encode::encode(&read),
                    encode::encode(&record::decode_general(&id, &text).unwrap()),
                    "{text}"
                );
            }
        }
        assert!(quick >= 4, "the quick way reads our own spelling");
        for (from, to) in [
            ("\"srt\"", "\"a\\u0062\""),
            ("5000000", "5e6"),
            ("5000000", "-5"),
            ("59.94", "\"59.94\""),
            ("Z\",\"last", "+00:00\",\"last"),
            ("2026-11-22T14:08:10", "2026-02-30T14:08:10"),
            ("2026-11-22T14:08:10", "2026-11-22T14:08:60"),
            ("HEVC", "HE\u{1}VC"),
            ("9223372036854775807", "9223372036854775808"),
            ("\"type\"", "\"typ\""),
        ] {
            let text = format!("{}}}", PLAIN.replacen(from, to, 1));
            assert_ne!(text, format!("{PLAIN}}}"));
            assert!(decode(Some(&id), &text).is_none(), "{text}");
        }
    }
}
