//! Durations such as `90s`, `5m`, `1h30m` and `2d`.

use std::time::Duration;

/// Units and their lengths in milliseconds, from the largest to the smallest.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration such as `1h30m`: whole numbers with units. Each unit may appear once, and larger units come first.
///
/// # Errors
///
/// Returns a message that shows a valid duration.
pub fn parse(input: &str) -> Result<Duration, String> {
    let invalid = || format!("expected a duration such as 90s, 5m, 1h30m or 2d, got {input:?}");
    if !input.is_empty() && input.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("{input} has no unit; write e.g. {input}s or {input}m"));
    }
    let mut rest = input;
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    while !rest.is_empty() || input.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        // The iterator only moves forward, so a repeated or misplaced unit is rejected.
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let number: u64 = number.parse().map_err(|_| invalid())?;
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| format!("{input} is too long"))?;
        rest = after;
    }
    Ok(Duration::from_millis(millis))
}

/// Parses a duration of at least a millisecond.
///
/// # Errors
///
/// Returns a message if [`parse`] fails or the duration is zero.
pub fn parse_positive(input: &str) -> Result<Duration, String> {
    parse(input).and_then(|duration| {
        if duration.is_zero() { Err("duration must be greater than zero, e.g. 10s".to_owned()) } else { Ok(duration) }
    })
}

/// Parses a TTL of 1 second to 30 days.
///
/// # Errors
///
/// Returns a message if [`parse`] fails or the duration is out of range.
pub fn parse_ttl(input: &str) -> Result<Duration, String> {
    let ttl = parse(input)?;
    if ttl < Duration::from_secs(1) || ttl > Duration::from_secs(30 * 24 * 3600) {
        return Err(format!("expected a TTL between 1s and 30d, got {input}"));
    }
    Ok(ttl)
}

/// Formats a duration in its two largest units: `0s`, `59s`, `2m05s`, `1h02m`, `3d04h`.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d{:02}h", hours % 24),
        () if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{:02}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// Formats a duration exactly, in the form that [`parse`] accepts: `1s500ms`, `1m30s`, `2h`.
pub fn exact(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut input = String::new();
    for (unit, factor) in UNITS {
        if left >= factor {
            input.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    if input.is_empty() { "0s".to_owned() } else { input }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_numbers_with_units() {
        for (input, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("1500ms", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(parse(input), Ok(Duration::from_millis(millis)), "{input}");
        }
    }

    #[test]
    fn parse_rejects_invalid_input_with_a_reason() {
        for input in ["", "m", "5x", "5M", "-5s", "5 m", "1m1h", "5m5m", "1.5h", "5mm", "s5", "5m ", "٥m", "5s3"] {
            let fault = parse(input).expect_err(input);
            assert!(fault.contains("such as 90s"), "{input}: {fault}");
        }
        assert!(parse("5").unwrap_err().contains("no unit"));
        assert!(parse("99999999999999999999d").is_err());
        assert!(parse("999999999999999999d").unwrap_err().contains("too long"));
        for input in ["0s", "999ms", "31d", "30d1ms"] {
            assert!(parse_ttl(input).unwrap_err().contains("between 1s and 30d"), "{input}");
        }
        assert!(parse_ttl("1s").is_ok() && parse_ttl("30d").is_ok());
        assert!(parse_positive("0ms").is_err());
    }

    #[test]
    fn exact_format_is_accepted_by_parse() {
        for input in ["0s", "1ms", "1s500ms", "1m", "1m30s", "2h", "1d1h1m1s1ms"] {
            assert_eq!(exact(parse(input).unwrap()), input);
        }
        assert_eq!(exact(Duration::from_millis(1_500)), "1s500ms");
    }

    #[test]
    fn short_duration_has_at_most_two_units() {
        for (seconds, input) in
            [(0, "0s"), (59, "59s"), (60, "1m00s"), (125, "2m05s"), (3_720, "1h02m"), (273_600, "3d04h")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), input);
        }
    }
}
