//! Timestamps in records.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};

use super::invalid::{InvalidValue, Result};

/// A point in time, in nanoseconds UTC, from the year 0 to 9999-12-30T22:00:00.999999999Z.
///
/// The string form of a timestamp follows [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339). It is written in UTC
/// with exactly nine fractional digits and `Z`. The parser accepts any offset and any number of fractional digits,
/// and ignores digits after the ninth.
///
/// ```
/// use stream_registry::Timestamp;
///
/// let time: Timestamp = "2026-11-22T10:38:10.92789653-03:30".parse()?;
/// assert_eq!(time.to_string(), "2026-11-22T14:08:10.927896530Z");
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

const PARSER: DateTimeParser = DateTimeParser::new();
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// 0000-01-01T00:00:00Z, the earliest time that RFC 3339 can express.
///
/// The latest timestamp is the maximum of the crate `jiff`, 26 hours before the year 10000. So the year has four
/// digits at any offset.
const MIN_NANOS: i128 = -62_167_219_200 * NANOS_PER_SECOND;

impl Timestamp {
    /// 0001-01-01T00:00:00Z, which some programs write for "never".
    pub const ZERO: Self = Self(jiff::Timestamp::constant(-62_135_596_800, 0));

    /// Returns the local time.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// Creates a timestamp from nanoseconds since 1970 in UTC; a value out of range becomes the nearest timestamp.
    pub fn from_unix_nanos(nanos: i128) -> Self {
        let nanos = nanos.clamp(MIN_NANOS, jiff::Timestamp::MAX.as_nanosecond());
        Self(jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX))
    }

    /// Parses a string as [`FromStr`] does, except that a time out of range becomes the nearest timestamp.
    pub(super) fn nearest(string: &str) -> Option<Self> {
        nanos(string).map(Self::from_unix_nanos)
    }

    /// Appends the canonical form to a string, without the buffer that a formatter needs.
    pub(super) fn append_to(self, string: &mut String) {
        // Writing to a string cannot fail, and every timestamp is in the printer's range.
        let _ = PRINTER.print_timestamp(&self.0, string);
    }

    /// Returns the nanoseconds since 1970 in UTC.
    pub fn as_unix_nanos(self) -> i128 {
        self.0.as_nanosecond()
    }

    /// Returns the time from `earlier` to this timestamp; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = self.as_unix_nanos() - earlier.as_unix_nanos();
        u64::try_from(nanos.max(0)).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Parses the value of the HTTP header `Date`, as defined by RFC 9110, section 5.6.7.
    #[cfg(feature = "http")]
    pub(crate) fn from_http_date(date: &str) -> Option<Self> {
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok().map(Self)
    }

    /// Parses the canonical form, `2026-11-22T14:08:10.927896530Z`; `None` if the string has another form.
    pub(super) fn from_canonical(string: &str) -> Option<Self> {
        let bytes: &[u8; 30] = string.as_bytes().try_into().ok()?;
        let number = |range: std::ops::Range<usize>| {
            bytes[range]
                .iter()
                .try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
        };
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')];
        if separators.iter().any(|(index, separator)| bytes[*index] != *separator) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in_month = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // Days since 1970-01-01, by `days_from_civil` in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
        let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * shifted + 2) / 5 + day - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        let nanos = i32::try_from(number(20..29)?).ok()?;
        // The nanoseconds are added separately. For times before 1970, the seconds are negative and the nanoseconds
        // positive, and jiff rejects different signs.
        jiff::Timestamp::new(seconds, 0).ok()?.checked_add(jiff::SignedDuration::new(0, nanos)).ok().map(Self)
    }

    /// Returns `YYYYMMDD_HHMMSS` in UTC.
    pub(super) fn compact(self) -> String {
        let time = self.0.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        format!(
            "{:04}{:02}{:02}_{:02}{:02}{:02}",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    fn from_str(string: &str) -> Result<Self> {
        match nanos(string) {
            Some(nanos) if (MIN_NANOS..=jiff::Timestamp::MAX.as_nanosecond()).contains(&nanos) => {
                Ok(Self::from_unix_nanos(nanos))
            }
            _ => Err(InvalidValue::new("expected an RFC 3339 timestamp such as 2026-11-22T14:08:10Z")),
        }
    }
}

/// Parses an RFC 3339 string to nanoseconds since 1970. A time that is too late for jiff becomes `i128::MAX`.
fn nanos(string: &str) -> Option<i128> {
    // jiff accepts more forms than RFC 3339 defines, so the separators at fixed positions are checked here.
    let bytes = string.as_bytes();
    let is_rfc_3339 = bytes.len() >= 20
        && bytes.is_ascii()
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':'
        && !string.contains('[');
    if !is_rfc_3339 {
        return None;
    }
    let digits = bytes[19..].iter().skip(1).take_while(|b| b.is_ascii_digit()).count();
    let string = if bytes[19] == b'.' && digits > 9 {
        Cow::Owned(format!("{}{}", &string[..29], &string[20 + digits..]))
    } else {
        Cow::Borrowed(string)
    };
    if let Ok(time) = PARSER.parse_timestamp(&*string) {
        return Some(time.as_nanosecond());
    }
    // jiff cannot express the last hours of the year 9999 as a timestamp.
    let pieces = PARSER.parse_pieces(&*string).ok()?;
    (pieces.date().year() == 9999 && pieces.offset().is_some()).then_some(i128::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut string = String::with_capacity(30);
        PRINTER.print_timestamp(&self.0, &mut string).map_err(|_| fmt::Error)?;
        f.write_str(&string)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => i128::try_from(before.duration().as_nanos()).map_or(i128::MIN, |nanos| -nanos),
        };
        Self::from_unix_nanos(nanos)
    }
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = InvalidValue;

    fn try_from(time: Timestamp) -> Result<Self> {
        let nanos = time.as_unix_nanos();
        let seconds = u64::try_from((nanos.abs()) / NANOS_PER_SECOND).unwrap_or(u64::MAX);
        let rest = u32::try_from(nanos.abs() % NANOS_PER_SECOND).unwrap_or(0);
        let distance = Duration::new(seconds, rest);
        let result = if nanos >= 0 {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        };
        result.ok_or_else(|| InvalidValue::new("the clock of this platform cannot express this time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_is_parsed_with_any_offset_and_precision() {
        for (string, written) in [
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
            ("2026-11-22T19:38:10.924785123+05:30", "2026-11-22T14:08:10.924785123Z"),
            ("2026-11-22t14:08:10.5z", "2026-11-22T14:08:10.500000000Z"),
            ("2026-11-22T14:08:10.1234567891234+00:00", "2026-11-22T14:08:10.123456789Z"),
            ("0001-01-01T00:00:00+05:30", "0000-12-31T18:30:00.000000000Z"),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
        ] {
            let time: Timestamp = string.parse().unwrap_or_else(|e| panic!("{string}: {e}"));
            assert_eq!(time.to_string(), written, "{string}");
            let system: SystemTime = time.try_into().unwrap();
            assert_eq!(Timestamp::from(system), time);
            assert_eq!(Timestamp::from_canonical(written), Some(time), "{written}");
        }
    }

    #[test]
    fn string_that_is_not_rfc_3339_is_rejected() {
        for string in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T14:08:10",
            "20261122T140810Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T14:08Z",
            "2026-11-22T14:08:10.Z",
            "2026-11-22T14:08:10Z[UTC]",
            "-000001-01-01T00:00:00Z",
            "2026-11-22T14:08:10+99:00",
            "1763820490",
            "é026-11-22T14:08:10Z",
        ] {
            assert!(string.parse::<Timestamp>().is_err(), "{string:?}");
        }
    }

    #[test]
    fn canonical_parser_agrees_with_general_parser() {
        // The test covers days at both ends of the range, in a leap-year cycle, and at regular intervals.
        for day in -800_000_i128..=2_932_896 {
            if day % 97 != 0 && !(-719_528..-719_000).contains(&day) && !(10_900..12_500).contains(&day) {
                continue;
            }
            let time = Timestamp::from_unix_nanos(day * 86_400 * NANOS_PER_SECOND + 86_399_123_456_789);
            assert_eq!(Timestamp::from_canonical(&time.to_string()), Some(time));
        }
        for string in [
            "2025-02-29T00:00:00.000000000Z",
            "2026-00-01T00:00:00.000000000Z",
            "2026-01-01T24:00:00.000000000Z",
            "2026-01-01T00:00:00.00000000-Z",
        ] {
            assert_eq!(Timestamp::from_canonical(string), None, "{string}");
        }
    }

    #[test]
    fn time_out_of_range_becomes_nearest_timestamp() {
        let (first, last) = ("0000-01-01T00:00:00.000000000Z", "9999-12-30T22:00:00.999999999Z");
        for (string, nearest, valid) in [
            (last, last, true),
            ("9999-12-30T22:00:01Z", last, false),
            ("9999-12-31T23:59:59.999999999Z", last, false),
            ("9999-12-31T23:59:59.999999999999-12:00", last, false),
            ("9999-12-31T23:59:59+23:59", last, false),
            (first, first, true),
            ("0000-01-01T00:00:00+00:01", first, false),
        ] {
            assert_eq!(Timestamp::nearest(string).map(|time| time.to_string()).as_deref(), Some(nearest), "{string}");
            assert_eq!(string.parse::<Timestamp>().is_ok(), valid, "{string}");
            assert!(valid || Timestamp::from_canonical(string).is_none(), "{string}");
        }
        for string in ["9999-12-32T00:00:00Z", "9999-12-31T23:59:59", "9999-12-31T25:59:59Z", "9999-12-31", "never"] {
            assert_eq!(Timestamp::nearest(string), None, "{string}");
        }
    }

    #[test]
    fn zero_timestamp_is_in_year_one() {
        assert_eq!(Timestamp::ZERO.to_string(), "0001-01-01T00:00:00.000000000Z");
    }
}
