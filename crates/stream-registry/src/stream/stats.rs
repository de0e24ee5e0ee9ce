//! Statistics of a stream.

use super::invalid::{InvalidValue, Result};
use super::limits::MAX_COUNT;

/// Statistics that an ingest node reports: totals since the stream began, and current rates.
///
/// The four plain fields are always set by a report; an optional one that is `None` keeps its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamStats {
    /// Bytes received since the stream began.
    pub bytes_received: u64,
    /// Packets received since the stream began.
    pub packets_received: u64,
    /// Packets lost since the stream began.
    pub packets_lost: u64,
    /// Bits per second.
    pub bitrate: u64,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter in milliseconds (RFC 3550, 6.4.1 and A.8).
    pub jitter_ms: Option<f64>,
    /// Packets sent again by the publisher since the stream began.
    pub packets_retransmitted: Option<u64>,
    /// Packets that came too late to be used, since the stream began.
    pub packets_dropped: Option<u64>,
    /// Viewers at the moment.
    pub viewers: Option<u64>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
}

impl StreamStats {
    /// Checks the limits: counters up to 2^63 − 1, finite and non-negative rates.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` names the field.
    pub fn check(&self) -> Result<()> {
        check_count("bytes_received", self.bytes_received)?;
        check_count("packets_received", self.packets_received)?;
        check_count("packets_lost", self.packets_lost)?;
        check_count("bitrate", self.bitrate)?;
        check_count("packets_retransmitted", self.packets_retransmitted.unwrap_or(0))?;
        check_count("packets_dropped", self.packets_dropped.unwrap_or(0))?;
        check_count("viewers", self.viewers.unwrap_or(0))?;
        check_float("rtt_ms", self.rtt_ms.unwrap_or(0.0))?;
        check_float("jitter_ms", self.jitter_ms.unwrap_or(0.0))?;
        check_float("frame_rate", self.frame_rate.unwrap_or(0.0))
    }
}

pub(super) fn check_count(name: &str, value: u64) -> Result<()> {
    if value > MAX_COUNT {
        return Err(InvalidValue::new(format!("{name} is larger than 2^63 - 1")));
    }
    Ok(())
}

pub(super) fn check_float(name: &str, value: f64) -> Result<()> {
    if !value.is_finite() || value < 0.0 {
        return Err(InvalidValue::new(format!("{name} must be a finite number of at least 0")));
    }
    Ok(())
}
