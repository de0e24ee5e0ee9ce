//! Reports that are not written yet; only the newest value of each kind is kept.

use crate::registry::Change;
use crate::stream::{LabelsPatch, StreamPatch, StreamStats, StreamStatus};

/// The reports of one lease that wait to be written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pending {
    pub(super) status: Option<StreamStatus>,
    pub(super) stats: Option<StreamStats>,
    pub(super) patch: Option<StreamPatch>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.status.is_none() && self.stats.is_none() && self.patch.is_none()
    }

    /// Returns the change to write next. A patch comes last, because a store whose memory is full rejects only
    /// patches.
    pub(super) fn next(&self) -> Option<Change> {
        let status = self.status.clone().map(Change::Status);
        let stats = || self.stats.clone().map(|stats| Change::Stats(Box::new(stats)));
        let patch = || self.patch.clone().map(|patch| Change::Patch(Box::new(patch)));
        status.or_else(stats).or_else(patch)
    }

    /// Removes a change that was written, or that the store will never accept.
    pub(super) fn remove(&mut self, change: &Change) {
        match change {
            Change::Status(_) => self.status = None,
            Change::Stats(_) => self.stats = None,
            Change::Patch(_) => self.patch = None,
            Change::Heartbeat | Change::Update(_) => {}
        }
    }

    pub(super) fn set_stats(&mut self, newer: StreamStats) {
        if let (Some(_), Some(patch)) = (newer.frame_rate, &mut self.patch) {
            patch.frame_rate = None;
        }
        self.stats = Some(match self.stats.take() {
            Some(older) => merge_stats(older, newer),
            None => newer,
        });
    }

    pub(super) fn set_patch(&mut self, newer: StreamPatch) {
        if let (Some(_), Some(stats)) = (newer.frame_rate, &mut self.stats) {
            stats.frame_rate = None;
        }
        self.patch = Some(match self.patch.take() {
            Some(older) => merge_patch(older, newer),
            None => newer,
        });
    }

    /// Restores reports that could not be written. Newer reports take precedence.
    pub(super) fn restore(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        if let Some(status) = newer.status {
            self.status = Some(status);
        }
        // Statistics and patch never both have a frame rate, so the order of the two calls below does not matter.
        if let Some(stats) = newer.stats {
            self.set_stats(stats);
        }
        if let Some(patch) = newer.patch {
            self.set_patch(patch);
        }
    }
}

/// Merges statistics: a value that is `None` keeps the older value.
fn merge_stats(older: StreamStats, newer: StreamStats) -> StreamStats {
    StreamStats {
        bytes_received: newer.bytes_received.or(older.bytes_received),
        packets_received: newer.packets_received.or(older.packets_received),
        packets_lost: newer.packets_lost.or(older.packets_lost),
        bitrate: newer.bitrate.or(older.bitrate),
        rtt_ms: newer.rtt_ms.or(older.rtt_ms),
        jitter_ms: newer.jitter_ms.or(older.jitter_ms),
        packets_retransmitted: newer.packets_retransmitted.or(older.packets_retransmitted),
        packets_dropped: newer.packets_dropped.or(older.packets_dropped),
        viewers: newer.viewers.or(older.viewers),
        frame_rate: newer.frame_rate.or(older.frame_rate),
    }
}

/// Merges two patches into one with the same effect.
fn merge_patch(older: StreamPatch, newer: StreamPatch) -> StreamPatch {
    let labels = match (older.labels, newer.labels) {
        (labels, LabelsPatch::Keep) | (_, labels @ LabelsPatch::Replace(_)) => labels,
        (LabelsPatch::Keep, labels) => labels,
        (LabelsPatch::Merge(mut labels), LabelsPatch::Merge(newer)) => {
            labels.extend(newer);
            LabelsPatch::Merge(labels)
        }
        (LabelsPatch::Replace(mut labels), LabelsPatch::Merge(newer)) => {
            for (name, value) in newer {
                match value {
                    Some(value) => labels.insert(name, value),
                    None => labels.remove(&name),
                };
            }
            LabelsPatch::Replace(labels)
        }
    };
    StreamPatch {
        video_codec: newer.video_codec.or(older.video_codec),
        resolution: newer.resolution.or(older.resolution),
        frame_rate: newer.frame_rate.or(older.frame_rate),
        audio_codec: newer.audio_codec.or(older.audio_codec),
        node: newer.node.or(older.node),
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Stream, StreamType};

    fn patches() -> Vec<StreamPatch> {
        let codec = |codec: &str| StreamPatch { video_codec: Some(codec.into()), ..Default::default() };
        let labels = [("a".to_owned(), None), ("b".to_owned(), Some("2".to_owned()))];
        let removal = StreamPatch { labels: LabelsPatch::Merge(labels.into()), ..Default::default() };
        let replace =
            StreamPatch { labels: LabelsPatch::Replace([("a".into(), "9".into())].into()), ..Default::default() };
        let rate = StreamPatch { frame_rate: Some(25.0), node: Some(String::new()), ..Default::default() };
        vec![codec("HEVC").label("a", "1"), codec("").label("c", "3"), removal, replace, rate, StreamPatch::default()]
    }

    #[test]
    fn merged_patch_has_the_effect_of_all_its_patches() {
        let mut before = Stream::new("cam1".parse().unwrap(), StreamType::Srt, "h:1");
        before.labels.insert("a".into(), "0".into());
        before.node = Some("n1".into());
        for first in patches() {
            for second in patches() {
                for third in patches() {
                    let mut in_sequence = before.clone();
                    let mut pending = Pending::default();
                    for patch in [&first, &second, &third] {
                        in_sequence.apply_patch(patch);
                        pending.set_patch(patch.clone());
                    }
                    let mut merged = before.clone();
                    merged.apply_patch(&pending.patch.unwrap());
                    assert_eq!(merged, in_sequence, "{first:?} {second:?} {third:?}");
                }
            }
        }
    }

    #[test]
    fn newer_reports_win_over_reports_of_a_failed_write() {
        let stats = |bytes, rtt_ms| StreamStats { bytes_received: Some(bytes), rtt_ms, ..Default::default() };
        let mut now = Pending::default();
        now.set_stats(stats(2, None));
        let mut older = Pending { status: Some(StreamStatus::Active), ..Default::default() };
        older.set_stats(StreamStats { bitrate: Some(9), ..stats(1, Some(7.0)) });
        now.restore(older);
        let merged = StreamStats { bitrate: Some(9), ..stats(2, Some(7.0)) };
        assert_eq!((now.status.clone(), now.stats.clone()), (Some(StreamStatus::Active), Some(merged)));
        now.status = Some(StreamStatus::Paused);
        now.restore(Pending { status: Some(StreamStatus::Error), ..Default::default() });
        assert_eq!(now.status, Some(StreamStatus::Paused));
    }

    #[test]
    fn newest_frame_rate_of_statistics_and_patches_wins() {
        let rate = |frame_rate| StreamPatch { frame_rate: Some(frame_rate), ..Default::default() };
        let stats = |frame_rate| StreamStats { frame_rate: Some(frame_rate), ..Default::default() };
        let mut pending = Pending::default();
        pending.set_stats(stats(25.0));
        pending.set_patch(rate(50.0));
        assert_eq!(pending.stats.as_ref().unwrap().frame_rate, None);
        pending.set_stats(stats(30.0));
        assert_eq!(pending.patch.as_ref().unwrap().frame_rate, None);
        assert_eq!(pending.stats.as_ref().unwrap().frame_rate, Some(30.0));
    }

    #[test]
    fn pending_patch_is_written_after_status_and_statistics() {
        let mut pending = Pending::default();
        pending.set_patch(StreamPatch::default().label("a", "1"));
        pending.set_stats(StreamStats::default());
        pending.status = Some(StreamStatus::Active);
        let mut order = Vec::new();
        while let Some(change) = pending.next() {
            pending.remove(&change);
            order.push(change.operation().as_str());
        }
        assert_eq!(order, ["status", "stats", "patch"]);
        assert!(pending.is_empty());
    }
}
