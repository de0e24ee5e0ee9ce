//! Simulates streams second by second, without a clock or a store. The same seed produces the same sequence.

use fastrand::Rng;
use stream_registry::stream::EndReason;
use stream_registry::{Change, OnConflict, Stream, StreamId, StreamStats, StreamStatus, StreamType};

use super::streams::{MadeUpStream, NODES, STREAMS};

/// The operations of one simulated second, in the order in which they run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) removals: Vec<(StreamId, EndReason)>,
    pub(super) registrations: Vec<(Stream, OnConflict)>,
    pub(super) changes: Vec<(StreamId, Change)>,
}

/// All simulated publishers.
#[derive(Debug)]
pub(super) struct Simulation {
    rng: Rng,
    publishers: Vec<Publisher>,
    /// A stream ends only while more than this number of streams are live.
    min_live: usize,
}

/// The state of a publisher. `left` is the number of seconds until the state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Disconnected { left: u32 },
    Connecting { left: u32 },
    Streaming,
    Paused { left: u32 },
    Faulty { left: u32 },
}

#[derive(Debug)]
struct Publisher {
    profile: &'static MadeUpStream,
    id: StreamId,
    kind: StreamType,
    node: &'static str,
    port: u16,
    phase: Phase,
    /// Remaining seconds of a burst of packet loss, and the share of packets lost during the burst.
    burst: (u32, f64),
    /// Current bit rate in bits per second.
    rate: f64,
    stats: StreamStats,
}

/// Average number of seconds between two events of the same kind in one stream.
const END_EVERY: u32 = 400;
const PAUSE_EVERY: u32 = 700;
const FAULT_EVERY: u32 = 600;
const TAKE_OVER_EVERY: u32 = 500;
const BURST_EVERY: u32 = 60;
/// Minimum share of live streams, in percent.
const MIN_LIVE_PERCENT: usize = 70;
/// Payload size of a packet in bytes: seven MPEG transport stream packets.
const PACKET_BYTES: f64 = 1_316.0;
const REASONS: [&str; 4] = ["publisher disconnected", "end of event", "socket time-out", "operator stopped it"];

impl Simulation {
    /// Creates a simulation of a number of streams, in which all publishers are disconnected. If the table has fewer
    /// streams, its rows repeat with numbered ids.
    ///
    /// # Errors
    ///
    /// Fails if the table of streams contains an invalid id or type. A test checks the table.
    pub(super) fn new(seed: u64, streams: usize) -> stream_registry::Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let publishers = (0..streams)
            .zip(STREAMS.iter().cycle())
            .map(|(at, profile)| {
                let id = match at / STREAMS.len() {
                    0 => profile.id.parse()?,
                    repetition => format!("{}-{}", profile.id, repetition + 1).parse()?,
                };
                Ok(Publisher {
                    profile,
                    id,
                    kind: profile.kind.parse()?,
                    node: NODES[profile.node],
                    port: rng.u16(30_000..60_000),
                    phase: Phase::Disconnected { left: 0 },
                    burst: (0, 0.0),
                    rate: f64::from(profile.bitrate),
                    stats: StreamStats::default(),
                })
            })
            .collect::<stream_registry::Result<_>>()?;
        Ok(Self { rng, publishers, min_live: streams * MIN_LIVE_PERCENT / 100 })
    }

    /// Simulates one second.
    pub(super) fn step(&mut self) -> Step {
        let mut step = Step::default();
        let mut live = self.live().count();
        for publisher in &mut self.publishers {
            let was_live = publisher.is_live();
            publisher.step(&mut self.rng, live > self.min_live, &mut step);
            match (was_live, publisher.is_live()) {
                (true, false) => live -= 1,
                (false, true) => live += 1,
                _ => {}
            }
        }
        step
    }

    /// Returns the ids of the streams that are registered.
    pub(super) fn live(&self) -> impl Iterator<Item = &StreamId> {
        self.publishers.iter().filter(|publisher| publisher.is_live()).map(|publisher| &publisher.id)
    }

    /// Returns the ids of all simulated streams, whether they are registered or not.
    pub(super) fn ids(&self) -> impl Iterator<Item = &StreamId> {
        self.publishers.iter().map(|publisher| &publisher.id)
    }

    /// Marks a stream as lost. Its publisher reconnects in the next second.
    pub(super) fn lost(&mut self, id: &StreamId) {
        if let Some(publisher) = self.publishers.iter_mut().find(|publisher| publisher.id == *id) {
            publisher.phase = Phase::Disconnected { left: 0 };
        }
    }
}

impl Publisher {
    fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Disconnected { .. })
    }

    fn step(&mut self, rng: &mut Rng, may_end: bool, step: &mut Step) {
        match self.phase {
            Phase::Disconnected { left: 0 } => self.connect(rng, OnConflict::Reject, step),
            Phase::Disconnected { left } => self.phase = Phase::Disconnected { left: left - 1 },
            Phase::Connecting { left: 0 } | Phase::Paused { left: 0 } | Phase::Faulty { left: 0 } => {
                self.enter(Phase::Streaming, StreamStatus::Active, step);
            }
            Phase::Connecting { left } => self.idle(Phase::Connecting { left: left - 1 }, step),
            Phase::Paused { left } => self.idle(Phase::Paused { left: left - 1 }, step),
            Phase::Faulty { left } => self.idle(Phase::Faulty { left: left - 1 }, step),
            Phase::Streaming if may_end && one_in(rng, END_EVERY) => {
                let reason = REASONS[rng.usize(..REASONS.len())].parse().unwrap_or_default();
                step.removals.push((self.id.clone(), reason));
                self.phase = Phase::Disconnected { left: rng.u32(5..20) };
            }
            Phase::Streaming if one_in(rng, TAKE_OVER_EVERY) => {
                // The publisher reconnects from another port, and the load balancer assigns it to another node.
                let others: Vec<_> = NODES.into_iter().filter(|node| *node != self.node).collect();
                self.node = others[rng.usize(..others.len())];
                self.connect(rng, OnConflict::TakeOver, step);
            }
            Phase::Streaming if one_in(rng, PAUSE_EVERY) => {
                self.enter(Phase::Paused { left: rng.u32(5..15) }, StreamStatus::Paused, step);
            }
            Phase::Streaming if one_in(rng, FAULT_EVERY) => {
                self.enter(Phase::Faulty { left: rng.u32(4..10) }, StreamStatus::Error, step);
            }
            Phase::Streaming => self.stream(rng, step),
        }
    }

    fn connect(&mut self, rng: &mut Rng, on_conflict: OnConflict, step: &mut Step) {
        self.port = if self.port < 59_000 { self.port + rng.u16(1..1_000) } else { 30_000 };
        self.stats = StreamStats::default();
        self.burst = (0, 0.0);
        self.phase = Phase::Connecting { left: rng.u32(0..3) };
        let mut stream =
            Stream::new(self.id.clone(), self.kind.clone(), format!("{}:{}", self.profile.host, self.port));
        stream.video_codec = self.profile.video_codec.into();
        stream.resolution = self.profile.resolution.into();
        stream.frame_rate = self.profile.frame_rate;
        stream.audio_codec = Some(self.profile.audio_codec.to_owned()).filter(|codec| !codec.is_empty());
        stream.node = Some(self.node.into());
        stream.labels = [("demo", "true"), ("event", self.profile.event)].map(|(k, v)| (k.into(), v.into())).into();
        step.registrations.push((stream, on_conflict));
    }

    /// Enters another phase. No media is sent in this second.
    fn enter(&mut self, phase: Phase, status: StreamStatus, step: &mut Step) {
        self.phase = phase;
        self.stats.bitrate = Some(0);
        step.changes.push((self.id.clone(), Change::Stats(Box::new(self.stats.clone()))));
        step.changes.push((self.id.clone(), Change::Status(status)));
    }

    fn idle(&mut self, phase: Phase, step: &mut Step) {
        self.phase = phase;
        step.changes.push((self.id.clone(), Change::Heartbeat));
    }

    /// Simulates one second of media.
    fn stream(&mut self, rng: &mut Rng, step: &mut Step) {
        let nominal = f64::from(self.profile.bitrate);
        // The bit rate is a random walk that is pulled towards the nominal rate.
        self.rate += (nominal - self.rate) * 0.1 + nominal * 0.05 * (rng.f64() - 0.5);
        self.rate = self.rate.clamp(nominal * 0.5, nominal * 1.4);
        if self.burst.0 > 0 {
            self.burst.0 -= 1;
        } else if one_in(rng, BURST_EVERY) {
            self.burst = (rng.u32(2..6), 0.005 + 0.07 * rng.f64() * rng.f64());
        }
        let sent = self.rate / 8.0 / PACKET_BYTES;
        let share = if self.burst.0 > 0 { self.burst.1 } else { 0.000_02 };
        // Rounds the expected number of lost packets up or down at random.
        let lost = integer_part(sent * share + rng.f64()).min(integer_part(sent));
        let received = integer_part(sent) - lost;
        let jitter = self.profile.rtt_ms * 0.05 * (0.5 + rng.f64()) + 8.0 * share / 0.02;
        let stats = &mut self.stats;
        let bytes = received * integer_part(PACKET_BYTES);
        stats.packets_lost = Some(stats.packets_lost.unwrap_or(0) + lost);
        stats.packets_received = Some(stats.packets_received.unwrap_or(0) + received);
        stats.bytes_received = Some(stats.bytes_received.unwrap_or(0) + bytes);
        stats.bitrate = Some(bytes * 8);
        stats.jitter_ms = Some(hundredths(jitter));
        if self.kind == StreamType::Srt {
            stats.rtt_ms = Some(hundredths(self.profile.rtt_ms * (0.9 + 0.2 * rng.f64())));
            stats.packets_retransmitted = Some(stats.packets_retransmitted.unwrap_or(0) + lost * 3);
        }
        step.changes.push((self.id.clone(), Change::Stats(Box::new(stats.clone()))));
    }
}

fn one_in(rng: &mut Rng, many: u32) -> bool {
    rng.u32(..many) == 0
}

/// Returns the integer part of a small non-negative number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn integer_part(value: f64) -> u64 {
    value as u64
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn simulated_streams_are_valid_and_labelled() {
        let first = Simulation::new(1, STREAMS.len()).unwrap().step();
        assert_eq!(first.registrations.len(), STREAMS.len());
        assert!((18..=24).contains(&STREAMS.len()));
        let ids: BTreeSet<_> = first.registrations.iter().map(|(stream, _)| &stream.id).collect();
        assert_eq!(ids.len(), STREAMS.len(), "duplicate id");
        for (stream, _) in &first.registrations {
            stream.check().unwrap();
            assert!(stream.id.as_str().starts_with("demo-"));
            assert_eq!(stream.labels["demo"], "true");
        }
        for kind in ["srt", "rtp", "rtmp", "webrtc"] {
            assert!(STREAMS.iter().any(|profile| profile.kind == kind), "{kind}");
        }
    }

    #[test]
    fn number_of_streams_can_be_smaller_or_larger_than_the_table() {
        for streams in [1, 3, 20, 21, 10_000] {
            let mut simulation = Simulation::new(1, streams).unwrap();
            let ids: BTreeSet<_> = simulation.step().registrations.into_iter().map(|(stream, _)| stream.id).collect();
            assert_eq!(ids.len(), streams, "duplicate or missing id");
        }
        let step = Simulation::new(1, 45).unwrap().step();
        assert_eq!(step.registrations[44].0.id.as_str(), "demo-stadium-fans-3");
    }

    /// Formats the steps without timestamps, because timestamps come from the local clock.
    fn sequence(seed: u64, seconds: usize) -> Vec<String> {
        let mut simulation = Simulation::new(seed, STREAMS.len()).unwrap();
        let format_step = |_| {
            let step = simulation.step();
            let registered: Vec<_> = step
                .registrations
                .iter()
                .map(|(stream, policy)| (stream.id.clone(), stream.source_addr.clone(), stream.node.clone(), *policy))
                .collect();
            format!("{:?}{registered:?}{:?}", step.removals, step.changes)
        };
        (0..seconds).map(format_step).collect()
    }

    #[test]
    fn same_seed_gives_the_same_sequence() {
        assert_eq!(sequence(7, 200), sequence(7, 200));
        assert_ne!(sequence(7, 200), sequence(8, 200));
    }

    #[test]
    fn simulation_shows_every_event_and_counters_only_grow() {
        let mut simulation = Simulation::new(3, STREAMS.len()).unwrap();
        let mut live: BTreeMap<StreamId, StreamStats> = BTreeMap::new();
        let (mut ended, mut back, mut taken_over, mut lossy) = (BTreeSet::new(), 0, 0, 0);
        let mut statuses = BTreeSet::new();
        for second in 0..600 {
            let step = simulation.step();
            for (id, reason) in step.removals {
                assert!(live.remove(&id).is_some(), "{id} was unregistered without being live");
                assert!(reason.as_str().is_some());
                ended.insert(id);
            }
            for (stream, policy) in step.registrations {
                let was_live = live.insert(stream.id.clone(), StreamStats::default()).is_some();
                assert_eq!(was_live, policy == OnConflict::TakeOver);
                taken_over += usize::from(was_live);
                back += usize::from(ended.contains(&stream.id) && !was_live);
            }
            for (id, change) in step.changes {
                let before = live.get_mut(&id).unwrap_or_else(|| panic!("{id} changed although it is not live"));
                match change {
                    Change::Stats(stats) => {
                        stats.check().unwrap();
                        assert!(stats.bytes_received >= before.bytes_received, "{id}");
                        assert!(stats.packets_lost >= before.packets_lost, "{id}");
                        lossy += usize::from(stats.packets_lost > before.packets_lost.map(|lost| lost + 5));
                        *before = *stats;
                    }
                    Change::Status(status) => {
                        statuses.insert(status.as_str().to_owned());
                    }
                    _ => {}
                }
            }
            assert!(second < 5 || live.len() >= simulation.min_live, "{} live at {second}", live.len());
            assert_eq!(simulation.live().collect::<BTreeSet<_>>(), live.keys().collect());
        }
        assert!(
            ended.len() >= 5 && back >= 3 && taken_over >= 3 && lossy >= 50,
            "{ended:?} {back} {taken_over} {lossy}"
        );
        assert_eq!(statuses, ["active", "error", "paused"].map(String::from).into());
    }

    #[test]
    fn lost_stream_is_registered_again() {
        let mut simulation = Simulation::new(5, STREAMS.len()).unwrap();
        simulation.step();
        let id = simulation.live().next().unwrap().clone();
        simulation.lost(&id);
        let step = simulation.step();
        assert!(step.registrations.iter().any(|(stream, _)| stream.id == id));
    }
}
