//! Records the statistics of the last minutes: those of each stream, and the total bit rate.
//!
//! The values of all charts are about equally far apart. The value of a moment without a reading, e.g. in an outage, is
//! NaN.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stream_registry::{Stream, StreamId, Timestamp};
use tokio::time::Instant;

use super::data::{Run, Sample};
use crate::cli::output::units;

/// Number of moments of which the statistics are kept: 5 minutes at a reading every 5 s.
const MOMENTS: usize = 60;
/// Number of readings for which the values of a missing stream are kept. A store that has lost its data gets most of its
/// streams back within this time.
const MISSING: u32 = 12;

#[derive(Debug, Default)]
pub(super) struct Statistics {
    streams: HashMap<StreamId, Runs>,
    /// The total bit rate at each moment, and the time of the moment.
    totals: VecDeque<f32>,
    times: VecDeque<Instant>,
    /// The number of moments since the start.
    moments: usize,
}

/// The values of a stream. A stream that is registered again begins another run.
#[derive(Debug)]
struct Runs {
    latest: Samples,
    earlier: Option<Samples>,
    /// The number of readings since the last one that included the stream.
    missing: u32,
}

#[derive(Debug)]
struct Samples {
    values: VecDeque<Sample>,
    /// The times of the first and of the last reading that included the stream.
    times: (Instant, Instant),
    /// The number of the moment after the last of the values.
    next: usize,
    /// The registration time of the stream.
    created_at: Timestamp,
    /// The numbers of received and lost packets at the last reading.
    packets: (u64, u64),
}

impl Statistics {
    /// Records a reading of all streams. `interval` is the usual time between two readings: a longer time leaves a gap,
    /// and a reading that is much too early is not recorded. The values of a missing stream are forgotten after some
    /// readings, unless `is_kept` is true for its id.
    pub(super) fn reading(&mut self, streams: &[Arc<Stream>], interval: Duration, is_kept: impl Fn(&StreamId) -> bool) {
        let now = Instant::now();
        if let Some(last) = self.times.back() {
            let passed = now.duration_since(*last).as_secs_f64();
            // The cast saturates.
            let moments = (passed / interval.as_secs_f64()).round() as usize;
            if moments == 0 {
                return;
            }
            for missed in (1..moments.min(MOMENTS)).rev() {
                let before = Duration::from_secs_f64(passed / moments as f64 * missed as f64);
                self.moment(now.checked_sub(before).unwrap_or(now), f32::NAN);
            }
        }
        let total = streams.iter().fold(0, |sum: u64, stream| sum.saturating_add(stream.bitrate));
        self.moment(now, total as f32);
        let kept_since = self.times.front().copied().unwrap_or(now);
        for stream in streams {
            let first = || Samples::new(stream, now, self.moments - 1);
            let runs = self.streams.entry(stream.id.clone()).or_insert_with(|| Runs {
                latest: first(),
                earlier: None,
                missing: 0,
            });
            if runs.latest.created_at != stream.created_at {
                runs.earlier = Some(std::mem::replace(&mut runs.latest, first()));
            }
            runs.latest.reading(stream, now, self.moments, kept_since);
            runs.missing = 0;
        }
        self.streams.retain(|id, runs| {
            runs.missing += 1;
            runs.missing <= MISSING || is_kept(id)
        });
    }

    fn moment(&mut self, at: Instant, total: f32) {
        push(&mut self.totals, total);
        push(&mut self.times, at);
        self.moments += 1;
    }

    /// Returns the total bit rate at each moment.
    pub(super) fn totals(&self) -> Vec<f32> {
        self.totals.iter().copied().collect()
    }

    /// Returns the values of the latest run of a stream, and of the run before it.
    pub(super) fn runs(&self, id: &StreamId) -> Vec<Run> {
        let runs = self.streams.get(id).into_iter().flat_map(|runs| std::iter::once(&runs.latest).chain(&runs.earlier));
        runs.map(Samples::run).collect()
    }

    pub(super) fn forget(&mut self, id: &StreamId) {
        self.streams.remove(id);
    }
}

impl Samples {
    /// Returns no values, before the first reading of a stream.
    fn new(stream: &Stream, now: Instant, next: usize) -> Self {
        let (created_at, packets) = (stream.created_at, packets(stream));
        Self { values: VecDeque::new(), times: (now, now), next, created_at, packets }
    }

    /// Records a value as the last of a number of moments. All values are later than `kept_since`.
    fn reading(&mut self, stream: &Stream, now: Instant, moments: usize, kept_since: Instant) {
        for _ in 0..(moments - 1 - self.next).min(MOMENTS) {
            push(&mut self.values, Sample::UNKNOWN);
        }
        push(&mut self.values, sample(self.packets, stream));
        self.times = (self.times.0.max(kept_since), now);
        self.next = moments;
        self.packets = packets(stream);
    }

    fn run(&self) -> Run {
        Run {
            created_at: self.created_at,
            samples: self.values.iter().copied().collect(),
            span: self.times.1.duration_since(self.times.0),
        }
    }
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
    Sample::new(stream, loss as f32)
}

fn push<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == MOMENTS {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use stream_registry::StreamType;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn stream(id: &str, bitrate: u64) -> Stream {
        let mut stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
        (stream.bitrate, stream.created_at) = (bitrate, Timestamp::ZERO);
        stream
    }

    /// Statistics whose readings are five seconds apart, unless more time passes.
    #[derive(Default)]
    struct Fixture(Statistics);

    impl Fixture {
        async fn reading(&mut self, streams: &[Stream]) {
            tokio::time::advance(INTERVAL).await;
            let streams: Vec<_> = streams.iter().cloned().map(Arc::new).collect();
            self.0.reading(&streams, INTERVAL, |id| id.as_str() == "ended");
        }

        fn runs(&self, id: &str) -> Vec<Run> {
            self.0.runs(&id.parse().unwrap())
        }

        /// Returns the bit rates of each run; -1 stands for a gap.
        fn bitrates(&self, id: &str) -> Vec<Vec<f32>> {
            self.runs(id).iter().map(|run| marked(run.samples.iter().map(|sample| sample.bitrate))).collect()
        }
    }

    fn marked(values: impl IntoIterator<Item = f32>) -> Vec<f32> {
        values.into_iter().map(|value| if value.is_nan() { -1.0 } else { value }).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn readings_keep_the_statistics_of_live_streams_and_of_those_that_ended_last() {
        let mut all = Fixture::default();
        all.reading(&[stream("a", 5), stream("vanished", 1), stream("ended", 2)]).await;
        all.reading(&[stream("a", 8), stream("c", 7)]).await;
        assert_eq!((all.bitrates("a"), all.bitrates("c")), (vec![vec![5.0, 8.0]], vec![vec![7.0]]));
        assert_eq!(all.0.totals(), [8.0, 15.0]);
        for _ in 0..MOMENTS {
            all.reading(&[stream("a", 9)]).await;
        }
        assert_eq!((all.bitrates("vanished"), all.bitrates("ended")), (vec![], vec![vec![2.0]]));
        assert_eq!((all.0.totals().len(), all.bitrates("a")[0].len()), (MOMENTS, MOMENTS));
        assert_eq!(all.runs("a")[0].span, INTERVAL * 59);
    }

    #[tokio::test(start_paused = true)]
    async fn statistics_of_a_stream_begin_with_its_registration_and_have_its_loss() {
        let mut all = Fixture::default();
        let mut newest = Vec::new();
        for (packets, rtt) in [((900, 100), None), ((990, 110), Some(7.0)), ((10, 110), Some(f64::MAX))] {
            let mut read = stream("a", 0);
            (read.packets_received, read.packets_lost, read.rtt_ms) = (packets.0, packets.1, rtt);
            all.reading(&[read]).await;
            let run = all.runs("a").remove(0);
            let sample = run.samples.last().unwrap();
            newest.push((run.span.as_secs(), marked([sample.loss, sample.rtt])));
        }
        // The loss is unknown at the first reading, and after a restart of the publisher.
        let expected = [(0, vec![-1.0, -1.0]), (5, vec![10.0, 7.0]), (10, vec![-1.0, f32::INFINITY])];
        assert_eq!(newest, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn runs_of_the_same_id_have_values_of_their_own() {
        let mut all = Fixture::default();
        let run = |number: i128, bitrate| {
            let mut run = stream("a", bitrate);
            run.created_at = Timestamp::from_unix_nanos(number);
            run
        };
        all.reading(&[run(1, 10)]).await;
        all.reading(&[run(1, 11)]).await;
        all.reading(&[run(2, 20)]).await;
        assert_eq!(all.bitrates("a"), [vec![20.0], vec![10.0, 11.0]]);
        all.reading(&[run(3, 30)]).await;
        assert_eq!(all.bitrates("a"), [[30.0], [20.0]]);
        let created: Vec<_> = all.runs("a").iter().map(|run| run.created_at.as_unix_nanos()).collect();
        assert_eq!(created, [3, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn moments_without_a_reading_are_gaps() {
        let mut all = Fixture::default();
        all.reading(&[stream("a", 1)]).await;
        tokio::time::advance(Duration::from_secs(11)).await;
        // The store has lost its data, and one stream registers again later than the other.
        all.reading(&[stream("b", 2)]).await;
        // A reading that is too early is not recorded.
        all.0.reading(&[Arc::new(stream("a", 9))], INTERVAL, |_| false);
        all.reading(&[stream("a", 3), stream("b", 2)]).await;
        assert_eq!(marked(all.0.totals()), [1.0, -1.0, -1.0, 2.0, 5.0]);
        assert_eq!(all.bitrates("a"), [[1.0, -1.0, -1.0, -1.0, 3.0]]);
        assert_eq!((all.runs("a")[0].span.as_secs(), all.bitrates("b")), (21, vec![vec![2.0, 2.0]]));
        tokio::time::advance(Duration::from_secs(86_400)).await;
        all.reading(&[stream("a", 4)]).await;
        let mut gap = vec![-1.0; MOMENTS];
        gap[MOMENTS - 1] = 4.0;
        assert_eq!((marked(all.0.totals()), all.bitrates("a")), (gap.clone(), vec![gap]));
        let span = all.runs("a")[0].span.as_secs();
        assert!((290..300).contains(&span), "{span}");
    }
}
