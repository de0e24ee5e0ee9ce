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
mod tests;
