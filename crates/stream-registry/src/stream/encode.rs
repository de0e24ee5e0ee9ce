//! The one encoder of the record.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::invalid::{InvalidValue, Result};
use super::limits::{MAX_LEASED_RECORD_BYTES, MAX_RECORD_BYTES};
use super::number::{lenient_count, lenient_float};
use super::record::{Extra, labels, odd_labels, text, time, too_large};
use super::{Epoch, Stream, StreamStats, StreamStatus, Timestamp};

/// Writes the record.
pub(crate) fn encode(stream: &Stream) -> String {
    let mut out = Writer { text: String::with_capacity(384), extra: &stream.extra };
    out.text.push('{');
    out.string("id", stream.id.as_str());
    out.string("type", stream.kind.as_str());
    out.string("source_addr", &stream.source_addr);
    out.string("status", stream.status.as_str());
    out.time("created_at", stream.created_at);
    out.time("last_heartbeat", stream.last_heartbeat);
    out.string("video_codec", &stream.video_codec);
    out.string("resolution", &stream.resolution);
    out.count("bitrate", stream.bitrate);
    out.float("frame_rate", stream.frame_rate);
    out.count("bytes_received", stream.bytes_received);
    out.count("packets_received", stream.packets_received);
    out.count("packets_lost", stream.packets_lost);
    out.optional("node", stream.node.as_deref(), Writer::string, |raw| text(raw).unwrap_or_default() == "");
    out.optional("epoch", stream.epoch.as_ref().map(Epoch::as_str), Writer::string, |_| true);
    out.labels(&stream.labels);
    out.optional("audio_codec", stream.audio_codec.as_deref(), Writer::string, |_| true);
    out.optional("rtt_ms", stream.rtt_ms, Writer::float, |raw| lenient_float(raw).is_none());
    out.optional("jitter_ms", stream.jitter_ms, Writer::float, |raw| lenient_float(raw).is_none());
    out.optional("packets_retransmitted", stream.packets_retransmitted, Writer::count, |_| true);
    out.optional("packets_dropped", stream.packets_dropped, Writer::count, |_| true);
    out.optional("viewers", stream.viewers, Writer::count, |_| true);
    out.optional("end_reason", stream.end_reason.as_deref(), Writer::string, |_| true);
    for (name, raw) in stream.extra.unknown() {
        out.name(name);
        out.text.push_str(raw);
    }
    out.text.push('}');
    out.text
}

struct Writer<'a> {
    text: String,
    extra: &'a Extra,
}

impl Writer<'_> {
    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        push_json_text(&mut self.text, name);
        self.text.push(':');
    }

    /// Writes the kept text of a field if it still says what the field holds.
    fn kept(&mut self, name: &str, still: impl FnOnce(&str) -> bool) -> bool {
        let extra = self.extra;
        match extra.odd(name).filter(|raw| still(raw)) {
            Some(raw) => {
                self.name(name);
                self.text.push_str(raw);
                true
            }
            None => false,
        }
    }

    fn string(&mut self, name: &str, value: &str) {
        if !self.kept(name, |raw| text(raw).unwrap_or_default() == value) {
            self.name(name);
            push_json_text(&mut self.text, value);
        }
    }

    fn time(&mut self, name: &str, value: Timestamp) {
        if !self.kept(name, |raw| time(raw).map_or(Timestamp::ZERO, |(time, _)| time) == value) {
            self.name(name);
            // Writing to a string cannot fail.
            let _ = write!(self.text, "\"{value}\"");
        }
    }

    fn count(&mut self, name: &str, value: u64) {
        if !self.kept(name, |raw| lenient_count(raw).map_or(0, |(count, _)| count) == value) {
            self.name(name);
            let _ = write!(self.text, "{value}");
        }
    }

    fn float(&mut self, name: &str, value: f64) {
        if !self.kept(name, |raw| lenient_float(raw).map_or(0.0, |(float, _)| float) == value) {
            self.name(name);
            push_json_float(&mut self.text, value);
        }
    }

    /// Writes a field that may be unset; `still_unset` tells whether its kept text reads as unset.
    fn optional<T>(
        &mut self,
        name: &str,
        value: Option<T>,
        write: fn(&mut Self, &str, T),
        still_unset: impl FnOnce(&str) -> bool,
    ) {
        match value {
            Some(value) => write(self, name, value),
            None => {
                self.kept(name, still_unset);
            }
        }
    }

    fn labels(&mut self, value: &BTreeMap<String, String>) {
        if self.kept("labels", |raw| labels(raw).map(|(labels, _)| labels).unwrap_or_default() == *value) {
            return;
        }
        let odd: BTreeMap<_, _> = self.extra.odd("labels").map(odd_labels).unwrap_or_default();
        if value.is_empty() && odd.is_empty() {
            return;
        }
        self.name("labels");
        let mut before = '{';
        for (name, value) in value {
            self.text.push(before);
            push_json_text(&mut self.text, name);
            self.text.push(':');
            push_json_text(&mut self.text, value);
            before = ',';
        }
        // A change of one label loses no other, whatever its value is.
        for (name, raw) in odd.into_iter().filter(|(name, _)| !value.contains_key(name)) {
            self.text.push(before);
            push_json_text(&mut self.text, &name);
            self.text.push(':');
            self.text.push_str(raw.get());
            before = ',';
        }
        self.text.push('}');
    }
}

/// Appends a JSON string.
pub(crate) fn push_json_text(out: &mut String, value: &str) {
    if value.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\') {
        // A string always serialises.
        out.push_str(&serde_json::to_string(value).unwrap_or_default());
        return;
    }
    out.push('"');
    out.push_str(value);
    out.push('"');
}

/// Appends a finite number as other programs write it: the shortest form, whole numbers without a point.
pub(crate) fn push_json_float(out: &mut String, value: f64) {
    if value == 0.0 {
        out.push('0');
        return;
    }
    let text = serde_json::to_string(&value).unwrap_or_default();
    out.push_str(text.strip_suffix(".0").unwrap_or(&text));
}

/// Whether the record is within every limit as JSON, as far as that is plain to see without writing it.
fn is_small(stream: &Stream) -> bool {
    let labels: usize = stream.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let unknown: usize = stream.extra.unknown().map(|(name, raw)| name.len() + raw.len()).sum();
    // Texts of the fields have at most 8 KiB, and an escape makes six bytes of one.
    stream.labels.is_empty() && unknown == 0 || (8 * 1024 + labels + unknown) * 6 < MAX_LEASED_RECORD_BYTES
}

/// Checks that the record is within its limit as JSON, without writing it where that is plain to see.
pub(crate) fn check_size(stream: &Stream) -> Result<()> {
    if is_small(stream) { Ok(()) } else { measure(stream) }
}

/// Checks that a leased record has room for the epoch, and for what becomes of status and statistics.
pub(crate) fn check_leased_size(stream: &Stream) -> Result<()> {
    if is_small(stream) {
        return Ok(());
    }
    let mut bare = Stream {
        epoch: None,
        status: StreamStatus::Connecting,
        frame_rate: 0.0,
        rtt_ms: None,
        jitter_ms: None,
        packets_retransmitted: None,
        packets_dropped: None,
        viewers: None,
        ..stream.clone()
    };
    bare.update_stats(&StreamStats::default());
    if encode(&bare).len() > MAX_LEASED_RECORD_BYTES {
        return Err(InvalidValue::new(format!(
            "the record is larger than {} KiB without epoch, status and statistics, too large for a lease",
            MAX_LEASED_RECORD_BYTES / 1024
        )));
    }
    Ok(())
}

/// Checks that the record is within its limit as JSON, whatever its texts are.
pub(crate) fn measure(stream: &Stream) -> Result<()> {
    if encode(stream).len() > MAX_RECORD_BYTES { Err(too_large()) } else { Ok(()) }
}
