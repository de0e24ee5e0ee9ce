//! The state of a view, except the table of its streams.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use super::counts::{Corrections, Counts};
use super::index::Index;
use crate::registry::metrics::EventCounts;
use crate::stream::{Revision, StreamId};
use crate::watch::vector;

/// Number of recent revisions that a view remembers, so that it knows which revisions it has reached. Vector revisions
/// are not remembered, because they can be compared.
const REMEMBERED_REVISIONS: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) counts: Counts,
    pub(super) index: Index,
    /// The number of the last change. Each change of a stream has a higher number than the change before.
    pub(super) change: u64,
    /// How many streams were removed.
    pub(super) removals: u64,
    /// Streams whose last written statistics the view may not show, each with the number of the change that marked
    /// the stream as unconfirmed.
    pub(super) unconfirmed: HashMap<StreamId, u64>,
    /// Streams that were written since the last load was started.
    pub(super) written: HashSet<StreamId>,
    /// Whether the view follows a change feed.
    pub(super) has_feed: bool,
    /// The streams that were removed since the reconciliation in progress was started.
    pub(super) removed: Option<HashSet<StreamId>>,
    /// The streams about which an event has arrived since the reconciliation in progress was started.
    pub(super) with_event: Option<HashSet<StreamId>>,
    /// The number of reconciliations that were started.
    pub(super) started_reconciliations: u64,
    /// The number of records that cannot be decoded.
    pub(super) unreadable: u64,
    /// The position in the feed that the view shows. While there is a gap, it stays at the position before the gap.
    pub(super) revision: Option<Revision>,
    recent: HashSet<Revision>,
    /// The revisions in `recent`, the oldest first.
    recent_order: VecDeque<Revision>,
    /// The number of the last load that was started. Loads are numbered from 1.
    pub(super) started_load: u64,
    /// The number of the last load that was installed.
    pub(super) installed_load: u64,
    /// How many times a load replaced the whole state.
    pub(super) replacements: u64,
    /// When the view was last known to be current.
    pub(super) confirmed: Option<Instant>,
    /// How many times the streams of one shard were loaded again.
    pub(super) shard_loads: u64,
    /// Set while the view lacks events of some shards.
    pub(super) gap: Option<Gap>,
    pub(super) closed: bool,
    pub(super) corrections: Corrections,
    pub(super) events: EventCounts,
}

/// What the feed has shown since the view lost events of a shard, and before it has read the shard again.
#[derive(Debug)]
pub(super) struct Gap {
    /// The position up to which the other events were applied.
    pub(super) reached: Revision,
    /// When the feed last confirmed that no events are missing after the gap.
    confirmed: Option<Instant>,
}

impl Metadata {
    /// Marks a stream as unconfirmed: the view may not show its last written statistics.
    pub(super) fn note(&mut self, id: &StreamId) {
        self.change += 1;
        self.unconfirmed.insert(id.clone(), self.change);
    }

    /// Records that the feed shows the view as current now.
    pub(super) fn confirm(&mut self) {
        let confirmed = self.gap.as_mut().map_or(&mut self.confirmed, |gap| &mut gap.confirmed);
        *confirmed = Some(Instant::now());
    }

    /// Begins a gap that ends at a position in the feed, or extends the gap.
    pub(super) fn open_gap(&mut self, end: Revision) {
        self.gap = Some(Gap { reached: end, confirmed: None });
    }

    /// Ends the gap: the view has read all its shards again.
    pub(super) fn close_gap(&mut self) {
        if let Some(gap) = self.gap.take() {
            self.confirmed = self.confirmed.max(gap.confirmed);
            self.reach(gap.reached);
        }
    }

    /// Sets the position in the feed that the view shows.
    pub(super) fn reach(&mut self, revision: Revision) {
        if let Some(gap) = &mut self.gap {
            gap.reached = revision;
            return;
        }
        if self.revision.as_ref() == Some(&revision) {
            return;
        }
        if vector::has_form(revision.as_str()) {
            // The positions in a vector revision can be compared.
            self.revision = Some(revision);
            return;
        }
        if self.recent_order.len() == REMEMBERED_REVISIONS
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        if self.recent.insert(revision.clone()) {
            self.recent_order.push_back(revision.clone());
        }
        self.revision = Some(revision);
    }

    pub(super) fn has_reached(&self, revision: &Revision) -> bool {
        self.recent.contains(revision) || self.revision.as_ref().is_some_and(|shown| vector::includes(shown, revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::vector::{ShardPosition, encode};

    #[test]
    fn view_has_reached_a_combination_of_positions_that_no_event_had() {
        let at = |one, other| encode(&[one, other].map(|time| ShardPosition { generation: (1, 0), last: (time, 0) }));
        let mut metadata = Metadata::default();
        for revision in [at(5, 5), at(6, 5), at(6, 6)] {
            metadata.reach(revision);
        }
        assert!(metadata.has_reached(&at(5, 6)) && metadata.has_reached(&at(6, 6)));
        assert!(!metadata.has_reached(&at(7, 5)));
        assert!(metadata.recent.is_empty());
    }

    #[test]
    fn view_reaches_no_position_after_a_gap_until_the_gap_is_closed() {
        let at = |one, other| encode(&[one, other].map(|time| ShardPosition { generation: (1, 0), last: (time, 0) }));
        let mut metadata = Metadata::default();
        metadata.reach(at(5, 5));
        metadata.open_gap(at(9, 5));
        metadata.reach(at(9, 6));
        metadata.confirm();
        assert!(
            metadata.has_reached(&at(5, 5)) && !metadata.has_reached(&at(5, 6)) && !metadata.has_reached(&at(9, 5))
        );
        assert_eq!((&metadata.revision, metadata.confirmed), (&Some(at(5, 5)), None));
        metadata.close_gap();
        assert!(metadata.has_reached(&at(9, 6)) && metadata.confirmed.is_some());
    }
}
