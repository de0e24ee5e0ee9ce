//! The one decoder of the record, and what it keeps for the encoder.
//!
//! Texts that were decoded from a store keep, in [`Extra`], what their typed value cannot say: fields
//! that this version does not know, and known fields whose value is not legal (`-5` bytes, a number
//! where a text belongs). The encoder writes those again as they were unless the field was changed,
//! so that a change of one field loses nothing of another writer's record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::invalid::{InvalidValue, Result};
use super::limits::{MAX_COUNT, MAX_RECORD_BYTES};
use super::number::{lenient_count, lenient_float};
use super::{Epoch, Stream, StreamId, StreamStatus, StreamType, Timestamp, canonical, generate_stream_id};

/// What a record holds beyond its typed fields. Empty, and then free, for most records.
#[derive(Clone, Default)]
pub(crate) struct Extra(Option<Arc<Kept>>);

#[derive(Default)]
struct Kept {
    /// Fields that this version does not know, in their order.
    unknown: Vec<(Box<str>, Box<RawValue>)>,
    /// Known fields whose text says something else than their typed value.
    odd: Vec<(&'static str, Box<RawValue>)>,
}

impl Extra {
    pub(super) fn odd(&self, name: &str) -> Option<&str> {
        let kept = self.0.as_ref()?;
        kept.odd.iter().find(|(odd, _)| *odd == name).map(|(_, raw)| raw.get())
    }

    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|kept| kept.unknown.iter().map(|(name, raw)| (&**name, raw.get())))
    }

    /// Takes the kept text of one field from another record, for a field that is copied from it.
    pub(crate) fn copy_odd(&mut self, name: &'static str, from: &Extra) {
        if self.odd(name).is_some() || from.odd(name).is_some() {
            self.edit_odd(|odd| {
                odd.retain(|(kept, _)| *kept != name);
                odd.extend(from.odd(name).and_then(owned).map(|raw| (name, raw)));
            });
        }
    }

    /// Drops the kept texts of fields that are set to new values.
    pub(crate) fn forget_odd(&mut self, names: &[&str]) {
        if names.iter().any(|name| self.odd(name).is_some()) {
            self.edit_odd(|odd| odd.retain(|(kept, _)| !names.contains(kept)));
        }
    }

    /// Drops the kept texts of single labels that are set or removed.
    pub(crate) fn forget_labels<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        let Some(raw) = self.odd("labels") else { return };
        // Labels that are no object are of no use to a label that is set.
        let mut kept: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw).unwrap_or_default();
        for name in names {
            kept.remove(name);
        }
        let raw = serde_json::value::to_raw_value(&kept).ok();
        self.edit_odd(|odd| {
            odd.retain(|(name, _)| *name != "labels");
            odd.extend(raw.map(|raw| ("labels", raw)));
        });
    }

    fn edit_odd(&mut self, edit: impl FnOnce(&mut Vec<(&'static str, Box<RawValue>)>)) {
        let kept = self.0.as_deref();
        let mut odd = kept.map_or_else(Vec::new, |kept| kept.odd.clone());
        edit(&mut odd);
        self.0 = Some(Arc::new(Kept { unknown: kept.map_or_else(Vec::new, |kept| kept.unknown.clone()), odd }));
    }
}

fn owned(raw: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(raw.to_owned()).ok()
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.unknown().eq(other.unknown())
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.unknown()).finish()
    }
}

/// How a field's text is judged.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// A store: every text is read somehow.
    Stored,
    /// A caller: what is not legal is refused.
    Given,
}

/// The fields that this version knows, as raw texts; the last of a name counts, as in other decoders.
#[derive(Default)]
struct Fields<'a> {
    known: [Option<&'a RawValue>; NAMES.len()],
    unknown: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// All known names: the thirteen, then the optional ones, in the order in which they are written.
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

/// A key, borrowed from the input where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
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
        // Records of our own spelling come in this order: looking first where the last search ended finds each at once.
        let mut next = 0;
        while let Some(Key(name)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            let found = (next..NAMES.len()).chain(0..next).find(|&at| NAMES[at] == name);
            match found {
                Some(at) => {
                    fields.known[at] = Some(raw);
                    next = at + 1;
                }
                None => fields.unknown.push((name, raw)),
            }
        }
        Ok(fields)
    }
}

fn parse(text: &str) -> std::result::Result<Fields<'_>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json.deserialize_map(FieldsVisitor)?;
    json.end()?;
    Ok(fields)
}

/// Reads one field after the other and remembers what their typed values cannot say.
struct Reader<'a> {
    fields: Fields<'a>,
    origin: Origin,
    odd: Vec<(&'static str, Box<RawValue>)>,
}

impl<'a> Reader<'a> {
    /// Reads a field by `read`, which answers the value and whether the text says exactly that.
    fn field<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        missing: T,
        read: impl FnOnce(&'a str) -> Option<(T, bool)>,
    ) -> Result<T> {
        let raw = NAMES.iter().position(|known| *known == name).and_then(|at| self.fields.known[at]);
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(missing) };
        let read = read(raw.get());
        match (read, self.origin) {
            (Some((value, true)), _) => Ok(value),
            (_, Origin::Given) => Err(InvalidValue::new(format!("{name} must be {expected}"))),
            (other, Origin::Stored) => {
                self.odd.push((name, raw.to_owned()));
                Ok(other.map_or(missing, |(value, _)| value))
            }
        }
    }

    fn text(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>> {
        self.field(name, "a text", None, |raw| Some((Some(text(raw)?), true)))
    }

    fn string(&mut self, name: &'static str) -> Result<String> {
        Ok(self.text(name)?.map_or_else(String::new, Cow::into_owned))
    }

    fn optional_string(&mut self, name: &'static str) -> Result<Option<String>> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(Cow::into_owned))
    }

    fn optional_count(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.field(name, "a whole number from 0 to 2^63 - 1", None, |raw| {
            lenient_count(raw).map(|(value, exact)| (Some(value), exact))
        })
    }

    fn count(&mut self, name: &'static str) -> Result<u64> {
        Ok(self.optional_count(name)?.unwrap_or(0))
    }

    fn optional_float(&mut self, name: &'static str) -> Result<Option<f64>> {
        self.field(name, "a finite number of at least 0", None, |raw| {
            lenient_float(raw).map(|(value, exact)| (Some(value), exact))
        })
    }

    fn time(&mut self, name: &'static str, missing: Timestamp) -> Result<Timestamp> {
        self.field(name, "a time in RFC 3339, 2026-11-22T14:08:10Z say", missing, time)
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>> {
        self.field("labels", "an object of texts", BTreeMap::new(), labels)
    }
}

pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.bytes().any(|b| b == b'\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    // A raw value is valid JSON: without an escape its inside is the text.
    Some(Cow::Borrowed(inner))
}

pub(super) fn time(raw: &str) -> Option<(Timestamp, bool)> {
    let text = text(raw)?;
    let Ok(time) = text.parse::<Timestamp>() else {
        return Some((Timestamp::nearest(&text).unwrap_or(Timestamp::ZERO), false));
    };
    // Of a longer fraction than nanoseconds the rest would be lost: those texts are kept.
    let digits = text.get(20..).map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    Some((time, digits <= 9))
}

pub(super) fn labels(raw: &str) -> Option<(BTreeMap<String, String>, bool)> {
    let given: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
    let count = given.len();
    let labels: BTreeMap<_, _> =
        given.into_iter().filter_map(|(name, raw)| Some((name, text(raw.get())?.into_owned()))).collect();
    let exact = labels.len() == count;
    Some((labels, exact))
}

/// The labels whose value is no text.
pub(super) fn odd_labels(raw: &str) -> BTreeMap<String, &RawValue> {
    let mut given: BTreeMap<String, &RawValue> = serde_json::from_str(raw).unwrap_or_default();
    given.retain(|_, raw| text(raw.get()).is_none());
    given
}

fn read(fields: Fields<'_>, origin: Origin, id: StreamId) -> Result<Stream> {
    let missing = match origin {
        Origin::Stored => Timestamp::ZERO,
        Origin::Given => Timestamp::now(),
    };
    let mut reader = Reader { fields, origin, odd: Vec::new() };
    let mut stream = Stream {
        id,
        kind: StreamType::stored(&reader.text("type")?.unwrap_or_default()),
        source_addr: reader.string("source_addr")?,
        status: match reader.text("status")? {
            None if origin == Origin::Given => StreamStatus::Connecting,
            status => StreamStatus::stored(&status.unwrap_or_default()),
        },
        created_at: reader.time("created_at", missing)?,
        last_heartbeat: reader.time("last_heartbeat", missing)?,
        video_codec: reader.string("video_codec")?,
        resolution: reader.string("resolution")?,
        bitrate: reader.count("bitrate")?,
        frame_rate: reader.optional_float("frame_rate")?.unwrap_or(0.0),
        bytes_received: reader.count("bytes_received")?,
        packets_received: reader.count("packets_received")?,
        packets_lost: reader.count("packets_lost")?,
        node: reader.optional_string("node")?,
        epoch: reader.field("epoch", "a text of visible ASCII characters", None, |raw| {
            Some(text(raw)?.parse::<Epoch>().map_or((None, false), |epoch| (Some(epoch), true)))
        })?,
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
    let Reader { fields, odd, .. } = reader;
    if !fields.unknown.is_empty() || !odd.is_empty() {
        let unknown = fields.unknown.into_iter().map(|(name, raw)| (name.into(), raw.to_owned())).collect();
        stream.extra = Extra(Some(Arc::new(Kept { unknown, odd })));
    }
    Ok(stream)
}

/// Reads a record as a store holds it; the key decides the id.
pub(crate) fn decode_stored(id: &StreamId, text: &str) -> Result<Stream> {
    canonical::decode(Some(id), text).map_or_else(|| decode_general(id, text), Ok)
}

/// As [`decode_stored`], for records of any spelling.
pub(super) fn decode_general(id: &StreamId, text: &str) -> Result<Stream> {
    let fields = parse(text).map_err(|fault| {
        let message = format!("what is stored under this id is not a readable record: {fault}");
        InvalidValue::stored(Some(id), message, Some(Box::new(fault)))
    })?;
    read(fields, Origin::Stored, id.clone())
}

/// Reads a record as a store holds it, where the record itself has to say its id.
pub(crate) fn decode_listed(text: &str) -> Result<Stream> {
    if let Some(stream) = canonical::decode(None, text) {
        return Ok(stream);
    }
    let fault = |source| InvalidValue::stored(None, "the answer holds a record without a legal id", source);
    let fields = parse(text).map_err(|source| fault(Some(Box::new(source))))?;
    let id = fields.known[0].and_then(|raw| self::text(raw.get())).ok_or_else(|| fault(None))?;
    let id: StreamId = id.parse().map_err(|source: InvalidValue| fault(Some(Box::new(source))))?;
    read(fields, Origin::Stored, id)
}

/// Reads a record that a caller gives; `id` is used where the record has none, and must agree with it.
pub(crate) fn decode_given(text: &str, id: Option<&StreamId>) -> Result<Stream> {
    let (fields, given) = parse_given(text)?;
    let id = match (given, id) {
        (Some(given), Some(id)) if given != *id => {
            return Err(InvalidValue::new("the record's id is not the one that the call is about; leave it out"));
        }
        (Some(given), _) => given,
        (None, Some(id)) => id.clone(),
        (None, None) => return Err(InvalidValue::new("the record has no id")),
    };
    finish_given(fields, id)
}

/// As [`decode_given`], with a generated id where none is given; says whether it was.
pub(crate) fn decode_given_any_id(text: &str) -> Result<(Stream, bool)> {
    let (fields, given) = parse_given(text)?;
    let was_given = given.is_some();
    let id = given.unwrap_or_else(|| generate_stream_id(&StreamType::Srt, ""));
    Ok((finish_given(fields, id)?, was_given))
}

fn parse_given(text: &str) -> Result<(Fields<'_>, Option<StreamId>)> {
    if text.len() > MAX_RECORD_BYTES {
        return Err(too_large());
    }
    let fields = parse(text)
        .map_err(|fault| InvalidValue::with_source(format!("the record is not a JSON object: {fault}"), fault))?;
    let id = match fields.known[0].filter(|raw| raw.get() != "null") {
        Some(raw) => Some(self::text(raw.get()).ok_or_else(|| InvalidValue::new("id must be a text"))?.parse()?),
        None => None,
    };
    Ok((fields, id))
}

fn finish_given(fields: Fields<'_>, id: StreamId) -> Result<Stream> {
    let stream = read(fields, Origin::Given, id)?;
    stream.check()?;
    Ok(stream)
}

pub(super) fn too_large() -> InvalidValue {
    InvalidValue::new(format!("the record is larger than {} KiB", MAX_RECORD_BYTES / 1024))
}

const _: () = assert!(MAX_COUNT == 9_223_372_036_854_775_807);

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::*;
    use crate::registry::{Change, rules};

    fn id() -> StreamId {
        "cam/1 \"x\"".parse().unwrap()
    }

    fn later() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_thirteen_fields_come_first_in_order_and_compact() {
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
        let text = encode(&stream);
        assert!(text.contains(r#""frame_rate":25,"#), "{text}");
        assert!(
            text.ends_with(r#""packets_lost":0,"node":"n1","labels":{"a":"b\n"},"rtt_ms":0,"viewers":7}"#),
            "{text}"
        );
        assert_eq!(decode_stored(&id(), &text).unwrap(), stream);
        assert_eq!(Stream::from_json(&text).unwrap(), stream);
    }

    #[test]
    fn a_heartbeat_changes_nothing_else_of_another_writers_record() {
        for (text, rest) in [
            // Unknown fields, also nested, empty and doubled, with decoys of known names inside.
            (
                r#"{"x":[],"y":{"last_heartbeat":"no","a":[{}]},"z":"\"last_heartbeat\":1","x":1.0e5,"bytes_received":1e+14}"#,
                r#""bytes_received":100000000000000,"packets_received":0,"packets_lost":0,"x":[],"y":{"last_heartbeat":"no","a":[{}]},"z":"\"last_heartbeat\":1","x":1.0e5}"#,
            ),
            // Illegal values stay as they are, in their place.
            (
                r#"{"bitrate":-5,"frame_rate":"25","bytes_received":1.5,"node":7,"labels":[],"viewers":-1,"epoch":3}"#,
                r#""bitrate":-5,"frame_rate":"25","bytes_received":1.5,"packets_received":0,"packets_lost":0,"node":7,"epoch":3,"labels":[],"viewers":-1}"#,
            ),
            // Of a doubled field the last counts.
            (
                r#" { "packets_lost" : 1 , "packets_lost" : 2, "last_heartbeat":"2020-01-01T00:00:00Z", "last_heartbeat": "x" } "#,
                r#""bytes_received":0,"packets_received":0,"packets_lost":2}"#,
            ),
        ] {
            let stream = decode_stored(&id(), text).unwrap();
            let next = rules::apply(&stream, &Change::Heartbeat, later()).unwrap();
            let written = encode(&next);
            assert!(written.ends_with(rest), "{written}");
            assert!(written.contains(r#""last_heartbeat":"2030-01-01T00:00:00.000000000Z","#), "{written}");
            assert_eq!(encode(&decode_stored(&id(), &written).unwrap()), written);
        }
    }

    #[test]
    fn an_illegal_value_goes_when_its_field_is_set() {
        let stream = decode_stored(&id(), r#"{"bitrate":-5,"bytes_received":-7,"status":9}"#).unwrap();
        let stats = crate::stream::StreamStats { bitrate: 0, bytes_received: 3, ..Default::default() };
        let next = rules::apply(&stream, &Change::Stats(stats), later()).unwrap();
        let written = encode(&next);
        assert!(written.contains(r#""status":9,"#), "{written}");
        assert!(written.contains(r#""bitrate":0,"frame_rate":0,"bytes_received":3,"#), "{written}");
    }

    #[test]
    fn a_time_later_than_ours_go_is_the_greatest_and_stays_as_it_was() {
        let stream = decode_stored(&id(), r#"{"created_at":"9999-12-31T23:59:59.999999999Z"}"#).unwrap();
        assert_eq!(stream.created_at, Timestamp::from_unix_nanos(i128::MAX));
        let next = rules::apply(&stream, &Change::Heartbeat, later()).unwrap();
        assert!(encode(&next).contains(r#""created_at":"9999-12-31T23:59:59.999999999Z""#));
    }

    #[test]
    fn records_that_are_none_are_corrupt() {
        for text in ["", "x", "[]", "null", "\"{}\"", "{", "{}{}", "{\"a\":1,}", "{\"a\":\u{1}}"] {
            let fault = decode_stored(&id(), text).unwrap_err();
            assert!(fault.is_stored(), "{text}");
        }
        assert!(decode_stored(&id(), "{}").is_ok());
    }

    #[test]
    fn a_callers_record_is_read_strictly() {
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
            ("bitrate", "1.5"),
            ("bytes_received", "9223372036854775808"),
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
            let text: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", text.join(","));
            let fault = Stream::from_json(&text).expect_err(&text);
            assert!(!fault.is_stored(), "{text}");
        }
        assert_eq!(Stream::from_json(r#"{"id":"a","type":"srt","bitrate":1e3}"#).unwrap().bitrate, 1000);
    }
}
