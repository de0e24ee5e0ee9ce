//! The record of a stream, with legal values only, and the difference between two records.

use std::collections::BTreeMap;

use stream_registry::stream::LabelsPatch;
use stream_registry::stream::limits::{
    MAX_COUNT, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_LEASED_RECORD_BYTES, MAX_STRING_BYTES,
};
use stream_registry::{Stream, StreamPatch, StreamStats, StreamStatus};

use super::{Change, SERVER_LABEL, SESSION_LABEL, Settings};
use crate::model::{Counters, Gauges, Item, ItemState};

/// Labels with fewer bytes than this fit into a record, even if JSON escapes every byte.
const SMALL_LABELS: usize = 2048;

/// The values that the reconciler adds to the item of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) totals: Counters,
    /// The computed bit rate.
    pub(super) bitrate: Option<u64>,
    pub(super) stalled: bool,
    pub(super) reconnects: u64,
}

/// Sets the fields of a record. Statistics that are unknown keep their value.
pub(super) fn fill(record: &mut Stream, item: &Item, measured: &Measured, settings: &Settings) {
    record.kind = item.kind.clone();
    record.source_addr = cut(&item.source_addr, MAX_STRING_BYTES);
    record.set_status(match item.state {
        ItemState::Connecting => StreamStatus::Connecting,
        ItemState::Active if measured.stalled => StreamStatus::Paused,
        ItemState::Active => StreamStatus::Active,
        ItemState::Paused => StreamStatus::Paused,
    });
    record.video_codec = cut(&item.media.video_codec, MAX_STRING_BYTES);
    record.resolution = cut(&item.media.resolution, MAX_STRING_BYTES);
    record.audio_codec =
        Some(cut(&item.media.audio_codec, MAX_STRING_BYTES)).filter(|audio_codec| !audio_codec.is_empty());
    record.node = Some(cut(&settings.node, MAX_STRING_BYTES)).filter(|node| !node.is_empty());
    record.update_stats(&stats(item, measured));
    let own = own_labels(item, measured, settings);
    record.labels = with_item_labels(&own, item);
    let bytes: usize = record.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > SMALL_LABELS && record.to_json().len() > MAX_LEASED_RECORD_BYTES {
        record.labels = own;
    }
}

fn stats(item: &Item, measured: &Measured) -> StreamStats {
    let Counters { bytes, packets, lost, retransmitted, dropped } = measured.totals;
    let Gauges { bitrate, rtt_ms, viewers } = item.gauges;
    let positive = |value: &f64| value.is_finite() && *value > 0.0;
    // Several servers report a bit rate of 0 until they have measured it, so the computed one wins over 0.
    let bitrate = bitrate.filter(|bitrate| *bitrate > 0).or(measured.bitrate).or(bitrate);
    StreamStats {
        bytes_received: bytes,
        packets_received: packets,
        packets_lost: lost,
        // A server may keep showing the last bit rate of a publisher that sends nothing.
        bitrate: if measured.stalled { Some(0) } else { bitrate.map(|bitrate| bitrate.min(MAX_COUNT)) },
        rtt_ms: rtt_ms.filter(|rtt| rtt.is_finite() && *rtt >= 0.0),
        jitter_ms: None,
        packets_retransmitted: retransmitted,
        packets_dropped: dropped,
        viewers: viewers.map(|viewers| viewers.min(MAX_COUNT)),
        frame_rate: Some(item.media.frame_rate).filter(positive),
    }
}

/// Returns the labels that the reconciler sets itself.
fn own_labels(item: &Item, measured: &Measured, settings: &Settings) -> BTreeMap<String, String> {
    let reconnects = if measured.reconnects > 0 { measured.reconnects.to_string() } else { String::new() };
    let stalled = if measured.stalled && item.state == ItemState::Active { "true" } else { "" };
    [
        (SERVER_LABEL, &*settings.server),
        (SESSION_LABEL, &item.session),
        ("reconnects", &reconnects),
        ("stalled", stalled),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), cut(value, MAX_LABEL_VALUE_BYTES)))
    .collect()
}

/// Adds the legal labels of the server to those that the reconciler sets itself.
fn with_item_labels(own: &BTreeMap<String, String>, item: &Item) -> BTreeMap<String, String> {
    let mut labels = own.clone();
    for (name, value) in &item.labels {
        let is_own = matches!(&**name, SERVER_LABEL | SESSION_LABEL | "reconnects" | "stalled");
        if labels.len() < MAX_LABELS && !is_own && !name.is_empty() && name.len() <= MAX_LABEL_NAME_BYTES {
            labels.insert(name.clone(), cut(value, MAX_LABEL_VALUE_BYTES));
        }
    }
    labels
}

/// Returns the longest prefix of a string with at most this many bytes.
fn cut(value: &str, max: usize) -> String {
    let end = (0..=max.min(value.len())).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    value[..end].to_owned()
}

/// Returns the change that turns the old record into the new one; `None` if they are equal.
///
/// Returns `Register` if the type or the address differs, because an update cannot change these fields.
pub fn difference(old: &Stream, new: &Stream) -> Option<Change> {
    if old.kind != new.kind || old.source_addr != new.source_addr {
        return Some(Change::Register(Box::new(new.clone())));
    }
    let status = (old.status != new.status).then(|| new.status.clone());
    let changed = |old: &str, new: &str| (old != new).then(|| new.to_owned());
    let audio_codec = |record: &Stream| record.audio_codec.clone().unwrap_or_default();
    let patch = StreamPatch {
        video_codec: changed(&old.video_codec, &new.video_codec),
        resolution: changed(&old.resolution, &new.resolution),
        audio_codec: changed(&audio_codec(old), &audio_codec(new)),
        labels: labels_patch(&old.labels, &new.labels),
        ..StreamPatch::default()
    };
    let stats = new.stats();
    (status.is_some() || !patch.is_empty() || stats != old.stats()).then(|| Change::Update {
        id: new.id.clone(),
        status,
        stats,
        patch,
    })
}

fn labels_patch(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> LabelsPatch {
    let removed = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), None));
    let set = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
    let merge: BTreeMap<_, _> = removed.chain(set.map(|(name, value)| (name.clone(), Some(value.clone())))).collect();
    if merge.is_empty() { LabelsPatch::Keep } else { LabelsPatch::Merge(merge) }
}
