//! Formats rates, amounts, shares and ages in readable units.

use std::time::Duration;

use stream_registry::{Stream, Timestamp};

use crate::cli::duration;

/// The age of something that has just happened.
pub(super) const NOW: &str = "now";

/// Formats a rate in bits per second: `950 bit/s`, `128.0 kbit/s`, `5.0 Mbit/s`.
pub(in crate::cli) fn bitrate(bits: u64) -> String {
    scaled(bits, "bit/s")
}

/// Formats a number of bytes: `950 B`, `1.3 kB`, `98.6 TB`.
pub(in crate::cli) fn bytes(bytes: u64) -> String {
    scaled(bytes, "B")
}

fn scaled(value: u64, unit: &str) -> String {
    const PREFIXES: [(&str, f64); 6] = [("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)];
    // For a large counter, the rounding error is far smaller than the last digit shown.
    let float = value as f64;
    // 999 950 rounds to 1.0 M, not to 1000.0 k.
    match PREFIXES.iter().find(|(_, scale)| float >= scale * 0.999_95 && value >= 1_000) {
        Some((prefix, scale)) => format!("{:.1} {prefix}{unit}", float / scale),
        None => format!("{value} {unit}"),
    }
}

/// Formats the share of lost packets as a percentage, or `-` if no packets were sent.
pub(in crate::cli) fn loss(stream: &Stream) -> String {
    percent(lost(stream.packets_received, stream.packets_lost))
}

/// Returns the share of lost packets in percent; NaN if no packets were sent.
pub(in crate::cli) fn lost(received: u64, lost: u64) -> f64 {
    100.0 * lost as f64 / (received as f64 + lost as f64)
}

/// Formats a percentage, or `-` if it is NaN. A percentage that rounds to zero is shown as `<0.01 %`.
pub(in crate::cli) fn percent(percent: f64) -> String {
    match percent {
        percent if percent.is_nan() => "-".into(),
        percent if percent > 0.0 && percent < 0.005 => "<0.01 %".into(),
        percent => format!("{percent:.2} %"),
    }
}

/// Formats the time from `time` to `now`, such as `3s`. Less than a second is `now`, and the year 1 is `never`.
pub(in crate::cli) fn age(time: Timestamp, now: Timestamp) -> String {
    relative(time, now, "")
}

/// Formats the time from `time` to `now`, such as `3s ago`. Less than a second is `now`, and the year 1 is `never`.
pub(in crate::cli) fn ago(time: Timestamp, now: Timestamp) -> String {
    relative(time, now, " ago")
}

fn relative(time: Timestamp, now: Timestamp, suffix: &str) -> String {
    if time <= Timestamp::ZERO {
        return "never".into();
    }
    match now.since(time) {
        age if age < Duration::from_secs(1) => NOW.into(),
        age => duration::short(age) + suffix,
    }
}

#[cfg(test)]
mod tests {
    use stream_registry::StreamType;

    use super::*;

    #[test]
    fn rates_and_amounts_have_one_decimal_and_a_prefix() {
        for (value, text) in [
            (0, "0 bit/s"),
            (950, "950 bit/s"),
            (1_000, "1.0 kbit/s"),
            (128_000, "128.0 kbit/s"),
            (999_949, "999.9 kbit/s"),
            (999_950, "1.0 Mbit/s"),
            (5_000_000, "5.0 Mbit/s"),
            (12_345_678_901, "12.3 Gbit/s"),
            (i64::MAX as u64, "9.2 Ebit/s"),
        ] {
            assert_eq!(bitrate(value), text);
        }
        assert_eq!(bytes(98_600_000_000_000), "98.6 TB");
    }

    #[test]
    fn loss_is_the_share_of_lost_packets() {
        let mut stream = Stream::new("a".parse().unwrap(), StreamType::Srt, "");
        for (received, lost, text) in [
            (0, 0, "-"),
            (100, 0, "0.00 %"),
            (99, 1, "1.00 %"),
            (0, 5, "100.00 %"),
            (1_000_000, 1, "<0.01 %"),
            (i64::MAX as u64, i64::MAX as u64, "50.00 %"),
        ] {
            (stream.packets_received, stream.packets_lost) = (received, lost);
            assert_eq!(loss(&stream), text);
        }
    }

    #[test]
    fn age_has_two_units_or_is_now_or_never() {
        let now: Timestamp = "2026-01-01T00:02:05Z".parse().unwrap();
        assert_eq!(age("2026-01-01T00:00:00Z".parse().unwrap(), now), "2m05s");
        assert_eq!(ago("2026-01-01T00:00:00Z".parse().unwrap(), now), "2m05s ago");
        assert_eq!(ago("2026-01-01T00:03:00Z".parse().unwrap(), now), "now");
        assert_eq!(ago(Timestamp::ZERO, now), "never");
    }
}
