//! Selects, counts and sorts the streams of the table.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::query::Filter;
use stream_registry::{Stream, StreamId, StreamStatus, Timestamp};

use crate::cli::output::{COLUMNS, Column, Key};

/// A holder of a lease sends a heartbeat at least every 10 s. After this time, three of them are missing.
const LATE_LEASE: Duration = Duration::from_secs(30);

/// A group of streams, selected with the keys 1 to 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Facet {
    #[default]
    All,
    Active,
    Error,
    /// No heartbeat for longer than expected.
    Late,
    /// Taken over by another publisher since the start of the program.
    TakenOver,
}

impl Facet {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::All, "all"),
        (Self::Active, "active"),
        (Self::Error, "error"),
        (Self::Late, "late"),
        (Self::TakenOver, "taken over"),
    ];
}

/// What decides about the facets of a stream.
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    /// The time to live of the store.
    pub(super) ttl: Duration,
    pub(super) taken_over: &'a HashSet<StreamId>,
}

impl Moment<'_> {
    /// Returns whether a heartbeat is missing. Only the heartbeats of a leased stream have a known interval. Any other
    /// stream is late after half of its time to live.
    pub(super) fn is_late(&self, stream: &Stream) -> bool {
        let half = self.ttl / 2;
        let limit = if stream.epoch().is_some() { half.min(LATE_LEASE) } else { half };
        self.now.since(stream.last_heartbeat) > limit
    }

    fn selects(&self, facet: Facet, stream: &Stream) -> bool {
        match facet {
            Facet::All => true,
            Facet::Active => stream.status == StreamStatus::Active,
            Facet::Error => stream.status == StreamStatus::Error,
            Facet::Late => self.is_late(stream),
            Facet::TakenOver => self.taken_over.contains(&stream.id),
        }
    }
}

/// The order of the table.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Sort {
    pub(super) column: &'static Column,
    pub(super) descending: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self { column: &COLUMNS[0], descending: false }
    }
}

impl FromStr for Sort {
    type Err = String;

    /// Parses the name of a column; a leading `-` sorts descending.
    fn from_str(order: &str) -> Result<Self, String> {
        let (name, descending) = order.strip_prefix('-').map_or((order, false), |name| (name, true));
        let column = Column::with_name(name).ok_or_else(|| {
            let names: Vec<_> = Column::names().collect();
            format!("expected a column, with a leading - for descending: {}", names.join(", "))
        })?;
        Ok(Self { column, descending })
    }
}

impl Sort {
    /// Sorts by a column that was just selected: numbers in descending order, strings from A to Z. `sample` is any stream,
    /// and shows whether the column has numbers.
    pub(super) fn by(column: &'static Column, sample: Option<&Stream>) -> Self {
        let descending = sample.is_some_and(|stream| matches!((column.key)(stream), Key::Number(_)));
        Self { column, descending }
    }

    fn compare(self, one: &(Key<'_>, &Arc<Stream>), other: &(Key<'_>, &Arc<Stream>)) -> Ordering {
        let by_key = one.0.cmp(&other.0);
        let by_key = if self.descending { by_key.reverse() } else { by_key };
        by_key.then_with(|| one.1.id.cmp(&other.1.id))
    }
}

/// The streams of the table, and the number of streams in each facet.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) streams: Vec<Arc<Stream>>,
    /// The number of streams in each facet that match the filter.
    pub(super) counts: [usize; 5],
    /// The total bit rate of all streams that match the filter.
    pub(super) bitrate: u64,
}

/// Selects the streams that match a filter and a facet, in order.
pub(super) fn select(streams: &[Arc<Stream>], moment: &Moment<'_>, filter: &Filter, facet: Facet, sort: Sort) -> Rows {
    let matches = filter.matcher();
    let mut counts = [0; 5];
    let mut bitrate: u64 = 0;
    let mut selected = Vec::new();
    for stream in streams.iter().filter(|stream| matches(stream)) {
        bitrate = bitrate.saturating_add(stream.bitrate);
        for (count, (counted, _)) in counts.iter_mut().zip(Facet::ALL) {
            *count += usize::from(moment.selects(counted, stream));
        }
        if moment.selects(facet, stream) {
            selected.push(((sort.column.key)(stream), stream));
        }
    }
    selected.sort_unstable_by(|one, other| sort.compare(one, other));
    Rows { streams: selected.into_iter().map(|(_, stream)| Arc::clone(stream)).collect(), counts, bitrate }
}

/// The streams of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) streams: usize,
    pub(super) errors: usize,
    pub(super) bitrate: u64,
    pub(super) packets_received: u64,
    pub(super) packets_lost: u64,
    pub(super) last_heartbeat: Timestamp,
    /// Whether all streams are late.
    pub(super) is_silent: bool,
}

/// Groups the streams that match a filter by node, the silent ones first. The name is empty for streams without a node.
pub(super) fn by_node(streams: &[Arc<Stream>], moment: &Moment<'_>, filter: &Filter) -> Vec<(String, Node)> {
    let matches = filter.matcher();
    let mut nodes: BTreeMap<&str, Node> = BTreeMap::new();
    for stream in streams.iter().filter(|stream| matches(stream)) {
        let node = nodes.entry(stream.node.as_deref().unwrap_or_default()).or_insert(Node {
            streams: 0,
            errors: 0,
            bitrate: 0,
            packets_received: 0,
            packets_lost: 0,
            last_heartbeat: stream.last_heartbeat,
            is_silent: true,
        });
        node.streams += 1;
        node.errors += usize::from(moment.selects(Facet::Error, stream));
        node.bitrate = node.bitrate.saturating_add(stream.bitrate);
        node.packets_received = node.packets_received.saturating_add(stream.packets_received);
        node.packets_lost = node.packets_lost.saturating_add(stream.packets_lost);
        node.last_heartbeat = node.last_heartbeat.max(stream.last_heartbeat);
        node.is_silent &= moment.is_late(stream);
    }
    let mut nodes: Vec<_> = nodes.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
    nodes.sort_by_key(|(_, node)| !node.is_silent);
    nodes
}
