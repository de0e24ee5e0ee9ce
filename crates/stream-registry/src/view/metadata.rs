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
    /// The position in the feed that the view shows.
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
    pub(super) closed: bool,
    pub(super) corrections: Corrections,
    pub(super) events: EventCounts,
}

impl Metadata {
    /// Marks a stream as unconfirmed: the view may not show its last written statistics.
    pub(super) fn note(&mut self, id: &StreamId) {
        self.change += 1;
        self.unconfirmed.insert(id.clone(), self.change);
    }

    /// Sets the position in the feed that the view shows.
    pub(super) fn reach(&mut self, revision: Revision) {
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
}
