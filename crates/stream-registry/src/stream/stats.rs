//! Statistics of a stream.

use super::invalid::Result;
use super::{Stream, check};

/// Statistics that an ingest node reports: totals since the stream began, and current rates.
///
/// If a field is `None`, the stream keeps its previous value.
///
/// ```
/// use stream_registry::{Stream, StreamStats, StreamType};
///
/// let mut stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// stream.update_stats(&StreamStats { bitrate: Some(5_000_000), rtt_ms: Some(12.5), ..Default::default() });
/// stream.update_stats(&StreamStats { bitrate: Some(4_900_000), ..Default::default() });
/// assert_eq!((stream.bitrate, stream.rtt_ms), (4_900_000, Some(12.5)));
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamStats {
    /// Bytes received since the stream began.
    pub bytes_received: Option<u64>,
    /// Packets received since the stream began.
    pub packets_received: Option<u64>,
    /// Packets lost since the stream began.
    pub packets_lost: Option<u64>,
    /// Bit rate in bits per second.
    pub bitrate: Option<u64>,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter in milliseconds (RFC 3550, 6.4.1 and A.8).
    pub jitter_ms: Option<f64>,
    /// Packets that the publisher retransmitted since the stream began.
    pub packets_retransmitted: Option<u64>,
    /// Packets that arrived too late and were dropped since the stream began.
    pub packets_dropped: Option<u64>,
    /// Current number of viewers.
    pub viewers: Option<u64>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
}

impl StreamStats {
    /// Checks the limits: a counter is at most 2^63 − 1, and a rate is finite and not negative.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`](super::InvalidValue) if a field is outside its limits; the message names the field.
    pub fn check(&self) -> Result<()> {
        // The pattern is exhaustive, so that the compiler reports a new statistic that is not checked.
        let Self {
            bytes_received,
            packets_received,
            packets_lost,
            bitrate,
            rtt_ms,
            jitter_ms,
            packets_retransmitted,
            packets_dropped,
            viewers,
            frame_rate,
        } = *self;
        let counts = [
            ("bytes_received", bytes_received),
            ("packets_received", packets_received),
            ("packets_lost", packets_lost),
            ("bitrate", bitrate),
            ("packets_retransmitted", packets_retransmitted),
            ("packets_dropped", packets_dropped),
            ("viewers", viewers),
        ];
        for (name, count) in counts {
            check::count(name, count.unwrap_or(0))?;
        }
        for (name, rate) in [("rtt_ms", rtt_ms), ("jitter_ms", jitter_ms), ("frame_rate", frame_rate)] {
            check::float(name, rate.unwrap_or(0.0))?;
        }
        Ok(())
    }

    /// Returns whether the report sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Stream {
    /// Returns the statistics in the record.
    pub fn stats(&self) -> StreamStats {
        StreamStats {
            bytes_received: Some(self.bytes_received),
            packets_received: Some(self.packets_received),
            packets_lost: Some(self.packets_lost),
            bitrate: Some(self.bitrate),
            rtt_ms: self.rtt_ms,
            jitter_ms: self.jitter_ms,
            packets_retransmitted: self.packets_retransmitted,
            packets_dropped: self.packets_dropped,
            viewers: self.viewers,
            frame_rate: Some(self.frame_rate),
        }
    }

    /// Sets the statistics. If a field is `None`, the stream keeps its previous value.
    pub fn update_stats(&mut self, stats: &StreamStats) {
        // The pattern is exhaustive, so that the compiler reports a new statistic that is not set.
        let StreamStats {
            bytes_received,
            packets_received,
            packets_lost,
            bitrate,
            rtt_ms,
            jitter_ms,
            packets_retransmitted,
            packets_dropped,
            viewers,
            frame_rate,
        } = *stats;
        let extra = &mut self.extra;
        extra.set_if_some("bytes_received", &mut self.bytes_received, bytes_received);
        extra.set_if_some("packets_received", &mut self.packets_received, packets_received);
        extra.set_if_some("packets_lost", &mut self.packets_lost, packets_lost);
        extra.set_if_some("bitrate", &mut self.bitrate, bitrate);
        extra.set_if_some("rtt_ms", &mut self.rtt_ms, rtt_ms.map(Some));
        extra.set_if_some("jitter_ms", &mut self.jitter_ms, jitter_ms.map(Some));
        extra.set_if_some("packets_retransmitted", &mut self.packets_retransmitted, packets_retransmitted.map(Some));
        extra.set_if_some("packets_dropped", &mut self.packets_dropped, packets_dropped.map(Some));
        extra.set_if_some("viewers", &mut self.viewers, viewers.map(Some));
        extra.set_if_some("frame_rate", &mut self.frame_rate, frame_rate);
    }

    /// Sets all statistics to zero or `None`. The raw JSON of nonconforming optional statistics is kept.
    pub(super) fn reset_stats(&mut self) {
        // The pattern is exhaustive, so that the compiler reports a new statistic that is not reset.
        let StreamStats {
            bytes_received,
            packets_received,
            packets_lost,
            bitrate,
            rtt_ms,
            jitter_ms,
            packets_retransmitted,
            packets_dropped,
            viewers,
            frame_rate,
        } = StreamStats::default();
        self.extra.discard_nonconforming(&["bytes_received", "packets_received", "packets_lost", "bitrate"]);
        self.bytes_received = bytes_received.unwrap_or(0);
        self.packets_received = packets_received.unwrap_or(0);
        self.packets_lost = packets_lost.unwrap_or(0);
        self.bitrate = bitrate.unwrap_or(0);
        self.rtt_ms = rtt_ms;
        self.jitter_ms = jitter_ms;
        self.packets_retransmitted = packets_retransmitted;
        self.packets_dropped = packets_dropped;
        self.viewers = viewers;
        self.frame_rate = frame_rate.unwrap_or(0.0);
    }
}
