//! The contents of a view: the streams and their metadata.
//!
//! Locks are taken in this order: metadata, table, shard.
//!
//! Every change of a stream holds the write lock of the metadata. So a reader that holds the metadata lock sees all
//! streams as they were at one moment.
//!
//! A look-up locks only the table and one shard. So it never waits for a reader of all streams. It waits for a
//! writer only while the writer changes a stream in the same shard.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};

use tokio::time::Instant;

use super::counts::Counts;
use super::metadata::Metadata;
use super::table::{Origin, Table, read, write};
use crate::error::{Error, ErrorKind, Result};
use crate::query::{By, Filter, Order, Position, Selected, Summary};
use crate::registry::{Write, rules};
use crate::stream::{Revision, Stream, StreamId, Timestamp};
use crate::watch::{Shard, vector};

/// Maximum number of corrected streams that are reported by id.
const MAX_REPORTED: usize = 100;

/// A moment in the history of a view, taken before a read from the store or a write to the store.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    change: u64,
    removals: u64,
}

/// A reconciliation in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconciliation {
    number: u64,
    /// The only shard that is read. `None` if all streams are read.
    shard: Option<Shard>,
    /// How many times a load had replaced the state when the reconciliation started. A later replacement
    /// invalidates the reconciliation.
    replacements: u64,
    /// The number of the last change before the reconciliation started. Entries with a higher number are newer than
    /// the pages.
    last_change: u64,
}

#[derive(Debug)]
pub(super) struct State {
    metadata: RwLock<Metadata>,
    table: RwLock<Arc<Table>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self { metadata: RwLock::default(), table: RwLock::new(Arc::new(Table::new())) }
    }

    pub(super) fn get(&self, id: &StreamId) -> Option<Arc<Stream>> {
        read(&self.table).get(id)
    }

    /// Returns all streams as they were at one moment.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        let metadata = read(&self.metadata);
        metadata.index.all()
    }

    /// Selects the streams of a page, as they all were at one moment.
    pub(super) fn select(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Position>,
        limit: usize,
    ) -> Selected<Arc<Stream>> {
        let metadata = read(&self.metadata);
        metadata.index.select(filter, order, after, limit)
    }

    pub(super) fn summary(&self, filter: &Filter, by: By) -> Summary {
        read(&self.metadata).index.summary(filter, by)
    }

    pub(super) fn counts(&self) -> Counts {
        read(&self.metadata).counts.clone()
    }

    pub(super) fn metadata<T>(&self, inspect: impl FnOnce(&Metadata) -> T) -> T {
        inspect(&read(&self.metadata))
    }

    pub(super) fn change_metadata<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        change(&mut write(&self.metadata))
    }

    /// Returns the number of a load that is about to start.
    pub(super) fn start_load(&self) -> u64 {
        let mut metadata = write(&self.metadata);
        metadata.started_load += 1;
        metadata.written.clear();
        metadata.started_load
    }

    /// Replaces the whole state by the result of a load.
    pub(super) fn install(&self, number: u64, streams: Vec<Arc<Stream>>, revision: Option<Revision>, unreadable: u64) {
        let table = Table::new();
        let mut counts = Counts::default();
        let at = Instant::now();
        let index = streams.iter().map(Arc::clone).collect();
        let mut metadata = write(&self.metadata);
        metadata.change += 1;
        for stream in streams {
            counts.add(&stream);
            // A store lists each stream once. If a store lists a stream twice, the counts are still correct.
            if let Some((duplicate, _)) = table.put(stream, metadata.change, Origin::Feed) {
                counts.subtract(&duplicate);
            }
        }
        metadata.counts = counts;
        // This invalidates reads from the store that are in progress.
        metadata.removals += 1;
        metadata.removed = None;
        metadata.unreadable = unreadable;
        // The pages may have been read before these streams were written.
        for id in std::mem::take(&mut metadata.written) {
            metadata.note(&id);
        }
        metadata.installed_load = number;
        metadata.replacements += 1;
        metadata.confirmed = Some(at);
        metadata.gap = None;
        match revision {
            Some(revision) => metadata.reach(revision),
            // The previous position may belong to another generation of the feed.
            None => metadata.revision = None,
        }
        let replaced_index = std::mem::replace(&mut metadata.index, index);
        let replaced = std::mem::replace(&mut *write(&self.table), Arc::new(table));
        drop(metadata);
        // Many records may be freed here, so no lock is held.
        drop((replaced, replaced_index));
    }

    /// Applies an event: the new record of a stream, or `None` if the stream has ended.
    pub(super) fn apply(&self, revision: Revision, id: &StreamId, stream: Option<Arc<Stream>>) {
        let mut metadata = write(&self.metadata);
        if let Some(with_event) = &mut metadata.with_event {
            with_event.insert(id.clone());
        }
        match stream {
            Some(stream) => self.put(&mut metadata, stream, Origin::Feed),
            None => drop(self.remove(&mut metadata, id)),
        }
        // An event of one shard does not show that the feeds of the other shards can be read.
        if !vector::has_form(revision.as_str()) {
            metadata.confirm();
        }
        metadata.reach(revision);
    }

    /// Applies a sign of life of the feed.
    pub(super) fn confirm(&self, revision: Revision) {
        let mut metadata = write(&self.metadata);
        metadata.reach(revision);
        metadata.confirm();
    }

    fn put(&self, metadata: &mut Metadata, stream: Arc<Stream>, origin: Origin) {
        metadata.change += 1;
        metadata.index.put(&stream);
        match read(&self.table).put(Arc::clone(&stream), metadata.change, origin) {
            Some((replaced, replaced_origin)) => {
                metadata.counts.replace(&replaced, &stream);
                // The event may be older than the statistics of the replaced record.
                if (replaced_origin, origin) == (Origin::Store, Origin::Feed) {
                    metadata.note(&stream.id);
                }
            }
            None => metadata.counts.add(&stream),
        }
    }

    fn remove(&self, metadata: &mut Metadata, id: &StreamId) -> Option<Arc<Stream>> {
        // The removal is recorded even if the view does not hold the stream, because a page that was read earlier
        // may contain the stream.
        if let Some(removed) = &mut metadata.removed {
            removed.insert(id.clone());
        }
        metadata.removals += 1;
        metadata.unconfirmed.remove(id);
        let stream = read(&self.table).remove(id)?;
        metadata.index.remove(id);
        metadata.counts.subtract(&stream);
        Some(stream)
    }

    pub(super) fn moment(&self) -> Moment {
        let metadata = read(&self.metadata);
        Moment { change: metadata.change, removals: metadata.removals }
    }

    /// Returns the streams whose last written statistics the view may not show.
    pub(super) fn unconfirmed(&self) -> Vec<StreamId> {
        read(&self.metadata).unconfirmed.keys().cloned().collect()
    }

    /// Applies the store's reply about a stream. If an event about the stream may have arrived since the moment,
    /// changes nothing and returns `false`.
    pub(super) fn apply_answer(&self, id: &StreamId, moment: Moment, answer: Option<Arc<Stream>>) -> bool {
        let mut metadata = write(&self.metadata);
        let is_newer = match read(&self.table).read(id, |entry| entry.change) {
            Some(change) => change > moment.change,
            // The view does not hold the stream. If the view removed any stream since the moment, it may have been
            // this one.
            None => metadata.removals != moment.removals,
        };
        if is_newer {
            return false;
        }
        match answer {
            Some(stream) => self.put(&mut metadata, stream, Origin::Store),
            None => drop(self.remove(&mut metadata, id)),
        }
        metadata.unconfirmed.remove(id);
        true
    }

    /// Applies a heartbeat or statistics that the store accepted, because the feed does not report such writes.
    pub(super) fn apply_write(&self, accepted: &Write, sent: Moment) {
        let mut metadata = write(&self.metadata);
        if metadata.started_load > metadata.installed_load {
            metadata.written.insert(accepted.id.clone());
        }
        let entry = read(&self.table).read(&accepted.id, |entry| (Arc::clone(&entry.stream), entry.change));
        let Some((stream, last_change)) = entry else {
            // The event of the stream's registration has not arrived yet. Replies to reads that were sent earlier
            // are now outdated.
            metadata.removals += 1;
            metadata.note(&accepted.id);
            return;
        };
        // The view has applied another write or an event since this write was sent. The store may have applied the
        // two in the opposite order.
        if last_change > sent.change {
            metadata.note(&accepted.id);
        }
        // The store has already checked the write. The local time is close enough to the store's time for sorting.
        if let Ok(stream) = rules::apply(&stream, &accepted.change, Timestamp::now()) {
            self.put(&mut metadata, Arc::new(stream), Origin::Store);
        }
    }

    /// Starts a reconciliation of one shard, or of all streams.
    pub(super) fn start_reconciliation(&self, shard: Option<Shard>) -> Reconciliation {
        let mut metadata = write(&self.metadata);
        metadata.removed = Some(HashSet::new());
        metadata.with_event = Some(HashSet::new());
        metadata.started_reconciliations += 1;
        Reconciliation {
            number: metadata.started_reconciliations,
            shard,
            replacements: metadata.replacements,
            last_change: metadata.change,
        }
    }

    /// Applies a page and returns the streams that differed in more than statistics and heartbeats. Returns an
    /// error if a load was installed since the reconciliation started.
    pub(super) fn apply_page(&self, reconciliation: Reconciliation, streams: Vec<Stream>) -> Result<Vec<StreamId>> {
        let mut corrected = Vec::new();
        let mut metadata = write(&self.metadata);
        if metadata.replacements != reconciliation.replacements {
            return Err(invalidated());
        }
        for stream in streams {
            if metadata.removed.as_ref().is_some_and(|removed| removed.contains(&stream.id)) {
                continue;
            }
            let known = read(&self.table).change(&stream.id, |entry| {
                entry.reconciliation = reconciliation.number;
                (entry.change > reconciliation.last_change, Arc::clone(&entry.stream))
            });
            match known {
                // The entry was changed after the reconciliation started, so it is at least as new as the page.
                Some((true, _)) => continue,
                Some((false, known)) if *known == stream => continue,
                Some((false, known)) if same_state(&known, &stream) => {}
                _ => corrected.push(stream.id.clone()),
            }
            self.put(&mut metadata, Arc::new(stream), Origin::Store);
        }
        Ok(corrected)
    }

    /// Returns the streams that the view held at the start of a reconciliation, but that were on no page and had no
    /// event since then. If only one shard is read, returns only streams of this shard.
    pub(super) fn missing(&self, reconciliation: Reconciliation) -> Vec<StreamId> {
        let _metadata = read(&self.metadata);
        let table = Arc::clone(&read(&self.table));
        let mut missing = Vec::new();
        table.for_each(|entry| {
            let is_unchanged = entry.change <= reconciliation.last_change;
            let is_read = || reconciliation.shard.is_none_or(|shard| shard.contains(&entry.stream.id));
            if entry.reconciliation != reconciliation.number && is_unchanged && is_read() {
                missing.push(entry.stream.id.clone());
            }
        });
        missing
    }

    /// Removes each stream about which an event has arrived since the reconciliation started. The store was only ahead
    /// of the feed, so the feed would have corrected the view too.
    pub(super) fn retain_without_event(&self, corrected: &mut Vec<StreamId>) {
        let metadata = read(&self.metadata);
        if let Some(with_event) = &metadata.with_event {
            corrected.retain(|id| !with_event.contains(id));
        }
    }

    /// Completes a reconciliation and records its corrections.
    pub(super) fn finish_reconciliation(
        &self,
        reconciliation: Reconciliation,
        start: Instant,
        corrected: &[StreamId],
        unreadable: u64,
    ) -> Result<()> {
        let mut metadata = write(&self.metadata);
        if metadata.replacements != reconciliation.replacements {
            return Err(invalidated());
        }
        metadata.removed = None;
        metadata.with_event = None;
        if reconciliation.shard.is_some() {
            return Ok(());
        }
        // An unconfirmed stream that the view still does not hold is not live, so it is forgotten.
        let table = Arc::clone(&read(&self.table));
        metadata.unconfirmed.retain(|id, change| *change > reconciliation.last_change || table.get(id).is_some());
        metadata.unreadable = unreadable;
        metadata.confirmed = metadata.confirmed.max(Some(start));
        metadata.corrections.reconciliations += 1;
        // If events were lost, they explain the differences.
        if !corrected.is_empty() && metadata.gap.is_none() {
            metadata.corrections.count += corrected.len() as u64;
            metadata.corrections.last = corrected.iter().take(MAX_REPORTED).cloned().collect();
        }
        Ok(())
    }
}

fn invalidated() -> Error {
    Error::new(ErrorKind::Unavailable, "the local view was loaded again during the reconciliation; try again")
}

/// Returns whether two records differ at most in statistics and heartbeats, which the feed does not report.
fn same_state(one: &Stream, other: &Stream) -> bool {
    // The pattern is exhaustive, so that a new field must be either compared or explicitly ignored.
    let Stream {
        id,
        kind,
        source_addr,
        status,
        created_at,
        last_heartbeat: _,
        video_codec,
        resolution,
        bitrate: _,
        frame_rate: _,
        bytes_received: _,
        packets_received: _,
        packets_lost: _,
        node,
        epoch,
        labels,
        audio_codec,
        rtt_ms: _,
        jitter_ms: _,
        packets_retransmitted: _,
        packets_dropped: _,
        viewers: _,
        end_reason,
        extra,
    } = one;
    (id, kind, source_addr, status, created_at)
        == (&other.id, &other.kind, &other.source_addr, &other.status, &other.created_at)
        && (video_codec, resolution, audio_codec) == (&other.video_codec, &other.resolution, &other.audio_codec)
        && (node, epoch, labels) == (&other.node, &other.epoch, &other.labels)
        && (end_reason, extra) == (&other.end_reason, &other.extra)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Change;
    use crate::stream::{StreamStats, StreamType};

    fn write(bytes_received: u64) -> Write {
        let stats = StreamStats { bytes_received: Some(bytes_received), ..StreamStats::default() };
        Write::new(&StreamId::new("cam").unwrap(), Change::Stats(Box::new(stats)))
    }

    #[test]
    fn write_that_overlaps_another_write_or_a_load_is_unconfirmed() {
        let state = State::new();
        let record = Stream::new(StreamId::new("cam").unwrap(), StreamType::Srt, "h:1");
        let install = |number| state.install(number, vec![Arc::new(record.clone())], None, 0);
        install(state.start_load());
        state.apply_write(&write(1), state.moment());
        assert!(state.unconfirmed().is_empty());

        // Both writes were in flight at once, so the store may have applied them in the other order.
        let sent = state.moment();
        state.apply_write(&write(2), sent);
        assert!(state.unconfirmed().is_empty());
        state.apply_write(&write(3), sent);
        assert_eq!(state.unconfirmed().len(), 1);
        assert!(state.apply_answer(&record.id, state.moment(), Some(Arc::new(record.clone()))));
        assert!(state.unconfirmed().is_empty());

        // A write is applied during a load. The load then replaces this write.
        let number = state.start_load();
        state.apply_write(&write(4), state.moment());
        assert!(state.unconfirmed().is_empty());
        install(number);
        assert_eq!(state.unconfirmed().len(), 1);
    }

    #[test]
    fn reconciliation_forgets_unconfirmed_streams_missing_from_the_store() {
        let state = State::new();
        state.install(state.start_load(), Vec::new(), None, 0);
        state.apply_write(&write(1), state.moment());
        let reconciliation = state.start_reconciliation(None);
        state.finish_reconciliation(reconciliation, Instant::now(), &[], 0).unwrap();
        assert!(state.unconfirmed().is_empty());
    }
}
