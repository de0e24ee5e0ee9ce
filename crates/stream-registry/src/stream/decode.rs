//! The decoder of the record.
//!
//! A record that a store holds is read leniently: unknown fields and nonconforming values are kept in [`Extra`]. A
//! record that a caller gives is read strictly: a nonconforming value is an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::extra::Extra;
use super::id::{StreamId, generate_stream_id};
use super::invalid::{InvalidValue, Result, brief};
use super::kind::StreamType;
use super::limits::MAX_LEVELS;
use super::opaque::Epoch;
use super::status::StreamStatus;
use super::time::Timestamp;
use super::{Stream, canonical, check, lenient};

/// How nonconforming values of a record are treated.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// For a record that a store holds: a nonconforming value is kept.
    Lenient,
    /// For a record from a caller: a nonconforming value is an error.
    Strict,
}

/// The names of all known fields, in the order in which the encoder writes them.
pub(crate) const NAMES: [&str; 23] = [
    "id",
    "type",
    "source_addr",
    "status",
    "created_at",
    "last_heartbeat",
    "video_codec",
    "resolution",
    "bitrate",
    "frame_rate",
    "bytes_received",
    "packets_received",
    "packets_lost",
    "node",
    "epoch",
    "labels",
    "audio_codec",
    "rtt_ms",
    "jitter_ms",
    "packets_retransmitted",
    "packets_dropped",
    "viewers",
    "end_reason",
];

/// The raw JSON of each field. If a name occurs twice, the last value counts, as in other decoders.
#[derive(Default)]
struct Fields<'a> {
    known: [Option<&'a RawValue>; NAMES.len()],
    unknown: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        NAMES.iter().position(|known| *known == name).and_then(|index| self.known[index])
    }
}

/// The name of a field, borrowed from the input if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        // Most records have their fields in the order of `NAMES`, so each search starts where the previous search
        // ended.
        let mut next = 0;
        while let Some(Name(name)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            let found = (next..NAMES.len()).chain(0..next).find(|&index| NAMES[index] == name);
            match found {
                Some(index) => {
                    fields.known[index] = Some(raw);
                    next = index + 1;
                }
                None => fields.unknown.push((name, raw)),
            }
        }
        Ok(fields)
    }
}

fn parse(json: &str) -> std::result::Result<Fields<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let fields = deserializer.deserialize_map(FieldsVisitor)?;
    deserializer.end()?;
    let unknown = fields.unknown.iter().map(|(_, raw)| *raw);
    if fields.known.iter().flatten().copied().chain(unknown).any(|raw| lenient::levels(raw.get()) >= MAX_LEVELS) {
        return Err(serde_json::Error::custom(format!("more than {MAX_LEVELS} nested levels")));
    }
    Ok(fields)
}

/// Reads fields one by one and collects the nonconforming values.
struct Reader<'a> {
    fields: Fields<'a>,
    mode: Mode,
    nonconforming: Vec<(&'static str, Box<RawValue>)>,
}

impl<'a> Reader<'a> {
    /// Reads a field with one of the functions of [`lenient`].
    fn field<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        default: T,
        read: impl FnOnce(&'a str) -> Option<(T, bool)>,
    ) -> Result<T> {
        let Some(raw) = self.fields.get(name).filter(|raw| raw.get() != "null") else { return Ok(default) };
        match (read(raw.get()), self.mode) {
            (Some((value, true)), _) => Ok(value),
            (_, Mode::Strict) => Err(InvalidValue::new(format!("{name} must be {expected}"))),
            (nearest, Mode::Lenient) => {
                self.nonconforming.push((name, raw.to_owned()));
                Ok(nearest.map_or(default, |(value, _)| value))
            }
        }
    }

    fn borrowed_string(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>> {
        self.field(name, "a string", None, |raw| Some((Some(lenient::string(raw)?), true)))
    }

    fn string(&mut self, name: &'static str) -> Result<String> {
        Ok(self.borrowed_string(name)?.map_or_else(String::new, Cow::into_owned))
    }

    fn optional_string(&mut self, name: &'static str) -> Result<Option<String>> {
        Ok(self.borrowed_string(name)?.filter(|string| !string.is_empty()).map(Cow::into_owned))
    }

    fn optional_count(&mut self, name: &'static str) -> Result<Option<u64>> {
        let mode = self.mode;
        self.field(name, "a whole number from 0 to 2^63 - 1", None, |raw| match mode {
            Mode::Strict => Some((Some(lenient::given_count(name, raw)?), true)),
            Mode::Lenient => lenient::count(raw).map(|(value, exact)| (Some(value), exact)),
        })
    }

    fn count(&mut self, name: &'static str) -> Result<u64> {
        Ok(self.optional_count(name)?.unwrap_or(0))
    }

    fn optional_float(&mut self, name: &'static str) -> Result<Option<f64>> {
        self.field(name, "a finite number of at least 0", None, |raw| {
            lenient::float(raw).map(|(value, exact)| (Some(value), exact))
        })
    }

    fn time(&mut self, name: &'static str, default: Timestamp) -> Result<Timestamp> {
        self.field(name, "an RFC 3339 timestamp such as 2026-11-22T14:08:10Z", default, lenient::time)
    }

    fn epoch(&mut self) -> Result<Option<Epoch>> {
        self.field("epoch", "a string of visible ASCII characters", None, |raw| {
            Some(lenient::string(raw)?.parse::<Epoch>().map_or((None, false), |epoch| (Some(epoch), true)))
        })
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>> {
        self.field("labels", "an object of strings", BTreeMap::new(), lenient::labels)
    }
}

fn read(fields: Fields<'_>, mode: Mode, id: StreamId) -> Result<Stream> {
    let default_time = match mode {
        Mode::Lenient => Timestamp::ZERO,
        Mode::Strict => Timestamp::now(),
    };
    let mut reader = Reader { fields, mode, nonconforming: Vec::new() };
    let mut stream = Stream {
        id,
        kind: StreamType::stored(&reader.borrowed_string("type")?.unwrap_or_default()),
        source_addr: reader.string("source_addr")?,
        status: match reader.borrowed_string("status")? {
            None if mode == Mode::Strict => StreamStatus::Connecting,
            status => StreamStatus::stored(&status.unwrap_or_default()),
        },
        created_at: reader.time("created_at", default_time)?,
        last_heartbeat: reader.time("last_heartbeat", default_time)?,
        video_codec: reader.string("video_codec")?,
        resolution: reader.string("resolution")?,
        bitrate: reader.count("bitrate")?,
        frame_rate: reader.optional_float("frame_rate")?.unwrap_or(0.0),
        bytes_received: reader.count("bytes_received")?,
        packets_received: reader.count("packets_received")?,
        packets_lost: reader.count("packets_lost")?,
        node: reader.optional_string("node")?,
        epoch: reader.epoch()?,
        labels: reader.labels()?,
        audio_codec: reader.optional_string("audio_codec")?,
        rtt_ms: reader.optional_float("rtt_ms")?,
        jitter_ms: reader.optional_float("jitter_ms")?,
        packets_retransmitted: reader.optional_count("packets_retransmitted")?,
        packets_dropped: reader.optional_count("packets_dropped")?,
        viewers: reader.optional_count("viewers")?,
        end_reason: reader.optional_string("end_reason")?,
        extra: Extra::default(),
    };
    let Reader { fields, nonconforming, .. } = reader;
    let unknown = fields.unknown.into_iter().map(|(name, raw)| (name.into(), raw.to_owned())).collect();
    stream.extra = Extra::new(unknown, nonconforming);
    Ok(stream)
}

/// Decodes a record that a store holds. `id` comes from the key of the record.
pub(super) fn decode_stored(id: &StreamId, json: &str) -> Result<Stream> {
    canonical::decode(Some(id), json).map_or_else(|| decode_general(id, json), Ok)
}

/// Decodes a record as [`decode_stored`] does, without the fast path for canonical JSON.
fn decode_general(id: &StreamId, json: &str) -> Result<Stream> {
    let fields = parse(json).map_err(|error| {
        let message = format!("the value stored under this id is not a readable record: {}", brief(&error));
        InvalidValue::stored(Some(id.as_str()), message, Some(Box::new(error)))
    })?;
    read(fields, Mode::Lenient, id.clone())
}

/// Decodes a record that a store holds, including the id in the record.
pub(crate) fn decode_listed(json: &str) -> Result<Stream> {
    if let Some(stream) = canonical::decode(None, json) {
        return Ok(stream);
    }
    let invalid = |source| InvalidValue::stored(None, "the reply holds a record without a valid id", source);
    let fields = parse(json).map_err(|source| invalid(Some(Box::new(source))))?;
    let id = fields.get("id").and_then(|raw| lenient::string(raw.get())).ok_or_else(|| invalid(None))?;
    let id: StreamId = id.parse().map_err(|source: InvalidValue| invalid(Some(Box::new(source))))?;
    read(fields, Mode::Lenient, id)
}

/// Decodes a record that a caller gives.
pub(super) fn decode_given(json: &str) -> Result<Stream> {
    let (fields, id) = parse_given(json)?;
    finish_given(fields, id.ok_or_else(|| InvalidValue::new("the record has no id"))?)
}

/// Decodes a record from a caller, and generates an id if the record has no id. The returned flag is `true` if the
/// record has an id.
pub(super) fn decode_given_any_id(json: &str) -> Result<(Stream, bool)> {
    let (fields, id) = parse_given(json)?;
    let has_id = id.is_some();
    let id = id.unwrap_or_else(|| generate_stream_id(&StreamType::Srt, ""));
    Ok((finish_given(fields, id)?, has_id))
}

fn parse_given(json: &str) -> Result<(Fields<'_>, Option<StreamId>)> {
    check::record_size(json.len())?;
    let fields = parse(json).map_err(|error| {
        let message = format!("the record is not a readable JSON object: {}", brief(&error));
        non_number(json).unwrap_or_else(|| InvalidValue::with_source(message, error))
    })?;
    let id = match fields.get("id").filter(|raw| raw.get() != "null") {
        Some(raw) => {
            let id = lenient::string(raw.get()).ok_or_else(|| InvalidValue::new("id must be a string"))?;
            Some(id.parse()?)
        }
        None => None,
    };
    Ok((fields, id))
}

/// Returns the error that names the known field whose value is NaN or infinite, if there is one.
fn non_number(json: &str) -> Option<InvalidValue> {
    let json = lenient::replace_non_numbers(json)?;
    read(parse(&json).ok()?, Mode::Strict, "-".parse().ok()?).err()
}

fn finish_given(fields: Fields<'_>, id: StreamId) -> Result<Stream> {
    if fields.get("type").is_none_or(|raw| raw.get() == "null") {
        return Err(InvalidValue::new("missing type; expected srt, rtp or another protocol"));
    }
    let stream = read(fields, Mode::Strict, id)?;
    stream.check()?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::limits::MAX_COUNT;
    use super::*;

    fn id() -> StreamId {
        "cam/1 \"x\"".parse().unwrap()
    }

    fn later() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn encoder_writes_compact_json_in_fixed_field_order() {
        let mut stream = Stream::new(id(), StreamType::Srt, "[::1]:9000");
        (stream.created_at, stream.last_heartbeat) = (Timestamp::ZERO, later());
        stream.frame_rate = 59.94;
        stream.bytes_received = MAX_COUNT;
        assert_eq!(
            encode(&stream),
            r#"{"id":"cam/1 \"x\"","type":"srt","source_addr":"[::1]:9000","status":"connecting","created_at":"0001-01-01T00:00:00.000000000Z","last_heartbeat":"2030-01-01T00:00:00.000000000Z","video_codec":"","resolution":"","bitrate":0,"frame_rate":59.94,"bytes_received":9223372036854775807,"packets_received":0,"packets_lost":0}"#
        );
        stream.frame_rate = 25.0;
        stream.node = Some("n1".into());
        stream.labels.insert("a".into(), "b\n".into());
        stream.rtt_ms = Some(0.0);
        stream.viewers = Some(7);
        let json = encode(&stream);
        assert!(json.contains(r#""frame_rate":25,"#), "{json}");
        assert!(
            json.ends_with(r#""packets_lost":0,"node":"n1","labels":{"a":"b\n"},"rtt_ms":0,"viewers":7}"#),
            "{json}"
        );
        assert_eq!(decode_stored(&id(), &json).unwrap(), stream);
        assert_eq!(Stream::from_json(&json).unwrap(), stream);
    }

    /// This test fails if the encoder or one of the two decoders omits a field.
    #[test]
    fn record_with_all_fields_survives_the_encoder_and_both_decoders() {
        let mut json: Vec<String> = NAMES.map(|name| format!("\"{name}\":1")).to_vec();
        for (index, value) in [
            (0, "\"a\""),
            (1, "\"srt\""),
            (2, "\"h:1\""),
            (3, "\"active\""),
            (4, "\"2026-11-22T14:08:10.000000000Z\""),
            (5, "\"2026-11-22T14:08:11.000000000Z\""),
            (6, "\"HEVC\""),
            (7, "\"1920x1080\""),
            (13, "\"n\""),
            (14, "\"e\""),
            (15, "{\"k\":\"v\"}"),
            (16, "\"AAC\""),
            (22, "\"done\""),
        ] {
            json[index] = format!("\"{}\":{value}", NAMES[index]);
        }
        let json = format!("{{{}}}", json.join(","));
        let id = "a".parse().unwrap();
        let general = decode_general(&id, &json).unwrap();
        assert_eq!(canonical::decode(Some(&id), &json).as_ref(), Some(&general));
        assert_eq!(Stream::from_json(&json).unwrap(), general);
        assert_eq!(encode(&general), json);
        assert_eq!(general.extra.unknown().count(), 0);
    }

    #[test]
    fn canonical_decoder_agrees_with_general_decoder() {
        const PLAIN: &str = r#"{"id":"a","type":"srt","source_addr":"[::1]:5","status":"active","created_at":"2026-11-22T14:08:10.921427415Z","last_heartbeat":"2026-11-22T14:08:11.000000000Z","video_codec":"HEVC","resolution":"1920x1080","bitrate":5000000,"frame_rate":59.94,"bytes_received":9223372036854775807,"packets_received":1,"packets_lost":0"#;
        let id: StreamId = "a".parse().unwrap();
        let mut canonical = 0;
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
            let json = format!("{PLAIN}{tail}");
            if let Some(stream) = canonical::decode(Some(&id), &json) {
                canonical += 1;
                let general = decode_general(&id, &json).unwrap();
                assert_eq!(stream, general, "{json}");
                assert_eq!(encode(&stream), encode(&general), "{json}");
            }
        }
        assert!(canonical >= 4, "the canonical decoder must read JSON that the encoder writes");
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
            let json = format!("{}}}", PLAIN.replacen(from, to, 1));
            assert_ne!(json, format!("{PLAIN}}}"));
            assert!(canonical::decode(Some(&id), &json).is_none(), "{json}");
        }
    }

    /// Returns a record with this number of nested levels.
    fn nested(levels: usize, field: &str) -> String {
        let inner = levels - 1;
        let (open, close) = ("[".repeat(inner - inner / 2), "]".repeat(inner - inner / 2));
        let (open_objects, close_objects) = (r#"{"[]]":"#.repeat(inner / 2), "}".repeat(inner / 2));
        format!(r#"{{"id":"a","type":"srt","{field}":{open_objects}{open}{close}{close_objects}}}"#)
    }

    #[test]
    fn record_with_more_than_64_nested_levels_is_rejected_and_unreadable() {
        for levels in [2, 63, MAX_LEVELS] {
            assert!(Stream::from_json(&nested(levels, "x")).is_ok(), "{levels}");
            assert!(decode_stored(&id(), &nested(levels, "labels")).is_ok(), "{levels}");
            assert!(decode_listed(&nested(levels, "x")).is_ok(), "{levels}");
        }
        for levels in [MAX_LEVELS + 1, 900, 10_000] {
            let error = Stream::from_json(&nested(levels, "x")).unwrap_err();
            assert!(!error.is_stored() && error.message().contains("64 nested levels"), "{levels}: {error}");
            for field in ["x", "labels", "bitrate"] {
                let error = decode_stored(&id(), &nested(levels, field)).unwrap_err();
                assert!(error.is_stored() && error.message().contains("64 nested levels"), "{levels}: {error}");
            }
            assert!(decode_listed(&nested(levels, "x")).is_err());
        }
        // Brackets in strings do not count as levels.
        let brackets = format!(r#"{{"id":"a","type":"srt","x":["{}","\\\"{}"]}}"#, "[".repeat(70), "[".repeat(70));
        assert!(Stream::from_json(&brackets).is_ok());
    }

    #[test]
    fn stored_value_that_is_not_an_object_is_corrupt() {
        for json in ["", "x", "[]", "null", "\"{}\"", "{", "{}{}", "{\"a\":1,}", "{\"a\":\u{1}}"] {
            let error = decode_stored(&id(), json).unwrap_err();
            assert!(error.is_stored(), "{json}");
            assert_eq!(error.stream_id(), Some(id().as_str()));
        }
        assert!(decode_stored(&id(), "{}").is_ok());
    }

    #[test]
    fn nonconforming_value_from_a_caller_is_rejected() {
        for (field, value) in [
            ("id", "5"),
            ("id", "\"\""),
            ("id", "\"active\""),
            ("type", "1"),
            ("type", "\"\""),
            ("type", "\"a b\""),
            ("status", "\"\""),
            ("status", "[]"),
            ("created_at", "0"),
            ("last_heartbeat", "\"yesterday\""),
            ("bitrate", "-1"),
            ("bitrate", "-0.5"),
            ("bitrate", "NaN"),
            ("bytes_received", "9223372036854775808"),
            ("packets_lost", "9223372036854775807.5"),
            ("viewers", "-Infinity"),
            ("packets_lost", "\"0\""),
            ("frame_rate", "-1"),
            ("frame_rate", "1e999"),
            ("labels", "[]"),
            ("labels", "{\"a\":1}"),
            ("labels", "{\"\":\"x\"}"),
            ("node", "{}"),
            ("rtt_ms", "true"),
            ("viewers", "-1"),
            ("source_addr", "\"\\ud800\""),
        ] {
            let mut fields = BTreeMap::from([("id", "\"a\""), ("type", "\"srt\"")]);
            fields.insert(field, value);
            let json: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let json = format!("{{{}}}", json.join(","));
            let error = Stream::from_json(&json).expect_err(&json);
            assert!(!error.is_stored() && error.message().contains(field.trim_end_matches('s')), "{json}: {error}");
        }
        let unknown = Stream::from_json(r#"{"id":"a","type":"srt","x":NaN}"#).unwrap_err();
        assert!(unknown.message().contains("not a readable JSON object"), "{unknown}");
    }

    #[test]
    fn number_from_a_caller_is_rounded_to_the_nearest_integer() {
        for (field, value, expected) in [
            ("bitrate", "1e3", 1_000),
            ("bitrate", "5467000.0000001", 5_467_000),
            ("bitrate", "-0.0", 0),
            ("bytes_received", "1.5", 2),
            ("bytes_received", "9223372036854775807.0", MAX_COUNT),
            ("packets_lost", "-3", 0),
            ("packets_lost", "-1e300", 0),
        ] {
            let stream = Stream::from_json(&format!(r#"{{"id":"a","type":"srt","{field}":{value}}}"#)).unwrap();
            assert_eq!(stream.bitrate + stream.bytes_received + stream.packets_lost, expected, "{field}: {value}");
            assert!(encode(&stream).contains(&format!("\"{field}\":{expected}")), "{field}: {value}");
        }
    }
}
