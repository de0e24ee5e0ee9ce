//! Records what the registry itself does not keep: statistics of the last minutes, and the last events of each stream.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stream_registry::watch::{ChangeKind, Ending, Event};
use stream_registry::{Error, Stream, StreamId, Timestamp};
use tokio::sync::Notify;

use super::data::{Detail, Note};
use super::statistics::Statistics;

/// Number of events that are kept for each stream.
const NOTES: usize = 16;
/// Number of ended streams whose events are kept.
const ENDED: usize = 1_000;

/// What has been recorded. The source changes it, and each change wakes the publisher of the data.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    record: Mutex<Record>,
    /// Notified after each change.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) statistics: Statistics,
    notes: HashMap<StreamId, VecDeque<Note>>,
    taken_over: Arc<HashSet<StreamId>>,
    /// Ended streams whose notes are kept, from the oldest to the newest.
    departed: VecDeque<StreamId>,
    /// The number of streams that have ended.
    pub(super) ends: u64,
    /// The streams that ended last, as the store lists them.
    pub(super) ended: Option<Result<Arc<Vec<Event>>, String>>,
    pub(super) health: Health,
}

/// The answers of the store.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The store's time of its last good answer.
    pub(super) answered: Option<Timestamp>,
    /// The error of the last call, if it failed.
    pub(super) error: Option<Error>,
}

impl Recorder {
    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an event of the change feed.
    pub(super) fn event(&self, event: &Event) {
        if matches!(event, Event::Alive { .. }) {
            return;
        }
        self.lock().event(event);
        self.changed.notify_one();
    }

    /// Records how a call to the store ended. `now` is the store's time.
    pub(super) fn answer(&self, error: Option<Error>, now: Timestamp) {
        let mut record = self.lock();
        if error.is_none() {
            record.health.answered = Some(now);
        }
        record.health.error = error;
        drop(record);
        self.changed.notify_one();
    }
}

impl Record {
    fn event(&mut self, event: &Event) {
        let Some(stream) = event.stream() else { return };
        let (at, remark) = match event {
            Event::Changed { kind, .. } => {
                if *kind == ChangeKind::TakenOver {
                    Arc::make_mut(&mut self.taken_over).insert(stream.id.clone());
                }
                let is_new = matches!(kind, ChangeKind::Registered | ChangeKind::TakenOver);
                (Some(stream.last_heartbeat), is_new.then(|| stream.source_addr.clone()))
            }
            Event::Ended { as_of, .. } => {
                self.ends += 1;
                self.departed.push_back(stream.id.clone());
                if self.taken_over.contains(&stream.id) {
                    Arc::make_mut(&mut self.taken_over).remove(&stream.id);
                }
                (*as_of, stream.end_reason.clone())
            }
            _ => return,
        };
        let notes = self.notes.entry(stream.id.clone()).or_default();
        if notes.len() == NOTES {
            notes.pop_front();
        }
        let (word, status) = (word(event), stream.status.clone());
        notes.push_back(Note { at, word, status, remark: remark.unwrap_or_default() });
        while self.departed.len() > ENDED {
            let oldest = self.departed.pop_front();
            // A stream that was registered again keeps its notes, and so does one that has ended again since.
            if let Some(id) = oldest.filter(|id| !self.departed.contains(id)) {
                let has_ended = self.notes.get(&id).and_then(VecDeque::back).is_some_and(is_end);
                if has_ended {
                    self.notes.remove(&id);
                    self.statistics.forget(&id);
                }
            }
        }
    }

    /// Records the statistics of a reading of all streams. `interval` is the usual time between two readings.
    pub(super) fn reading(&mut self, streams: &[Arc<Stream>], interval: Duration) {
        // What was recorded about a stream is kept as long as its notes.
        let notes = &self.notes;
        let has_ended = |id: &StreamId| notes.get(id).and_then(VecDeque::back).is_some_and(is_end);
        self.statistics.reading(streams, interval, has_ended);
    }

    pub(super) fn taken_over(&self) -> Arc<HashSet<StreamId>> {
        Arc::clone(&self.taken_over)
    }

    pub(super) fn detail(&self, id: &StreamId) -> Detail {
        let notes = self.notes.get(id).map(|notes| notes.iter().cloned().collect()).unwrap_or_default();
        Detail { id: id.clone(), runs: self.statistics.runs(id), notes }
    }
}

/// The words of an end.
const ENDS: [&str; 2] = ["ended", "expired"];

fn is_end(note: &Note) -> bool {
    ENDS.contains(&note.word)
}

/// Returns the word for an event that the dashboard also uses.
fn word(event: &Event) -> &'static str {
    match event {
        Event::Changed { kind: ChangeKind::Status, .. } => "status changed",
        Event::Changed { kind: ChangeKind::TakenOver, .. } => "taken over",
        Event::Ended { reason: Ending::Unregistered(_), .. } => ENDS[0],
        Event::Ended { .. } => ENDS[1],
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use stream_registry::StreamType;

    use super::*;

    fn stream(id: &str, bitrate: u64) -> Arc<Stream> {
        let mut stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        (stream.bitrate, stream.created_at) = (bitrate, Timestamp::ZERO);
        Arc::new(stream)
    }

    fn changed(id: &str, kind: ChangeKind) -> Event {
        Event::Changed { revision: "h-1".parse().unwrap(), kind, stream: stream(id, 0) }
    }

    fn ended(id: &str) -> Event {
        let (revision, last) = ("h-1".parse().unwrap(), stream(id, 0));
        Event::Ended { revision, reason: Ending::Expired, last, as_of: None }
    }

    fn words(recorder: &Recorder, id: &str) -> Vec<&'static str> {
        recorder.lock().detail(&id.parse().unwrap()).notes.iter().map(|note| note.word).collect()
    }

    #[test]
    fn notes_of_a_stream_are_limited_and_survive_its_end() {
        let recorder = Recorder::default();
        recorder.event(&changed("a", ChangeKind::Registered));
        for _ in 0..NOTES - 1 {
            recorder.event(&changed("a", ChangeKind::Status));
        }
        recorder.event(&ended("a"));
        let words = words(&recorder, "a");
        assert_eq!((words.len(), words[0], words[NOTES - 1]), (NOTES, "status changed", "expired"));
    }

    #[test]
    fn notes_have_the_words_of_the_dashboard() {
        let dashboard = include_str!("../../dashboard/views/kinds.js");
        let recorder = Recorder::default();
        let unregistered = || {
            let (revision, last) = ("h-1".parse().unwrap(), stream("a", 0));
            Event::Ended { revision, reason: Ending::Unregistered("over".parse().unwrap()), last, as_of: None }
        };
        let kinds = [ChangeKind::Registered, ChangeKind::Status, ChangeKind::TakenOver].map(|kind| changed("a", kind));
        for event in kinds.into_iter().chain([ended("a"), unregistered()]) {
            recorder.event(&event);
            let word = words(&recorder, "a").pop().unwrap();
            let is_same = |line: &str| {
                line.trim_start().starts_with(&format!("{}: ", event.as_str()))
                    && line.contains(&format!("name: \"{word}\""))
            };
            assert!(dashboard.lines().any(is_same), "{word}");
        }
    }

    #[test]
    fn notes_are_forgotten_after_a_thousand_ends_unless_the_stream_is_live_again() {
        let recorder = Recorder::default();
        for id in ["gone", "back"] {
            recorder.event(&ended(id));
        }
        recorder.event(&changed("back", ChangeKind::Registered));
        for number in 0..ENDED {
            recorder.event(&ended(&format!("s{number}")));
        }
        assert!(words(&recorder, "gone").is_empty());
        assert_eq!(words(&recorder, "back"), ["expired", "registered"]);
        assert_eq!(words(&recorder, "s0"), ["expired"]);
    }

    #[test]
    fn takeover_is_remembered_until_the_stream_ends() {
        let recorder = Recorder::default();
        recorder.event(&changed("a", ChangeKind::TakenOver));
        recorder.event(&changed("b", ChangeKind::Registered));
        assert_eq!(recorder.lock().taken_over().len(), 1);
        recorder.event(&ended("a"));
        let record = recorder.lock();
        assert_eq!((record.taken_over().len(), record.ends), (0, 1));
    }
}
