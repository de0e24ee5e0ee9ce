//! Bodies of requests that change part of a record: status, statistics and patches.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::stream::encode::{push_json_float, push_json_string};
use crate::stream::invalid::brief;
use crate::stream::lenient::replace_non_numbers;
use crate::stream::{LabelsPatch, Stream, StreamPatch, StreamStats, StreamStatus};

/// How a patch affects the labels that it does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelsMode {
    /// The patch keeps labels that it does not name (RFC 7396).
    #[default]
    Merge,
    /// The patch removes labels that it does not name. A merge patch cannot express this, so the request has the
    /// parameter `labels=replace`.
    Replace,
}

/// Parses a JSON object and returns its members as raw JSON. If a name occurs twice, the last value counts.
pub(super) fn members(json: &str) -> Result<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).map_err(|fault| {
        Error::invalid(format!("invalid body; expected a JSON object: {}", brief(&fault))).with_source(fault)
    })
}

pub(super) fn check_names(members: &BTreeMap<String, &RawValue>, known: &[&str]) -> Result<()> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(Error::invalid(format!("unexpected field {name:?}; expected one of {}", known.join(", "))))
        }
        None => Ok(()),
    }
}

/// Encodes the request body that sets a status.
pub fn status_body(status: &StreamStatus) -> String {
    let mut out = String::from("{\"status\":");
    push_json_string(&mut out, status.as_str());
    out.push('}');
    out
}

/// Parses the request body that sets a status, such as `{"status":"active"}`.
///
/// # Errors
///
/// Returns `InvalidArgument` if the body is invalid.
pub fn read_status(json: &str) -> Result<StreamStatus> {
    let members = members(json)?;
    check_names(&members, &["status"])?;
    let raw =
        members.get("status").ok_or_else(|| Error::invalid("missing status; expected {\"status\":\"active\"}"))?;
    let status: String = serde_json::from_str(raw.get())
        .map_err(|fault| Error::invalid("status must be a string").with_source(fault))?;
    Ok(status.parse()?)
}

const STATS: [&str; 10] = [
    "bytes_received",
    "packets_received",
    "packets_lost",
    "bitrate",
    "rtt_ms",
    "jitter_ms",
    "packets_retransmitted",
    "packets_dropped",
    "viewers",
    "frame_rate",
];

/// Encodes the request body that sets statistics.
pub fn stats_body(stats: &StreamStats) -> String {
    let counts = [
        ("bytes_received", stats.bytes_received),
        ("packets_received", stats.packets_received),
        ("packets_lost", stats.packets_lost),
        ("bitrate", stats.bitrate),
        ("packets_retransmitted", stats.packets_retransmitted),
        ("packets_dropped", stats.packets_dropped),
        ("viewers", stats.viewers),
    ];
    let rates = [("rtt_ms", stats.rtt_ms), ("jitter_ms", stats.jitter_ms), ("frame_rate", stats.frame_rate)];
    let mut out = String::from("{");
    let push_name = |out: &mut String, name: &str| {
        let comma = if out.len() > 1 { "," } else { "" };
        out.push_str(&format!("{comma}\"{name}\":"));
    };
    for (field, value) in counts.into_iter().filter_map(|(field, value)| Some((field, value?))) {
        push_name(&mut out, field);
        out.push_str(&value.to_string());
    }
    for (field, value) in rates.into_iter().filter_map(|(field, value)| Some((field, value?))) {
        push_name(&mut out, field);
        push_json_float(&mut out, value);
    }
    out.push('}');
    out
}

/// Parses the request body that sets statistics. A statistic that is missing or null keeps its stored value.
///
/// # Errors
///
/// Returns `InvalidArgument` if the body is invalid. The message names the field.
pub fn read_stats(json: &str) -> Result<StreamStats> {
    let replaced = replace_non_numbers(json);
    let members = members(replaced.as_deref().unwrap_or(json))?;
    check_names(&members, &STATS)?;
    let mut record = String::from("{\"id\":\"-\",\"type\":\"-\"");
    for (name, raw) in &members {
        record.push_str(&format!(",\"{name}\":{}", raw.get()));
    }
    record.push('}');
    // The decoder for records parses the numbers, so that the same rules apply everywhere.
    let mut stats = Stream::from_json(&record)?.stats();
    // The record has values for these fields even if the body has none.
    for (name, count) in [
        ("bytes_received", &mut stats.bytes_received),
        ("packets_received", &mut stats.packets_received),
        ("packets_lost", &mut stats.packets_lost),
        ("bitrate", &mut stats.bitrate),
    ] {
        if !is_given(&members, name) {
            *count = None;
        }
    }
    if !is_given(&members, "frame_rate") {
        stats.frame_rate = None;
    }
    Ok(stats)
}

fn is_given(members: &BTreeMap<String, &RawValue>, name: &str) -> bool {
    members.get(name).is_some_and(|raw| raw.get() != "null")
}

const PATCH: [&str; 6] = ["video_codec", "resolution", "frame_rate", "audio_codec", "node", "labels"];

/// Encodes a patch as a merge patch (RFC 7396). Also returns how the patch affects labels that it does not name.
pub fn patch_body(patch: &StreamPatch) -> (String, LabelsMode) {
    let mut body = Map::new();
    let strings = [
        ("video_codec", &patch.video_codec),
        ("resolution", &patch.resolution),
        ("audio_codec", &patch.audio_codec),
        ("node", &patch.node),
    ];
    for (name, value) in strings {
        if let Some(value) = value {
            body.insert(name.to_owned(), if value.is_empty() { Value::Null } else { value.as_str().into() });
        }
    }
    if let Some(rate) = patch.frame_rate {
        body.insert("frame_rate".to_owned(), rate.into());
    }
    let mut mode = LabelsMode::Merge;
    match &patch.labels {
        LabelsPatch::Keep => {}
        LabelsPatch::Merge(labels) => {
            let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            body.insert("labels".to_owned(), Value::Object(labels));
        }
        LabelsPatch::Replace(labels) if labels.is_empty() => {
            body.insert("labels".to_owned(), Value::Null);
        }
        LabelsPatch::Replace(labels) => {
            mode = LabelsMode::Replace;
            let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
            body.insert("labels".to_owned(), Value::Object(labels));
        }
    }
    (Value::Object(body).to_string(), mode)
}

/// Parses a merge patch (RFC 7396). It can change codecs, resolution, frame rate, node and labels.
///
/// The value `null` clears a field. Depending on `mode`, `labels` is merged with the existing labels or replaces all of
/// them.
///
/// # Errors
///
/// Returns `InvalidArgument` if the body is invalid. The message names the field.
pub fn read_patch(json: &str, mode: LabelsMode) -> Result<StreamPatch> {
    let members = members(json)?;
    check_names(&members, &PATCH)?;
    let string = |name: &str| -> Result<Option<String>> {
        let Some(raw) = members.get(name) else { return Ok(None) };
        let value: Option<String> = serde_json::from_str(raw.get())
            .map_err(|fault| Error::invalid(format!("{name} must be a string or null")).with_source(fault))?;
        Ok(Some(value.unwrap_or_default()))
    };
    let frame_rate = match members.get("frame_rate") {
        None => None,
        Some(raw) => {
            let rate: Option<f64> = serde_json::from_str(raw.get())
                .map_err(|fault| Error::invalid("frame_rate must be a finite number or null").with_source(fault))?;
            Some(rate.unwrap_or(0.0))
        }
    };
    let patch = StreamPatch {
        video_codec: string("video_codec")?,
        resolution: string("resolution")?,
        frame_rate,
        audio_codec: string("audio_codec")?,
        node: string("node")?,
        labels: match members.get("labels") {
            None => LabelsPatch::Keep,
            Some(raw) => read_labels(raw, mode)?,
        },
    };
    patch.check()?;
    Ok(patch)
}

fn read_labels(raw: &RawValue, mode: LabelsMode) -> Result<LabelsPatch> {
    let labels: Option<BTreeMap<String, Option<String>>> = serde_json::from_str(raw.get()).map_err(|fault| {
        Error::invalid("labels must be an object of strings; use null to remove a label").with_source(fault)
    })?;
    match (labels, mode) {
        (None, _) => Ok(LabelsPatch::Replace(BTreeMap::new())),
        (Some(labels), LabelsMode::Merge) => Ok(LabelsPatch::Merge(labels)),
        (Some(labels), LabelsMode::Replace) => {
            let labels = labels.into_iter().map(|(name, value)| Some((name, value?))).collect::<Option<_>>();
            labels.map(LabelsPatch::Replace).ok_or_else(|| {
                Error::invalid("with labels=replace, every value must be a string; leave out a label to remove it")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_survives_a_round_trip_through_json() {
        for patch in [
            StreamPatch::default(),
            StreamPatch { video_codec: Some(String::new()), frame_rate: Some(59.94), ..Default::default() }
                .label("a\"", "b"),
            StreamPatch { labels: LabelsPatch::Replace(BTreeMap::new()), ..Default::default() },
            StreamPatch {
                labels: LabelsPatch::Replace(BTreeMap::from([("a".into(), "".into())])),
                node: Some("n".into()),
                ..Default::default()
            },
            StreamPatch {
                labels: LabelsPatch::Merge(BTreeMap::from([("a".into(), None), ("b".into(), Some("c".into()))])),
                audio_codec: Some("AAC".into()),
                resolution: Some("1x1".into()),
                ..Default::default()
            },
        ] {
            let (json, mode) = patch_body(&patch);
            assert_eq!(read_patch(&json, mode).unwrap(), patch, "{json}");
        }
    }

    #[test]
    fn statistics_survive_a_round_trip_through_json() {
        let stats = StreamStats {
            bytes_received: Some(i64::MAX as u64),
            packets_received: Some(9_007_199_254_740_993),
            rtt_ms: Some(0.1),
            viewers: Some(i64::MAX as u64),
            frame_rate: Some(0.0),
            ..Default::default()
        };
        assert_eq!(read_stats(&stats_body(&stats)).unwrap(), stats);
        let body = stats_body(&StreamStats::default());
        assert_eq!((body.as_str(), read_stats(&body).unwrap()), ("{}", StreamStats::default()));
    }

    #[test]
    fn statistic_that_is_missing_or_null_is_not_set() {
        let viewers = StreamStats { viewers: Some(3), ..Default::default() };
        assert_eq!(read_stats(r#"{"viewers":3,"bitrate":null,"frame_rate":null,"rtt_ms":null}"#).unwrap(), viewers);
        let zero = StreamStats { bitrate: Some(0), frame_rate: Some(0.0), ..Default::default() };
        assert_eq!(read_stats(r#"{"bitrate":0,"frame_rate":0}"#).unwrap(), zero);
    }

    #[test]
    fn invalid_statistic_is_named_in_the_error() {
        for (json, name) in [
            (r#"{"bitrate":-1,"viewers":1}"#, "bitrate"),
            (r#"{"viewers":NaN,"bitrate":1}"#, "viewers"),
            (r#"{"rtt_ms":Infinity}"#, "rtt_ms"),
            (r#"{"fps":1}"#, "fps"),
        ] {
            let error = read_stats(json).unwrap_err();
            assert!(error.message().contains(name), "{json}: {error}");
        }
        let rounded = read_stats(r#"{"bitrate":5467000.0000001,"packets_lost":-3}"#).unwrap();
        assert_eq!((rounded.bitrate, rounded.packets_lost), (Some(5_467_000), Some(0)));
    }
}
