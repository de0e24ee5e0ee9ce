//! The encoder of the record.

use std::collections::BTreeMap;

use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::extra::Extra;
use super::invalid::{InvalidValue, Result};
use super::limits::{MAX_LEASED_RECORD_BYTES, MAX_STRING_BYTES};
use super::opaque::Epoch;
use super::status::StreamStatus;
use super::time::Timestamp;
use super::{Stream, check, lenient};

/// Returns the record as JSON for a reader; see [`Stream::to_json`].
pub(crate) fn encode(stream: &Stream) -> String {
    let mut json = String::with_capacity(512);
    encode_into(&mut json, stream);
    json
}

/// Returns the record as JSON for a store; see [`Stream::to_stored_json`].
pub(crate) fn encode_stored(stream: &Stream) -> String {
    let mut json = String::with_capacity(512);
    write_record(&mut json, stream, Some(&stream.extra));
    json
}

/// Appends the record as JSON for a reader.
pub(crate) fn encode_into(json: &mut String, stream: &Stream) {
    write_record(json, stream, None);
}

/// Appends the record. `raw` holds the nonconforming values to write instead of the nearest legal values.
fn write_record(json: &mut String, stream: &Stream, raw: Option<&Extra>) {
    // The pattern is exhaustive, so that the compiler reports a new field that is not written.
    let Stream {
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
        audio_codec,
        rtt_ms,
        jitter_ms,
        packets_retransmitted,
        packets_dropped,
        viewers,
        end_reason,
        extra,
    } = stream;
    json.push('{');
    let mut out = Writer { start: json.len(), json, raw };
    out.string("id", id.as_str());
    out.string("type", kind.as_str());
    out.string("source_addr", source_addr);
    out.string("status", status.as_str());
    out.time("created_at", *created_at);
    out.time("last_heartbeat", *last_heartbeat);
    out.string("video_codec", video_codec);
    out.string("resolution", resolution);
    out.count("bitrate", *bitrate);
    out.float("frame_rate", *frame_rate);
    out.count("bytes_received", *bytes_received);
    out.count("packets_received", *packets_received);
    out.count("packets_lost", *packets_lost);
    out.optional("node", node.as_deref(), Writer::string, |raw| lenient::string(raw).unwrap_or_default() == "");
    out.optional("epoch", epoch.as_ref().map(Epoch::as_str), Writer::string, |_| true);
    out.labels(labels);
    out.optional("audio_codec", audio_codec.as_deref(), Writer::string, |_| true);
    out.optional("rtt_ms", *rtt_ms, Writer::float, |raw| lenient::float(raw).is_none());
    out.optional("jitter_ms", *jitter_ms, Writer::float, |raw| lenient::float(raw).is_none());
    out.optional("packets_retransmitted", *packets_retransmitted, Writer::count, |_| true);
    out.optional("packets_dropped", *packets_dropped, Writer::count, |_| true);
    out.optional("viewers", *viewers, Writer::count, |_| true);
    out.optional("end_reason", end_reason.as_deref(), Writer::string, |_| true);
    for (name, raw) in extra.unknown() {
        out.comma();
        push_json_string(out.json, name);
        out.json.push(':');
        out.json.push_str(raw);
    }
    out.json.push('}');
}

/// Serialises the record as the JSON object that [`Stream::to_json`] returns, byte for byte.
///
/// The object may hold unknown fields as raw JSON, so only `serde_json` can serialise it.
impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(encode(self)).map_err(S::Error::custom)?.serialize(serializer)
    }
}

struct Writer<'a> {
    json: &'a mut String,
    /// Byte position at which the first member of the object begins.
    start: usize,
    raw: Option<&'a Extra>,
}

impl<'a> Writer<'a> {
    fn comma(&mut self) {
        if self.json.len() > self.start {
            self.json.push(',');
        }
    }

    /// Writes the name of a known field, which needs no escape.
    fn name(&mut self, name: &str) {
        self.comma();
        self.json.push('"');
        self.json.push_str(name);
        self.json.push_str("\":");
    }

    /// Returns the nonconforming value of a field if it is to be written.
    fn raw_value(&self, name: &str) -> Option<&'a str> {
        self.raw?.nonconforming(name)
    }

    /// Writes the nonconforming value of a field if `is_current` accepts it. Returns whether the value was written.
    ///
    /// `is_current` checks that the raw JSON still decodes to the value of the typed field. If not, the field was
    /// set after the record was read.
    fn nonconforming(&mut self, name: &str, is_current: impl FnOnce(&str) -> bool) -> bool {
        match self.raw_value(name).filter(|raw| is_current(raw)) {
            Some(raw) => {
                self.name(name);
                self.json.push_str(raw);
                true
            }
            None => false,
        }
    }

    fn string(&mut self, name: &str, value: &str) {
        if !self.nonconforming(name, |raw| lenient::string(raw).unwrap_or_default() == value) {
            self.name(name);
            push_json_string(self.json, value);
        }
    }

    fn time(&mut self, name: &str, value: Timestamp) {
        if !self.nonconforming(name, |raw| lenient::time(raw).map_or(Timestamp::ZERO, |(time, _)| time) == value) {
            self.name(name);
            self.json.push('"');
            value.append_to(self.json);
            self.json.push('"');
        }
    }

    fn count(&mut self, name: &str, value: u64) {
        if !self.nonconforming(name, |raw| lenient::count(raw).map_or(0, |(count, _)| count) == value) {
            self.name(name);
            self.json.push_str(itoa::Buffer::new().format(value));
        }
    }

    fn float(&mut self, name: &str, value: f64) {
        if !self.nonconforming(name, |raw| lenient::float(raw).map_or(0.0, |(float, _)| float) == value) {
            self.name(name);
            push_json_float(self.json, value);
        }
    }

    /// Writes an optional field. If the typed field is `None`, writes its nonconforming value instead, provided
    /// that `reads_as_unset` accepts the value.
    fn optional<T>(
        &mut self,
        name: &str,
        value: Option<T>,
        write: fn(&mut Self, &str, T),
        reads_as_unset: impl FnOnce(&str) -> bool,
    ) {
        match value {
            Some(value) => write(self, name, value),
            None => {
                self.nonconforming(name, reads_as_unset);
            }
        }
    }

    fn labels(&mut self, value: &BTreeMap<String, String>) {
        let is_current = |raw: &str| lenient::labels(raw).map(|(labels, _)| labels).unwrap_or_default() == *value;
        if self.nonconforming("labels", is_current) {
            return;
        }
        let nonconforming: BTreeMap<_, _> =
            self.raw_value("labels").map(lenient::nonconforming_labels).unwrap_or_default();
        if value.is_empty() && nonconforming.is_empty() {
            return;
        }
        self.name("labels");
        let mut separator = '{';
        for (name, value) in value {
            self.json.push(separator);
            push_json_string(self.json, name);
            self.json.push(':');
            push_json_string(self.json, value);
            separator = ',';
        }
        // A change of one label keeps the nonconforming values of all other labels.
        for (name, raw) in nonconforming.into_iter().filter(|(name, _)| !value.contains_key(name)) {
            self.json.push(separator);
            push_json_string(self.json, &name);
            self.json.push(':');
            self.json.push_str(raw.get());
            separator = ',';
        }
        self.json.push('}');
    }
}

/// Appends a JSON string.
pub(crate) fn push_json_string(out: &mut String, value: &str) {
    // Checking every byte is faster than stopping at the first match, because the compiler vectorises this loop.
    if value.bytes().fold(false, |found, b| found | (b < 0x20) | (b == b'"') | (b == b'\\')) {
        // Serialising a string cannot fail.
        out.push_str(&serde_json::to_string(value).unwrap_or_default());
        return;
    }
    out.push('"');
    out.push_str(value);
    out.push('"');
}

/// Appends a finite number in its shortest form; a whole number has no decimal point.
pub(crate) fn push_json_float(out: &mut String, value: f64) {
    if value == 0.0 {
        // Negative zero is written as zero.
        out.push('0');
        return;
    }
    // Below this limit, the shortest form of a whole number is its digits.
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
        out.push_str(itoa::Buffer::new().format(value as u64));
        return;
    }
    let number = serde_json::to_string(&value).unwrap_or_default();
    out.push_str(number.strip_suffix(".0").unwrap_or(&number));
}

/// Returns whether a rough upper bound of the JSON size is within every limit. If so, the exact size does not
/// matter, and the record need not be encoded.
fn is_surely_small(stream: &Stream) -> bool {
    let labels: usize = stream.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let unknown: usize = stream.extra.unknown().map(|(name, raw)| name.len() + raw.len()).sum();
    // All other strings together are shorter than 8 × `MAX_STRING_BYTES`. An escape turns one byte into at most
    // six.
    stream.labels.is_empty() && unknown == 0 || (8 * MAX_STRING_BYTES + labels + unknown) * 6 < MAX_LEASED_RECORD_BYTES
}

/// Checks that the JSON is within [`MAX_RECORD_BYTES`](super::limits::MAX_RECORD_BYTES). Does not encode a record
/// that is clearly small enough.
pub(super) fn check_size(stream: &Stream) -> Result<()> {
    if is_surely_small(stream) { Ok(()) } else { check_exact_size(stream) }
}

/// Checks that the JSON is within [`MAX_RECORD_BYTES`](super::limits::MAX_RECORD_BYTES).
pub(crate) fn check_exact_size(stream: &Stream) -> Result<()> {
    check::record_size(encode_stored(stream).len())
}

/// Checks that a leased record has room for its epoch and for every later status and statistic.
pub(crate) fn check_leased_size(stream: &Stream) -> Result<()> {
    if is_surely_small(stream) {
        return Ok(());
    }
    let mut minimal = Stream { epoch: None, status: StreamStatus::Connecting, ..stream.clone() };
    minimal.reset_stats();
    if encode_stored(&minimal).len() > MAX_LEASED_RECORD_BYTES {
        return Err(InvalidValue::new(format!(
            "the record is too large for a lease; without epoch, status and statistics it may have {} KiB",
            MAX_LEASED_RECORD_BYTES / 1024
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_stream_equals_its_json() {
        for json in [
            r#"{"type":"srt","bitrate":5}"#,
            r#"{"x":[1.0e5, {"y":null}],"x":2,"frame_rate":25.50,"labels":{"a":"b","c":7}}"#,
            r#"{"bitrate":-5,"frame_rate":"25","node":7,"created_at":"9999-12-31T23:59:59.999999999Z","viewers":1e30}"#,
        ] {
            let stream = Stream::from_stored(&"a/\"b\"".parse().unwrap(), json).unwrap();
            assert_eq!(serde_json::to_string(&stream).unwrap(), stream.to_json());
            let list = format!("[{0},{0}]", stream.to_json());
            assert_eq!(serde_json::to_string(&[&stream, &stream]).unwrap(), list);
            let value: serde_json::Value = serde_json::from_str(&stream.to_json()).unwrap();
            assert_eq!(serde_json::to_value(&stream).unwrap(), value);
        }
    }

    #[test]
    fn json_for_readers_has_legal_values_and_json_for_stores_keeps_raw_values() {
        let id = "a".parse().unwrap();
        let raw = r#"{"type":5,"created_at":"9999-12-31T23:59:59Z","bitrate":-5,"frame_rate":"25","bytes_received":1.5e6,"packets_received":1e30,"packets_lost":2.5,"node":7,"epoch":"a b","labels":{"k":"v","n":1},"rtt_ms":-1,"viewers":-1,"end_reason":[],"x":[1.0e5],"x":-0}"#;
        let stream = Stream::from_stored(&id, raw).unwrap();
        let legal = stream.to_json();
        assert_eq!(
            legal,
            r#"{"id":"a","type":"","source_addr":"","status":"","created_at":"9999-12-30T22:00:00.999999999Z","last_heartbeat":"0001-01-01T00:00:00.000000000Z","video_codec":"","resolution":"","bitrate":0,"frame_rate":0,"bytes_received":1500000,"packets_received":9223372036854775807,"packets_lost":3,"labels":{"k":"v"},"rtt_ms":0,"viewers":0,"x":[1.0e5],"x":-0}"#
        );
        let mut typed = legal.replace(r#""type":"","#, r#""type":"srt","#);
        typed = typed.replace(r#""status":"","#, r#""status":"active","#);
        assert!(Stream::from_json(&typed).is_ok(), "a strict reader rejects {legal}");
        let stored = stream.to_stored_json();
        for part in
            [r#""type":5,"#, r#""created_at":"9999-12-31T23:59:59Z","#, r#""bitrate":-5,"#, r#""frame_rate":"25","#]
        {
            assert!(stored.contains(part), "{stored}");
        }
        for part in [r#""packets_received":1e30,"#, r#""labels":{"k":"v","n":1},"#, r#""viewers":-1,"end_reason":[],"#]
        {
            assert!(stored.contains(part), "{stored}");
        }
        assert_eq!(Stream::from_stored(&id, &stored).unwrap().to_stored_json(), stored);
    }

    #[test]
    fn float_is_encoded_in_its_shortest_form() {
        for value in [0.0, -0.0, 1.0, 25.0, 29.97, 0.1, 999_999_999_999_999.0, 1e15, 1e16, 1e300, 5e-324, -2.0] {
            let mut json = String::new();
            push_json_float(&mut json, value);
            let expected = serde_json::to_string(&(value + 0.0)).unwrap();
            assert_eq!(json, expected.strip_suffix(".0").unwrap_or(&expected), "{value}");
            assert_eq!(json.parse::<f64>().unwrap(), value);
        }
    }
}
