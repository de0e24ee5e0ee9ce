//! The counts that a view reports: its streams and its corrections.

use std::collections::BTreeMap;

use crate::registry::metrics::EventCounts;
use crate::stream::{Stream, StreamId, StreamStatus, StreamType};
use crate::watch::{ChangeKind, Ending, Event};

/// The numbers of streams in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// The number of all streams.
    pub total: u64,
    /// The number of streams by status. A status without streams has no entry.
    pub by_status: BTreeMap<StreamStatus, u64>,
    /// The number of streams by type. A type without streams has no entry.
    pub by_type: BTreeMap<StreamType, u64>,
    /// The number of streams by status and type. A combination without streams has no entry.
    pub by_status_and_type: BTreeMap<(StreamStatus, StreamType), u64>,
    /// The number of streams by node, with `None` for streams without a node. A node without streams has no entry.
    pub by_node: BTreeMap<Option<String>, u64>,
}

impl Counts {
    pub(super) fn add(&mut self, stream: &Stream) {
        fn adjust<K: Ord + Clone>(counts: &mut BTreeMap<K, u64>, key: &K) {
            match counts.get_mut(key) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(key.clone(), 1);
                }
            }
        }
        self.total += 1;
        adjust(&mut self.by_status, &stream.status);
        adjust(&mut self.by_type, &stream.kind);
        adjust(&mut self.by_status_and_type, &(stream.status.clone(), stream.kind.clone()));
        adjust(&mut self.by_node, &stream.node);
    }

    /// Counts a new record of a stream instead of its earlier record.
    pub(super) fn replace(&mut self, earlier: &Stream, new: &Stream) {
        // Heartbeats and statistics, which are most of all writes, change no count.
        if (&earlier.status, &earlier.kind, &earlier.node) != (&new.status, &new.kind, &new.node) {
            self.add(new);
            self.subtract(earlier);
        }
    }

    pub(super) fn subtract(&mut self, stream: &Stream) {
        fn adjust<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        self.total -= 1;
        adjust(&mut self.by_status, &stream.status);
        adjust(&mut self.by_type, &stream.kind);
        adjust(&mut self.by_status_and_type, &(stream.status.clone(), stream.kind.clone()));
        adjust(&mut self.by_node, &stream.node);
    }
}

/// Counts an event.
pub(super) fn count_event(counts: &mut EventCounts, event: &Event) {
    let count = match event {
        Event::Changed { kind, .. } => match kind {
            ChangeKind::Registered => &mut counts.registered,
            ChangeKind::Updated => &mut counts.updated,
            ChangeKind::Status => &mut counts.status,
            ChangeKind::Patched => &mut counts.patched,
            ChangeKind::TakenOver => &mut counts.taken_over,
        },
        Event::Ended { reason: Ending::Unregistered(_), .. } => &mut counts.unregistered,
        Event::Ended { reason: Ending::Expired, .. } => &mut counts.expired,
        Event::Resync { .. } | Event::Alive { .. } => return,
    };
    *count += 1;
}

/// Summary of the corrections that reconciliations have made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corrections {
    /// The number of completed reconciliations.
    pub reconciliations: u64,
    /// The number of streams that reconciliations added, removed or changed. Changes of statistics and heartbeats
    /// do not count.
    pub count: u64,
    /// The streams that were corrected by the last reconciliation that corrected any; at most 100.
    pub last: Vec<StreamId>,
}
