//! Measures one RTP session, i.e. one source at one address. This module uses neither a clock nor the network.

mod jitter;
mod sequence;

pub use jitter::Jitter;
pub use sequence::{Sequence, Totals, Verdict};

use std::time::{Duration, Instant};

use stream_registry::StreamStats;

use crate::packet::Rtp;

/// Largest counter that a record can hold.
const MAX_COUNT: u64 = stream_registry::stream::limits::MAX_COUNT;

/// Shortest period over which rates are calculated.
const MIN_PERIOD: Duration = Duration::from_millis(500);

/// Measurements of a session, from its first packet to its end.
#[derive(Clone, Debug)]
pub struct Session {
    /// Arrival of the first packet; arrival times are relative to it.
    began: Instant,
    sequence: Sequence,
    jitter: Jitter,
    /// Bytes of counted packets, including RTP headers but not UDP and IP headers.
    bytes: u64,
    payload_type: u8,
    /// Candidate for the most frequent payload type of the current period, and its lead (Boyer–Moore majority vote).
    vote: (u8, u32),
    frames: Frames,
    rate: Rate,
}

/// Bit rate of the last period.
#[derive(Clone, Copy, Debug)]
struct Rate {
    since: Instant,
    bytes: u64,
    bits_per_second: u64,
}

/// Counts the frames of a video. All packets of a frame have the same timestamp.
#[derive(Clone, Copy, Debug, Default)]
struct Frames {
    /// Timestamp of the previous packet.
    last: Option<u32>,
    /// Highest timestamp so far, modulo 2^32.
    newest: Option<u32>,
    /// Number of frames that began in the current period.
    count: u32,
    /// How far the RTP timestamp has advanced in the current period.
    advance: u64,
    per_second: Option<f64>,
}

impl Session {
    /// Starts a session with the first packet from a source. The source is on probation until it sends the next packet
    /// in sequence.
    pub fn new(packet: &Rtp, now: Instant) -> Self {
        let mut sequence = Sequence::new(packet.sequence);
        sequence.update(packet.sequence);
        Self {
            began: now,
            sequence,
            jitter: Jitter::default(),
            bytes: 0,
            payload_type: packet.payload_type,
            vote: (packet.payload_type, 0),
            frames: Frames::default(),
            rate: Rate { since: now, bytes: 0, bits_per_second: 0 },
        }
    }

    /// Counts a packet of `bytes` bytes. `clock_rate` is the rate for the session's payload type; 0 means unknown.
    pub fn receive(&mut self, packet: &Rtp, bytes: usize, now: Instant, clock_rate: u32) -> Verdict {
        let verdict = self.sequence.update(packet.sequence);
        match verdict {
            Verdict::Probation | Verdict::Jump => return verdict,
            Verdict::Validated => {
                self.payload_type = packet.payload_type;
                self.rate.since = now;
            }
            Verdict::Restarted => {
                self.jitter.interrupt();
                self.frames = Frames::default();
            }
            Verdict::InOrder | Verdict::Misordered => {}
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(0));
        self.vote = match self.vote {
            (candidate, lead) if candidate == packet.payload_type => (candidate, lead.saturating_add(1)),
            (_, 0) => (packet.payload_type, 1),
            (candidate, lead) => (candidate, lead - 1),
        };
        if packet.payload_type == self.payload_type {
            self.jitter.update(now.saturating_duration_since(self.began), packet.timestamp, clock_rate);
            if verdict != Verdict::Misordered {
                self.frames.update(packet.timestamp);
            }
        }
        verdict
    }

    /// Ends a period of about one second and calculates its rates.
    ///
    /// A period shorter than half a second is extended, because a burst would look like a high rate. The session takes
    /// the most frequent payload type of the period. A few other packets, e.g. telephone events, therefore do not
    /// change the codec.
    pub fn roll(&mut self, now: Instant, clock_rate: u32) {
        let elapsed = now.saturating_duration_since(self.rate.since);
        if elapsed < MIN_PERIOD {
            return;
        }
        let bits = u128::from(self.bytes.saturating_sub(self.rate.bytes)) * 8;
        let rate = bits * 1_000_000_000 / elapsed.as_nanos();
        self.rate = Rate {
            since: now,
            bytes: self.bytes,
            bits_per_second: u64::try_from(rate).unwrap_or(MAX_COUNT).min(MAX_COUNT),
        };
        self.frames.roll(clock_rate);
        if self.vote.1 > 0 {
            self.payload_type = self.vote.0;
        }
        self.vote.1 = 0;
    }

    /// Sets the bit rate to zero because no more packets arrive.
    pub fn stop(&mut self) {
        self.rate.bits_per_second = 0;
    }

    /// Returns the most frequent payload type.
    pub fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Returns the frames per second of the last period, calculated from timestamps. Meaningful for video only.
    pub fn frame_rate(&self) -> Option<f64> {
        self.frames.per_second
    }

    /// Returns the statistics: current totals and the bit rate of the last period.
    pub fn stats(&self) -> StreamStats {
        let totals = self.sequence.totals();
        StreamStats {
            bytes_received: Some(self.bytes.min(MAX_COUNT)),
            packets_received: Some(totals.received.min(MAX_COUNT)),
            packets_lost: Some(totals.lost.min(MAX_COUNT)),
            bitrate: Some(self.rate.bits_per_second),
            jitter_ms: self.jitter.milliseconds().map(|ms| (ms * 1_000.0).round() / 1_000.0),
            ..StreamStats::default()
        }
    }
}

impl Frames {
    fn update(&mut self, timestamp: u32) {
        // The first packet does not count as a new frame, because there is no previous timestamp for comparison.
        if self.last.replace(timestamp).is_some_and(|last| last != timestamp) {
            self.count = self.count.saturating_add(1);
        }
        let advance = timestamp.wrapping_sub(*self.newest.get_or_insert(timestamp));
        // With B-frames, timestamps can go backwards. The frame still counts, but `newest` does not change.
        if advance < u32::MAX / 2 {
            self.newest = Some(timestamp);
            self.advance = self.advance.saturating_add(u64::from(advance));
        }
    }

    /// Returns frames per second, rounded to 0.01. The rate is calculated from the sender's timestamps, so bursty
    /// arrival does not matter.
    fn roll(&mut self, clock_rate: u32) {
        self.per_second = None;
        if self.advance > 0 && clock_rate > 0 {
            let seconds = self.advance as f64 / f64::from(clock_rate);
            self.per_second = Some((f64::from(self.count) / seconds * 100.0).round() / 100.0);
        }
        self.count = 0;
        self.advance = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32, payload_type: u8) -> Rtp {
        Rtp { payload_type, marker: false, sequence, timestamp, ssrc: 1, payload_bytes: 100 }
    }

    /// Returns a session that received `seconds` seconds of video. The video has 25 frames per second, and each frame
    /// has `per_frame` packets of 1 000 bytes.
    fn video(seconds: u64, per_frame: u16, order: impl Fn(u32) -> u32) -> Session {
        let began = Instant::now();
        let mut session = Session::new(&packet(0, 0, 96), began);
        let mut sequence = 0;
        for frame in 0..u32::try_from(seconds * 25).unwrap() {
            let now = began + Duration::from_millis(u64::from(frame) * 40);
            if frame % 25 == 0 {
                session.roll(now, 90_000);
            }
            for _ in 0..per_frame {
                sequence += 1;
                session.receive(&packet(sequence, order(frame) * 3_600, 96), 1_000, now, 90_000);
            }
        }
        session.roll(began + Duration::from_secs(seconds), 90_000);
        session
    }

    #[test]
    fn bitrate_covers_only_the_last_period() {
        let session = video(3, 4, |frame| frame);
        let stats = session.stats();
        assert_eq!(stats.packets_received, Some(300));
        assert_eq!(stats.bytes_received, Some(300_000));
        assert_eq!(stats.bitrate, Some(25 * 4 * 1_000 * 8), "100 packets of 8 000 bits in the last second");
        assert_eq!(stats.packets_lost, Some(0));
    }

    #[test]
    fn bitrate_divides_a_long_period_by_its_length() {
        let began = Instant::now();
        let mut session = Session::new(&packet(0, 0, 96), began);
        session.receive(&packet(1, 0, 96), 500, began, 90_000);
        session.receive(&packet(2, 0, 96), 500, began, 90_000);
        session.roll(began + Duration::from_millis(2_500), 90_000);
        assert_eq!(session.stats().bitrate, Some(3_200));
        session.roll(began + Duration::from_millis(2_500), 90_000);
        assert_eq!(session.stats().bitrate, Some(3_200), "zero elapsed time");
        session.roll(began + Duration::from_millis(3_500), 90_000);
        assert_eq!(session.stats().bitrate, Some(0), "no packets");
        assert_eq!(session.stats().bytes_received, Some(1_000));
    }

    #[test]
    fn frame_rate_counts_frames_by_timestamp_even_if_reordered() {
        for (case, order) in [
            ("in order", (|frame| frame) as fn(u32) -> u32),
            // The frames are sent in the order 0 3 1 2 6 4 5 …: every third frame is sent before two frames that are
            // displayed earlier.
            ("reordered", |frame| match frame % 3 {
                1 => frame + 2,
                2 => frame - 1,
                _ => frame.saturating_sub(1),
            }),
        ] {
            let rate = video(4, 3, order).frame_rate().unwrap();
            assert!((24.0..=26.1).contains(&rate), "{case}: {rate}");
        }
    }

    #[test]
    fn packets_during_jumps_and_probation_are_not_counted() {
        let began = Instant::now();
        let mut session = Session::new(&packet(10, 0, 96), began);
        assert_eq!((session.stats().bytes_received, session.stats().packets_received), (Some(0), Some(0)));
        assert_eq!(session.receive(&packet(20, 0, 96), 100, began, 90_000), Verdict::Probation);
        assert_eq!(session.receive(&packet(21, 0, 96), 100, began, 90_000), Verdict::Validated);
        assert_eq!(session.receive(&packet(40_000, 0, 96), 100, began, 90_000), Verdict::Jump);
        assert_eq!(session.stats().bytes_received, Some(100));
        assert_eq!(session.receive(&packet(40_001, 0, 96), 100, began, 90_000), Verdict::Restarted);
        let stats = session.stats();
        assert_eq!((stats.bytes_received, stats.packets_received, stats.packets_lost), (Some(200), Some(2), Some(0)));
    }

    #[test]
    fn payload_type_follows_the_majority_of_packets() {
        let began = Instant::now();
        let mut session = Session::new(&packet(0, 0, 0), began);
        let mut send = |types: &[u8], from: u16, second: u64| {
            for (sequence, payload_type) in (from..).zip(types) {
                session.receive(&packet(sequence, u32::from(sequence) * 160, *payload_type), 100, began, 8_000);
            }
            session.roll(began + Duration::from_secs(second), 8_000);
            session.payload_type()
        };
        assert_eq!(send(&[0, 0, 0, 101, 101], 1, 1), 0, "few telephone events");
        assert_eq!(send(&[], 6, 2), 0, "no packets");
        assert_eq!(send(&[101, 8, 8, 8, 0], 6, 3), 8, "the sender changed the codec");
    }
}
