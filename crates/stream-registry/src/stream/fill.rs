//! Filling the unset fields of a record from another record of the same stream.

use std::collections::BTreeMap;

use super::extra::Extra;
use super::{Stream, StreamStatus};

/// Copies single fields, with their nonconforming values, from one record to another.
struct Fill<'a> {
    extra: &'a mut Extra,
    from: &'a Extra,
}

impl Fill<'_> {
    /// Copies a field if it is unset.
    fn field<T: Clone + PartialEq>(&mut self, name: &'static str, field: &mut T, value: &T, unset: &T) {
        if field == unset && self.extra.nonconforming(name).is_none() {
            field.clone_from(value);
            self.extra.copy_nonconforming(name, self.from);
        }
    }
}

impl Stream {
    /// Copies each field that is unset (empty, 0, missing, or the status `connecting`) from another record, and adds
    /// the unknown fields that only the other record has.
    ///
    /// Fields that only the store sets are not copied: both times, the epoch and the end reason.
    pub(crate) fn fill_unset(&mut self, other: &Self) {
        // The pattern is exhaustive, so that the compiler reports a new field that is not copied.
        let Self {
            id: _,
            kind: _,
            source_addr: _,
            status,
            created_at: _,
            last_heartbeat: _,
            video_codec,
            resolution,
            bitrate,
            frame_rate,
            bytes_received,
            packets_received,
            packets_lost,
            node,
            epoch: _,
            labels,
            audio_codec,
            rtt_ms,
            jitter_ms,
            packets_retransmitted,
            packets_dropped,
            viewers,
            end_reason: _,
            extra,
        } = other;
        let mut fill = Fill { extra: &mut self.extra, from: extra };
        fill.field("status", &mut self.status, status, &StreamStatus::Connecting);
        fill.field("video_codec", &mut self.video_codec, video_codec, &String::new());
        fill.field("resolution", &mut self.resolution, resolution, &String::new());
        fill.field("bitrate", &mut self.bitrate, bitrate, &0);
        fill.field("frame_rate", &mut self.frame_rate, frame_rate, &0.0);
        fill.field("bytes_received", &mut self.bytes_received, bytes_received, &0);
        fill.field("packets_received", &mut self.packets_received, packets_received, &0);
        fill.field("packets_lost", &mut self.packets_lost, packets_lost, &0);
        fill.field("node", &mut self.node, node, &None);
        fill.field("labels", &mut self.labels, labels, &BTreeMap::new());
        fill.field("audio_codec", &mut self.audio_codec, audio_codec, &None);
        fill.field("rtt_ms", &mut self.rtt_ms, rtt_ms, &None);
        fill.field("jitter_ms", &mut self.jitter_ms, jitter_ms, &None);
        fill.field("packets_retransmitted", &mut self.packets_retransmitted, packets_retransmitted, &None);
        fill.field("packets_dropped", &mut self.packets_dropped, packets_dropped, &None);
        fill.field("viewers", &mut self.viewers, viewers, &None);
        self.extra.add_unknown(extra);
    }
}
