//! The events that a webhook has read but not delivered yet.
//!
//! Events of different streams can be delivered in any order, those of one stream in the order of the feed. The queue
//! also knows the position up to which everything was delivered: an event that is not delivered yet remembers how far
//! the feed was read until the next such event.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use stream_registry::watch::Event;
use stream_registry::{Revision, StreamId, Timestamp};
use tokio::time::Instant;

/// Maximum number of undelivered events. When it is reached, the feed is not read further.
const CAPACITY: usize = 1_000;

/// A stream that has begun or ceased to match the filter, with whether it matched before.
pub(super) type Toggle = (StreamId, bool);

/// An event to deliver.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Identifies the event in the queue.
    pub(super) number: u64,
    pub(super) event: Arc<Event>,
    /// When the event happened.
    pub(super) time: Timestamp,
}

#[derive(Debug)]
struct Entry {
    event: Arc<Event>,
    time: Timestamp,
    failures: u32,
    first_attempt: Option<Instant>,
    /// The revision up to which everything is delivered after this event and all earlier ones.
    reached: Revision,
    /// The streams for which this event, or the delivered ones after it, have changed whether they match.
    toggles: HashMap<StreamId, bool>,
}

impl Entry {
    fn toggle(&mut self, (id, matched): Toggle) {
        // Two changes of one stream cancel each other.
        if self.toggles.remove(&id).is_none() {
            self.toggles.insert(id, matched);
        }
    }
}

/// Undelivered events in the order of the feed.
#[derive(Debug)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Entry>,
    /// The entries that may be sent, by the time from which they may.
    due: BTreeSet<(Instant, u64)>,
    /// The entries of each stream. Only the first one of a stream may be sent.
    streams: HashMap<StreamId, VecDeque<u64>>,
    next: u64,
    /// Whether the last entry is a resync, which is delivered alone.
    ends_in_resync: bool,
    /// The revision up to which everything is delivered.
    reached: Option<Revision>,
}

impl Queue {
    /// Creates an empty queue at a position.
    pub(super) fn new(reached: Option<Revision>) -> Self {
        Self {
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            streams: HashMap::new(),
            next: 0,
            ends_in_resync: false,
            reached,
        }
    }

    /// Returns whether another event may be added.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < CAPACITY && !self.ends_in_resync
    }

    /// Returns the number of undelivered events.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns when the oldest undelivered event happened.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.entries.first_key_value().map(|(_, entry)| entry.time)
    }

    /// Returns the revision up to which everything is delivered.
    pub(super) fn reached(&self) -> Option<&Revision> {
        self.reached.as_ref()
    }

    /// Adds an event to deliver.
    pub(super) fn push(&mut self, event: Event, time: Timestamp, toggle: Option<Toggle>, now: Instant) {
        let number = self.next;
        self.next += 1;
        let is_first = match event.stream() {
            Some(stream) => {
                let numbers = self.streams.entry(stream.id.clone()).or_default();
                numbers.push_back(number);
                numbers.len() == 1
            }
            None => {
                self.ends_in_resync = true;
                self.entries.is_empty()
            }
        };
        if is_first {
            self.due.insert((now, number));
        }
        let reached = event.revision().clone();
        let event = Arc::new(event);
        let mut entry = Entry { event, time, failures: 0, first_attempt: None, reached, toggles: HashMap::new() };
        toggle.into_iter().for_each(|toggle| entry.toggle(toggle));
        self.entries.insert(number, entry);
    }

    /// Notes that the feed was read up to a revision without another event to deliver.
    pub(super) fn skip(&mut self, reached: Revision, toggle: Option<Toggle>) {
        match self.entries.last_entry() {
            Some(mut last) => {
                let last = last.get_mut();
                last.reached = reached;
                toggle.into_iter().for_each(|toggle| last.toggle(toggle));
            }
            None => self.reached = Some(reached),
        }
    }

    /// Returns the time from which the next event may be sent.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next event that may be sent now. It stays in the queue, and is not returned again until
    /// [`postpone`](Self::postpone) was called.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Job> {
        let &(at, number) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, number));
        let entry = self.entries.get_mut(&number)?;
        entry.first_attempt.get_or_insert(now);
        Some(Job { number, event: Arc::clone(&entry.event), time: entry.time })
    }

    /// Counts a failed attempt. Returns the number of failures, and the time of the first attempt.
    pub(super) fn count_failure(&mut self, number: u64, now: Instant) -> (u32, Instant) {
        let Some(entry) = self.entries.get_mut(&number) else { return (0, now) };
        entry.failures = entry.failures.saturating_add(1);
        (entry.failures, entry.first_attempt.unwrap_or(now))
    }

    /// Makes an event due again at a later time.
    pub(super) fn postpone(&mut self, number: u64, until: Instant) {
        self.due.insert((until, number));
    }

    /// Returns whether the receiver has failed to accept an event that is still in the queue.
    pub(super) fn has_failures(&self) -> bool {
        self.entries.values().any(|entry| entry.failures > 0)
    }

    /// Removes an event that was delivered or given up. The next event of its stream becomes due.
    pub(super) fn settle(&mut self, number: u64, now: Instant) {
        let Some(entry) = self.entries.remove(&number) else { return };
        if let Some(stream) = entry.event.stream()
            && let Some(numbers) = self.streams.get_mut(&stream.id)
        {
            numbers.pop_front();
            match numbers.front() {
                Some(next) => _ = self.due.insert((now, *next)),
                None => _ = self.streams.remove(&stream.id),
            }
        }
        match self.entries.range_mut(..number).next_back() {
            Some((_, earlier)) => {
                earlier.reached = entry.reached;
                entry.toggles.into_iter().for_each(|toggle| earlier.toggle(toggle));
            }
            None => self.reached = Some(entry.reached),
        }
        if self.ends_in_resync {
            match self.entries.first_key_value() {
                None => self.ends_in_resync = false,
                Some((resync, _)) if self.entries.len() == 1 => _ = self.due.insert((now, *resync)),
                Some(_) => {}
            }
        }
    }

    /// Returns the streams that matched the filter at the position that [`reached`](Self::reached) returns. `matched`
    /// are those that match at the end of the queue.
    pub(super) fn matched_at_reached<'a>(
        &'a self,
        matched: &'a HashSet<StreamId>,
    ) -> impl Iterator<Item = &'a StreamId> {
        let mut earlier: HashMap<&StreamId, bool> = HashMap::new();
        for (id, matched) in self.entries.values().flat_map(|entry| &entry.toggles) {
            // The first change of a stream shows whether it matched before all of them.
            earlier.entry(id).or_insert(*matched);
        }
        let unchanged: Vec<_> = matched.iter().filter(|id| !earlier.contains_key(id)).collect();
        unchanged.into_iter().chain(earlier.into_iter().filter_map(|(id, matched)| matched.then_some(id)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn revision(number: u64) -> Revision {
        format!("a-{number}").parse().unwrap()
    }

    fn event(id: &str, number: u64) -> Event {
        Event::from_json(&format!(r#"{{"event":"status","revision":"a-{number}","stream":{{"id":"{id}"}}}}"#)).unwrap()
    }

    /// A queue at revision `a-0`, and its events, each with the number of its revision.
    fn queue(events: &[(&str, u64)], now: Instant) -> Queue {
        let mut queue = Queue::new(Some(revision(0)));
        for (id, number) in events {
            queue.push(event(id, *number), Timestamp::ZERO, None, now);
        }
        queue
    }

    fn taken(queue: &mut Queue, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| queue.take_due(now)).map(|job| job.number).collect()
    }

    #[test]
    fn events_of_one_stream_are_due_one_after_another_and_those_of_others_at_once() {
        let now = Instant::now();
        let mut queue = queue(&[("a", 1), ("a", 2), ("b", 3), ("a", 4)], now);
        assert_eq!(taken(&mut queue, now), [0, 2]);
        assert_eq!((taken(&mut queue, now), queue.next_due()), (vec![], None));
        let later = now + Duration::from_secs(1);
        queue.postpone(0, later);
        assert_eq!((taken(&mut queue, now), queue.next_due()), (vec![], Some(later)));
        assert_eq!(taken(&mut queue, later), [0]);
        queue.settle(0, now);
        assert_eq!(taken(&mut queue, now), [1]);
        queue.settle(1, now);
        assert_eq!(taken(&mut queue, now), [3]);
        queue.settle(3, now);
        queue.settle(2, now);
        assert_eq!((queue.len(), queue.streams.len(), queue.reached()), (0, 0, Some(&revision(4))));
    }

    #[test]
    fn position_advances_only_when_all_earlier_events_are_delivered() {
        let now = Instant::now();
        let mut queue = queue(&[("a", 1), ("b", 2), ("c", 3)], now);
        queue.skip(revision(9), None);
        let mut settle = |number| {
            queue.settle(number, now);
            queue.reached().unwrap().clone()
        };
        assert_eq!([settle(1), settle(2), settle(0)], [revision(0), revision(0), revision(9)]);
        queue.skip(revision(10), None);
        assert_eq!(queue.reached(), Some(&revision(10)));
    }

    #[test]
    fn full_queue_has_no_room_until_an_event_is_delivered() {
        let now = Instant::now();
        let events: Vec<_> = (1..=CAPACITY as u64).map(|number| ("a", number)).collect();
        let mut queue = queue(&events, now);
        assert!(!queue.has_room());
        queue.settle(0, now);
        assert!(queue.has_room());
    }

    #[test]
    fn resync_is_delivered_alone() {
        let now = Instant::now();
        let mut queue = queue(&[("a", 1), ("b", 2)], now);
        queue.push(Event::Resync { revision: revision(5), shard: None }, Timestamp::ZERO, None, now);
        assert!(!queue.has_room(), "later events wait for the resync");
        assert_eq!(taken(&mut queue, now), [0, 1]);
        queue.settle(1, now);
        assert!(taken(&mut queue, now).is_empty());
        queue.settle(0, now);
        assert_eq!(taken(&mut queue, now), [2]);
        assert!(!queue.has_room());
        queue.settle(2, now);
        assert!(queue.has_room());
        assert_eq!(queue.reached(), Some(&revision(5)));
        queue.push(Event::Resync { revision: revision(6), shard: None }, Timestamp::ZERO, None, now);
        assert_eq!(taken(&mut queue, now), [3], "a resync in an empty queue is due at once");
    }

    #[test]
    fn matched_streams_are_those_of_the_position_and_not_of_the_end() {
        let now = Instant::now();
        let id = |id: &str| -> StreamId { id.parse().unwrap() };
        let mut queue = queue(&[("x", 1)], now);
        // At the position, only a and b match. Then c begins to match, and a ceases to match. b and d change twice.
        for (number, (stream, matched)) in
            [("c", false), ("a", true), ("b", true), ("b", false), ("d", false), ("d", true)].into_iter().enumerate()
        {
            queue.push(event(stream, number as u64 + 2), Timestamp::ZERO, Some((id(stream), matched)), now);
        }
        queue.skip(revision(20), Some((id("e"), false)));
        let at_end = HashSet::from(["b", "c", "e"].map(id));
        let matched = |queue: &Queue| queue.matched_at_reached(&at_end).cloned().collect::<BTreeSet<_>>();
        assert_eq!(matched(&queue), BTreeSet::from(["a", "b"].map(id)));
        // Delivered events that are not at the beginning change nothing.
        [3, 4, 6, 2].into_iter().for_each(|number| queue.settle(number, now));
        assert_eq!(matched(&queue), BTreeSet::from(["a", "b"].map(id)));
        queue.settle(0, now);
        assert_eq!(matched(&queue), BTreeSet::from(["a", "b"].map(id)));
        queue.settle(1, now);
        assert_eq!(
            matched(&queue),
            BTreeSet::from(["b", "c"].map(id)),
            "the toggles of d cancel each other only later"
        );
        queue.settle(5, now);
        assert_eq!(matched(&queue), BTreeSet::from(["b", "c", "e"].map(id)));
    }
}
