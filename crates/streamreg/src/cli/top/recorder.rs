//! Records what the registry itself does not keep: statistics of the last minutes, and the last events of each stream.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stream_registry::watch::{ChangeKind, Event};
use stream_registry::{Error, Stream, StreamId, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::data::{Detail, Note, Sample};
use crate::cli::output::units;

/// Number of readings of which the statistics are kept: 5 minutes at a reading every 5 s.
const READINGS: usize = 60;
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
    samples: HashMap<StreamId, Samples>,
    /// The total bit rate at each reading, and the time of the reading.
    totals: VecDeque<u64>,
    times: VecDeque<Instant>,
    reading: u64,
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

/// The statistics of a stream.
#[derive(Debug)]
struct Samples {
    values: VecDeque<Sample>,
    /// The time between the first and the last of the values.
    span: Duration,
    /// The number of the last reading that included the stream.
    reading: u64,
    /// The registration time of the stream.
    created_at: Timestamp,
    /// The numbers of received and lost packets at the last reading.
    packets: (u64, u64),
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

impl Samples {
    /// Returns no values, before the first reading of a stream.
    fn new(stream: &Stream) -> Self {
        let (created_at, packets) = (stream.created_at, packets(stream));
        Self { values: VecDeque::new(), span: Duration::ZERO, reading: 0, created_at, packets }
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
        let (word, status) = (event.as_str(), stream.status.clone());
        notes.push_back(Note { at, word, status, remark: remark.unwrap_or_default() });
        while self.departed.len() > ENDED {
            let oldest = self.departed.pop_front();
            // A stream that was registered again keeps its notes, and so does one that has ended again since.
            if let Some(id) = oldest.filter(|id| !self.departed.contains(id)) {
                let has_ended = self.notes.get(&id).and_then(VecDeque::back).is_some_and(is_end);
                if has_ended {
                    self.notes.remove(&id);
                    self.samples.remove(&id);
                }
            }
        }
    }

    /// Records the statistics of a reading of all streams.
    pub(super) fn reading(&mut self, streams: &[Arc<Stream>]) {
        let now = Instant::now();
        push(&mut self.totals, streams.iter().fold(0, |sum: u64, stream| sum.saturating_add(stream.bitrate)));
        push(&mut self.times, now);
        for stream in streams {
            let samples = self.samples.entry(stream.id.clone()).or_insert_with(|| Samples::new(stream));
            // The values of an earlier stream with the same id are not those of this one.
            if samples.created_at != stream.created_at || samples.reading != self.reading {
                *samples = Samples::new(stream);
            }
            push(&mut samples.values, sample(samples.packets, stream));
            let first = self.times.len().checked_sub(samples.values.len()).and_then(|at| self.times.get(at));
            samples.span = first.map_or(Duration::ZERO, |first| now.duration_since(*first));
            samples.reading = self.reading + 1;
            samples.packets = packets(stream);
        }
        self.reading += 1;
        // What was recorded about a stream is kept as long as its notes.
        let has_ended = |id: &StreamId| self.notes.get(id).and_then(VecDeque::back).is_some_and(is_end);
        self.samples.retain(|id, samples| samples.reading == self.reading || has_ended(id));
    }

    /// Returns the total bit rate at each reading.
    pub(super) fn totals(&self) -> Vec<f32> {
        self.totals.iter().map(|total| *total as f32).collect()
    }

    pub(super) fn taken_over(&self) -> Arc<HashSet<StreamId>> {
        Arc::clone(&self.taken_over)
    }

    pub(super) fn detail(&self, id: &StreamId) -> Detail {
        let samples = self.samples.get(id);
        Detail {
            id: id.clone(),
            samples: samples.map(|samples| samples.values.iter().copied().collect()).unwrap_or_default(),
            span: samples.map_or(Duration::ZERO, |samples| samples.span),
            notes: self.notes.get(id).map(|notes| notes.iter().cloned().collect()).unwrap_or_default(),
        }
    }
}

fn is_end(note: &Note) -> bool {
    matches!(note.word, "unregistered" | "expired")
}

fn packets(stream: &Stream) -> (u64, u64) {
    (stream.packets_received, stream.packets_lost)
}

/// Returns the statistics of a record. `before` has the packets of the reading before.
fn sample(before: (u64, u64), stream: &Stream) -> Sample {
    let (received, lost) = packets(stream);
    // The counters begin again if the publisher restarts.
    let packets = received.checked_sub(before.0).zip(lost.checked_sub(before.1));
    let loss = packets.map_or(f64::NAN, |(received, lost)| units::lost(received, lost));
    let known = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
    let (rtt, jitter) = (known(stream.rtt_ms), known(stream.jitter_ms));
    Sample { bitrate: stream.bitrate as f32, loss: loss as f32, rtt, jitter }
}

fn push<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == READINGS {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use stream_registry::StreamType;
    use stream_registry::watch::Ending;

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
        assert_eq!((words.len(), words[0], words[NOTES - 1]), (NOTES, "status", "expired"));
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

    #[tokio::test]
    async fn readings_keep_the_statistics_of_live_streams_and_of_those_that_ended_last() {
        let recorder = Recorder::default();
        let bitrates = |id: &str| {
            let detail = recorder.lock().detail(&id.parse().unwrap());
            detail.samples.iter().map(|sample| sample.bitrate).collect::<Vec<_>>()
        };
        recorder.lock().reading(&[stream("a", 5), stream("vanished", 1), stream("ended", 2)]);
        recorder.event(&ended("ended"));
        recorder.lock().reading(&[stream("a", 8), stream("c", 7)]);
        assert_eq!((bitrates("a"), bitrates("c")), (vec![5.0, 8.0], vec![7.0]));
        assert_eq!((bitrates("vanished"), bitrates("ended")), (vec![], vec![2.0]));
        assert_eq!(recorder.lock().totals(), [8.0, 15.0]);
        for _ in 0..READINGS {
            recorder.lock().reading(&[stream("a", 9)]);
        }
        assert_eq!(recorder.lock().totals().len(), READINGS);
        assert_eq!(bitrates("a").len(), READINGS);
    }

    #[tokio::test(start_paused = true)]
    async fn statistics_of_a_stream_begin_with_its_registration() {
        let recorder = Recorder::default();
        let read = |created: &str, packets: (u64, u64), rtt: Option<f64>| {
            let mut read = Stream::clone(&stream("a", 0));
            read.created_at = created.parse().unwrap();
            (read.packets_received, read.packets_lost, read.rtt_ms) = (packets.0, packets.1, rtt);
            recorder.lock().reading(&[Arc::new(read)]);
            let detail = recorder.lock().detail(&"a".parse().unwrap());
            let newest = *detail.samples.last().unwrap();
            (detail.samples.len(), detail.span.as_secs(), newest.loss, newest.rtt)
        };
        let first = read("2026-01-01T00:00:00Z", (900, 100), None);
        assert!(first.2.is_nan() && first.3.is_nan(), "the loss of one reading is unknown: {first:?}");
        assert_eq!((first.0, first.1), (1, 0));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(read("2026-01-01T00:00:00Z", (990, 110), Some(7.0)), (2, 5, 10.0, 7.0));
        tokio::time::advance(Duration::from_secs(5)).await;
        let restarted = read("2026-01-01T00:00:00Z", (10, 110), Some(f64::MAX));
        assert!(restarted.2.is_nan() && restarted.3.is_infinite() && restarted.1 == 10, "{restarted:?}");
        tokio::time::advance(Duration::from_secs(5)).await;
        let other = read("2026-01-01T00:00:12Z", (10, 110), None);
        assert_eq!((other.0, other.1), (1, 0), "an earlier stream with the same id has other values");
    }
}
